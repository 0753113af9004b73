package rpc_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

const hedgeAfter = 100 * time.Millisecond

// slow answers the calls with these numbers, from 1, at once, and others when their caller goes.
func slow(causes chan error, quick ...int64) func(context.Context, *Text) (*Text, error) {
	var n atomic.Int64
	return func(ctx context.Context, req *Text) (*Text, error) {
		i := n.Add(1)
		if slices.Contains(quick, i) {
			_ = rpc.AddHeader(ctx, "from", string(rune('0'+i)))
			return &Text{Text: req.Text, N: int(i)}, nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, ctx.Err()
	}
}

func TestFirstAnswerOfAHedgedCallWinsAndTheRestAreCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 10)
		s := newStore(rpc.Config{}, slow(causes, 3))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{})
		begun := time.Now()
		var header rpc.Metadata
		res, err := get.Call(t.Context(), client, &Text{Text: "x"}, rpc.WithHedging(hedgeAfter, 5), rpc.WithHeader(&header))
		require.NoError(t, err)
		assert.Equal(t, &Text{Text: "x", N: 3}, res)
		assert.Equal(t, rpc.Metadata{{Key: "from", Value: "3"}}, header)
		assert.Less(t, time.Since(begun), 2*hedgeAfter+2*rtt)
		time.Sleep(rtt)
		assert.EqualValues(t, 3, s.calls.Load())
		assert.Equal(t, []int{0, 1, 2}, s.before)
		for range 2 {
			var canceled *rpc.CanceledError
			require.ErrorAs(t, <-causes, &canceled)
			assert.Equal(t, rpc.CallerCanceled, canceled.Cause)
		}
		for i, at := range s.at {
			assert.InDelta(t, time.Duration(i)*hedgeAfter, at.Sub(s.at[0]), float64(rtt))
		}
	})
}

// A hedged call has as many attempts as it says, and no more; the others of the session do not notice (R1).
func TestR1HedgedCallRunsNoMoreOftenThanItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 10)
		s := newStore(rpc.Config{}, slow(causes))
		echo := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(s.mux)})
		session, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(echo.mux)})
		other, err := chat.Call(t.Context(), server)
		require.NoError(t, err)
		client := rpc.NewClient(session, rpc.ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = get.Call(ctx, client, &Text{}, rpc.WithHedging(hedgeAfter, 3))
		assert.Equal(t, 3, wantError(t, err, rpc.DeadlineExceeded, rpc.Maybe).Attempts)
		assert.EqualValues(t, 3, s.calls.Load())
		require.NoError(t, other.Send(&Text{N: 1}))
		_, err = other.Recv()
		require.NoError(t, err)
		other.Close()
		time.Sleep(time.Second)
		require.NoError(t, session.Release(t.Context()), "no stream is left")
	})
}

func TestHedgingIsForIdempotentCallsOverAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 10)
		s := newStore(rpc.Config{}, slow(causes))
		_, session, _ := start(t, s.mux)
		hedging := rpc.WithHedging(0, 4)
		client := rpc.NewClient(session, rpc.ClientConfig{Options: []rpc.CallOption{hedging}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := put.Call(ctx, client, &Text{})
		assert.Equal(t, 1, wantError(t, err, rpc.DeadlineExceeded, rpc.Maybe).Attempts)
		assert.EqualValues(t, 1, s.calls.Load())
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = get.Call(ctx, session, &Text{}, hedging)
		wantError(t, err, rpc.DeadlineExceeded, rpc.Maybe)
		assert.EqualValues(t, 2, s.calls.Load())
	})
}

// An error that a retry would not follow is an answer like any other; after one that it would the next attempt does
// not wait.
func TestHedgedCallThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			code     rpc.Code
			after    time.Duration
			attempts int
			took     time.Duration
		}{
			{rpc.NotFound, 0, 1, 0},
			{rpc.Unavailable, 0, 4, 0},
			{rpc.Unavailable, time.Second, 4, 3 * time.Second},
			{rpc.Unavailable, -1, 1, 0},
		} {
			e := rpc.Errorf(test.code, "no")
			e.RetryAfter = test.after
			s := newStore(rpc.Config{}, failing(always, e))
			_, session, _ := start(t, s.mux)
			begun := time.Now()
			_, err := get.Call(t.Context(), rpc.NewClient(session, rpc.ClientConfig{}), &Text{}, rpc.WithHedging(time.Hour, 4))
			assert.Equal(t, test.attempts, wantError(t, err, test.code, rpc.Ran).Attempts)
			assert.EqualValues(t, test.attempts, s.calls.Load())
			assert.InDelta(t, test.took, time.Since(begun), float64(5*rtt))
		}
	})
}

