package rpc_test

import (
	"context"
	"errors"
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

// get and put are methods that fail as their tests want; only get is idempotent.
var (
	get = rpc.Unary[Text, Text]("test.Store/Get", rpc.Idempotent())
	put = rpc.Unary[Text, Text]("test.Store/Put")
)

// A store serves get and put.
type store struct {
	mux   *rpc.Mux
	calls atomic.Int64 // of handlers

	mu     sync.Mutex  // guards what follows
	at     []time.Time // when they were called
	before []int       // what they were told of earlier attempts
}

func newStore(cfg rpc.Config, answer func(ctx context.Context, req *Text) (*Text, error)) *store {
	s := &store{mux: rpc.NewMux(cfg)}
	handle := func(ctx context.Context, req *Text) (*Text, error) {
		s.calls.Add(1)
		call, _ := rpc.CallFrom(ctx)
		s.mu.Lock()
		s.at = append(s.at, time.Now())
		s.before = append(s.before, call.PreviousAttempts)
		s.mu.Unlock()
		return answer(ctx, req)
	}
	rpc.Handle(s.mux, get, handle)
	rpc.Handle(s.mux, put, handle)
	return s
}

// failing answers with err for so many times.
func failing(times int, err error) func(context.Context, *Text) (*Text, error) {
	var n atomic.Int64
	return func(_ context.Context, req *Text) (*Text, error) {
		if n.Add(1) <= int64(times) {
			return nil, err
		}
		return req, nil
	}
}

const always = 1 << 30

func TestR4OnlyAnIdempotentCallThatRanIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(rpc.Config{}, failing(always, rpc.Errorf(rpc.Unavailable, "not now")))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{})

		_, err := put.Call(t.Context(), client, &Text{})
		e := wantError(t, err, rpc.Unavailable, rpc.Ran)
		assert.Equal(t, 1, e.Attempts)
		assert.EqualError(t, err, "Unavailable: not now")
		assert.EqualValues(t, 1, s.calls.Load())

		_, err = get.Call(t.Context(), client, &Text{})
		e = wantError(t, err, rpc.Unavailable, rpc.Ran)
		assert.Equal(t, 4, e.Attempts)
		assert.EqualError(t, err, "Unavailable after 4 attempts: not now")
		assert.Equal(t, []int{0, 0, 1, 2, 3}, s.before)

		_, err = get.Call(t.Context(), session, &Text{})
		e = wantError(t, err, rpc.Unavailable, rpc.Ran)
		assert.Zero(t, e.Attempts)
		assert.EqualValues(t, 6, s.calls.Load(), "a bare session makes no call again that has left")
	})
}

func TestR4CallThatWasRefusedUnstartedIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refusals atomic.Int64
		s := newStore(rpc.Config{Authorize: func(context.Context, rpc.Call) error {
			if refusals.Add(1) <= 3 {
				return rpc.Errorf(rpc.Unavailable, "starting up")
			}
			return nil
		}}, failing(0, nil))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{})
		res, err := put.Call(t.Context(), client, &Text{Text: "x"})
		require.NoError(t, err)
		assert.Equal(t, "x", res.Text)
		assert.Equal(t, []int{3}, s.before)
		assert.EqualValues(t, 1, s.calls.Load())
	})
}

func TestOnlyTheCodesThatSayForNowAreMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, code := range []rpc.Code{rpc.NotFound, rpc.ResourceExhausted, rpc.Internal, rpc.DeadlineExceeded, rpc.Canceled} {
			s := newStore(rpc.Config{}, failing(1, rpc.Errorf(code, "no")))
			_, session, _ := start(t, s.mux)
			_, err := get.Call(t.Context(), rpc.NewClient(session, rpc.ClientConfig{}), &Text{})
			wantError(t, err, code, rpc.Ran)

			s = newStore(rpc.Config{}, failing(1, rpc.Errorf(code, "no")))
			_, session, _ = start(t, s.mux)
			chosen := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{Codes: []rpc.Code{code}}})
			_, err = get.Call(t.Context(), chosen, &Text{})
			require.NoError(t, err)
			assert.EqualValues(t, 2, s.calls.Load())
		}
	})
}

