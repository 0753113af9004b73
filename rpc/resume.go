package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/internal/backoff"
	"github.com/trunkline-go/trunkline/transport"
)

const (
	// resumeBackoff bounds the wait before a stream goes on whose peer said Unavailable, and after each time that
	// brought no message twice as much, up to maxResumeBackoff. They are the session's for its connections.
	resumeBackoff    = 100 * time.Millisecond
	maxResumeBackoff = 10 * time.Second
)

// A resumption is a call of a resumable method on the side that makes it: one call to its user, and one after another
// on the wire. Whatever ends one of them with Unavailable is followed by the next, from the cursor: its connection has ended,
// or takes no more, or the peer says that it is not there now. Every other end is the call's, but for a limit that turns
// away one that had begun before.
//
// Nothing runs between two calls of Recv: a stream whose user has forgotten it does not go on.
type resumption struct {
	cancel context.CancelFunc // ends the context of the calls, and so also what waits between two
	hooks  *Call              // what the interceptors have; nil if there are none
	chain  *streamChain       // the interceptors, around all the calls, once the first has begun; nil if there are none
	req    Raw                // as the codec has encoded it: what its user does with his own, he does

	// Of the goroutine that receives, which alone changes call:
	at       []byte // the cursor of the newest message that the user has
	begun    bool   // header is known
	header   Metadata
	maybe    bool  // one of the calls may have run
	failures int   // calls in a row that brought no message
	err      error // set when it has ended: io.EOF or an *Error

	mu     sync.Mutex // guards what follows
	call   *clientCall
	closed bool // by the user
}

func newResumption(ctx context.Context, m *method, conn Conn, req any, opts []CallOption) (*resumption, error) {
	ctx, cancel := context.WithCancel(ctx)
	begun := false
	defer func() {
		if !begun { // also after a panic
			cancel()
		}
	}()
	r := &resumption{cancel: cancel, call: new(clientCall)}
	if err := r.begin(ctx, m, conn, req, opts); err != nil {
		return nil, err
	}
	begun = true
	return r, nil
}

func (r *resumption) begin(ctx context.Context, m *method, conn Conn, req any, opts []CallOption) *Error {
	if err := r.call.init(ctx, m, conn, opts); err != nil {
		return err
	}
	if !r.call.intercepted() {
		return r.first(req)
	}
	r.hooks = r.call.describe(KindServerStream)
	r.hooks.Cursor = r.call.opts.cursor
	s := newStreamChain(r.call.client, r.hooks)
	var within, carrier context.Context
	return s.surround(ctx, func(ctx context.Context) *Error {
		within, carrier = ctx, r.carrier() // now: who receives changes call, once it has begun
		if err := r.call.enter(ctx, r.hooks); err != nil {
			return err
		}
		if err := r.first(req); err != nil {
			return err
		}
		r.chain = s
		s.call.Peer = r.call.str.Session().Peer()
		return nil
	}, func() { s.wait(within, carrier, r.abandon) })
}

// first makes the first of the calls.
func (r *resumption) first(req any) *Error {
	r.at = []byte(r.call.opts.cursor)
	var err *Error
	if r.req, err = r.call.encodeOnce(req, r.hooks); err != nil {
		return err
	}
	return r.start()
}

// carrier returns a context that ends when no connection will carry the call any more, as far as that is known.
func (r *resumption) carrier() context.Context {
	if s, ok := r.call.conn.(*transport.Session); ok {
		return s.Context()
	}
	return context.Background()
}

// abandon gives up a call whose user does not receive when its context or its session ends, and says how it ends.
func (r *resumption) abandon(why error) *Error {
	r.mu.Lock()
	r.closed = true
	call := r.call
	r.mu.Unlock()
	err := call.abandon(why)
	err.Execution, err.again = Maybe, false // others may have run before
	r.cancel()
	return err
}

// start makes the call from the cursor, on the connection that there is or the next.
func (r *resumption) start() *Error {
	for {
		next := new(clientCall)
		*next = r.call.again()
		next.opts.cursor = string(r.at)
		err := next.sendOnly(&r.req)
		switch {
		case err == nil:
			return r.follow(next)
		case err.Execution == NotStarted: // there is no stream to be had, or the request cannot be sent
			return r.final(err)
		case err.code != Unavailable:
			return err
		}
		r.maybe = true // HEAD has left, and then the connection ended
	}
}

