package main

import (
	"errors"
	"fmt"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Exit codes. Scripts rely on them.
const (
	exitOK       = 0 // released or drained
	exitError    = 1 // anything else
	exitUsage    = 2 // the command line is wrong
	exitRefused  = 3 // the server refused the session, or its key is not the expected one
	exitAborted  = 4 // the session was aborted
	exitLost     = 5 // the server was lost, or never reached, or there is none for lines that are unacknowledged
	exitAnswered = 6 // the call was answered with an error status, or its time was up
)

// A usageError is a fault of the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// A hintedError says what can be done about it.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

func withHint(err error, format string, args ...any) error {
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

// exitCode returns the code with which a command that failed with err ends.
func exitCode(err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if code, ok := transport.CodeOf(err); ok {
		return exitCodeOf(code)
	}
	if isRefused(err) {
		return exitRefused
	}
	if e, ok := errors.AsType[*rpc.Error](err); ok && (e.Remote || e.Code() == rpc.DeadlineExceeded) {
		return exitAnswered // both sides have a clock, and it is chance whose is first
	}
	return exitError
}

// isRefused says whether err is a refusal that is no end of a session.
func isRefused(err error) bool {
	_, ours := errors.AsType[*refusedError](err)
	return ours || errors.Is(err, certs.ErrPinned) || errors.Is(err, certs.ErrToken) || errors.Is(err, certs.ErrOtherHome)
}

// exitCodeOf returns the exit code for the end of a session.
func exitCodeOf(code transport.CloseCode) int {
	switch code.Class() {
	case transport.ClassGraceful:
		return exitOK
	case transport.ClassRefused:
		return exitRefused
	case transport.ClassAbort, transport.ClassProtocol:
		return exitAborted
	case transport.ClassLost:
		return exitLost
	}
	return exitError
}

// report prints err, and what can be done about it, to stderr.
func (a *app) report(err error) {
	_, _ = fmt.Fprintf(a.stderr, "trunkline: error: %s\n", plain(err.Error()))
	if e, ok := errors.AsType[*callError](err); ok {
		for _, line := range e.lines() {
			_, _ = fmt.Fprintf(a.stderr, "trunkline: %s\n", line)
		}
	}
	if hint := hintFor(err); hint != "" {
		_, _ = fmt.Fprintf(a.stderr, "trunkline: hint: %s\n", hint)
	}
}

// hintFor returns what can be done about err, or "".
func hintFor(err error) string {
	if e, ok := errors.AsType[*hintedError](err); ok {
		return e.hint
	}
	if e, ok := errors.AsType[*certs.KeyPermissionError](err); ok {
		return "run: " + e.Fix
	}
	if e, ok := errors.AsType[*certs.PinError](err); ok {
		return forgetHint(e)
	}
	if e, ok := errors.AsType[*certs.VerifyError](err); ok && e.Reason == certs.UnknownAuthority && !e.Expected.IsZero() {
		return fmt.Sprintf("the authority expected is %s, the one shown is %s; for another server, use another --home; %s", e.Expected, e.Got, anewHint)
	}
	code, _ := transport.CodeOf(err)
	if code == transport.Expired {
		return "it is too late to renew it: join again with a token of whoever runs the server, who has: trunkline certs invite NAME --add-device"
	}
	if code == transport.Lost {
		return "is the server running, and --server its address? start one with: trunkline serve"
	}
	return ""
}
