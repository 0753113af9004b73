package main

import (
	"context"
	"fmt"

	"github.com/trunkline-go/trunkline/chat"
)

const historyHelp = `examples:
  trunkline history ops                 the newest 50 lines of a room
  trunkline history ops --before 1200   the 50 before line 1200
  trunkline history ops --after 1200 -n 500 --json
  trunkline history ops --around 1200   line 1200, and what was said before and after it

It prints a page of what the room's log has, without joining the room, and last whether there is
more before and after. A page may be shorter than was asked for, if its lines are long. To
follow a room, or print all of it, use tail.
`

// history prints a page of a room's log.
func (a *app) history(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	flags := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	before := fs.Uint64("before", 0, "the newest lines before line `NUMBER`")
	after := fs.Uint64("after", 0, "the oldest lines after line `NUMBER`")
	around := fs.Uint64("around", 0, "line `NUMBER`, and those before and after it")
	limit := fs.IntP("limit", "n", 50, "how many lines, at most 500")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return withHint(usagef("history takes a room"), "trunkline history ROOM")
	}
	if err := checkRoomArg(rest[0]); err != nil {
		return err
	}
	if *limit < 1 {
		return usagef("--limit is at least 1")
	}
	req := &chat.HistoryRequest{Room: rest[0], Limit: *limit}
	given := 0
	for name, set := range map[string]func(){
		"before": func() { req.Before = before },
		"after":  func() { req.After = after },
		"around": func() { req.Around = around },
	} {
		if fs.Changed(name) {
			given++
			set()
		}
	}
	if given > 1 {
		return usagef("--before, --after and --around are three ways to say where")
	}
	res, err := askIn(ctx, a, flags, chat.History, req, &req.Room)
	if err != nil {
		return err
	}
	out := &printer{asJSON: *asJSON, stderr: a.stderr, out: a.stdout}
	printPage(out, res)
	return out.err()
}

// printPage prints what a page has, as it was printed for who was there, and what there is beside it.
func printPage(out *printer, res *chat.HistoryResponse) {
	for i := range res.Records {
		out.print(eventOf(res.Records[i].Event(res.Room)))
	}
	out.print(&historyEvent{"history", res.Room, res.Epoch, res.Head, res.First, res.MoreBefore, res.MoreAfter})
}

type historyEvent struct {
	Type       string `json:"type"` // "history": the end of a page
	Room       string `json:"room"`
	Epoch      uint64 `json:"epoch"`
	Head       uint64 `json:"head"`  // of the log
	First      uint64 `json:"first"` // the oldest that it still has
	MoreBefore bool   `json:"more_before"`
	MoreAfter  bool   `json:"more_after"`
}

func (e *historyEvent) line() string {
	more := "no more"
	switch {
	case e.MoreBefore && e.MoreAfter:
		more = "more before and after"
	case e.MoreBefore:
		more = "more before"
	case e.MoreAfter:
		more = "more after"
	}
	return fmt.Sprintf("* %s has %d to %d: %s", e.Room, e.First, e.Head, more)
}
