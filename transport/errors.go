package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"unicode"

	"github.com/quic-go/quic-go"

	"github.com/trunkline-go/trunkline/certs"
)

// ErrGoingAway is returned by [Session.OpenStream] while the session is being
// released or drained: nothing new may start on it, and nothing was sent.
var ErrGoingAway = errors.New("session is going away")

// ErrServerClosed is returned by [Server.Serve] after Shutdown or Close.
var ErrServerClosed = errors.New("transport: server closed")

// An Error says how a session ended, or why it could not be established. It
// unwraps to net.ErrClosed and to Err.
type Error struct {
	Code   CloseCode
	Remote bool   // the peer decided it; false for what this side decided, and for Lost
	Reason string // safe text for people, may be empty; what the peer says has at most one packet's length
	Err    error  // the cause on this side, never sent; may be nil
}

func (e *Error) Error() string {
	text := "session " + describe(e.Code)
	switch {
	case e.Code == Lost:
	case e.Remote:
		text += " by peer"
	default:
		text += " by this side"
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	} else if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns net.ErrClosed and, if there is one, the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{net.ErrClosed}
	}
	return []error{net.ErrClosed, e.Err}
}

// Is reports whether target is an *Error with the same code, so that
// errors.Is(err, &Error{Code: Drained}) asks for the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e.Code == t.Code
}

// describe words a code so that it fits behind "session".
func describe(c CloseCode) string {
	switch c.Class() {
	case ClassGraceful, ClassLost:
		if c == Released || c == Drained || c == Lost {
			return map[CloseCode]string{Released: "released", Drained: "drained", Lost: "lost"}[c]
		}
	case ClassRefused:
		return "refused (" + c.String() + ")"
	case ClassAbort, ClassProtocol:
	}
	return "aborted (" + c.String() + ")"
}

// CodeOf returns the close code in err's chain, and whether there is one.
func CodeOf(err error) (CloseCode, bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return 0, false
	}
	return e.Code, true
}

// A StreamError says that a half of a stream was reset: by the peer, or by a Cancel
// of this side.
type StreamError struct {
	Code   StreamCode
	Remote bool
}

func (e *StreamError) Error() string {
	if e.Remote {
		return "stream reset by peer: " + e.Code.String()
	}
	return "stream canceled: " + e.Code.String()
}

// Is reports whether target is a *StreamError with the same code.
func (e *StreamError) Is(target error) bool {
	t, ok := target.(*StreamError)
	return ok && e.Code == t.Code
}

// TLS alerts as QUIC transport errors: 0x100 + alert (RFC 9001, section 4.8).
const (
	cryptoErrorFirst = 0x100
	cryptoErrorLast  = 0x1ff
	alertExpired     = cryptoErrorFirst + 45  // certificate_expired
	alertNoALPN      = cryptoErrorFirst + 120 // no_application_protocol
)

// fromQUIC translates what ended, or prevented, a QUIC connection.
func fromQUIC(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return &Error{Code: CloseCode(e.ErrorCode), Remote: e.Remote, Reason: printable(e.ErrorMessage)}
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok {
		return fromTransportError(e)
	}
	if _, ok := errors.AsType[*quic.VersionNegotiationError](err); ok {
		return &Error{Code: Protocol, Reason: "no common QUIC version", Err: err}
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](err); ok {
		return &Error{Code: Lost, Reason: "the peer has no memory of the connection (restarted?)", Err: err}
	}
	if _, ok := errors.AsType[*quic.HandshakeTimeoutError](err); ok {
		return &Error{Code: Lost, Reason: "no answer", Err: err}
	}
	if _, ok := errors.AsType[*quic.IdleTimeoutError](err); ok {
		return &Error{Code: Lost, Reason: "the peer fell silent", Err: err}
	}
	return &Error{Code: Lost, Err: err}
}

func fromTransportError(e *quic.TransportError) *Error {
	out := &Error{Code: Aborted, Remote: e.Remote, Err: e, Reason: printable(e.Error())}
	switch code := e.ErrorCode; {
	case code == alertNoALPN:
		out.Code, out.Reason = Protocol, "no common protocol (ALPN)"
	case code >= cryptoErrorFirst && code <= cryptoErrorLast:
		out.Code = Unauthorized
		if code == alertExpired {
			out.Code = Expired
		}
		out.Reason = "certificate not accepted: " + printable(e.Error())
		if v, ok := errors.AsType[*certs.VerifyError](e); ok {
			out.Err, out.Reason = v, v.Error()
			if v.Reason == certs.Expired {
				out.Code = Expired
			}
		}
	case code == quic.ConnectionRefused:
		out.Code, out.Reason = Lost, "connection refused"
	}
	return out
}

// fromStream translates an error of a stream's half. Errors of the connection
// become the outcome of the link, which is known a moment later.
func (l *link) fromStream(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		return &StreamError{Code: StreamCode(e.ErrorCode), Remote: e.Remote}
	}
	if errors.Is(err, quic.ErrStreamClosed) || errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, net.ErrClosed) {
		<-l.closed
		return l.outcome
	}
	return fmt.Errorf("stream: %w", err)
}

// maxText is the longest text that is sent, in bytes: a close reason that does not fit into
// one packet keeps quic-go from sending the close at all.
const maxText = 256

// cut makes text of this side's fit to be sent.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "") }

// unsaid returns e with a code that may end a session without a release.
func (e *Error) unsaid() *Error {
	if e.Code.Class() != ClassGraceful && e.Code != Lost {
		return e
	}
	return &Error{Code: Aborted, Remote: e.Remote, Reason: e.Reason, Err: e}
}

// printable makes text that a peer sent fit for a log line or a terminal.
func printable(s string) string {
	s = s[:min(len(s), maxText)]
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
