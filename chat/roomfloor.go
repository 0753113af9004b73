package chat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// floorRetry is when a floor is looked after again whose records could not be appended.
const floorRetry = time.Second

// A roomFloor is the floor of a room, in its actor. A room has one once somebody has asked for it.
type roomFloor struct {
	*floor.Floor
	encoded []byte    // as the log has it
	granted Position  // of the record that granted it; the zero Position where that is not known, as after a restart
	known   *snapshot // of the room: those settings it has
	dirty   bool      // who is there may have changed
	doubt   bool      // what was appended last may be there, or not
	appends bool      // a decision is being appended
	went    []func()  // tells the floor again who has gone since that was decided
	at      time.Time // when something is due; the zero Time is never
	timer   *time.Timer
	busy    bool                     // it has to be looked after here, and holds a reference to the room
	watched map[*session]func() bool // sessions with requests whose end is being watched for, and how that is ended
	views   map[*floorView]*session
}

// due returns a channel that has a token when something is due.
func (f *roomFloor) due() <-chan time.Time {
	if f == nil {
		return nil
	}
	return f.timer.C
}

func (f *roomFloor) stop() {
	if f == nil {
		return
	}
	f.timer.Stop()
	for s := range f.watched {
		f.unwatch(s)
	}
}

// unwatch waits for the end of a session no longer.
func (f *roomFloor) unwatch(s *session) {
	if end := f.watched[s]; end != nil {
		end()
		delete(f.watched, s)
		s.floors.Add(-1)
		s.unwatchFloor(f)
	}
}

// unwatchOthers waits for the end of those sessions no longer that have no request any more.
func (f *roomFloor) unwatchOthers() {
	for s := range f.watched {
		if _, has := f.RequestOf(s.floor); !has {
			f.unwatch(s)
		}
	}
}

// useFloor returns the room's floor, as the log has it.
func (r *room) useFloor() (*roomFloor, *Error) {
	if r.floor == nil || !bytes.Equal(r.floor.encoded, r.known.Floor) {
		if refusal := r.loadFloor(); refusal != nil {
			return nil, refusal
		}
	}
	return r.floor, nil
}

// loadFloor takes the floor from the log: at first, and after another server has changed it. What this one knows of its own sessions
// stays (M146).
func (r *room) loadFloor() *Error {
	state, err := r.srv.cfg.Log.State(r.srv.ctx, r.name)
	if err == nil {
		err = r.know(&state)
	}
	if err != nil {
		return r.refusal("read", err)
	}
	now, settings := time.Now(), r.known.Settings.floorSettings()
	f := r.floor
	var grant uint64
	if f != nil {
		grant = f.Status(now).Grant
	}
	var fl *floor.Floor
	switch {
	case r.known.Floor == nil:
		fl = floor.New(settings, max(state.Epoch(), 1), now)
	case f == nil:
		fl, err = floor.Restart(r.known.Floor, settings, state.Epoch(), now)
	default:
		fl = f.Floor
		err = fl.Reload(r.known.Floor, state.Epoch(), !f.doubt, now)
		fl.Configure(settings, now)
	}
	if err != nil {
		r.srv.log.Error("the floor cannot be read", "room", r.name, "err", err)
		return errorf(rpc.Internal, "the room's floor cannot be read")
	}
	switch {
	case f == nil:
		f = &roomFloor{timer: time.NewTimer(time.Hour), watched: make(map[*session]func() bool), views: make(map[*floorView]*session)}
		f.timer.Stop()
		r.floor = f
		for s, m := range r.members {
			if m.sub != nil { // later only who comes: two servers would take it from each other in turns
				fl.Present(floorParty(s, m.own.producer))
			}
		}
	case fl.Status(now).Grant != grant:
		f.granted = Position{}
	}
	f.Floor, f.encoded, f.known, f.dirty, f.doubt = fl, r.known.Floor, r.known, true, false
	r.barFromFloor(now)
	r.armFloor(now)
	f.changed()
	return nil
}

// barFromFloor ends what those have of the floor who may not speak in the room any more: who is muted or banned, say, be they in
// the room or not.
func (r *room) barFromFloor(now time.Time) {
	r.floor.Bar(func(identity string) bool {
		p, refusal := r.srv.named(identity)
		return refusal == nil && r.srv.refuse(r.name, &r.known.Settings, p.id, p.who, VerbSpeak) != nil
	}, now)
}

