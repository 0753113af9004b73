package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/anypb"
)

// An Execution says whether a call that failed has run, which its code does not tell.
// Only what is NotStarted may be sent again without asking whether it bears repeating.
type Execution uint8

const (
	// Maybe: no answer came, so it may have run, in part or whole. The zero value.
	Maybe Execution = iota
	// NotStarted: no handler was called. Either nothing of the call was ever written, or
	// the peer has said so.
	NotStarted
	// Ran: the handler answered with this error.
	Ran
)

// String returns "maybe", "not started" or "ran".
func (x Execution) String() string {
	switch x {
	case Maybe:
		return "maybe"
	case NotStarted:
		return "not started"
	case Ran:
		return "ran"
	}
	return fmt.Sprintf("execution %d", uint8(x))
}

// An Error is how a call failed. A handler returns one to choose what its caller sees: code,
// message and details go over the wire, the rest stays here. Make one with [Errorf].
//
// Calls return no other type of error. A Canceled or DeadlineExceeded one is also the
// context error of that meaning to errors.Is.
type Error struct {
	code Code // so that nobody can write OK into it; zero reads as Unknown

	Message string       // for people; crosses the wire, so it must be safe to show
	Details []*anypb.Any // for programs; cross the wire, if they are at most 256; END as a whole has at most 64 KiB

	// Execution says, to a caller, whether the call ran. What a handler puts here is
	// not sent: having been called, it ran.
	Execution Execution
	// Remote says, to a caller, that the peer decided this: it answered, or reset the stream.
	Remote bool
	// RetryAfter is how long a caller should wait before it makes the call again; negative: it should not. 0 says nothing. It
	// crosses the wire, in milliseconds, and is what gRPC calls pushback (gRFC A6).
	RetryAfter time.Duration
	// Attempts says, to a caller, how often the call was made in vain if it was by a [Client], see [Retry]; else 0. With
	// more than one the rest is said of the last, but NotStarted of all.
	Attempts int
	// Err is the cause on this side, if any: an [*transport.Error], say. Never sent.
	Err error

	// again says that nothing of the call ran, and that its connection is to blame, which has ended or takes no
	// more: the next one may serve it.
	again bool
	// closed says that there will be no connection any more to make it on.
	closed bool
}

// again says whether a call that failed with err may be made once more, on the next connection (R4).
func again(err error) bool {
	if err == nil {
		return false
	}
	e, ok := errors.AsType[*Error](err)
	return ok && e.again
}

// Errorf returns an Error whose message is the formatted text, which crosses the wire. An
// error formatted with %w becomes Err. A code that is OK or not in the registry becomes Unknown.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{code: code.failure(), Message: err.Error(), Err: errors.Unwrap(err)}
}

// failure returns c if an Error may have it, else Unknown.
func (c Code) failure() Code {
	if c == OK || int64(c) >= int64(len(codeNames)) {
		return Unknown
	}
	return c
}

// Code returns the code, which is never OK.
func (e *Error) Code() Code { return e.code.failure() }

// Error returns the code's name and the message, for people and logs. What a peer sent
// is made printable.
func (e *Error) Error() string {
	text := e.Message
	if e.Remote {
		text = strings.Map(printable, text)
	}
	code := e.Code().String()
	if e.Attempts > 1 {
		code = fmt.Sprintf("%s after %d attempts", code, e.Attempts)
	}
	if text == "" {
		return code
	}
	return code + ": " + text
}

func printable(r rune) rune {
	switch {
	case unicode.IsPrint(r):
		return r
	case unicode.IsSpace(r):
		return ' '
	}
	return unicode.ReplacementChar
}

// Unwrap returns the cause on this side, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same code, or the context error that
// means the same.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.code == Canceled
	case context.DeadlineExceeded:
		return e.code == DeadlineExceeded
	}
	t, ok := target.(*Error)
	return ok && e.Code() == t.Code()
}

// notStarted says of e that nothing of the call was written, or no handler called.
func (e *Error) notStarted() *Error {
	e.Execution = NotStarted
	return e
}
