package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

const floorHelp = `examples:
  trunkline floor status ops              who has the floor, and who waits for it
  trunkline floor watch ops --json        the same, and again after each change
  trunkline floor request ops             wait for it, and hold it until Ctrl-C
  trunkline floor request ops -- ./deploy run a command while holding it
  trunkline floor pass ops bob            give it to bob, who is in the room
  trunkline floor please ops "one word"   ask the holder for it
  trunkline floor release ops             give it back, or a request up, from any session
  trunkline floor mode ops half-duplex    only who holds the floor speaks (for chairs)

For chairs: floor accept, grant and deny ROOM NUMBER [REASON], of a request, floor revoke ROOM
[REASON], and floor request ROOM --for NAME, of somebody who is in the room.

request holds the floor under a lease, which it renews. A command that it runs finds the number
of the grant in TRUNKLINE_GRANT: these rise, so who is asked to do something under one can refuse a
lower one than it has seen. When the floor is lost the command is killed, and request exits with 1.
`

// floor does something with the floor of a room.
func (a *app) floor(ctx context.Context, c *command, args []string) error {
	var run []string
	for i, arg := range args { // what follows is the command's, flags and all
		if arg == "--" {
			args, run = args[:i], args[i+1:]
			break
		}
	}
	fs := flagSet(c)
	flags := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	priority := fs.String("priority", "", "of a request: lowest, low, normal, high or highest; above normal is for chairs")
	forWhom := fs.String("for", "", "request it for `NAME`, who is in the room, and hold nothing (for chairs)")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return withHint(usagef("floor takes what to do, and a room"), "trunkline floor status ROOM")
	}
	verb, room, text := rest[0], rest[1], strings.Join(rest[2:], " ")
	if err := checkRoomArg(room); err != nil {
		return err
	}
	wrong := func(err error) error { return withHint(err, "trunkline help floor") }
	holds := verb == "request" && *forWhom == ""
	switch {
	case len(run) > 0 && !holds:
		return wrong(usagef("a command is run behind request, while the floor is held"))
	case verb != "request" && (fs.Changed("priority") || fs.Changed("for")):
		return wrong(usagef("--priority and --for are of a request"))
	case text != "" && (verb == "status" || verb == "watch"):
		return wrong(usagef("floor %s takes a room, and nothing else", verb))
	}
	out := &printer{asJSON: *asJSON, stderr: a.stderr, out: a.stdout}
	switch verb {
	case "watch":
		return a.watchFloor(ctx, flags, out, room)
	case "status":
		err := a.onSession(ctx, flags, func(ctx context.Context, s *transport.Session) error {
			on, err := roomOn(s, room)
			if err != nil {
				return err
			}
			st, err := chat.QueryFloor.Call(ctx, s, &chat.FloorQuery{Room: on})
			if err == nil {
				out.print(newFloorStatusEvent(st, ownName(s)))
			}
			return err
		})
		return errors.Join(err, out.err())
	case "mode":
		call, err := orderNamed("mode").call(room, rest[2:], end{})
		if err != nil {
			return withHint(err, "trunkline floor mode ROOM half-duplex")
		}
		return a.changeRoom(ctx, flags, room, *asJSON, call)
	}
	action, err := parseFloorAction(verb, text)
	if err != nil {
		return wrong(err)
	}
	action.priority = *priority
	if holds {
		if len(run) > 0 {
			if _, err := exec.LookPath(run[0]); err != nil { // before others wait for it
				return err
			}
		}
		return a.holdFloor(ctx, flags, out, room, chat.LeaseConfig{Priority: *priority, Reason: action.reason}, run)
	}
	if *forWhom != "" {
		if err := checkWho(*forWhom); err != nil {
			return err
		}
		action.who = *forWhom
	}
	err = a.onSession(ctx, flags, func(ctx context.Context, s *transport.Session) error {
		on, err := roomOn(s, room)
		if err != nil {
			return err
		}
		res, err := action.do(ctx, s, on)
		if err == nil {
			out.print(floorEventOf(res, ownName(s)))
		}
		return err
	})
	return errors.Join(err, out.err())
}

// watchFloor prints the floor until it is told to stop.
func (a *app) watchFloor(ctx context.Context, flags clientFlags, out *printer, room string) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	session, err := a.dial(ctx, flags, false)
	if err != nil {
		return err
	}
	if room, err = roomOn(session, room); err != nil {
		return errors.Join(err, release(context.WithoutCancel(ctx), session))
	}
	statuses, err := chat.WatchFloor.Call(ctx, session, &chat.FloorQuery{Room: room})
	for err == nil && out.err() == nil {
		var st *chat.FloorStatus
		if st, err = statuses.Recv(); err == nil {
			out.print(newFloorStatusEvent(st, ownName(session)))
		}
	}
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, out.err(), release(context.WithoutCancel(ctx), session))
}

// holdFloor waits for the floor, and holds it for as long as a command runs, or until it is told to stop.
func (a *app) holdFloor(ctx context.Context, flags clientFlags, out *printer, room string, cfg chat.LeaseConfig, run []string) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	session, err := a.dial(ctx, flags, true)
	if err != nil {
		return err
	}
	if room, err = roomOn(session, room); err != nil {
		return errors.Join(err, release(context.WithoutCancel(ctx), session))
	}
	_, _ = rand.Read(cfg.Producer[:]) // never fails
	lease, err := a.acquireFloor(ctx, session, room, cfg)
	if err != nil {
		return errors.Join(err, release(context.WithoutCancel(ctx), session))
	}
	self := ownName(session)
	out.print(&floorEvent{
		Type: "floor", Room: room, Seq: lease.Position().Seq, State: string(chat.FloorGranted), Who: self, Holder: self, Grant: lease.Grant(), Queue: []string{}, self: self,
	})
	held, cancel := context.WithCancelCause(lease.Context())
	defer cancel(nil)
	context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	if len(run) > 0 {
		err = a.runHolding(held, lease.Grant(), run)
	} else {
		<-held.Done()
	}
	if lost := context.Cause(lease.Context()); lost != nil {
		_ = release(context.WithoutCancel(ctx), session) // says less
		return floorLost(room, lost)                     // whatever the command said
	}
	err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	return errors.Join(err, out.err(), release(context.WithoutCancel(ctx), session))
}

// runHolding runs a command until it ends, or ctx.
func (a *app) runHolding(ctx context.Context, grant uint64, run []string) error {
	cmd := exec.CommandContext(ctx, run[0], run[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	cmd.Env = append(os.Environ(), "TRUNKLINE_GRANT="+strconv.FormatUint(grant, 10))
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", run[0], err)
	}
	return nil
}
