package floor

import "time"

// A Floor is the machine. It is not safe for use by several goroutines.
type Floor struct {
	settings Settings
	s        *state
	version  uint64 // rises with each change, so that a Decision that is too late is found
}

// New returns a floor that nobody holds and nobody has ever held. The epoch is that of the log, at
// least 1.
func New(settings Settings, epoch uint64, now time.Time) *Floor {
	return &Floor{settings: settings, s: &state{epoch: epoch, chairGone: now}}
}

// Restart returns the floor whose state was encoded, after a restart of the server: sessions
// have yet to come back, each request and the grant within its grace from now, and so has the chair. If the log has
// begun another epoch since, records may have been lost, of later grants too: then the grant ends, and the numbers go
// on beyond those that may have been given.
func Restart(encoded []byte, settings Settings, epoch uint64, now time.Time) (*Floor, error) {
	s, err := decodeState(encoded)
	if err != nil {
		return nil, err
	}
	s.begin(now)
	s.enter(epoch)
	return &Floor{settings: settings, s: s}, nil
}

// enter follows the beginning of an epoch.
func (s *state) enter(epoch uint64) {
	if epoch <= s.epoch {
		return
	}
	s.epoch = epoch
	s.grant += lostGrants
	if s.holder != nil {
		s.holder.gone = dead
	}
}

// Open says whether an encoded state has a request, so that something is to be done with time. One that cannot be decoded has none.
func Open(encoded []byte) bool {
	s, err := decodeState(encoded)
	return err == nil && (s.holder != nil || s.waiting() > 0)
}

// Clear returns an encoded state without its requests. The numbers of grants and requests go on from where they are.
func Clear(encoded []byte) ([]byte, error) {
	s, err := decodeState(encoded)
	if err != nil {
		return nil, err
	}
	cleared := state{epoch: s.epoch, last: s.last, grant: s.grant}
	return cleared.encode(nil), nil
}

// begin makes what is of this run of the server as it is at its beginning.
func (s *state) begin(now time.Time) {
	s.chair, s.chairGone, s.asked = false, now, nil
	s.granted, s.renewed = time.Time{}, time.Time{}
	if s.holder != nil {
		// Another clock has seen the beginning, and may be wrong.
		s.granted, s.renewed = now, now
		if held := wall(now) - s.grantedAt; held > 0 {
			s.granted = now.Add(-time.Duration(held))
		}
	}
	s.all(func(r *request, _ State) bool {
		r.session, r.since, r.gone, r.goneAt, r.away = Session{}, now, lost, now, away{askedFor: now}
		return true
	})
}

// Encode returns the durable state.
func (f *Floor) Encode() []byte { return f.s.encode(nil) }

// Idle says whether there is no request: nothing happens before there is one.
func (f *Floor) Idle() bool { return f.s.holder == nil && f.s.waiting() == 0 }

// Configure changes the settings, from now on, also for those who hold the floor or wait.
func (f *Floor) Configure(settings Settings, now time.Time) {
	f.version++
	if settings.Chaired && !f.settings.Chaired && !f.s.chair {
		f.s.chairGone = now
	}
	f.settings = settings
}

// Chair says whether an appointed chair is there.
func (f *Floor) Chair(there bool, now time.Time) {
	f.version++
	if f.s.chair && !there {
		f.s.chairGone = now
	}
	f.s.chair = there
}

// Present says that a session is there: it has come, or come back. It takes over the requests of its identity and producer
// whose session this server does not have, with the next decision.
func (f *Floor) Present(p Party) {
	f.version++
	f.s.present(&p)
}

func (s *state) present(p *Party) {
	if p.Session == (Session{}) {
		return
	}
	s.all(func(r *request, _ State) bool {
		switch {
		case r.gone > lost:
		case r.session == p.Session:
			r.gone = here
		case r.isOf(p) && r.away.wants == Session{}:
			r.away.wants = p.Session
		}
		return true
	})
}

