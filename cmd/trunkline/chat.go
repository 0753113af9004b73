package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

func chatHelp() string {
	return `examples:
  trunkline chat lobby                       as the local user
  trunkline chat lobby --as bob              as somebody else
  trunkline chat lobby ops --json            two rooms, events as JSON lines
  trunkline chat @bob                        you and bob alone
  trunkline chat lobby --from checkpoint     with what you have not seen yet, on whatever machine
  date | trunkline chat lobby                say one line, wait until it is in the log, leave

What you type goes to the first room. A line that begins with a slash is a
command, and "//" begins a line with a slash:
` + slashHelp() + `
When the connection is lost, or the server restarts, chat goes on as soon as it can:
what others said meanwhile comes, and what you typed is sent, each line once. At the
end of the input it waits for a server only while lines are unacknowledged, and no longer than
--wait; then it says how many, and exits with 5.

With --json, or when it does not talk with a terminal, it exits with 1 at the end if a line was
rejected, and says how many were.
`
}

// slashHelp lists what may be typed behind a slash.
func slashHelp() string {
	return `  /join ROOM    join another room
  /part [ROOM]  leave a room, the first one unless told
  /who [ROOM]   who is there
  /history [ROOM]  20 earlier lines, and each time those before them
  /edit [N] TEXT, /delete [N]  your last line, or the one with number N
  /react [N] EMOJI, /unreact [N] EMOJI  to what was said last
  /hand up, /hand down  ask to be heard
  /read [ROOM]  how far everybody has read
  /checkpoint [ROOM]  you are done with all that has been shown
  /floor [status]  who has the floor of the first room, and who waits for it
  /floor request [REASON], /floor release, /floor pass NAME, /floor please [REASON]
  /search QUERY  lines of the first room, as in "trunkline help search"
  /resync N|checkpoint|head  show what there is from line N on again, or skip to the newest
  /msg NAME TEXT  say something to somebody alone, who sees it in the room @you,NAME
  /help         this list
  /quit         leave, as at the end of the input
in the first room, to keep order:
  /floor accept N, /floor grant N, /floor deny N, /floor revoke  of requests, by number
` + slashOrders()
}

// chat joins rooms, says what it reads, and prints what happens.
func (a *app) chat(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	from := fs.String("from", "live", "where rooms begin: `live`, or checkpoint: with what you are not done with yet")
	checkpoints := checkpointFlags(fs, time.Second)
	noReconnect := fs.Bool("no-reconnect", false, "exit when the connection ends, with the code of how it did")
	wait := fs.Duration("wait", 10*time.Second, "how long to wait for a server at the end of the input, if lines are unacknowledged")
	rooms, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rooms) == 0 {
		return withHint(usagef("chat needs a room"), "trunkline chat lobby")
	}
	if *from != "live" && *from != fromCheckpoint {
		return usagef("--from is live or checkpoint, not %q", *from)
	}
	if err := checkpoints.check(); err != nil {
		return err
	}
	for i, room := range rooms {
		if err := checkRoomArg(room); err != nil {
			return err
		}
		if slices.Contains(rooms[:i], room) {
			return usagef("room %q is named twice", room)
		}
	}

	dialCtx, stop := a.interruptible(ctx)
	session, err := a.dial(dialCtx, client, !*noReconnect)
	stop()
	if end, ok := errors.AsType[*transport.Error](err); ok { // an event like any other end
		out := printer{asJSON: *asJSON, out: a.stdout}
		out.print(ended(end))
		return errors.Join(err, out.err())
	}
	if err != nil {
		return err
	}
	for i, room := range rooms {
		if rooms[i], err = roomOn(session, room); err != nil {
			session.Abort(transport.Aborted, "no such room")
			return err
		}
	}
	conv := &conversation{session: session, rooms: rooms, wait: *wait, strict: *asJSON, fromCheckpoint: *from == fromCheckpoint, checkpoints: *checkpoints, roster: make(roster), floors: make(map[string]*floorView), earlier: make(map[string]uint64), own: make(map[string]uint64), heard: make(map[string]uint64), minor: make(minorPoints), shown: make(map[string]chat.Position), cut: make(chan *transport.Error, 1)}
	in, out, restore, err := a.console(session.Identity().Name, *asJSON)
	if err != nil {
		session.Abort(transport.Aborted, "no terminal")
		return err
	}
	defer restore()
	conv.in, conv.out, conv.restore = in, out, restore
	if _, typed := in.(*keyboard); !typed {
		conv.strict = true
	}
	return conv.run(ctx, a, *client.server)
}

// A conversation is one run of the chat command.
type conversation struct {
	session        *transport.Session
	client         *chat.Client
	in             lineReader
	out            *printer
	restore        func()        // of the terminal
	wait           time.Duration // see --wait
	checkpoints    checkpointFlag
	fromCheckpoint bool                  // see --from
	strict         bool                  // a line that was refused is a failure: nobody reads along
	cut            chan *transport.Error // how the connection ended, or nil when there is another; talk always receives
	gaveUp         *transport.Error      // how the session ended for this side, which waited no longer

	mu      sync.Mutex // guards what follows
	rooms   []string   // that are joined or asked for; what is typed goes to the first
	roster  roster
	refused int                      // lines
	earlier map[string]uint64        // of a room: the first line that was shown, or is to come
	own     map[string]uint64        // of a room: the last line of one's own
	heard   map[string]uint64        // of a room: the last line of another
	shown   map[string]chat.Position // of a room: the last record that was shown
	minor   minorPoints
	floors  map[string]*floorView
}

