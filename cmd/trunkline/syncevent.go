package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/chat"
)

// The events of synchronization points.

type syncPointEvent struct {
	Type      string     `json:"type"` // "syncpoint"
	Room      string     `json:"room"`
	Kind      string     `json:"kind"` // "major", or "minor": a member's checkpoint
	Name      string     `json:"name"` // of the point, or the member
	Seq       uint64     `json:"seq"`  // of the point
	Confirmed bool       `json:"confirmed"`
	State     string     `json:"state,omitempty"`    // of a major one, what happened: "set", "confirmed" or "abandoned"
	By        string     `json:"by,omitempty"`       // likewise
	WaitFor   []string   `json:"wait_for,omitempty"` // who is to have a checkpoint there, or has none when the point is abandoned
	Until     *time.Time `json:"until,omitempty"`    // how long they have
}

type resyncEvent struct {
	Type string `json:"type"` // "resync": a chair has members go on from another place
	Room string `json:"room"`
	By   string `json:"by"`
	Next uint64 `json:"next"` // seq of the line that comes next
}

func syncEvent(e *chat.SyncPoint) event {
	if e.What == chat.SyncResync {
		return &resyncEvent{"resync", e.Room, e.By, e.Seq}
	}
	s := &syncPointEvent{
		Type: "syncpoint", Room: e.Room, Kind: "major", Name: e.Name, Seq: e.Seq, Confirmed: e.Confirmed, State: string(e.What), By: e.By, WaitFor: e.WaitFor,
	}
	if !e.Until.IsZero() {
		s.Until = &e.Until
	}
	return s
}

// checkpointEvent says that the server keeps a member's checkpoint.
func checkpointEvent(room, who string, seq uint64) event {
	return &syncPointEvent{Type: "syncpoint", Room: room, Kind: "minor", Name: who, Seq: seq, Confirmed: true}
}

func (e *syncPointEvent) line() string {
	if e.Kind == "minor" {
		return fmt.Sprintf("* %s: checkpoint of %s at %d", e.Room, e.Name, e.Seq)
	}
	line := fmt.Sprintf("* %s: synchronization point %q at %d: ", e.Room, e.Name, e.Seq)
	switch {
	case e.Confirmed:
		return line + "confirmed"
	case e.State == string(chat.SyncSet):
		return line + fmt.Sprintf("set by %s, waits for %s", e.By, strings.Join(e.WaitFor, ", "))
	case len(e.WaitFor) > 0:
		return line + fmt.Sprintf("%s, without %s", e.State, strings.Join(e.WaitFor, ", "))
	}
	return line + e.State
}

func (e *resyncEvent) line() string {
	return fmt.Sprintf("* %s: %s has all go on with %d", e.Room, e.By, e.Next)
}

// resync has the first room go on from a line, or from now on.
func (c *conversation) resync(ctx context.Context, where string) {
	room := c.first()
	if room == "" {
		c.out.complain("you are in no room (join one with /join ROOM)")
		return
	}
	from := chat.Live()
	switch where {
	case "head":
	case fromCheckpoint:
		from = chat.FromCheckpoint()
	default:
		seq, err := parseSeq(where)
		if err != nil {
			c.out.complain(fmt.Sprintf("%s (/resync N|checkpoint|head)", err))
			return
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		res, err := chat.Show.Call(ctx, c.session, &chat.ShowRequest{Room: room})
		if err != nil {
			c.out.complain("resync: " + err.Error())
			return
		}
		from = chat.After(chat.Position{Epoch: res.Epoch, Seq: min(seq-1, res.Head)})
	}
	if err := c.client.Resync(ctx, room, from); err != nil {
		c.reject(err, chat.RequestResync, room, "")
	}
}
