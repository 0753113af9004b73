package floor

import "fmt"

// A Code is why an action was refused, or bytes were not decoded.
type Code uint8

// The codes. There is no zero value.
const (
	Invalid      Code = iota + 1 // the action itself is wrong: a name, a priority, a text
	Exists                       // there is a request already: see Error.Request
	Full                         // as many are waiting as may
	NotFound                     // there is no such request, any more
	Precondition                 // not as things are: who asks does not hold the floor, or has another grant
	Malformed                    // bytes are no state, or no transition, or one that does not follow
)

// An Error is why nothing was done. Its text is safe to show.
type Error struct {
	Code    Code
	Reason  string
	Request uint64 // Exists: the number of the one that there is
}

func (e *Error) Error() string { return "floor: " + e.Reason }

// Is reports whether target is an *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e.Code == t.Code
}

func errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Reason: fmt.Sprintf(format, args...)}
}
