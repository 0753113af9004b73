package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

const chatHelp = `examples:
  trunkline chat lobby                       as the local user
  trunkline chat lobby --as bob              as somebody else
  trunkline chat lobby ops --json            two rooms, events as JSON lines
  date | trunkline chat lobby                say one line, wait until it is in the log, leave

What you type goes to the first room. A line that begins with a slash is a
command, and "//" begins a line with a slash:
  /join ROOM    join another room
  /part [ROOM]  leave a room, the first one unless told
  /who [ROOM]   who is there
  /quit         leave, as at the end of the input
`

// chat joins rooms, says what it reads, and prints what happens.
func (a *app) chat(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	rooms, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rooms) == 0 {
		return withHint(usagef("chat needs a room"), "trunkline chat lobby")
	}
	for i, room := range rooms {
		if err := chat.ValidRoom(room); err != nil {
			return usagef("room %q: %s", room, err)
		}
		if slices.Contains(rooms[:i], room) {
			return usagef("room %q is named twice", room)
		}
	}

	dialCtx, stop := a.interruptible(ctx)
	session, err := a.dial(dialCtx, client)
	stop()
	if end, ok := errors.AsType[*transport.Error](err); ok { // an event like any other end
		out := printer{asJSON: *asJSON, out: a.stdout}
		out.print(ended(end))
		return errors.Join(err, out.err())
	}
	if err != nil {
		return err
	}
	conv := &conversation{session: session, rooms: rooms, roster: make(roster)}
	in, out, restore, err := a.console(session.Identity().Name, *asJSON)
	if err != nil {
		session.Abort(transport.Aborted, "no terminal")
		return err
	}
	defer restore()
	conv.in, conv.out = in, out
	return conv.run(ctx, a, *client.server)
}

// A conversation is one run of the chat command.
type conversation struct {
	session *transport.Session
	client  *chat.Client
	in      lineReader
	out     *printer

	mu     sync.Mutex // guards what follows
	rooms  []string   // that are joined or asked for; what is typed goes to the first
	roster roster
}

// run holds the conversation until its input, the session or the person ends it.
func (c *conversation) run(ctx context.Context, a *app, server string) error {
	c.out.print(connected(c.session, server))
	err := c.talk(ctx, a)
	if err != nil { // a fault of ours: what was typed may not have arrived
		c.session.Abort(transport.Aborted, "client failed")
	}
	waitErr := c.session.Wait(ctx)
	end, ok := errors.AsType[*transport.Error](waitErr)
	if waitErr != nil && !ok {
		return waitErr
	}
	c.out.print(ended(end))
	if err := errors.Join(err, c.out.err()); err != nil {
		return err
	}
	if end != nil && end.Code == transport.Drained {
		return nil
	}
	return waitErr
}

// talk exchanges lines and events. It returns nil when the session ended or was released, and an
// error when this side failed.
func (c *conversation) talk(ctx context.Context, a *app) error {
	var err error
	if c.client, err = chat.NewClient(ctx, c.session, chat.ClientConfig{}); err != nil {
		return c.unlessEnded(err)
	}
	for _, room := range slices.Clone(c.rooms) { // which changes with the answers
		if err := c.client.Join(ctx, room, chat.Live()); err != nil {
			return c.unlessEnded(err)
		}
	}
	inputDone := make(chan error, 1)
	go func() { inputDone <- c.readInput(ctx) }() // a read of stdin can't be ended, only left behind
	eventsDone := make(chan error, 1)
	go func() { eventsDone <- c.readEvents(ctx) }()

	var inputErr error
	select {
	case err := <-eventsDone: // the session ended, or goes away, or the stream did
		if err := c.unlessEnded(err); err != nil {
			return err
		}
		return c.unlessEnded(release(ctx, c.session))
	case inputErr = <-inputDone:
	case <-a.signals:
	}
	// Everything that was said is on its way, and Close goes behind it; the server answers all
	// of it before it ends the stream.
	if err := c.client.Close(); err != nil && !errors.Is(err, chat.ErrClosed) {
		return c.unlessEnded(err)
	}
	select {
	case err = <-eventsDone:
	case <-a.signals: // again
		c.session.Abort(transport.Aborted, "interrupted")
		err = <-eventsDone
	}
	if err := c.unlessEnded(err); err != nil {
		return err
	}
	return errors.Join(inputErr, c.unlessEnded(release(ctx, c.session)))
}

