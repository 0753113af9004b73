package rpc_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/rpc/internal/interoppb"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// The cases of compression of gRPC's interop list. As there, the server says InvalidArgument to a message that is not
// compressed though it says it is; whether what it sends is, the client sees.
func TestInteropCompression(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, conn rpc.Conn, z *counted)
	}{
		{"client_compressed_unary", clientCompressedUnary},
		{"server_compressed_unary", serverCompressedUnary},
		{"client_compressed_streaming", clientCompressedStreaming},
		{"server_compressed_streaming", serverCompressedStreaming},
	} {
		for _, from := range []string{"client", "server"} {
			t.Run(test.name+"/"+from, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					peers := &counted{Compressor: gzip.New()}
					cfg := rpc.Config{Compressors: []rpc.Compressor{peers}, Interceptors: []rpc.Interceptor{asExpected(peers)}}
					tcfg := transport.Config{Handlers: handlers(interopMux(cfg))}
					n := transporttest.New(t, rtt)
					client, server := n.Pair(n.Listen(tcfg), "alice", tcfg)
					conn := client
					if from == "server" {
						conn = server
					}
					test.run(t, conn, &counted{Compressor: gzip.New()})
					releaseAtOnce(t, client, server)
				})
			})
		}
	}
}

// asExpected does what a request says of compression.
func asExpected(z *counted) rpc.Interceptor {
	return func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
		c.OnReceive(func(m any, _ int) error {
			compressed := z.unpacked.Swap(0) == 1
			expect := func(b *interoppb.BoolValue) error {
				if b != nil && b.GetValue() != compressed {
					return rpc.Errorf(rpc.InvalidArgument, "message is compressed: %v", compressed)
				}
				return nil
			}
			switch m := m.(type) {
			case *interoppb.SimpleRequest:
				if b := m.GetResponseCompressed(); b != nil && !b.GetValue() {
					if err := rpc.Uncompressed(ctx); err != nil {
						return err
					}
				}
				return expect(m.GetExpectCompressed())
			case *interoppb.StreamingInputCallRequest:
				return expect(m.GetExpectCompressed())
			}
			return nil
		})
		return next(ctx)
	}
}

func boolean(b bool) *interoppb.BoolValue { return &interoppb.BoolValue{Value: b} }

func clientCompressedUnary(t *testing.T, conn rpc.Conn, z *counted) {
	call := func(expect bool, opts ...rpc.CallOption) error {
		req := largeUnary()
		req.ExpectCompressed = boolean(expect)
		res, err := unaryCall.Call(t.Context(), conn, req, opts...)
		require.Len(t, res.GetPayload().GetBody(), map[bool]int{true: largeResponse}[err == nil])
		return err
	}
	wantError(t, call(true), rpc.InvalidArgument, rpc.NotStarted) // does the server look?
	require.NoError(t, call(true, rpc.WithCompression(z)))
	require.NoError(t, call(false))
}

func serverCompressedUnary(t *testing.T, conn rpc.Conn, z *counted) {
	for _, compressed := range []bool{true, false} {
		req := largeUnary()
		req.ResponseCompressed = boolean(compressed)
		res, err := unaryCall.Call(t.Context(), conn, req, rpc.WithAcceptCompression(z))
		require.NoError(t, err)
		require.Len(t, res.GetPayload().GetBody(), largeResponse)
		require.Equal(t, compressed, z.unpacked.Swap(0) == 1)
	}
}

func clientCompressedStreaming(t *testing.T, conn rpc.Conn, z *counted) {
	call := func(reqs []*interoppb.StreamingInputCallRequest, opts ...rpc.CallOption) (*interoppb.StreamingInputCallResponse, error) {
		return streamingInput.Call(t.Context(), conn, slices.Values(reqs), opts...)
	}
	first := &interoppb.StreamingInputCallRequest{ExpectCompressed: boolean(true), Payload: zeros(27182)}
	second := &interoppb.StreamingInputCallRequest{ExpectCompressed: boolean(false), Payload: zeros(45904)}
	_, err := call([]*interoppb.StreamingInputCallRequest{first})
	wantError(t, err, rpc.InvalidArgument, rpc.Ran) // does the server look?
	res, err := call([]*interoppb.StreamingInputCallRequest{first, second}, rpc.WithCompression(z),
		rpc.WithUncompressed(func(m any) bool { return m == second }))
	require.NoError(t, err)
	require.EqualValues(t, 73086, res.GetAggregatedPayloadSize())
}

func serverCompressedStreaming(t *testing.T, conn rpc.Conn, z *counted) {
	req := ask(0, 31415, 92653)
	for i, compressed := range []bool{true, false} {
		req.ResponseParameters[i].Compressed = boolean(compressed)
	}
	in, err := streamingOutput.Call(t.Context(), conn, req, rpc.WithAcceptCompression(z))
	require.NoError(t, err)
	for i, compressed := range []bool{true, false} {
		res, err := in.Recv()
		require.NoError(t, err)
		require.Len(t, res.GetPayload().GetBody(), []int{31415, 92653}[i])
		require.Equal(t, compressed, z.unpacked.Swap(0) == 1)
	}
	wantSizes(t, in.Recv)
}