// clearedFloor returns the floor of a room that is deleted: nobody has it or wants it, and its numbers go on.
func clearedFloor(encoded []byte) []byte {
	cleared, err := floor.Clear(encoded)
	if err != nil { // it is of no use to who comes later, either
		return nil
	}
	return cleared
}

// floorSession returns what a session is to a floor. Its id is the client's own choice, and free again when it has ended, but what
// it has of the floor may wait for it for longer: somebody else who comes with the same id is somebody else.
func floorSession(id transport.SessionID, who string) floor.Session {
	hash := sha256.Sum256(append(id[:], who...))
	return floor.Session(hash[:16])
}

// floorParty returns the party that a session is to a floor. What its producer is others are not told: its hash is as good.
func floorParty(s *session, producer Producer) floor.Party {
	p := floor.Party{Who: s.who, Session: s.floor}
	if producer != (Producer{}) {
		hash := sha256.Sum256(append([]byte("trunkline floor "), producer[:]...))
		p.Producer = floor.Producer(hash[:16])
	}
	return p
}

// tickFloor does what is due with the floor, if there is one.
func (r *room) tickFloor() {
	defer r.countFloor()
	f := r.floor
	if f == nil || r.known == nil || r.srv.draining.Load() {
		return
	}
	now := time.Now()
	if !bytes.Equal(f.encoded, r.known.Floor) {
		if r.loadFloor() != nil { // has logged it
			f.at = now.Add(floorRetry)
			f.timer.Reset(floorRetry)
			return
		}
	}
	if f.known != r.known {
		f.known, f.dirty = r.known, true
		f.Configure(r.known.Settings.floorSettings(), now)
		r.barFromFloor(now)
		f.changed()
	}
	if f.dirty {
		f.dirty = false
		f.Chair(r.hasChair(), now)
		r.armFloor(now)
	}
	if !f.at.IsZero() && !now.Before(f.at) {
		_ = r.doDue() // has logged its failure
	}
}

// doDue does what time has brought about.
func (r *room) doDue() *Error {
	_, _, refusal := r.decideFloor(func(now time.Time) (floor.Decision, error) { return r.floor.Due(now), nil })
	return refusal
}

// hasChair says whether an appointed chair is there.
func (r *room) hasChair() bool {
	for who, id := range r.identities {
		if id.live > 0 && r.known.Settings.RoleOf(who) == RoleChair {
			return true
		}
	}
	return false
}

// decideFloor has the floor decide something, appends the records, and makes it true. It returns the position of each. What was decided when
// another server has changed the floor meanwhile is decided again.
func (r *room) decideFloor(decide func(now time.Time) (floor.Decision, error)) (d floor.Decision, positions []Position, refusal *Error) {
	for range maxConflicts {
		if d, positions, refusal = r.decideFloorNow(decide); refusal != errFloorMoved {
			return d, positions, refusal
		}
	}
	f := r.floor
	f.at = time.Now().Add(floorRetry)
	f.timer.Reset(floorRetry)
	return d, nil, errTooManyServers()
}

// errFloorMoved says that another server has changed the floor meanwhile.
var errFloorMoved = &Error{Code: rpc.Unavailable, Reason: "the floor has changed"}

func (r *room) decideFloorNow(decide func(now time.Time) (floor.Decision, error)) (floor.Decision, []Position, *Error) {
	f, refusal := r.useFloor()
	if refusal != nil {
		return floor.Decision{}, nil, refusal
	}
	now := time.Now()
	d, err := decide(now)
	if err != nil {
		return d, nil, floorRefusal(err)
	}
	if len(d.Transitions) == 0 {
		f.Commit(d)
		r.armFloor(now)
		return d, nil, nil
	}
	f.appends = true
	positions, refusal := r.appendFloor(f, &d)
	f.appends, f.went = false, nil
	if refusal == errFloorMoved {
		return d, nil, refusal
	}
	if refusal != nil {
		r.srv.log.Warn("the floor was not changed", "room", r.name, "err", refusal)
		r.armFloor(now)
		if d := now.Add(floorRetry); !f.at.IsZero() && f.at.Before(d) {
			f.at = d
			f.timer.Reset(floorRetry)
		}
		return d, nil, refusal
	}
	r.armFloor(now)
	f.unwatchOthers()
	f.changed()
	return d, positions, nil
}

