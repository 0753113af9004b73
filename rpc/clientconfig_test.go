package rpc_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
)

// What a Client's configuration says holds for every kind of call over it, what a call says itself wins, and Clients
// add up.
func TestAClientsOptionsAreTheDefaultsOfEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		seen := make(chan rpc.Call, 4)
		see := func(ctx context.Context) {
			c, _ := rpc.CallFrom(ctx)
			seen <- c
		}
		rpc.Handle(mux, octets, func(ctx context.Context, req *rpc.Raw) (*rpc.Raw, error) { see(ctx); return req, nil })
		rpc.Handle(mux, count, func(ctx context.Context, _ *Text, _ *rpc.Sender[Text]) error { see(ctx); return nil })
		rpc.Handle(mux, sum, func(ctx context.Context, _ *rpc.Receiver[Text]) (*Text, error) { see(ctx); return &Text{}, nil })
		rpc.Handle(mux, chat, func(ctx context.Context, _ *rpc.Stream[Text, Text]) error { see(ctx); return nil })
		_, session, _ := start(t, mux)
		inner := rpc.NewClient(session, rpc.ClientConfig{Options: []rpc.CallOption{
			rpc.WithMetadata(rpc.Metadata{{Key: "from", Value: "inner"}}), rpc.WithCodec("proto"),
		}})
		client := rpc.NewClient(inner, rpc.ClientConfig{Options: []rpc.CallOption{
			rpc.WithMetadata(rpc.Metadata{{Key: "from", Value: "outer"}}), rpc.WithCodec("json"),
		}})
		own := rpc.WithMetadata(rpc.Metadata{{Key: "from", Value: "call"}})
		want := rpc.Metadata{{Key: "from", Value: "inner"}, {Key: "from", Value: "outer"}, {Key: "from", Value: "call"}}

		_, err := octets.Call(t.Context(), client, &rpc.Raw{1}, own, rpc.WithCodec("raw"))
		require.NoError(t, err)
		got := <-seen
		require.Equal(t, want, got.Metadata)
		require.Equal(t, "raw", got.Codec)

		in, err := count.Call(t.Context(), client, &Text{}, own)
		require.NoError(t, err)
		for _, err := range in.All() {
			require.NoError(t, err)
		}
		_, err = sum.Call(t.Context(), client, func(func(*Text) bool) {}, own)
		require.NoError(t, err)
		s, err := chat.Call(t.Context(), client, own)
		require.NoError(t, err)
		for _, err := range s.All() {
			require.NoError(t, err)
		}
		for range 3 {
			got := <-seen
			require.Equal(t, want, got.Metadata)
			require.Equal(t, "json", got.Codec)
		}
	})
}
