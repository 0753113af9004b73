package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/chat"
)

// sayHow is what send makes of its text: at most one of these, or just a line.
type sayHow struct {
	edit, del, react uint64 // the seq of a line
	expect           string // a head
	head             chat.Position

	takesFloor bool
	reason     string        // of the request
	timeout    time.Duration // for how long it waits for the floor; 0: for as long as it takes
}

func sayFlags(fs *pflag.FlagSet) *sayHow {
	h := &sayHow{}
	fs.Uint64Var(&h.edit, "edit", 0, "the text is to be in place of line `N` of one's own")
	fs.Uint64Var(&h.del, "delete", 0, "take line `N` back; there is no text")
	fs.Uint64Var(&h.react, "react", 0, "the text is a reaction to line `N`")
	fs.StringVar(&h.expect, "expect-head", "", "say it only if the newest record is `N`, or EPOCH:N; 0: there is none")
	fs.StringVar(&h.reason, "floor", "", "wait for the room's floor, say it while holding that, and give it back; `REASON` is told to all")
	fs.Lookup("floor").NoOptDefVal = " "
	fs.DurationVar(&h.timeout, "timeout", 0, "with --floor, how long to wait for it (default as long as it takes)")
	return h
}

// check checks the flags against the arguments, and returns these with a text.
func (h *sayHow) check(fs *pflag.FlagSet, args []string) ([]string, error) {
	h.takesFloor, h.reason = fs.Changed("floor"), strings.TrimSpace(h.reason)
	switch {
	case fs.Changed("timeout") && !h.takesFloor:
		return nil, usagef("--timeout is for --floor; --wait is how long to wait for a server that was lost")
	case fs.Changed("timeout") && h.timeout <= 0:
		return nil, usagef("--timeout wants a time above 0, such as 30s")
	}
	n := 0
	for _, set := range []bool{h.edit > 0, h.del > 0, h.react > 0, h.expect != ""} {
		if set {
			n++
		}
	}
	if n == 0 {
		return args, nil
	}
	if n > 1 {
		return nil, usagef("--edit, --delete, --react and --expect-head are for a line each")
	}
	if h.del > 0 {
		if len(args) != 1 {
			return nil, withHint(usagef("--delete takes no text"), "trunkline send ROOM --delete N")
		}
		return append(args, ""), nil
	}
	if len(args) == 2 && args[1] == "-" {
		return nil, usagef("of stdin, each line is just said")
	}
	if h.expect != "" {
		epoch, seq, both := strings.Cut(h.expect, ":")
		if !both {
			epoch, seq = "0", h.expect
		}
		var err error
		if h.head.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
			h.head.Seq, err = strconv.ParseUint(seq, 10, 64)
		}
		if err != nil {
			return nil, usagef("--expect-head %q: want a position, as send prints it, or its number", h.expect)
		}
	}
	return args, nil
}

func (h *sayHow) say(ctx context.Context, client *chat.Client, room, text string) (id string, err error) {
	switch {
	case h.edit > 0:
		return client.Edit(ctx, room, h.edit, text)
	case h.del > 0:
		return client.Delete(ctx, room, h.del)
	case h.react > 0:
		return client.React(ctx, room, h.react, text)
	case h.expect != "":
		return client.PublishAt(ctx, room, h.head, text)
	}
	return client.Publish(ctx, room, text)
}
