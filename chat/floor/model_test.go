package floor_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// A history is what is known of a floor by its records alone, and by which session each request is of.
type history struct {
	state  map[uint64]floor.State // of each request there ever was
	holder uint64                 // its request, 0: nobody
	grant  uint64                 // the newest
	last   uint64                 // the newest request
}

// add checks that a record may follow.
func (h *history) add(t require.TestingT, tr floor.Transition) {
	was, known := h.state[tr.Request]
	legal := map[floor.State][]floor.State{
		0:              {floor.Pending, floor.Accepted, floor.Granted},
		floor.Pending:  {floor.Accepted, floor.Granted, floor.Denied, floor.Cancelled},
		floor.Accepted: {floor.Accepted, floor.Granted, floor.Denied, floor.Cancelled},
		floor.Granted:  {floor.Released, floor.Revoked},
	}
	switch tr.To {
	case floor.Please:
		require.NotZero(t, h.holder)
		require.Equal(t, h.grant, tr.Grant)
	case floor.Missed, floor.Here:
		require.True(t, known && !was.Terminal(), "of a request that there is")
	default:
		require.Contains(t, legal[was], tr.To, "request %d was %v: one terminal state, and nothing after it", tr.Request, was)
		if !known {
			require.Greater(t, tr.Request, h.last)
			h.last = tr.Request
		}
		h.state[tr.Request] = tr.To
	}
	switch tr.To {
	case floor.Granted:
		require.Zero(t, h.holder, "C5: at most one live grant")
		require.Greater(t, tr.Grant, h.grant, "the numbers of grants rise")
		h.holder, h.grant = tr.Request, tr.Grant
	case floor.Released, floor.Revoked:
		require.Equal(t, h.holder, tr.Request)
		require.Equal(t, h.grant, tr.Grant)
		h.holder = 0
	default:
	}
	if h.holder == 0 {
		require.Zero(t, tr.Number)
	} else {
		require.Equal(t, h.grant, tr.Number)
	}
}

func (h *history) open() (n int) {
	for _, is := range h.state {
		if !is.Terminal() {
			n++
		}
	}
	return n
}

// A world is a server with a floor, its log, and sessions that come and go. Any append may fail, and the
// server may end between any two steps.
type world struct {
	t        *rapid.T
	now      time.Time
	settings floor.Settings
	f        *floor.Floor
	snapshot []byte // in the log
	state    []byte // the same, in this epoch
	epoch    uint64
	history  history
	sessions []floor.Party // that are there
	lost     []floor.Party // whose connection is lost
	of       map[uint64]floor.Session
	next     byte
}

func newWorld(t *rapid.T) *world {
	seconds := func(name string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Second
	}
	w := &world{t: t, now: epoch, epoch: 1, of: make(map[uint64]floor.Session)}
	w.history.state = make(map[uint64]floor.State)
	w.settings = floor.Settings{
		Chaired: rapid.Bool().Draw(t, "chaired"), Lease: seconds("lease", 0, 40), Longest: seconds("longest", 0, 100),
		Grace: seconds("grace", -1, 40), ChairAway: seconds("chair away", -1, 90), Undecided: seconds("undecided", 0, 90),
		NoChair: floor.NoChair(rapid.IntRange(0, 1).Draw(t, "no chair")),
	}
	if w.settings.Longest > 0 && rapid.Bool().Draw(t, "no lease") {
		w.settings.Lease = -1
	}
	w.f = floor.New(w.settings, w.epoch, w.now)
	w.snapshot = w.f.Encode()
	w.state = w.snapshot
	return w
}

// commit appends a decision's records, or fails to, or the server ends before or after.
func (w *world) commit(d floor.Decision) bool {
	if len(d.Transitions) == 0 {
		require.Equal(w.t, w.state, d.Encode(), "without a record nothing durable changes")
		w.f.Commit(d)
		return true
	}
	fate := rapid.SampledFrom([]string{"", "", "", "", "", "append fails", "ends before", "ends after"}).Draw(w.t, "fate")
	switch fate {
	case "append fails":
		return false
	case "ends before":
		w.restart()
		return false
	}
	// The transitions, as they are in the log, give the state after.
	again, err := floor.Restart(w.snapshot, w.settings, w.epoch, w.now)
	require.NoError(w.t, err)
	for _, tr := range d.Transitions {
		w.history.add(w.t, tr)
		decoded, err := floor.DecodeTransition(tr.Encode())
		require.NoError(w.t, err)
		require.Equal(w.t, tr, decoded)
		require.NoError(w.t, again.Replay(decoded, w.now))
	}
	w.snapshot = d.Encode()
	w.state = w.snapshot
	require.Equal(w.t, w.snapshot, again.Encode())
	if fate == "ends after" {
		w.restart()
		return false
	}
	w.f.Commit(d)
	require.Equal(w.t, w.snapshot, w.f.Encode())
	return true
}