// changed has those who watch the floor look again.
func (f *roomFloor) changed() {
	for view := range f.views {
		select {
		case view.look <- struct{}{}:
		default:
		}
	}
}

// appendFloor appends what a decision makes, in one step, and shows it (C2, C5).
func (r *room) appendFloor(f *roomFloor, d *floor.Decision) ([]Position, *Error) {
	after := *r.known
	after.Floor = d.Encode()
	encoded := after.encode()
	entries := make([]Entry, len(d.Transitions))
	for i := range d.Transitions {
		t := &d.Transitions[i]
		by := t.By
		if by == "" {
			by = t.Who
		}
		entries[i] = Entry{From: by, Producer: r.srv.producer, ID: strconv.FormatUint(r.srv.changes.Add(1), 36), Kind: KindFloor, Body: t.Encode()}
	}
	for range maxConflicts {
		results, err := r.srv.cfg.Log.Append(r.srv.ctx, r.name, r.head, entries, encoded)
		if _, conflict := errors.AsType[*ConflictError](err); conflict {
			before := r.known
			if err := r.refresh(); err != nil {
				return nil, r.refusal("refresh", err)
			}
			switch { // it may have been decided by what is not so any more
			case r.known == before && f.Newest(d):
				continue
			case before.settingsEqual(r.known):
				return nil, errFloorMoved
			}
			return nil, errorf(rpc.Unavailable, "the room has changed") // and with it, perhaps, who may
		}
		if err != nil {
			refusal := r.refusal("change the floor", err)
			if _, known := errors.AsType[*Error](err); known {
				return nil, refusal
			}
			_ = r.refresh() // has logged its failure
			// The same state may be another server's doing, for sessions of its own.
			if !bytes.Equal(r.known.Floor, after.Floor) || len(r.appended(entries)) < len(entries) {
				f.doubt = true
				return nil, errorf(rpc.Unavailable, "the floor may or may not have been changed")
			}
			// It has, and refresh has shown it, and may have taken somebody out of the room.
			r.countChanges(d)
			f.CommitLate(*d)
			for _, tell := range f.went {
				tell()
			}
			r.barFromFloor(time.Now())
			f.encoded, f.granted = r.known.Floor, Position{}
			return nil, nil
		}
		if f.known == r.known {
			f.known = &after
		}
		r.known, r.snapshot = &after, encoded
		r.countChanges(d)
		f.Commit(*d)
		f.encoded = after.Floor
		positions := make([]Position, len(results))
		for i, res := range results {
			positions[i] = res.Position
			if d.Transitions[i].To == floor.Granted {
				f.granted = res.Position
			}
			r.events = append(r.events, r.recordEvent(&Record{Position: res.Position, Entry: entries[i], Time: res.Time}))
		}
		r.showEvents()
		return positions, nil
	}
	return nil, errorf(rpc.Unavailable, "too many servers append to the room")
}

// countChanges counts what a decision has made.
func (r *room) countChanges(d *floor.Decision) {
	for i := range d.Transitions {
		r.srv.counters.floorChanges.count(&d.Transitions[i])
	}
}

// armFloor has the floor looked after when something is due, and keeps the room for as long as somebody has or wants it.
func (r *room) armFloor(now time.Time) {
	f := r.floor
	at, ok := f.NextDeadline(now)
	f.at = at
	if ok {
		f.timer.Reset(at.Sub(now))
	} else {
		f.timer.Stop()
	}
	switch busy := f.Busy(); {
	case busy && !f.busy:
		f.busy = true
		r.freed--
	case !busy && f.busy:
		f.busy = false
		r.freed++
		f.unwatchOthers()
	}
}

// floorRefusal makes what a floor refuses an error of the room's.
func floorRefusal(err error) *Error {
	e, ok := errors.AsType[*floor.Error](err)
	if !ok {
		return errorf(rpc.Internal, "the floor does not say why")
	}
	code := rpc.FailedPrecondition
	switch e.Code {
	case floor.Invalid:
		code = rpc.InvalidArgument
	case floor.Exists:
		code = rpc.AlreadyExists
	case floor.Full:
		code = rpc.ResourceExhausted
	case floor.NotFound:
		code = rpc.NotFound
	case floor.Malformed:
		code = rpc.Internal
	case floor.Precondition:
	}
	return errorf(code, "%s", e.Reason)
}

