package chat

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/internal/wire"
	"github.com/trunkline-go/trunkline/transport"
)

// Who is in a room, as its members are told.
//
// In a small room each change goes out at once. In a big one that would be n frames for each of n members when n come, so
// changes are gathered there for gatherFor, and go out together; what has been undone by then does not. What is gathered is the
// difference between who is there and who has been shown to be: present. JOINED and MEMBERS name who has been shown, so
// that with the next PRESENCE a newcomer knows what everyone does (C7); and themselves, also before that, which then
// is left out of their PRESENCE.

const (
	// Above bigRoom identities a room's presence is gathered, until it has fewer than smallRoom: at one number a room
	// would go back and forth with each who comes and goes.
	bigRoom   = 100
	smallRoom = 80
	// gatherFor is how long changes are gathered: what a member may wait to be seen.
	gatherFor = time.Second
	// maxNames is how long the names in one PRESENCE, JOINED or MEMBERS may be together, in bytes, if it has more than one:
	// a few go into the credit, and into a ring.
	maxNames = 32 << 10
)

// An identity is the sum of its sessions in the room.
type identity struct {
	live, held int
	lost       bool // was last shown to be lost
}

// appear counts one more live session of an identity.
func (r *room) appear(who string) {
	id := r.identities[who]
	if id == nil {
		id = &identity{}
		r.identities[who] = id
	}
	id.live++
	if id.live > 1 {
		return
	}
	r.there++
	r.gathers = r.gathers || r.there > r.srv.bigRoom
	r.changed(who, chatpb.Presence_STATE_JOINED)
}

// vanish counts one live session of an identity less. If it was the last, state says how it went.
func (r *room) vanish(who string, state chatpb.Presence_State) {
	id := r.identities[who]
	id.live--
	if id.live > 0 {
		return
	}
	r.there--
	r.changed(who, state)
	if r.gathers && r.there < r.srv.smallRoom {
		r.gathers = false
		r.showChanges()
	}
}

// changed notes that an identity has come, or how it went, and shows it now or later.
func (r *room) changed(who string, state chatpb.Presence_State) {
	_, shown := slices.BinarySearch(r.present, who)
	if shown == (state == chatpb.Presence_STATE_JOINED) {
		delete(r.changes, who) // it is as it was
		return
	}
	r.changes[who] = state
	switch {
	case !r.gathers:
		r.showChanges()
	case r.due == nil:
		r.due = time.After(gatherFor)
	}
}

// showIfDue shows what has been gathered for long enough.
func (r *room) showIfDue() {
	select {
	case <-r.due:
		r.showChanges()
	default:
	}
}

// showChanges shows what has been gathered.
func (r *room) showChanges() {
	r.due = nil
	if len(r.changes) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(r.changes))
	present := make([]string, 0, len(r.present)+len(names))
	for _, who := range r.present {
		if _, gone := r.changes[who]; !gone { // who was there can only have gone
			present = append(present, who)
		}
	}
	var events []event
	var m chatpb.Presence
	size := 0
	flush := func() {
		m.Room = r.wire
		events = append(events, event{frame: appendMessage(nil, framePresence, &m), length: bodyLen(&m), seq: r.head + 1})
		m, size = chatpb.Presence{}, 0
	}
	for _, who := range names {
		state := r.changes[who]
		if id := r.identities[who]; id != nil {
			if state == chatpb.Presence_STATE_JOINED && id.lost {
				state = chatpb.Presence_STATE_BACK
			}
			id.lost = state == chatpb.Presence_STATE_LOST
		}
		if state == chatpb.Presence_STATE_JOINED || state == chatpb.Presence_STATE_BACK {
			present = append(present, who)
		}
		if len(names) == 1 {
			m.Who, m.State = who, state
			break
		}
		n := wire.SizeElement(len(who))
		if size > 0 && size+n > maxNames {
			flush()
		}
		size += n
		switch state {
		case chatpb.Presence_STATE_JOINED:
			m.Joined = append(m.Joined, who)
		case chatpb.Presence_STATE_LEFT:
			m.Left = append(m.Left, who)
		case chatpb.Presence_STATE_LOST:
			m.Lost = append(m.Lost, who)
		case chatpb.Presence_STATE_BACK:
			m.Back = append(m.Back, who)
		case chatpb.Presence_STATE_UNSPECIFIED: // is none
		}
	}
	flush()
	clear(r.changes)
	slices.Sort(present)
	r.mu.Lock()
	r.present = present
	for _, e := range events {
		r.ring.push(e)
	}
	r.mu.Unlock()
	r.wakeAll()
}

