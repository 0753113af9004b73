package main

import (
	"cmp"
	"context"
	"math"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Checkpoints: minor synchronization points, of oneself and of others.

// fromCheckpoint is what --from may be, beside the number of a line.
const fromCheckpoint = "checkpoint"

// A checkpointFlag holds when a command says by itself how far it has come.
type checkpointFlag struct {
	lines int
	after time.Duration
}

// checkpointFlags adds --checkpoint-lines and --checkpoint-after.
func checkpointFlags(fs *pflag.FlagSet, after time.Duration) *checkpointFlag {
	f := new(checkpointFlag)
	fs.IntVar(&f.lines, "checkpoint-lines", 0, "have a checkpoint after so many lines; 0: not by their number")
	fs.DurationVar(&f.after, "checkpoint-after", after, "have a checkpoint so long after a line; 0: not by time")
	return f
}

// any says whether there is to be a checkpoint.
func (f checkpointFlag) any() bool { return f.lines > 0 || f.after > 0 }

func (f checkpointFlag) check() error {
	if f.lines < 0 || f.after < 0 {
		return usagef("what --checkpoint-lines and --checkpoint-after say can't be negative")
	}
	return nil
}

func (f checkpointFlag) config() chat.ClientConfig {
	return chat.ClientConfig{CheckpointLines: f.lines, CheckpointAfter: f.after}
}

// where returns where the records of a room begin.
func (c *conversation) where() chat.From {
	if c.fromCheckpoint {
		return chat.FromCheckpoint()
	}
	return chat.Live()
}

// joinLeft joins a room that cannot be joined at one's checkpoint any more with what there is left, and says whether it does.
func (c *conversation) joinLeft(ctx context.Context, r *chat.Rejected) bool {
	if !c.fromCheckpoint || r.Request != chat.RequestJoin || r.Code != rpc.OutOfRange || !c.isIn(r.Room) {
		return false
	}
	c.mu.Lock()
	_, joined := c.earlier[r.Room] // then it is no answer to the JOIN
	c.mu.Unlock()
	return !joined && c.client.Join(ctx, r.Room, chat.Last(math.MaxUint64)) == nil
}

// minorPoints are the newest checkpoints that were shown, by room and identity. Those of a room have been told by its server, which
// has 10,000 at most.
type minorPoints map[string]map[string]uint64

// news says whether a checkpoint has not been shown yet, and notes that it is.
func (m minorPoints) news(room string, mark chat.Mark) bool {
	if mark.Read <= m[room][mark.Who] {
		return false
	}
	if m[room] == nil {
		m[room] = make(map[string]uint64)
	}
	m[room][mark.Who] = mark.Read
	return true
}

// showCheckpoints prints those that have risen.
func (c *conversation) showCheckpoints(e *chat.Marked) {
	for _, mark := range e.Marks {
		c.mu.Lock()
		news := c.minor.news(e.Room, mark)
		c.mu.Unlock()
		if news {
			c.out.print(checkpointEvent(e.Room, mark.Who, mark.Read))
		}
	}
}

// checkpoint has one in a room at what has been shown, and prints it once the server keeps it.
func (c *conversation) checkpoint(ctx context.Context, room string) {
	c.mu.Lock()
	pos, ok := c.shown[room]
	c.mu.Unlock()
	if !ok {
		c.out.complain("no line of " + room + " has been shown")
		return
	}
	mark, err := raiseTo(ctx, c.session, room, pos)
	if err != nil {
		c.out.complain("checkpoint: " + err.Error())
		return
	}
	c.mu.Lock()
	c.minor.news(room, mark)
	c.mu.Unlock()
	c.out.print(checkpointEvent(room, mark.Who, mark.Read))
}

// raiseTo has a checkpoint at a position, and returns it, or the one that is there behind it.
func raiseTo(ctx context.Context, s *transport.Session, room string, p chat.Position) (chat.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	res, err := chat.Raise.Call(ctx, s, &chat.RaiseRequest{Room: room, Epoch: p.Epoch, Read: p.Seq})
	if err != nil {
		return chat.Mark{}, err
	}
	// An older server answers nothing.
	return chat.Mark{Who: cmp.Or(res.Who, s.Identity().Name), Read: max(res.Read, p.Seq)}, nil
}

const roomCheckpointHelp = `examples:
  trunkline room checkpoint ops 17     you are done with line 17, and all before it
  trunkline room checkpoint ops        and with all that there is now
  trunkline tail ops --from checkpoint   what has come since

A checkpoint is yours, on whatever machine, and others see it. It does not go back: it prints the
number of the line at which it is. A synchronization point may wait for it: trunkline room sync.
`

// roomCheckpoint has a checkpoint in a room.
func (a *app) roomCheckpoint(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 && len(rest) != 2 {
		return withHint(usagef("%s takes a room, and the number of a line", c.name), "trunkline %s %s", c.name, c.args)
	}
	if err := checkRoomArg(rest[0]); err != nil {
		return err
	}
	var at uint64
	if len(rest) == 2 {
		if at, err = parseSeq(rest[1]); err != nil {
			return err
		}
	}
	var room string
	var mark chat.Mark
	err = a.onSession(ctx, client, func(ctx context.Context, s *transport.Session) error {
		if room, err = roomOn(s, rest[0]); err != nil {
			return err
		}
		res, err := chat.Show.Call(ctx, s, &chat.ShowRequest{Room: room})
		if err != nil {
			return err
		}
		mark, err = raiseTo(ctx, s, room, chat.Position{Epoch: res.Epoch, Seq: cmp.Or(at, res.Head)})
		return err
	})
	if err != nil {
		return roomHint(err, rest[0])
	}
	if *asJSON {
		return a.printJSON(checkpointEvent(room, mark.Who, mark.Read))
	}
	return a.print(strconv.FormatUint(mark.Read, 10) + "\n")
}