// run holds the conversation until its input, the session or the person ends it.
func (c *conversation) run(ctx context.Context, a *app, server string) error {
	c.out.print(connected(c.session, server))
	err := c.talk(ctx, a)
	if err != nil { // a fault of ours: what was typed may not have arrived
		c.session.Abort(transport.Aborted, "client failed")
	}
	waitErr := c.session.Wait(ctx)
	if c.gaveUp != nil {
		waitErr = c.gaveUp
	}
	c.restore()
	end, ok := errors.AsType[*transport.Error](waitErr)
	if waitErr != nil && !ok {
		return waitErr
	}
	c.out.print(ended(end))
	if err := errors.Join(err, c.out.err()); err != nil {
		return err
	}
	if end != nil && end.Code != transport.Drained {
		return waitErr
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.strict && c.refused > 0 {
		return errors.New(rejectedLines(c.refused))
	}
	return nil
}

// talk exchanges lines and events. It returns nil when the session ended or was released, and an
// error when this side failed.
func (c *conversation) talk(ctx context.Context, a *app) error {
	var err error
	if c.client, err = chat.NewClient(ctx, c.session, c.checkpoints.config()); err != nil {
		return c.unlessEnded(err)
	}
	for _, room := range slices.Clone(c.rooms) { // which changes with the answers
		if err := c.client.Join(ctx, room, c.where()); err != nil {
			return c.unlessEnded(err)
		}
	}
	inputDone := make(chan error, 1)
	go func() { inputDone <- c.readInput(ctx) }() // a read of stdin can't be ended, only left behind
	eventsDone := make(chan error, 1)
	go func() { eventsDone <- c.readEvents(ctx) }()

	var inputErr error
	var cut *transport.Error     // how the connection ended; nil while there is one
	var timeout <-chan time.Time // while there is no server for what was said last
	closing := false             // the input is over, or a signal has come
	for {
		giveUp := false
		select {
		case err := <-eventsDone: // the end of the session, or of the stream
			if err := c.unlessEnded(err); err != nil {
				return err
			}
			return errors.Join(inputErr, c.unlessEnded(release(ctx, c.session)))
		case cut = <-c.cut:
		case inputErr = <-inputDone:
			inputDone, closing = nil, true
			if errors.Is(inputErr, errInterrupted) {
				inputErr = nil
				giveUp = cut != nil
			}
			c.restore()
		case <-a.signals:
			giveUp = cut != nil
			if closing && !giveUp { // again
				c.session.Abort(transport.Aborted, "interrupted")
			}
			closing = true
		case <-timeout:
			giveUp = true
		}
		if closing {
			// Everything that was said is on its way, and Close goes behind it; the server answers all
			// of it before it ends the stream.
			if err := c.client.Close(); err != nil && !errors.Is(err, chat.ErrClosed) {
				return c.unlessEnded(err)
			}
		}
		switch {
		case cut == nil:
			timeout = nil
		case giveUp || closing && c.client.Unacknowledged() == 0:
			c.giveUp(cut)
			return errors.Join(inputErr, c.unlessEnded(<-eventsDone))
		case closing && timeout == nil:
			timeout = time.After(c.wait)
			c.out.note(fmt.Sprintf("%s, waiting %v for a server", unacknowledged(c.client.Unacknowledged()), c.wait))
		}
	}
}

// giveUp ends a session that no connection carries, and says how: as the connection ended, unless more was lost
// with it.
func (c *conversation) giveUp(cut *transport.Error) {
	c.gaveUp = cut
	if n := c.client.Unacknowledged(); n > 0 {
		c.gaveUp = &transport.Error{Code: transport.Lost, Reason: unacknowledged(n) + ", and may not have been sent", Err: cut}
	}
	c.session.Abort(transport.Aborted, "gave up")
}

func unacknowledged(lines int) string {
	if lines == 1 {
		return "1 line is unacknowledged"
	}
	return fmt.Sprintf("%d lines are unacknowledged", lines)
}

func rejectedLines(lines int) string {
	if lines == 1 {
		return "1 line was rejected"
	}
	return fmt.Sprintf("%d lines were rejected", lines)
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
		if joined, ok := e.(*chat.Joined); ok {
			c.earlier[joined.Room] = joined.Next
		}
		c.noteLine(e)
		c.mu.Unlock()
		switch e := e.(type) {
		case *chat.Detached:
			c.tell(e.Err)
			c.out.print(detached(e.Err))
			continue
		case *chat.Resumed:
			c.tell(nil)
			c.out.print(resumed(c.session, e.Kept))
			continue
		case *chat.Marked:
			if c.out.asJSON { // a person asks with /read
				c.out.print(eventOf(e))
				c.showCheckpoints(e)
			}
			continue
		}
		if s, ok := e.(*chat.Signal); ok && s.Kind == chat.SignalTyping && !c.out.asJSON {
			continue // a line for each would bury what is said
		}
		news := c.seeFloor(ctx, e)
		if f, ok := e.(*chat.Floor); ok && news {
			c.noteFloor(ctx, f)
		}
		c.print(eventOf(e))
		if pos, ok := chat.PositionOf(e); ok {
			c.mu.Lock()
			c.shown[e.RoomName()] = pos
			c.mu.Unlock()
		}
		r, ok := e.(*chat.Rejected)
		if ok && r.Request == chat.RequestPublish {
			c.refuse()
		}
		if ok && c.joinLeft(ctx, r) {
			continue
		}
		if ok && notIn(r) && c.drop(r.Room) == 0 {
			return fmt.Errorf("can't join %s: %s", r.Room, r.Reason)
		}
	}
}

