package chat

import (
	"cmp"
	"context"
	"slices"
)

// maxAsked is how many JOINs and LEAVEs may wait for their answers. Messages have slots.
const maxAsked = 1024

// The books are a client's requests that have no answer yet, in their order: what it asks again on its
// next stream. They are guarded by Client.mu.
type books struct {
	nth     uint64             // of the requests made so far
	unacked map[string]unacked // messages, by id
	asked   []pending          // JOINs and LEAVEs, in order
}

// An unacked message waits for its acknowledgement.
type unacked struct {
	draft

	nth  uint64
	room string
}

// A draft is what is to become a record.
type draft struct {
	id   string
	kind Kind
	ref  uint64
	text string
	head *Position // that is expected; nil: any
	// The grant under which it is published; 0: none.
	grant uint64
}

// A pending request has no answer yet.
type pending struct {
	draft // RequestPublish

	nth     uint64
	request Request
	room    string
	from    From // RequestJoin
}

func (m *unacked) pending() pending {
	return pending{nth: m.nth, request: RequestPublish, room: m.room, draft: m.draft}
}

// lockForRequest waits until another request may be made, and returns with c.mu held if err is nil. While
// there is no stream, requests only are in the books, whose bounds are the slots and maxAsked.
func (c *Client) lockForRequest(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	var w *takingsWatch
	defer func() { w.stop() }()
	for {
		unanswered := len(c.asked) >= maxAsked
		full := unanswered
		switch o := c.out; {
		case c.closed:
			c.mu.Unlock()
			return ErrClosed
		case o.takesLocked():
			full = full || o.fullLocked()
		case c.session.Context().Err() != nil:
			c.mu.Unlock()
			return context.Cause(c.session.Context())
		case o != nil && o.failed != nil:
			if err := o.failed; !endedWithConnection(o.str, err) {
				c.mu.Unlock()
				return err
			}
		}
		if !full {
			return nil
		}
		if c.place == nil {
			c.place = make(chan struct{})
		}
		place := c.place
		c.mu.Unlock()
		w = c.watchTakings(w)
		var err error
		select {
		case <-place:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-c.session.Context().Done():
			err = context.Cause(c.session.Context())
		case <-w.tick():
			if unanswered {
				err = w.look()
			}
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
	}
}

// slot waits until another message may wait for its acknowledgement.
func (c *Client) slot(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	w := c.watchTakings(nil)
	defer w.stop()
	for {
		select {
		case c.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.shut:
			return ErrClosed
		case <-c.session.Context().Done():
			return context.Cause(c.session.Context())
		case <-w.tick():
			if err := w.look(); err != nil {
				return err
			}
		}
	}
}

// shutLocked says that nothing more is asked.
func (c *Client) shutLocked() {
	if !c.closed {
		c.closed = true
		close(c.shut)
	}
	c.placeLocked()
}

// placeLocked has whoever waits for place look again.
func (c *Client) placeLocked() {
	if c.place != nil {
		close(c.place)
		c.place = nil
	}
}

// askLocked makes a request that is no message.
func (c *Client) askLocked(p pending) {
	c.nth++
	p.nth = c.nth
	c.asked = append(c.asked, p)
	c.out.askLocked(&p)
}

// askAnswered takes the oldest such request of room off the books, and returns from where it was to begin; ok says whether there was one.
func (c *Client) askAnswered(request Request, room string) (from From, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.asked, func(p pending) bool { return p.request == request && p.room == room })
	if i < 0 {
		return From{}, false
	}
	from = c.asked[i].from
	c.asked = slices.Delete(c.asked, i, i+1)
	c.placeLocked()
	return from, true
}

// answered takes a message off the books, and returns it. If it was not on them, ok is false.
func (c *Client) answered(room string, id []byte) (m unacked, ok bool) {
	c.mu.Lock()
	m, ok = c.unacked[string(id)]
	if ok = ok && m.room == room; ok {
		delete(c.unacked, m.id)
	}
	c.mu.Unlock()
	if ok {
		<-c.slots
	}
	return m, ok
}

// pendingLocked returns all that is on the books, in order.
func (c *Client) pendingLocked() []pending {
	all := slices.Grow(slices.Clone(c.asked), len(c.unacked))
	for _, m := range c.unacked {
		all = append(all, m.pending())
	}
	slices.SortFunc(all, func(a, b pending) int { return cmp.Compare(a.nth, b.nth) })
	return all
}

// settled says whether nothing is on the books.
func (c *Client) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unacked)+len(c.asked) == 0
}
