package rpc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// A Code says how a call ended. The numbers and their meanings are gRPC's
// (google.rpc.Code).
type Code uint32

// The codes. The registry is closed: a number from the wire that is not here becomes Unknown.
const (
	// OK is success. No [*Error] has it.
	OK Code = 0
	// Canceled: the caller gave up.
	Canceled Code = 1
	// Unknown: the handler failed with an error that is not an [*Error].
	Unknown Code = 2
	// InvalidArgument: the request is wrong whatever the state of the system.
	InvalidArgument Code = 3
	// DeadlineExceeded: the call's time was up; what it asked for may have happened.
	DeadlineExceeded Code = 4
	// NotFound: what the request names does not exist.
	NotFound Code = 5
	// AlreadyExists: what the request would create exists.
	AlreadyExists Code = 6
	// PermissionDenied: this peer may not do that.
	PermissionDenied Code = 7
	// ResourceExhausted: a limit was reached: a size, a quota, a queue.
	ResourceExhausted Code = 8
	// FailedPrecondition: the system is not in a state for it; the same call fails again.
	FailedPrecondition Code = 9
	// Aborted: a conflict with something concurrent; begin again at a higher level.
	Aborted Code = 10
	// OutOfRange: past the end of what there is.
	OutOfRange Code = 11
	// Unimplemented: no such method, codec or stream type.
	Unimplemented Code = 12
	// Internal: a fault, such as a handler that panicked or a peer that broke the protocol.
	Internal Code = 13
	// Unavailable: the peer is not there now; another attempt may help.
	Unavailable Code = 14
	// DataLoss: data is gone for good, or damaged.
	DataLoss Code = 15
	// Unauthenticated: it is not known who asks.
	Unauthenticated Code = 16
)

var codeNames = [...]string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound",
	"AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
	"Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss",
	"Unauthenticated",
}

// String returns the code's name, such as "InvalidArgument", or its number behind "Code".
func (c Code) String() string {
	if int64(c) < int64(len(codeNames)) {
		return codeNames[c]
	}
	return "Code" + strconv.FormatUint(uint64(c), 10)
}

// MarshalText returns the code's name. A number that is no code is an error.
func (c Code) MarshalText() ([]byte, error) {
	if int64(c) >= int64(len(codeNames)) {
		return nil, fmt.Errorf("%d is not a code", uint32(c))
	}
	return []byte(codeNames[c]), nil
}

// UnmarshalText sets the code by its name, exactly as String writes it.
func (c *Code) UnmarshalText(text []byte) error {
	for i, name := range codeNames {
		if string(text) == name {
			*c = Code(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not the name of a code", text)
}

// CodeOf returns the code of err: OK for nil, that of the [*Error] in its chain, Canceled
// or DeadlineExceeded for a context's error, and Unknown for anything else.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code()
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	}
	return Unknown
}
