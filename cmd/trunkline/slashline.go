package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
)

// noteLine notes which lines a command without a number means. c.mu is held.
func (c *conversation) noteLine(e chat.Event) {
	switch e := e.(type) {
	case *chat.Sent:
		if e.Kind == chat.KindText {
			c.own[e.Room] = max(c.own[e.Room], e.Position.Seq)
		}
	case *chat.Message:
		c.heard[e.Room] = max(c.heard[e.Room], e.Position.Seq)
	case *chat.Deleted: // what is before it nobody remembers here
		if c.own[e.Room] == e.Ref {
			delete(c.own, e.Room)
		}
		if c.heard[e.Room] == e.Ref {
			delete(c.heard, e.Room)
		}
	}
}

// about carries out a command about a line of the first room: /edit, /delete, /react and /unreact.
func (c *conversation) about(ctx context.Context, name, words string) {
	room := c.first()
	seq, text := lineNumber(words, name == "delete")
	if seq == 0 {
		last := c.own
		if name == "react" || name == "unreact" {
			last = c.heard
		}
		c.mu.Lock()
		seq = last[room]
		c.mu.Unlock()
	}
	if seq == 0 {
		c.out.complain("/" + name + ": there is no line that it could be about; say its number, as in /" + name + " 3")
		c.refuse()
		return
	}
	var id string
	var err error
	switch name {
	case "edit":
		id, err = c.client.Edit(ctx, room, seq, text)
	case "delete":
		id, err = c.client.Delete(ctx, room, seq)
	case "react":
		id, err = c.client.React(ctx, room, seq, text)
	case "unreact":
		id, err = c.client.Unreact(ctx, room, seq, text)
	}
	if err != nil {
		c.reject(err, chat.RequestPublish, room, id)
	}
}

// lineNumber cuts a line's number off words, if they begin with one that is above 0, and, unless it may stand alone, have more than
// that. Otherwise it is 0.
func lineNumber(words string, alone bool) (seq uint64, rest string) {
	first, rest, _ := strings.Cut(words, " ")
	rest = strings.TrimSpace(rest)
	if seq, err := strconv.ParseUint(strings.TrimPrefix(first, "#"), 10, 64); err == nil && (alone || rest != "") {
		return seq, rest
	}
	return 0, words
}

// hand carries out /hand.
func (c *conversation) hand(words string) {
	kind := map[string]chat.SignalKind{"": chat.SignalHandUp, "up": chat.SignalHandUp, "down": chat.SignalHandDown}[words]
	if kind == "" {
		c.out.complain("/hand: up or down")
		return
	}
	if err := c.client.Signal(c.first(), kind); err != nil {
		c.out.complain("/hand: " + err.Error())
	}
}
