package chat

import (
	"errors"
	"fmt"

	"github.com/trunkline-go/trunkline/rpc"
)

// An Error is why a request is refused: by this side before it is sent, by the server in
// REJECTED, or by a [Log], whose refusals the server passes on. Its codes are those of rpc:
//
//	InvalidArgument     the request itself is wrong: a room name, a body, an id
//	AlreadyExists       the message id was used before, with another body; or one has reacted so already
//	NotFound            there is no such text; or one has not reacted to it so
//	PermissionDenied    may not
//	Aborted             the head is not the one that was expected
//	ResourceExhausted   a limit was reached
//	FailedPrecondition  not in the room, or already in it; or the text has been deleted
//	OutOfRange          insufficient state: the log no longer has what follows the cursor
//	DataLoss            insufficient state: the cursor names a record that the log does not know
//	Internal            a fault of the server
//	Unavailable         not now; of a PUBLISH: it may have been appended, and the same id may be sent again
type Error struct {
	Code   rpc.Code
	Reason string // safe to show, and to send
}

func (e *Error) Error() string { return e.Code.String() + ": " + e.Reason }

// Is reports whether target is an *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e.Code == t.Code
}

// CodeOf returns the code of the *Error in err's chain, or [rpc.Unknown].
func CodeOf(err error) rpc.Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return rpc.Unknown
}

func errorf(c rpc.Code, format string, args ...any) *Error {
	return &Error{Code: c, Reason: fmt.Sprintf(format, args...)}
}
