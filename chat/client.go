package chat

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
// somebody must call Next. A context that ends while a request is being written ends the stream, and
// with it all rooms, because half a frame is none.
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