// floorJoined follows a JOIN: after a restart of the server the session may have had the floor, or have waited for it.
func (r *room) floorJoined(s *session, producer Producer) {
	if r.floor == nil && r.known.Floor == nil {
		return
	}
	if f, refusal := r.useFloor(); refusal == nil { // else it has been logged, and the next one finds out
		f.dirty = true
		f.Present(floorParty(s, producer))
		r.armFloor(time.Now())
	}
}

// floorLost follows the loss of a session's connection.
func (r *room) floorLost(s *session) {
	if f := r.floor; f != nil {
		now := time.Now()
		f.dirty = true
		f.goes(func() { f.Lost(s.floor, now) })
		r.armFloor(now)
	}
}

// floorEnded follows the end of a membership, or of a session. One that has not ended in order may come back to another
// server, or to this one when that has forgotten it: it has the grace. So has everyone while the server drains.
func (r *room) floorEnded(s *session, inOrder bool) {
	if !inOrder || r.srv.draining.Load() {
		r.floorLost(s)
		return
	}
	if f := r.floor; f != nil {
		now := time.Now()
		f.dirty = true
		f.goes(func() { f.Ended(s.floor, true, now) })
		r.armFloor(now)
	}
}

// goes tells the floor that somebody has gone.
func (f *roomFloor) goes(tell func()) {
	tell()
	if f.appends {
		f.went = append(f.went, tell)
	}
}

// watchForEnd has the floor told when a session ends that has a request, for it need not be a member.
func (r *room) watchForEnd(s *session) {
	f := r.floor
	if _, has := f.RequestOf(s.floor); !has || f.watched[s] != nil {
		return
	}
	s.watchFloor(f, r.name)
	f.watched[s] = context.AfterFunc(s.ctx, func() {
		inOrder := endOf(context.Cause(s.ctx)) == endLeft
		_ = r.srv.do(r.srv.ctx, r.name, func(r *room) { // fails when the server is closed
			if r.floor != nil {
				r.floor.unwatch(s)
			}
			r.floorEnded(s, inOrder)
		})
	})
	s.floors.Add(1)
}

// siftByFloor rejects those entries of a request that need the floor, if its session does not have it (C5).
func (r *room) siftByFloor(req *request) {
	half := r.known.Settings.Mode == HalfDuplex
	if !half && req.grant == 0 {
		return
	}
	f, refusal := r.useFloor()
	if refusal == nil {
		if f.MayPublish(req.session.floor, req.grant) {
			return
		}
		refusal = f.refusePublish(half, req.grant)
	}
	appended := r.appended(req.entries)
	req.entries = slices.DeleteFunc(req.entries, func(e Entry) bool {
		if !e.Kind.needsFloor() || appended[e.ID] {
			return false
		}
		req.conn.answer(rejectedPublish(r.wire, e.ID, refusal))
		return true
	})
}

// appended returns the ids of those entries of one request that the log has already. They are no speech any more, whatever has
// become of the grant since, and are answered as duplicates (M112).
func (r *room) appended(entries []Entry) map[string]bool {
	_, found, err := r.srv.cfg.Log.Find(r.srv.ctx, r.name, entries)
	if err != nil || len(found) != len(entries) {
		return nil // they are refused, and a client takes that for a doubt
	}
	ids := make(map[string]bool)
	for i := range entries {
		if found[i].Known != nil {
			ids[entries[i].ID] = true
		}
	}
	return ids
}

// needsFloor says whether a record of the kind is speech.
func (k Kind) needsFloor() bool { return k == KindText || k == KindEdit }

// refusePublish says who has the floor, and how to get it, to who does not.
func (f *roomFloor) refusePublish(half bool, grant uint64) *Error {
	holds := "nobody has the floor"
	if h := f.Status(time.Now()).Holder; h != nil {
		holds = h.Who + " has the floor"
		if grant == h.Grant {
			holds += ", in another session"
		}
	}
	switch {
	case !half:
		return errorf(rpc.FailedPrecondition, "grant %d of the floor does not hold: %s", grant, holds)
	case grant != 0:
		return errorf(rpc.FailedPrecondition, "the room is half-duplex, and grant %d does not hold: %s; ask for it with trunkline.Floor/Request", grant, holds)
	}
	return errorf(rpc.FailedPrecondition, "the room is half-duplex, and %s; ask for it with trunkline.Floor/Request", holds)
}
