package chat

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// ErrClosed is returned by the methods of a [Client] that ask for something after its
// sending half has ended: by Close, or because the session is going away.
var ErrClosed = fmt.Errorf("chat: client closed: %w", net.ErrClosed)

// ClientConfig configures a [Client]. The zero value works.
type ClientConfig struct {
	// Producer goes with the message ids. Default: a random one for each client.
	Producer Producer

	// MaxBody is the longest text that Publish accepts, in bytes; the server
	// has a limit of its own. Default 64 KiB.
	MaxBody int

	// MaxUnacknowledged is how many messages may wait for their acknowledgement; Publish
	// waits while there are more. Default 1024.
	MaxUnacknowledged int
}

// A Client is the client's end of a session's chat stream, for all rooms. One goroutine
// at a time may call Next; all else may be called from any goroutine. Replies come as events, so
// somebody must call Next.
type Client struct {
	cfg     ClientConfig
	session *transport.Session
	str     *transport.Stream
	writing chan struct{} // held by who writes; a lock that a context can end the wait for
	slots   chan struct{} // one for each message that waits for its acknowledgement
	over    chan struct{} // closed when nothing more can be read
	wg      sync.WaitGroup

	// Next's own.
	rooms   map[string]*clientRoom // joined
	waiting <-chan struct{}        // of the context whose end is being watched for
	unsure  map[string]string      // ids of messages that were rejected and may be in the log, and their rooms
	unwatch func()
	err     error // what Next goes on returning

	mu          sync.Mutex        // guards what follows
	closed      bool              // the sending half has ended, or is about to
	unacked     map[string]string // ids of the messages without an acknowledgement, and their rooms
	joins       map[string]int    // JOINs without an answer
	consumed    uint64            // bytes of events
	confirmed   uint64            // of these, what RECEIVED has said
	timer       *time.Timer       // for RECEIVED
	timerActive bool
}

// clientRoom is where a client is in a room it has joined.
type clientRoom struct {
	name string
	next uint64 // seq of the next record
	last Position
}

// NewClient opens a chat stream on session. With its first request it replaces an earlier one of
// the same session. ctx bounds the wait for the session to be live.
func NewClient(ctx context.Context, session *transport.Session, cfg ClientConfig) (*Client, error) {
	setDefault(&cfg.MaxBody, defaultMaxBody)
	setDefault(&cfg.MaxUnacknowledged, 1024)
	if cfg.Producer == (Producer{}) {
		if _, err := rand.Read(cfg.Producer[:]); err != nil {
			return nil, fmt.Errorf("chat: producer: %w", err)
		}
	}
	str, err := session.OpenStream(ctx, transport.StreamChat)
	if err != nil {
		return nil, err
	}
	str.SetUrgency(transport.UrgencyChat, false)
	c := &Client{
		cfg:     cfg,
		session: session,
		str:     str,
		writing: make(chan struct{}, 1),
		slots:   make(chan struct{}, cfg.MaxUnacknowledged),
		over:    make(chan struct{}),
		rooms:   make(map[string]*clientRoom),
		unacked: make(map[string]string),
		joins:   make(map[string]int),
	}
	c.wg.Go(c.closeWhenDraining)
	return c, nil
}

// closeWhenDraining ends the sending half when the session begins to end, which waits
// for that.
func (c *Client) closeWhenDraining() {
	select {
	case <-c.str.Draining():
		_ = c.Close() // fails when there is nothing to close
	case <-c.session.Context().Done():
	case <-c.over:
	}
}

// Join asks to be a member of room, whose records then begin as from says. The answer
// is a [*Joined] or [*Rejected].
func (c *Client) Join(ctx context.Context, room string, from From) error {
	if err := ValidRoom(room); err != nil {
		return err
	}
	m := &chatpb.Join{Room: []byte(room)}
	from.toWire(m)
	c.mu.Lock()
	c.joins[room]++
	c.mu.Unlock()
	if err := c.send(ctx, frameJoin, m); err != nil {
		c.joinAnswered(room)
		return err
	}
	return nil
}

// joinAnswered says whether a JOIN of room was waiting for an answer.
func (c *Client) joinAnswered(room string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joins[room] == 0 {
		return false
	}
	if c.joins[room]--; c.joins[room] == 0 {
		delete(c.joins, room)
	}
	return true
}

