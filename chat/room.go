package chat

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/rpc"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
)

// A room is an actor: one goroutine, for as long as the room has members, which takes one
// request after the other. It appends to the log, keeps presence, and puts events on the ring, from
// which subscribers help themselves. It never waits for one of them, only for the log.
type room struct {
	srv   *Server
	name  string
	wire  []byte // the name, for frames
	mail  chan *request
	moved chan struct{} // has a token when the log's head may have moved
	newer atomic.Uint64 // the head as the log told it last

	sessions atomic.Int64 // len(members)
	held     atomic.Int64 // of these, members that are held
	behind   atomic.Int64 // subscriptions that are, as their writers have found
	stalled  atomic.Int64 // likewise

	pending atomic.Pointer[pendingSync] // what known has, for who need not ask the actor

	refs int // requests that were sent or are about to be, and members; guarded by Server.mu

	// The actor's own.
	members    map[*session]*member
	identities map[string]*identity
	there      int                              // identities that have a live session
	gathers    bool                             // changes of that, because it is big
	changes    map[string]chatpb.Presence_State // of who is there, that were not shown yet: JOINED, or how it went
	due        <-chan time.Time                 // when they are; nil if there is nothing to show
	subs       []*subscription
	batch      []*request // publishes that wait to be appended
	batchBytes int
	judged     bool    // some of entries depend on what the log has
	entries    []Entry // of batch
	events     []event // for reuse
	burst      burst   // for reuse
	lastFrom   string  // of the newest record that was encoded
	lastTime   int64
	known      *snapshot   // of the room, as of head; nil until the log was asked
	snapshot   []byte      // the same, as the log has it
	unruly     bool        // that has changed, and nobody was taken out for it yet
	syncTimer  *time.Timer // for when a synchronization point's time is up
	waits      syncWait
	trimmed    uint64 // the synchronization point up to which the log has been asked to trim
	deleted    bool   // likewise, because the room was deleted
	paces      paces  // of who speaks, if it is slow
	freed      int    // references that memberships held which ended on the way

	marking  []*markSlot           // with what has risen and is not in raised yet
	raised   map[string]raisedMark // since marks were kept and shown last
	marksDue <-chan time.Time      // when they are next; nil: none have risen
	unshown  bool                  // some were not shown

	floor *roomFloor
	joins uint64 // how many there were

	mu      sync.RWMutex // guards what follows, which only the actor changes
	ring    ring
	head    uint64 // seq of the newest record on the ring, or before it
	figures floorFigures
	present []string // who has been shown to be there, sorted; replaced, and never changed
}

// A requestKind says what a request is.
type requestKind uint8

const (
	requestJoin requestKind = iota + 1
	requestLeave
	requestPublish
	requestEnd  // the stream, or the session, has ended
	requestLost // the log no longer has what the subscription wants
	// What members may do may have changed. It is of no session.
	requestReauthorize
	requestDo    // something else
	requestAside // the same, for what has nothing to do with the log's order
	requestSignal
)

// A request is what a room is asked to do. It holds one reference to the room.
type request struct {
	kind    requestKind
	session *session
	conn    *conn
	from    From              // requestJoin
	own     ownRecords        // requestJoin: what it says of them
	resync  bool              // requestJoin: of a member, whose records go on from there
	entries []Entry           // requestPublish
	cost    int               // requestPublish: of the entries
	paced   bool              // requestPublish: the entries have been counted for Slow
	judged  bool              // requestPublish: some of the entries refer to texts, or a head is expected
	expect  *Position         // requestPublish: the head that is, or nil
	how     ending            // requestEnd
	noted   chan<- struct{}   // requestEnd: for whoever waits
	sub     *subscription     // requestLost
	do      func()            // requestDo, requestAside
	signal  chatpb.SignalKind // requestSignal

	grant uint64 // requestPublish: under which they are published; 0: none
}

