package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// ErrClosed is returned by the methods of a [Client] that ask for something after its
// sending half has ended: by Close, or because the session is being released or has ended.
var ErrClosed = fmt.Errorf("chat: client closed: %w", net.ErrClosed)

// ClientConfig configures a [Client]. The zero value works.
type ClientConfig struct {
	// Producer goes with the message ids. Default: a random one for each client.
	Producer Producer

	// MaxBody is the longest text that Publish accepts, in bytes; the server
	// has a limit of its own. Default 64 KiB.
	MaxBody int

	// MaxUnacknowledged is how many messages may wait for their acknowledgement; Publish
	// waits while there are more. The client keeps their texts, to send them again after a break. Default 1024, and at most 2048: the server closes sessions for
	// which more answers wait than it holds.
	MaxUnacknowledged int

	// KeepPlace has the client not follow when a chair has members go on from another place: [*SyncPoint] tells, and that is all.
	KeepPlace bool

	// ReuseMessages has Next return the same [*Message] for every line: what it points to, but not the strings in it, is another line
	// after the next call. Default: every event is one's own. For who reads very many lines and keeps none: a line then takes 0.15 µs
	// instead of 0.18, and half the garbage (BenchmarkRecordCodec).
	ReuseMessages bool

	// CheckpointLines and CheckpointAfter have the client raise its identity's checkpoint in a room by itself: when so many records of it
	// have been done with since the last time, or the first of them so long ago, a little earlier where something is said anyway; and with Close. A record
	// is done with when Next has returned it and is called again, in Events when the loop goes on. A program that is not done with it then, for it hands it on
	// to another goroutine, calls [Client.MarkRead] instead. Defaults: never, because only the program knows.
	CheckpointLines int
	CheckpointAfter time.Duration

	// NoDelivered leaves it unsaid how far the client has come in its rooms. Default: others are told; see [Marked].
	NoDelivered bool
}

// A Client is the client's end of a session's chat, for all rooms. One goroutine
// at a time may call Next, or go over Events; all else may be called from any goroutine. Replies come as events, so
// somebody must.
//
// Requests are written in the order in which they are made, at once, or together when the
// write before them is done. A method returns when its request has its place in that order; while
// 64 KiB are waiting it waits, and when its context ends first, nothing was asked.
//
// A client goes on for as long as its session does. When the connection ends, and the session connects again by
// itself, the client joins its rooms from where it was, and makes again what had no answer: nothing is lost,
// and nothing comes twice. [*Detached] and [*Resumed] tell. Requests that are made in between wait for the connection.
type Client struct {
	books // guarded by mu

	cfg     ClientConfig
	session *transport.Session
	prefix  string        // of message ids, which are unique for the producer
	slots   chan struct{} // one for each message that waits for its acknowledgement
	shut    chan struct{} // closed with closed
	taken   takings

	// Next's own.
	rooms   map[string]*clientRoom // joined
	rejoins int                    // how many of them have not been joined again on this stream
	items   items                  // of the frame that was read last
	message Message                // what Next returns for a line, with ReuseMessages
	// The room of the record that Next has returned last, if there are to be checkpoints and it has not been called since.
	returned *clientRoom
	behind   Event              // what Next returns behind the event of the same frame
	waiting  <-chan struct{}    // of the context whose end is being watched for
	unsure   map[string]unacked // messages that were rejected and may be in the log, by their ids
	doubts   []string           // the ids in unsure, the oldest first
	unwatch  func()
	broken   error  // how the stream ended, until Detached tells
	attempt  uint64 // of the connection that carried it
	err      error  // what Next goes on returning

	mu     sync.Mutex // guards what follows
	marks  map[string]*ownMark
	out    *outbox       // of the stream; nil while there is none. Only Next changes it
	place  chan struct{} // closed when there may be place for another request; nil if nobody waits
	closed bool          // nothing more is asked
	ids    uint64        // message ids made so far
	grants map[string]uint64

	checkpointAt    time.Time // when the clock says that there is to be a checkpoint; zero: it stands
	checkpointTimer *time.Timer
}

// clientRoom is where a client is in a room it has joined.
type clientRoom struct {
	name   string
	epoch  uint64 // when it was joined
	next   uint64 // seq of the next record
	live   uint64 // seq of the newest when it was joined, or resynchronized last
	last   Position
	from   string // who published the last line
	rejoin rejoin
	list   memberList
	waits  bool // the JOIN is to be tried again later; guarded by Client.mu
	gap    *Gap // with rejoinFirst: what is to be told, once it is known where the log begins
}

