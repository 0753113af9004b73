package transport

import (
	"fmt"
	"log/slog"
	"strconv"
)

// A CloseCode says why a session or its connection ended. It is the application
// error code of QUIC's CONNECTION_CLOSE (RFC 9000, section 20.2). The registry is
// append-only; a code that is not in it means what its [Class] means.
type CloseCode uint64

// The registry of close codes.
const (
	// Unspecified is what libraries send by accident, so it is never graceful.
	Unspecified CloseCode = 0x000

	// Released: the session ended in order; all that was sent has arrived.
	Released CloseCode = 0x100
	// Drained: the server goes away in order; the session may be resumed.
	Drained CloseCode = 0x101

	// Aborted: a side ended the session at once.
	Aborted CloseCode = 0x200
	// ReleaseTimeout: a step of the release took too long.
	ReleaseTimeout CloseCode = 0x201
	// DrainTimeout: the session's work was not done when the server had to go.
	DrainTimeout CloseCode = 0x202
	// Internal: a fault in the side that closed.
	Internal CloseCode = 0x203
	// ExcessiveLoad: a limit was reached, or the peer misused one.
	ExcessiveLoad CloseCode = 0x204
	// HelloTimeout: HELLO did not arrive in time.
	HelloTimeout CloseCode = 0x205

	// Protocol: the peer broke the protocol, or speaks another.
	Protocol CloseCode = 0x300
	// ClosedCriticalStream: the control stream ended before the session.
	ClosedCriticalStream CloseCode = 0x301
	// FrameTooLarge: a frame on the control stream was over its limit.
	FrameTooLarge CloseCode = 0x302

	// Unauthorized: the certificate was not accepted, or may not open a session.
	Unauthorized CloseCode = 0x400
	// Revoked: the certificate or the identity was revoked.
	Revoked CloseCode = 0x401
	// Expired: the certificate is not valid now.
	Expired CloseCode = 0x402
	// Kicked: an administrator ended the session.
	Kicked CloseCode = 0x403
	// Banned: an administrator keeps the identity out.
	Banned CloseCode = 0x404
	// Replaced: a newer connection carries this session.
	Replaced CloseCode = 0x405

	// Lost is not on the wire: the peer fell silent, could not be reached, or has
	// forgotten the connection. Its value is beyond what a varint can carry, so no
	// peer can send it.
	Lost CloseCode = 1 << 62
)

// A Class groups close codes by what they mean for the session.
type Class uint8

// The classes. There is no zero value.
const (
	ClassGraceful Class = iota + 1 // 0x1xx, after the handshake of a release or drain
	ClassAbort                     // 0x0xx, 0x2xx, and all that is in no other class
	ClassProtocol                  // 0x3xx
	ClassRefused                   // 0x4xx
	ClassLost                      // no code
)

// A NextStep is what a client does after an end.
type NextStep uint8

// The steps. There is no zero value.
const (
	StepDone              NextStep = iota + 1 // nothing: the session has ended as it should
	StepResumeAfterDelay                      // resume after the delay that GOAWAY gave
	StepResumeWithBackoff                     // resume with jittered backoff
	StepStop                                  // stop, and tell the person
)

// A closeCode is one row of the registry.
type closeCode struct {
	code  CloseCode
	name  string
	class Class
	next  NextStep
}

