package chat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/internal/wire"
	"github.com/trunkline-go/trunkline/transport"
)

// A byteStream is what a conn needs of a *transport.Stream.
type byteStream interface {
	io.WriteCloser
	WriteThrough(p []byte) (int, error)
	TryWrite(p []byte) bool
	ReadFrame(limit transport.FrameLimit) (transport.FrameType, []byte, error)
	Cancel(code transport.StreamCode)
}

// A conn is one chat stream. Its handler reads; a writer goroutine runs only while there is something
// to write, so that an idle stream costs no goroutine beside the handler.
type conn struct {
	writer

	session *session
	str     byteStream
	signals streamSignals
	done    chan struct{} // closed when the handler has ended

	pending  atomic.Int64  // wake-ups that the writer has not looked after; above 0 it runs
	stalled  atomic.Bool   // the credit is used up: events do not wake the writer
	received atomic.Uint64 // what the client has confirmed, in bytes
	announce atomic.Uint64 // what has been written and counts
	alive    atomic.Bool   // there was a RECEIVED since signals were written

	mu         sync.Mutex     // guards what follows
	writers    sync.WaitGroup // the writer; only started with mu held and ended false
	ended      bool           // no writer is started any more
	replies    []reply        // that wait to be written
	replyBytes int
	overrun    bool          // too many replies; the session is being aborted
	unanswered int           // bytes of messages that wait for the log
	room       chan struct{} // has a token when unanswered has fallen; nil unless that was waited for
}

// A reply is a frame that is not an event. It is encoded by the writer.
type reply struct {
	kind        transport.FrameType
	room        []byte
	ids         []string      // framePubAck
	id          string        // frameRejected
	pos         Position      // framePubAck: of the first; frameJoined (its epoch)
	duplicate   bool          // framePubAck
	sub         *subscription // frameJoined: from here on, its events are written
	instead     *subscription // frameJoined: and those of this one are not any more; nil if there is none
	unsubscribe bool          // sub's are not any more
	request     chatpb.Rejected_Request
	err         *Error // frameRejected
	epoch       uint64
	head, first uint64
}

func rejected(request chatpb.Rejected_Request, room []byte, err *Error) reply {
	return reply{kind: frameRejected, request: request, room: room, err: err}
}

// rejectedPublish rejects one entry of a PUBLISH.
func rejectedPublish(room []byte, id string, err *Error) reply {
	r := rejected(chatpb.Rejected_REQUEST_PUBLISH, room, err)
	r.id = id
	return r
}

// cost is what a waiting reply counts, in bytes.
func (r *reply) cost() int {
	n := 64 + len(r.room) + len(r.id)
	for _, id := range r.ids {
		n += 16 + len(id)
	}
	if r.err != nil {
		n += len(r.err.Reason)
	}
	return n
}

func newConn(s *session, str byteStream) *conn {
	return &conn{
		session: s,
		str:     str,
		done:    make(chan struct{}),
	}
}

// serve reads the stream to its end and brings its memberships to theirs.
func (c *conn) serve(ctx context.Context) {
	err := c.read(ctx)
	how := endOf(err)
	switch {
	case errors.Is(err, io.EOF):
		how = endLeft
	case isProtocolError(err):
		c.session.srv.counters.malformed.Add(1)
		c.session.log().Warn("chat stream broke the protocol", "reason", err)
		c.session.abort(transport.Protocol, err.Error())
	case c.session.newest() != c:
		how = endReplaced
	}
	c.session.tellRooms(c, how)
	c.mu.Lock()
	c.ended = true
	overrun := c.overrun
	c.mu.Unlock()
	if overrun {
		c.session.abort(transport.ExcessiveLoad, "replies are not read")
	}
	if how != endLeft {
		c.str.Cancel(transport.StreamCanceled) // ends a write, too
	}
	// In order, everything is answered by now, and the writer has been woken for it: it ends when
	// that is written, and of the events as much as the credit allows, for none will come any more.
	c.writers.Wait()
	for _, sub := range c.subs {
		sub.setBehind(false, false)
	}
	if how == endLeft {
		_ = c.str.Close() // fails if the stream is dead, and then there is nothing to end
	}
	c.stopRetry()
}

// read handles frames until the stream ends.
func (c *conn) read(ctx context.Context) error {
	for {
		t, body, err := c.str.ReadFrame(c.session.srv.limit)
		if err != nil {
			return err
		}
		if err := c.handle(ctx, t, body); err != nil {
			return err
		}
	}
}

