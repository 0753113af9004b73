package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// WithHedging makes a call more than once at a time, for the sake of those whose answer is late: a second time when
// there is none after delay, then a third, up to so many attempts in all; or at once when one has failed in a way that [Retry] would make it
// again for. The first answer is the call's, also an error, and the others are canceled. Each attempt but the first
// takes from [Retry.Budget], and MaxAttempts and Backoff are not looked at (gRFC A6, hedging).
//
// It is for unary calls of an [Idempotent] method over a [Client]; for all others it says nothing, so that it may be among
// [ClientConfig.Options]. delay should be what most answers take, the 95th percentile say (Dean and Barroso, The Tail at
// Scale). Of an [Interceptor]'s hooks OnSend sees the request once, and OnReceive the answer that counts.
func WithHedging(delay time.Duration, attempts int) CallOption {
	return optionFunc(func(o *callOptions) { o.hedging = hedging{delay, attempts} })
}

type hedging struct {
	delay    time.Duration
	attempts int
}

// hedges are the attempts of a hedged call.
type hedges struct {
	c       *clientCall // the whole; it has no stream of its own
	req     Raw         // as the codec has encoded it
	most    int
	made    int
	running int
	ended   chan *hedge // gets each
	failed  tries
	last    *hedge // that failed
	err     *Error // its
	free    bool   // the next costs no budget
}

// A hedge is one attempt.
type hedge struct {
	call     clientCall
	res      Raw
	err      error
	panicked error // of the user's code
}

// hedge makes a call of one message each way as [WithHedging] says.
func (c *clientCall) hedge(req, res any) error {
	msg, err := c.encodeOnce(req, c.call)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	h := &hedges{c: c, req: msg, most: c.opts.hedging.attempts, ended: make(chan *hedge)}
	defer h.drain() // after a panic
	defer cancel()
	won, e := h.run(ctx)
	cancel()
	h.drain()
	if won == nil {
		if h.last != nil {
			c.take(&h.last.call)
		}
		return h.failed.end(e)
	}
	c.take(&won.call)
	if c.into {
		clearUsed(c.opts.format, res)
	}
	if err := decode(won.res, true, c.opts.format, res, false); err != nil {
		return h.failed.end(h.failed.add(Errorf(Internal, "decode response: %w", err)))
	}
	if err := c.call.sees(res, len(won.res), true); err != nil {
		return h.failed.end(h.failed.add(hookError(err)))
	}
	return nil
}

// run returns the attempt that was answered, or the error that the call ends with.
func (h *hedges) run(ctx context.Context) (*hedge, *Error) {
	h.begin(ctx)
	timer := time.NewTimer(h.c.opts.hedging.delay)
	defer timer.Stop()
	for {
		var over <-chan struct{} // what runs sees it by itself
		if h.running == 0 {
			over = ctx.Done()
		}
		select {
		case <-timer.C:
			if h.made < h.most && (h.free || h.c.client.retry.budget.spend()) {
				h.begin(ctx)
				timer.Reset(h.c.opts.hedging.delay)
			} else {
				h.most = h.made
			}
		case <-over:
			return nil, h.c.contextError().notStarted()
		case a := <-h.ended:
			h.running--
			switch {
			case a.panicked != nil:
				panic(a.panicked)
			case a.err == nil:
				return a, nil
			}
			h.last, h.err = a, h.failed.add(a.err)
			if !h.c.client.retry.transient(h.c, h.err) {
				return nil, h.err
			}
			if !asked(h.err) {
				h.most = h.made
			}
			h.free = connectionEnded(h.err)
			timer.Reset(max(0, h.err.RetryAfter))
		}
		if h.running == 0 && h.made >= h.most {
			return nil, h.err
		}
	}
}

func (h *hedges) begin(ctx context.Context) {
	a := new(hedge)
	a.call = h.c.again()
	a.call.ctx, a.call.call = ctx, nil
	a.call.opts.header, a.call.opts.trailer = nil, nil
	a.call.previous = uint32(h.made)
	h.made++
	h.running++
	h.free = false
	go func() {
		returned := false
		defer func() {
			if !returned { // a Compressor has panicked, say; it is the caller's
				a.panicked = fmt.Errorf("hedged call panicked: %v\n\n%s", recover(), debug.Stack())
			}
			h.ended <- a
		}()
		a.err = a.call.invoke(&h.req, &a.res)
		returned = true
	}()
}

// drain waits for the attempts that have been canceled.
func (h *hedges) drain() {
	for ; h.running > 0; h.running-- {
		a := <-h.ended
		h.failed.n++
		h.failed.maybe = h.failed.maybe || executionOf(a.err) != NotStarted
	}
}

// take makes what the attempt a was answered with that of the whole call.
func (c *clientCall) take(a *clientCall) {
	c.str, c.header, c.trailer = a.str, a.header, a.trailer
	if c.opts.header != nil {
		*c.opts.header = a.header
	}
	if c.opts.trailer != nil {
		*c.opts.trailer = a.trailer
	}
}
