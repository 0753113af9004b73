package chat

import "time"

// Edited says that who published a message has put another text in its place. Of several the one with the highest position
// counts: the [*Sent] for an edit of one's own may come before that of another device's.
type Edited struct {
	Room     string
	Position Position // of the edit itself
	By       string   // the identity
	Time     time.Time
	Ref      uint64 // seq of the message
	Text     string
}

// Deleted says that a message has been taken back: its text, and those of its edits, are there no longer. Reactions to it mean nothing
// any more.
type Deleted struct {
	Room     string
	Position Position // of the deletion itself
	By       string   // who published the message, or keeps order in the room
	Time     time.Time
	Ref      uint64 // seq of the message
}

// Reacted says that somebody has reacted to a message, or has taken that back.
type Reacted struct {
	Room     string
	Position Position // of the reaction itself
	By       string
	Time     time.Time
	Ref      uint64 // seq of the message
	Text     string // 1 to 64 bytes, often an emoji
	Back     bool   // By has no such reaction to the message any more
}

// Erased is in the place of a message, or of an edit, that was deleted before it came. A [*Deleted] follows, in its own place.
type Erased struct {
	Room     string
	Position Position
	From     string
	Time     time.Time
	ID       string
	Ref      uint64 // seq of the message, of an edit; else 0
}

// RoomName implements [Event].
func (e *Edited) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Deleted) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Reacted) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Erased) RoomName() string { return e.Room }
