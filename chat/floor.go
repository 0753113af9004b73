package chat

import (
	"time"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// A Mode is X.225's dialog control: who may speak in a room, of those who may at all.
type Mode string

// The modes. What is no text, a reaction say, needs the floor in neither.
const (
	Duplex     Mode = "duplex"      // everybody
	HalfDuplex Mode = "half-duplex" // who holds the floor
)

// FloorSettings are how the floor of a room is held. Times are in milliseconds; 0 is the default, and a negative one is none, see
// [floor.Settings].
type FloorSettings struct {
	LeaseMs     int64  `json:"lease_ms,omitempty"`      // how long a grant lasts without being renewed; default 30 s
	LongestMs   int64  `json:"longest_ms,omitempty"`    // how long it lasts in all; default: for ever
	GraceMs     int64  `json:"grace_ms,omitempty"`      // how long it waits for a session that was lost; default 30 s
	ChairAwayMs int64  `json:"chair_away_ms,omitempty"` // how long requests wait for a chair who is not there; default 1 min
	UndecidedMs int64  `json:"undecided_ms,omitempty"`  // and for one who is; default 15 min
	NoChair     string `json:"no_chair,omitempty"`      // what becomes of them then: "automatic", the default, or "deny"
}

// The values of FloorSettings.NoChair.
const (
	noChairAutomatic = "automatic"
	noChairDeny      = "deny"
)

// floorSettings returns how the floor is held. A room is chaired when somebody has the role.
func (s *Settings) floorSettings() floor.Settings {
	ms := func(n int64) time.Duration { return time.Duration(max(n, -1)) * time.Millisecond } // every negative one is none
	f := floor.Settings{
		Lease: ms(s.Floor.LeaseMs), Longest: ms(s.Floor.LongestMs), Grace: ms(s.Floor.GraceMs),
		ChairAway: ms(s.Floor.ChairAwayMs), Undecided: ms(s.Floor.UndecidedMs),
	}
	if s.Floor.NoChair == noChairDeny {
		f.NoChair = floor.DenyAll
	}
	for _, role := range s.Roles {
		if role == RoleChair { // an owner is not one by that alone
			f.Chaired = true
		}
	}
	return f
}

// Floor says what became of a request for the floor of a room, or, with FloorPlease, that somebody has asked the
// holder for it, or, with FloorMissed and FloorHere, what servers say to each other of a request that goes on as it was.
type Floor struct {
	Room     string
	Position Position
	Time     time.Time // UTC
	State    FloorState
	Who      string // whose request it is
	By       string // who has done it, if it is neither they nor the server
	Why      string // as in [floor.Why]
	Reason   string // that was given
	Request  uint64 // its number; 0 with FloorPlease
	Place    int    // FloorAccepted: in the queue; 1 is next
	Grant    uint64 // FloorGranted, FloorReleased, FloorRevoked: its number; else that of the holder's, 0 if there is none

	Holder string   // who holds the floor after it; "": nobody
	Queue  []string // whose the accepted requests are, after it, the next first
}

// RoomName implements [Event].
func (e *Floor) RoomName() string { return e.Room }

// A FloorState is what a request for the floor is, by the names of RFC 8855.
type FloorState string

// The states. Denied, cancelled, released and revoked are terminal; a request comes to one of them.
const (
	FloorPending   FloorState = "pending"   // waits for a chair
	FloorAccepted  FloorState = "accepted"  // has a place in the queue, or another one
	FloorGranted   FloorState = "granted"   // holds the floor
	FloorDenied    FloorState = "denied"    // by a chair, or for want of one
	FloorCancelled FloorState = "cancelled" // given up
	FloorReleased  FloorState = "released"  // given back, or passed on
	FloorRevoked   FloorState = "revoked"   // taken back
	FloorPlease    FloorState = "please"    // none: the holder was asked for the floor
	FloorMissed    FloorState = "missed"    // none: a server asks the others who has the session
	FloorHere      FloorState = "here"      // none: a server has it; the session may be another one than before
)

// floorEvent returns the event of a record of KindFloor, but for what its line has; nil if it has none.
func floorEvent(body []byte) *Floor {
	t, err := floor.DecodeTransition(body)
	if err != nil {
		return nil
	}
	e := &Floor{
		State: FloorState(t.To.String()), Who: t.Who, By: t.By, Why: t.Why.String(), Reason: t.Text,
		Request: t.Request, Place: t.Place, Grant: t.Grant, Holder: t.Holder, Queue: t.Queue,
	}
	if e.Grant == 0 {
		e.Grant = t.Number
	}
	return e
}
