package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trunkline-go/trunkline/rpc"
)

// Limits on names, in bytes.
const (
	maxRoomName  = 128
	maxMessageID = 64
	// defaultMaxBody is the longest text of a message unless Config.MaxBody says otherwise.
	defaultMaxBody = 64 << 10
)

// ValidRoom returns nil if name may name a room: 1 to 128 bytes of UTF-8, no control or
// format characters, no space at either end; one that begins with "@" is as [DirectRoom] makes it. Otherwise it returns an
// [*Error] with rpc.InvalidArgument. Names that differ in one byte are different rooms.
func ValidRoom(name string) error {
	// Explicitly typed: a nil *Error must not become a non-nil error.
	if e := checkRoom(name); e != nil {
		return e
	}
	return nil
}

func checkRoom(name string) *Error {
	switch {
	case name == "":
		return errorf(rpc.InvalidArgument, "room name is empty")
	case len(name) > maxRoomName:
		return errorf(rpc.InvalidArgument, "room name has %d bytes, limit is %d", len(name), maxRoomName)
	case !utf8.ValidString(name):
		return errorf(rpc.InvalidArgument, "room name is not valid UTF-8")
	}
	for _, r := range name {
		if r < utf8.RuneSelf { // nearly all are; the tables take 30 ns for each rune, and every Publish comes here
			if r < ' ' || r == 0x7f {
				return errorf(rpc.InvalidArgument, "room name has a control character (%U)", r)
			}
			continue
		}
		// Cf has the marks that turn the direction of writing: a name with
		// one looks like another.
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return errorf(rpc.InvalidArgument, "room name has a control character (%U)", r)
		}
	}
	if strings.TrimSpace(name) != name {
		return errorf(rpc.InvalidArgument, "room name begins or ends with a space")
	}
	if isDirect(name) {
		return checkDirect(name)
	}
	return nil
}

// checkLine checks what is shown in one line, such as a topic; it may be empty.
func checkLine(what, text string, limit int) *Error {
	switch {
	case len(text) > limit:
		return errorf(rpc.InvalidArgument, "the %s has %d bytes, the limit is %d", what, len(text), limit)
	case !utf8.ValidString(text):
		return errorf(rpc.InvalidArgument, "the %s is not valid UTF-8", what)
	}
	for _, r := range text {
		if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) {
			return errorf(rpc.InvalidArgument, "the %s has a control character (%U)", what, r)
		}
	}
	return nil
}

// checkBody checks the text of a message against a limit in bytes.
func checkBody[T string | []byte](body T, limit int) *Error {
	var valid bool
	switch b := any(body).(type) { // a conversion would allocate
	case string:
		valid = utf8.ValidString(b)
	case []byte:
		valid = utf8.Valid(b)
	}
	switch {
	case len(body) == 0:
		return errorf(rpc.InvalidArgument, "message is empty")
	case len(body) > limit:
		return errorf(rpc.InvalidArgument, "message has %d bytes, limit is %d", len(body), limit)
	case !valid:
		return errorf(rpc.InvalidArgument, "message is not valid UTF-8")
	}
	return nil
}

func checkProducer(producer []byte) *Error {
	if n := len(producer); n != len(Producer{}) {
		return errorf(rpc.InvalidArgument, "producer has %d bytes, not %d", n, len(Producer{}))
	}
	return nil
}

func checkMessageID(id []byte) *Error {
	if n := len(id); n == 0 || n > maxMessageID {
		return errorf(rpc.InvalidArgument, "message id has %d bytes, not 1 to %d", n, maxMessageID)
	}
	return nil
}