// What this side itself refuses is not made again, whatever the codes.
func TestOwnFailureIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(rpc.Config{}, func(context.Context, *Text) (*Text, error) { return &Text{Text: "longer"}, nil })
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{Codes: []rpc.Code{rpc.ResourceExhausted, rpc.DeadlineExceeded}}})
		_, err := get.Call(t.Context(), client, &Text{Text: "request"}, rpc.WithMaxMessage(5))
		assert.Equal(t, 1, wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted).Attempts)
		_, err = get.Call(t.Context(), client, &Text{}, rpc.WithMaxMessage(13))
		assert.Equal(t, 1, wantError(t, err, rpc.ResourceExhausted, rpc.Maybe).Attempts)
		ctx, cancel := context.WithTimeout(t.Context(), rtt/4)
		defer cancel()
		_, err = get.Call(ctx, client, &Text{})
		assert.Equal(t, 1, wantError(t, err, rpc.DeadlineExceeded, rpc.Maybe).Attempts)
		session.Abort(transport.Aborted, "")
		_, err = get.Call(t.Context(), rpc.NewClient(session, rpc.ClientConfig{}), &Text{})
		assert.Equal(t, 1, wantError(t, err, rpc.Unavailable, rpc.NotStarted).Attempts, "there is nothing to make it on")
	})
}

func TestR4IdempotentCallsGoOnThroughARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 200 // more than the budget, which they do not touch
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
		client := rpc.NewClient(session, rpc.ClientConfig{})

		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				res, err := get.Call(t.Context(), client, &Text{N: i})
				if assert.NoError(t, err) {
					assert.Equal(t, i, res.N)
				}
			})
		}
		var lost error
		wg.Go(func() { _, lost = put.Call(t.Context(), client, &Text{}) })
		time.Sleep(time.Second)
		require.EqualValues(t, calls+1, s.calls.Load())

		at := n.Kill(srv)
		up.Store(true)
		cfg.PacketConn = n.ConnAt(at)
		n.Listen(cfg)
		wg.Wait()
		assert.EqualValues(t, 2*calls+1, s.calls.Load())
		assert.Equal(t, 1, wantError(t, lost, rpc.Unavailable, rpc.Maybe).Attempts)
		now, _ := session.Status()
		assert.EqualValues(t, 2, now.Attempt)
	})
}

// A server that ends the connection with each call is asked as often as any other that fails.
func TestAttemptsAreBoundedOverConnectionsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(rpc.Config{}, func(ctx context.Context, _ *Text) (*Text, error) {
			transport.SessionFrom(ctx).Abort(transport.Internal, "fell over")
			return nil, ctx.Err()
		})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(s.mux)})
		session := n.Dial(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		_, err := get.Call(t.Context(), rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{MaxAttempts: 3}}), &Text{})
		assert.Equal(t, 3, wantError(t, err, rpc.Unavailable, rpc.Maybe).Attempts)
		assert.EqualValues(t, 3, s.calls.Load())
	})
}

// The last attempt of a call that may have run was not started: the call is Maybe all the same.
func TestR4NotStartedIsSaidOfAllAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		s := newStore(rpc.Config{Authorize: func(context.Context, rpc.Call) error {
			if n.Add(1) > 1 {
				return rpc.Errorf(rpc.Unavailable, "refused")
			}
			return nil
		}}, failing(always, rpc.Errorf(rpc.Unavailable, "ran")))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{})
		_, err := get.Call(t.Context(), client, &Text{})
		e := wantError(t, err, rpc.Unavailable, rpc.Maybe)
		assert.Equal(t, 4, e.Attempts)
		assert.Equal(t, "refused", e.Message)
		assert.EqualValues(t, 1, s.calls.Load())

		_, err = get.Call(t.Context(), client, &Text{})
		assert.Equal(t, 4, wantError(t, err, rpc.Unavailable, rpc.NotStarted).Attempts)
	})
}

func TestBudgetStopsAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 1000
		s := newStore(rpc.Config{}, failing(always, rpc.Errorf(rpc.Unavailable, "down")))
		_, session, _ := start(t, s.mux)
		storm := func(cfg rpc.Retry) int64 {
			begun := s.calls.Load()
			client := rpc.NewClient(rpc.NewClient(session, rpc.ClientConfig{Retry: cfg}), rpc.ClientConfig{}) // they share it
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					_, err := get.Call(t.Context(), client, &Text{})
					wantError(t, err, rpc.Unavailable, rpc.Ran)
				})
			}
			wg.Wait()
			return s.calls.Load() - begun
		}
		assert.EqualValues(t, 4*callers, storm(rpc.Retry{Budget: -1}))
		attempts := storm(rpc.Retry{Budget: 0.05})
		assert.Greater(t, attempts, int64(callers+50), "some are made again")
		assert.LessOrEqual(t, attempts, int64(callers+callers/20+10+2), "a share of the calls, the reserve, and what comes with time")
		attempts = storm(rpc.Retry{})
		assert.LessOrEqual(t, attempts, int64(callers+100+2), "what may be saved up")
	})
}

func TestBackoffIsFullJitterBelowABoundThatDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 200
		s := newStore(rpc.Config{}, failing(always, rpc.Errorf(rpc.Unavailable, "down")))
		_, session, _ := start(t, s.mux)
		cfg := rpc.Retry{MaxAttempts: 6, Backoff: 100 * time.Millisecond, MaxBackoff: time.Second, Budget: -1}
		client := rpc.NewClient(session, rpc.ClientConfig{Retry: cfg})
		var sums, least, most [5]time.Duration
		for range calls {
			s.at = nil
			_, err := get.Call(t.Context(), client, &Text{})
			require.Error(t, err)
			require.Len(t, s.at, cfg.MaxAttempts)
			for i := range sums {
				wait := s.at[i+1].Sub(s.at[i]) - rtt
				sums[i] += wait
				if least[i] == 0 || wait < least[i] {
					least[i] = wait
				}
				most[i] = max(most[i], wait)
			}
		}
		const slack = 2 * time.Millisecond // of the network
		for i, ms := range []int{100, 200, 400, 800, 1000} {
			bound := time.Duration(ms) * time.Millisecond
			assert.Less(t, most[i], bound+slack)
			assert.Greater(t, most[i], bound*9/10)
			assert.Less(t, least[i], bound/10)
			assert.InEpsilon(t, bound/2, sums[i]/calls, 0.25)
		}
	})
}

func TestServerSaysWhenACallIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := rpc.Errorf(rpc.Unavailable, "busy")
		busy.RetryAfter = 30 * time.Second
		s := newStore(rpc.Config{}, failing(1, busy))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{})
		_, err := get.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		require.Len(t, s.at, 2)
		wait := s.at[1].Sub(s.at[0])
		assert.GreaterOrEqual(t, wait, 30*time.Second)
		assert.Less(t, wait, 30*time.Second+200*time.Millisecond, "and no more than the jitter besides")

		for _, after := range []time.Duration{-time.Millisecond, time.Hour} {
			busy := rpc.Errorf(rpc.Unavailable, "busy")
			busy.RetryAfter = after
			s := newStore(rpc.Config{}, failing(1, busy))
			_, session, _ := start(t, s.mux)
			begun := time.Now()
			_, err = get.Call(t.Context(), rpc.NewClient(session, rpc.ClientConfig{}), &Text{})
			e := wantError(t, err, rpc.Unavailable, rpc.Ran)
			assert.Equal(t, after, e.RetryAfter, "the caller is told")
			assert.Equal(t, 1, e.Attempts)
			assert.Less(t, time.Since(begun), 2*rtt)
		}
	})
}

func TestRetryStaysWithinTheCallsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(rpc.Config{}, failing(always, rpc.Errorf(rpc.Unavailable, "down")))
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{
			MaxAttempts: 1000, Backoff: time.Hour, MaxBackoff: time.Hour,
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := get.Call(ctx, client, &Text{})
		wantError(t, err, rpc.Unavailable, rpc.Ran)
		assert.Less(t, time.Since(begun), time.Second, "a wait for nothing is not begun")

		cause := errors.New("enough")
		ctx, cancelCause := context.WithCancelCause(t.Context())
		time.AfterFunc(200*time.Millisecond, func() { cancelCause(cause) })
		begun = time.Now()
		_, err = get.Call(ctx, client, &Text{})
		wantError(t, err, rpc.Canceled, rpc.Maybe)
		require.ErrorIs(t, err, cause)
		assert.Equal(t, 200*time.Millisecond, time.Since(begun))
	})
}

// A response that came half is not mixed with that of the next attempt.
func TestRetryBeginsWithAnEmptyResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		mux := rpc.NewMux(rpc.Config{})
		stream := rpc.ServerStream[Text, Text](get.Name()) // so that it can fail after the message
		rpc.Handle(mux, stream, func(_ context.Context, _ *Text, out *rpc.Sender[Text]) error {
			if n.Add(1) == 1 {
				_ = out.Send(&Text{Text: "half", N: 42})
				return rpc.Errorf(rpc.Unavailable, "after all")
			}
			return out.Send(&Text{Text: "whole"})
		})
		_, session, _ := start(t, mux)
		res, err := get.Call(t.Context(), rpc.NewClient(session, rpc.ClientConfig{}), &Text{})
		require.NoError(t, err)
		assert.Equal(t, &Text{Text: "whole"}, res)
	})
}

func TestR5TenThousandCallsThatAreMadeAgainLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		s := newStore(rpc.Config{}, func(_ context.Context, req *Text) (*Text, error) {
			if n.Add(1)%3 != 0 {
				return nil, rpc.Errorf(rpc.Unavailable, "not this time")
			}
			return req, nil
		})
		_, session, server := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{Budget: -1}})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for i := range 200 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
					_, _ = get.Call(ctx, client, &Text{})
					cancel()
				}
			})
		}
		wg.Wait()
		assert.Greater(t, n.Load(), int64(10_000))
		require.NoError(t, session.Release(t.Context()), "no stream is left")
		_ = server.Wait(t.Context())
	})
}

// A server makes calls again as a client does.
func TestServersCallsAreMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(rpc.Config{}, failing(2, rpc.Errorf(rpc.Unavailable, "busy")))
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{})
		_, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(s.mux)})
		_, err := get.Call(t.Context(), rpc.NewClient(server, rpc.ClientConfig{}), &Text{})
		require.NoError(t, err)
		assert.Equal(t, []int{0, 1, 2}, s.before)
	})
}

// A resumable stream, too, goes on when the server says, and not at all if it says so.
func TestServerSaysWhenAResumableStreamGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := rpc.ServerStream[Text, Text]("test.Store/Steps", rpc.Resumable())
		mux := rpc.NewMux(rpc.Config{})
		var n atomic.Int64
		rpc.Handle(mux, steps, func(ctx context.Context, _ *Text, out *rpc.Sender[Text]) error {
			i := n.Add(1)
			if err := out.SendAt(string(rune('0'+i)), &Text{N: int(i)}); err != nil {
				return err
			}
			e := rpc.Errorf(rpc.Unavailable, "not now")
			if e.RetryAfter = 30 * time.Second; i == 2 {
				e.RetryAfter = -time.Second
			}
			return e
		})
		_, session, _ := start(t, mux)
		in, err := steps.Call(t.Context(), session, &Text{})
		require.NoError(t, err)
		begun := time.Now()
		for i := range 2 {
			m, err := in.Recv()
			require.NoError(t, err)
			assert.Equal(t, i+1, m.N)
		}
		assert.GreaterOrEqual(t, time.Since(begun), 30*time.Second)
		assert.Less(t, time.Since(begun), 30*time.Second+200*time.Millisecond)
		_, err = in.Recv()
		wantError(t, err, rpc.Unavailable, rpc.Ran)
		assert.EqualValues(t, 2, n.Load())
	})
}