// NewClient opens a chat stream on session. With its first request it replaces an earlier one of
// the same session. ctx bounds the wait for the session to be live.
func NewClient(ctx context.Context, session *transport.Session, cfg ClientConfig) (*Client, error) {
	setDefault(&cfg.MaxBody, defaultMaxBody)
	setDefault(&cfg.MaxUnacknowledged, 1024)
	cfg.MaxUnacknowledged = min(cfg.MaxUnacknowledged, maxUnacknowledged)
	var prefix string
	if cfg.Producer == (Producer{}) {
		_, _ = rand.Read(cfg.Producer[:]) // never fails
	} else { // an earlier process may have used it
		prefix = rand.Text()[:13] + "-"
	}
	str, err := session.OpenStream(ctx, transport.StreamChat)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg:     cfg,
		session: session,
		prefix:  prefix,
		slots:   make(chan struct{}, cfg.MaxUnacknowledged),
		shut:    make(chan struct{}),
		rooms:   make(map[string]*clientRoom),
		books:   books{unacked: make(map[string]unacked)},
	}
	c.begin(str, true)
	return c, nil
}

// Join asks to be a member of room, whose records then begin as from says. The answer
// is a [*Joined] or [*Rejected]. While 1,024 such requests, or to leave, have no answer, it waits, as Publish does.
func (c *Client) Join(ctx context.Context, room string, from From) error {
	return c.ask(ctx, pending{request: RequestJoin, room: room, from: from})
}

// Resync asks that the records of room, which has been joined, go on from another place: from a position
// ([After]: what has been shown comes again), with the newest ([Last]), or from now on ([Live]: what has not been shown yet does not come).
// In terms of X.225, section 7.9 that is to resynchronize with restart, set and abandon. The answer is a [*Joined], from which on the new order
// holds, or a [*Rejected], and then all goes on as before. Records of one's own that come again are [*Message] and the like. Nobody else
// is told.
func (c *Client) Resync(ctx context.Context, room string, from From) error {
	return c.ask(ctx, pending{request: RequestResync, room: room, from: from})
}

// Leave asks to be a member of room no longer. The answer is a [*Left] or [*Rejected];
// events of the room may come until then.
func (c *Client) Leave(ctx context.Context, room string) error {
	return c.ask(ctx, pending{request: RequestLeave, room: room})
}

func (c *Client) ask(ctx context.Context, p pending) error {
	if err := ValidRoom(p.room); err != nil {
		return err
	}
	if err := c.lockForRequest(ctx); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.askLocked(p)
	return nil
}

// Publish asks to append text to room, and returns the message's id. The answer is a [*Sent] or
// [*Rejected] with that id. While [ClientConfig.MaxUnacknowledged] messages wait for theirs, it
// waits, so another goroutine must be calling Next; if none does for 10 s the error is [ErrUnread], and nothing was asked.
func (c *Client) Publish(ctx context.Context, room, text string) (id string, err error) {
	return c.publish(ctx, room, draft{text: text})
}

// PublishAt is [Client.Publish] if the newest record of the room then is the one at head, such as [Sent] and the events of records
// have it, or [Joined]'s epoch and head; with an epoch of 0 only the seq counts. If it is another, nothing is published: the answer is a
// [*Rejected] with [rpc.Aborted], and the room's Epoch and Head. So of several who have seen the same one wins.
func (c *Client) PublishAt(ctx context.Context, room string, head Position, text string) (id string, err error) {
	return c.publish(ctx, room, draft{text: text, head: &head})
}

// Edit is [Client.Publish] for another text in place of one that oneself has published in the room, at the position with that
// seq. The answer is a [*Rejected] with [rpc.NotFound] if there is no such text any more, [rpc.FailedPrecondition] if it has been deleted,
// [rpc.PermissionDenied] if somebody else has written it, [rpc.ResourceExhausted] if it has been edited 1,000 times.
func (c *Client) Edit(ctx context.Context, room string, seq uint64, text string) (id string, err error) {
	return c.publish(ctx, room, draft{kind: KindEdit, ref: seq, text: text})
}

// Delete is [Client.Publish] for taking back a text: the server erases it, and its edits, for good. The answer is as with
// [Client.Edit]; a chair or owner of the room may delete what others have written.
func (c *Client) Delete(ctx context.Context, room string, seq uint64) (id string, err error) {
	return c.publish(ctx, room, draft{kind: KindDelete, ref: seq})
}

// React is [Client.Publish] for a reaction to a text, of 1 to 64 bytes, such as an emoji. Everyone may react to a text in many ways,
// once in each: the second is rejected with [rpc.AlreadyExists]. Otherwise the answer is as with [Client.Edit]; [rpc.ResourceExhausted]
// after 50 reactions of one's own to the text, or 1,000 of all.
func (c *Client) React(ctx context.Context, room string, seq uint64, reaction string) (id string, err error) {
	return c.publish(ctx, room, draft{kind: KindReact, ref: seq, text: reaction})
}

// Unreact is [Client.Publish] for taking back a reaction of one's own. [rpc.NotFound] also says that there is none.
func (c *Client) Unreact(ctx context.Context, room string, seq uint64, reaction string) (id string, err error) {
	return c.publish(ctx, room, draft{kind: KindUnreact, ref: seq, text: reaction})
}

