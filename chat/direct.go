package chat

import (
	"strings"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
)

// DirectRoom returns the name of the room of two identities, which are named as others know them: "@alice,bob". Its name says
// who may be in it, both as members, and nobody else sees it, nor does an administrator of the server. It is not created,
// configured, or deleted.
func DirectRoom(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return "@" + a + "," + b
}

// DirectMembers returns the two whose room it is, if the name is that of a direct room.
func DirectMembers(room string) (a, b string, ok bool) {
	rest, ok := strings.CutPrefix(room, "@")
	if !ok {
		return "", "", false
	}
	a, b, ok = strings.Cut(rest, ",")
	return a, b, ok
}

// isDirect says whether the room of that name, which has been checked, is one of two.
func isDirect(room string) bool { return strings.HasPrefix(room, "@") }

// inDirect says whether an identity is one of the two of a direct room.
func inDirect(room, who string) bool {
	a, b, _ := DirectMembers(room)
	return who == a || who == b
}

// checkDirect checks the name of a room that begins with "@": of two identities there is one, in one spelling.
func checkDirect(name string) *Error {
	a, b, ok := DirectMembers(name)
	if !ok || !isIdentity(a) || !isIdentity(b) || a >= b {
		return errorf(rpc.InvalidArgument, "a room name that begins with @ is that of two identities, in the order of their bytes: @alice,bob")
	}
	return nil
}

// isIdentity says whether a user may be known to others by that name.
func isIdentity(name string) bool {
	if certs.ValidName(name) == nil {
		return true
	}
	id, err := certs.ParseID(name)
	return err == nil && !id.IsServer()
}
