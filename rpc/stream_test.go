package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

func TestCancelOfOneCallLeavesTheOthersAlone(t *testing.T) { // R1
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		const n = 50
		streams := make([]*rpc.Stream[Text, Text], n)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for i := range streams {
			c := t.Context()
			if i == 7 {
				c = ctx
			}
			s, err := chat.Call(c, client)
			require.NoError(t, err)
			t.Cleanup(s.Close)
			require.NoError(t, s.Send(&Text{N: i}))
			_, err = s.Recv()
			require.NoError(t, err)
			streams[i] = s
		}
		cancel()
		for i, s := range streams {
			if i == 7 {
				_, err := s.Recv()
				wantError(t, err, rpc.Canceled, rpc.Maybe)
				continue
			}
			require.NoError(t, s.Send(&Text{N: -i}))
			m, err := s.Recv()
			require.NoError(t, err)
			assert.Equal(t, -i, m.N)
		}
		assert.Equal(t, transport.StateLive, client.State())
	})
}

func TestLostPacketOfOneCallDelaysNoOther(t *testing.T) { // R2
	for _, direction := range []string{"request", "response"} {
		t.Run(direction, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEcho(rpc.Config{})
				n, client, server := start(t, e.mux)
				from := server.Peer().Addr.String()
				if direction == "response" {
					from = client.Peer().Addr.String()
				}
				call := func() time.Duration {
					begun := time.Now()
					_, err := say.Call(t.Context(), client, &Text{Text: "hi"})
					assert.NoError(t, err)
					return time.Since(begun)
				}
				call()
				time.Sleep(time.Second) // acknowledgements and credit are through

				var unlucky time.Duration
				for range 10 { // a packet may be an acknowledgement alone, which no call misses
					lost := 0
					n.Drop(func(p transporttest.Packet) bool {
						drop := lost == 0 && p.From.String() == from
						if drop {
							lost++
						}
						return drop
					})
					var wg sync.WaitGroup
					wg.Go(func() { unlucky = call() })
					time.Sleep(time.Millisecond)
					for range 20 {
						wg.Go(func() { assert.Less(t, call(), rtt+rtt/4) })
					}
					wg.Wait()
					assert.Equal(t, 1, lost)
					if unlucky > rtt+rtt/2 {
						break
					}
					time.Sleep(time.Second)
				}
				assert.Greater(t, unlucky, rtt+rtt/2, "the packet was of this call")
			})
		})
	}
}

func TestUnreadStreamsStallNoOther(t *testing.T) { // R3
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, say, func(_ context.Context, req *Text) (*Text, error) { return req, nil })
		rpc.Handle(mux, count, func(_ context.Context, _ *Text, out *rpc.Sender[Text]) error {
			for {
				if err := out.Send(&Text{Text: strings.Repeat("x", 10_000)}); err != nil {
					return err
				}
			}
		})
		_, client, _ := start(t, mux)
		for range 24 {
			in, err := count.Call(t.Context(), client, &Text{})
			require.NoError(t, err)
			t.Cleanup(in.Close)
		}
		time.Sleep(10 * time.Second) // all windows are full
		for range 10 {
			begun := time.Now()
			_, err := say.Call(t.Context(), client, &Text{Text: "hi"})
			require.NoError(t, err)
			assert.Less(t, time.Since(begun), 2*rtt)
		}
	})
}

// endless yields messages for as long as they are wanted.
func endless(m *Text) iter.Seq[*Text] {
	return func(yield func(*Text) bool) {
		for yield(m) {
		}
	}
}

// Every way to leave a call ends both halves of its stream, and every goroutine.
// resumed goes on once.
var resumed = rpc.ServerStream[Text, Text]("test.Echo/Resumed", rpc.Resumable())

