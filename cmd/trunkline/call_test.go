package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/reflection"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// -H sends what it says, -v shows what comes back beside the replies, also from a call that fails, and --timeout is the
// handler's deadline.
func TestACallSaysAndShowsMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got rpc.Metadata
		var left time.Duration
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, echoChat, func(ctx context.Context, stream *rpc.Stream[echoMessage, echoMessage]) error {
			c, _ := rpc.CallFrom(ctx)
			got = c.Metadata
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			assert.NoError(t, rpc.AddHeader(ctx, "served-by", "a\x1b"))
			assert.NoError(t, rpc.AddTrailer(ctx, "cost", "7"))
			assert.NoError(t, rpc.AddTrailer(ctx, "sum-bin", "\x01\x02\x03"))
			for m, err := range stream.All() {
				if err != nil {
					return err
				}
				if m.Text == "fail" {
					return rpc.Errorf(rpc.DataLoss, "lost")
				}
				if err := stream.Send(m); err != nil {
					return err
				}
			}
			return nil
		})
		net := transporttest.New(t, 0)
		srv := net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
		session := net.Dial(srv, "ann", transport.Config{})

		for _, row := range []struct {
			requests, stdout string
			code             rpc.Code
		}{
			{`{"text":"a"} {"text":"b"}`, "{\"text\":\"a\"}\n{\"text\":\"b\"}\n", rpc.OK},
			{`{"text":"a"} {"text":"fail"}`, "{\"text\":\"a\"}\n", rpc.DataLoss},
		} {
			var stdout, stderr strings.Builder
			a := &app{stdout: &stdout, stderr: &stderr}
			flags := callFlags{headers: &[]string{"user:ann", "user: bob", "trace-bin:AQ"}, timeout: new(time.Duration), maxTime: new(time.Duration), verbose: new(bool), compress: new(string)}
			*flags.timeout, *flags.verbose = time.Minute, true
			options, err := flags.options()
			require.NoError(t, err)
			err = a.callOn(t.Context(), session, echoChat.Name(), strings.NewReader(row.requests), false, &flags, options)
			assert.Equal(t, row.code, rpc.CodeOf(err), "%v", err)
			assert.Equal(t, row.stdout, stdout.String())
			assert.Equal(t, "trunkline: header: served-by: \"a\\x1b\"\ntrunkline: trailer: cost: 7\ntrunkline: trailer: sum-bin: AQID\n", stderr.String())
			assert.Equal(t, rpc.Metadata{{Key: "user", Value: "ann"}, {Key: "user", Value: "bob"}, {Key: "trace-bin", Value: "\x01"}}, got)
			assert.Equal(t, time.Minute, left.Round(time.Second))
		}
	})
}

// --compress asks for it: a server that does not compress says so, and is not said to lack the method.
func TestACallIsCompressedAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			has  []rpc.Compressor
			ask  string
			code rpc.Code
		}{
			{nil, "", rpc.OK},
			{nil, "zstd", rpc.Unimplemented},
			{compressors()[1:], "zstd", rpc.Unimplemented},
			{compressors()[1:], "gzip", rpc.OK},
			{compressors(), "zstd", rpc.OK},
		} {
			mux := rpc.NewMux(rpc.Config{Compressors: row.has})
			rpc.Handle(mux, echoSay, func(_ context.Context, m *echoMessage) (*echoMessage, error) { return m, nil })
			reflection.Register(mux, reflection.Config{})
			net := transporttest.New(t, 0)
			srv := net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
			a := &app{stdout: new(strings.Builder), stderr: new(strings.Builder)}
			flags := callFlags{headers: new([]string), timeout: new(time.Duration), maxTime: new(time.Duration), verbose: new(bool), compress: &row.ask}
			options, err := flags.options()
			require.NoError(t, err)
			err = a.callOn(t.Context(), net.Dial(srv, "ann", transport.Config{}), echoSay.Name(), strings.NewReader(`{"text":"hi"}`), false, &flags, options)
			assert.Equal(t, row.code, rpc.CodeOf(err), "%v: %v", row, err)
			assert.Empty(t, hintFor(err))
		}
	})
}
