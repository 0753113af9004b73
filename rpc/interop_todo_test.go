package rpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/interoppb"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// The cases that gRPC's list has as to do, by what it calls them. "Resilience to buggy servers" is in hostile_test.go, "RPC
// method not implemented" and the propagation of status and metadata have names by now, a connection that fails is in
// reconnect_test.go, and "Start streaming RPC but don't send any requests, server responds" is
// TestBidiHandlerStartsBeforeTheRequestIsComplete.

// "Flow control. Pushback at client for large messages", and "at server": who sends faster than the other reads is held up, and has
// no more than a stream's window and what one write holds on the way; others do not wait.
func TestInterop_pushback_at_client_and_server(t *testing.T) {
	const size, messages, window = 60_000, 40, 256 << 10
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent, received, ahead atomic.Int64
				send := func(send func(*rpc.Raw) error) {
					m := rpc.Raw(make([]byte, size))
					for range messages {
						if !assert.NoError(t, send(&m)) {
							return
						}
						ahead.Store(max(ahead.Load(), sent.Add(size)-received.Load()))
					}
				}
				recv := func(recv func() (*rpc.Raw, error)) {
					for range messages {
						time.Sleep(time.Second)
						m, err := recv()
						if !assert.NoError(t, err) {
							return
						}
						received.Add(int64(len(*m)))
					}
					_, err := recv()
					assert.ErrorIs(t, err, io.EOF)
				}
				mux := interopMux(rpc.Config{})
				rpc.Handle(mux, pipe, func(_ context.Context, s *rpc.Stream[rpc.Raw, rpc.Raw]) error {
					if side == "client" {
						recv(s.Recv)
					} else {
						send(s.Send)
					}
					return nil
				})
				_, client, server := start(t, mux)
				s, err := pipe.Call(t.Context(), client)
				require.NoError(t, err)
				done := make(chan struct{})
				go func() {
					defer close(done)
					if side == "server" {
						recv(s.Recv)
						return
					}
					send(s.Send)
					assert.NoError(t, s.CloseSend())
					_, err := s.Recv()
					assert.ErrorIs(t, err, io.EOF)
				}()
				begun := time.Now()
				for range 20 {
					time.Sleep(time.Second)
					asked := time.Now()
					_, err := emptyCall.Call(t.Context(), client, &interoppb.Empty{})
					require.NoError(t, err)
					require.Less(t, time.Since(asked), 2*rtt)
				}
				<-done
				require.GreaterOrEqual(t, time.Since(begun), messages*time.Second)
				require.Less(t, ahead.Load(), int64(window+2*size))
				require.Greater(t, ahead.Load(), int64(window/2), "the window is used")
				s.Close()
				releaseAtOnce(t, client, server)
			})
		})
	}
}

// "Multiple thousand simultaneous calls timeout on same Channel": each at its time, whether the server let it begin or not.
func TestInterop_thousands_of_simultaneous_timeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 5000
		e := newEcho(rpc.Config{})
		_, client, server := start(t, e.mux)
		_, err := say.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		e.calls.Store(0)
		var begun, notBegun atomic.Int64
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				since := time.Now()
				_, err := hang.Call(ctx, client, &Text{})
				assert.Equal(t, rpc.DeadlineExceeded, rpc.CodeOf(err))
				assert.InDelta(t, time.Second, time.Since(since), float64(rtt))
				if e, ok := errors.AsType[*rpc.Error](err); ok && e.Execution == rpc.NotStarted {
					notBegun.Add(1)
				} else {
					begun.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1023, begun.Load(), "as many streams as the server allows, but control")
		require.EqualValues(t, calls-1023, notBegun.Load())
		time.Sleep(time.Second)
		require.EqualValues(t, 1023, e.calls.Load())
		for range 1023 {
			require.Equal(t, rpc.DeadlinePassed, causeOf(t, <-e.causes))
		}
		_, err = say.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		releaseAtOnce(t, client, server)
	})
}