// A member is one session in the room.
//
//	state    event                       next     presence, if it is the identity's last or first
//	(none)   JOIN                        live     joined
//	live     stream lost, or aborted     held     lost
//	live     stream replaced             waiting  –
//	live     LEAVE, stream ends in order (none)   left
//	held     JOIN                        live     back
//	held     session ends                (none)   –
//	waiting  JOIN                        live     –
//	waiting  session ends                (none)   left if released, else lost
type member struct {
	held bool
	sub  *subscription // nil when held or waiting
	join uint64        // which of the room's joins has made it a member last

	own ownRecords // what the stream has published itself; guarded by room.mu

	signaled struct { // last
		kind chatpb.SignalKind
		at   time.Time
	}
}

// ownRecords are a session's records of one producer, from seq first on. The zero value has none.
type ownRecords struct {
	producer Producer
	first    uint64
	known    bool // to the client, whichever session published them
}

func (o *ownRecords) has(producer Producer, seq uint64) bool {
	return o.first > 0 && seq >= o.first && producer == o.producer
}

func newRoom(srv *Server, name string) *room {
	r := &room{
		srv:        srv,
		name:       name,
		wire:       []byte(name),
		mail:       make(chan *request, roomMailbox),
		moved:      make(chan struct{}, 1),
		members:    make(map[*session]*member),
		identities: make(map[string]*identity),
		changes:    make(map[string]chatpb.Presence_State),
		syncTimer:  time.NewTimer(time.Hour),
	}
	r.syncTimer.Stop()
	return r
}

// send gives the room a request, waiting for a place in its mailbox. It fails only when the
// server is closed.
func (r *room) send(req *request) bool {
	select {
	case r.mail <- req:
		return true
	case <-r.srv.ctx.Done():
		return false
	}
}

// run is the actor.
func (r *room) run() {
	stop := r.srv.cfg.Log.Watch(r.name, func(head uint64) {
		// Two servers' appends may be told of in any order.
		for old := r.newer.Load(); head > old && !r.newer.CompareAndSwap(old, head); old = r.newer.Load() {
		}
		select {
		case r.moved <- struct{}{}:
		default:
		}
	})
	defer stop()
	defer r.syncTimer.Stop()
	defer func() { r.floor.stop() }()
	defer r.setFigures(floorFigures{})
	for {
		select {
		case req := <-r.mail:
			if r.work(req) {
				r.keepMarks()
				return
			}
		case <-r.moved:
			if r.newer.Load() <= r.head {
				continue
			}
			_ = r.refresh() // has logged its failure; the next look finds out
			r.tickFloor()
			r.tendSync()
			if n := r.takeFreed(); n != 0 && r.srv.unref(r, n) {
				r.keepMarks()
				return
			}
		case <-r.due:
			r.showChanges()
		case <-r.syncTimer.C:
			r.tendSync()
			if n := r.takeFreed(); n != 0 && r.srv.unref(r, n) {
				r.keepMarks()
				return
			}
		case <-r.floor.due():
			r.tickFloor()
			if n := r.takeFreed(); n != 0 && r.srv.unref(r, n) {
				r.keepMarks()
				return
			}
		case <-r.marksDue:
			r.keepMarks()
			r.tendSync()
			if n := r.takeFreed(); n != 0 && r.srv.unref(r, n) {
				return
			}
		case <-r.srv.ctx.Done():
			r.keepMarks()
			return
		}
	}
}

// work does req and all that waits behind it, publishes in batches. It says whether that was
// the last that the room had to do.
func (r *room) work(req *request) (last bool) {
	done := 0
	for {
		done++
		switch req.kind {
		case requestPublish:
			r.batch = append(r.batch, req)
			r.batchBytes += req.cost
			if r.batchBytes >= maxBatch {
				r.commit()
			}
		case requestSignal: // no batch ends for it
			r.signal(req)
		case requestAside: // nor for this
			req.do()
		default:
			r.commit()
			done += r.handle(req)
		}
		r.keepMarksIfDue()
		r.showIfDue() // also if there always is something waiting
		select {
		case req = <-r.mail:
			continue
		default:
		}
		r.commit()
		r.tendSync()
		r.tickFloor()
		return r.srv.unref(r, done+r.takeFreed())
	}
}

// takeFreed returns how many references were freed on the way, once.
func (r *room) takeFreed() int {
	n := r.freed
	r.freed = 0
	return n
}