func (w *world) restart() {
	if rapid.IntRange(0, 4).Draw(w.t, "records lost") == 0 {
		w.epoch++
	}
	f, err := floor.Restart(w.snapshot, w.settings, w.epoch, w.now)
	require.NoError(w.t, err)
	w.f = f
	w.state = f.Encode()
	w.lost = append(w.lost, w.sessions...)
	w.sessions = nil
	clear(w.of)
}

func (w *world) due() bool { return w.commit(w.f.Due(w.now)) }

// do decides and commits, and says what the request is that it was about, 0 if nothing was done.
func (w *world) do(a floor.Action) uint64 {
	before := w.f.Encode()
	d, err := w.f.Decide(a, w.now)
	require.Equal(w.t, before, w.f.Encode(), "a decision changes nothing")
	if err != nil {
		_, ok := errors.AsType[*floor.Error](err)
		require.True(w.t, ok, "%v", err)
		return 0
	}
	if !w.commit(d) {
		return 0
	}
	return d.Request
}

func (w *world) someone(t *rapid.T) floor.Party {
	if len(w.sessions) == 0 || len(w.sessions) < 12 && rapid.IntRange(0, 3).Draw(t, "newcomer") == 0 {
		w.next++
		p := party(fmt.Sprintf("member%d", rapid.IntRange(0, 6).Draw(t, "who")), w.next)
		w.sessions = append(w.sessions, p)
		w.f.Present(p)
	}
	return rapid.SampledFrom(w.sessions).Draw(t, "session")
}

func (w *world) number(t *rapid.T) uint64 {
	return rapid.Uint64Range(0, w.history.last+1).Draw(t, "request")
}

// leave takes a session from those that are there.
func (w *world) leave(t *rapid.T) floor.Party {
	p := w.someone(t)
	w.sessions = slices.DeleteFunc(w.sessions, func(q floor.Party) bool { return q.Session == p.Session })
	return p
}

func (w *world) steps() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"request": func(t *rapid.T) {
			p := w.someone(t)
			id := w.do(floor.Request{
				For: p, By: rapid.SampledFrom([]string{"", "member0"}).Draw(t, "by"),
				Priority: floor.Priority(rapid.IntRange(0, 4).Draw(t, "priority")), Text: rapid.StringN(0, 5, 20).Draw(t, "text"),
			})
			if id != 0 {
				w.of[id] = p.Session
			}
		},
		"release": func(t *rapid.T) {
			p := w.someone(t)
			w.do(floor.Release{By: p.Who, Session: p.Session, Request: w.number(t)})
		},
		"pass": func(t *rapid.T) {
			st := w.f.Status(w.now)
			if st.Holder == nil {
				return
			}
			to := w.someone(t)
			if id := w.do(floor.Pass{By: st.Holder.Who, To: to}); id != 0 {
				w.of[id] = to.Session
			}
		},
		"ask":   func(t *rapid.T) { w.do(floor.Ask{By: w.someone(t).Who}) },
		"renew": func(t *rapid.T) { w.do(floor.Renew{By: w.someone(t), Grant: w.f.Status(w.now).Grant}) },
		"accept": func(t *rapid.T) {
			w.do(floor.Accept{By: "chair", Request: w.number(t), Place: rapid.IntRange(0, 5).Draw(t, "place")})
		},
		"grant":  func(t *rapid.T) { w.do(floor.Grant{By: "chair", Request: w.number(t)}) },
		"deny":   func(t *rapid.T) { w.do(floor.Deny{By: "chair", Request: w.number(t)}) },
		"revoke": func(*rapid.T) { w.do(floor.Revoke{By: "chair"}) },
		"chair":  func(t *rapid.T) { w.f.Chair(rapid.Bool().Draw(t, "there"), w.now) },
		"configure": func(t *rapid.T) {
			w.settings.Chaired = rapid.Bool().Draw(t, "chaired")
			w.f.Configure(w.settings, w.now)
		},
		"lost": func(t *rapid.T) {
			p := w.leave(t)
			w.f.Lost(p.Session, w.now)
			w.lost = append(w.lost, p)
		},
		"ended": func(t *rapid.T) { w.f.Ended(w.leave(t).Session, rapid.Bool().Draw(t, "in order"), w.now) },
		"bar": func(t *rapid.T) {
			who := w.someone(t).Who
			w.f.Bar(func(identity string) bool { return identity == who }, w.now)
		},
		"back": func(t *rapid.T) {
			if len(w.lost) == 0 {
				return
			}
			p := rapid.SampledFrom(w.lost).Draw(t, "who is back")
			w.lost = slices.DeleteFunc(w.lost, func(q floor.Party) bool { return q.Session == p.Session })
			w.sessions = append(w.sessions, p)
			w.f.Present(p)
		},
		"time": func(t *rapid.T) {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
			w.due()
		},
		"restart": func(*rapid.T) { w.restart() },
		"": func(t *rapid.T) {
			w.check(t)
		},
	}
}

