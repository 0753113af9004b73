package rpc_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/callpb"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

var values = rpc.Unary[wrapperspb.BytesValue, wrapperspb.BytesValue]("test.Lend/Values")

// lender echoes, and its handlers are lent what they get.
func lender(cfg rpc.Config) *rpc.Mux {
	mux := rpc.NewMux(cfg)
	rpc.Handle(mux, values, back[wrapperspb.BytesValue], rpc.LendRequest())
	rpc.Handle(mux, octets, back[rpc.Raw], rpc.LendRequest())
	rpc.Handle(mux, say, back[Text], rpc.LendRequest())
	return mux
}

func back[T any](_ context.Context, req *T) (*T, error) { return req, nil }

// into makes one call for each request, with one message for all answers.
func into[T any](t *testing.T, conn rpc.Conn, m rpc.UnaryMethod[T, T], reqs []*T, same func(want, got *T) bool, opts ...rpc.CallOption) {
	t.Helper()
	var got T
	for i, req := range reqs {
		require.NoError(t, m.CallInto(t.Context(), conn, req, &got, opts...))
		require.True(t, same(req, &got), "message %d", i)
	}
}

func TestOneMessageServesForManyCalls(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		_, session, _ := start(t, lender(rpc.Config{Codecs: []rpc.Codec{gobs{}}, Compressors: []rpc.Compressor{peers}}))
		hedging := rpc.NewClient(session, rpc.ClientConfig{Options: []rpc.CallOption{rpc.WithHedging(time.Second, 2)}})
		twice := rpc.Unary[Text, Text](say.Name(), rpc.Idempotent())

		var t1 []*Text
		var r1 []*rpc.Raw
		var v1 []*wrapperspb.BytesValue
		for _, n := range []int{10, 0, 1000, 3, 5000, 1100, 2, 100_000, 0, 7} { // what is longer must leave nothing behind
			raw := rpc.Raw(noise(n))
			t1 = append(t1, &Text{Text: strings.Repeat("x", n), N: n}, &Text{Text: strings.Repeat("y", n)})
			r1 = append(r1, &raw)
			v1 = append(v1, wrapperspb.Bytes(noise(n)))
		}
		sameText := func(a, b *Text) bool { return *a == *b }
		sameValue := func(a, b *wrapperspb.BytesValue) bool { return proto.Equal(a, b) }
		for _, opts := range [][]rpc.CallOption{nil, {rpc.WithCompression(own)}} {
			into(t, session, say, t1, sameText, opts...)
			into(t, session, say, t1, sameText, append(opts, rpc.WithCustomCodec(gobs{}))...)
			into(t, hedging, twice, t1, sameText, opts...)
			into(t, session, octets, r1, func(a, b *rpc.Raw) bool { return string(*a) == string(*b) }, opts...)
			into(t, session, values, v1, sameValue, opts...)
			into(t, session, values, v1, sameValue, append(opts, rpc.WithCodec("json"))...)
		}
	})
}

func TestCallIntoUsesTheMemoryOfTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, _ := start(t, lender(rpc.Config{}))
		var value wrapperspb.BytesValue
		require.NoError(t, values.CallInto(t.Context(), client, wrapperspb.Bytes(noise(16<<10)), &value))
		first := &value.GetValue()[0]
		require.NoError(t, values.CallInto(t.Context(), client, wrapperspb.Bytes(noise(15<<10)), &value))
		assert.Same(t, first, &value.GetValue()[0])

		var raw rpc.Raw
		req := rpc.Raw(noise(64))
		require.NoError(t, octets.CallInto(t.Context(), client, &req, &raw))
		begin := &raw[0]
		require.NoError(t, octets.CallInto(t.Context(), client, &req, &raw))
		assert.Same(t, begin, &raw[0])
	})
}

// A request that is lent stays as it is until its handler has returned, whatever its caller sends behind it, and whether or not
// FIN has come.
func TestRequestThatIsLentLastsUntilTheHandlerReturns(t *testing.T) {
	even := transport.AppendFrame(nil, 0x02, bytes.Repeat([]byte{0xee}, 3000))
	for _, size := range []int{64, 16 << 10} {
		body := noise(size)
		head, err := proto.Marshal(&callpb.Head{Method: octets.Name(), Codec: "raw"})
		require.NoError(t, err)
		request := transport.AppendFrame(transport.AppendFrame(nil, 0x01, head), 0x03, body)
		for name, behind := range map[string][]byte{
			"nothing":                        nil,
			"the beginning of a frame":       even[:1],
			"half a frame":                   even[:1000],
			"a short frame that is skipped":  {0x02, 1, 0xee},
			"a frame that is skipped":        even,
			"that, and the beginning of one": append(bytes.Clone(even), 0x03),
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mux := rpc.NewMux(rpc.Config{})
					rpc.Handle(mux, octets, func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
						time.Sleep(time.Second) // in which other calls take what is free
						return req, nil
					}, rpc.LendRequest())
					rpc.Handle(mux, say, back[Text], rpc.LendRequest())
					n := transporttest.New(t, rtt)
					srv := n.Listen(transport.Config{Handlers: handlers(mux)})
					client, _ := n.Pair(srv, "alice", transport.Config{})
					s, err := client.OpenStream(t.Context(), transport.StreamRPC)
					require.NoError(t, err)
					_, err = s.Write(append(bytes.Clone(request), behind...))
					require.NoError(t, err)
					time.Sleep(2 * rtt)
					if size > 2<<10 {
						assert.InDelta(t, size, srv.Stats().Buffered, 1<<10, "M71: it is counted, once")
					}
					_, err = s.Write(even)
					require.NoError(t, err)
					for range 20 {
						_, err := say.Call(t.Context(), client, &Text{Text: strings.Repeat("x", 20_000)})
						require.NoError(t, err)
					}
					typ, got, err := s.ReadFrame(func(transport.FrameType) (uint64, bool) { return 1 << 20, true })
					require.NoError(t, err)
					require.Equal(t, transport.FrameType(0x03), typ)
					require.True(t, bytes.Equal(body, got))
					s.Cancel(transport.StreamCanceled)
					time.Sleep(time.Second)
					require.Zero(t, srv.Stats().Buffered)
				})
			})
		}
		if size > 1000 {
			continue // what is behind it may come later
		}
		t.Run("a second message", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, client, _ := start(t, lender(rpc.Config{}))
				s, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				_, err = s.Write(append(bytes.Clone(request), 0x03, 1, 'x'))
				require.NoError(t, err)
				typ, got, err := s.ReadFrame(func(transport.FrameType) (uint64, bool) { return 1 << 20, true })
				require.NoError(t, err)
				require.Equal(t, transport.FrameType(0x05), typ)
				var end callpb.End
				require.NoError(t, proto.Unmarshal(got, &end))
				assert.EqualValues(t, rpc.InvalidArgument, end.GetCode())
				assert.Equal(t, callpb.Execution_EXECUTION_NOT_STARTED, end.GetExecution())
			})
		})
	}
}