// follow makes next the call that is received from.
func (r *resumption) follow(next *clientCall) *Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		next.close()
		return &Error{code: Canceled, Message: "call closed by this side", Err: errClosed}
	}
	r.call = next
	return nil
}

// final returns err as the end of all the calls.
func (r *resumption) final(err *Error) *Error {
	if r.maybe {
		err.again = false
		if err.Execution == NotStarted {
			err.Execution = Maybe
		}
	}
	return err
}

// recv is clientCall.recv over all the calls.
func (r *resumption) recv(m any, lend bool) error {
	returned := false
	defer func() {
		if !returned { // a hook has panicked, say
			r.close()
		}
	}()
	err := r.next(m, lend)
	returned = true
	return err
}

func (r *resumption) next(m any, lend bool) error {
	for r.err == nil {
		err := r.call.recv(m, lend)
		if err == nil {
			err = r.hooks.sees(m, r.call.size, true)
			if err == nil {
				r.received()
				return nil
			}
			r.call.release(transport.StreamCanceled)
			r.end(hookError(err))
			break
		}
		r.goOn(err)
	}
	return r.err
}

// received notes that the user has the message. Until then its cursor does not count.
func (r *resumption) received() {
	c := r.call
	r.at, c.next = c.next, r.at[:0]
	r.begun, r.header = true, c.header
	r.failures = 0
}

// goOn makes the next call after one has ended with err, or ends with that.
func (r *resumption) goOn(err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok { // io.EOF
		r.end(err)
		return
	}
	// A server to which everybody comes back at once may have no room for a moment. Who begins is told so.
	full := e.code == ResourceExhausted && e.Execution == NotStarted && r.maybe
	if e.code != Unavailable && !full || !asked(e) {
		r.end(r.final(e))
		return
	}
	if e.Execution != NotStarted {
		r.maybe = true
	}
	// After the end of a connection the next is waited for, which the session spreads. A peer that is there is not
	// asked again at once.
	if _, gone := errors.AsType[*transport.Error](e.Err); !gone {
		r.wait(e.RetryAfter)
	}
	if err := r.start(); err != nil {
		r.end(err)
	}
}

// wait waits for as long as the peer has asked for, and a random time up to a bound that grows with each failure, or for
// the end of the call or its session.
func (r *resumption) wait(asked time.Duration) {
	timer := time.NewTimer(asked + backoff.Wait(r.failures, resumeBackoff, maxResumeBackoff))
	r.failures++
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.call.ctx.Done():
	case <-r.call.str.Session().Context().Done():
	}
}

func (r *resumption) end(err error) {
	defer r.cancel()
	if r.chain != nil {
		err = r.chain.settle(err, r.header, r.readTrailer())
	}
	r.err = err
}

// readHeader is clientCall.readHeader over all the calls. The header is that of the one which brought the newest
// message, and so no caller waits for it who has one.
func (r *resumption) readHeader() (Metadata, error) {
	for !r.begun && r.err == nil {
		header, err := r.call.readHeader()
		if err == nil {
			r.begun, r.header = true, header
			break
		}
		r.goOn(err)
	}
	if !r.begun {
		return nil, r.err
	}
	return r.header, nil
}

func (r *resumption) readTrailer() Metadata { return r.call.readTrailer() }

func (r *resumption) cursor() string { return string(r.at) }

// close gives the call up. It may be called from anywhere.
func (r *resumption) close() {
	r.mu.Lock()
	r.closed = true
	call := r.call
	r.mu.Unlock()
	call.close()
	if r.chain != nil {
		r.chain.end(r.abandon(errClosed), nil, nil, false)
	}
	r.cancel()
}

// What follows is the rest of endpoint; a Receiver does not send.

func (r *resumption) send(any, bool) error     { return errReceives }
func (r *resumption) sendAt(string, any) error { return errReceives }
func (r *resumption) closeSend() error         { return nil }

var errReceives = errors.New("a server stream's caller only receives")
