package chat_test

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

// A judge watches what one member is shown, and compares it with the ledger.
type judge struct {
	w        *world
	name     string // of the member
	identity string
	producer chat.Producer

	mu       sync.Mutex // guards what follows
	views    map[string]*view
	asked    []asked // that it has said, in order
	byID     map[string]int
	sent     map[string][]*chat.Sent
	rejected map[string]rpc.Code // by id
	shown    int
	detached int
	resumed  int
	evicted  int
	gaps     int
	missing  int
}

// A view is what a member knows of a room.
type view struct {
	in      bool
	next    uint64 // what comes next, unless it is its own
	own     uint64 // up to there its own lines may be shown to it: it was not in the room
	epoch   uint64
	joins   []joining // that have no answer
	leaves  int       // likewise
	evicted bool      // since it last asked to join

	lastSaid uint64 // seq of the member's own line
}

// A joining is a JOIN: from is one of joinsFrom.
type joining struct {
	from  string
	after chat.Position // where it was
}

type asked struct {
	room, id, text string
	times          int
	reaction       bool
}

func newJudge(w *world, name, identity string, producer chat.Producer) *judge {
	j := &judge{w: w, name: name, identity: identity, producer: producer, views: make(map[string]*view), byID: make(map[string]int), sent: make(map[string][]*chat.Sent), rejected: make(map[string]rpc.Code)}
	for _, room := range roomNames {
		j.views[room] = &view{}
	}
	return j
}

// asksToJoin notes that the member is about to, and returns the rest of it.
func (j *judge) asksToJoin(room, from string) chat.From {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.views[room]
	v.evicted = false
	var after chat.Position
	if v.next > 1 {
		after = chat.Position{Epoch: v.epoch, Seq: v.next - 1}
	}
	v.joins = append(v.joins, joining{from, after})
	return map[string]chat.From{"live": chat.Live(), "the last 3": chat.Last(3), "the first": chat.Last(math.MaxUint64), "where it was": chat.After(after)}[from]
}

func (j *judge) asksToLeave(room string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.views[room].leaves++
}

func (j *judge) wasEvicted(room string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.views[room].evicted
}

func (j *judge) said(room, id, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.byID[id] = len(j.asked)
	j.asked = append(j.asked, asked{room, id, text, 1, false})
}

// reacted is said for a reaction.
func (j *judge) reacted(room, id, text string) {
	j.said(room, id, text)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked[j.byID[id]].reaction = true
}

func (j *judge) saidAgain(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked[j.byID[id]].times++
}

func (j *judge) textOf(id string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.asked[j.byID[id]].text
}

// see judges an event as it comes.
func (j *judge) see(e chat.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if pos, ok := chat.PositionOf(e); ok {
		j.recordLocked(e, pos)
	}
	switch e := e.(type) {
	case *chat.Joined:
		j.joinedLocked(e)
	case *chat.Sent:
		j.sent[e.ID] = append(j.sent[e.ID], e)
		rec, ok := j.w.log.record(e.Room, e.Position.Seq)
		if !ok || rec.Position != e.Position || rec.ID != e.ID || rec.Producer != j.producer {
			j.faultLocked("C2", e.Room, "was told that %s is at %v, where the log has %+v", e.ID, e.Position, rec.Entry)
		}
	case *chat.Gap:
		j.gapLocked(e)
	case *chat.Rejected:
		j.rejectedLocked(e)
	case *chat.Left:
		v := j.views[e.Room]
		if !v.in || v.leaves == 0 {
			j.faultLocked("C4", e.Room, "has left, and was not in it")
		}
		v.in = false
		v.leaves--
	case *chat.Detached:
		j.detached++
	case *chat.Resumed:
		j.resumed++
	}
}

func (j *judge) faultLocked(promise, room, format string, args ...any) {
	j.w.fault(promise+": %s in %s "+format, append([]any{j.name, room}, args...)...)
}

func (j *judge) joinedLocked(e *chat.Joined) {
	v := j.views[e.Room]
	if v.in || len(v.joins) == 0 {
		j.faultLocked("C4", e.Room, "has joined, and was in it already, or did not ask")
		return
	}
	want := map[string]uint64{
		"live":         e.Head + 1,
		"the last 3":   max(e.First, e.Head-min(e.Head, 3)+1),
		"the first":    e.First,
		"where it was": v.joins[0].after.Seq + 1,
	}[v.joins[0].from]
	if e.Next != want {
		j.faultLocked("C4", e.Room, "has joined at %d and not at %d: %+v", e.Next, want, e)
	}
	v.joins = v.joins[1:]
	v.in, v.next, v.own, v.epoch = true, e.Next, e.Head, e.Epoch
}

