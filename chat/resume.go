package chat

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// How a client goes on after the connection that carried its stream has ended. All of it happens in Next.
//
//	what Next meets                                   what it does                  it returns
//	the connection has ended, the session has not     leaves the stream             Detached
//	(a session that has ended, too)                                                 the error
//	the session is live again                         opens a stream, JOINs every   Resumed
//	                                                  room from where it was
//	JOINED                                            goes on from there            Members
//	REJECTED: insufficient state                      JOINs where the log begins
//	JOINED after that                                 goes on from there            Gap, Members
//	REJECTED: Unavailable                             JOINs again in a second
//	REJECTED otherwise                                forgets the room              Rejected
//	the last of these answers                         makes all requests on the
//	                                                  books again, in their order
//
// The requests wait for the rooms: a message for a room that is not joined would be rejected. That it may have
// been appended before does not matter, for the same id is not appended again (C3). A JOIN that had no
// answer is asked as it was; a LEAVE, and the end of the half after Close, follow what was asked before them.

// rejoinAfter is when a JOIN of a resumed client is tried again that was answered Unavailable.
const rejoinAfter = time.Second

// A rejoin is how far a room is on a resumed stream.
type rejoin uint8

const (
	rejoinNone   rejoin = iota // it is joined
	rejoinCursor               // a JOIN from where the client was has no answer yet
	rejoinFirst                // the same, from where the log begins
)

// begin makes str the client's stream. On one that is ready, requests are made at once.
func (c *Client) begin(str *transport.Stream, ready bool) {
	str.SetUrgency(transport.UrgencyChat, false)
	o := &outbox{c: c, str: str, gone: make(chan struct{}), ready: ready}
	c.mu.Lock()
	c.out = o
	for _, own := range c.marks { // what was on its way may not have arrived
		own.said = false
	}
	c.mu.Unlock()
	o.wg.Go(o.endWhenDraining)
}

// leave has done with the stream, which ended with err.
func (c *Client) leave(err error) {
	o := c.out
	c.stopWatching()
	c.mu.Lock()
	c.out = nil
	o.stopLocked()
	c.placeLocked()
	c.mu.Unlock()
	if !errors.Is(err, io.EOF) {
		o.str.Cancel(transport.StreamCanceled)
	} else {
		// The server ended first: it answers no more.
		o.str.CancelWrite(transport.StreamNoError)
	}
	o.wg.Wait()
	c.attempt = o.str.Attempt()
	o.str.Free()
}

// mayGoOn says whether a stream that ended with err may be followed by another.
func (c *Client) mayGoOn(err error) bool {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if errors.Is(err, io.EOF) && closed && c.settled() {
		return false // it is what Close has asked for
	}
	return endedWithConnection(c.out.str, err)
}

// endedWithConnection says whether str ended with err because its connection did, or is about to.
func endedWithConnection(str *transport.Stream, err error) bool {
	if _, ok := transport.CodeOf(err); ok {
		return true
	}
	select {
	case <-str.Draining():
	default:
		return false
	}
	e, reset := errors.AsType[*transport.StreamError](err)
	return errors.Is(err, io.EOF) || reset && e.Remote // turned away, or cut off
}

// isLast says whether nothing more may be asked on a session whose connection drains, because it is
// released, or does not connect again.
func isLast(session *transport.Session) bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // there is nothing to wait for
	str, err := session.OpenStream(ctx, transport.StreamChat)
	if err == nil { // the next connection is there already
		str.Cancel(transport.StreamCanceled)
	}
	_, over := transport.CodeOf(err)
	return over || errors.Is(err, transport.ErrGoingAway)
}