// Lost says that a session has lost its connection, and may come back.
func (f *Floor) Lost(session Session, now time.Time) { f.away(session, lost, now) }

// Ended says that a session has ended, or is not in the room any more: in order, or not. Its requests
// end with it, with the next decision.
func (f *Floor) Ended(session Session, inOrder bool, now time.Time) {
	how := dead
	if inOrder {
		how = left
	}
	f.away(session, how, now)
}

func (f *Floor) away(session Session, how gone, now time.Time) {
	if session == (Session{}) {
		return
	}
	f.goes(func(r *request) bool {
		if r.away.wants == session { // it has not had it yet
			r.away.wants = Session{}
		}
		return r.session == session
	}, how, now)
}

// Bar ends what those identities have who may not have the floor any more, of whatever session, with the next decision.
func (f *Floor) Bar(who func(identity string) bool, now time.Time) {
	f.goes(func(r *request) bool { return who(r.who) }, barred, now)
}

// goes notes of some requests that who they are of has gone.
func (f *Floor) goes(whose func(r *request) bool, how gone, now time.Time) {
	f.version++
	f.s.all(func(r *request, _ State) bool {
		if r.gone < how && whose(r) {
			r.gone, r.goneAt = how, now
		}
		return true
	})
}

// chaired says whether requests wait for a chair, and if so, until when for one to come back.
func (f *Floor) chaired(now time.Time) (until deadline, ok bool) {
	switch {
	case !f.settings.Chaired:
		return deadline{}, false
	case f.s.chair:
		return deadline{}, true
	}
	until = f.settings.chairAway(f.s.chairGone)
	return until, !until.over(now)
}

// Chaired says whether requests wait for a chair.
func (f *Floor) Chaired(now time.Time) bool {
	_, ok := f.chaired(now)
	return ok
}

// NextDeadline returns when [Floor.Due] has something to decide, if nothing else happens; ok is
// false, if never. It may be in the past: then it has something now.
func (f *Floor) NextDeadline(now time.Time) (at time.Time, ok bool) {
	var next deadline
	s := f.s
	s.all(func(r *request, is State) bool {
		next = earliest(next, earliest(f.end(r), f.ask(r)))
		switch {
		case r.away.wants != Session{}, r.missed && r.ours():
			next = earliest(next, deadline{now})
		case is == Pending && r.ours():
			next = earliest(next, f.decideBy(r, now))
		}
		return true
	})
	if s.holder != nil {
		return earliest(next, earliest(f.lease(), f.settings.longest(s.granted))).due()
	}
	switch r, theirs := f.next(now); {
	case theirs && r.missed:
		next = earliest(next, after(r.away.askedFor, answer))
	case r != nil:
		next = earliest(next, deadline{now})
	}
	return next.due()
}

func (d deadline) due() (at time.Time, ok bool) { return d.Time, !d.IsZero() }

// end returns when a request ends because its session is not there.
func (f *Floor) end(r *request) deadline {
	switch {
	case r.gone > lost:
		return deadline{r.goneAt}
	case r.gone == lost && r.ours():
		return f.settings.grace(r.goneAt)
	case r.gone == lost && r.missed:
		return f.unheard(r)
	default:
		return deadline{}
	}
}

// decideBy returns until when a pending request waits for a chair.
func (f *Floor) decideBy(r *request, now time.Time) deadline {
	until, ok := f.chaired(now)
	if !ok {
		return deadline{now}
	}
	return earliest(until, f.settings.undecided(r.since))
}

// next returns the accepted request that is granted when the floor is free: the first whose session is there. One before it
// whose session another server may have is theirs to grant.
func (f *Floor) next(now time.Time) (r *request, theirs bool) {
	for i := range f.s.queue {
		switch r := &f.s.queue[i]; {
		case r.gone == here:
			return r, false
		case !r.ours() && f.waitsFor(r, now):
			return r, true
		}
	}
	return nil, false
}
