package chat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/trunkline-go/trunkline/transport"
)

// The release of a session, negotiated as in X.225: it is refused while there is a major synchronization point that is not
// confirmed, and the session has to do with it; and it gives tokens back before it is complete.

const (
	// releasePatience is how long a release waits for rooms that do not answer.
	releasePatience = 2 * time.Second
	// maxNamed is how many bytes a reason has of a name: of 256 that are sent, it says last what can be done.
	maxNamed = 32
)

// MayRelease is for [transport.Config.MayRelease]. It refuses the release of a session that is in a room where a major
// synchronization point waits to be confirmed which its identity has set, or which waits for its identity's checkpoint, unless another session of
// the identity is in that room, too. It refuses nothing after [Server.Drain], nor when a room does not answer.
func (srv *Server) MayRelease(ts *transport.Session) error {
	s := srv.known(ts)
	if s == nil || srv.draining.Load() || len(srv.waiting(s)) == 0 || !srv.begin() {
		return nil
	}
	refusal := make(chan error, 1)
	go func() {
		defer srv.wg.Done()
		refusal <- srv.unfinished(s)
	}()
	timer := time.NewTimer(releasePatience)
	defer timer.Stop()
	select {
	case err := <-refusal:
		return err
	case <-timer.C:
		s.log().Warn("a release does not wait any longer for the rooms")
		return nil
	}
}

// BeforeRelease is for [transport.Config.BeforeRelease]. It gives back what the session has of floors: the records are in the log when it
// returns, and so before the session's client learns that the release is complete.
func (srv *Server) BeforeRelease(ctx context.Context, ts *transport.Session) {
	s := srv.known(ts)
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, releasePatience)
	defer cancel()
	for _, name := range s.floorNames() {
		if err := srv.do(ctx, name, func(r *room) { r.floorEnded(s, true); r.tickFloor() }); err != nil {
			s.log().Warn("a release does not wait any longer for the floor", "room", name, "err", err)
			return
		}
	}
}

// known returns what the server has of a session, or nil if there is nothing.
func (srv *Server) known(ts *transport.Session) *session {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.sessions[ts]
}

// waiting returns the rooms of a session, in order, where a point seems to have to do with it.
func (srv *Server) waiting(s *session) []string {
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.rooms))
	s.mu.Unlock()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return slices.DeleteFunc(names, func(name string) bool {
		r := srv.rooms[name]
		return r == nil || !r.pending.Load().concerns(s.who)
	})
}

// unfinished returns why a session should not be released, or nil.
func (srv *Server) unfinished(s *session) error {
	var first string
	more := 0
	for _, name := range srv.waiting(s) {
		var why string
		err := srv.do(srv.ctx, name, func(r *room) { why = r.unfinished(s) })
		switch {
		case err != nil, why == "": // the server is closed, or there is nothing
		case first == "":
			first = why
		default:
			more++
		}
	}
	switch {
	case first == "":
		return nil
	case more > 0:
		first += " (and " + strconv.Itoa(more) + " more)"
	}
	return errors.New(first)
}

// concerns says whether an identity has set a point, or is waited for.
func (p *pendingSync) concerns(who string) bool {
	return p != nil && (p.By == who || slices.Contains(p.WaitFor, who))
}

// unfinished says what a session would leave undone in the room, and what it can do about it; or "".
func (r *room) unfinished(s *session) string {
	if r.known == nil || r.members[s] == nil || r.isElsewhere(s) {
		return ""
	}
	r.gatherMarks()
	p := r.known.Sync.Pending
	if p.concerns(s.who) && r.raised[s.who].Read >= p.Seq && slices.Contains(r.missing(p), s.who) {
		r.keepMarks() // what the session has said by now counts
		r.tendSync()
		p = r.known.Sync.Pending
	}
	if !p.concerns(s.who) {
		return ""
	}
	point := named(r.name) + `: synchronization point "` + named(p.Name) + `" at ` + strconv.FormatUint(p.Seq, 10)
	missing := r.missing(p)
	switch {
	case slices.Contains(missing, s.who):
		return point + " waits for your checkpoint: read as far, or force the release"
	case p.By == s.who && len(missing) > 0:
		others := ""
		if len(missing) > 1 {
			others = fmt.Sprintf(" and %d more", len(missing)-1)
		}
		return point + ", which you have set, waits for " + named(missing[0]) + others + ": wait, abandon it, or force the release"
	}
	return "" // it is confirmed, or about to be
}

// isElsewhere says whether another session of the same identity is in the room.
func (r *room) isElsewhere(s *session) bool {
	if id := r.identities[s.who]; id == nil || id.live < 2 {
		return false
	}
	for other, m := range r.members {
		if other != s && other.who == s.who && m.sub != nil {
			return true
		}
	}
	return false
}

// named cuts a name for a reason.
func named(name string) string {
	if len(name) <= maxNamed {
		return name
	}
	cut := 0
	for i := range name {
		if i > maxNamed-len("…") {
			break
		}
		cut = i
	}
	return name[:cut] + "…"
}

// floorNames returns the rooms where the session has, or has had, a request for the floor, in order.
func (s *session) floorNames() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Values(s.watched))
}

// watchFloor notes that the session has to do with the floor of a room.
func (s *session) watchFloor(f *roomFloor, room string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched == nil {
		s.watched = make(map[*roomFloor]string)
	}
	s.watched[f] = room
}

func (s *session) unwatchFloor(f *roomFloor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watched, f)
}
