package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline-go/trunkline/chat/query"
	"github.com/trunkline-go/trunkline/rpc"
)

// A Position names one record of a room for ever. Seq begins at 1 and rises by one with
// each record. The epoch is at least 1 and rises when records may have been lost, such as by
// restoring a backup. The zero Position is before the first record.
type Position struct{ Epoch, Seq uint64 }

// String returns "epoch:seq".
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Epoch, p.Seq) }

// A Producer is 128 random bits that go with a client's outbox, so that two devices of one
// identity never take each other's message ids for their own.
type Producer [16]byte

// An Entry is what is to become a record.
type Entry struct {
	From     string // the identity
	Producer Producer
	ID       string // 1 to 64 bytes, unique for (room, From, Producer)
	Kind     Kind
	Ref      uint64 // seq of the record that it refers to; 0: none
	Body     []byte // must not be changed any more
}

// A Record is an entry in the log. Body is shared, and must not be changed.
type Record struct {
	Position
	Entry
	Time time.Time // when it was appended, UTC
}

// A Result says what became of one entry. If Err is nil, the entry's record is in the log at
// Position.
type Result struct {
	Position
	Time      time.Time // of the record; not set for a duplicate
	Duplicate bool      // the record had been appended before, at Position
	Err       *Error    // the entry was refused; rpc.AlreadyExists if its id has another body, kind or reference
}

// An Epoch is a stretch of a room's log.
type Epoch struct {
	Number uint64
	First  uint64 // the seq that its first record has, or would have
}

// A State is what a log has of a room. A room without records has Head 0, First 1, and
// one epoch.
type State struct {
	Head   uint64  // seq of the newest record ever, 0 if there was none
	First  uint64  // seq of the oldest that is left, Head+1 if none is
	Epochs []Epoch // all, rising; the last is the one that appends go to

	// Snapshot is what was last given to Append with a record of the room; nil if nothing ever was. It is shared, and must
	// not be changed.
	Snapshot []byte
}

// A RoomState is what a log has of a room that it lists; Head, First and Snapshot are those of its [State].
type RoomState struct {
	Name        string
	Head, First uint64
	Snapshot    []byte
}

// Epoch returns the number of the epoch that appends go to.
func (s State) Epoch() uint64 {
	if len(s.Epochs) == 0 {
		return 0
	}
	return s.Epochs[len(s.Epochs)-1].Number
}

// After returns the seq of the record that follows cursor, if the log has everything that
// does. A cursor means the log as it was in its epoch, up to its seq; so who was told a room's epoch and head, and has seen
// no record, has a cursor, too. If that cannot be proven the state is insufficient, and the error is rpc.OutOfRange, when
// records that follow it have been trimmed, or rpc.DataLoss, when cursor names a record that is not
// in this log's past: it is beyond the head, or beyond the end of its epoch.
func (s State) After(cursor Position) (next uint64, err *Error) {
	if cursor.Seq > s.Head {
		return 0, errorf(rpc.DataLoss, "position %v is beyond the head, which is %d:%d", cursor, s.Epoch(), s.Head)
	}
	if cursor != (Position{}) && !s.knows(cursor) {
		return 0, errorf(rpc.DataLoss, "position %v is not in this log: records of its epoch have been lost", cursor)
	}
	if cursor.Seq+1 < s.First {
		return 0, errorf(rpc.OutOfRange, "records after %v have been trimmed, the first left is %d", cursor, s.First)
	}
	return cursor.Seq + 1, nil
}

// knows says whether this log has been in the epoch that the position names, and that had come to its seq.
func (s State) knows(p Position) bool {
	for i, e := range s.Epochs {
		if e.Number != p.Epoch {
			continue
		}
		last := s.Head
		if i+1 < len(s.Epochs) {
			last = s.Epochs[i+1].First - 1
		}
		return p.Seq <= last
	}
	return false
}

// MaxRead is how many records a [Log] reads at once: bodies may be short, or empty.
const MaxRead = 4096

