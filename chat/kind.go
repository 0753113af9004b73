package chat

import "strconv"

// A Kind says what a record is. Whatever it is, it takes a position, and reaches every member in its place (C1, C4).
type Kind uint64

// The kinds. A later version may have more: who does not know one goes on behind it.
const (
	KindText     Kind = iota // a message
	KindEdit                 // another text for the message Ref
	KindDelete               // the message Ref is taken back
	KindReact                // a reaction to the message Ref
	KindUnreact              // that reaction is taken back
	KindSettings             // a [Change] of the room's settings; made by the server
	KindFloor                // a transition of the floor; made by the server
	KindSync                 // a synchronization point; made by the server
)

// String returns "text", "edit", "delete", "react", "unreact", "settings", "floor" or "sync", and of others the number.
func (k Kind) String() string {
	names := [...]string{"text", "edit", "delete", "react", "unreact", "settings", "floor", "sync"}
	if k < Kind(len(names)) {
		return names[k]
	}
	return strconv.FormatUint(uint64(k), 10)
}

// refers says whether a record of the kind refers to a text.
func (k Kind) refers() bool { return k >= KindEdit && k <= KindUnreact }