// detach waits until it is known whether the session goes on, after the stream has ended with c.broken.
func (c *Client) detach(ctx context.Context) (Event, error) {
	for {
		now, changed := c.session.Status()
		switch {
		case now.State == transport.StateEnded && errors.Is(c.broken, io.EOF) && c.settled():
			return nil, io.EOF
		case now.State == transport.StateEnded:
			return nil, now.Err
		case now.State == transport.StateDetached || now.Attempt > c.attempt:
			why, ok := errors.AsType[*transport.Error](c.broken)
			if !ok { // it ended in a drain, before its connection
				why = &transport.Error{Code: transport.Drained, Remote: true}
			}
			c.broken = nil
			return &Detached{Err: why}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// resume opens the next stream once the session is live, and asks for the rooms.
func (c *Client) resume(ctx context.Context) (Event, error) {
	for {
		str, err := c.session.OpenStream(ctx, transport.StreamChat)
		if err != nil {
			return nil, err
		}
		now, _ := c.session.Status()
		if now.Attempt != str.Attempt() { // a newer connection is there already
			str.Cancel(transport.StreamCanceled)
			continue
		}
		c.begin(str, false)
		c.rejoins = len(c.rooms)
		c.mu.Lock()
		for _, name := range slices.Sorted(maps.Keys(c.rooms)) {
			r := c.rooms[name]
			r.list = memberList{} // its end will not come
			if r.rejoin == rejoinNone {
				r.rejoin = rejoinCursor
			}
			r.waits = false
			c.out.queueLocked(frameJoin, c.joinAgain(r))
		}
		c.mu.Unlock()
		c.askAgain()
		return &Resumed{Kept: now.Kept}, nil
	}
}

// joinAgain returns the JOIN for a room on the new stream.
func (c *Client) joinAgain(r *clientRoom) *chatpb.Join {
	from := After(r.position())
	if r.rejoin == rejoinFirst {
		from = Last(math.MaxUint64)
	}
	m := &chatpb.Join{Room: []byte(r.name), Producer: c.cfg.Producer[:]}
	from.toWire(m)
	return m
}

// position is that of the last record, or what stands for it if none has come yet.
func (r *clientRoom) position() Position {
	if r.last == (Position{}) {
		return Position{Epoch: r.epoch, Seq: r.next - 1}
	}
	return r.last
}

// rejoined follows JOINED for a room that the client was in.
func (c *Client) rejoined(r *clientRoom, m *chatpb.Joined) (Event, error) {
	if r.rejoin == rejoinCursor && m.GetNext() != r.next {
		return nil, malformed("JOINED begins at %d, where %d was to come", m.GetNext(), r.next)
	}
	if c.waits(r) {
		return nil, malformed("JOINED without JOIN")
	}
	gap := r.gap
	if gap != nil { // the log may have been trimmed further since the JOIN was rejected: what it has now is told
		gap.Epoch, gap.Head, gap.First = m.GetEpoch(), m.GetHead(), m.GetNext()
		r.next, r.last, r.epoch, r.gap = m.GetNext(), Position{}, m.GetEpoch(), nil
	}
	r.rejoin = rejoinNone
	c.rejoins--
	c.askAgain()
	var members Event
	if m.GetMore() == 0 { // else MEMBERS follows, with all of them
		members = &Members{Room: r.name, Names: m.GetMembers()}
	}
	if gap != nil {
		c.behind = members
		return gap, nil
	}
	return members, nil
}

// notRejoined follows REJECTED for a room that the client was in.
func (c *Client) notRejoined(r *clientRoom, m *chatpb.Rejected) (Event, error) {
	if c.waits(r) { // a JOIN for each of them would fill memory
		return nil, malformed("REJECTED without JOIN")
	}
	switch code := rpc.Code(m.GetCode()); {
	case code == rpc.Unavailable:
		o, join := c.out, c.joinAgain(r)
		c.mu.Lock()
		defer c.mu.Unlock()
		r.waits = true
		time.AfterFunc(rejoinAfter, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !o.ending && !o.stopped {
				r.waits = false
				o.queueLocked(frameJoin, join)
			}
		})
		return nil, nil
	case r.rejoin == rejoinCursor && (code == rpc.OutOfRange || code == rpc.DataLoss):
		r.rejoin = rejoinFirst
		r.gap = &Gap{Room: r.name, After: r.position(), Code: code, Reason: m.GetReason()}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.out.ending {
			c.out.queueLocked(frameJoin, c.joinAgain(r))
		}
		return nil, nil
	}
	delete(c.rooms, r.name)
	c.forgetMarks(r.name)
	c.rejoins--
	c.askAgain()
	return rejectedEvent(RequestJoin, m), nil
}

// waits says whether the JOIN for a room is to be tried again, and was not yet.
func (c *Client) waits(r *clientRoom) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.waits
}

// askAgain makes the requests on the books again, once all rooms have been answered for.
func (c *Client) askAgain() {
	if c.rejoins > 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.out
	if o.ending { // a drain has begun
		return
	}
	o.ready = true
	o.backlog = c.pendingLocked()
	if c.unsaidLocked() {
		o.armLocked()
	}
	if c.closed {
		o.endLocked()
		return
	}
	if len(o.backlog) > 0 {
		o.startLocked()
	}
}
