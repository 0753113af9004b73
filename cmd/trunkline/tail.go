package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

const tailHelp = `examples:
  trunkline tail ops                     the newest 10 lines of a room
  trunkline tail ops --last 100 --json   the newest 100, as JSON lines
  trunkline tail ops --from 1            all that the log has, from a line's number on
  trunkline tail ops --from checkpoint --checkpoint-lines 100
                                         what you are not done with yet, on whatever machine
  trunkline tail @bob                    the room of you and bob
  trunkline tail ops --follow            and then what comes, until Ctrl-C
  trunkline tail ops --follow --cursor ops.cursor | while read -r line; do …; done
                                         from where it was last time: none lost, none twice

With --cursor FILE it begins behind the line that the file names, and has the file name each
line once that is printed. When the log no longer has what follows, it says so and exits with 1:
remove the file, or name another line with --from. With --follow it goes on when the
connection is lost, as soon as it can, for at most --wait.
`

// tail prints lines of a room's log.
func (a *app) tail(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	flags := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	last := fs.Uint64("last", 10, "how many of the newest lines")
	from := fs.String("from", "", "`NUMBER` of the first line, or checkpoint: behind your own")
	checkpoints := checkpointFlags(fs, 0)
	follow := fs.BoolP("follow", "f", false, "go on with what comes")
	cursor := fs.String("cursor", "", "`FILE` that keeps which line was printed last")
	wait := fs.Duration("wait", time.Minute, "how long to wait for a server when the connection is lost")
	rest, err := a.parse(c, fs, args)
	switch {
	case err != nil:
		return err
	case len(rest) != 1:
		return withHint(usagef("tail takes a room"), "trunkline tail ROOM")
	case fs.Changed("from") && fs.Changed("last"):
		return usagef("--from and --last are two ways to say where to begin")
	}
	var first uint64
	if fs.Changed("from") && *from != fromCheckpoint {
		if first, err = parseSeq(*from); err != nil {
			return err
		}
	}
	if err := checkpoints.check(); err != nil {
		return err
	}
	if err := checkRoomArg(rest[0]); err != nil {
		return err
	}
	t := &tailing{follow: *follow, cursor: *cursor, checkpoints: *checkpoints, first: first, from: chat.Last(*last)}
	switch {
	case *from == fromCheckpoint:
		t.from = chat.FromCheckpoint()
	case t.first == 0 && t.cursor != "":
		pos, known, err := readCursor(t.cursor)
		if err != nil {
			return err
		}
		if known {
			t.from = chat.After(pos)
		} else if !fs.Changed("last") {
			t.from = chat.Last(math.MaxUint64)
		}
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	session, err := a.dial(ctx, flags, true)
	if err != nil {
		return err
	}
	if t.room, err = roomOn(session, rest[0]); err != nil {
		session.Abort(transport.Aborted, "no such room")
		return err
	}
	t.out = &printer{asJSON: *asJSON, stderr: a.stderr, out: a.stdout}
	t.patience = newPatience(ctx, *wait)
	defer t.patience.stop()
	client, err := chat.NewClient(ctx, session, checkpoints.config())
	if err == nil {
		err = t.run(client)
	}
	if t.follow && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) { // which is how it ends
		err = nil
		ctx = context.WithoutCancel(ctx)
	}
	gone := t.patience.cut != nil
	if err == nil && !gone {
		gone, err = leave(ctx, client)
	}
	err = errors.Join(err, t.out.err())
	if err != nil || gone { // all that was to be printed is
		session.Abort(transport.Aborted, "client failed, or lost its connection")
		return err
	}
	return release(ctx, session)
}

// A tailing is one run of tail.
type tailing struct {
	room        string
	from        chat.From
	first       uint64 // the line to begin with; 0: as from says
	follow      bool
	cursor      string // file, or ""
	checkpoints checkpointFlag
	out         *printer
	patience    *patience
}

// leave ends the client's stream in order. gone says that its connection ended before that.
func leave(ctx context.Context, client *chat.Client) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	err = closeIfOpen(client)
	for err == nil && !gone {
		var event chat.Event
		event, err = client.Next(ctx)
		_, gone = event.(*chat.Detached)
	}
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return gone, err
}

// run prints lines up to the head that the log has when it is joined, or with follow until something ends it.
func (t *tailing) run(client *chat.Client) error {
	from := t.from
	var err error
	if t.first > 0 { // a number is no position: that has an epoch
		if from, err = t.locate(client); err != nil {
			return err
		}
	}
	if err := client.Join(t.patience.ctx, t.room, from); err != nil {
		return err
	}
	head := uint64(0)
	for {
		event, err := client.Next(t.patience.ctx)
		if err != nil {
			return t.patience.explain(err, 0)
		}
		if pos, ok := chat.PositionOf(event); ok {
			t.out.print(eventOf(event))
			if err := t.keep(pos); err != nil {
				return err
			}
			if !t.follow && pos.Seq >= head {
				if t.checkpoints.any() { // by itself the client knows only with the next event that this one is done with
					client.MarkRead(t.room, pos)
				}
				return nil
			}
			continue
		}
		switch e := event.(type) {
		case *chat.Joined:
			if head = e.Head; !t.follow && e.Next > head {
				return nil
			}
		case *chat.Gap:
			t.out.print(eventOf(e))
			// A log that has lost lines may never come to the head that the other had, or give its place to another line.
			if head = min(head, e.Head); !t.follow && e.First > head {
				return nil
			}
		case *chat.Rejected:
			return t.refused(e)
		default:
			t.patience.note(event)
		}
	}
}

// locate returns where t.first is: it joins, and leaves again, to be told the epoch and the head.
func (t *tailing) locate(client *chat.Client) (chat.From, error) {
	ctx := t.patience.ctx
	if err := client.Join(ctx, t.room, chat.Live()); err != nil {
		return chat.From{}, err
	}
	if err := client.Leave(ctx, t.room); err != nil {
		return chat.From{}, err
	}
	var joined *chat.Joined
	for {
		event, err := client.Next(ctx)
		if err != nil {
			return chat.From{}, t.patience.explain(err, 0)
		}
		switch e := event.(type) {
		case *chat.Joined:
			joined = e
		case *chat.Left:
			return chat.After(chat.Position{Epoch: joined.Epoch, Seq: min(t.first-1, joined.Head)}), nil
		case *chat.Rejected:
			return chat.From{}, t.refused(e)
		default:
			t.patience.note(event)
		}
	}
}

// refused says why the room was not joined.
func (t *tailing) refused(e *chat.Rejected) error {
	err := fmt.Errorf("can't read %s: %s", e.Room, e.Reason)
	if e.Code == rpc.OutOfRange || e.Code == rpc.DataLoss {
		return withHint(err, "the log has %d to %d: begin there with --from", e.First, e.Head)
	}
	return err
}

// keep notes in the cursor's file which line was printed last.
func (t *tailing) keep(p chat.Position) error {
	if t.cursor == "" {
		return nil
	}
	if err := t.out.err(); err != nil { // it was not printed
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(t.cursor), filepath.Base(t.cursor)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteString(p.String() + "\n")
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), t.cursor)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// readCursor returns the position that a file names, and whether there is one.
func readCursor(file string) (p chat.Position, known bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	text := strings.TrimSpace(string(b))
	if n, err := fmt.Sscanf(text, "%d:%d", &p.Epoch, &p.Seq); n != 2 || err != nil || p.String() != text {
		return p, false, withHint(fmt.Errorf("%s does not name a line", file), "remove it to begin anew")
	}
	return p, true, nil
}
