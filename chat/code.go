package chat

import (
	"errors"
	"fmt"
)

// A Code says why a request was not carried out. Numbers and names are gRPC's; chat uses
// those that have a constant here. A code without one is shown by its number.
type Code uint32

// The codes in use. There is no zero value.
const (
	Unknown            Code = 2  // no other code fits
	InvalidArgument    Code = 3  // the request itself is wrong: a room name, a body, an id
	AlreadyExists      Code = 6  // the message id was used before, with another body
	PermissionDenied   Code = 7  // may not
	ResourceExhausted  Code = 8  // a limit was reached
	FailedPrecondition Code = 9  // not in the room, or already in it
	OutOfRange         Code = 11 // insufficient state: the log no longer has what follows the cursor
	Internal           Code = 13 // a fault of the server
	Unavailable        Code = 14 // not now. Of a PUBLISH: it may have been appended; the same id may be sent again
	DataLoss           Code = 15 // insufficient state: the cursor names a record that the log does not know
)

var codeNames = map[Code]string{
	Unknown:            "Unknown",
	InvalidArgument:    "InvalidArgument",
	AlreadyExists:      "AlreadyExists",
	PermissionDenied:   "PermissionDenied",
	ResourceExhausted:  "ResourceExhausted",
	FailedPrecondition: "FailedPrecondition",
	OutOfRange:         "OutOfRange",
	Internal:           "Internal",
	Unavailable:        "Unavailable",
	DataLoss:           "DataLoss",
}

// String returns the code's name, such as "InvalidArgument", or "Code(n)".
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("Code(%d)", uint32(c))
}

// An Error is why a request is refused: by this side before it is sent, by the server in
// REJECTED, or by a [Log], whose refusals the server passes on.
type Error struct {
	Code   Code
	Reason string // safe to show, and to send
}

func (e *Error) Error() string { return e.Code.String() + ": " + e.Reason }

// Is reports whether target is an *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e.Code == t.Code
}

// CodeOf returns the code of the *Error in err's chain, or Unknown.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Unknown
}

func errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Reason: fmt.Sprintf(format, args...)}
}