// members returns the list of who is there, sorted, for who reads with s, and notes what it accounts for.
func (s *subscription) members() []string {
	r := s.room
	r.mu.RLock()
	present, seen := r.present, r.ring.end()
	r.mu.RUnlock()
	s.seen = seen
	i, shown := slices.BinarySearch(present, s.who)
	s.unshown = !shown
	if shown {
		return present // which never changes
	}
	// It is still to be shown, or has left since.
	return slices.Concat(present[:i], []string{s.who}, present[i:])
}

// joined returns JOINED's list for s. If it is too long, only a part, which has s.who, and all of it follows.
func (s *subscription) joined() (names []string, more uint64) {
	all := s.members()
	n := namesThatFit(all)
	if n == len(all) {
		return all, 0
	}
	s.list = all
	names = all[:n:n]
	if _, there := slices.BinarySearch(names, s.who); !there {
		names = append(names, s.who)
	}
	return names, uint64(len(all) - len(names))
}

// appendList appends what is left of s.list, as far as the write and the credit have place for it. Nothing else of the room goes
// before it has ended.
func (s *subscription) appendList(dst []byte) ([]byte, bool) {
	for len(s.list) > 0 {
		n := namesThatFit(s.list)
		m := &chatpb.Members{Room: s.room.wire, Members: s.list[:n], More: uint64(len(s.list) - n)}
		length := bodyLen(m)
		if !s.conn.fits(dst, length+maxHeader) || !s.conn.mayAppend(length) {
			return dst, false
		}
		dst = appendMessage(dst, frameMembers, m)
		s.conn.charge(length)
		s.list = s.list[n:]
	}
	s.list = nil
	return dst, true
}

// namesThatFit returns how many of the names, one at least, go into one frame.
func namesThatFit(names []string) int {
	size := 0
	for i, who := range names {
		size += wire.SizeElement(len(who))
		if i > 0 && size > maxNames {
			return i
		}
	}
	return len(names)
}

// appendPresence appends an event of presence, or of marks, but for what s.who knows of itself from JOINED or MEMBERS.
func (s *subscription) appendPresence(dst []byte, e *event) ([]byte, bool) {
	if !s.conn.fits(dst, len(e.frame)) || !s.conn.mayAppend(e.length) {
		return dst, false
	}
	if s.unshown && !e.marks {
		body := e.frame[len(e.frame)-e.length:]
		if number, at, end := findName(body, s.who); number > 0 {
			s.unshown = false
			rest := len(body) - (end - at)
			if number == presenceWho || rest == wire.SizeElement(len(s.room.wire)) { // it is of nobody else
				return dst, true
			}
			dst = transport.AppendFrameHeader(dst, framePresence, rest)
			dst = append(append(dst, body[:at]...), body[end:]...)
			s.conn.charge(rest)
			return dst, true
		}
	}
	dst = append(dst, e.frame...)
	s.conn.charge(e.length)
	return dst, true
}

// findName returns the field of a PRESENCE that names an identity, and from where to where it is; or 0.
func findName(body []byte, who string) (number protowire.Number, at, end int) {
	for f := wire.Over(body); f.Next(); at = end {
		end = len(body) - f.Rest()
		if f.Number >= presenceWho && f.IsBytes && string(f.Bytes) == who {
			return f.Number, at, end
		}
	}
	return 0, 0, 0
}