// handle does one request that is no publish, and returns how many references that freed
// beside the request's own.
func (r *room) handle(req *request) (freed int) {
	switch req.kind {
	case requestJoin:
		return r.join(req)
	case requestLeave:
		return r.leave(req)
	case requestEnd:
		freed = r.end(req)
		r.tickFloor() // first: what ends with the stream is in the log before the stream's end is told
		req.noted <- struct{}{}
	case requestLost:
		m := r.members[req.session]
		if m == nil || m.sub != req.sub {
			return 0
		}
		reply := rejected(chatpb.Rejected_REQUEST_JOIN, r.wire, errorf(rpc.OutOfRange, "the log no longer has what follows %d", req.sub.next-1))
		r.describe(&reply)
		reply.sub, reply.unsubscribe = m.sub, true
		freed = r.remove(req.session, m, chatpb.Presence_STATE_LEFT)
		req.conn.answer(reply)
		req.conn.wake()
	case requestReauthorize:
		if r.known != nil { // else nobody has joined yet
			r.enforce()
		}
	case requestDo:
		req.do()
	case requestPublish, requestSignal, requestAside: // see work
	}
	return freed
}

// join makes the session a member, in one step: it reads the log's head, and subscribes behind
// it or at the cursor.
func (r *room) join(req *request) (freed int) {
	refuse := func(err *Error, state *State) int {
		req.session.log().Debug("join rejected", "room", r.name, "code", err.Code, "reason", err.Reason)
		reply := rejected(joinRequest(req.resync), r.wire, err)
		if state != nil {
			reply.epoch, reply.head, reply.first = state.Epoch(), state.Head, state.First
		}
		req.session.disclaim(r.name)
		req.conn.answer(reply)
		req.conn.wake()
		return 0
	}
	m := r.members[req.session]
	if m != nil && m.sub != nil && !req.resync {
		return refuse(errorf(rpc.FailedPrecondition, "the session is in the room already"), nil)
	}
	if refusal := r.srv.authorize(req.session.peer, r.name, VerbJoin); refusal != nil {
		return refuse(refusal, nil)
	}
	state, err := r.look()
	if err != nil {
		return refuse(r.refusal("read", err), nil)
	}
	if refusal := r.srv.refuseByTable(r.name, &r.known.Settings, req.session.peer, req.session.who, VerbJoin); refusal != nil {
		return refuse(refusal, nil)
	}
	m = r.members[req.session] // which may have been taken out meanwhile
	if req.resync && (m == nil || m.sub == nil || m.sub.conn != req.conn) {
		return refuse(errNotInRoom(), nil)
	}
	state.First = r.known.first(state.First)
	from, refusal := req.from, (*Error)(nil)
	if from.kind == fromCheckpoint {
		from, refusal = r.checkpointFrom(req.session.who, state)
	}
	var next uint64
	if refusal == nil {
		next, refusal = from.next(state)
	}
	if refusal == nil {
		if next, refusal = r.known.Sync.fence(from, req.own.known, next); refusal != nil {
			state.First = max(state.First, r.known.Sync.Major)
		}
	}
	if refusal != nil {
		return refuse(refusal, &state)
	}
	var instead *subscription
	if m == nil {
		m = &member{}
		r.members[req.session] = m
		r.sessions.Add(1)
		freed = -1 // the membership holds one
		r.appear(req.session.who)
	} else {
		req.session.disclaim(r.name) // the membership has its own
		instead = m.sub
		r.unsubscribe(m)
		if m.held {
			m.held = false
			r.held.Add(-1)
			r.identities[req.session.who].held--
			r.appear(req.session.who)
		}
	}
	r.mu.Lock()
	m.own = req.own // not what another stream has published, whose client was told of that
	r.mu.Unlock()
	sub := &subscription{room: r, conn: req.conn, member: m, who: req.session.who, next: next, cursor: r.ring.end(), lagging: next <= r.head}
	m.sub = sub
	r.joins++
	m.join = r.joins
	r.floorJoined(req.session, req.own.producer)
	sub.place = len(r.subs)
	r.subs = append(r.subs, sub)
	req.conn.answer(reply{kind: frameJoined, room: r.wire, sub: sub, instead: instead, pos: Position{Epoch: state.Epoch()}, head: state.Head, first: state.First})
	req.conn.wake()
	return freed
}