// publish publishes d. It makes an id for it, unless it has one, of 1 to 64 bytes, which may have been used before.
func (c *Client) publish(ctx context.Context, room string, d draft) (string, error) {
	if err := ValidRoom(room); err != nil {
		return "", err
	}
	if err := checkContent(d.kind, d.ref, d.text, c.cfg.MaxBody); err != nil {
		return "", err
	}
	if err := c.slot(ctx); err != nil {
		return "", err
	}
	if err := c.lockForRequest(ctx); err != nil {
		<-c.slots
		return "", err
	}
	defer c.mu.Unlock()
	if d.id == "" {
		c.ids++
		d.id = c.prefix + strconv.FormatUint(c.ids, 36)
	} else if _, again := c.unacked[d.id]; again {
		<-c.slots
		return "", errorf(rpc.AlreadyExists, "the message id waits for its acknowledgement")
	}
	c.nth++
	d.grant = c.grants[room]
	m := unacked{d, c.nth, room}
	c.unacked[d.id] = m
	c.out.publishLocked(&m)
	return d.id, nil
}

// Producer returns what goes with the client's message ids.
func (c *Client) Producer() Producer { return c.cfg.Producer }

// UseGrant has what is published in room from now on published under that grant of its floor, see [Lease]; 0: none. A text
// that needs the floor is rejected with [rpc.FailedPrecondition] if the grant is not this session's, or does not hold any more: also
// one that was in flight when it ended, and is published again.
func (c *Client) UseGrant(room string, grant uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if grant == 0 {
		delete(c.grants, room)
		return
	}
	if c.grants == nil {
		c.grants = make(map[string]uint64)
	}
	c.grants[room] = grant
}

// Unacknowledged returns how many messages wait for their [*Sent] or [*Rejected].
func (c *Client) Unacknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unacked)
}

// Close ends the sending half in order, behind all that was asked. The server answers that,
// and then ends the stream: Next goes on until io.EOF. To whom is in the rooms, this is leaving. It
// does not wait, and returns [ErrClosed] if the half had ended before.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.shutLocked()
	if c.out.takesLocked() { // else Next sees to it
		c.out.endLocked()
	}
	return nil
}

// Next returns the next event. The error is io.EOF after an orderly end, when all that was asked has been answered; ctx's
// cause when that ends first (the next call goes on), a *transport.Error when the session
// has ended, or a *transport.StreamError when the stream was reset. When the server breaks
// the protocol, or the order of a room's records (C4), the session is aborted.
func (c *Client) Next(ctx context.Context) (Event, error) {
	if c.taken.watched.Load() > 0 {
		c.taken.calls.Add(1)
	}
	if c.err != nil {
		return nil, c.err
	}
	c.done()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if e := c.behind; e != nil {
		c.behind = nil
		return e, nil
	}
	if c.out == nil {
		return c.nextDetached(ctx)
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
			c.done() // with a record that says nothing new
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, context.Cause(ctx)
		case c.mayGoOn(err):
			c.broken = err
			c.leave(err)
			return c.nextDetached(ctx)
		default:
			return nil, c.end(err)
		}
	}
}

// Events returns what Next returns, one after the other, for a loop: until io.EOF, which ends it without an error, or another error, which
// comes last. After a loop that was left, another one, or Next, goes on with the next event. A loop may publish, but it is what takes the
// acknowledgements, and they come behind up to some thousand events that are here already: who publishes for each of very many does that in
// another goroutine, or [ErrUnread] tells.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			event, err := c.Next(ctx)
			if errors.Is(err, io.EOF) || !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// nextDetached is Next without a stream.
func (c *Client) nextDetached(ctx context.Context) (event Event, err error) {
	c.taken.waiting.Store(true)
	defer c.taken.waiting.Store(false)
	if c.broken != nil {
		event, err = c.detach(ctx)
	} else {
		event, err = c.resume(ctx)
	}
	switch {
	case err == nil:
		return event, nil
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return nil, err
	default:
		return nil, c.end(err)
	}
}

// nextFrame reads a frame, and returns its event, if it has one, and not several items.
func (c *Client) nextFrame() (Event, error) {
	c.taken.waiting.Store(true)
	t, body, err := c.out.str.ReadFrame(clientLimit)
	c.taken.waiting.Store(false)
	if err != nil {
		return nil, err
	}
	event, err := c.decode(t, body)
	if err == nil && counts(t) && c.items.left == 0 {
		c.out.consume(len(body)) // else with its last item
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
	str := c.out.str
	stop := context.AfterFunc(ctx, func() {
		str.SetReadDeadline(time.Now())
		close(fired)
	})
	c.unwatch = func() {
		if !stop() {
			<-fired
			str.SetReadDeadline(time.Time{})
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
	c.mu.Lock()
	c.shutLocked()
	c.checkpointsLocked() // stops the clock
	c.mu.Unlock()
	if c.out != nil {
		c.leave(err)
	}
	return err
}
