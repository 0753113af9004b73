package transport

import (
	"time"

	"github.com/trunkline-go/trunkline/certs"
)

// Room for sessions: a server keeps so many in all, and of one identity. Who is held for a client that has gone
// makes room for one that is here.

// An owner is an identity that has sessions.
type owner struct {
	id       certs.ID
	sessions int // guarded by the server's lock
	bodies   ownBodies
}

// addLocked puts a session of who's on the books.
func (srv *Server) addLocked(s *Session, who certs.ID) {
	if old := srv.sessions[s.id]; old != nil { // it has ended, and is about to be forgotten
		srv.dropLocked(old)
	}
	srv.sessions[s.id] = s
	o := srv.owners[who]
	if o == nil {
		o = &owner{id: who, bodies: ownBodies{all: &srv.bodies}}
		srv.owners[who] = o
	}
	o.sessions++
	s.owner, s.bodies = o, &o.bodies
}

// dropLocked takes a session off the books.
func (srv *Server) dropLocked(s *Session) {
	delete(srv.sessions, s.id)
	if s.owner.sessions--; s.owner.sessions == 0 {
		delete(srv.owners, s.owner.id)
	}
}

// ownedLocked returns how many sessions who has.
func (srv *Server) ownedLocked(who certs.ID) int {
	if o := srv.owners[who]; o != nil {
		return o.sessions
	}
	return 0
}

// makeRoomLocked makes room for one more session of peer's.
func (srv *Server) makeRoomLocked(peer Peer) error {
	if most := srv.cfg.MaxIdentitySessions; most > 0 && srv.ownedLocked(peer.ID) >= most {
		srv.counters.drop(DropIdentity)
		if !srv.evictLocked(func(s *Session) bool { return s.owner.id == peer.ID }) {
			return &Error{Code: ExcessiveLoad, Reason: "too many sessions of this identity"}
		}
	}
	most := srv.cfg.MaxSessions
	if isLocal(peer.Addr) {
		most += reserved
	}
	if srv.cfg.MaxSessions > 0 && len(srv.sessions) >= most {
		srv.counters.drop(DropSessions)
		if !srv.evictLocked(func(*Session) bool { return true }) {
			return &Error{Code: ExcessiveLoad, Reason: "too many sessions"}
		}
	}
	return nil
}

// evictLocked ends that session which has been held for longest of those that may go, and says whether there was
// one. It looks at all, which at 10,000 of them takes less than the handshake before it.
func (srv *Server) evictLocked(mayGo func(*Session) bool) bool {
	for {
		var oldest *Session
		var since time.Time
		for _, s := range srv.sessions {
			if !mayGo(s) {
				continue
			}
			s.mu.Lock()
			if s.heldLocked() && (oldest == nil || s.since.Before(since)) {
				oldest, since = s, s.since
			}
			s.mu.Unlock()
		}
		if oldest == nil {
			return false
		}
		if oldest.evict() {
			srv.dropLocked(oldest)
			return true
		}
	}
}