// "Cancel before start": nothing of the call leaves.
func TestInterop_cancel_before_start(t *testing.T) {
	for _, from := range []string{"client", "server"} {
		t.Run(from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEcho(rpc.Config{})
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
				client, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(e.mux)})
				conn := client
				if from == "server" {
					conn = server
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				for name, call := range kinds {
					begun := time.Now()
					err := call(ctx, conn)
					require.Zero(t, time.Since(begun), name)
					wantError(t, err, rpc.Canceled, rpc.NotStarted)
				}
				_, err := chat.Call(ctx, conn)
				wantError(t, err, rpc.Canceled, rpc.NotStarted)

				ctx, cancel = context.WithCancel(t.Context())
				s, err := chat.Call(ctx, conn) // opened, and nothing of it has been sent
				require.NoError(t, err)
				cancel()
				wantError(t, s.Send(&Text{}), rpc.Canceled, rpc.NotStarted)
				_, err = s.Recv()
				wantError(t, err, rpc.Canceled, rpc.NotStarted)
				time.Sleep(time.Second)
				require.Zero(t, e.calls.Load())
				releaseAtOnce(t, client, server)
			})
		})
	}
}

// "Cancel after sent first message", and "after received headers": the handler learns it, and it may have run.
func TestInterop_cancel_after_sent_first_message_and_after_received_headers(t *testing.T) {
	for _, headers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			causes := make(chan error, 1)
			mux := rpc.NewMux(rpc.Config{})
			rpc.Handle(mux, chat, func(ctx context.Context, s *rpc.Stream[Text, Text]) error {
				m, err := s.Recv()
				assert.NoError(t, err)
				if headers {
					assert.NoError(t, rpc.AddHeader(ctx, "a", "1"))
					assert.NoError(t, s.Send(m))
				}
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return ctx.Err()
			})
			_, client, server := start(t, mux)
			ctx, cancel := context.WithCancel(t.Context())
			s, err := chat.Call(ctx, client)
			require.NoError(t, err)
			require.NoError(t, s.Send(&Text{}))
			if headers {
				md, err := s.Header()
				require.NoError(t, err)
				require.Len(t, md, 1)
			}
			time.Sleep(rtt)
			cancel()
			synctest.Wait()
			if headers { // the message that came with it is there, and not wanted any more
				_, err = s.Recv()
			}
			if err == nil {
				_, err = s.Recv()
			}
			wantError(t, err, rpc.Canceled, rpc.Maybe)
			require.Equal(t, rpc.CallerCanceled, causeOf(t, <-causes))
			releaseAtOnce(t, client, server)
		})
	}
}

// "Timeout but completed before expire".
func TestInterop_timeout_but_completed_before_expire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := interopPair(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := fullDuplex.Call(ctx, client)
		require.NoError(t, err)
		req := ask(0, 9)
		req.ResponseParameters[0].IntervalUs = 970_000 // with the round trip 990 ms
		require.NoError(t, s.Send(req))
		require.NoError(t, s.CloseSend())
		wantSizes(t, s.Recv, 9)
		time.Sleep(time.Second)
		_, err = s.Recv()
		require.ErrorIs(t, err, io.EOF, "it stays what it was when the time is up")
		releaseAtOnce(t, client, server)
	})
}

// "Large amount of headers to cause CONTINUATIONs; 63K of 'X's, all in one header".
func TestInterop_large_amount_of_headers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := interopPair(t)
		value := strings.Repeat("X", 63<<10)
		var header rpc.Metadata
		_, err := unaryCall.Call(t.Context(), client, &interoppb.SimpleRequest{},
			rpc.WithMetadata(rpc.Metadata{{Key: echoInitial, Value: value}}), rpc.WithHeader(&header))
		require.NoError(t, err)
		got, _ := header.Get(echoInitial)
		require.Equal(t, value, got)
		releaseAtOnce(t, client, server)
	})
}

// "Multiple thousand simultaneous calls on different Channels"; on the same one is
// TestBothSidesCallEachOtherAThousandTimesAtOnce.
func TestInterop_thousands_of_calls_on_different_channels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(interopMux(rpc.Config{}))})
		var wg sync.WaitGroup
		for range 40 {
			client := n.Dial(srv, "alice", transport.Config{})
			for range 50 {
				wg.Go(func() {
					_, err := emptyCall.Call(t.Context(), client, &interoppb.Empty{})
					assert.NoError(t, err)
				})
			}
		}
		wg.Wait()
	})
}