func (r *room) leave(req *request) (freed int) {
	m := r.members[req.session]
	if m == nil || m.sub == nil || m.sub.conn != req.conn {
		req.conn.answer(rejected(chatpb.Rejected_REQUEST_LEAVE, r.wire, errNotInRoom()))
		req.conn.wake()
		return 0
	}
	sub := m.sub
	freed = r.remove(req.session, m, chatpb.Presence_STATE_LEFT)
	req.conn.answer(reply{kind: frameLeft, room: r.wire, sub: sub, unsubscribe: true})
	req.conn.wake()
	return freed
}

func errNotInRoom() *Error { return errorf(rpc.FailedPrecondition, "the session is not in the room") }

// end follows the end of a stream, or with no stream that of the session.
func (r *room) end(req *request) (freed int) {
	m := r.members[req.session]
	switch {
	case m == nil:
		return 0
	case req.conn == nil && m.sub != nil:
		return 0 // the stream ends by itself, and then finds that the session has, too
	case req.conn == nil && req.how == endLeft:
		return r.remove(req.session, m, chatpb.Presence_STATE_LEFT)
	case req.conn == nil:
		return r.remove(req.session, m, chatpb.Presence_STATE_LOST)
	case m.sub != nil && m.sub.conn != req.conn:
		return 0 // a newer stream has joined
	}
	r.unsubscribe(m)
	over := req.session.ctx.Err() != nil
	switch {
	case req.how == endLeft:
		return r.remove(req.session, m, chatpb.Presence_STATE_LEFT)
	case over:
		return r.remove(req.session, m, chatpb.Presence_STATE_LOST)
	case req.how == endLost && !m.held:
		m.held = true
		r.floorLost(req.session)
		r.held.Add(1)
		r.srv.counters.vanished.Add(1)
		r.identities[req.session.who].held++
		r.vanish(req.session.who, chatpb.Presence_STATE_LOST)
	}
	return 0
}

// remove ends a membership; state is what others are told if the identity goes with it.
func (r *room) remove(s *session, m *member, state chatpb.Presence_State) (freed int) {
	r.unsubscribe(m)
	delete(r.members, s)
	r.floorEnded(s, state == chatpb.Presence_STATE_LEFT)
	r.sessions.Add(-1)
	s.disclaim(r.name)
	id := r.identities[s.who]
	if m.held {
		r.held.Add(-1)
		id.held--
	} else {
		r.vanish(s.who, state)
	}
	if id.live+id.held == 0 {
		delete(r.identities, s.who)
	}
	return 1
}

// unsubscribe stops waking a member's stream. What happened so far it may still read.
func (r *room) unsubscribe(m *member) {
	sub := m.sub
	if sub == nil {
		return
	}
	m.sub = nil
	last := len(r.subs) - 1
	r.subs[sub.place] = r.subs[last]
	r.subs[sub.place].place = sub.place
	r.subs[last] = nil
	r.subs = r.subs[:last]
	r.mu.Lock()
	sub.over, sub.lastSeq, sub.lastIndex = true, r.head, r.ring.end()
	r.mu.Unlock()
}

// wakeAll tells all subscribers that the ring has something new.
func (r *room) wakeAll() {
	for _, sub := range r.subs {
		sub.conn.wakeForEvents()
	}
}

// describe fills in what the log has, for a cursor that was refused.
func (r *room) describe(rep *reply) {
	state, err := r.srv.cfg.Log.State(r.srv.ctx, r.name)
	if err == nil {
		rep.epoch, rep.head, rep.first = state.Epoch(), state.Head, state.First
	}
}

// refusal turns an error of the log into what a client may know.
func (r *room) refusal(doing string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if !errors.Is(err, context.Canceled) {
		r.srv.log.Error("log failed", "room", r.name, "doing", doing, "err", err)
	}
	return errorf(rpc.Unavailable, "the log does not answer")
}
