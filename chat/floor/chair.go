package floor

import "slices"

// Accept gives a request a place in the queue, or another one.
type Accept struct {
	By      string // the chair
	Request uint64
	Place   int // 1 is next; 0: in order of priority, then time; the last if it is beyond that
	Text    string
}

func (a Accept) act(b *draft) error {
	r, is, at, err := b.waiting(a.Request, a.Text)
	if err != nil {
		return err
	}
	rest := b.s.queue
	if is == Accepted {
		rest = slices.Delete(slices.Clone(rest), at, at+1)
	}
	place := a.Place
	if place <= 0 {
		place = (&state{queue: rest}).place(r.priority)
	}
	place = min(place, len(rest)+1)
	if is == Pending && place == 1 && b.s.holder == nil && r.gone == here {
		b.grant(*r, ByChair, a.By, a.Text) // it would be the next, and is
		return nil
	}
	if is == Pending || place != at+1 {
		b.enqueue(r, place, ByChair, a.By, a.Text)
	}
	return nil
}

// Grant grants a request before all others: now if the floor is free, else next. Who holds it is not
// interrupted; see Revoke.
type Grant struct {
	By      string // the chair
	Request uint64
	Text    string
}

func (a Grant) act(b *draft) error {
	r, is, at, err := b.waiting(a.Request, a.Text)
	if err != nil {
		return err
	}
	if b.s.holder == nil && r.gone == here {
		b.grant(*r, ByChair, a.By, a.Text)
		return nil
	}
	if is == Pending || at > 0 {
		b.enqueue(r, 1, ByChair, a.By, a.Text)
	}
	return nil
}

// Deny denies a request that waits.
type Deny struct {
	By      string // the chair
	Request uint64
	Text    string
}

func (a Deny) act(b *draft) error {
	r, _, _, err := b.waiting(a.Request, a.Text)
	if err != nil {
		return err
	}
	b.move(r, Denied, ByChair, a.By, a.Text)
	return nil
}

// waiting returns a request that has not been granted, for a chair.
func (b *draft) waiting(id uint64, text string) (r *request, is State, at int, err error) {
	if err := checkText(text); err != nil {
		return nil, 0, 0, err
	}
	switch r, is, at = b.s.find(id); {
	case r == nil:
		return nil, 0, 0, errorf(NotFound, "there is no request %d", id)
	case is == Granted:
		return nil, 0, 0, errorf(Precondition, "request %d has been granted", id)
	}
	b.request = id
	return r, is, at, nil
}

// Revoke takes the floor back.
type Revoke struct {
	By    string // the chair
	Grant uint64 // which, or 0
	Text  string
}

func (a Revoke) act(b *draft) error {
	if err := checkText(a.Text); err != nil {
		return err
	}
	if b.s.holder == nil || a.Grant != 0 && a.Grant != b.s.held {
		return errNotHolding(b.s)
	}
	b.request = b.s.holder.id
	b.endGrant(Revoked, ByChair, a.By, a.Text)
	return nil
}