func TestTenThousandCallsOfEveryKindAndEndingLeaveNothing(t *testing.T) { // R5
	forever := rpc.ServerStream[Text, Text]("test.Echo/Forever")
	swallow := rpc.Bidi[Text, Text]("test.Echo/Swallow")
	early := rpc.ClientStream[Text, Text]("test.Echo/Early")
	kilo := strings.Repeat("x", 1000)
	type caller func(t *testing.T, ctx context.Context, conn rpc.Conn) error
	endings := map[string]caller{
		"unary": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := say.Call(ctx, conn, &Text{Text: "hi"})
			return err
		},
		"unary, protobuf": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := wrap.Call(ctx, conn, wrapperspb.String("hi"))
			return err
		},
		"unary, canceled": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(rtt, cancel)
			_, err := hang.Call(ctx, conn, &Text{})
			return expect(err, rpc.Canceled)
		},
		"unary, canceled at once": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			go cancel()
			if _, err := say.Call(ctx, conn, &Text{}); err != nil {
				return expect(err, rpc.Canceled)
			}
			return nil
		},
		"unary, deadline": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, rtt)
			defer cancel()
			_, err := hang.Call(ctx, conn, &Text{})
			return expect(err, rpc.DeadlineExceeded)
		},
		"unary, error": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := fail.Call(ctx, conn, &Text{})
			return expect(err, rpc.NotFound)
		},
		"unary, panic": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := fail.Call(ctx, conn, &Text{Text: "panic"})
			return expect(err, rpc.Internal)
		},
		"unary, oversized request": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := say.Call(ctx, conn, &Text{Text: strings.Repeat("x", 30_000)})
			return expect(err, rpc.ResourceExhausted)
		},
		"unary, oversized response": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			blob := make(rpc.Raw, 900)
			_, err := octets.Call(ctx, conn, &blob, rpc.WithCodec("raw"), rpc.WithMaxMessage(899))
			return expect(err, rpc.ResourceExhausted)
		},
		"unknown method": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := rpc.Unary[Text, Text]("test.Echo/Nope").Call(ctx, conn, &Text{})
			return expect(err, rpc.Unimplemented)
		},
		"server stream": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			in, err := count.Call(ctx, conn, &Text{N: 3})
			if err != nil {
				return err
			}
			for _, err := range in.All() {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"server stream, left early": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			in, err := forever.Call(ctx, conn, &Text{Text: kilo})
			if err != nil {
				return err
			}
			for _, err := range in.All() {
				return err
			}
			return nil
		},
		"server stream, forgotten": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := forever.Call(ctx, conn, &Text{})
			time.Sleep(2 * rtt)
			cancel() // frees it
			return err
		},
		"server stream, ended and forgotten": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := count.Call(ctx, conn, &Text{N: 1})
			time.Sleep(2 * rtt)
			cancel()
			return err
		},
		"server stream, malformed": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			in, err := rpc.ServerStream[Text, int](forever.Name()).Call(ctx, conn, &Text{Text: kilo})
			if err != nil {
				return err
			}
			_, err = in.Recv()
			return expect(err, rpc.Internal)
		},
		"resumable": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			in, err := resumed.Call(ctx, conn, &Text{})
			if err != nil {
				return err
			}
			for _, err := range in.All() {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"resumable, left early": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			in, err := resumed.Call(ctx, conn, &Text{})
			if err != nil {
				return err
			}
			for _, err := range in.All() {
				return err
			}
			return nil
		},
		"resumable, closed before it goes on": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			in, err := resumed.Call(ctx, conn, &Text{})
			if err != nil {
				return err
			}
			if _, err := in.Recv(); err != nil {
				return err
			}
			time.AfterFunc(rtt, in.Close)
			for err == nil {
				_, err = in.Recv()
			}
			if errors.Is(err, io.EOF) { // it was faster
				return nil
			}
			return expect(err, rpc.Canceled)
		},
		"resumable, forgotten": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := resumed.Call(ctx, conn, &Text{})
			time.Sleep(2 * rtt)
			cancel()
			return err
		},
		"client stream": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := sum.Call(ctx, conn, func(yield func(*Text) bool) { _ = yield(&Text{N: 1}) && yield(&Text{N: 2}) })
			return err
		},
		"client stream, early answer": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			_, err := early.Call(ctx, conn, endless(&Text{Text: kilo}))
			return err
		},
		"client stream, canceled": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := sum.Call(ctx, conn, func(yield func(*Text) bool) {
				_ = yield(&Text{})
				cancel()
			})
			return expect(err, rpc.Canceled)
		},
		"bidi": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			s, err := chat.Call(ctx, conn)
			if err != nil {
				return err
			}
			if err := s.Send(&Text{}); err != nil {
				return err
			}
			if _, err := s.Recv(); err != nil {
				return err
			}
			if err := s.CloseSend(); err != nil {
				return err
			}
			if _, err = s.Recv(); errors.Is(err, io.EOF) {
				return nil
			}
			return err
		},
		"bidi, closed": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			s, err := chat.Call(ctx, conn)
			if err != nil {
				return err
			}
			defer s.Close()
			return s.Send(&Text{})
		},
		"bidi, never used": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			s, err := chat.Call(ctx, conn)
			if err != nil {
				return err
			}
			s.Close()
			return nil
		},
		"bidi, blocked in send": func(_ *testing.T, ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 3*rtt)
			defer cancel()
			s, err := swallow.Call(ctx, conn)
			for err == nil {
				err = s.Send(&Text{Text: kilo})
			}
			if errors.Is(err, io.EOF) { // the handler's clock came first
				_, err = s.Recv()
			}
			return expect(err, rpc.DeadlineExceeded)
		},
	}
	// Those that fill windows are as many as it takes to find a leak, the rest make it up.
	heavy := map[string]bool{
		"server stream, left early": true, "server stream, forgotten": true, "server stream, malformed": true, "client stream, early answer": true,
		"unary, oversized request": true, "bidi, blocked in send": true,
	}
	const atOnce, heavyEach = 20, 60
	each := (10_000-heavyEach*len(heavy))/(len(endings)-len(heavy)) + 1
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{MaxMessage: 20_000})
		rpc.Handle(e.mux, forever, func(_ context.Context, req *Text, out *rpc.Sender[Text]) error {
			for {
				if err := out.Send(req); err != nil {
					return err
				}
			}
		})
		rpc.Handle(e.mux, resumed, func(ctx context.Context, _ *Text, out *rpc.Sender[Text]) error {
			if rpc.Cursor(ctx) == "" {
				if err := out.SendAt("1", &Text{}); err != nil {
					return err
				}
				return rpc.Errorf(rpc.Unavailable, "go on")
			}
			return out.SendAt("2", &Text{})
		})
		var swallowing atomic.Int64
		rpc.Handle(e.mux, swallow, func(ctx context.Context, _ *rpc.Stream[Text, Text]) error {
			swallowing.Add(1)
			defer swallowing.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		})
		rpc.Handle(e.mux, early, func(_ context.Context, in *rpc.Receiver[Text]) (*Text, error) { return in.Recv() })
		go func() { // the channels of hang are not read otherwise
			for range e.hung {
				<-e.causes
			}
		}()
		_, client, server := start(t, e.mux)
		time.Sleep(time.Second)
		synctest.Wait()
		before := len(goroutines())
		for name, call := range endings {
			n := each
			if heavy[name] {
				n = heavyEach
			}
			var wg sync.WaitGroup
			for range atOnce {
				wg.Go(func() {
					for range (n + atOnce - 1) / atOnce {
						if !assert.NoError(t, call(t, t.Context(), client), name) {
							return
						}
					}
				})
			}
			wg.Wait()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		after := goroutines()
		assert.Len(t, after, before, "goroutines: %s", strings.Join(after, "\n\n"))

		// All streams that the peer allows can be open at once: 1024, of which control is one.
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 1023 {
			wg.Go(func() {
				s, err := swallow.Call(ctx, client)
				if assert.NoError(t, err) {
					_, err = s.Recv()
					assert.Equal(t, rpc.Canceled, rpc.CodeOf(err))
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		assert.EqualValues(t, 1023, swallowing.Load(), "stream slots")
		cancel()
		wg.Wait()
		close(e.hung)

		// Neither side counts a stream any more: a release waits for nothing.
		begun := time.Now()
		require.NoError(t, client.Release(t.Context()))
		assert.Less(t, time.Since(begun), 5*rtt)
		require.NoError(t, server.Wait(t.Context()))
	})
}

// goroutines returns the stacks of those that run code of this module or of quic-go's, and so not of
// the runtime's, which come and go.
func goroutines() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return slices.DeleteFunc(strings.Split(string(buf), "\n\n"), func(stack string) bool {
		return !strings.Contains(stack, "trunkline-go/trunkline/") && !strings.Contains(stack, "quic-go/quic-go.")
	})
}

// expect turns the error that is wanted into none.
func expect(err error, code rpc.Code) error {
	if err != nil && rpc.CodeOf(err) == code {
		return nil
	}
	return errors.Join(errors.New("want "+code.String()), err)
}

// A watched context counts who waits for its end.
type watched struct {
	context.Context
	waiting atomic.Int64
}

// Value hides the context inside, at which package context would wait directly.
func (w *watched) Value(any) any { return nil }

// AfterFunc is what context.AfterFunc calls.
func (w *watched) AfterFunc(f func()) func() bool {
	w.waiting.Add(1)
	stop := context.AfterFunc(w.Context, f)
	return sync.OnceValue(func() bool {
		w.waiting.Add(-1)
		return stop()
	})
}

func TestCallsLeaveNothingInTheirContext(t *testing.T) { // R5
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &watched{Context: ctx}
		_, err := say.Call(w, client, &Text{})
		require.NoError(t, err)
		assert.Zero(t, w.waiting.Load())
		_, err = fail.Call(w, client, &Text{})
		require.Error(t, err)
		assert.Zero(t, w.waiting.Load())
		s, err := chat.Call(w, client)
		require.NoError(t, err)
		assert.EqualValues(t, 1, w.waiting.Load())
		s.Close()
		assert.Zero(t, w.waiting.Load())

		_, err = resumed.Call(w, client, &Text{}, rpc.WithCursor(strings.Repeat("x", 2000)))
		require.Error(t, err)
		assert.Zero(t, w.waiting.Load())
		in, err := resumed.Call(w, client, &Text{})
		require.NoError(t, err)
		assert.EqualValues(t, 1, w.waiting.Load())
		_, err = in.Recv() // there is no such method
		require.Error(t, err)
		assert.Zero(t, w.waiting.Load())
		in, err = resumed.Call(w, client, &Text{})
		require.NoError(t, err)
		in.Close()
		assert.Zero(t, w.waiting.Load())
	})
}

