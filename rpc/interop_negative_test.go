package rpc_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/interoppb"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// The cases of gRPC's other list (grpc/doc/negative-http2-interop-test-descriptions.md), with a QUIC stream in place of
// one of HTTP/2: what a client makes of a server that goes away, or breaks off.

// rawPeer is both sides of a session whose server answers calls with serve, which is not package rpc's.
func rawPeer(t *testing.T, serve func(s *transport.Stream)) (client, server *transport.Session) {
	t.Helper()
	n := transporttest.New(t, rtt)
	srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
		transport.StreamRPC: func(_ context.Context, s *transport.Stream) { serve(s) },
	}})
	return n.Pair(srv, "alice", transport.Config{})
}

// largeAnswer is the one message of the answer to large_unary, as a frame.
func largeAnswer(t *testing.T) []byte {
	t.Helper()
	b, err := proto.Marshal(&interoppb.SimpleResponse{Payload: zeros(largeResponse)})
	require.NoError(t, err)
	return transport.AppendFrame(nil, 0x03, b)
}

func TestInterop_rst_after_header(t *testing.T) { testReset(t, func([]byte) []byte { return nil }) }

func TestInterop_rst_during_data(t *testing.T) {
	testReset(t, func(data []byte) []byte { return data[:len(data)/2] })
}

func TestInterop_rst_after_data(t *testing.T) { testReset(t, func(data []byte) []byte { return data }) }

// testReset has a server send HEAD and what part returns of the message, and then reset its half.
func testReset(t *testing.T, part func(data []byte) []byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		answer := append([]byte{0x01, 0x00}, part(largeAnswer(t))...)
		client, server := rawPeer(t, func(s *transport.Stream) {
			_, _ = io.ReadAll(s)
			_, err := s.Write(answer)
			assert.NoError(t, err)
			time.Sleep(10 * rtt) // a reset throws away what has not left
			s.CancelWrite(transport.StreamUnspecified)
		})
		_, err := unaryCall.Call(t.Context(), client, largeUnary())
		wantError(t, err, rpc.Internal, rpc.Maybe)
		releaseAtOnce(t, client, server)
	})
}

// A GOAWAY while a call runs: that is answered, and the next goes to the server that follows, without its caller
// having to do anything.
func TestInterop_goaway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var srv *transport.Server
		n := transporttest.New(t, rtt)
		going := make(chan struct{})
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, unaryCall, func(ctx context.Context, req *interoppb.SimpleRequest) (*interoppb.SimpleResponse, error) {
			go func() {
				defer close(going)
				assert.NoError(t, srv.Shutdown(t.Context()))
				n.Listen(transport.Config{PacketConn: n.ConnAt(srv.Addr().(*net.UDPAddr)), Handlers: handlers(interopMux(rpc.Config{}))})
			}()
			<-rpc.Draining(ctx)
			return &interoppb.SimpleResponse{Payload: zeros(req.GetResponseSize())}, nil
		})
		srv = n.Listen(transport.Config{Handlers: handlers(mux)})
		client := n.Dial(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		require.NoError(t, callLarge(t.Context(), client))
		require.NoError(t, callLarge(t.Context(), client))
		<-going
		now, _ := client.Status()
		require.EqualValues(t, 2, now.Attempt, "the second call was on another connection")
	})
}

// Silence before and after HEAD, and before and after the message, each longer than a connection lives without a packet: PING is
// what keeps it.
func TestInterop_ping(t *testing.T) {
	for name, test := range map[string]struct {
		pingAfter time.Duration
		answered  bool
	}{
		"acknowledged": {time.Second, true},
		"never sent":   {-1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := largeAnswer(t)
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{IdleTimeout: 3 * time.Second, Handlers: map[transport.StreamType]transport.Handler{
					transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
						_, _ = io.ReadAll(s)
						for _, b := range [][]byte{{0x01, 0x00}, answer, {0x05, 0x00}} {
							time.Sleep(10 * time.Second)
							_, _ = s.Write(b)
						}
						time.Sleep(10 * time.Second)
						_ = s.Close()
					},
				}})
				client := n.Dial(srv, "alice", transport.Config{IdleTimeout: 3 * time.Second, PingAfter: test.pingAfter})
				err := callLarge(t.Context(), client)
				if test.answered {
					require.NoError(t, err)
					return
				}
				wantError(t, err, rpc.Unavailable, rpc.Maybe)
			})
		})
	}
}

// A server that lets a client have one call at a time: ten at once wait for their turn, and none fails.
func TestInterop_max_streams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, unaryCall, func(_ context.Context, req *interoppb.SimpleRequest) (*interoppb.SimpleResponse, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(rtt)
			return &interoppb.SimpleResponse{Payload: zeros(req.GetResponseSize())}, nil
		})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{MaxStreams: 2, Handlers: handlers(mux)}) // one is control
		client, server := n.Pair(srv, "alice", transport.Config{})
		require.NoError(t, callLarge(t.Context(), client))
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { assert.NoError(t, callLarge(t.Context(), client)) })
		}
		wg.Wait()
		require.EqualValues(t, 1, most.Load())
		releaseAtOnce(t, client, server)
	})
}
