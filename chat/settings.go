package chat

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// Settings are what a room is beside its records: what [Change] by change has made of it. The zero value is a room that nobody has
// made anything of: all may join and speak, and nobody is its owner. Identities are those that records are From.
type Settings struct {
	Topic   string          `json:"topic,omitempty"`
	Default Role            `json:"default_role,omitempty"` // of who has none of their own; "" is RoleMember
	Roles   map[string]Role `json:"roles,omitempty"`
}

// A Role is what an identity is in a room.
type Role string

// The roles, the least first.
const (
	RoleNone     Role = "none"     // is not let in
	RoleListener Role = "listener" // reads
	RoleMember   Role = "member"   // speaks, too
	RoleChair    Role = "chair"    // keeps order
	RoleOwner    Role = "owner"    // says who is what
)

// RoleOf returns the role of an identity.
func (s *Settings) RoleOf(who string) Role {
	if r, ok := s.Roles[who]; ok {
		return r
	}
	if s.Default != "" {
		return s.Default
	}
	return RoleMember
}

// clone returns a copy that may be changed.
func (s *Settings) clone() *Settings {
	c := *s
	c.Roles = maps.Clone(s.Roles)
	return &c
}

// A Change is what a record of [KindSettings] says, in JSON: one thing in the room's settings that its sender has changed. Who
// follows all of a room's changes knows its settings.
type Change struct {
	What  ChangeKind `json:"what"`
	Topic string     `json:"topic,omitempty"`
}

// A ChangeKind says what has been changed.
type ChangeKind string

// The changes.
const (
	ChangeTopic ChangeKind = "topic" // Topic
)

// A snapshot is what the log keeps of a room beside its records.
type snapshot struct {
	Settings Settings `json:"settings"`
}

func (s *snapshot) encode() []byte {
	b, err := json.Marshal(s)
	if err != nil { // strings, maps of them, and times: there is nothing that could fail
		panic(fmt.Sprintf("chat: snapshot: %v", err))
	}
	return b
}

// decodeSnapshot decodes what a log had; nil is a room's that has none.
func decodeSnapshot(b []byte) (*snapshot, error) {
	s := &snapshot{}
	if b == nil {
		return s, nil
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("chat: snapshot: %w", err)
	}
	return s, nil
}

// Changed says that somebody has changed the room's settings.
type Changed struct {
	Room     string
	Position Position
	By       string    // the identity
	Time     time.Time // UTC
	Change   Change
}

// RoomName implements [Event].
func (e *Changed) RoomName() string { return e.Room }