// Leave asks to be a member of room no longer. The answer is a [*Left] or [*Rejected];
// events of the room may come until then.
func (c *Client) Leave(ctx context.Context, room string) error {
	if err := ValidRoom(room); err != nil {
		return err
	}
	return c.send(ctx, frameLeave, &chatpb.Leave{Room: []byte(room)})
}

// Publish asks to append text to room, and returns the message's id. The answer is a [*Sent] or
// [*Rejected] with that id. While [ClientConfig.MaxUnacknowledged] messages wait for theirs, it
// waits, so another goroutine must be calling Next.
func (c *Client) Publish(ctx context.Context, room, text string) (id string, err error) {
	var random [12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("chat: message id: %w", err)
	}
	id = hex.EncodeToString(random[:])
	return id, c.publish(ctx, room, id, text)
}

// publish is Publish with an id, of 1 to 64 bytes, that may have been used before.
func (c *Client) publish(ctx context.Context, room, id, text string) error {
	if err := ValidRoom(room); err != nil {
		return err
	}
	if err := checkBody(text, c.cfg.MaxBody); err != nil {
		return err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.over:
		return ErrClosed
	}
	c.mu.Lock()
	_, again := c.unacked[id]
	if !again {
		c.unacked[id] = room
	}
	c.mu.Unlock()
	if again {
		<-c.slots
		return errorf(rpc.AlreadyExists, "the message id waits for its acknowledgement")
	}
	err := c.send(ctx, framePublish, &chatpb.Publish{Room: []byte(room), Producer: c.cfg.Producer[:], MessageId: []byte(id), Body: []byte(text)})
	if err != nil {
		c.answered(room, id)
	}
	return err
}

// answered takes a message off the books, and says whether it was on them.
func (c *Client) answered(room, id string) bool {
	c.mu.Lock()
	known, ok := c.unacked[id]
	if ok = ok && known == room; ok {
		delete(c.unacked, id)
	}
	c.mu.Unlock()
	if ok {
		<-c.slots
	}
	return ok
}

// Unacknowledged returns how many messages wait for their [*Sent] or [*Rejected].
func (c *Client) Unacknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unacked)
}

// Close ends the sending half in order, behind all that was asked. The server answers that,
// and then ends the stream: Next goes on until io.EOF. To whom is in the rooms, this is leaving. It
// returns [ErrClosed] if the half had ended before.
func (c *Client) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.stopTimerLocked()
	c.mu.Unlock()
	if again {
		return ErrClosed
	}
	c.writing <- struct{}{} // writes end with the session at the latest
	defer func() { <-c.writing }()
	return c.str.Close()
}

// send writes one frame.
func (c *Client) send(ctx context.Context, t transport.FrameType, m proto.Message) error {
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.writing }()
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.write(ctx, t, m)
}

// write writes one frame. It is the caller's turn.
func (c *Client) write(ctx context.Context, t transport.FrameType, m proto.Message) error {
	buf := writeBuffers.Get().(*[]byte)
	*buf = appendMessage((*buf)[:0], t, m)
	defer writeBuffers.Put(buf)
	// A frame that was written in part is no frame, so ctx ends the stream.
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { c.str.Cancel(transport.StreamCanceled) })
	}
	_, err := c.str.Write(*buf)
	if !stop() && err != nil {
		return context.Cause(ctx)
	}
	return err
}

// Next returns the next event. The error is io.EOF after the orderly end of the stream, ctx's
// cause when that ends first (the next call goes on), a *transport.Error when the session has
// ended, or a *transport.StreamError when the stream was reset. When the server breaks
// the protocol, or the order of a room's records (C4), the session is aborted.
func (c *Client) Next(ctx context.Context) (Event, error) {
	if c.err != nil {
		return nil, c.err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c.watch(ctx)
	for {
		t, body, err := c.str.ReadFrame(clientLimit)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, context.Cause(ctx)
		}
		var event Event
		if err == nil {
			event, err = c.decode(t, body)
		}
		if err != nil {
			return nil, c.end(err)
		}
		if counts(t) {
			c.consume(len(body))
		}
		if event != nil {
			return event, nil
		}
	}
}

// watch has the end of ctx end reads. It is set up once for each new ctx, not for each event.
func (c *Client) watch(ctx context.Context) {
	if c.waiting == ctx.Done() {
		return
	}
	c.stopWatching()
	c.waiting = ctx.Done()
	if ctx.Done() == nil {
		return
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.str.SetReadDeadline(time.Now())
		close(fired)
	})
	c.unwatch = func() {
		if !stop() {
			<-fired
			c.str.SetReadDeadline(time.Time{})
		}
	}
}

