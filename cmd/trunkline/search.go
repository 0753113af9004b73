package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/chat"
)

const searchHelp = `examples:
  trunkline search ops backup                   what has the word, the newest first
  trunkline search ops '"backup done" tuesd*'   a phrase, and a word that begins so
  trunkline search ops 'backup -done from:alice after:2026-01-31'
  trunkline search ops backup --json

It asks for the lines of a room that have all the words and phrases, and none of those behind
a minus, whatever their case and accents. before: and after: take a date, or a time of RFC 3339.

Each line is printed with its number: history ROOM --around NUMBER has what was said there.
A query that begins with a minus stands behind --.
`

// search prints the lines of a room that have words.
func (a *app) search(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	flags := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	before := fs.Uint64("before", 0, "only lines before line `NUMBER`")
	limit := fs.IntP("limit", "n", 50, "how many lines, at most 500")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return withHint(usagef("search takes a room and a query"), "trunkline search ROOM QUERY")
	}
	if err := checkRoomArg(rest[0]); err != nil {
		return err
	}
	if *limit < 1 {
		return usagef("--limit is at least 1")
	}
	req := &chat.SearchRequest{Room: rest[0], Query: strings.Join(rest[1:], " "), Limit: *limit}
	if fs.Changed("before") {
		req.Before = before
	}
	res, err := askIn(ctx, a, flags, chat.Search, req, &req.Room)
	if err != nil {
		return err
	}
	out := &printer{asJSON: *asJSON, stderr: a.stderr, out: a.stdout}
	printHits(out, res)
	return out.err()
}

// printHits prints what was found, and whether that is all.
func printHits(out *printer, res *chat.SearchResponse) {
	end := &searchEvent{Type: "search", Room: res.Room, Epoch: res.Epoch, Hits: len(res.Hits), More: res.More}
	for i := range res.Hits {
		h := &res.Hits[i]
		out.print(&hitEvent{messageEvent{"message", res.Room, h.Seq, h.From, h.Time, h.ID, h.Text}})
		end.Last = h.Seq
	}
	out.print(end)
}

// A hitEvent is a message that was found.
type hitEvent struct{ messageEvent }

func (e *hitEvent) line() string {
	return fmt.Sprintf("%d %s %s: %s", e.Seq, e.Time.Local().Format(time.DateTime), e.From, e.Text)
}

type searchEvent struct {
	Type  string `json:"type"` // "search": the end of what was found
	Room  string `json:"room"`
	Epoch uint64 `json:"epoch"`
	Hits  int    `json:"hits"`
	Last  uint64 `json:"last"` // seq of the last of them, which is the oldest; 0: there is none
	More  bool   `json:"more"` // before that
}

func (e *searchEvent) line() string {
	line := fmt.Sprintf("* %d found in %s", e.Hits, e.Room)
	if e.Hits == 0 {
		line = "* nothing found in " + e.Room
	}
	if e.More {
		line += fmt.Sprintf(", and more before %d", e.Last)
	}
	return line
}
