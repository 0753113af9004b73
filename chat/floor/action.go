package floor

import "slices"

// An Action is what somebody wants to do: a [Request], [Release], [Pass], [Ask] or [Renew], or as a chair
// [Accept], [Grant], [Deny] or [Revoke]. Whether they may is asked before.
type Action interface{ act(b *draft) error }

// Request asks for the floor. Where nobody decides, it is granted at once or gets a place in the
// queue. A party has one request: another is refused with Exists.
type Request struct {
	For      Party  // who is to get it, and is there
	By       string // who asks, if it is somebody else
	Priority Priority
	Text     string // why; at most MaxText bytes
}

func (a Request) act(b *draft) error {
	p := &a.For
	b.s.present(p)
	var of int
	var open *request
	b.s.all(func(r *request, _ State) bool {
		if r.who == p.Who {
			of++
		}
		if r.session == p.Session || r.away.wants == p.Session {
			open = r
		}
		return open == nil
	})
	switch {
	case p.Session == Session{}:
		return errorf(Invalid, "a request is a session's")
	case open != nil:
		e := errorf(Exists, "there is a request already, number %d", open.id)
		e.Request = open.id
		return e
	case b.s.waiting() >= MaxWaiting:
		return errorf(Full, "%d are waiting for the floor, and that is the limit", b.s.waiting())
	case of >= MaxOfOne:
		return errorf(Full, "%s has %d requests, and that is the limit", p.Who, of)
	}
	by := a.By
	if by == p.Who {
		by = ""
	}
	r := &request{
		id: b.s.last + 1, who: p.Who, by: by, producer: p.Producer, priority: a.Priority, text: a.Text,
		session: p.Session, since: b.now,
	}
	if err := r.check(); err != nil {
		return err
	}
	if _, chaired := b.chaired(b.now); chaired {
		b.do(b.first(r, Transition{Request: r.id, To: Pending, Why: Asked, Who: r.who, By: by, Priority: r.priority, Text: r.text}))
		b.bind(r)
	} else if b.settings.Chaired && b.settings.NoChair == DenyAll {
		return errorf(Precondition, "the chair is away")
	} else {
		b.admit(r, Asked, by, a.Text)
	}
	b.request = r.id
	return nil
}

// Release gives the floor back, or gives a request up (RFC 8855, section 5.3.2, FloorRelease, is both). It is
// for whoever has the request or has made it, from any of their sessions.
type Release struct {
	By      string
	Session Session // whose request, if no number is given; if it has none, the first of By's own
	Only    bool    // of the session, and not another's
	Request uint64  // its number, or 0
	Grant   uint64  // 0, or the number of the grant that is given back, if it still holds
	Text    string
}

func (a Release) act(b *draft) error {
	if err := checkText(a.Text); err != nil {
		return err
	}
	var found *request
	var is State
	b.s.all(func(r *request, s State) bool {
		own := r.session == a.Session && a.Session != Session{}
		switch {
		case a.Request != 0 && r.id != a.Request, a.Grant != 0 && s != Granted, a.Only && !own:
			return true
		case r.who != a.By && (r.by != a.By || a.Request == 0): // what one has asked for others is given back by its number alone
			return true
		}
		if found == nil || own {
			found, is = r, s
		}
		return !own
	})
	switch {
	case found == nil && a.Grant != 0:
		return errNotHolding(b.s)
	case found == nil && a.Request == 0:
		return errorf(NotFound, "%s neither has the floor nor waits for it", a.By)
	case found == nil:
		return errorf(NotFound, "there is no such request")
	case a.Grant != 0 && a.Grant != b.s.held:
		return errNotHolding(b.s)
	}
	b.request = found.id
	by := a.By
	if by == found.who {
		by = ""
	}
	if is == Granted {
		b.endGrant(Released, Asked, by, a.Text)
	} else {
		r := *found
		b.move(&r, Cancelled, Asked, by, a.Text)
	}
	return nil
}

// errNotHolding says who holds the floor, to who does not.
func errNotHolding(s *state) *Error {
	if s.holder == nil {
		return errorf(Precondition, "nobody holds the floor")
	}
	return errorf(Precondition, "%s holds the floor, with grant %d", s.holder.who, s.held)
}

// Pass gives the floor to somebody who is there, whether they have asked for it or not: X.225's token give.
type Pass struct {
	By    string // the holder
	Grant uint64 // theirs, or 0
	To    Party
	Text  string
}

func (a Pass) act(b *draft) error {
	if err := checkText(a.Text); err != nil {
		return err
	}
	h := b.s.holder
	switch {
	case h == nil || h.who != a.By || a.Grant != 0 && a.Grant != b.s.held:
		return errNotHolding(b.s)
	case a.To.Session == Session{}:
		return errorf(Invalid, "the floor is passed to a session")
	case h.session == a.To.Session:
		return errorf(Precondition, "%s has the floor already", a.To.Who)
	}
	b.s.present(&a.To)
	b.claim()
	to := request{
		id: b.s.last + 1, who: a.To.Who, producer: a.To.Producer, priority: Normal,
		session: a.To.Session, since: b.now,
	}
	b.s.all(func(r *request, is State) bool {
		if is != Granted && r.session == a.To.Session {
			to = *r
			return false
		}
		return true
	})
	if err := to.check(); err != nil {
		return err
	}
	b.endGrant(Released, Passed, "", a.Text)
	b.grant(to, Passed, a.By, a.Text)
	b.request = to.id
	return nil
}

// Ask asks the holder for the floor: X.225's token please. It is one for each who asks, and each grant.
type Ask struct {
	By   string
	Text string
}

func (a Ask) act(b *draft) error {
	r := request{who: a.By, text: a.Text}
	if err := r.check(); err != nil {
		return err
	}
	switch {
	case b.s.holder == nil:
		return errNotHolding(b.s)
	case b.s.holder.who == a.By:
		return errorf(Precondition, "%s has the floor already", a.By)
	case slices.Contains(b.s.asked, a.By):
		return errorf(Precondition, "%s has been asked already", b.s.holder.who)
	case len(b.s.asked) >= MaxWaiting:
		return errorf(Full, "%s has been asked by %d, and that is the limit", b.s.holder.who, len(b.s.asked))
	}
	b.s.asked = append(b.s.asked, a.By)
	b.do(Transition{To: Please, Why: Asked, Who: a.By, Priority: Normal, Text: a.Text, Grant: b.s.held})
	return nil
}

// Renew renews the lease of a grant, from now on. It makes no transition. A holder counts from when it
// has sent its renewal, and so gives up before the server takes back.
type Renew struct {
	By    Party
	Grant uint64
}

func (a Renew) act(b *draft) error {
	b.s.present(&a.By)
	b.claim()
	if !b.s.mayPublish(a.By.Session, a.Grant) {
		return errNotHolding(b.s)
	}
	b.request = b.s.holder.id
	b.s.renewed = b.now
	return nil
}
