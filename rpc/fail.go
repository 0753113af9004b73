package rpc

import (
	"context"
	"errors"
	"io"

	"github.com/trunkline-go/trunkline/transport"
)

// How the ends of streams and sessions look to a caller. The table of PROTOCOL.md is this file.

// errClosed is what reading says after this side has closed the call.
var errClosed error = &transport.StreamError{Code: transport.StreamCanceled}

// openError says why no stream could be opened.
func (c *clientCall) openError(err error) *Error {
	if errors.Is(err, transport.ErrGoingAway) {
		return &Error{code: Unavailable, Message: err.Error(), Err: err, closed: true}
	}
	if e, ok := errors.AsType[*transport.Error](err); ok {
		out := sessionError(e)
		out.closed = true
		return out
	}
	if c.ctx.Err() != nil {
		return c.contextError()
	}
	return &Error{code: Unavailable, Message: err.Error(), Err: err}
}

// contextError says that the caller's own context has ended.
func (c *clientCall) contextError() *Error {
	e := &Error{code: Canceled, Message: "call canceled", Err: context.Cause(c.ctx)}
	if errors.Is(c.ctx.Err(), context.DeadlineExceeded) {
		e.code, e.Message = DeadlineExceeded, "deadline of the call has passed"
	}
	return e
}

// fail says why the call ended without an answer. It is NotStarted if nothing of it has
// been written, else Maybe.
func (c *clientCall) fail(err error) *Error {
	e := c.translate(err)
	if !c.headSent.Load() {
		e.Execution = NotStarted
		_, e.again = errors.AsType[*transport.Error](err)
	}
	return e
}

func (c *clientCall) translate(err error) *Error {
	if e, ok := errors.AsType[*transport.StreamError](err); ok {
		switch {
		case e.Remote:
			return resetError(e)
		case c.ctx.Err() != nil:
			return c.contextError()
		}
		return &Error{code: Canceled, Message: "call closed by this side", Err: err}
	}
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return sessionError(e)
	}
	return &Error{code: Internal, Message: err.Error(), Err: err}
}

// receiveError ends the call after reading its response failed.
func (c *clientCall) receiveError(err error) error {
	if e, ok := errors.AsType[*transport.FrameTooLargeError](err); ok {
		return c.finish(Errorf(ResourceExhausted, "response: %w", e), transport.StreamTooLarge)
	}
	if errors.Is(err, transport.ErrBuffersFull) {
		return c.finish(Errorf(ResourceExhausted, "response: %w", err), transport.StreamExcessiveLoad)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// A peer that keeps to the protocol cannot do that, whatever befalls it: it would
		// reset the stream. So it is Internal, and not Unavailable, which invites a retry.
		return c.finish(Errorf(Internal, "response truncated: it ended without a status"), transport.StreamCanceled)
	}
	e := c.translate(err)
	if reset, ok := errors.AsType[*transport.StreamError](err); ok &&
		reset.Remote && reset.Code == transport.StreamRejected && !c.begun && !c.partial() {
		e.Execution = NotStarted
		e.again = c.draining()
	}
	return c.finish(e, transport.StreamCanceled)
}

// draining says whether the connection takes no more calls, so that the next would go to another. A peer that
// rejects a call without that would reject it again.
func (c *clientCall) draining() bool {
	select {
	case <-c.str.Draining():
		return true
	default:
		return false
	}
}

// partial says whether the beginning of a frame's body is there. Of a frame's bare header the
// reader keeps no trace; but a peer that has begun to answer and then says rejected lies anyway.
func (c *clientCall) partial() bool {
	n, _ := c.str.Read(make([]byte, 1)) // what is buffered comes before the error
	return n > 0
}

// resetError says what a reset of the response by the peer means.
func resetError(e *transport.StreamError) *Error {
	out := &Error{code: Internal, Message: e.Error(), Remote: true, Err: e}
	switch e.Code {
	case transport.StreamRejected, transport.StreamGoingAway:
		out.code = Unavailable
	case transport.StreamCanceled:
		out.code = Canceled
	case transport.StreamDeadline:
		out.code = DeadlineExceeded
	case transport.StreamTooLarge, transport.StreamExcessiveLoad:
		out.code = ResourceExhausted
	case transport.StreamUnknownType:
		out.code, out.Message = Unimplemented, "peer serves no calls"
	default: // unspecified, no-error, internal, and what is not known here
	}
	return out
}

// sessionError says what the end of the session means for a call.
func sessionError(e *transport.Error) *Error {
	out := &Error{code: Unavailable, Message: e.Error(), Remote: e.Remote, Err: e}
	switch e.Code.Class() {
	case transport.ClassProtocol:
		out.code = Internal
	case transport.ClassRefused:
		switch e.Code {
		case transport.Kicked, transport.Banned:
			out.code = PermissionDenied
		case transport.Replaced: // the session goes on, over another connection
		default:
			out.code = Unauthenticated
		}
	case transport.ClassGraceful, transport.ClassAbort, transport.ClassLost:
	}
	return out
}