// A message stays what it was for as long as it is kept, whatever is received after it.
func TestReceivedMessagesStayValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, pipe, func(_ context.Context, s *rpc.Stream[rpc.Raw, rpc.Raw]) error {
			var all []*rpc.Raw
			for m, err := range s.All() {
				if err != nil {
					return err
				}
				all = append(all, m)
			}
			for _, m := range all {
				if err := s.Send(m); err != nil {
					return err
				}
			}
			return nil
		})
		_, client, _ := start(t, mux)
		s, err := pipe.Call(t.Context(), client)
		require.NoError(t, err)
		defer s.Close()
		var kept []*rpc.Raw
		var want []rpc.Raw
		for i, size := range []int{1, 2 << 10, 2<<10 + 1, 16 << 10, 3 << 10, 100 << 10, 100, 16 << 10} {
			m := rpc.Raw(bytes.Repeat([]byte{byte('a' + i)}, size))
			require.NoError(t, s.Send(&m))
			want = append(want, m)
		}
		require.NoError(t, s.CloseSend())
		for m, err := range s.All() {
			require.NoError(t, err)
			kept = append(kept, m)
		}
		require.Len(t, kept, len(want))
		for i, m := range kept {
			assert.True(t, bytes.Equal(want[i], *m), "message %d of %d bytes has changed", i, len(want[i]))
		}
	})
}