func (c *Client) stopWatching() {
	if c.unwatch != nil {
		c.unwatch()
	}
	c.unwatch, c.waiting = nil, nil
}

// end brings everything to its end after Next has met err, and returns what it goes on
// returning.
func (c *Client) end(err error) error {
	if isProtocolError(err) {
		c.session.Abort(transport.Protocol, err.Error())
	}
	c.err = err
	c.stopWatching()
	c.mu.Lock()
	c.closed = true
	c.stopTimerLocked()
	c.mu.Unlock()
	close(c.over)
	if !errors.Is(err, io.EOF) {
		c.str.Cancel(transport.StreamCanceled)
	} else {
		// The server ended first: it answers no more.
		c.str.CancelWrite(transport.StreamNoError)
	}
	c.wg.Wait()
	c.str.Free()
	return err
}

// consume counts an event, and has RECEIVED said when it is time to: not by itself, for a write
// may block, and Next must not.
func (c *Client) consume(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.consumed += uint64(n)
	switch {
	case c.closed:
	case !c.timerActive:
		c.startTimerLocked()
	case c.dueLocked() && c.timer.Stop():
		c.timer.Reset(0)
	}
}

func (c *Client) dueLocked() bool { return c.consumed-c.confirmed >= confirmEvery }

func (c *Client) startTimerLocked() {
	wait := confirmAfter
	if c.dueLocked() {
		wait = 0
	}
	c.timerActive = true
	c.wg.Add(1)
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.confirmLate)
	} else {
		c.timer.Reset(wait)
	}
}

func (c *Client) confirmLate() {
	defer c.wg.Done()
	c.confirm()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timerActive = false // only now: one at a time waits to write
	if c.consumed > c.confirmed && !c.closed {
		c.startTimerLocked()
	}
}

func (c *Client) stopTimerLocked() {
	if c.timerActive && c.timer.Stop() {
		c.timerActive = false
		c.wg.Done()
	}
}

// confirm says RECEIVED, if there is something to confirm. What it says is settled in its turn to
// write, so that the number never falls.
func (c *Client) confirm() {
	c.writing <- struct{}{} // writes end with the session at the latest
	defer func() { <-c.writing }()
	c.mu.Lock()
	n := c.consumed
	if n == c.confirmed || c.closed {
		c.mu.Unlock()
		return
	}
	c.confirmed = n
	c.stopTimerLocked()
	c.mu.Unlock()
	// If it fails the stream is dead, and Next says so.
	_ = c.write(context.Background(), frameReceived, &chatpb.Received{Bytes: n})
}

// decode turns a frame into an event, or none, and checks that it is in order.
func (c *Client) decode(t transport.FrameType, body []byte) (Event, error) {
	switch t {
	case frameJoined:
		return c.joined(body)
	case frameLeft:
		var m chatpb.Left
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		r, err := c.inRoom(t, m.GetRoom())
		if err != nil {
			return nil, err
		}
		delete(c.rooms, r.name)
		return &Left{Room: r.name}, nil
	case frameRejected:
		return c.rejected(body)
	case framePubAck:
		var m chatpb.PubAck
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		return c.sent(string(m.GetRoom()), string(m.GetMessageId()), Position{m.GetEpoch(), m.GetSeq()}, m.GetDuplicate()), nil
	case frameRecord:
		return c.record(body)
	case frameOwn:
		var m chatpb.Own
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		pos := Position{m.GetEpoch(), m.GetSeq()}
		r, err := c.advance(t, m.GetRoom(), pos)
		if err != nil {
			return nil, err
		}
		return c.sent(r.name, string(m.GetMessageId()), pos, false), nil
	case framePresence:
		var m chatpb.Presence
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		r, err := c.inRoom(t, m.GetRoom())
		if err != nil {
			return nil, err
		}
		state, ok := presenceFromWire(m.GetState())
		if !ok {
			return nil, nil // a later version's; it is no state that this one knows
		}
		return &Presence{Room: r.name, Who: m.GetWho(), State: state}, nil
	case frameMembers:
		var m chatpb.Members
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		r, err := c.inRoom(t, m.GetRoom())
		if err != nil {
			return nil, err
		}
		return &Members{Room: r.name, Names: m.GetMembers()}, nil
	}
	return nil, malformed("chat frame %#x is out of place", uint64(t))
}

