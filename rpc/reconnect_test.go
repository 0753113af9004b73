package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// between is a session between whose opening of a stream and the first write on it something happens, the first time.
type between struct {
	*transport.Session
	happen func()
}

func (b *between) OpenStream(ctx context.Context, t transport.StreamType) (*transport.Stream, error) {
	s, err := b.Session.OpenStream(ctx, t)
	if happen := b.happen; happen != nil {
		b.happen = nil
		happen()
	}
	return s, err
}

// kinds calls a method of each kind that is made once more by itself.
var kinds = map[string]func(ctx context.Context, conn rpc.Conn) error{
	"unary": func(ctx context.Context, conn rpc.Conn) error {
		_, err := say.Call(ctx, conn, &Text{Text: "hi"})
		return err
	},
	"server stream": func(ctx context.Context, conn rpc.Conn) error {
		in, err := count.Call(ctx, conn, &Text{N: 3})
		if err != nil {
			return err
		}
		for _, e := range in.All() {
			err = e
		}
		return err
	},
	"client stream": func(ctx context.Context, conn rpc.Conn) error {
		res, err := sum.Call(ctx, conn, slices.Values([]*Text{{N: 1}, {N: 2}}))
		if err == nil && res.N != 3 {
			return fmt.Errorf("the sum is %d", res.N)
		}
		return err
	},
	"empty client stream": func(ctx context.Context, conn rpc.Conn) error {
		_, err := sum.Call(ctx, conn, slices.Values([]*Text(nil)))
		return err
	},
}

// A call whose connection ends before anything of it has left goes over to the next, and runs once (R4).
func TestR4CallThatHadNotLeftGoesOverToTheNextConnection(t *testing.T) {
	for name, call := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEcho(rpc.Config{})
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
				client, server := n.Pair(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
				conn := &between{client, func() {
					server.Abort(transport.Internal, "")
					time.Sleep(rtt)
				}}
				require.NoError(t, call(t.Context(), conn))
				assert.EqualValues(t, 1, e.calls.Load())
				now, _ := client.Status()
				assert.EqualValues(t, 2, now.Attempt)
				require.NoError(t, client.Release(t.Context()), "no stream is left")
			})
		})
	}
}

// So does one of the server's, when its client is back.
func TestR4CallOfTheServersGoesOverToTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{IdleTimeout: 2 * time.Second})
		_, server := n.Pair(srv, "alice", transport.Config{
			NewPacketConn: n.NewConn, IdleTimeout: 2 * time.Second, PingAfter: time.Second, Handlers: handlers(e.mux),
		})
		conn := &between{server, func() {
			n.Cut()
			time.Sleep(5 * time.Second)
			n.Drop(nil)
		}}
		require.NoError(t, kinds["unary"](t.Context(), conn))
		assert.EqualValues(t, 1, e.calls.Load())
		assert.True(t, server.Kept())
	})
}

// A call that a draining server turns away goes over to the server that takes its place (R4).
func TestR4CallRejectedByADrainGoesOverToTheNextServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		old := newEcho(rpc.Config{})
		srv := n.Listen(transport.Config{Handlers: handlers(old.mux)})
		client := n.Dial(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		conn := &between{client, func() {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				assert.NoError(t, srv.Shutdown(ctx))
				n.Listen(transport.Config{PacketConn: n.ConnAt(srv.Addr().(*net.UDPAddr)), Handlers: handlers(e.mux)})
			}()
			time.Sleep(3 * time.Second) // the limit is known by now, and this stream lies above it
		}}
		require.NoError(t, kinds["unary"](t.Context(), conn))
		assert.Zero(t, old.calls.Load())
		assert.EqualValues(t, 1, e.calls.Load())
	})
}

// A stream that its user already has stays with its connection: rejected or lost before it began it is NotStarted, and
// making it again, which is safe, is up to the user (R4).
func TestR4StreamThatDidNotBeginIsNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		client, server := n.Pair(srv, "alice", transport.Config{NewPacketConn: n.NewConn})

		s, err := chat.Call(t.Context(), client)
		require.NoError(t, err)
		server.Abort(transport.Internal, "")
		time.Sleep(rtt)
		wantError(t, s.Send(&Text{}), rpc.Unavailable, rpc.NotStarted)
		_, err = s.Recv()
		wantError(t, err, rpc.Unavailable, rpc.NotStarted)

		conn := &between{client, func() {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				assert.NoError(t, srv.Shutdown(ctx))
				n.Listen(transport.Config{PacketConn: n.ConnAt(srv.Addr().(*net.UDPAddr)), Handlers: handlers(e.mux)})
			}()
			time.Sleep(3 * time.Second) // the limit is known by now, and this stream lies above it
		}}
		in, err := count.Call(t.Context(), conn, &Text{N: 3})
		if err == nil { // or it is known already
			_, err = in.Recv()
		}
		wantError(t, err, rpc.Unavailable, rpc.NotStarted)
		assert.Zero(t, e.calls.Load())

		require.NoError(t, kinds["server stream"](t.Context(), client))
		assert.EqualValues(t, 1, e.calls.Load())
	})
}