// print prints an event for who has the session.
func (c *conversation) print(e event) {
	if f, ok := e.(*floorEvent); ok {
		if f.self = ownName(c.session); !c.out.asJSON && f.passedOn() {
			return
		}
	}
	c.out.print(e)
}

// tell tells talk that the connection has ended, or with nil that there is another.
func (c *conversation) tell(cut *transport.Error) {
	select {
	case c.cut <- cut:
	case <-c.session.Context().Done():
	}
}

// drop forgets a room and returns how many are left.
func (c *conversation) drop(room string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms = slices.DeleteFunc(c.rooms, func(r string) bool { return r == room })
	return len(c.rooms)
}

// refuse counts a line that was not said.
func (c *conversation) refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused++
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
		c.refuse()
		return false
	}
	c.publish(ctx, room, line)
	return false
}

// command carries out a line that began with a slash.
func (c *conversation) command(ctx context.Context, line string) (quit bool) {
	name, room, _ := strings.Cut(strings.TrimSpace(line), " ")
	room = strings.TrimSpace(room)
	words := room
	if room == "" && name != "join" {
		room = c.first()
	}
	if named, err := roomOn(c.session, room); err == nil {
		room = named
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
	case "history":
		c.history(ctx, room)
	case "edit", "delete", "react", "unreact":
		c.about(ctx, name, words)
	case "hand":
		c.hand(words)
	case "search":
		c.search(ctx, words)
	case "resync":
		c.resync(ctx, words)
	case "read":
		c.showMarks(ctx, room)
	case "checkpoint":
		c.checkpoint(ctx, room)
	case "floor":
		c.floor(ctx, words)
	case "join":
		c.join(ctx, room)
	case "msg":
		c.message(ctx, line)
	case "help":
		c.out.list(slashHelp())
	case "part":
		if err := c.client.Leave(ctx, room); err != nil {
			c.reject(err, chat.RequestLeave, room, "")
			return false
		}
		c.drop(room)
	default:
		if c.slashOrder(ctx, line) {
			return false
		}
		c.out.complain(fmt.Sprintf("unknown command /%s (/help lists them; a line that begins with a slash is written with two)", name))
	}
	return false
}

// historyLines is how many lines /history and /search show.
const historyLines = 20

// history prints what was said before what has been shown.
func (c *conversation) history(ctx context.Context, room string) {
	c.mu.Lock()
	before, ok := c.earlier[room]
	c.mu.Unlock()
	if !ok {
		c.out.complain("you are not in " + room)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	res, err := chat.History.Call(ctx, c.session, &chat.HistoryRequest{Room: room, Before: &before, Limit: historyLines})
	if err != nil {
		c.out.complain("history: " + err.Error())
		return
	}
	printPage(c.out, res)
	if len(res.Records) > 0 {
		c.mu.Lock()
		c.earlier[room] = res.Records[0].Seq
		c.mu.Unlock()
	}
}

// search prints lines of the first room that a query finds.
func (c *conversation) search(ctx context.Context, query string) {
	room := c.first()
	if room == "" {
		c.out.complain("you are in no room (join one with /join ROOM)")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	res, err := chat.Search.Call(ctx, c.session, &chat.SearchRequest{Room: room, Query: query, Limit: historyLines})
	if err != nil {
		c.out.complain("search: " + err.Error())
		return
	}
	printHits(c.out, res)
}

// showMarks prints how far everybody has come in a room.
func (c *conversation) showMarks(ctx context.Context, room string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	res, err := chat.Marks.Call(ctx, c.session, &chat.MarksRequest{Room: room})
	if err != nil {
		c.out.complain("read: " + err.Error())
		return
	}
	c.out.print(&marksEvent{"marks", room, res.Marks, res.More})
}

// reject prints that a request was not carried out, unless the reason is the end of the session.
func (c *conversation) reject(err error, request chat.Request, room, id string) {
	if e, ok := errors.AsType[*chat.Error](err); ok {
		c.out.print(&rejectedEvent{"rejected", room, string(request), id, e.Code.String(), e.Reason})
		if request == chat.RequestPublish {
			c.refuse()
		}
	}
}
