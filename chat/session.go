package chat

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A session is what the server has of a transport.Session: it outlives the chat stream, and
// memberships belong to it.
type session struct {
	srv   *Server
	ctx   context.Context // ends with the session
	abort func(transport.CloseCode, string)
	id    transport.SessionID
	peer  certs.ID
	who   string // the identity, as others see it
	floor floor.Session

	floors, views atomic.Int64 // in which it has a request that it made itself; and calls that watch one

	mu    sync.Mutex        // guards what follows
	conn  *conn             // the newest stream
	rooms map[string]*claim // by name: where the session is a member, or has a JOIN under way

	watched map[*roomFloor]string // floors in which it has, or has had, a request, and their rooms
}

// errTooManyFloors refuses what keeps rooms in memory that the session need not be in (S5).
func (s *session) errTooManyFloors(doing string) *Error {
	return errorf(rpc.ResourceExhausted, "the session %s %d floors, which is the limit", doing, s.srv.cfg.MaxSessionRooms)
}

// attach makes c the session's stream, and returns the one before. If that is the newer one,
// ok is false.
func (s *session) attach(c *conn, newer func(old *conn) bool) (older *conn, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && newer(s.conn) {
		return nil, false
	}
	older, s.conn = s.conn, c
	return older, true
}

// log returns a logger that names the session. It is made for each line, because there are few.
func (s *session) log() *slog.Logger { return s.srv.log.With("session", s.id, "identity", s.peer) }

func (s *session) newest() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// claim counts a JOIN of room, unless the session is in too many.
func (s *session) claim(room string) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.rooms[room]
	if c == nil && len(s.rooms) >= s.srv.cfg.MaxSessionRooms {
		return errorf(rpc.ResourceExhausted, "the session is in %d rooms, which is the limit", len(s.rooms))
	}
	if c == nil {
		c = &claim{}
		s.rooms[room] = c
	}
	c.count++
	return nil
}

// claims says whether the session is a member of room, or has a JOIN under way.
func (s *session) claims(room []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[string(room)] != nil
}

// disclaim takes back one claim.
func (s *session) disclaim(room string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.rooms[room]; c != nil {
		if c.count--; c.count == 0 {
			delete(s.rooms, room)
		}
	}
}

// tellRooms tells every room of the session that its stream c has ended, or with c nil the
// session itself, and waits until they have taken note.
func (s *session) tellRooms(c *conn, how ending) {
	s.mu.Lock()
	names := make([]string, 0, len(s.rooms))
	for name := range s.rooms {
		names = append(names, name)
	}
	s.mu.Unlock()
	noted := make(chan struct{}, len(names))
	told := 0
	for _, name := range names {
		r, _ := s.srv.room(name, false)
		if r == nil {
			continue
		}
		if !r.send(&request{kind: requestEnd, session: s, conn: c, how: how, noted: noted}) {
			return // the server is closed
		}
		told++
	}
	for range told {
		select {
		case <-noted:
		case <-s.srv.ctx.Done():
			return
		}
	}
}