// handle does one frame. An error ends the stream.
func (c *conn) handle(ctx context.Context, t transport.FrameType, body []byte) error {
	switch t {
	case frameJoin:
		var m chatpb.Join
		if err := unmarshal(t, body, &m); err != nil {
			return err
		}
		return c.join(&m)
	case frameLeave:
		var m chatpb.Leave
		if err := unmarshal(t, body, &m); err != nil {
			return err
		}
		return c.leave(m.GetRoom())
	case framePublish:
		return c.publish(ctx, body)
	case frameReceived:
		n, err := decodeReceived(body)
		if err != nil {
			return malformedFrame(t)
		}
		return c.confirm(n)
	case frameSignal:
		return c.signal(body)
	case frameMark:
		var m chatpb.Mark
		if err := unmarshal(t, body, &m); err != nil {
			return err
		}
		return c.mark(&m)
	}
	return malformed("chat frame %#x is out of place", uint64(t))
}

func (c *conn) join(m *chatpb.Join) error {
	name := string(m.GetRoom())
	err := checkRoom(name)
	asked := joinRequest(m.GetResync())
	var own ownRecords
	if producer := m.GetProducer(); err == nil && len(producer) > 0 {
		if err = checkProducer(producer); err == nil {
			own = ownRecords{producer: Producer(producer), first: 1, known: true}
		}
	}
	if err == nil && !c.session.claims(m.GetRoom()) {
		// The actor asks too, in its own order of things; but there shall be none for a room that is denied.
		err = c.session.srv.authorize(c.session.peer, name, VerbJoin)
		if err == nil && isDirect(name) {
			err = refuseDirect(name, c.session.who, VerbJoin)
		}
	}
	if err == nil {
		err = c.session.claim(name)
	}
	if err == nil {
		var r *room
		if r, err = c.session.srv.room(name, true); err == nil {
			return c.send(r, &request{kind: requestJoin, from: fromWire(m), own: own, resync: m.GetResync()})
		}
		c.session.disclaim(name)
	}
	c.answer(rejected(asked, m.GetRoom(), err))
	c.wake()
	return nil
}

// joinRequest returns what a JOIN is rejected as.
func joinRequest(resync bool) chatpb.Rejected_Request {
	if resync {
		return chatpb.Rejected_REQUEST_RESYNC
	}
	return chatpb.Rejected_REQUEST_JOIN
}

