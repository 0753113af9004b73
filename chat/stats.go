package chat

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
)

// Stats says what a server does now, and what it has done since [NewServer]; what it has done only rises.
type Stats struct {
	Streams int // chat streams that are open
	Rooms   int // rooms that have members
	Members int // sessions in rooms, one counted in each room that it is in
	Held    int // of these, who has vanished: its stream was lost, and its session may come back
	Lagging int // of these, who is behind: its credit is used up, or it reads the log instead of what is new
	Stalled int // of the lagging, whose credit is used up: it has not confirmed what it was sent

	Published      uint64 // lines that were appended to the log
	Duplicates     uint64 // lines that were in the log already, and were acknowledged again
	Delivered      uint64 // lines that were written to members; to who published one, its stub
	DeliveredBytes uint64 // of these, and of presence, as RECEIVED counts them

	// Rejected counts what clients were refused.
	Rejected map[Rejection]uint64

	HalfDuplex   int // rooms that are half-duplex, of those that have members, or whose floor somebody has or waits for
	FloorsHeld   int // of such rooms, whose floor somebody has
	FloorWaiting int // requests for a floor that wait, for a chair or in a queue

	// FloorChanges counts what has become of requests for floors, by records that this server has appended: grants, say, or those that
	// were revoked for want of a renewal.
	FloorChanges map[FloorChange]uint64

	Vanished uint64 // how often a member became one of Held
	CatchUps uint64 // how often a member was so far behind that it went back to the log for what had been new

	// Trimmed counts members who were put out because the log had trimmed what they were owed; Evicted those who
	// were because they may not be there any more; Unread
	// sessions that were aborted because they asked and did not read the answers; Malformed those that broke the
	// protocol; PresenceSkipped how often MEMBERS stood in for presence that a slow reader had missed.
	Trimmed, Evicted, Unread, Malformed, PresenceSkipped uint64
}

// A Rejection is the kind of a REJECTED. A code that is none of rpc's counts as Unknown.
type Rejection struct {
	Request Request
	Code    rpc.Code
}

// RoomStats says what a room does now.
type RoomStats struct {
	Name     string
	Members  int    // identities that are there
	Sessions int    // of all members, also of those who were lost and may come back
	Head     uint64 // seq of the newest record that members may have seen
	Held     int    // of the sessions, as in [Stats]
	Lagging  int    // likewise
	Stalled  int    // likewise

	HalfDuplex bool
	Holder     string // who has the floor; "": nobody
	Waiting    int    // requests for it that wait
}

// CommitStats says how an append to the log went, for [Config.ObserveCommit].
type CommitStats struct {
	Lines    int
	Duration time.Duration
	Failed   bool // also if the lines may have been appended
}

// Stats returns what the server does, and has done. It looks at every room.
func (srv *Server) Stats() Stats {
	st := Stats{
		Streams:         int(srv.counters.streams.Load()),
		Published:       srv.counters.published.Load(),
		Duplicates:      srv.counters.duplicates.Load(),
		Delivered:       srv.counters.delivered.Load(),
		DeliveredBytes:  srv.counters.deliveredBytes.Load(),
		Rejected:        make(map[Rejection]uint64),
		Vanished:        srv.counters.vanished.Load(),
		CatchUps:        srv.counters.catchUps.Load(),
		Trimmed:         srv.counters.trimmed.Load(),
		Evicted:         srv.counters.evicted.Load(),
		Unread:          srv.counters.unread.Load(),
		Malformed:       srv.counters.malformed.Load(),
		PresenceSkipped: srv.counters.presenceSkipped.Load(),
		HalfDuplex:      int(srv.counters.halfDuplex.Load()),
		FloorsHeld:      int(srv.counters.floorsHeld.Load()),
		FloorWaiting:    int(srv.counters.floorWaiting.Load()),
		FloorChanges:    srv.counters.floorChanges.changes(),
	}
	for i := range srv.counters.rejected {
		request, ok := requestFromWire(chatpb.Rejected_Request(i))
		for code := range srv.counters.rejected[i] {
			if n := srv.counters.rejected[i][code].Load(); ok && n > 0 {
				st.Rejected[Rejection{request, rpc.Code(code)}] = n
			}
		}
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	st.Rooms = len(srv.rooms)
	for _, r := range srv.rooms {
		st.Members += int(r.sessions.Load())
		st.Held += int(r.held.Load())
		st.Lagging += int(r.behind.Load())
		st.Stalled += int(r.stalled.Load())
	}
	return st
}

// Rooms returns the rooms that have members, by name.
func (srv *Server) Rooms() []RoomStats {
	srv.mu.Lock()
	rooms := make([]*room, 0, len(srv.rooms))
	for _, r := range srv.rooms {
		rooms = append(rooms, r)
	}
	srv.mu.Unlock()
	all := make([]RoomStats, 0, len(rooms))
	for _, r := range rooms {
		st := RoomStats{
			Name:     r.name,
			Sessions: int(r.sessions.Load()),
			Held:     int(r.held.Load()),
			Lagging:  int(r.behind.Load()),
			Stalled:  int(r.stalled.Load()),
		}
		r.mu.RLock()
		st.Members, st.Head = len(r.present), r.head
		st.HalfDuplex, st.Holder, st.Waiting = r.figures.half, r.figures.holder, r.figures.waiting
		r.mu.RUnlock()
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b RoomStats) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// counters are what a server counts.
type counters struct {
	streams         atomic.Int64
	published       atomic.Uint64
	duplicates      atomic.Uint64
	delivered       atomic.Uint64
	deliveredBytes  atomic.Uint64
	vanished        atomic.Uint64
	catchUps        atomic.Uint64
	trimmed         atomic.Uint64
	evicted         atomic.Uint64
	unread          atomic.Uint64
	malformed       atomic.Uint64
	presenceSkipped atomic.Uint64
	halfDuplex      atomic.Int64
	floorsHeld      atomic.Int64
	floorWaiting    atomic.Int64
	floorChanges    floorCounts
	rejected        [chatpb.Rejected_REQUEST_RESYNC + 1][rpc.Unauthenticated + 1]atomic.Uint64
}

// answered counts a reply that refuses something.
func (c *counters) answered(r *reply) {
	switch {
	case r.kind != frameRejected:
	case r.unsubscribe && r.err.Code == rpc.OutOfRange: // nobody asked
		c.trimmed.Add(1)
	case r.unsubscribe: // evicted, which the room counts, for who is held is told nothing
	default:
		code := r.err.Code
		if code > rpc.Unauthenticated {
			code = rpc.Unknown
		}
		c.rejected[r.request][code].Add(1)
	}
}

// wrote counts what has been gathered for a write, and will be written unless the stream is dead.
func (c *counters) wrote(lines int, bytes uint64) {
	if bytes > 0 {
		c.delivered.Add(uint64(lines))
		c.deliveredBytes.Add(bytes)
	}
}

// setBehind notes whether the reader is behind, and whether that is for want of credit, for the room's counts. It is
// the writer's, and at the end of the stream the handler's.
func (s *subscription) setBehind(behind, stalled bool) {
	note := func(n *atomic.Int64, was, is bool) {
		switch {
		case is && !was:
			n.Add(1)
		case !is && was:
			n.Add(-1)
		}
	}
	note(&s.room.behind, s.behind, behind)
	note(&s.room.stalled, s.stalled, stalled)
	s.behind, s.stalled = behind, stalled
}
