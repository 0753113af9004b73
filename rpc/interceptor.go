package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// An Interceptor surrounds the whole life of a call, of any kind and on either side: [Config.Interceptors] those that a
// [Mux] serves, [ClientConfig.Interceptors] those that a [Client] makes. next goes on with the call, and returns how it
// ended; what the interceptor returns is what it ends with. Of several, the first surrounds the others.
//
//	func timing(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
//		began := time.Now()
//		err := next(ctx)
//		log.Info("call", "method", c.Method, "took", time.Since(began), "err", err)
//		return err
//	}
//
// An interceptor that does not call next must return an error, and the call has then not started. The context that it
// passes to next must be ctx or made from it: on the serving side its values and its end are the
// handler's, on the caller's side its deadline goes with the request. next may be called once; another time, or after
// the interceptor has returned, it does nothing but return an error. Where next still runs then, in another
// goroutine, the call goes on until it has returned.
//
// On the serving side next covers [Config.Authorize], the request's decoding, the handler, whose panic it returns as an
// error, and the encoding of the answer. What the interceptor returns is sent as if the handler had returned it. Calls of methods
// that the Mux does not have reach no interceptor.
//
// On the caller's side next returns an [*Error] or nil, and so does Call, whatever the interceptor returns; what
// the peer did not say it never ran, an interceptor cannot turn into NotStarted. Of a call that returns a [Receiver] or a [Stream]
// the chain runs in a goroutine of its own. There next returns when the user has received
// up to the end or closed the call, or when the call's context or connection has ended, and the chain's result is
// the last error of Recv, which waits for it. A panic is raised there, too, or by Call.
type Interceptor func(ctx context.Context, c *Call, next func(ctx context.Context) error) error

var (
	errNextTwice = &Error{code: Internal, Message: "interceptor called next twice"}
	errNextLate  = &Error{code: Internal, Message: "interceptor called next after the call"}
)

// A chain is the interceptors of one call, around inner.
type chain struct {
	interceptors []Interceptor
	call         *Call
	inner        func(ctx context.Context) error

	mu      sync.Mutex // guards what follows
	called  bool       // inner
	over    bool       // the interceptors have returned
	running sync.WaitGroup

	status error // what inner returned
}

// run runs the chain. When it returns, inner does not run and will not.
func (ch *chain) run(ctx context.Context) error {
	defer func() {
		ch.mu.Lock()
		ch.over = true
		ch.mu.Unlock()
		ch.running.Wait()
	}()
	return ch.next(0)(ctx)
}

// next returns what goes on with the interceptor i, or with inner behind the last.
func (ch *chain) next(i int) func(context.Context) error {
	var called atomic.Bool
	return func(ctx context.Context) error {
		if called.Swap(true) {
			return errNextTwice
		}
		if i < len(ch.interceptors) {
			return ch.interceptors[i](ctx, ch.call, ch.next(i+1))
		}
		if !ch.enter() {
			return errNextLate
		}
		defer ch.running.Done()
		ch.status = ch.inner(ctx)
		return ch.status
	}
}

func (ch *chain) enter() bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.over {
		return false
	}
	ch.called = true
	ch.running.Add(1)
	return true
}

// silent is how a call ends whose interceptors have returned neither an error nor an answer.
func (ch *chain) silent() *Error {
	if !ch.called {
		return Errorf(Internal, "interceptor returned neither an error nor called next").notStarted()
	}
	e := Errorf(Internal, "interceptor returned no error for a call without an answer: %w", ch.status)
	e.Execution = executionOf(ch.status)
	return e
}

// result is what a call ends with whose chain returned err, on the caller's side.
func (ch *chain) result(err error) *Error {
	e := asError(err)
	switch {
	case !ch.called && e.Execution != NotStarted:
		c := *e // it may be shared
		return c.notStarted()
	case ch.called && e.Execution == NotStarted && executionOf(ch.status) != NotStarted:
		c := *e
		c.Execution = executionOf(ch.status)
		return &c
	}
	return e
}

// executionOf says whether a call has run that ended with err.
func executionOf(err error) Execution {
	if err == nil {
		return Ran
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Execution
	}
	return Maybe
}

// asError makes an *Error of an error of a user's.
func asError(err error) *Error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return &Error{code: CodeOf(err).failure(), Message: err.Error(), Err: err}
	}
	if e == err { //nolint:errorlint // that very one, not what it wraps
		return e
	}
	around := *e
	around.Message, around.Err, around.again = err.Error(), err, false
	return &around
}
