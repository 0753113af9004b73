package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// maxSettings bounds a room's settings, in bytes of JSON: a snapshot is written with each change, and read with each JOIN. It
// has place for some 2,000 roles, or 500 bans with their reasons.
const maxSettings = 64 << 10

// Settings are what a room is beside its records: what [Change] by change has made of it. The zero value is a room that nobody has
// made anything of: all may join and speak, and nobody is its owner. Identities are those that records are From. All of it is
// at most 64 KiB of JSON.
type Settings struct {
	Topic   string              `json:"topic,omitempty"`
	Default Role                `json:"default_role,omitempty"` // of who has none of their own; "" is RoleMember
	Roles   map[string]Role     `json:"roles,omitempty"`
	Bans    map[string]Sanction `json:"bans,omitempty"`  // also such as are over
	Mutes   map[string]Sanction `json:"mutes,omitempty"` // likewise
	Slow    *Slow               `json:"slow,omitempty"`  // nil: everyone as fast as they like

	Mode  Mode          `json:"mode,omitempty"` // "" is Duplex
	Floor FloorSettings `json:"floor,omitzero"`
}

// A Role is what an identity is in a room.
type Role string

// The roles, the least first.
const (
	RoleNone     Role = "none"     // is not let in
	RoleListener Role = "listener" // reads
	RoleMember   Role = "member"   // speaks, too
	RoleChair    Role = "chair"    // keeps order among those below
	RoleOwner    Role = "owner"    // does everything
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

// sanctions returns the bans, or the mutes, whichever a change is about.
func (s *Settings) sanctions(what ChangeKind) map[string]Sanction {
	if what == ChangeBan || what == ChangeUnban {
		return s.Bans
	}
	return s.Mutes
}

// clone returns a copy that may be changed.
func (s *Settings) clone() *Settings {
	c := *s
	c.Roles, c.Bans, c.Mutes = maps.Clone(s.Roles), maps.Clone(s.Bans), maps.Clone(s.Mutes)
	return &c
}

// prune forgets what is over.
func (s *Settings) prune(now time.Time) {
	over := func(_ string, p Sanction) bool { return p.over(now) }
	maps.DeleteFunc(s.Bans, over)
	maps.DeleteFunc(s.Mutes, over)
}

// size returns how long they are in JSON, in bytes.
func (s *Settings) size() int {
	b, _ := json.Marshal(s) // see snapshot.encode
	return len(b)
}

// owners returns how many owners there are.
func (s *Settings) owners() (n int) {
	for _, r := range s.Roles {
		if r == RoleOwner {
			n++
		}
	}
	return n
}

// Apply makes of s what by has changed, so that who has a room's settings and follows its changes knows them (C7). Bans and mutes
// that are over may stay in it longer than with the server. A change that this version does not know is left out.
func (s *Settings) Apply(by string, c *Change) {
	switch c.What {
	case ChangeTopic:
		s.Topic = c.Topic
	case ChangeRole:
		if c.Role == "" {
			delete(s.Roles, c.Who)
			return
		}
		put(&s.Roles, c.Who, c.Role)
	case ChangeDefaultRole:
		s.Default = c.Role
	case ChangeBan:
		put(&s.Bans, c.Who, Sanction{Until: c.Until, By: by, Reason: c.Reason})
	case ChangeUnban:
		delete(s.Bans, c.Who)
	case ChangeMute:
		put(&s.Mutes, c.Who, Sanction{Until: c.Until, By: by, Reason: c.Reason})
	case ChangeUnmute:
		delete(s.Mutes, c.Who)
	case ChangeSlow:
		s.Slow = c.Slow
	case ChangeCreate:
		*s = Settings{}
		if c.Settings != nil {
			*s = *c.Settings.clone()
		}
	case ChangeDelete:
		*s = Settings{}
	case ChangeMode:
		if c.Mode != "" {
			s.Mode = c.Mode
		}
		if c.Floor != nil {
			s.Floor = *c.Floor
		}
	case ChangeKick:
	}
}

func put[K comparable, V any](m *map[K]V, key K, v V) {
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[key] = v
}

// A Change is what a record of [KindSettings] says, in JSON: one thing in the room's settings that its sender has changed, or has
// done to somebody. [Settings.Apply] says what it means.
type Change struct {
	What     ChangeKind `json:"what"`
	Topic    string     `json:"topic,omitempty"`
	Who      string     `json:"who,omitempty"` // the identity to whom it was done
	Role     Role       `json:"role,omitempty"`
	Until    time.Time  `json:"until,omitzero"` // zero: for good
	Reason   string     `json:"reason,omitempty"`
	Slow     *Slow      `json:"slow,omitempty"`
	Settings *Settings  `json:"settings,omitempty"`

	Mode  Mode           `json:"mode,omitempty"`
	Floor *FloorSettings `json:"floor,omitempty"`
}

// A ChangeKind says what has been changed.
type ChangeKind string

// The changes, and the fields that each has.
const (
	ChangeCreate      ChangeKind = "create" // Settings: the room's, in place of what it had
	ChangeDelete      ChangeKind = "delete" // the room is gone
	ChangeTopic       ChangeKind = "topic"  // Topic
	ChangeRole        ChangeKind = "role"   // Who, Role; no Role: what the default is
	ChangeDefaultRole ChangeKind = "default_role"
	ChangeKick        ChangeKind = "kick"   // Who, Reason; Who may come back
	ChangeBan         ChangeKind = "ban"    // Who, Until, Reason
	ChangeUnban       ChangeKind = "unban"  // Who
	ChangeMute        ChangeKind = "mute"   // Who, Until, Reason
	ChangeUnmute      ChangeKind = "unmute" // Who
	ChangeSlow        ChangeKind = "slow"   // Slow; none: as fast as they like
	ChangeMode        ChangeKind = "mode"   // Mode, Floor: those of them that have changed
)

// A snapshot is what the log keeps of a room beside its records.
type snapshot struct {
	Settings Settings  `json:"settings"`
	Sync     syncState `json:"sync,omitzero"`
	Gone     uint64    `json:"gone,omitempty"`  // seq of the record by which the room was deleted last; it is there again with the next
	Floor    []byte    `json:"floor,omitempty"` // see package floor; none before somebody has asked for it
}

// first returns the seq of the oldest record that is the room's, of which the log has those from first on: what was said in a room
// that has been deleted, and that it was, is not this one's.
func (s *snapshot) first(first uint64) uint64 { return max(first, s.Gone+1) }

func (s *snapshot) encode() []byte {
	b, err := json.Marshal(s)
	if err != nil { // strings, maps of them, and times: there is nothing that could fail
		panic(fmt.Sprintf("chat: snapshot: %v", err))
	}
	return b
}

// settingsEqual says whether two snapshots have the same settings.
func (s *snapshot) settingsEqual(t *snapshot) bool {
	a, b := snapshot{Settings: s.Settings, Gone: s.Gone}, snapshot{Settings: t.Settings, Gone: t.Gone}
	return bytes.Equal(a.encode(), b.encode())
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