// A call that may have begun is not made again: it is Maybe, at once.
func TestR4CallThatMayHaveBegunIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		client, server := n.Pair(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		answered := make(chan error, 1)
		go func() {
			_, err := hang.Call(t.Context(), client, &Text{})
			answered <- err
		}()
		<-e.hung
		server.Abort(transport.Internal, "")
		begun := time.Now()
		wantError(t, <-answered, rpc.Unavailable, rpc.Maybe)
		assert.Less(t, time.Since(begun), 2*rtt)
		require.NoError(t, kinds["unary"](t.Context(), client), "the session goes on")
		assert.EqualValues(t, 2, e.calls.Load())
	})
}

// A call that waits for the next connection ends with its context, and with its session.
func TestCallWaitsForTheSessionNoLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		client := n.Dial(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		for name, call := range kinds {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			conn := &between{client, func() {
				for _, s := range srv.Sessions() {
					s.Abort(transport.Internal, "")
				}
				time.Sleep(rtt)
				n.Cut()
			}}
			begun := time.Now()
			wantError(t, call(ctx, conn), rpc.DeadlineExceeded, rpc.NotStarted)
			assert.InDelta(t, 3*time.Second, time.Since(begun), float64(100*time.Millisecond), name)
			cancel()
			n.Drop(nil)
			require.NoError(t, call(t.Context(), client), name)
		}
		assert.EqualValues(t, len(kinds), e.calls.Load())

		n.Cut()
		answered := make(chan error, 1)
		conn := &between{client, func() { time.Sleep(30 * time.Second) }} // it is lost meanwhile
		go func() { answered <- kinds["unary"](t.Context(), conn) }()
		time.Sleep(time.Minute)
		client.Abort(transport.Aborted, "enough")
		wantError(t, <-answered, rpc.Unavailable, rpc.NotStarted)
	})
}

// Handlers are the session's: after a resume both sides call each other as before.
func TestBothSidesCallEachOtherAfterAResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		client, server := n.Pair(srv, "alice", transport.Config{
			NewPacketConn: n.NewConn, IdleTimeout: 2 * time.Second, PingAfter: time.Second, Handlers: handlers(e.mux),
		})
		for range 3 {
			for _, conn := range []rpc.Conn{client, server} {
				for _, call := range kinds {
					require.NoError(t, call(t.Context(), conn))
				}
			}
			n.Cut()
			time.Sleep(5 * time.Second)
			n.Drop(nil)
		}
		require.NoError(t, kinds["unary"](t.Context(), client))
		assert.True(t, client.Kept())
	})
}

// Over connections that are killed at any moment, in every way, a call that succeeds has run once, one that was not
// started has not run, and none has run twice (R4).
func TestR4NoCallRunsTwice(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { killAtRandom(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func killAtRandom(t *testing.T, random *rand.Rand) {
	t.Helper()
	const calls, kills, callers = 4000, 60, 4
	var mu sync.Mutex // guards what follows
	runs := make(map[int]int)
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, say, func(_ context.Context, req *Text) (*Text, error) {
		mu.Lock()
		defer mu.Unlock()
		runs[req.N]++
		return &Text{N: req.N}, nil
	})
	d := newDisruptor(t, transport.Config{Handlers: handlers(mux)})
	client := d.dial(transport.Config{})

	next, outcome := make(chan int), make(map[int]error)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range next {
				res, err := say.Call(t.Context(), client, &Text{N: i})
				if err == nil && res.N != i {
					err = fmt.Errorf("answer %d to call %d", res.N, i)
				}
				mu.Lock()
				outcome[i] = err
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range calls {
			next <- i
		}
		close(next)
		wg.Wait()
	}()

	for range kills {
		time.Sleep(time.Duration(random.Int64N(int64(700 * time.Millisecond))))
		switch random.IntN(4) {
		case 0:
			d.abort()
		case 1:
			d.cut(time.Duration(random.Int64N(int64(5 * time.Second))))
		case 2:
			d.kill()
		case 3:
			_ = d.drain(time.Duration(random.Int64N(int64(3 * time.Second)))) // some are cut off
		}
	}
	<-done

	var ok, notStarted, maybe int
	for i := range calls {
		err, ran := outcome[i], runs[i]
		if err == nil {
			ok++
			assert.Equal(t, 1, ran, "call %d succeeded", i)
			continue
		}
		e, _ := errors.AsType[*rpc.Error](err)
		require.NotNil(t, e, "%v", err)
		assert.Equal(t, rpc.Unavailable, e.Code(), "%v", err)
		if e.Execution == rpc.NotStarted {
			notStarted++
			assert.Zero(t, ran, "call %d was not started", i)
		} else {
			maybe++
			assert.LessOrEqual(t, ran, 1, "call %d", i)
		}
	}
	t.Logf("%d calls succeeded, %d were not started, %d may have run", ok, notStarted, maybe)
	assert.Zero(t, notStarted, "what has not started is made again while the session lives")
	assert.Greater(t, ok, calls*9/10)
	assert.Less(t, maybe, kills*callers)
	now, _ := client.Status()
	assert.Greater(t, now.Attempt, uint64(kills/4), "the kills did not kill")
}
