package floor

import (
	"cmp"
	"slices"
	"time"
)

// A Decision is what would happen. It has not, until it is committed.
type Decision struct {
	// Transitions are what becomes the records, one each, in their order, and in one step.
	Transitions []Transition

	// Request is the number of the request that the action was about; 0 for Due.
	Request uint64

	floor   *Floor
	version uint64
	after   *state
}

// Encode returns the durable state after the decision, which goes with its records.
func (d *Decision) Encode() []byte { return d.after.encode(nil) }

// Due decides what time has brought about: it returns no transitions if it is not yet time.
func (f *Floor) Due(now time.Time) Decision {
	b := f.draft(now)
	b.settle()
	return b.decision()
}

// Decide decides what an action does, behind what is due. If the action is refused the error
// is an [*Error], and what is due remains so. Nothing changes before [Floor.Commit].
func (f *Floor) Decide(a Action, now time.Time) (Decision, error) {
	b := f.draft(now)
	b.settle()
	if err := a.act(b); err != nil {
		return Decision{}, err
	}
	b.settle()
	return b.decision(), nil
}

// Newest says whether nothing was said to the floor since it has made the decision, so that it can be committed.
func (f *Floor) Newest(d *Decision) bool { return d.floor == f && d.version == f.version }

// Commit makes a decision true, when its records are in the log. It is the decision that the floor has made last,
// and nothing was said to the floor since; anything else is a fault of the caller's, and panics.
func (f *Floor) Commit(d Decision) {
	if !f.Newest(&d) {
		panic("floor: the decision is not the newest")
	}
	f.version++
	f.s = d.after
}

// Replay makes a transition that is in the log. If it does not follow from the state the error is an
// [*Error] with Malformed, and nothing changes. What is not durable is as after a restart.
func (f *Floor) Replay(t Transition, now time.Time) error {
	s := f.s.clone()
	if err := s.apply(&t); err != nil {
		return err
	}
	if !s.agrees(&t) {
		return errorf(Malformed, "after request %d is %v the floor is another one", t.Request, t.To)
	}
	s.begin(now)
	f.version++
	f.s = s
	return nil
}

// CommitLate is Commit when something was said to the floor since the decision; that is to be said again.
func (f *Floor) CommitLate(d Decision) {
	if d.floor != f {
		panic("floor: the decision is another floor's")
	}
	f.version++
	f.s = d.after
}

// A draft is a floor as it would be, and how it came to that.
type draft struct {
	Floor
	of      *Floor
	now     time.Time
	done    []Transition
	request uint64
}

func (f *Floor) draft(now time.Time) *draft {
	return &draft{Floor: Floor{settings: f.settings, s: f.s.clone()}, of: f, now: now}
}

func (b *draft) decision() Decision {
	return Decision{Transitions: b.done, Request: b.request, floor: b.of, version: b.of.version, after: b.s}
}

// do makes a transition.
func (b *draft) do(t Transition) {
	if err := b.s.apply(&t); err != nil {
		panic(err) // it is made of the state
	}
	t.Holder, t.Number = b.s.holding()
	t.Queue = b.s.queued()
	b.done = append(b.done, t)
}

// settle does what is due: first what has ended, then what no chair decides, then the floor is granted.
func (b *draft) settle() {
	b.claim()
	b.endHold()
	for _, r := range slices.Concat(b.s.queue, b.s.pending) {
		if b.end(&r).over(b.now) {
			to := Cancelled
			if r.gone == barred {
				to = Denied
			}
			b.move(&r, to, b.goneFor(&r), "", "")
		}
	}
	_, chaired := b.chaired(b.now)
	pending := slices.Clone(b.s.pending)
	slices.SortStableFunc(pending, func(x, y request) int { return cmp.Compare(y.priority, x.priority) })
	for _, r := range pending {
		if !r.ours() {
			continue // whose server may see the chair
		}
		why := NotChaired
		if chaired {
			if !b.settings.undecided(r.since).over(b.now) {
				continue
			}
			why = Undecided
		}
		if b.settings.Chaired && b.settings.NoChair == DenyAll {
			b.move(&r, Denied, why, "", "")
		} else {
			b.admit(&r, why, "", "")
		}
	}
	if b.s.holder == nil {
		if r, theirs := b.next(b.now); r != nil && !theirs {
			b.grant(*r, Turn, "", "")
		}
	}
	b.askAndAnswer()
}

// endHold ends the grant if its time has come: of several reasons the earliest counts.
func (b *draft) endHold() {
	r := b.s.holder
	if r == nil {
		return
	}
	first, why := b.end(r), b.goneFor(r)
	for _, limit := range []struct {
		deadline
		why Why
	}{{b.lease(), Lapsed}, {b.settings.longest(b.s.granted), Longest}} {
		if limit.before(first) {
			first, why = limit.deadline, limit.why
		}
	}
	if !first.over(b.now) {
		return
	}
	to := Revoked
	if why == Left {
		to = Released
	}
	b.endGrant(to, why, "", "")
}

// goneFor returns why a request whose session is not there ends.
func (b *draft) goneFor(r *request) Why {
	switch r.gone {
	case left:
		return Left
	case barred:
		return Barred
	default:
		return Lost
	}
}

// move makes the transition of a request that waits, to a state that is not in the queue.
func (b *draft) move(r *request, to State, why Why, by, text string) {
	b.do(Transition{Request: r.id, To: to, Why: why, Who: r.who, By: by, Priority: r.priority, Text: text})
}

// endGrant ends the holder's grant.
func (b *draft) endGrant(to State, why Why, by, text string) {
	r := b.s.holder
	b.do(Transition{Request: r.id, To: to, Why: why, Who: r.who, By: by, Priority: r.priority, Text: text, Grant: b.s.held})
}

// admit gives a request what it gets when nobody stands in its way: the floor, if it is free and nobody
// else is next, or a place in the queue.
func (b *draft) admit(r *request, why Why, by, text string) {
	if next, _ := b.next(b.now); b.s.holder == nil && next == nil && r.gone == here {
		b.grant(*r, why, by, text)
		return
	}
	b.enqueue(r, b.s.place(r.priority), why, by, text)
}

// enqueue gives a request a place in the queue, or another one.
func (b *draft) enqueue(r *request, place int, why Why, by, text string) {
	b.do(b.first(r, Transition{Request: r.id, To: Accepted, Why: why, Who: r.who, By: by, Priority: r.priority, Text: text, Place: place}))
	b.bind(r)
}

// grant gives a request the floor, which nobody holds.
func (b *draft) grant(r request, why Why, by, text string) {
	b.do(b.first(&r, Transition{
		Request: r.id, To: Granted, Why: why, Who: r.who, By: by, Priority: r.priority, Text: text,
		Grant: b.s.grant + 1, Time: wall(b.now),
	}))
	b.bind(&r)
	b.s.granted, b.s.renewed, b.s.asked = b.now, b.now, nil
}

// first adds to the first transition of a request what only that has.
func (b *draft) first(r *request, t Transition) Transition {
	if r.id > b.s.last {
		t.Producer = r.producer
	}
	return t
}

// bind gives a request that has just moved its session, which is in no transition.
func (b *draft) bind(from *request) {
	b.s.all(func(r *request, _ State) bool {
		if r.id != from.id {
			return true
		}
		r.session, r.since, r.gone, r.goneAt, r.away = from.session, from.since, from.gone, from.goneAt, from.away
		return false
	})
}
