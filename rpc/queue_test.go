package rpc_test

import (
	"context"
	"math/rand/v2"
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

// A workshop runs calls of say, each until it is told to end or its caller goes. What runs is known by its number.
type workshop struct {
	mux  *rpc.Mux
	done chan struct{} // ends one

	mu        sync.Mutex // guards what follows
	began     []int
	now, most int
}

func newWorkshop(cfg rpc.Config) *workshop {
	w := &workshop{mux: rpc.NewMux(cfg), done: make(chan struct{})}
	rpc.Handle(w.mux, say, func(ctx context.Context, req *Text) (*Text, error) {
		w.mu.Lock()
		w.began = append(w.began, req.N)
		w.now++
		w.most = max(w.most, w.now)
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			w.now--
			w.mu.Unlock()
		}()
		select {
		case <-w.done:
		case <-ctx.Done():
		}
		if req.Text == "panic" {
			panic("secret")
		}
		return req, ctx.Err()
	})
	return w
}

func (w *workshop) order() []int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]int(nil), w.began...)
}

// A pending is a call that has not been answered yet.
type pending struct {
	cancel context.CancelFunc
	err    chan error
}

// send calls say, after what was sent before, and gives that the time to be there.
func send(t *testing.T, conn rpc.Conn, req Text, timeout time.Duration) *pending {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(t.Context(), timeout)
	}
	p := &pending{cancel, make(chan error, 1)}
	go func() {
		_, err := say.Call(ctx, conn, &req)
		p.err <- err
	}()
	time.Sleep(2 * rtt)
	return p
}

func TestCallsAboveTheLimitWaitForTheirTurnInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(rpc.Config{MaxConcurrent: 3})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(w.mux)})
		alice := n.Dial(srv, "alice", transport.Config{})
		var calls []*pending
		for i := range 9 {
			calls = append(calls, send(t, alice, Text{N: i, Text: []string{"", "panic"}[i%2]}, 0))
		}
		assert.Equal(t, []int{0, 1, 2}, w.order())
		bob := send(t, n.Dial(srv, "bob", transport.Config{}), Text{N: 100}, 0)
		assert.Equal(t, []int{0, 1, 2, 100}, w.order(), "another session has a limit of its own")
		for range 10 {
			w.done <- struct{}{}
			synctest.Wait()
		}
		assert.Equal(t, []int{0, 1, 2, 100, 3, 4, 5, 6, 7, 8}, w.order())
		assert.Equal(t, 4, w.most)
		require.NoError(t, <-bob.err)
		for i, p := range calls {
			if err := <-p.err; i%2 == 0 {
				require.NoError(t, err)
			} else {
				wantError(t, err, rpc.Internal, rpc.Ran)
			}
		}
	})
}

func TestStreamsTakePlacesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{MaxConcurrent: 1})
		_, client, _ := start(t, e.mux)
		s, err := chat.Call(t.Context(), client)
		require.NoError(t, err)
		require.NoError(t, s.Send(&Text{}))
		time.Sleep(rtt)
		answered := make(chan error, 1)
		go func() { answered <- kinds["client stream"](t.Context(), client) }()
		time.Sleep(time.Minute)
		assert.EqualValues(t, 1, e.calls.Load())
		s.Close()
		require.NoError(t, <-answered)
		assert.EqualValues(t, 2, e.calls.Load())
	})
}

func TestFullQueueRefusesAtOnceAndUnstarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, queued := range []int{-1, 2} {
			w := newWorkshop(rpc.Config{MaxConcurrent: 2, MaxQueued: queued})
			_, client, _ := start(t, w.mux)
			var calls []*pending
			for i := range 2 + max(0, queued) {
				calls = append(calls, send(t, client, Text{N: i}, 0))
			}
			refused := send(t, client, Text{N: 100}, 0)
			e := wantError(t, <-refused.err, rpc.ResourceExhausted, rpc.NotStarted)
			assert.True(t, e.Remote)
			assert.Equal(t, 100*time.Millisecond, e.RetryAfter)
			for _, p := range calls {
				w.done <- struct{}{}
				require.NoError(t, <-p.err)
			}
			assert.NotContains(t, w.order(), 100)
		}
	})
}

func TestCallerThatGoesLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(rpc.Config{MaxConcurrent: 1, MaxQueued: 2})
		_, client, _ := start(t, w.mux)
		first := send(t, client, Text{N: 0}, 0)
		second := send(t, client, Text{N: 1}, 0)
		third := send(t, client, Text{N: 2}, 10*rtt)
		wantError(t, <-send(t, client, Text{N: 3}, 0).err, rpc.ResourceExhausted, rpc.NotStarted)

		second.cancel()
		wantError(t, <-second.err, rpc.Canceled, rpc.Maybe)
		time.Sleep(rtt)
		fourth := send(t, client, Text{N: 4}, 0)
		wantError(t, <-third.err, rpc.DeadlineExceeded, rpc.Maybe)
		time.Sleep(rtt)
		fifth := send(t, client, Text{N: 5}, 0)

		for _, p := range []*pending{first, fourth, fifth} {
			w.done <- struct{}{}
			require.NoError(t, <-p.err)
		}
		assert.Equal(t, []int{0, 4, 5}, w.order(), "who went has not run")
	})
}

