package rpc_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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

// The same where handlers read none of the requests.
func TestUnreadRequestsStallNoOther(t *testing.T) { // R3
	synctest.Test(t, func(t *testing.T) {
		_, client, _ := start(t, newLeave())
		for range 24 {
			s, err := swallow.Call(t.Context(), client)
			require.NoError(t, err)
			go func() {
				for err := error(nil); err == nil; {
					err = s.Send(&Text{Text: kilo})
				}
			}()
			t.Cleanup(s.Close)
		}
		time.Sleep(10 * time.Second)
		for range 10 {
			begun := time.Now()
			_, err := say.Call(t.Context(), client, &Text{Text: "hi"})
			require.NoError(t, err)
			assert.Less(t, time.Since(begun), 2*rtt)
		}
	})
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
