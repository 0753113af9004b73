package floor

import "time"

// Several servers may share a log, and each knows only its own sessions. Those of others it finds in the state, as after a restart, and it
// cannot tell a server that has ended from one that is well. So before it ends what it has no session for it asks, by a
// record, and a server that has the session answers, by another. One that is alone asks only after a restart, for who has not come back.
//
//	a request whose session this server does not have     is asked for
//	found when the server began, or the room               answer before its grace is over
//	another server has it, as far as was heard             again after that
//	it is the next, and the floor is free                  at once
//
// It ends when nobody has answered for answer, and the grace is over: that of a request which was heard of begins with the question.
const (
	answer = 5 * time.Second
	again  = 5 * time.Minute
)

// Reload takes over the state that another server has made of the floor; what this one knows of its sessions, and of the chair, stays.
// heard says that what is new in it another server has made, which has it.
func (f *Floor) Reload(encoded []byte, epoch uint64, heard bool, now time.Time) error {
	s, err := decodeState(encoded)
	if err != nil {
		return err
	}
	s.begin(now)
	old := f.s
	s.chair, s.chairGone = old.chair, old.chairGone
	if s.held == old.held {
		s.granted, s.renewed, s.asked = old.granted, old.renewed, old.asked
	}
	s.all(func(r *request, is State) bool {
		was, state, _ := old.find(r.id)
		if was == nil {
			r.away.heard = heard
			return true
		}
		r.since = was.since
		switch {
		case was.claims != r.claims, is == Granted && state != Granted && !was.ours():
			// Another server has its session: this one's is not it, or not any more.
			r.away.heard, r.away.passed = true, s.holder == nil
		case r.missed && !was.missed:
			r.session, r.gone, r.goneAt, r.away = was.session, was.gone, was.goneAt, was.away
			r.away.askedFor = now
		default:
			r.session, r.gone, r.goneAt, r.away = was.session, was.gone, was.goneAt, was.away
		}
		return true
	})
	s.enter(epoch)
	f.version++
	f.s = s
	return nil
}

// Busy says whether the floor needs looking after by this server: it has a session of a request, or has yet to hear who has.
func (f *Floor) Busy() bool {
	busy := false
	f.s.all(func(r *request, _ State) bool {
		busy = r.ours() || !r.away.heard || r.missed || r.gone > lost
		return !busy
	})
	return busy
}

// ask returns when it is asked who has the session of a request.
func (f *Floor) ask(r *request) deadline {
	switch {
	case r.ours() || r.missed || r.gone != lost:
		return deadline{}
	case r.away.heard:
		return after(r.goneAt, again)
	}
	return after(r.goneAt, f.settings.grace(r.goneAt).Sub(r.goneAt)-answer)
}

// unheard returns when a request ends for which nobody answers.
func (f *Floor) unheard(r *request) deadline {
	end, since := after(r.away.askedFor, answer), r.goneAt
	if r.away.heard {
		since = r.away.askedFor
	}
	if grace := f.settings.grace(since); end.before(grace) {
		return grace
	}
	return end
}

// waitsFor says whether a request that is the next, of which this server does not have the session, may be granted by the one that has.
func (f *Floor) waitsFor(r *request, now time.Time) bool {
	switch {
	case r.gone != lost || r.away.passed:
		return false
	case r.missed:
		return !after(r.away.askedFor, answer).over(now)
	}
	return true
}

// lease returns when the holder's lease is over, if this server knows: the holder renews it with the server that has its session.
func (f *Floor) lease() deadline {
	if f.s.holder == nil || !f.s.holder.ours() {
		return deadline{}
	}
	return f.settings.lease(f.s.renewed)
}

// isLost says whether a request's session is not there, as far as this server knows, and may come back.
func (r *request) isLost() bool {
	return r.gone == lost && (r.ours() || r.missed || !r.away.heard)
}

// claim has the sessions that are there take over what is theirs, and this server has not had. That is a record, because another server may
// think that it has it: of two, one is first, and the other finds that out before it appends under the grant (C5).
func (b *draft) claim() {
	for _, r := range b.ofState(func(r *request) bool { return r.away.wants != Session{} && r.gone == lost }) {
		b.tell(&r, Here, Asked)
		r.session, r.gone, r.away = r.away.wants, here, away{}
		b.bind(&r)
		if b.s.holder != nil && b.s.holder.id == r.id {
			b.s.renewed = b.now
		}
	}
}

// askAndAnswer asks who has the sessions that this server does not have, if it is time, and says which of those that are asked for it has.
func (b *draft) askAndAnswer() {
	next, theirs := b.next(b.now)
	for _, r := range b.ofState(func(r *request) bool {
		return r.ours() && r.missed || b.ask(r).over(b.now) || b.s.holder == nil && theirs && next.id == r.id && !r.missed
	}) {
		if r.ours() {
			b.tell(&r, Here, Asked)
			continue
		}
		b.tell(&r, Missed, Lost)
		r.away.askedFor, r.away.passed = b.now, false
		b.bind(&r)
	}
}

// ofState returns those requests for which ok says so.
func (b *draft) ofState(ok func(r *request) bool) (found []request) {
	b.s.all(func(r *request, _ State) bool {
		if ok(r) {
			found = append(found, *r)
		}
		return true
	})
	return found
}

// tell makes a transition that is for servers.
func (b *draft) tell(r *request, to State, why Why) {
	t := Transition{Request: r.id, To: to, Why: why, Who: r.who, Priority: r.priority}
	if b.s.holder != nil && b.s.holder.id == r.id {
		t.Grant = b.s.held
	}
	b.do(t)
}

// applyTo makes a transition that is for servers, of a request that there is.
func (s *state) applyTo(t *Transition) error {
	var err error
	s.all(func(r *request, _ State) bool {
		switch {
		case r.id != t.Request:
			return true
		case t.To == Here:
			r.missed = false
			r.claims++
		case r.missed:
			err = errorf(Malformed, "request %d is missed already", t.Request)
		default:
			r.missed = true
		}
		return false
	})
	return err
}
