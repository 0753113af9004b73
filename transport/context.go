package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// A handlerContext is the context of a stream's handler. It is made in earnest only when
// somebody waits for its end, which few handlers of small calls do: a stream of 64 bytes each way took
// 70 allocations on both sides together instead of 65 (BenchmarkStream).
type handlerContext struct {
	link *link
	str  *quic.Stream

	mu   sync.Mutex // guards what follows
	real context.Context
	stop func() bool // ends the watch over the stream
	end  context.CancelCauseFunc
	over bool // the handler has returned
}

// get returns the context in earnest.
func (c *handlerContext) get() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real != nil {
		return c.real
	}
	c.real, c.end = context.WithCancelCause(c.link.handlersContext())
	if c.over {
		c.end(nil)
		return c.real
	}
	end, stream := c.end, c.str.Context()
	follow := func() {
		// Its other ends are the handler's own Close, which ends nothing else, and the connection's.
		if e, ok := errors.AsType[*quic.StreamError](context.Cause(stream)); ok {
			end(&StreamError{Code: StreamCode(e.ErrorCode), Remote: e.Remote})
		}
	}
	c.stop = context.AfterFunc(stream, follow)
	if stream.Err() != nil { // else a Write may have said so before the context does
		follow()
	}
	return c.real
}

// finish ends the context after the handler has returned.
func (c *handlerContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.real != nil {
		c.stop()
		c.end(nil)
	}
}

// Deadline implements [context.Context]: there is none.
func (c *handlerContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements [context.Context].
func (c *handlerContext) Done() <-chan struct{} { return c.get().Done() }

// Err implements [context.Context].
func (c *handlerContext) Err() error { return c.get().Err() }

// Value implements [context.Context].
func (c *handlerContext) Value(key any) any {
	if key == (sessionKey{}) {
		return c.link.sess
	}
	return c.get().Value(key) // package context looks for its own like this
}