// check is what holds at any time.
func (w *world) check(t *rapid.T) {
	st := w.f.Status(w.now)
	require.LessOrEqual(t, len(st.Queue)+len(st.Pending), floor.MaxWaiting)
	require.Equal(t, w.state, w.f.Encode())
	open := len(st.Queue) + len(st.Pending)
	if st.Holder != nil {
		open++
	}
	require.Equal(t, w.history.open(), open, "what is not terminal is there")
	// C5: of all sessions and all grants one can publish, at most, and that one has been granted it.
	may := 0
	for _, p := range slices.Concat(w.sessions, w.lost) {
		for n := range w.history.grant + 3 {
			if n+50 < w.history.grant && n != 0 { // numbers jump with the epochs
				continue
			}
			if !w.f.MayPublish(p.Session, n) {
				continue
			}
			may++
			require.NotNil(t, st.Holder)
			require.Equal(t, st.Holder.Grant, n)
			require.Equal(t, st.Holder.Who, p.Who)
			require.Equal(t, w.history.grant, n, "C5: only the newest grant")
			if of, ok := w.of[st.Holder.Request]; ok {
				require.Equal(t, of, p.Session, "a grant is one session's")
			}
		}
	}
	require.LessOrEqual(t, may, 1)
}

// drain lets time pass, and nobody does anything.
func (w *world) drain() {
	for range 2000 {
		at, ok := w.f.NextDeadline(w.now)
		if !ok {
			break
		}
		if at.After(w.now) {
			early := w.f.Due(at.Add(-1))
			require.Empty(w.t, early.Transitions, "nothing is due before the deadline")
			w.now = at
		}
		d := w.f.Due(w.now)
		if w.commit(d) {
			at, ok = w.f.NextDeadline(w.now)
			require.True(w.t, !ok || at.After(w.now), "what was due is done")
		}
	}
	require.True(w.t, w.f.Idle(), "nobody waits for ever")
	require.Zero(w.t, w.history.open(), "every request has ended")
}

// C5; every request ends in one terminal state; grant numbers rise; nobody waits for ever: over failed
// appends, lost and resumed sessions, and ends of the server between any two steps.
func TestFloorAgainstItsHistoryC5(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(w.steps())
		w.drain()
	})
}

// Without a chair the floor goes round in order of priority, then time.
func TestWithoutAChairTheOrderIsPriorityThenTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := floor.New(floor.Settings{}, 1, epoch)
		var waiting []floor.Priority // by request, from 2 on; Highest + 1: granted
		do := func(a floor.Action) floor.Decision {
			d, err := f.Decide(a, epoch)
			require.NoError(t, err)
			f.Commit(d)
			return d
		}
		do(floor.Request{For: party("first", 255)})
		holder, session := "first", floor.Session{255}
		for i := range rapid.IntRange(1, 40).Draw(t, "requests") {
			p := floor.Priority(rapid.IntRange(0, 4).Draw(t, "priority"))
			do(floor.Request{For: party(fmt.Sprint(i), byte(i+1)), Priority: p})
			waiting = append(waiting, p)
			if rapid.IntRange(0, 2).Draw(t, "release") > 0 {
				continue
			}
			next := -1
			for j, p := range waiting {
				if p <= floor.Highest && (next < 0 || p > waiting[next]) {
					next = j
				}
			}
			d := do(floor.Release{By: holder, Session: session})
			require.Len(t, d.Transitions, 2)
			require.Equal(t, floor.Granted, d.Transitions[1].To)
			require.EqualValues(t, next+2, d.Transitions[1].Request)
			waiting[next] = floor.Highest + 1
			holder, session = fmt.Sprint(next), floor.Session{byte(next + 1)}
		}
	})
}
