package transport

import "time"

// Room for sessions: a server keeps so many in all, and of one identity. Who is held for a client that has gone
// makes room for one that is here.

// addLocked puts a session on the books.
func (srv *Server) addLocked(s *Session) {
	if old := srv.sessions[s.id]; old != nil { // it has ended, and is about to be forgotten
		srv.dropLocked(old)
	}
	srv.sessions[s.id] = s
	srv.owned[s.owner]++
}

// dropLocked takes a session off the books.
func (srv *Server) dropLocked(s *Session) {
	delete(srv.sessions, s.id)
	if srv.owned[s.owner]--; srv.owned[s.owner] == 0 {
		delete(srv.owned, s.owner)
	}
}

// makeRoomLocked makes room for one more session of peer's.
func (srv *Server) makeRoomLocked(peer Peer) error {
	if most := srv.cfg.MaxIdentitySessions; most > 0 && srv.owned[peer.ID] >= most {
		srv.counters.drop(DropIdentity)
		if !srv.evictLocked(func(s *Session) bool { return s.owner == peer.ID }) {
			return &Error{Code: ExcessiveLoad, Reason: "too many sessions of this identity"}
		}
	}
	most := srv.cfg.MaxSessions
	if isLocal(peer.Addr) {
		most += reserved
	}
	if len(srv.sessions) >= most {
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
