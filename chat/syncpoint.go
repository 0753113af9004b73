package chat

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
)

// Major synchronization points (X.225, section 7.8): a place in a room's log with a name, behind which nobody is taken back. While a point
// is set and not confirmed there is no other.
//
//	state      event                                        next        record
//	(none)     set, waits for nobody                        confirmed   set, with confirmed
//	(none)     set, waits for members                       pending     set
//	pending    the last of them has a checkpoint there      confirmed   confirmed
//	pending    its time is up, or the chair gives it up     abandoned   abandoned
//	pending    set                                          –           (refused)
//	confirmed  set                                          see (none)
//
// Its position is that of the record that sets it: all that was said before is as durable then as the log makes it.

var (
	// SetSyncPoint sets a major synchronization point. It is for who may keep order in the room.
	SetSyncPoint = rpc.Unary[SetSyncPointRequest, ChangeResponse]("trunkline.Chat/SetSyncPoint")
	// AbandonSyncPoint gives up the one that is not confirmed.
	AbandonSyncPoint = rpc.Unary[AbandonSyncPointRequest, ChangeResponse]("trunkline.Chat/AbandonSyncPoint")
	// Resynchronize has all members who follow go on from the same place.
	Resynchronize = rpc.Unary[ResynchronizeRequest, ChangeResponse]("trunkline.Chat/Resynchronize")
)

// A SetSyncPointRequest asks for a point.
type SetSyncPointRequest struct {
	Room string `json:"room"`
	Name string `json:"name"` // 1 to 128 bytes

	// Identities, at most 100, that are to have a checkpoint at the point or behind it before it is confirmed, see [Client.MarkRead], and how long
	// that may take, in seconds: 1 to 86,400, default 60. With none it is confirmed at once.
	WaitFor []string `json:"wait_for,omitempty"`
	Within  int      `json:"within,omitempty"`
}

// An AbandonSyncPointRequest gives a point up.
type AbandonSyncPointRequest struct {
	Room string `json:"room"`
}

// A ResynchronizeRequest asks that members go on with the record Seq: those of the newest confirmed point or behind it are allowed.
type ResynchronizeRequest struct {
	Room string `json:"room"`
	Seq  uint64 `json:"seq"`
}

const (
	maxSyncName    = 128 // bytes
	maxSyncWaitFor = 100
	maxSyncWithin  = 24 * time.Hour
	syncWithin     = time.Minute
	syncRetry      = time.Second // when a record that could not be appended is tried again
)

// syncState is what a room's snapshot has of its points.
type syncState struct {
	Major   uint64       `json:"major,omitempty"` // seq of the newest confirmed point
	Pending *pendingSync `json:"pending,omitempty"`
}

// A pendingSync is a point that is not confirmed.
type pendingSync struct {
	Name    string    `json:"name"`
	Seq     uint64    `json:"seq"`
	By      string    `json:"by"`
	Until   time.Time `json:"until"`
	WaitFor []string  `json:"wait_for"`
}

// A syncRecord is what a record of [KindSync] says, in JSON.
type syncRecord struct {
	What      SyncKind  `json:"what"`
	Name      string    `json:"name,omitempty"`
	Seq       uint64    `json:"seq"`             // of the point, or where to go on
	Epoch     uint64    `json:"epoch,omitempty"` // SyncResync: of the record before Seq
	WaitFor   []string  `json:"wait_for,omitempty"`
	Until     time.Time `json:"until,omitzero"`
	Confirmed bool      `json:"confirmed,omitempty"` // SyncSet: there is nobody to wait for
}

// A SyncKind says what happened to a room's synchronization.
type SyncKind string

// What may happen.
const (
	SyncSet       SyncKind = "set"
	SyncConfirmed SyncKind = "confirmed"
	SyncAbandoned SyncKind = "abandoned"
	SyncResync    SyncKind = "resync" // members go on from Seq
)

// SyncPoint says what happened to a major synchronization point, or that members are to go on from another place.
type SyncPoint struct {
	Room      string
	Position  Position // of the record
	By        string   // the identity; of a point that was confirmed, or whose time was up, who has set it
	Time      time.Time
	What      SyncKind
	Name      string
	Seq       uint64    // of the point, or where to go on
	WaitFor   []string  // who is to have a checkpoint there, or did not have one when the point was abandoned
	Until     time.Time // how long they have; the zero Time where there is nobody to wait for
	Confirmed bool      // the point holds: it is not gone back beyond

	after Position // SyncResync: to go on behind
}

// RoomName implements [Event].
func (e *SyncPoint) RoomName() string { return e.Room }

// syncPoint returns the event for a record, or nil if it is a later version's.
func (r *clientRoom) syncPoint(l *line, pos Position, t time.Time) Event {
	var m syncRecord
	if json.Unmarshal(l.body, &m) != nil {
		return nil
	}
	return &SyncPoint{
		Room: r.name, Position: pos, By: r.from, Time: t, What: m.What, Name: m.Name, Seq: m.Seq, WaitFor: m.WaitFor, Until: m.Until,
		Confirmed: m.Confirmed || m.What == SyncConfirmed, after: Position{Epoch: m.Epoch, Seq: m.Seq - 1},
	}
}

