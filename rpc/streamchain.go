package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"github.com/trunkline-go/trunkline/transport"
)

// A streamChain is the chain of a call whose user receives. It runs in a goroutine of its own, which ends with the
// call: at its end, when it is closed, with its context, or with what carries it, whatever comes first.
type streamChain struct {
	chain

	begun chan struct{} // closed when next has begun the call
	ended chan struct{} // closed when the call has ended
	done  chan struct{} // closed when the interceptors have returned

	result   *Error // of the interceptors, nil for success; set before done is closed
	panicked error  // the same

	mu              sync.Mutex // guards what follows
	awaited         bool       // somebody waits for done
	over            bool       // ended is closed
	outcome         error      // of the call; nil for success
	header, trailer Metadata
}

// begin begins a call whose user receives, and runs the interceptors around it if there are any. req is its
// request if that is one message, else nil.
func (c *clientCall) begin(kind Kind, req any) *Error {
	if !c.intercepted() {
		return c.start(req)
	}
	c.call = c.describe(kind)
	s := newStreamChain(c.client, c.call)
	return s.surround(c.ctx, func(ctx context.Context) *Error {
		if err := c.enter(ctx, c.call); err != nil {
			return err
		}
		if err := c.start(req); err != nil {
			return err
		}
		c.chain = s
		s.call.Peer = c.str.Session().Peer()
		return nil
	}, func() { s.wait(c.ctx, c.str.Connection(), c.abandon) })
}

func (c *clientCall) start(req any) *Error {
	if req == nil {
		return c.open()
	}
	return c.sendOnly(req)
}

// abandon gives up a call whose user does not receive when its context or its connection ends, and says how it ends.
func (c *clientCall) abandon(why error) *Error {
	code := transport.StreamCanceled
	if c.ctx.Err() != nil {
		code = codeForContext(c.ctx)
	}
	c.release(code)
	return c.fail(why)
}

func newStreamChain(client *Client, call *Call) *streamChain {
	return &streamChain{
		chain:   chain{interceptors: client.cfg.Interceptors, call: call},
		begun:   make(chan struct{}),
		ended:   make(chan struct{}),
		done:    make(chan struct{}),
		awaited: true,
	}
}

// surround runs the interceptors around start, which begins the call, and wait, which returns after its end. It returns
// when the call has begun, or has not come to it.
func (s *streamChain) surround(ctx context.Context, start func(ctx context.Context) *Error, wait func()) *Error {
	s.inner = func(ctx context.Context) error {
		if err := start(ctx); err != nil {
			return err
		}
		s.begin()
		wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.call.Header, s.call.Trailer = s.header, s.trailer
		return s.outcome
	}
	go s.serve(ctx)
	select {
	case <-s.begun:
		return nil
	case <-s.done:
	}
	select {
	case <-s.begun: // and it has ended, too; who receives is told how
		return nil
	default:
	}
	if s.panicked != nil {
		panic(s.panicked)
	}
	if s.result == nil {
		return s.silent()
	}
	return s.result
}

// begin notes that the call has begun, and nobody waits for the interceptors any more.
func (s *streamChain) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited = false
	close(s.begun)
}

// serve is the goroutine.
func (s *streamChain) serve(ctx context.Context) {
	returned := false
	defer func() {
		if !returned {
			s.failed(recover())
		}
		close(s.done)
	}()
	err := s.run(ctx)
	returned = true
	if err != nil {
		s.result = s.chain.result(err)
	}
}

// failed sees to a panic of an interceptor with v, or to the end of its goroutine, if v is nil.
func (s *streamChain) failed(v any) {
	if v == nil {
		s.result = s.chain.result(Errorf(Internal, "interceptor ended its goroutine"))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.awaited { // the call has been given up: it is a panic like that of any goroutine
		panic(v)
	}
	s.panicked = fmt.Errorf("interceptor panicked: %v\n\n%s", v, debug.Stack())
}

// wait waits for the end of the call. Its user may have forgotten it: then abandon ends it with ctx, or with carrier.
func (s *streamChain) wait(ctx, carrier context.Context, abandon func(why error) *Error) {
	select {
	case <-s.ended:
	case <-ctx.Done():
		s.end(abandon(errClosed), nil, nil, false)
	case <-carrier.Done():
		s.end(abandon(context.Cause(carrier)), nil, nil, false)
	}
}

// end has next return err, if nothing has ended the call before. With await the caller will wait for done.
func (s *streamChain) end(err error, header, trailer Metadata, await bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited = s.awaited || await
	if s.over {
		return
	}
	s.over, s.outcome, s.header, s.trailer = true, err, header, trailer
	close(s.ended)
}

// settle ends the call with err, which is io.EOF for success, and returns what the interceptors make of it.
func (s *streamChain) settle(err error, header, trailer Metadata) error {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s.end(err, header, trailer, true)
	<-s.done
	switch {
	case s.panicked != nil:
		panic(s.panicked)
	case s.result == nil:
		return io.EOF
	}
	return s.result
}
