package chat

import (
	"bytes"
	"errors"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
)

// A Verb is something that an identity may, or may not, do in a room.
type Verb uint8

// The verbs that [Config.Authorize] is asked for. There is no zero value.
const (
	VerbJoin  Verb = iota + 1 // be a member, and read, and keep order as far as the room's own roles allow
	VerbSpeak                 // publish
)

// authorize asks the configuration whether an identity may do something in a room, now.
func (srv *Server) authorize(who certs.ID, room string, verb Verb) *Error {
	if srv.cfg.Authorize == nil {
		return nil
	}
	err := srv.cfg.Authorize(who, room, verb)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	srv.log.Info("chat refused", "room", room, "identity", who, "verb", verb, "err", err)
	return errorf(rpc.PermissionDenied, "not allowed to %s in this room", verb)
}

// Reauthorize asks [Config.Authorize] again: about every member of a room, and takes those out who may no
// longer join, and about every speaker with their next message. It is for when the answers may have
// changed. It does not wait until all rooms have done so, but everything that is asked from now on is
// answered as Authorize answers now. It must not be called from Authorize.
func (srv *Server) Reauthorize() {
	srv.generation.Add(1)
	srv.mu.Lock()
	rooms := make([]*room, 0, len(srv.rooms))
	for _, r := range srv.rooms {
		r.refs++
		rooms = append(rooms, r)
	}
	srv.mu.Unlock()
	for _, r := range rooms {
		if !r.send(&request{kind: requestReauthorize}) {
			return // the server is closed
		}
	}
}

// A claim is what a session has of a room that it is a member of, or is joining.
type claim struct {
	count int // the membership, and each JOIN under way

	// refusal is whether the session may speak, as it was asked in that generation; nil: it may.
	refusal    *Error
	generation uint64

	marks markSlot
}

// maySpeak says whether the session may publish in a room that it claims. Every PUBLISH comes here: Authorize
// is asked once in a generation.
func (s *session) maySpeak(room []byte) *Error {
	if s.srv.cfg.Authorize == nil {
		return nil
	}
	generation := s.srv.generation.Load() // before asking: what is asked during a change is asked again
	s.mu.Lock()
	c := s.rooms[string(room)]
	if c == nil { // it was taken out just now
		s.mu.Unlock()
		return errNotInRoom()
	}
	refusal, known := c.refusal, c.generation == generation
	s.mu.Unlock()
	if known {
		return refusal
	}
	refusal = s.srv.authorize(s.peer, string(room), VerbSpeak)
	s.mu.Lock()
	c.refusal, c.generation = refusal, generation
	s.mu.Unlock()
	return refusal
}

// admit takes from the entries of a PUBLISH those that are above the identity's limit, and rejects them.
func (c *conn) admit(room []byte, req *request) {
	allow := c.session.srv.cfg.AllowLines
	if allow == nil || len(req.entries) == 0 {
		return
	}
	n := min(max(allow(c.session.peer, len(req.entries)), 0), len(req.entries))
	if n == len(req.entries) {
		return
	}
	over := req.entries[n:]
	room = bytes.Clone(room)
	refusal := errorf(rpc.ResourceExhausted, "too many messages in a short time")
	for i := range over {
		c.answer(rejectedPublish(room, over[i].ID, refusal))
	}
	clear(over)
	req.entries = req.entries[:n]
	c.wake()
}

// enforce takes those out of the room who may no longer join it. What that frees is in r.freed.
func (r *room) enforce() {
	r.unruly = false
	if r.floor != nil {
		r.floor.known = nil // asks the same of who has it, or waits
	}
	for s, m := range r.members {
		switch err := r.srv.refuse(r.name, &r.known.Settings, s.peer, s.who, VerbJoin); {
		case r.deleted:
			r.evict(s, m, errorf(rpc.PermissionDenied, "the room has been deleted"))
		case err != nil:
			r.evict(s, m, err)
		}
	}
	r.deleted = false
}

// kick takes all sessions of an identity out of the room.
func (r *room) kick(who string, why *Error) {
	if r.floor != nil {
		r.floor.Bar(func(identity string) bool { return identity == who }, time.Now())
		r.armFloor(time.Now())
	}
	for s, m := range r.members {
		if s.who == who {
			r.evict(s, m, why)
		}
	}
}

// evict ends a membership, and tells the member why. What that frees is in r.freed.
func (r *room) evict(s *session, m *member, why *Error) {
	r.srv.counters.evicted.Add(1)
	if sub := m.sub; sub != nil {
		// Told before it is disclaimed: the answer to a JOIN that comes now must not overtake this.
		r.unsubscribe(m)
		reply := rejected(chatpb.Rejected_REQUEST_JOIN, r.wire, why)
		reply.sub, reply.unsubscribe = sub, true
		sub.conn.answer(reply)
		sub.conn.wake()
	}
	r.freed += r.remove(s, m, chatpb.Presence_STATE_LEFT)
}
