package chat

import (
	"context"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// The methods of the floor. See [Lease] for a client of most of them.
var (
	// RequestFloor asks for the floor, and says what came of that: a place in the queue, mostly. A session that has a request is
	// answered what that is now, so it may ask again when an answer was lost.
	RequestFloor = rpc.Unary[FloorRequest, FloorResponse]("trunkline.Floor/Request")
	// ReleaseFloor gives the floor back, or a request up.
	ReleaseFloor = rpc.Unary[FloorRelease, FloorResponse]("trunkline.Floor/Release")
	// PassFloor gives the floor to somebody else who is in the room.
	PassFloor = rpc.Unary[FloorPass, FloorResponse]("trunkline.Floor/Pass")
	// PleaseFloor asks the holder for the floor.
	PleaseFloor = rpc.Unary[FloorAsk, FloorResponse]("trunkline.Floor/Please")
	// RenewFloor renews the lease of the session's grant. A holder counts from when it has called it.
	RenewFloor = rpc.Unary[FloorRenewal, FloorResponse]("trunkline.Floor/Renew")
	// ChairFloor is what a chair does with a request, or with the grant.
	ChairFloor = rpc.Unary[FloorRuling, FloorResponse]("trunkline.Floor/Chair")
	// QueryFloor says who has the floor, and who waits.
	QueryFloor = rpc.Unary[FloorQuery, FloorStatus]("trunkline.Floor/Query", rpc.Idempotent())
	// WatchFloor is QueryFloor, and again after each change; of several in a short time the last counts.
	WatchFloor = rpc.ServerStream[FloorQuery, FloorStatus]("trunkline.Floor/Watch")
	// SetMode makes a room duplex or half-duplex, and says how its floor is held.
	SetMode = rpc.Unary[SetModeRequest, ChangeResponse]("trunkline.Chat/SetMode")
)

// A FloorRequest asks for the floor of a room.
type FloorRequest struct {
	Room     string `json:"room"`
	For      string `json:"for,omitempty"`      // who is to get it, and is in the room; only a chair may ask for others
	Priority string `json:"priority,omitempty"` // "lowest" to "highest"; default "normal"; above it is for chairs
	Reason   string `json:"reason,omitempty"`   // at most 256 bytes, which all see

	// Producer, 16 bytes, has the caller get back what is its own after a restart of the server, with another session. A client
	// gives the one of its outbox.
	Producer []byte `json:"producer,omitempty"`
}

// A FloorRelease gives back what the caller has or waits for.
type FloorRelease struct {
	Room    string `json:"room"`
	Request uint64 `json:"request,omitempty"` // 0: the session's own, or else the first of the identity
	Own     bool   `json:"own,omitempty"`     // the session's own, and none of another one of the identity
	Grant   uint64 `json:"grant,omitempty"`   // only if it still holds
	Reason  string `json:"reason,omitempty"`
}

// A FloorPass gives the floor to somebody.
type FloorPass struct {
	Room   string `json:"room"`
	To     string `json:"to"`              // an identity that is in the room, of whose sessions the one that came last gets it
	Grant  uint64 `json:"grant,omitempty"` // only if it still holds
	Reason string `json:"reason,omitempty"`
}

// A FloorAsk asks the holder for the floor.
type FloorAsk struct {
	Room   string `json:"room"`
	Reason string `json:"reason,omitempty"`
}

// A FloorRenewal renews the session's grant.
type FloorRenewal struct {
	Room     string `json:"room"`
	Grant    uint64 `json:"grant"`
	Producer []byte `json:"producer,omitempty"` // as in FloorRequest
}

// A FloorRuling is what a chair says: Do is "accept", for a place in the queue, "grant", "deny", or "revoke".
type FloorRuling struct {
	Room    string `json:"room"`
	Do      string `json:"do"`
	Request uint64 `json:"request,omitempty"`
	Place   int    `json:"place,omitempty"` // accept: 1 is next; 0: by priority, then time
	Grant   uint64 `json:"grant,omitempty"` // revoke: only if it still holds
	Reason  string `json:"reason,omitempty"`
}

// A FloorResponse says what came of a call: of a request, or of the floor. Seq is of the record that says it, if there is one.
type FloorResponse struct {
	Room    string     `json:"room"`
	Epoch   uint64     `json:"epoch,omitempty"`
	Seq     uint64     `json:"seq,omitempty"`
	State   FloorState `json:"state"`
	Who     string     `json:"who"`
	Request uint64     `json:"request,omitempty"`
	Place   int        `json:"place,omitempty"`
	Grant   uint64     `json:"grant,omitempty"`
	ForMs   int64      `json:"for_ms,omitempty"` // granted: how long it holds, if it is not renewed; 0: for ever
	Holder  string     `json:"holder,omitempty"`
	Queue   []string   `json:"queue,omitempty"`
}

// A FloorQuery asks for the floor of a room.
type FloorQuery struct {
	Room string `json:"room"`
}

// A FloorStatus is the floor of a room as it is.
type FloorStatus struct {
	Room    string             `json:"room"`
	Mode    Mode               `json:"mode"`
	Chaired bool               `json:"chaired,omitempty"` // requests wait for a chair
	Seq     uint64             `json:"seq"`               // of the room's newest record
	Holder  *FloorParticipant  `json:"holder,omitempty"`
	Queue   []FloorParticipant `json:"queue,omitempty"`   // accepted, the next first
	Pending []FloorParticipant `json:"pending,omitempty"` // the oldest first
}

// A FloorParticipant is who has the floor, or waits for it.
type FloorParticipant struct {
	Who      string `json:"who"`
	By       string `json:"by,omitempty"` // who has asked for them
	Request  uint64 `json:"request"`
	Priority string `json:"priority"`
	Reason   string `json:"reason,omitempty"`
	Grant    uint64 `json:"grant,omitempty"`  // the holder's
	ForMs    int64  `json:"for_ms,omitempty"` // the holder's: how long it holds, as things are; 0: for ever
	Lost     bool   `json:"lost,omitempty"`   // they have lost their connection, and may come back
}

// A SetModeRequest asks for another mode, and another way of holding the floor: what is left out stays.
type SetModeRequest struct {
	Room  string         `json:"room"`
	Mode  Mode           `json:"mode,omitempty"`
	Floor *FloorSettings `json:"floor,omitempty"`
}

// registerFloor serves the methods of the floor on mux.
func registerFloor(mux *rpc.Mux, srv *Server) {
	rpc.Handle(mux, RequestFloor, srv.requestFloor)
	rpc.Handle(mux, ReleaseFloor, srv.releaseFloor)
	rpc.Handle(mux, PassFloor, srv.passFloor)
	rpc.Handle(mux, PleaseFloor, srv.pleaseFloor)
	rpc.Handle(mux, RenewFloor, srv.renewFloor)
	rpc.Handle(mux, ChairFloor, srv.chairFloor)
	rpc.Handle(mux, QueryFloor, srv.queryFloor)
	rpc.Handle(mux, WatchFloor, srv.watchFloor)
	rpc.Handle(mux, SetMode, srv.setMode)
}

// A floorCall is a call that concerns the floor, in the room's actor.
type floorCall struct {
	r *room
	s *session
	f *roomFloor
}

// onFloor has the room's actor call f for a caller who may do v. If err is ctx's, f may still be called.
func onFloor[T any](ctx context.Context, srv *Server, name string, v Verb, f func(c *floorCall) (T, *Error)) (res T, err error) {
	if e := checkRoom(name); e != nil {
		return res, answer(e)
	}
	var s *session
	if ts := transport.SessionFrom(ctx); ts != nil {
		s = srv.session(ts)
	}
	if s == nil {
		return res, rpc.Errorf(rpc.Unavailable, "the call has no session, or the server is closed")
	}
	if !s.claims([]byte(name)) { // a member knows of the room, also if it has no record yet
		if _, _, err := srv.visible(ctx, name); err != nil {
			return res, answer(err)
		}
	}
	var done T // the actor's, until it has done so
	var refusal *Error
	err = srv.do(ctx, name, func(r *room) {
		if err := r.refresh(); err != nil {
			refusal = r.refusal("read", err)
			return
		}
		r.tickFloor()
		if refusal = srv.refuse(name, &r.known.Settings, s.peer, s.who, v); refusal != nil {
			return
		}
		c := &floorCall{r: r, s: s}
		if c.f, refusal = r.useFloor(); refusal == nil {
			done, refusal = f(c)
		}
	})
	switch {
	case err != nil:
		return res, answer(err)
	case refusal != nil:
		return res, answer(refusal)
	}
	return done, nil
}

// decide decides an action, and answers what came of it.
func (c *floorCall) decide(a floor.Action) (*FloorResponse, *Error) {
	d, positions, refusal := c.r.decideFloor(func(now time.Time) (floor.Decision, error) { return c.f.Decide(a, now) })
	if refusal != nil {
		return nil, refusal
	}
	c.r.watchForEnd(c.s)
	// What an action does comes first, behind what was due; but the last of a request says what it is now.
	at := -1
	for i, t := range d.Transitions {
		if t.Request == d.Request && t.To <= floor.Please {
			at = i
		}
	}
	if at < 0 {
		return c.status(d.Request), nil
	}
	t := &d.Transitions[at]
	res := c.status(d.Request)
	res.State, res.Who, res.Request, res.Place = FloorState(t.To.String()), t.Who, t.Request, t.Place
	if t.Grant != 0 {
		res.Grant = t.Grant
	}
	if at < len(positions) {
		res.Epoch, res.Seq = positions[at].Epoch, positions[at].Seq
	}
	return res, nil
}

// status answers what a request is now, if it is not terminal, and what the floor is.
func (c *floorCall) status(request uint64) *FloorResponse {
	now := time.Now()
	st := c.f.Status(now)
	res := &FloorResponse{Room: c.r.name}
	if st.Holder != nil {
		res.Holder, res.Grant = st.Holder.Who, st.Holder.Grant
	}
	for _, q := range st.Queue {
		res.Queue = append(res.Queue, q.Who)
	}
	if q, ok := c.f.Request(request); ok {
		res.State, res.Who, res.Request, res.Place = FloorState(q.State.String()), q.Who, q.Request, q.Place
		if q.State == floor.Granted {
			res.ForMs = forMs(q.Until, now)
			res.Epoch, res.Seq = c.f.granted.Epoch, c.f.granted.Seq
		}
	}
	return res
}

// forMs returns how long it is until then, in milliseconds, rounded down but for what is not over, and 0 for never.
func forMs(until, now time.Time) int64 {
	if until.IsZero() {
		return 0
	}
	return max(until.Sub(now).Milliseconds(), 1)
}

// present tells the floor of the caller, who may have come back after a restart of the server.
func (c *floorCall) present(producer []byte) (floor.Party, *Error) {
	p := floorParty(c.s, Producer{})
	if len(producer) > 0 {
		if e := checkProducer(producer); e != nil {
			return p, e
		}
		p = floorParty(c.s, Producer(producer))
	}
	c.f.Present(p)
	c.r.armFloor(time.Now())
	if at := c.f.at; !at.IsZero() && !at.After(time.Now()) { // it has taken something over, which is so when the log has it
		return p, c.r.doDue()
	}
	return p, nil
}

// member returns the session of an identity that became a member last.
func (c *floorCall) member(who string) (floor.Party, *Error) {
	var newest *member
	var of *session
	for s, m := range c.r.members {
		if s.who == who && m.sub != nil && (newest == nil || m.join > newest.join) {
			newest, of = m, s
		}
	}
	if newest == nil {
		return floor.Party{}, errorf(rpc.FailedPrecondition, "%s is not in the room", who)
	}
	if refusal := c.r.srv.refuse(c.r.name, &c.r.known.Settings, of.peer, of.who, VerbSpeak); refusal != nil {
		return floor.Party{}, errorf(rpc.FailedPrecondition, "%s may not have the floor: %s", who, refusal.Reason)
	}
	return floorParty(of, newest.own.producer), nil
}

func (srv *Server) requestFloor(ctx context.Context, req *FloorRequest) (*FloorResponse, error) {
	priority, refusal := parsePriority(req.Priority)
	if refusal != nil {
		return nil, answer(refusal)
	}
	verb := VerbSpeak
	if priority > floor.Normal || req.For != "" {
		verb = verbFloor
	}
	return onFloor(ctx, srv, req.Room, verb, func(c *floorCall) (*FloorResponse, *Error) {
		p, refusal := c.present(req.Producer)
		if ctx.Err() != nil {
			return nil, errorf(rpc.Canceled, "nobody waits for the floor any more")
		}
		if refusal == nil && req.For != "" && req.For != c.s.who {
			p, refusal = c.member(req.For)
		}
		if refusal != nil {
			return nil, refusal
		}
		if q, ok := c.f.RequestOf(p.Session); ok {
			c.r.watchForEnd(c.s)
			return c.status(q.Request), nil
		}
		if p.Session == c.s.floor && c.s.floors.Load() >= int64(srv.cfg.MaxSessionRooms) {
			return nil, c.s.errTooManyFloors("has asked for")
		}
		return c.decide(floor.Request{For: p, By: c.s.who, Priority: priority, Text: req.Reason})
	})
}

// priorities are the names of RFC 8855, section 5.2.4, the lowest first.
var priorities = [...]string{"lowest", "low", "normal", "high", "highest"}

func parsePriority(s string) (floor.Priority, *Error) {
	if s == "" {
		return floor.Normal, nil
	}
	i := slices.Index(priorities[:], s)
	if i < 0 {
		return 0, errorf(rpc.InvalidArgument, "there is no priority %q: it is lowest, low, normal, high or highest", s)
	}
	return floor.Priority(i), nil
}

func (srv *Server) releaseFloor(ctx context.Context, req *FloorRelease) (*FloorResponse, error) {
	return onFloor(ctx, srv, req.Room, verbRead, func(c *floorCall) (*FloorResponse, *Error) {
		return c.decide(floor.Release{By: c.s.who, Session: c.s.floor, Only: req.Own, Request: req.Request, Grant: req.Grant, Text: req.Reason})
	})
}

func (srv *Server) passFloor(ctx context.Context, req *FloorPass) (*FloorResponse, error) {
	return onFloor(ctx, srv, req.Room, VerbSpeak, func(c *floorCall) (*FloorResponse, *Error) {
		to, refusal := c.member(req.To)
		if refusal != nil {
			return nil, refusal
		}
		return c.decide(floor.Pass{By: c.s.who, Grant: req.Grant, To: to, Text: req.Reason})
	})
}

func (srv *Server) pleaseFloor(ctx context.Context, req *FloorAsk) (*FloorResponse, error) {
	return onFloor(ctx, srv, req.Room, VerbSpeak, func(c *floorCall) (*FloorResponse, *Error) {
		return c.decide(floor.Ask{By: c.s.who, Text: req.Reason})
	})
}

func (srv *Server) renewFloor(ctx context.Context, req *FloorRenewal) (*FloorResponse, error) {
	return onFloor(ctx, srv, req.Room, verbRead, func(c *floorCall) (*FloorResponse, *Error) {
		p, refusal := c.present(req.Producer)
		if refusal != nil {
			return nil, refusal
		}
		return c.decide(floor.Renew{By: p, Grant: req.Grant})
	})
}

func (srv *Server) chairFloor(ctx context.Context, req *FloorRuling) (*FloorResponse, error) {
	return onFloor(ctx, srv, req.Room, verbFloor, func(c *floorCall) (*FloorResponse, *Error) {
		var a floor.Action
		switch req.Do {
		case "accept":
			a = floor.Accept{By: c.s.who, Request: req.Request, Place: req.Place, Text: req.Reason}
		case "grant":
			a = floor.Grant{By: c.s.who, Request: req.Request, Text: req.Reason}
		case "deny":
			a = floor.Deny{By: c.s.who, Request: req.Request, Text: req.Reason}
		case "revoke":
			a = floor.Revoke{By: c.s.who, Grant: req.Grant, Text: req.Reason}
		default:
			return nil, errorf(rpc.InvalidArgument, "a chair may accept, grant, deny or revoke, not %q", req.Do)
		}
		return c.decide(a)
	})
}

func (srv *Server) queryFloor(ctx context.Context, req *FloorQuery) (*FloorStatus, error) {
	return onFloor(ctx, srv, req.Room, verbRead, (*floorCall).whole)
}

// whole answers what the floor is.
func (c *floorCall) whole() (*FloorStatus, *Error) {
	now := time.Now()
	st := c.f.Status(now)
	res := &FloorStatus{Room: c.r.name, Mode: c.r.known.Settings.Mode, Chaired: st.Chaired, Seq: c.r.head}
	if res.Mode == "" {
		res.Mode = Duplex
	}
	part := func(q *floor.RequestStatus) FloorParticipant {
		p := FloorParticipant{Who: q.Who, By: q.By, Request: q.Request, Priority: priorities[q.Priority], Reason: q.Text, Grant: q.Grant, Lost: q.Lost}
		if q.State == floor.Granted {
			p.ForMs = forMs(q.Until, now)
		}
		return p
	}
	if st.Holder != nil {
		p := part(st.Holder)
		res.Holder = &p
	}
	for i := range st.Queue {
		res.Queue = append(res.Queue, part(&st.Queue[i]))
	}
	for i := range st.Pending {
		res.Pending = append(res.Pending, part(&st.Pending[i]))
	}
	return res, nil
}

// A floorView is a call that watches a floor.
type floorView struct{ look chan struct{} } // has a token when the floor has changed

func (srv *Server) watchFloor(ctx context.Context, req *FloorQuery, str *rpc.Sender[FloorStatus]) error {
	view := &floorView{look: make(chan struct{}, 1)}
	res, err := onFloor(ctx, srv, req.Room, verbRead, func(c *floorCall) (*FloorStatus, *Error) {
		if c.s.views.Add(1) > int64(srv.cfg.MaxSessionRooms) {
			c.s.views.Add(-1)
			return nil, c.s.errTooManyFloors("watches")
		}
		c.f.views[view] = c.s
		c.r.freed-- // the room is kept, or it would have another floor when it comes back
		return c.whole()
	})
	if err == nil || ctx.Err() != nil { // then it may watch, all the same
		defer srv.unwatchFloor(req.Room, view)
	}
	for {
		if err != nil {
			return err
		}
		if err := str.Send(res); err != nil {
			return err
		}
		select {
		case <-view.look:
		case <-rpc.Draining(ctx): // which waits for this to end
			return rpc.Errorf(rpc.Unavailable, "the session drains, or is being released")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-srv.ctx.Done():
			return rpc.Errorf(rpc.Unavailable, "the server is closed")
		}
		// Asked of each time: who may not see the room any more is told no more of it (C8).
		res, err = onFloor(ctx, srv, req.Room, verbRead, (*floorCall).whole)
	}
}

// unwatchFloor follows the end of a call that has, or may have, begun to watch.
func (srv *Server) unwatchFloor(name string, view *floorView) {
	_ = srv.do(srv.ctx, name, func(r *room) { // fails when the server is closed
		if r.floor == nil {
			return
		}
		if s := r.floor.views[view]; s != nil {
			delete(r.floor.views, view)
			s.views.Add(-1)
			r.freed++
		}
	})
}

func (srv *Server) setMode(ctx context.Context, req *SetModeRequest) (*ChangeResponse, error) {
	if e := req.check(); e != nil {
		return nil, answer(e)
	}
	return srv.change(ctx, req.Room, verbMode, func(*room, *Settings, party) (*Change, *Error) {
		return &Change{What: ChangeMode, Mode: req.Mode, Floor: req.Floor}, nil
	})
}

// checkMode checks a mode, or none.
func checkMode(m Mode) *Error {
	switch m {
	case "", Duplex, HalfDuplex:
		return nil
	}
	return errorf(rpc.InvalidArgument, "there is no mode %q: it is duplex or half-duplex", string(m))
}

func (req *SetModeRequest) check() *Error {
	if e := checkMode(req.Mode); e != nil {
		return e
	}
	f := req.Floor
	if f == nil {
		if req.Mode == "" {
			return errorf(rpc.InvalidArgument, "nothing is to be changed")
		}
		return nil
	}
	for _, ms := range []int64{f.LeaseMs, f.LongestMs, f.GraceMs, f.ChairAwayMs, f.UndecidedMs} {
		if ms > maxFloorMs {
			return errorf(rpc.InvalidArgument, "a time of the floor is at most a week")
		}
	}
	switch f.NoChair {
	case "", noChairAutomatic, noChairDeny:
		return nil
	}
	return errorf(rpc.InvalidArgument, "without a chair it is automatic or deny, not %q", f.NoChair)
}

// maxFloorMs is the longest of the floor's times.
const maxFloorMs = int64(7 * 24 * time.Hour / time.Millisecond)
