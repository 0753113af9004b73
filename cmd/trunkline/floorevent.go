package main

import (
	"fmt"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
)

func newFloorEvent(e *chat.Floor) *floorEvent {
	queue := e.Queue
	if queue == nil {
		queue = []string{} // in JSON, nobody is [] and not null
	}
	return &floorEvent{"floor", e.Room, e.Position.Seq, string(e.State), e.Who, e.Holder, e.Grant, queue, e.By, e.Why, e.Reason}
}

// floorEventOf returns the event of what came of a call.
func floorEventOf(res *chat.FloorResponse) *floorEvent {
	queue := res.Queue
	if queue == nil {
		queue = []string{}
	}
	return &floorEvent{Type: "floor", Room: res.Room, Seq: res.Seq, State: string(res.State), Who: res.Who, Holder: res.Holder, Grant: res.Grant, Queue: queue}
}

// A floorStatusEvent is the floor as it is, not as it changes.
type floorStatusEvent struct {
	floorStatusType
	chat.FloorStatus
}

type floorStatusType struct {
	Type string `json:"type"` // "floorstatus"
}

func newFloorStatusEvent(st *chat.FloorStatus) *floorStatusEvent {
	return &floorStatusEvent{floorStatusType{"floorstatus"}, *st}
}

func (e *floorStatusEvent) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "* %s is %s", e.Room, e.Mode)
	if e.Chaired {
		b.WriteString(", with a chair")
	}
	if h := e.Holder; h != nil {
		fmt.Fprintf(&b, ": %s has the floor (grant %d)", h.Who, h.Grant)
	} else {
		b.WriteString(": nobody has the floor")
	}
	for i, list := range [][]chat.FloorParticipant{e.Queue, e.Pending} {
		if len(list) == 0 {
			continue
		}
		b.WriteString([]string{"; next: ", "; for the chair: "}[i])
		for j, p := range list {
			if j > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s (%d)", p.Who, p.Request)
			if p.Reason != "" {
				fmt.Fprintf(&b, " %q", p.Reason)
			}
		}
	}
	return b.String()
}

func (e *floorEvent) line() string {
	line := "* " + e.Room + ": " + e.what()
	if e.Reason != "" {
		line += ": " + e.Reason
	}
	if len(e.Queue) > 0 {
		line += " (next: " + strings.Join(e.Queue, ", ") + ")"
	}
	return line
}

// what says what has happened.
func (e *floorEvent) what() string {
	by := ""
	if e.By != "" && e.By != e.Who {
		by = " by " + e.By
	}
	switch chat.FloorState(e.State) {
	case chat.FloorPending:
		return e.Who + " asks for the floor"
	case chat.FloorAccepted:
		return e.Who + " waits for the floor"
	case chat.FloorGranted:
		if e.Why == "passed" {
			return fmt.Sprintf("%s has passed the floor to %s", e.By, e.Who)
		}
		return e.Who + " has the floor"
	case chat.FloorDenied:
		return e.Who + " is not given the floor" + by
	case chat.FloorCancelled:
		return e.Who + " does not want the floor any more"
	case chat.FloorReleased:
		return e.Who + " has given the floor back"
	case chat.FloorRevoked:
		switch e.Why {
		case "lost", "lapsed":
			return e.Who + " has lost the floor"
		case "longest":
			return "the time of " + e.Who + " is up"
		}
		return "the floor was taken from " + e.Who + by
	case chat.FloorPlease:
		return fmt.Sprintf("%s asks %s for the floor", e.Who, e.Holder)
	}
	return fmt.Sprintf("%s is %s", e.Who, e.State)
}