// recordLocked judges an event that is a record.
func (j *judge) recordLocked(e chat.Event, pos chat.Position) {
	room := e.RoomName()
	v := j.views[room]
	if !v.in || pos.Seq < v.next {
		j.faultLocked("C4", room, "was shown %v, where %d was to come", pos, v.next)
		return
	}
	j.passLocked(room, pos.Seq)
	rec, _ := j.w.log.record(room, pos.Seq)
	if want := eventOf(room, &rec); !assert.ObjectsAreEqual(want, e) {
		j.faultLocked("C1", room, "was shown %+v, where the log has %+v", e, want)
	}
	if rec.Producer == j.producer && pos.Seq > v.own {
		j.faultLocked("C4", room, "was shown its own line at %v", pos)
	}
	v.next = pos.Seq + 1
	j.shown++
}

// eventOf returns what a member is to be shown of a record.
func eventOf(room string, rec *chat.Record) chat.Event {
	at := time.Unix(0, rec.Time.UnixNano()).UTC()
	if rec.Kind == chat.KindReact {
		return &chat.Reacted{Room: room, Position: rec.Position, By: rec.From, Time: at, Ref: rec.Ref, Text: string(rec.Body)}
	}
	return &chat.Message{Room: room, Position: rec.Position, From: rec.From, Time: at, ID: rec.ID, Text: string(rec.Body)}
}

// passLocked passes over what comes before seq and is not shown: lines of the member's own.
func (j *judge) passLocked(room string, seq uint64) {
	v := j.views[room]
	for ; v.next < seq; v.next++ {
		if rec, ok := j.w.log.record(room, v.next); !ok || rec.Producer != j.producer {
			j.faultLocked("C4", room, "was not shown %d, but %d", v.next, seq)
		}
	}
}

func (j *judge) gapLocked(e *chat.Gap) {
	v := j.views[e.Room]
	state, err := j.w.log.State(context.Background(), e.Room)
	switch {
	case err != nil:
		j.faultLocked("C4", e.Room, "has no log: %v", err)
	case !v.in || e.Code != rpc.OutOfRange || e.After.Seq+1 < v.next || e.First <= e.After.Seq+1 || e.First > state.First || e.Head+1 < e.First:
		j.faultLocked("C4", e.Room, "was told of a gap that is none, before %d: %+v, %+v", v.next, e, state)
	}
	j.passLocked(e.Room, e.After.Seq+1)
	j.gaps++
	j.missing += int(e.First - v.next)
	v.next = e.First
}

func (j *judge) rejectedLocked(e *chat.Rejected) {
	v := j.views[e.Room]
	switch trims := j.w.log.trims; {
	case trims && e.Request == chat.RequestJoin && e.Code == rpc.OutOfRange && v.in: // the log has trimmed what it was owed
		if e.First <= v.next {
			j.faultLocked("C4", e.Room, "was put out, though %d is there: %+v", v.next, e)
		}
		v.in, v.evicted = false, true
		j.evicted++
	case trims && e.Request == chat.RequestJoin && e.Code == rpc.OutOfRange && len(v.joins) > 0: // it asked for what is not there any more
		v.joins = v.joins[1:]
		v.evicted = true
	case trims && e.Request == chat.RequestJoin && e.Code == rpc.FailedPrecondition && len(v.joins) > 0: // it asked twice, for it was put out
		v.joins = v.joins[1:]
	case trims && e.Request == chat.RequestLeave && v.leaves > 0 && !v.in:
		v.leaves--
	case e.Request == chat.RequestPublish:
		j.rejected[e.ID] = e.Code // see verdict
	default:
		j.faultLocked("C4", e.Room, "was rejected: %+v", e)
	}
}

// settled says whether the member has all that it is to get.
func (j *judge) settled() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, room := range roomNames {
		v := j.views[room]
		if len(v.joins) > 0 || v.leaves > 0 || v.in && j.owedLocked(room) > 0 {
			return false
		}
	}
	return j.detached == j.resumed
}

// owedLocked returns the first line of a room that the member has yet to be shown, 0 if there is none.
func (j *judge) owedLocked(room string) uint64 {
	for seq := j.views[room].next; ; seq++ {
		rec, ok := j.w.log.record(room, seq)
		if !ok {
			return 0
		}
		if rec.Producer != j.producer {
			return seq
		}
	}
}