// publish sends the entries of a PUBLISH to the room, in pieces that may wait for the log. An entry that
// cannot be appended is rejected alone.
func (c *conn) publish(ctx context.Context, body []byte) error {
	h, err := decodePublish(body)
	if err != nil {
		return malformedFrame(framePublish)
	}
	refusal := c.checkClaim(h.room)
	if refusal == nil {
		refusal = checkProducer(h.producer)
	}
	if h.expects {
		return c.publishAt(ctx, &h, refusal, body)
	}
	var name []byte // room for rejections, which outlive the frame: one copy, or many entries would make many
	f := wire.Over(body)
	for {
		req := &request{kind: requestPublish, grant: h.grant}
		more := true
		for more && req.cost < maxPiece {
			var e wireEntry
			if e, more, err = nextEntry(&f); err != nil {
				return malformedFrame(framePublish)
			}
			if !more {
				break
			}
			if err := c.checkEntry(refusal, h.room, &e); err != nil {
				if name == nil {
					name = bytes.Clone(h.room)
				}
				c.answer(rejectedPublish(name, string(e.id), err))
				c.wake()
				continue
			}
			c.add(req, &h, &e)
		}
		c.admit(h.room, req)
		if len(req.entries) > 0 {
			if err := c.waitForLog(ctx, req.cost); err != nil {
				return err
			}
			if err := c.toRoom(h.room, req); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// add adds an entry, which has been checked, to a request.
func (c *conn) add(req *request, h *publishHeader, e *wireEntry) {
	req.entries = append(req.entries, Entry{
		From:     c.session.who,
		Producer: Producer(h.producer),
		ID:       string(e.id),
		Kind:     e.kind,
		Ref:      e.ref,
		// Each has its own memory: the log may keep one for long, and those beside it not.
		Body: bytes.Clone(e.body),
	})
	req.cost += len(e.body) + messageCost
	req.judged = req.judged || e.kind != KindText
}

// checkClaim refuses a request for a room that the session has not joined, nor is joining. Who has not has
// no business with the actor; and at the end of the stream nobody waits for its answer.
func (c *conn) checkClaim(room []byte) *Error {
	if c.session.claims(room) {
		return nil // its name has been checked
	}
	if err := checkRoom(string(room)); err != nil {
		return err
	}
	return errNotInRoom()
}

func (c *conn) checkEntry(refusal *Error, room []byte, e *wireEntry) *Error {
	if refusal == nil && e.kind.verb().rule().fence == VerbSpeak {
		refusal = c.session.maySpeak(room)
	}
	if refusal == nil {
		refusal = checkMessageID(e.id)
	}
	if refusal == nil {
		refusal = checkContent(e.kind, e.ref, e.body, c.session.srv.cfg.MaxBody)
	}
	return refusal
}

func (c *conn) leave(room []byte) error {
	err := c.checkClaim(room)
	if err == nil {
		return c.toRoom(room, &request{kind: requestLeave})
	}
	c.answer(rejected(chatpb.Rejected_REQUEST_LEAVE, room, err))
	c.wake()
	return nil
}

// waitForLog waits until so few of the session's messages wait for the log that some more may, which
// cost n.
func (c *conn) waitForLog(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		ok := c.unanswered == 0 || c.unanswered+n <= maxUnanswered
		if ok {
			c.unanswered += n
		} else if c.room == nil {
			c.room = make(chan struct{}, 1)
		}
		room := c.room
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.session.srv.ctx.Done():
			return context.Cause(c.session.srv.ctx)
		}
	}
}

// toRoom sends a request to a room that the session has joined, or rejects it if the room is gone.
func (c *conn) toRoom(name []byte, req *request) error {
	r, _ := c.session.srv.room(string(name), false)
	switch {
	case r != nil:
		return c.send(r, req)
	case req.kind == requestLeave:
		c.answer(rejected(chatpb.Rejected_REQUEST_LEAVE, name, errNotInRoom()))
	default:
		name = bytes.Clone(name)
		for i := range req.entries {
			c.answer(rejectedPublish(name, req.entries[i].ID, errNotInRoom()))
		}
		c.publishAnswered(req.cost)
	}
	c.wake()
	return nil
}

func (c *conn) send(r *room, req *request) error {
	req.session, req.conn = c.session, c
	if !r.send(req) {
		return context.Cause(c.session.srv.ctx)
	}
	return nil
}

// confirm takes the client's word for what it has consumed.
func (c *conn) confirm(n uint64) error {
	if n < c.received.Load() || n > c.announce.Load() {
		return malformed("RECEIVED says %d bytes, after %d and of %d", n, c.received.Load(), c.announce.Load())
	}
	c.received.Store(n)
	c.stalled.Store(false)
	c.alive.Store(true)
	c.wake()
	return nil
}

// answer queues a reply. The caller wakes the writer.
func (c *conn) answer(r reply) {
	c.mu.Lock()
	refused := c.ended || c.overrun
	if !refused {
		c.replyBytes += r.cost()
		c.replies = append(c.replies, r)
		c.overrun = len(c.replies) > maxReplies || c.replyBytes > maxReplyBytes
	}
	overrun := c.overrun && !refused
	c.mu.Unlock()
	c.session.srv.counters.answered(&r)
	if overrun {
		c.session.srv.counters.unread.Add(1)
		c.session.log().Warn("chat replies are not read")
		c.str.Cancel(transport.StreamExcessiveLoad) // the reader finds out, and aborts the session
	}
}

// publishAnswered follows the answer to messages that waited for the log, and cost n.
func (c *conn) publishAnswered(n int) {
	c.mu.Lock()
	c.unanswered -= n
	room := c.room
	c.mu.Unlock()
	select {
	case room <- struct{}{}:
	default:
	}
}

// wake has the writer look for something to write.
func (c *conn) wake() {
	if c.pending.Add(1) == 1 {
		c.startWriter()
	}
}

func (c *conn) startWriter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.writers.Go(c.write)
	}
}

// wakeForEvents is wake for the actor, which has something new for everyone.
func (c *conn) wakeForEvents() {
	if !c.stalled.Load() {
		c.wake()
	}
}

// wakeAfter wakes the writer later, to try again what failed.
func (c *conn) wakeAfter(d time.Duration) {
	if c.retry == nil {
		c.retry = time.AfterFunc(d, c.wake)
	} else {
		c.retry.Reset(d)
	}
}

func (c *conn) stopRetry() {
	if c.retry != nil {
		c.retry.Stop()
	}
}
