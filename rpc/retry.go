package rpc

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/internal/backoff"
	"github.com/trunkline-go/trunkline/transport"
)

// A Retry says which calls of a [Client] are made again by themselves after they failed, and when. The zero value works, and
// makes again what is safe to: a call that has not started, and one of an [Idempotent] method (R4), with one of Codes, from the peer
// or from the end of a connection. It holds for calls with one request and one response, whose request is at hand. Of
// other calls, and of connections that end before anything of a call has left, the package documentation says what goes
// for a bare session, too.
//
// A call ends with the error of its last attempt, and [Error.Attempts] says how many there were.
type Retry struct {
	// MaxAttempts is how often a call is made, the first time included. Default 4; negative: once.
	MaxAttempts int

	// Backoff bounds how long to wait before the second attempt: for a random time up to this. The bound doubles with
	// each further one, up to MaxBackoff. A server may ask for more with [Error.RetryAfter]. After the end of a
	// connection the next is waited for instead, which the session spreads. A wait that would outlast the call's
	// deadline is not begun. Defaults 100 ms and 5 s; negative: no wait.
	Backoff    time.Duration
	MaxBackoff time.Duration

	// Codes are those after which a call is made again. Default: Unavailable alone.
	Codes []Code

	// Budget is how many retries there may be for each call of the Client, on the average: with a fifth, a server that fails
	// gets a fifth more calls, not four times as many. Up to 100 are saved up, and there is one a second for those who
	// call seldom. Retries after the end of a connection are free, because it ends once; hedges ([WithHedging]) are not.
	// Default 0.2; negative: no bound.
	Budget float64
}

// maxRetryAfter is the longest that a server may ask a call to wait. What is to come later is up to the caller.
const maxRetryAfter = time.Minute

// A retrier is a Retry at work, for all calls of a Client.
type retrier struct {
	Retry

	budget *budget
}

func newRetrier(cfg Retry) *retrier {
	cfg.MaxAttempts = max(1, cmp.Or(cfg.MaxAttempts, 4))
	cfg.Backoff = cmp.Or(cfg.Backoff, 100*time.Millisecond)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, 5*time.Second)
	cfg.Codes = slices.Clone(cfg.Codes)
	if len(cfg.Codes) == 0 {
		cfg.Codes = []Code{Unavailable}
	}
	return &retrier{cfg, newBudget(cmp.Or(cfg.Budget, 0.2))}
}

// transient says whether a call that failed with e may be made again, and is worth it.
func (r *retrier) transient(c *clientCall, e *Error) bool {
	switch {
	case e.Execution != NotStarted && !c.idempotent: // R4
	case e.closed || c.ctx.Err() != nil: // there is nothing to make it on, or no time
	case !e.Remote && !connectionEnded(e): // this side's own doing
	default:
		return slices.Contains(r.Codes, e.Code())
	}
	return false
}

// asked says whether the server, as far as it has said anything, wants a call to be made again that failed with e, and so
// soon that it is waited for.
func asked(e *Error) bool { return e.RetryAfter >= 0 && e.RetryAfter <= maxRetryAfter }

// connectionEnded says whether the end of its connection was that of a call which failed with e.
func connectionEnded(e *Error) bool {
	_, ok := errors.AsType[*transport.Error](e.Err)
	return ok
}

// wait returns how long to wait before the attempt that follows so many, of which the last has failed with e.
func (r *retrier) wait(e *Error, attempts int) time.Duration {
	if connectionEnded(e) {
		return 0
	}
	return max(0, e.RetryAfter) + backoff.Wait(attempts-1, r.Backoff, r.MaxBackoff)
}

// attempts makes a call of one message each way, and again if the Client's Retry allows.
func (c *clientCall) attempts(req, res any) error {
	if c.client == nil {
		return c.invoke(req, res)
	}
	r := c.client.retry
	r.budget.earn()
	if c.idempotent && c.opts.hedging.attempts > 1 {
		return c.hedge(req, res)
	}
	var all tries
	for {
		err := c.invoke(req, res)
		if err == nil {
			return nil
		}
		e := all.add(err)
		if all.n >= r.MaxAttempts || !r.transient(c, e) || !asked(e) || !connectionEnded(e) && !r.budget.spend() {
			return all.end(e)
		}
		if wait := r.wait(e, all.n); !sleep(c.ctx, wait) {
			if c.ctx.Err() != nil {
				e = c.contextError().notStarted()
			}
			return all.end(e)
		}
		c.reset()
		c.previous = uint32(all.n)
		reflect.ValueOf(res).Elem().SetZero() // a message may have come, and JSON would be merged with it
	}
}

// sleep waits so long, and says whether it has: not if ctx ends meanwhile, and it does not begin to if ctx's deadline comes
// first.
func sleep(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tries are the attempts of one call that have failed.
type tries struct {
	n     int
	maybe bool // one of them may have run
}

// add notes one that failed with err.
func (t *tries) add(err error) *Error {
	e, _ := errors.AsType[*Error](err) // calls return no other
	t.n++
	t.maybe = t.maybe || e.Execution != NotStarted
	return e
}

// end returns e as the end of all: it is not NotStarted if any of them may have run.
func (t *tries) end(e *Error) *Error {
	if t.maybe && e.Execution == NotStarted {
		e.Execution = Maybe
	}
	e.Attempts = t.n
	return e
}