// Who waits in vain is told that nothing has run, if it still listens.
func TestQueueHonoursTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan rpc.CallStats, 2)
		w := newWorkshop(rpc.Config{MaxConcurrent: 1, Observe: func(s rpc.CallStats) { seen <- s }})
		_, client, _ := start(t, w.mux)
		first := send(t, client, Text{}, 0)
		begun := time.Now()
		str := attack(t, client, unhex(t, headTimeout+dataHi)) // a second
		end := readEnd(t, str)
		assert.Equal(t, time.Second+rtt, time.Since(begun))
		assert.Equal(t, []byte{0x08, byte(rpc.DeadlineExceeded)}, end[:2])
		assert.Equal(t, unhex(t, "2801"), end[len(end)-2:], "not started")
		stats := <-seen
		assert.Equal(t, rpc.DeadlineExceeded, stats.Code)
		assert.Equal(t, rpc.NotStarted, stats.Execution)
		str.Cancel(transport.StreamCanceled)
		w.done <- struct{}{}
		require.NoError(t, <-first.err)
		assert.Len(t, w.order(), 1)
	})
}

// The end of a session takes its calls from the queue, and the places that they had.
func TestQueueEndsWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(rpc.Config{MaxConcurrent: 1})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(w.mux)})
		client, server := n.Pair(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		var calls []*pending
		for i := range 5 {
			calls = append(calls, send(t, client, Text{N: i}, 0))
		}
		server.Abort(transport.Internal, "")
		for _, p := range calls {
			wantError(t, <-p.err, rpc.Unavailable, rpc.Maybe)
		}
		time.Sleep(time.Second)
		next := send(t, client, Text{N: 9}, 0)
		order := w.order()
		assert.Equal(t, []int{0, 9}, order, "who waited has not run")
		w.done <- struct{}{}
		require.NoError(t, <-next.err)
	})
}

// After 10,000 calls, most of which leave at any moment, the queue is as it was.
func TestR5TenThousandQueuedCallsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, ran atomic.Int64
		mux := rpc.NewMux(rpc.Config{MaxConcurrent: 5, MaxQueued: 50})
		rpc.Handle(mux, say, func(ctx context.Context, req *Text) (*Text, error) {
			ran.Add(1)
			if now := running.Add(1); now > most.Load() {
				most.Store(now)
			}
			defer running.Add(-1)
			select {
			case <-time.After(rtt / 10):
			case <-ctx.Done():
			}
			return req, nil
		})
		_, client, server := start(t, mux)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for range 100 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(6*rtt))))
					_, _ = say.Call(ctx, client, &Text{})
					cancel()
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		assert.EqualValues(t, 5, most.Load())
		assert.Zero(t, running.Load())
		before := ran.Load()
		assert.Greater(t, before, int64(500))
		assert.Less(t, before, int64(9500), "some have left the queue")
		for range 55 { // as many as there are places
			wg.Go(func() {
				_, err := say.Call(t.Context(), client, &Text{})
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, before+55, ran.Load())
		require.NoError(t, client.Release(t.Context()), "no stream is left")
		_ = server.Wait(t.Context())
	})
}

// What the peer's streams are too few for waits on the caller's side: in order, for as long as the call's context, and
// without having started.
func TestCallWaitsForAStreamInOrderAndWithinItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(w.mux), MaxStreams: 4}) // one is the control stream
		client := n.Dial(srv, "alice", transport.Config{})
		var calls []*pending
		for i := range 3 {
			calls = append(calls, send(t, client, Text{N: i}, 0))
		}
		begun := time.Now()
		timed := send(t, client, Text{N: 100}, time.Second)
		gone := send(t, client, Text{N: 101}, 0)
		for i := range 6 {
			calls = append(calls, send(t, client, Text{N: 3 + i}, 0))
		}
		gone.cancel()
		wantError(t, <-gone.err, rpc.Canceled, rpc.NotStarted)
		wantError(t, <-timed.err, rpc.DeadlineExceeded, rpc.NotStarted)
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Equal(t, []int{0, 1, 2}, w.order())
		for _, p := range calls {
			w.done <- struct{}{}
			require.NoError(t, <-p.err)
			time.Sleep(time.Second)
		}
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, w.order())
	})
}
