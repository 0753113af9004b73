package floor

import (
	"slices"
	"time"
	"unicode/utf8"
)

// Bounds of what a floor keeps.
const (
	MaxWaiting = 64  // requests that are pending or accepted
	MaxOfOne   = 8   // those of one identity
	MaxName    = 512 // bytes of an identity
	MaxText    = 256 // bytes of a reason
)

// lostGrants is by how much the numbers of grants rise in a new epoch: more than there may have been
// of them, in the records that it has lost.
const lostGrants = 1 << 20

// maxNumber is the largest number of a grant, or request, that a state may have: what follows it does not go round.
const maxNumber = 1 << 62

// A Session names a session for as long as the server runs. It must not be all zeros, and it
// is not kept beyond that.
type Session [16]byte

// A Producer names, with an identity, who comes back with another session after the server has restarted, or to another server.
// With all zeros nobody does. Everybody who reads the room sees it.
type Producer [16]byte

// A Party is who may hold the floor: one session of an identity.
type Party struct {
	Who      string // the identity, 1 to MaxName bytes
	Session  Session
	Producer Producer
}

// A Priority orders requests; the values are those of RFC 8855, section 5.2.4.
type Priority uint8

// The priorities.
const (
	Lowest  Priority = 0
	Low     Priority = 1
	Normal  Priority = 2 // what one has who does not say
	High    Priority = 3
	Highest Priority = 4
)

// A request is one request for the floor, until it is terminal.
type request struct {
	// Durable.
	id       uint64
	who      string // who is to get it
	by       string // who has asked, if it is somebody else
	producer Producer
	priority Priority
	text     string
	missed   bool   // some server asks who has its session
	claims   uint64 // how often a server has said that it has: another one's claim ends the claim before

	// Of this run of the server.
	session Session // all zeros: this server has no session of it
	since   time.Time
	gone    gone
	goneAt  time.Time
	away    away // without a session
}

// away is what a server knows of a request whose session it does not have.
type away struct {
	wants    Session   // a session that is to have it, when that is in the log
	heard    bool      // another server has said that it has the session, at goneAt
	passed   bool      // it has said so, and did not grant it the floor, which was free
	askedFor time.Time // since when it is missed
}

// ours says whether this server has the request's session.
func (r *request) ours() bool { return r.session != Session{} }

// gone says whether a request's session is there.
type gone uint8

const (
	here   gone = iota
	lost        // may come back
	left        // has ended in order
	dead        // has ended otherwise
	barred      // may be there, but may not have the floor
)

func (r *request) check() error {
	switch {
	case r.who == "" || len(r.who) > MaxName || !utf8.ValidString(r.who):
		return errorf(Invalid, "an identity has 1 to %d bytes of UTF-8", MaxName)
	case len(r.by) > MaxName || !utf8.ValidString(r.by):
		return errorf(Invalid, "an identity has at most %d bytes of UTF-8", MaxName)
	case r.priority > Highest:
		return errorf(Invalid, "priorities are %d to %d", Lowest, Highest)
	}
	return checkText(r.text)
}

func checkText(text string) error {
	if len(text) > MaxText || !utf8.ValidString(text) {
		return errorf(Invalid, "a reason has at most %d bytes of UTF-8", MaxText)
	}
	return nil
}

// wall returns a time as it is in the log: in nanoseconds since the Unix epoch.
func wall(t time.Time) int64 { return t.UnixNano() }

// isOf says whether r is the request of a party that has no session in it yet.
func (r *request) isOf(p *Party) bool {
	return !r.ours() && r.who == p.Who && r.producer == p.Producer && r.producer != Producer{}
}

// A state is what a floor is, apart from its settings.
type state struct {
	// Durable: what the transitions have made of it.
	epoch     uint64
	last      uint64    // number of the newest request
	grant     uint64    // number of the newest grant
	held      uint64    // of the holder's; 0 if there is none
	grantedAt int64     // of the holder's, in nanoseconds since the Unix epoch
	holder    *request  // nil: nobody
	queue     []request // accepted, the next first
	pending   []request // the oldest first

	// Of this run of the server.
	granted   time.Time // the holder's grant, by this run's clock
	renewed   time.Time // its lease
	chair     bool      // a chair is there
	chairGone time.Time // since when none is
	asked     []string  // who has asked the holder for the floor
}

func (s *state) clone() *state {
	c := *s
	c.queue, c.pending, c.asked = slices.Clone(s.queue), slices.Clone(s.pending), slices.Clone(s.asked)
	if s.holder != nil {
		holder := *s.holder
		c.holder = &holder
	}
	return &c
}

func (s *state) waiting() int { return len(s.pending) + len(s.queue) }

// all calls f with each request, the holder's first, then in the queue's order, until f returns false.
// What f changes stays.
func (s *state) all(f func(r *request, is State) bool) {
	if s.holder != nil && !f(s.holder, Granted) {
		return
	}
	for i := range s.queue {
		if !f(&s.queue[i], Accepted) {
			return
		}
	}
	for i := range s.pending {
		if !f(&s.pending[i], Pending) {
			return
		}
	}
}

// find returns a copy of a request, what it is, and where among those.
func (s *state) find(id uint64) (r *request, is State, at int) {
	byID := func(r request) bool { return r.id == id }
	if s.holder != nil && s.holder.id == id {
		found := *s.holder
		return &found, Granted, 0
	}
	if at := slices.IndexFunc(s.queue, byID); at >= 0 {
		found := s.queue[at]
		return &found, Accepted, at
	}
	if at := slices.IndexFunc(s.pending, byID); at >= 0 {
		found := s.pending[at]
		return &found, Pending, at
	}
	return nil, 0, 0
}

// holding returns who holds the floor, with which grant.
func (s *state) holding() (who string, number uint64) {
	if s.holder == nil {
		return "", 0
	}
	return s.holder.who, s.held
}

// queued returns whose the accepted requests are.
func (s *state) queued() []string {
	var names []string
	for i := range s.queue {
		names = append(names, s.queue[i].who)
	}
	return names
}

// place returns the place in the queue for a request of a priority: behind those that were
// made before it, and before those that are less urgent.
func (s *state) place(p Priority) int {
	at := len(s.queue)
	for at > 0 && s.queue[at-1].priority < p {
		at--
	}
	return at + 1
}