// A Log keeps the records of rooms. It may be shared by several servers, in one process or
// in many: it alone gives positions, and it tells when a server appends that did not know
// the newest record. Methods are called by many goroutines at once, but those for one
// room that append by one at a time per server. Package chattest has the tests that every Log
// must pass.
type Log interface {
	// State returns what the log has of room, which need not exist.
	State(ctx context.Context, room string) (State, error)

	// Append appends entries to room, in their order and in one step, if head is the seq of
	// the newest record; else nothing, and the error is a [*ConflictError]. The results are
	// one for each entry: refusing one, or finding that it is a duplicate, leaves the others
	// alone. Duplicates are found by (room, From, Producer, ID), also inside one call,
	// in the same step. When it returns, the records are as durable as the log makes them.
	//
	// A snapshot that is not nil becomes the room's in the same step, in place of the one before, if any
	// of the entries becomes a record. It must not be changed any more.
	//
	// A record of KindDelete takes, in the same step, the bodies of the text that it refers to and of all its edits, for good:
	// these records are read with an empty body from then on. That they are duplicates is still found.
	//
	// An [*Error] means that nothing was appended, and goes to the publishers as it is.
	// With any other error it is not known what was appended.
	Append(ctx context.Context, room string, head uint64, entries []Entry, snapshot []byte) ([]Result, error)

	// Read returns records from seq on, without a gap: as many as there are, but at most [MaxRead], and no more
	// than fit into maxBytes of bodies, and one at least. None, if seq is beyond the head. If
	// the record at seq has been trimmed, the error is an [*Error] with rpc.OutOfRange.
	Read(ctx context.Context, room string, seq uint64, maxBytes int) ([]Record, error)

	// ReadBack is Read the other way: it returns the records up to the one at seq, in their order and without a gap, as many as
	// there are, but at most n, and no more than fit into maxBytes of bodies, and one at least.
	ReadBack(ctx context.Context, room string, seq uint64, n, maxBytes int) ([]Record, error)

	// Find returns what Append would meet, one for each of the entries, and the state of the room, all as of one moment
	// after the call. So what follows from it holds in an append at the state's head.
	Find(ctx context.Context, room string, entries []Entry) (State, []Found, error)

	// Trim forgets the records of room before the one at first, or all of them if that is beyond the head. Positions and the
	// snapshot stay, and so does what has been trimmed: a lower first changes nothing. It may stop halfway, with an error, having
	// trimmed the oldest.
	Trim(ctx context.Context, room string, first uint64) error

	// Rooms returns the rooms that have, or had, a record, in the byte order of their names: the first n behind after, which need
	// not be one of them. Fewer are the last ones.
	Rooms(ctx context.Context, after string, n int) ([]RoomState, error)

	// Watch calls moved after records were appended to room, by whichever server, with the
	// seq of the newest. moved does not block, and may be called for each append or once for
	// many, in any order. Nothing is called any more when stop has returned.
	Watch(room string, moved func(head uint64)) (stop func())
}

// Found is what a log has that matters to an entry.
type Found struct {
	Known  *Result // what Append would answer it with, because its id has been used before; nil if that was not
	Target *Target // the text at Ref; nil if the log has none there, or has trimmed it
}

// A Target is a text that others refer to. It is shared, and must not be changed.
type Target struct {
	From   string
	Erased bool        // the text has been taken by a record of KindDelete
	Refs   []Reference // its edits, its reactions, and those taken back, in their order
}

// A Reference is a record that refers to a text.
type Reference struct {
	Kind Kind
	From string
	Text string // of a reaction, or one that is taken back
}

// A Searcher is a Log that finds texts by their words.
type Searcher interface {
	// Search returns the records of room whose texts q asks for, of those from the seq first to before another, the newest first: at
	// most n, and no more than fit into maxBytes of bodies, and one at least. more says whether there are more. A text that has been
	// edited is found by what it is now, one that has been deleted not at all. An [*Error] goes to who searches as it is.
	Search(ctx context.Context, room string, q *query.Query, first, before uint64, n, maxBytes int) (records []Record, more bool, err error)
}

// A Marker is a Log that keeps how far identities have come in rooms.
type Marker interface {
	// Mark raises the marks of room to what marks say, in one step; none falls. When it returns, they are as durable as records. Marks
	// of a room without records are dropped, and so are those of new identities when a room has as many as the log keeps.
	Mark(ctx context.Context, room string, marks []Mark) error
	// Marks returns all marks of room, sorted by Who.
	Marks(ctx context.Context, room string) ([]Mark, error)
	// MarkOf returns the one of who, with 0 of both if there is none.
	MarkOf(ctx context.Context, room, who string) (Mark, error)
}

// A Mark says how far an identity has come in a room. It only rises, and never beyond the head.
type Mark struct {
	Who       string `json:"who"`
	Read      uint64 `json:"read"`      // seq of the newest record that it has read; 0: none
	Delivered uint64 `json:"delivered"` // of the newest that a client of it has taken in; not less than Read
}

// raised returns the higher of two marks of one identity, in each.
func (m Mark) raised(by Mark) Mark {
	return Mark{Who: by.Who, Read: max(m.Read, by.Read), Delivered: max(m.Delivered, by.Delivered)}
}

// ConflictError reports that another server has appended to the room meanwhile. Nothing was
// appended.
type ConflictError struct{ Head uint64 }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the room's head is at %d", e.Head)
}