// One attempt was refused, and the other may have run: so may have the call (R4).
func TestR4HedgedCallIsNotStartedOnlyIfNoAttemptWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		causes := make(chan error, 10)
		first := int64(1)
		s := newStore(rpc.Config{Authorize: func(context.Context, rpc.Call) error {
			if n.Add(1) > first {
				return rpc.Errorf(rpc.PermissionDenied, "no more")
			}
			return nil
		}}, slow(causes))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{})
		_, err := get.Call(t.Context(), client, &Text{}, rpc.WithHedging(hedgeAfter, 4))
		assert.Equal(t, 2, wantError(t, err, rpc.PermissionDenied, rpc.Maybe).Attempts)
		assert.EqualValues(t, 1, s.calls.Load())
		_, err = get.Call(t.Context(), client, &Text{}, rpc.WithHedging(hedgeAfter, 4))
		assert.Equal(t, 1, wantError(t, err, rpc.PermissionDenied, rpc.NotStarted).Attempts)
	})
}

func TestHedgesArePaidFromTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 100
		causes := make(chan error, 1000)
		s := newStore(rpc.Config{}, slow(causes))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{Budget: 0.1}})
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := get.Call(ctx, client, &Text{}, rpc.WithHedging(hedgeAfter, 10))
				wantError(t, err, rpc.DeadlineExceeded, rpc.Maybe)
			})
		}
		wg.Wait()
		assert.Greater(t, s.calls.Load(), int64(callers+15))
		assert.LessOrEqual(t, s.calls.Load(), int64(callers+callers/10+10+2))
	})
}

// A hedged call goes on through a restart, and what an interceptor sees is one call.
func TestHedgedCallGoesOnThroughARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		s := newStore(rpc.Config{}, func(ctx context.Context, req *Text) (*Text, error) {
			if !up.Load() {
				<-ctx.Done()
			}
			return req, ctx.Err()
		})
		n := transporttest.New(t, rtt)
		cfg := transport.Config{Handlers: handlers(s.mux), StatelessResetKey: &[32]byte{1}}
		srv := n.Listen(cfg)
		session := n.Dial(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		var calls, sent, received int
		client := rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{
			func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
				calls++
				c.OnSend(func(any, int) error { sent++; return nil })
				c.OnReceive(func(m any, _ int) error { received++; m.(*Text).N = 7; return nil })
				return next(ctx)
			},
		}})
		answered := make(chan error, 1)
		go func() {
			res, err := get.Call(t.Context(), client, &Text{Text: "x"}, rpc.WithHedging(hedgeAfter, 8)) // some are lost together
			if err == nil {
				assert.Equal(t, &Text{Text: "x", N: 7}, res)
			}
			answered <- err
		}()
		time.Sleep(hedgeAfter + rtt)
		up.Store(true)
		cfg.PacketConn = n.ConnAt(n.Kill(srv))
		n.Listen(cfg)
		require.NoError(t, <-answered)
		assert.Equal(t, []int{1, 1, 1}, []int{calls, sent, received})
	})
}

// An answer that cannot be used is an attempt like any other.
func TestAnswerOfAHedgedCallThatIsNoneCountsAsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, rpc.Unary[Text, []int](get.Name()), func(ctx context.Context, _ *Text) (*[]int, error) {
			if call, _ := rpc.CallFrom(ctx); call.PreviousAttempts == 0 {
				<-ctx.Done()
			}
			return &[]int{1}, ctx.Err()
		})
		_, session, _ := start(t, mux)
		_, err := get.Call(t.Context(), rpc.NewClient(session, rpc.ClientConfig{}), &Text{}, rpc.WithHedging(hedgeAfter, 3))
		assert.Equal(t, 2, wantError(t, err, rpc.Internal, rpc.Maybe).Attempts)
	})
}

// A fragile compressor panics when it decompresses.
type fragile struct{ rpc.Compressor }

func (fragile) AppendDecompress([]byte, []byte, int) ([]byte, error) { panic(enough) }

// A panic in an attempt is one of Call, whose caller may recover from it, and not of the whole program.
func TestPanicOfAHedgeIsItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(rpc.Config{Compressors: []rpc.Compressor{gzip.New()}}, func(_ context.Context, req *Text) (*Text, error) { return req, nil })
		_, session, server := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{Options: []rpc.CallOption{rpc.WithAcceptCompression(fragile{gzip.New()})}})
		func() {
			defer func() { assert.ErrorContains(t, recover().(error), enough) }()
			_, _ = get.Call(t.Context(), client, &Text{Text: string(prose(t, 20_000))}, rpc.WithHedging(0, 3))
			t.Error("Call returned")
		}()
		require.NoError(t, session.Release(t.Context()), "no stream is left")
		_ = server.Wait(t.Context())
	})
}

func TestR5HedgedCallsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		s := newStore(rpc.Config{}, func(ctx context.Context, req *Text) (*Text, error) {
			if n.Add(1)%3 == 0 {
				return req, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		_, session, server := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{Budget: -1}})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for i := range 40 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(5*i)*time.Millisecond)
					_, _ = get.Call(ctx, client, &Text{}, rpc.WithHedging(rtt, 3))
					cancel()
				}
			})
		}
		wg.Wait()
		assert.Greater(t, n.Load(), int64(3_000))
		time.Sleep(time.Second)
		require.NoError(t, session.Release(t.Context()), "no stream is left")
		_ = server.Wait(t.Context())
	})
}