// check waits until everybody has all, and judges what there is then.
func (w *world) check() {
	time.Sleep(90 * time.Second) // by then nobody is cut off any more, or reads nothing, and all know which connections have ended
	quiet := func() bool {
		return !slices.ContainsFunc(w.members, func(m *member) bool {
			return !m.idle() || m.Unacknowledged() > 0 || !m.settled()
		})
	}
	for deadline := time.Now().Add(10 * time.Minute); !quiet() && time.Now().Before(deadline); {
		time.Sleep(time.Second)
	}
	time.Sleep(5 * time.Second) // for what is too much
	w.log.check()
	for _, m := range w.members {
		if n := m.Unacknowledged(); n > 0 || !m.idle() {
			w.fault("C2: %s has %d lines without an answer, all asked: %t", m.name, n, m.idle())
		}
		m.verdict()
	}
}

// verdict judges all that the member was shown and told.
func (j *judge) verdict() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, room := range roomNames {
		v := j.views[room]
		if seq := j.owedLocked(room); v.in && seq > 0 {
			j.faultLocked("C4", room, "was not shown %d and what follows", seq)
		}
		if len(v.joins) > 0 || v.leaves > 0 {
			j.faultLocked("C4", room, "has no answer to JOIN or LEAVE: %d, %d", len(v.joins), v.leaves)
		}
	}
	if j.detached != j.resumed {
		j.w.fault("C4: %s was detached %d times, and resumed %d", j.name, j.detached, j.resumed)
	}
	places := j.w.log.places(j.producer)
	for _, a := range j.asked {
		told, at := j.sent[a.id], places[a.id]
		code, rejected := j.rejected[a.id]
		trims := j.w.log.trims
		switch {
		case rejected:
			// It had been put out, or the text is gone, or has its 50 reactions.
			why := trims && code == rpc.FailedPrecondition || a.reaction && (trims && code == rpc.NotFound || code == rpc.ResourceExhausted)
			if !why || len(told)+len(at) > 0 && a.times == 1 {
				j.faultLocked("C2", a.room, "has %s refused (%v), and it is at %v", a.id, code, at)
			}
			continue
		case len(at) != 1:
			j.faultLocked("C3", a.room, "has said %s once, and it is at %v", a.id, at)
			continue
		case len(told) != a.times:
			j.faultLocked("C3", a.room, "was told %d times where %s is, which it has asked %d times", len(told), a.id, a.times)
		}
		for _, s := range told {
			if s.Position != at[0] || s.Room != a.room {
				j.faultLocked("C3", a.room, "was told that %s is at %v, and it is at %v", a.id, s.Position, at)
			}
		}
		last := &j.views[a.room].lastSaid
		if at[0].Seq <= *last {
			j.faultLocked("C4", a.room, "said %s after the line at %d, and it is at %v", a.id, *last, at)
		}
		*last = at[0].Seq
	}
}

// places returns where the lines of a producer are.
func (l *ledger) places(producer chat.Producer) map[string][]chat.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := make(map[string][]chat.Position)
	for _, records := range l.rooms {
		for _, rec := range records {
			if rec.Producer == producer {
				at[rec.ID] = append(at[rec.ID], rec.Position)
			}
		}
	}
	return at
}

// check compares the log with all that was ever appended to it.
func (l *ledger) check() {
	for _, room := range roomNames {
		state, err := l.State(context.Background(), room)
		if err != nil || state.Head != l.head(room) {
			l.t.fault("C2: the log of %s has %+v, and not %d: %v", room, state, l.head(room), err)
			continue
		}
		records, err := l.Read(context.Background(), room, state.First, 1<<30)
		if err != nil || uint64(len(records)) != state.Head+1-state.First {
			l.t.fault("C2: the log of %s has %d records and not %+v: %v", room, len(records), state, err)
			continue
		}
		for _, rec := range records {
			if was, _ := l.record(room, rec.Seq); rec.Position != was.Position || rec.ID != was.ID || rec.From != was.From || rec.Kind != was.Kind || rec.Ref != was.Ref || string(rec.Body) != string(was.Body) {
				l.t.fault("C1: the log of %s has %+v, which was %+v", room, rec, was)
			}
		}
	}
}

// count adds to what all programs have led to.
func (w *world) count(all *outcome) {
	all.Programs++
	for _, m := range w.members {
		m.judge.mu.Lock()
		all.Shown += m.shown
		all.Breaks += m.detached
		all.Evictions += m.evicted
		all.Gaps += m.gaps
		all.Missing += m.missing
		m.judge.mu.Unlock()
	}
	for _, room := range roomNames {
		all.Lines += int(w.log.head(room))
	}
}