// closeCodes is the registry.
var closeCodes = []closeCode{
	{Unspecified, "Unspecified", ClassAbort, StepResumeWithBackoff},
	{Released, "Released", ClassGraceful, StepDone},
	{Drained, "Drained", ClassGraceful, StepResumeAfterDelay},
	{Aborted, "Aborted", ClassAbort, StepResumeWithBackoff},
	{ReleaseTimeout, "ReleaseTimeout", ClassAbort, StepResumeWithBackoff},
	{DrainTimeout, "DrainTimeout", ClassAbort, StepResumeWithBackoff},
	{Internal, "Internal", ClassAbort, StepResumeWithBackoff},
	{ExcessiveLoad, "ExcessiveLoad", ClassAbort, StepResumeWithBackoff},
	{HelloTimeout, "HelloTimeout", ClassAbort, StepResumeWithBackoff},
	{Protocol, "Protocol", ClassProtocol, StepStop},
	{ClosedCriticalStream, "ClosedCriticalStream", ClassProtocol, StepStop},
	{FrameTooLarge, "FrameTooLarge", ClassProtocol, StepStop},
	{Unauthorized, "Unauthorized", ClassRefused, StepStop},
	{Revoked, "Revoked", ClassRefused, StepStop},
	{Expired, "Expired", ClassRefused, StepStop},
	{Kicked, "Kicked", ClassRefused, StepStop},
	{Banned, "Banned", ClassRefused, StepStop},
	{Replaced, "Replaced", ClassRefused, StepStop},
	{Lost, "Lost", ClassLost, StepResumeWithBackoff},
}

// row returns the code's row in the registry, or one made of what its class means: the
// hundreds (in hex) decide, and all beyond 0x4ff are aborts.
func (c CloseCode) row() closeCode {
	for _, row := range closeCodes {
		if row.code == c {
			return row
		}
	}
	row := closeCode{code: c, name: fmt.Sprintf("%#x", uint64(c))}
	switch c >> 8 {
	case 1:
		row.class, row.next = ClassGraceful, StepDone
	case 3:
		row.class, row.next = ClassProtocol, StepStop
	case 4:
		row.class, row.next = ClassRefused, StepStop
	default:
		row.class, row.next = ClassAbort, StepResumeWithBackoff
	}
	return row
}

// Class returns the code's class; a code that is not in the registry has one, too.
func (c CloseCode) Class() Class { return c.row().class }

// Next returns what a client does after an end with this code.
func (c CloseCode) Next() NextStep { return c.row().next }

// String returns the code's name, such as "Drained", or its number in hex.
func (c CloseCode) String() string { return c.row().name }

// LogValue makes loggers of any format write the name.
func (c CloseCode) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String returns the class's name in lower case, such as "graceful".
func (c Class) String() string {
	switch c {
	case ClassGraceful:
		return "graceful"
	case ClassAbort:
		return "abort"
	case ClassProtocol:
		return "protocol"
	case ClassRefused:
		return "refused"
	case ClassLost:
		return "lost"
	}
	return "class " + strconv.Itoa(int(c))
}

// A StreamCode says why a half of a stream was reset: the application error code of
// RESET_STREAM and STOP_SENDING (RFC 9000, sections 19.4 and 19.5). It is an
// enumeration apart from [CloseCode], and append-only too.
type StreamCode uint64

// The registry of stream codes.
const (
	StreamUnspecified   StreamCode = 0x0 // what libraries send by accident
	StreamNoError       StreamCode = 0x1 // the rest is not needed: the answer came early
	StreamCanceled      StreamCode = 0x2 // given up by its sender; what it asked for may have run
	StreamRejected      StreamCode = 0x3 // refused before anything of it ran
	StreamUnknownType   StreamCode = 0x4 // the stream type is not known
	StreamDeadline      StreamCode = 0x5 // its time was up
	StreamTooLarge      StreamCode = 0x6 // a frame declared more than the limit
	StreamExcessiveLoad StreamCode = 0x7 // a limit was reached
	StreamGoingAway     StreamCode = 0x8 // the session is being released or drained
	StreamInternal      StreamCode = 0x9 // a fault in the side that reset it
)

var streamCodeNames = [...]string{
	"unspecified", "no-error", "canceled", "rejected", "unknown-type",
	"deadline", "too-large", "excessive-load", "going-away", "internal",
}

// String returns the code's name in lower case, such as "canceled", or its number in hex.
func (c StreamCode) String() string {
	if c < StreamCode(len(streamCodeNames)) {
		return streamCodeNames[c]
	}
	return fmt.Sprintf("%#x", uint64(c))
}