// sent returns the event for an acknowledgement, unless it was there before: a nil Event.
func (c *Client) sent(room, id string, pos Position, duplicate bool) Event {
	unsure := c.unsure[id] == room && room != ""
	if unsure {
		delete(c.unsure, id)
	}
	if !c.answered(room, id) && !unsure {
		return nil
	}
	return &Sent{Room: room, Position: pos, ID: id, Duplicate: duplicate}
}

func (c *Client) joined(body []byte) (Event, error) {
	var m chatpb.Joined
	if err := unmarshal(frameJoined, body, &m); err != nil {
		return nil, err
	}
	room := string(m.GetRoom())
	if _, in := c.rooms[room]; in || !c.joinAnswered(room) {
		return nil, malformed("JOINED without JOIN")
	}
	if next := m.GetNext(); next == 0 || next < m.GetFirst() || m.GetHead() == math.MaxUint64 || next > m.GetHead()+1 {
		return nil, malformed("JOINED begins at %d, the log has %d to %d", next, m.GetFirst(), m.GetHead())
	}
	c.rooms[room] = &clientRoom{name: room, next: m.GetNext()}
	return &Joined{Room: room, Epoch: m.GetEpoch(), Head: m.GetHead(), First: m.GetFirst(), Next: m.GetNext(), Members: m.GetMembers()}, nil
}

func (c *Client) rejected(body []byte) (Event, error) {
	var m chatpb.Rejected
	if err := unmarshal(frameRejected, body, &m); err != nil {
		return nil, err
	}
	room, id := string(m.GetRoom()), string(m.GetMessageId())
	request, ok := requestFromWire(m.GetRequest())
	switch {
	case !ok:
		return nil, nil // of a request that this version does not make
	case request == RequestPublish:
		if !c.answered(room, id) {
			return nil, nil
		}
		if rpc.Code(m.GetCode()) == rpc.Unavailable && len(c.unsure) < cap(c.slots) {
			// Should it be in the log, its stub tells: a position must not be passed over (C4).
			if c.unsure == nil {
				c.unsure = make(map[string]string)
			}
			c.unsure[id] = room
		}
	case request == RequestJoin:
		_, in := c.rooms[room]
		if in && rpc.Code(m.GetCode()) == rpc.OutOfRange { // a JOIN of a room that is joined is refused otherwise
			delete(c.rooms, room)
		} else if !c.joinAnswered(room) {
			return nil, malformed("REJECTED without JOIN")
		}
	}
	return &Rejected{
		Room:    room,
		Request: request,
		ID:      id,
		Code:    rpc.Code(m.GetCode()),
		Reason:  m.GetReason(),
		Epoch:   m.GetEpoch(),
		Head:    m.GetHead(),
		First:   m.GetFirst(),
	}, nil
}

func (c *Client) record(body []byte) (Event, error) {
	var m chatpb.Record
	if err := unmarshal(frameRecord, body, &m); err != nil {
		return nil, err
	}
	pos := Position{m.GetEpoch(), m.GetSeq()}
	r, err := c.advance(frameRecord, m.GetRoom(), pos)
	if err != nil {
		return nil, err
	}
	return &Message{
		Room:     r.name,
		Position: pos,
		From:     m.GetFrom(),
		Time:     time.Unix(0, m.GetTime()).UTC(),
		ID:       string(m.GetMessageId()),
		Text:     string(m.GetBody()),
	}, nil
}

// advance checks that pos is the one that comes next in room (C4).
func (c *Client) advance(t transport.FrameType, room []byte, pos Position) (*clientRoom, error) {
	r, err := c.inRoom(t, room)
	if err != nil {
		return nil, err
	}
	if pos.Seq != r.next || pos.Epoch < r.last.Epoch || pos.Epoch == 0 {
		return nil, malformed("record %v follows %v, where %d was to come", pos, r.last, r.next)
	}
	r.next++
	r.last = pos
	return r, nil
}

// inRoom returns a room that has been joined.
func (c *Client) inRoom(t transport.FrameType, room []byte) (*clientRoom, error) {
	r := c.rooms[string(room)]
	if r == nil {
		return nil, malformed("chat frame %#x for a room that is not joined", uint64(t))
	}
	return r, nil
}
