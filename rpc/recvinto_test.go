package rpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// mirror sends back what comes, from the one message that it has.
func mirror[T any](_ context.Context, s *rpc.Stream[T, T]) error {
	var m T
	for {
		err := s.RecvInto(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&m); err != nil {
			return err
		}
	}
}

// reflected sends what is to come back, and then receives it into one message, which each shows once.
func reflected[T any](t *testing.T, client *transport.Session, m rpc.BidiMethod[T, T], send []*T, same func(want, got *T) bool, opts ...rpc.CallOption) {
	t.Helper()
	s, err := m.Call(t.Context(), client, opts...)
	require.NoError(t, err)
	defer s.Close()
	for _, m := range send {
		require.NoError(t, s.Send(m))
	}
	require.NoError(t, s.CloseSend())
	var got T
	for i, want := range send {
		if i%3 == 1 {
			_, err := s.Header() // holds nothing back that has begun
			require.NoError(t, err)
		}
		require.NoError(t, s.RecvInto(&got))
		require.True(t, same(want, &got), "message %d", i)
	}
	require.ErrorIs(t, s.RecvInto(&got), io.EOF)
	require.ErrorIs(t, s.RecvInto(&got), io.EOF)
}

func TestOneMessageServesForAWholeStream(t *testing.T) {
	texts := rpc.Bidi[Text, Text]("test.Mirror/Texts")
	raws := rpc.Bidi[rpc.Raw, rpc.Raw]("test.Mirror/Raws")
	values := rpc.Bidi[wrapperspb.BytesValue, wrapperspb.BytesValue]("test.Mirror/Values")
	anys := rpc.Bidi[anypb.Any, anypb.Any]("test.Mirror/Anys")

	forBubbles(t, func(t *testing.T, own, peers *counted) {
		mux := rpc.NewMux(rpc.Config{Codecs: []rpc.Codec{gobs{}}, Compressors: []rpc.Compressor{peers}})
		rpc.Handle(mux, texts, mirror[Text])
		rpc.Handle(mux, raws, mirror[rpc.Raw])
		rpc.Handle(mux, values, mirror[wrapperspb.BytesValue])
		rpc.Handle(mux, anys, mirror[anypb.Any])
		_, client, _ := start(t, mux)

		var t1 []*Text
		var r1 []*rpc.Raw
		var v1 []*wrapperspb.BytesValue
		var a1 []*anypb.Any
		for _, n := range []int{10, 0, 1000, 3, 1100, 1200, 5000, 2, 100_000, 0, 7} { // what is longer must leave nothing behind
			text := strings.Repeat("x", n)
			raw := rpc.Raw(noise(n))
			t1 = append(t1, &Text{Text: text, N: n})
			r1 = append(r1, &raw)
			v1 = append(v1, wrapperspb.Bytes(noise(n)))
			a1 = append(a1, &anypb.Any{TypeUrl: text[n/2:], Value: noise(n)}, &anypb.Any{Value: noise(n)}, &anypb.Any{TypeUrl: text})
		}
		for _, opts := range [][]rpc.CallOption{nil, {rpc.WithCompression(own)}} {
			reflected(t, client, texts, t1, func(a, b *Text) bool { return *a == *b }, opts...)
			reflected(t, client, texts, t1, func(a, b *Text) bool { return *a == *b }, append(opts, rpc.WithCustomCodec(gobs{}))...)
			reflected(t, client, raws, r1, func(a, b *rpc.Raw) bool { return string(*a) == string(*b) }, opts...)
			reflected(t, client, values, v1, func(a, b *wrapperspb.BytesValue) bool { return proto.Equal(a, b) }, opts...)
			reflected(t, client, values, v1, func(a, b *wrapperspb.BytesValue) bool { return proto.Equal(a, b) }, append(opts, rpc.WithCodec("json"))...)
			reflected(t, client, anys, a1, func(a, b *anypb.Any) bool { return proto.Equal(a, b) }, opts...)
		}
	})
}

func TestM87OneMessageServesForAResumedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(6)
		d, client := aLog(t, j)
		in, err := follow.Call(t.Context(), client, &Text{N: 6})
		require.NoError(t, err)
		defer in.Close()
		var m Text
		for i := range 6 {
			if i == 3 {
				d.abort()
			}
			require.NoError(t, in.RecvInto(&m))
			assert.Equal(t, i, m.N)
		}
	})
}

func TestMessageThatIsSharedIsSeenByHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		values := rpc.Bidi[wrapperspb.BytesValue, wrapperspb.BytesValue]("test.Mirror/Values")
		rpc.Handle(mux, values, mirror[wrapperspb.BytesValue])
		_, session, _ := start(t, mux)
		var seen []string
		client := rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{
			func(ctx context.Context, call *rpc.Call, next func(context.Context) error) error {
				call.OnReceive(func(m any, _ int) error {
					seen = append(seen, string(m.(*wrapperspb.BytesValue).GetValue()))
					return nil
				})
				return next(ctx)
			},
		}})
		s, err := values.Call(t.Context(), client)
		require.NoError(t, err)
		var m wrapperspb.BytesValue
		for _, text := range []string{"one", "two"} {
			require.NoError(t, s.Send(wrapperspb.Bytes([]byte(text))))
			require.NoError(t, s.RecvInto(&m))
			assert.Equal(t, text, string(m.GetValue()))
		}
		require.NoError(t, s.CloseSend())
		require.ErrorIs(t, s.RecvInto(&m), io.EOF)
		assert.Equal(t, []string{"one", "two"}, seen)
	})
}
