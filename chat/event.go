package chat

import (
	"time"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// An Event is what [Client.Next] returns: a [*Joined], [*Message], [*Edited], [*Deleted], [*Reacted], [*Erased], [*Changed], [*Unknown], [*Marked],
// [*Sent], [*Rejected], [*Presence], [*Members], [*Signal] or [*Left], all of a room, or of the whole client [*Detached] or [*Resumed], after
// which there may be a [*Gap] in a room. What becomes of the floor of a room is a [*Floor].
type Event interface {
	// RoomName returns the room that it happened in; "" for what concerns all.
	RoomName() string
}

// PositionOf returns the position of the record that an event is: a [*Message], [*Edited], [*Deleted], [*Reacted], [*Erased],
// [*Changed], [*Floor] or [*Unknown]. Those of a room come in the order of the log, and with what [*Sent] tells of there is one for each (C4).
func PositionOf(e Event) (p Position, ok bool) {
	switch e := e.(type) {
	case *Message:
		return e.Position, true
	case *Edited:
		return e.Position, true
	case *Deleted:
		return e.Position, true
	case *Reacted:
		return e.Position, true
	case *Erased:
		return e.Position, true
	case *Changed:
		return e.Position, true
	case *SyncPoint:
		return e.Position, true
	case *Floor:
		return e.Position, true
	case *Unknown:
		return e.Position, true
	}
	return Position{}, false
}

// Joined says that a JOIN, or a resynchronization, was carried out. What follows begins with the record Next.
type Joined struct {
	Room    string
	Epoch   uint64
	Head    uint64   // seq of the newest record; 0 if there never was one
	First   uint64   // seq of the oldest that the log still has; Head+1 if it has none
	Next    uint64   // seq of the record that comes next
	Members []string // who is there, sorted, oneself among them
	More    int      // how many more there are: in a very big room a [*Members] follows, which names all
}

// Message is a record that others published, or an earlier client of one's own.
type Message struct {
	Room     string
	Position Position
	From     string    // the identity: a user of the server's domain by name, or a SPIFFE ID
	Time     time.Time // when the server appended it, UTC
	ID       string    // unique among what its client has published; the Position is what names it for all
	Text     string
}

// Unknown is a record of a kind that this version does not know. It has its place among the others, and nothing to show.
type Unknown struct {
	Room     string
	Position Position
	From     string
	Time     time.Time // UTC
	Kind     Kind
	Ref      uint64 // seq of the record that it refers to; 0: none
}

// Sent says that a message which this client published is in the log. It comes once for each
// message.
type Sent struct {
	Room      string
	Position  Position
	ID        string
	Duplicate bool // it had been there before, also if that was by being sent twice, before a break and after

	Kind Kind   // what was published, [KindText] by Publish
	Ref  uint64 // seq of the message that it refers to; 0: none
}

// Rejected says that a request was not carried out. A join may also be rejected
// long after [Joined]: the log has trimmed what this client had yet to read ([rpc.OutOfRange]), or it may not be
// there any more ([rpc.PermissionDenied]); the membership has ended then.
type Rejected struct {
	Room    string
	Request Request
	ID      string // of a publish
	Code    rpc.Code
	Reason  string

	// What the log has, when the state was insufficient ([rpc.OutOfRange], [rpc.DataLoss]); the head, when that was not the
	// expected one ([rpc.Aborted]); else 0.
	Epoch, Head, First uint64
}

// Presence says that an identity came to the room or went. In a room of more than 100 the server gathers that for a
// second: the events of many come together, and what has been undone by then does not.
type Presence struct {
	Room  string
	Who   string
	State PresenceState
}

// Members says who is in the room now, after presence events were skipped, or the room was joined again on
// a new connection, or [Joined] could not name all.
type Members struct {
	Room  string
	Names []string // sorted
}

// Left says that a LEAVE was carried out. Nothing of the room follows.
type Left struct{ Room string }

// Detached says that the connection has ended, and that the session goes on. [*Resumed] follows, unless the
// session ends first. What is asked meanwhile waits.
type Detached struct {
	Err *transport.Error // how the connection ended
}

// Resumed says that a new connection carries the client. It joins its rooms again: of each a [*Members] follows,
// before it a [*Gap] if need be, or a [*Rejected].
type Resumed struct {
	Kept bool // see [transport.Session.Kept]
}

// Gap says that the log of a room could not prove that it has what follows the last record which the client has.
// The client goes on where the log begins.
type Gap struct {
	Room   string
	After  Position // of that record
	Code   rpc.Code // [rpc.OutOfRange]: some has been trimmed; [rpc.DataLoss]: the log has lost records, and may come with some again
	Reason string

	Epoch, Head, First uint64 // what the log has
}

// RoomName implements [Event].
func (e *Detached) RoomName() string { return "" }

// RoomName implements [Event].
func (e *Resumed) RoomName() string { return "" }

// RoomName implements [Event].
func (e *Gap) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Joined) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Message) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Unknown) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Sent) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Rejected) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Presence) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Members) RoomName() string { return e.Room }

// RoomName implements [Event].
func (e *Left) RoomName() string { return e.Room }

// A Request is what was asked: "join", "publish", "leave" or "resync".
type Request string

// The requests that can be rejected.
const (
	RequestJoin    Request = "join"
	RequestPublish Request = "publish"
	RequestLeave   Request = "leave"
	RequestResync  Request = "resync"
)

// A PresenceState is what happened to an identity in a room. It is there while it has a
// live session in it.
//
//	state   meaning                                        before
//	joined  its first session is there                     not there, left, or lost and given up
//	left    its last session left or was released          joined or back
//	lost    its last session was aborted, or fell silent   joined or back
//	back    a session is there again                       lost
type PresenceState string

// The presence states.
const (
	PresenceJoined PresenceState = "joined"
	PresenceLeft   PresenceState = "left"
	PresenceLost   PresenceState = "lost"
	PresenceBack   PresenceState = "back"
)

func requestFromWire(r chatpb.Rejected_Request) (Request, bool) {
	switch r {
	case chatpb.Rejected_REQUEST_JOIN:
		return RequestJoin, true
	case chatpb.Rejected_REQUEST_PUBLISH:
		return RequestPublish, true
	case chatpb.Rejected_REQUEST_LEAVE:
		return RequestLeave, true
	case chatpb.Rejected_REQUEST_RESYNC:
		return RequestResync, true
	case chatpb.Rejected_REQUEST_UNSPECIFIED:
	}
	return "", false
}

func presenceFromWire(s chatpb.Presence_State) (PresenceState, bool) {
	switch s {
	case chatpb.Presence_STATE_JOINED:
		return PresenceJoined, true
	case chatpb.Presence_STATE_LEFT:
		return PresenceLeft, true
	case chatpb.Presence_STATE_LOST:
		return PresenceLost, true
	case chatpb.Presence_STATE_BACK:
		return PresenceBack, true
	case chatpb.Presence_STATE_UNSPECIFIED:
	}
	return "", false
}
