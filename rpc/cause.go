package rpc

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/trunkline-go/trunkline/transport"
)

// A Cause says why the context of a handler ended before the handler did.
type Cause uint8

// The causes. There is no zero value.
const (
	// CallerCanceled: the caller gave this call up; its session lives.
	CallerCanceled Cause = iota + 1
	// DeadlinePassed: the time that the caller gave has passed.
	DeadlinePassed
	// PeerReleased: the peer left in order. It had said so before (see [Draining]), and
	// waited for as long as it would.
	PeerReleased
	// PeerAborted: the peer ended the session at once.
	PeerAborted
	// PeerLost: the peer fell silent, or came back on another connection.
	PeerLost
	// LocalShutdown: this side ended the session.
	LocalShutdown
)

var causeTexts = [...]string{
	"", "call canceled by caller", "deadline of the call has passed", "session released by peer",
	"session aborted by peer", "session lost", "session shut down by this side",
}

// String returns the cause in words.
func (c Cause) String() string {
	if int(c) < len(causeTexts) {
		return causeTexts[c]
	}
	return "cause " + strconv.Itoa(int(c))
}

// A CanceledError is the context.Cause of a handler's context, and what Send and Recv of a
// handler return once it has ended. It is context.Canceled, or for DeadlinePassed
// context.DeadlineExceeded, to errors.Is.
type CanceledError struct {
	Cause Cause
	Err   error // how the session or the stream ended: a *transport.Error or a *transport.StreamError; nil for a deadline
}

func (e *CanceledError) Error() string {
	if err, ok := errors.AsType[*transport.Error](e.Err); ok && err.Reason != "" {
		return e.Cause.String() + ": " + err.Reason
	}
	return e.Cause.String()
}

// Unwrap returns the context's error and, if there is one, the session's or stream's.
func (e *CanceledError) Unwrap() []error {
	err := context.Canceled
	if e.Cause == DeadlinePassed {
		err = context.DeadlineExceeded
	}
	if e.Err == nil {
		return []error{err}
	}
	return []error{err, e.Err}
}

// canceled translates how transport says that a handler's stream or its session ended.
func canceled(err error) *CanceledError {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &CanceledError{Cause: DeadlinePassed}
	}
	if e, ok := errors.AsType[*transport.StreamError](err); ok {
		if e.Code == transport.StreamDeadline {
			return &CanceledError{Cause: DeadlinePassed, Err: err}
		}
		return &CanceledError{Cause: CallerCanceled, Err: err}
	}
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return &CanceledError{Cause: causeOf(e), Err: err}
	}
	return &CanceledError{Cause: CallerCanceled, Err: err}
}

// causeOf sorts the ends of a session.
func causeOf(e *transport.Error) Cause {
	switch {
	case e.Code == transport.Lost:
		return PeerLost
	case e.Code == transport.Replaced && !e.Remote:
		return PeerLost // the peer is back, but not for this connection
	case !e.Remote && e.Code != transport.Released && e.Code != transport.Drained:
		return LocalShutdown
	case e.Code.Class() == transport.ClassGraceful,
		e.Code == transport.ReleaseTimeout, e.Code == transport.DrainTimeout:
		return PeerReleased
	}
	return PeerAborted
}
