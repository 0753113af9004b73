package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// intercept runs the interceptors around handle.
func (c *serverCall) intercept() (*buffer, error) {
	call := c.describe()
	c.call = &call
	var buf *buffer
	ch := &chain{interceptors: c.mux.cfg.Interceptors, call: &call}
	ch.inner = func(ctx context.Context) (err error) {
		returned := false
		defer func() {
			if !returned { // the interceptors see it as an error
				err = c.panicked(recover())
			}
		}()
		if ctx != context.Context(&c.ctx) {
			defer c.follow(ctx)()
		}
		buf, err = c.handle(ctx)
		returned = true
		return err
	}
	err := ch.run(&c.ctx)
	if err == nil && (!ch.called || buf == nil && c.method.info.Kind.answersOnce()) {
		err = ch.silent()
		c.log().Error("interceptor returned no error", "err", err)
	}
	if err != nil && buf != nil {
		buf.free()
		buf = nil
	}
	return buf, err
}

// follow makes the handler's messages end with ctx, too, which an interceptor has made, until the handler has returned and
// calls done.
func (c *serverCall) follow(ctx context.Context) (done func()) {
	c.within = ctx
	if deadline, ok := ctx.Deadline(); ok && (c.deadline.IsZero() || deadline.Before(c.deadline)) {
		c.str.SetReadDeadline(deadline)
	}
	if c.method.info.Kind == KindUnary { // its handler has no messages to wait for, and most do not look at the end of ctx
		return func() {}
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.str.SetReadDeadline(time.Unix(1, 0))
		c.str.SetWriteDeadline(time.Unix(1, 0))
		close(ended)
	})
	return func() {
		if !stop() {
			<-ended
			c.str.SetWriteDeadline(time.Now().Add(endGrace)) // for the status
		}
	}
}

// panicked says what a call ends with whose handler, or interceptor, panicked with v. It must be called by the deferred
// function that has recovered. v is nil if the goroutine is at its end instead.
func (c *serverCall) panicked(v any) error {
	if v == nil {
		c.log().Error("handler ended its goroutine", "stack", string(debug.Stack()))
		return errHandlerFailed
	}
	if c.mux.cfg.Recover == nil {
		c.log().Error("handler panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		return &Error{code: Internal, Message: errHandlerFailed.Message, Err: fmt.Errorf("panic: %v", v)} // for interceptors
	}
	return c.recovered(v)
}

var errHandlerFailed = &Error{code: Internal, Message: "handler failed"}

// recovered asks [Config.Recover].
func (c *serverCall) recovered(v any) (err error) {
	defer func() {
		if again := recover(); again != nil {
			c.log().Error("recovery from a panic panicked", "panic", fmt.Sprint(again), "of", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = errHandlerFailed
		}
	}()
	if err = c.mux.cfg.Recover(&c.ctx, c.describe(), v); err == nil {
		err = errHandlerFailed
	}
	return err
}
