package chat

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

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
	// waits while there are more. Default 1024, and at most 2048: the server closes sessions for
	// which more answers wait than it holds.
	MaxUnacknowledged int
}

// A Client is the client's end of a session's chat stream, for all rooms. One goroutine
// at a time may call Next; all else may be called from any goroutine. Replies come as events, so
// somebody must call Next.
//
// Requests are written in the order in which they are made, at once, or together when the
// write before them is done. A method returns when its request has its place in that order; while
// 64 KiB are waiting it waits, and when its context ends first, nothing was asked.
type Client struct {
	outbox // guarded by mu

	cfg     ClientConfig
	session *transport.Session
	str     *transport.Stream
	prefix  string        // of message ids
	slots   chan struct{} // one for each message that waits for its acknowledgement
	over    chan struct{} // closed when nothing more can be read
	wg      sync.WaitGroup

	// Next's own.
	rooms   map[string]*clientRoom // joined
	items   items                  // of the frame that was read last
	waiting <-chan struct{}        // of the context whose end is being watched for
	unsure  map[string]string      // ids of messages that were rejected and may be in the log, and their rooms
	unwatch func()
	err     error // what Next goes on returning

	mu      sync.Mutex // guards what follows
	closed  bool       // the sending half has ended, or is about to
	unacked map[string]unacked
	joins   map[string]int // JOINs without an answer
	ids     uint64         // message ids made so far
}

// An unacked message waits for its acknowledgement.
type unacked struct{ room, id string }

// clientRoom is where a client is in a room it has joined.
type clientRoom struct {
	name string
	next uint64 // seq of the next record
	last Position
	from string // who published the last line
}

// NewClient opens a chat stream on session. With its first request it replaces an earlier one of
// the same session. ctx bounds the wait for the session to be live.
func NewClient(ctx context.Context, session *transport.Session, cfg ClientConfig) (*Client, error) {
	setDefault(&cfg.MaxBody, defaultMaxBody)
	setDefault(&cfg.MaxUnacknowledged, 1024)
	cfg.MaxUnacknowledged = min(cfg.MaxUnacknowledged, maxUnacknowledged)
	if cfg.Producer == (Producer{}) {
		if _, err := rand.Read(cfg.Producer[:]); err != nil {
			return nil, fmt.Errorf("chat: producer: %w", err)
		}
	}
	// Ids are unique for the producer, which may have been given, and used by an earlier process.
	var prefix [8]byte
	if _, err := rand.Read(prefix[:]); err != nil {
		return nil, fmt.Errorf("chat: message ids: %w", err)
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
		prefix:  base64.RawURLEncoding.EncodeToString(prefix[:]),
		slots:   make(chan struct{}, cfg.MaxUnacknowledged),
		over:    make(chan struct{}),
		rooms:   make(map[string]*clientRoom),
		unacked: make(map[string]unacked),
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
	if err := c.lockForFrame(ctx); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.joins[room]++
	c.queueLocked(frameJoin, m)
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
	if err := c.lockForFrame(ctx); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.queueLocked(frameLeave, &chatpb.Leave{Room: []byte(room)})
	return nil
}

// Publish asks to append text to room, and returns the message's id. The answer is a [*Sent] or
// [*Rejected] with that id. While [ClientConfig.MaxUnacknowledged] messages wait for theirs, it
// waits, so another goroutine must be calling Next.
func (c *Client) Publish(ctx context.Context, room, text string) (id string, err error) {
	return c.publish(ctx, room, "", text)
}

// publish is Publish, or with an id, of 1 to 64 bytes, the same with one that may have been used before.
func (c *Client) publish(ctx context.Context, room, id, text string) (string, error) {
	if err := ValidRoom(room); err != nil {
		return "", err
	}
	if err := checkBody(text, c.cfg.MaxBody); err != nil {
		return "", err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-c.over:
		return "", ErrClosed
	}
	if err := c.lockForFrame(ctx); err != nil {
		<-c.slots
		return "", err
	}
	defer c.mu.Unlock()
	if id == "" {
		c.ids++
		id = c.prefix + strconv.FormatUint(c.ids, 36)
	} else if _, again := c.unacked[id]; again {
		<-c.slots
		return "", errorf(rpc.AlreadyExists, "the message id waits for its acknowledgement")
	}
	c.unacked[id] = unacked{room, id}
	c.queueEntryLocked(room, id, text)
	return id, nil
}

// answered takes a message off the books, and returns its id as they have it. If it was not on
// them, ok is false.
func (c *Client) answered(room string, id []byte) (known string, ok bool) {
	c.mu.Lock()
	m, ok := c.unacked[string(id)]
	if ok = ok && m.room == room; ok {
		delete(c.unacked, m.id)
	}
	c.mu.Unlock()
	if ok {
		<-c.slots
	}
	return m.id, ok
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
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.closed = true
	ended := c.endLocked()
	c.mu.Unlock()
	return <-ended // writes end with the session at the latest
}

// Next returns the next event. The error is io.EOF after the orderly end of the stream, ctx's
// cause when that ends first (the next call goes on), a *transport.Error when the session, or the
// connection that carried the stream, has ended, or a *transport.StreamError when the stream was reset. When the server breaks
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
		var event Event
		var err error
		if c.items.left > 0 {
			event, err = c.nextItem()
		} else {
			event, err = c.nextFrame()
		}
		switch {
		case err == nil && event != nil:
			return event, nil
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, context.Cause(ctx)
		default:
			return nil, c.end(err)
		}
	}
}

// nextFrame reads a frame, and returns its event, if it has one, and not several items.
func (c *Client) nextFrame() (Event, error) {
	t, body, err := c.str.ReadFrame(clientLimit)
	if err != nil {
		return nil, err
	}
	event, err := c.decode(t, body)
	if err == nil && counts(t) && c.items.left == 0 {
		c.consume(len(body)) // else with its last item
	}
	return event, err
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
	c.stopLocked()
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