// unlessEnded drops errors that only say what the end of the session says better.
func (c *conversation) unlessEnded(err error) error {
	_, over := transport.CodeOf(err)
	if over || errors.Is(err, io.EOF) || errors.Is(err, transport.ErrGoingAway) {
		return nil
	}
	return err
}

// readEvents prints what happens until the stream ends.
func (c *conversation) readEvents(ctx context.Context) error {
	for {
		e, err := c.client.Next(ctx)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.roster.note(e)
		c.mu.Unlock()
		c.out.print(eventOf(e))
		if r, ok := e.(*chat.Rejected); ok && notIn(r) && c.drop(r.Room) == 0 {
			return fmt.Errorf("can't join %s: %s", r.Room, r.Reason)
		}
	}
}

// drop forgets a room and returns how many are left.
func (c *conversation) drop(room string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms = slices.DeleteFunc(c.rooms, func(r string) bool { return r == room })
	return len(c.rooms)
}

// first returns the room that lines go to, or "".
func (c *conversation) first() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rooms) == 0 {
		return ""
	}
	return c.rooms[0]
}

// readInput carries out what is typed, until there is no more or /quit.
func (c *conversation) readInput(ctx context.Context) error {
	for {
		line, err := c.in.readLine()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLineTooLong):
			c.reject(&chat.Error{Code: rpc.InvalidArgument, Reason: err.Error()}, chat.RequestPublish, c.first(), "")
			continue
		case err != nil:
			return fmt.Errorf("read stdin: %w", err)
		}
		if quit := c.input(ctx, line); quit {
			return nil
		}
	}
}

// input carries out one line, and says whether it was the last.
func (c *conversation) input(ctx context.Context, line string) (quit bool) {
	if rest, ok := strings.CutPrefix(line, "/"); ok && !strings.HasPrefix(rest, "/") {
		return c.command(ctx, rest)
	}
	if strings.HasPrefix(line, "//") {
		line = line[1:]
	}
	if line == "" {
		return false
	}
	room := c.first()
	if room == "" {
		c.out.complain("you are in no room (join one with /join ROOM)")
		return false
	}
	id, err := c.client.Publish(ctx, room, line)
	if err != nil {
		c.reject(err, chat.RequestPublish, room, id)
	}
	return false
}

// command carries out a line that began with a slash.
func (c *conversation) command(ctx context.Context, line string) (quit bool) {
	name, room, _ := strings.Cut(strings.TrimSpace(line), " ")
	room = strings.TrimSpace(room)
	if room == "" && name != "join" {
		room = c.first()
	}
	switch name {
	case "quit":
		return true
	case "who":
		c.mu.Lock()
		members, ok := c.roster[room]
		c.mu.Unlock()
		if !ok {
			c.out.complain("you are not in " + room)
			return false
		}
		c.out.print(&membersEvent{"members", room, members})
	case "join":
		if err := c.client.Join(ctx, room, chat.Live()); err != nil {
			c.reject(err, chat.RequestJoin, room, "")
			return false
		}
		c.mu.Lock()
		if !slices.Contains(c.rooms, room) {
			c.rooms = append(c.rooms, room)
		}
		c.mu.Unlock()
	case "part":
		if err := c.client.Leave(ctx, room); err != nil {
			c.reject(err, chat.RequestLeave, room, "")
			return false
		}
		c.drop(room)
	default:
		c.out.complain(fmt.Sprintf("unknown command /%s (a line that begins with a slash is written with two)", name))
	}
	return false
}

// reject prints that a request was not carried out, unless the reason is the end of the session.
func (c *conversation) reject(err error, request chat.Request, room, id string) {
	if e, ok := errors.AsType[*chat.Error](err); ok {
		c.out.print(&rejectedEvent{"rejected", room, string(request), id, e.Code.String(), e.Reason})
	}
}