// follow goes on from where the chair has said, unless that was said before the client was there: it may come again in a replay.
func (c *Client) follow(r *clientRoom, e *SyncPoint) {
	if c.cfg.KeepPlace || e.What != SyncResync || e.Seq == 0 || e.Position.Seq <= r.live {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && len(c.asked) < maxAsked { // a server that does not answer fills no memory
		c.askLocked(pending{request: RequestResync, room: r.name, from: After(e.after)})
	}
}

// fence keeps a JOIN that would go back beyond the newest confirmed point from that. Who goes on after a break is owed what it has
// missed, also if that lies before.
func (s *syncState) fence(from From, afterBreak bool, next uint64) (uint64, *Error) {
	switch {
	case next >= s.Major || afterBreak:
		return next, nil
	case from.kind == fromCursor:
		return 0, errorf(rpc.OutOfRange, "nobody is taken back beyond the synchronization point at %d; what is before is history", s.Major)
	}
	return s.Major, nil
}

// handleSync serves the methods on mux.
func (srv *Server) handleSync(mux *rpc.Mux) {
	rpc.Handle(mux, SetSyncPoint, srv.setSyncPoint)
	rpc.Handle(mux, AbandonSyncPoint, srv.abandonSyncPoint)
	rpc.Handle(mux, Resynchronize, srv.resynchronize)
}

func (srv *Server) setSyncPoint(ctx context.Context, req *SetSyncPointRequest) (*ChangeResponse, error) {
	within := time.Duration(req.Within) * time.Second
	if req.Within == 0 {
		within = syncWithin
	}
	switch err := checkLine("name", req.Name, maxSyncName); {
	case err != nil:
		return nil, answer(err)
	case req.Name == "":
		return nil, rpc.Errorf(rpc.InvalidArgument, "a synchronization point has a name")
	case len(req.WaitFor) > maxSyncWaitFor:
		return nil, rpc.Errorf(rpc.InvalidArgument, "a synchronization point waits for %d members at most", maxSyncWaitFor)
	case req.Within < 0 || req.Within > int(maxSyncWithin/time.Second):
		return nil, rpc.Errorf(rpc.InvalidArgument, "a synchronization point waits for 1 to %d seconds", int(maxSyncWithin/time.Second))
	}
	var waitFor []string
	for _, who := range req.WaitFor {
		p, refusal := srv.named(who)
		if refusal != nil {
			return nil, answer(refusal)
		}
		waitFor = append(waitFor, p.who)
	}
	if _, err := srv.marker(); err != nil && len(waitFor) > 0 {
		return nil, err
	}
	slices.Sort(waitFor)
	waitFor = slices.Compact(waitFor)
	return srv.changeSync(ctx, req.Room, func(r *room, s *syncState, by string) (*syncRecord, *Error) {
		if p := s.Pending; p != nil {
			return nil, errorf(rpc.FailedPrecondition, "the point %q, which %s has set, is not confirmed yet", p.Name, p.By)
		}
		m := &syncRecord{What: SyncSet, Name: req.Name, Seq: r.head + 1}
		if len(waitFor) == 0 {
			s.Major, m.Confirmed = m.Seq, true
			return m, nil
		}
		m.WaitFor, m.Until = waitFor, time.Now().Add(within).UTC()
		s.Pending = &pendingSync{Name: m.Name, Seq: m.Seq, By: by, Until: m.Until, WaitFor: waitFor}
		return m, nil
	})
}

func (srv *Server) abandonSyncPoint(ctx context.Context, req *AbandonSyncPointRequest) (*ChangeResponse, error) {
	return srv.changeSync(ctx, req.Room, func(r *room, s *syncState, _ string) (*syncRecord, *Error) {
		if s.Pending == nil {
			return nil, errNotPending
		}
		return s.abandon(r.missing(s.Pending)), nil
	})
}

// abandon gives the pending point up, for which those have no checkpoint.
func (s *syncState) abandon(missing []string) *syncRecord {
	p := s.Pending
	s.Pending = nil
	return &syncRecord{What: SyncAbandoned, Name: p.Name, Seq: p.Seq, WaitFor: missing}
}

func (srv *Server) resynchronize(ctx context.Context, req *ResynchronizeRequest) (*ChangeResponse, error) {
	return srv.changeSync(ctx, req.Room, func(r *room, s *syncState, _ string) (*syncRecord, *Error) {
		state, err := r.srv.cfg.Log.State(r.srv.ctx, r.name)
		switch {
		case err != nil:
			return nil, r.refusal("read", err)
		case state.Head != r.head:
			return nil, errorf(rpc.Unavailable, "the room has changed meanwhile")
		case req.Seq < s.Major:
			return nil, errorf(rpc.OutOfRange, "nobody is taken back beyond the synchronization point at %d", s.Major)
		case req.Seq < state.First, req.Seq > state.Head+1:
			return nil, errorf(rpc.OutOfRange, "the log has %d to %d", state.First, state.Head)
		}
		return &syncRecord{What: SyncResync, Seq: req.Seq, Epoch: state.epochAt(req.Seq - 1)}, nil
	})
}

// epochAt returns the epoch in which a seq lies; before the first record, the oldest.
func (s State) epochAt(seq uint64) uint64 {
	for _, e := range slices.Backward(s.Epochs) {
		if e.First <= max(seq, 1) {
			return e.Number
		}
	}
	return 0
}

// A syncWait is how far those have come for whom a point waits.
type syncWait struct {
	point uint64            // its seq
	read  map[string]uint64 // by identity: seq of the newest record that it has read
}

// missing returns who has no checkpoint at a point or behind it: whose read mark, which the log keeps, is before.
func (r *room) missing(p *pendingSync) []string {
	if r.waits.point != p.Seq {
		marker, err := r.srv.marker()
		var marks []Mark
		if err == nil {
			marks, err = marker.Marks(r.srv.ctx, r.name)
		}
		if err != nil {
			_ = r.refusal("read the marks", err) // logs it; the next look asks again
			return p.WaitFor
		}
		r.waits = syncWait{p.Seq, make(map[string]uint64)}
		r.checkpointed(marks)
	}
	var missing []string
	for _, who := range p.WaitFor {
		if r.waits.read[who] < p.Seq {
			missing = append(missing, who)
		}
	}
	return missing
}

// checkpointed notes marks that the log has.
func (r *room) checkpointed(marks []Mark) {
	if r.waits.read == nil {
		return // nobody waits
	}
	for _, m := range marks {
		r.waits.read[m.Who] = max(r.waits.read[m.Who], m.Read)
	}
}

// trimToSync has the log trim what is before the newest confirmed point, if it is to. That may take long, and the actor does not wait for it. What fails
// is done with the next point, or when the room is next used after it was not.
func (r *room) trimToSync() {
	if !r.srv.cfg.TrimToSyncPoints || r.known == nil || r.known.Sync.Major <= r.trimmed {
		return
	}
	point := r.known.Sync.Major
	r.trimmed = point
	r.srv.wg.Go(func() { // the actor is one of these, so nobody waits for them already
		if err := r.srv.cfg.Log.Trim(r.srv.ctx, r.name, point); err != nil {
			_ = r.refusal("trim", err) // logs it
		}
	})
}

// tendSync ends the pending point when all have come so far, or its time is up. It is asked after everything that the actor does.
func (r *room) tendSync() {
	defer r.trimToSync()
	if r.known == nil || r.known.Sync.Pending == nil {
		r.waits = syncWait{}
		return
	}
	p := r.known.Sync.Pending
	if left := time.Until(p.Until); left > 0 && len(r.missing(p)) > 0 {
		r.syncTimer.Reset(left)
		return
	}
	_, refusal := r.changeSync(p.By, func(s *syncState) (*syncRecord, *Error) {
		p := s.Pending
		if p == nil {
			return nil, errNotPending
		}
		if missing := r.missing(p); len(missing) > 0 {
			return s.abandon(missing), nil
		}
		s.Major, s.Pending = p.Seq, nil
		return &syncRecord{What: SyncConfirmed, Name: p.Name, Seq: p.Seq}, nil
	})
	if refusal != nil && refusal != errNotPending {
		r.syncTimer.Reset(syncRetry)
	}
}

// errNotPending says that there is no point which waits to be confirmed.
var errNotPending = &Error{Code: rpc.FailedPrecondition, Reason: "no synchronization point waits to be confirmed"}

// changeSync has the caller, if it may, change what the room has of its synchronization as decide decides.
func (srv *Server) changeSync(ctx context.Context, name string, decide func(r *room, s *syncState, by string) (*syncRecord, *Error)) (*ChangeResponse, error) {
	return srv.inRoom(ctx, name, func(r *room, by party) (Position, *Error) {
		if err := r.refresh(); err != nil {
			return Position{}, r.refusal("read", err)
		}
		r.tendSync() // its time may have been up while nobody was in the room
		return r.changeSync(by.who, func(s *syncState) (*syncRecord, *Error) {
			if err := srv.refuse(name, &r.known.Settings, by.id, by.who, verbSync); err != nil {
				return nil, err
			}
			return decide(r, s, by.who)
		})
	})
}

// changeSync is change for the room's synchronization, of which decide changes a copy.
func (r *room) changeSync(by string, decide func(s *syncState) (*syncRecord, *Error)) (Position, *Error) {
	return r.change(by, func(now *snapshot) (*decision, *Error) {
		after := *now
		m, refusal := decide(&after.Sync)
		if refusal != nil {
			return nil, refusal
		}
		body, err := json.Marshal(m)
		if err != nil {
			return nil, errorf(rpc.Internal, "the record has no encoding")
		}
		return &decision{after: &after, kind: KindSync, body: body}, nil
	})
}
