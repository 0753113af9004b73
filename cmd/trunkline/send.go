package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

const sendHelp = `examples:
  trunkline send ops "backup done"     say one line, and print its position
  trunkline send @bob "see you at ten" to bob alone
  make 2>&1 | trunkline send ops -     say each line of stdin
  trunkline send ops - --json < notes  and print each answer as a line of JSON

  trunkline send ops "no, failed" --edit 17    put another text in place of line 17
  trunkline send ops --delete 17               take it back
  trunkline send ops 👍 --react 17             react to it
  trunkline send lock mine --expect-head 17    say it if 17 is the newest record, or not at all

  trunkline send --floor ops "it is out"       wait for the floor, say it, and give the floor back
  trunkline send --floor="two words" --timeout 30s ops - < notes

Lines of stdin with nothing in them are left out.

It exits with 0 when every line is in the room's log. A line that is refused is told on
stderr, and the exit code is 1 then, but the others are said. When the connection is lost it goes
on as soon as it can, for at most --wait; then it exits with 5 and says how many lines are
unacknowledged, which may or may not be in the log. So it does after Ctrl-C, and exits with 1, or
with 5 if there was no server.
`

// send says lines in a room, and prints where they are in its log.
func (a *app) send(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	wait := fs.Duration("wait", 10*time.Second, "how long to wait for a server when the connection is lost")
	how := sayFlags(fs)
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if rest, err = how.check(fs, rest); err != nil {
		return err
	}
	if len(rest) != 2 {
		return withHint(usagef("send takes a room and a text, or -"), "trunkline send ROOM TEXT")
	}
	if err := checkRoomArg(rest[0]); err != nil {
		return err
	}
	if strings.TrimSpace(rest[1]) == "" && how.del == 0 {
		return withHint(usagef("there is nothing to say"), "trunkline send ROOM TEXT")
	}
	var lines lineReader = &oneLine{text: rest[1]}
	if rest[1] == "-" {
		lines = &pipe{bufio.NewReader(a.stdin)}
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	session, err := a.dial(ctx, client, true)
	if err != nil {
		return err
	}
	room, err := roomOn(session, rest[0])
	if err != nil {
		session.Abort(transport.Aborted, "no such room")
		return err
	}
	s := &sending{a: a, session: session, room: room, how: *how, answered: make(chan struct{}, 1), patience: newPatience(ctx, *wait), out: &printer{asJSON: *asJSON, stderr: a.stderr, out: a.stdout}}
	defer s.patience.stop()
	if err := errors.Join(s.run(lines), s.out.err()); err != nil {
		s.letGo(ctx)
		session.Abort(transport.Aborted, "client failed")
		return err
	}
	if err := release(ctx, session); err != nil {
		return err
	}
	if n := int(s.refused.Load()); n > 0 {
		err := fmt.Errorf("%d of %d lines were refused", n, n+s.sent)
		if s.unheld.Load() {
			return withHint(err, "to wait for the floor, say it, and give the floor back: trunkline send --floor %s TEXT", plain(shellWord(rest[0])))
		}
		return err
	}
	return nil
}

// oneLine is a text as a lineReader.
type oneLine struct {
	text string
	read bool
}

func (l *oneLine) readLine() (string, error) {
	if l.read {
		return "", io.EOF
	}
	l.read = true
	return l.text, nil
}

// A sending is one run of send.
type sending struct {
	a        *app
	session  *transport.Session
	room     string
	how      sayHow
	patience *patience
	out      *printer
	answered chan struct{} // has a token when a line may have been
	sent     int
	refused  atomic.Int64
	unheld   atomic.Bool // lines were refused for want of the floor

	decided chan struct{} // closed when lease is known; nil if no floor is asked for
	lease   *chat.Lease   // nil: the floor was not granted
}

// run says all lines, and returns when each has its answer.
func (s *sending) run(lines lineReader) error {
	client, err := chat.NewClient(s.patience.ctx, s.session, chat.ClientConfig{NoDelivered: true})
	if err != nil {
		return err
	}
	if err := client.Join(s.patience.ctx, s.room, chat.Live()); err != nil {
		return err
	}
	var input chan error
	for {
		event, err := client.Next(s.patience.ctx)
		switch {
		case errors.Is(err, io.EOF): // all is answered
			return <-input
		case err != nil:
			return s.patience.explain(err, client.Unacknowledged())
		}
		switch e := event.(type) {
		case *chat.Joined:
			if input == nil {
				input = make(chan error, 1)
				if s.how.takesFloor {
					s.decided = make(chan struct{})
				}
				go func() { input <- s.say(client, lines) }() // it may be left behind in a read of stdin, which can't be ended
			}
		case *chat.Sent:
			s.sent++
			s.print(e)
		case *chat.Rejected:
			if e.Request == chat.RequestJoin {
				return fmt.Errorf("can't join %s: %s", e.Room, e.Reason)
			}
			s.refuse(&chat.Error{Code: e.Code, Reason: e.Reason})
		default:
			s.patience.note(event)
		}
		select {
		case s.answered <- struct{}{}:
		default:
		}
	}
}

// say says all lines, while it holds the floor if it is to, and ends the sending half behind them.
func (s *sending) say(client *chat.Client, lines lineReader) (err error) {
	defer func() { err = errors.Join(err, closeIfOpen(client)) }()
	if !s.how.takesFloor {
		return s.sayAll(client, lines)
	}
	ctx := s.patience.ctx
	lease, err := s.takeFloor(ctx, client.Producer())
	s.lease = lease
	close(s.decided)
	if err != nil {
		return err
	}
	client.UseGrant(s.room, lease.Grant())
	held := context.AfterFunc(lease.Context(), func() { s.patience.cancel(floorLost(s.room, context.Cause(lease.Context()))) })
	err = s.sayAll(client, lines)
	for err == nil && client.Unacknowledged() > 0 { // which are said under the grant, or not at all
		select {
		case <-s.answered:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if !held() { // it is lost, and run says so
		return err
	}
	return errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
}

// letGo gives up the floor, or the request for it, of one who was interrupted: the session does not end in order, and others would wait
// for it to come back.
func (s *sending) letGo(ctx context.Context) {
	if s.decided == nil || s.patience.cut != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	s.patience.cancel(nil)
	select {
	case <-s.decided:
		if s.lease != nil {
			_ = s.lease.Release(ctx) // else it has the grace
		}
	case <-ctx.Done():
	}
}

// takeFloor waits for the floor.
func (s *sending) takeFloor(ctx context.Context, producer chat.Producer) (*chat.Lease, error) {
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if s.how.timeout > 0 {
		bounded, cancel = context.WithTimeout(ctx, s.how.timeout)
	}
	defer cancel()
	lease, err := s.a.acquireFloor(bounded, s.session, s.room, chat.LeaseConfig{Producer: producer, Reason: s.how.reason})
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = rpc.Errorf(rpc.DeadlineExceeded, "the floor of %s was not free within %v", s.room, s.how.timeout)
	}
	return lease, err
}

func (s *sending) print(e *chat.Sent) {
	if s.out.asJSON {
		s.out.print(eventOf(e))
	} else {
		s.out.print(positionEvent(e.Position))
	}
}

// refuse tells that a line was refused.
func (s *sending) refuse(e *chat.Error) {
	s.refused.Add(1)
	reason, unheld := cutFloorHint(e.Error())
	if unheld {
		s.unheld.Store(true)
	}
	s.out.complain("refused: " + reason)
}

// sayAll publishes all lines.
func (s *sending) sayAll(client *chat.Client, lines lineReader) error {
	for {
		line, err := lines.readLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if _, one := lines.(*oneLine); err == nil && !one && strings.TrimSpace(line) == "" {
			continue
		}
		if err == nil {
			_, err = s.how.say(s.patience.ctx, client, s.room, line)
		}
		if e, ok := errors.AsType[*chat.Error](err); ok { // of this side
			s.refuse(e)
			continue
		}
		if errors.Is(err, errLineTooLong) {
			s.refuse(&chat.Error{Code: rpc.InvalidArgument, Reason: err.Error()})
			continue
		}
		if err != nil {
			return err
		}
	}
}

// closeIfOpen ends the sending half of a client's stream, unless that has ended.
func closeIfOpen(client *chat.Client) error {
	if err := client.Close(); !errors.Is(err, chat.ErrClosed) {
		return err
	}
	return nil
}

// positionEvent prints a position.
type positionEvent chat.Position

func (p positionEvent) line() string { return chat.Position(p).String() }
