package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/chat"
)

func newFloorEvent(e *chat.Floor) *floorEvent {
	return &floorEvent{
		Type: "floor", Room: e.Room, Seq: e.Position.Seq, State: string(e.State), Who: e.Who, Holder: e.Holder, Grant: e.Grant, Queue: orEmpty(e.Queue),
		By: e.By, Why: e.Why, Reason: e.Reason, Request: e.Request, Place: e.Place,
	}
}

// floorEventOf returns the event of what came of a call of self's.
func floorEventOf(res *chat.FloorResponse, self string) *floorEvent {
	return &floorEvent{
		Type: "floor", Room: res.Room, Seq: res.Seq, State: string(res.State), Who: res.Who, Holder: res.Holder, Grant: res.Grant, Queue: orEmpty(res.Queue),
		Request: res.Request, Place: res.Place, self: self,
	}
}

// orEmpty has nobody be [] in JSON, and not null.
func orEmpty(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// A floorStatusEvent is the floor as it is, not as it changes.
type floorStatusEvent struct {
	floorStatusType
	chat.FloorStatus

	self string // who reads it
}

type floorStatusType struct {
	Type string `json:"type"` // "floorstatus"
}

func newFloorStatusEvent(st *chat.FloorStatus, self string) *floorStatusEvent {
	return &floorStatusEvent{floorStatusType{"floorstatus"}, *st, self}
}

func (e *floorStatusEvent) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "* %s is %s", e.Room, e.Mode)
	if e.Chaired {
		b.WriteString(", with a chair")
	}
	if h := e.Holder; h != nil {
		fmt.Fprintf(&b, ": %s the floor (grant %d", does(h.Who, e.self, "has", "have"), h.Grant)
		if h.ForMs > 0 {
			fmt.Fprintf(&b, ", for another %s", age(time.Duration(h.ForMs)*time.Millisecond))
		}
		if h.Lost {
			b.WriteString(", connection lost")
		}
		b.WriteString(")")
	} else {
		b.WriteString(": nobody has the floor")
	}
	var next, pending []string
	for i := range e.Queue {
		next = append(next, fmt.Sprintf("%d. %s", i+1, participant(&e.Queue[i], e.self)))
	}
	for i := range e.Pending {
		pending = append(pending, participant(&e.Pending[i], e.self))
	}
	if len(next) > 0 {
		b.WriteString("; next: " + strings.Join(next, ", "))
	}
	if len(pending) > 0 {
		b.WriteString("; for the chair: " + strings.Join(pending, ", "))
	}
	return b.String()
}

// participant says who waits for the floor.
func participant(p *chat.FloorParticipant, self string) string {
	text := fmt.Sprintf("%s (request %d", nameTo(self, p.Who), p.Request)
	if p.Priority != "normal" {
		text += ", " + p.Priority
	}
	text += ")"
	if p.Reason != "" {
		text += fmt.Sprintf(" %q", p.Reason)
	}
	return text
}

// nameTo returns what somebody is called to self.
func nameTo(self, who string) string {
	if who == self {
		return "you"
	}
	return who
}

// does says who does something: "bob has", say, or to bob "you have".
func does(who, self, they, you string) string {
	if who == self {
		return "you " + you
	}
	return who + " " + they
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
		by = " by " + nameTo(e.self, e.By)
	}
	who := func(they, you string) string { return does(e.Who, e.self, they, you) }
	switch chat.FloorState(e.State) {
	case chat.FloorPending:
		return fmt.Sprintf("%s the chair for the floor, request %d", who("asks", "ask"), e.Request)
	case chat.FloorAccepted:
		return fmt.Sprintf("%s for the floor, at place %d", who("waits", "wait"), e.Place)
	case chat.FloorGranted:
		if e.Why == "passed" {
			return fmt.Sprintf("%s passed the floor to %s", does(e.By, e.self, "has", "have"), nameTo(e.self, e.Who))
		}
		return who("has the floor", "have the floor")
	case chat.FloorDenied:
		return who("is", "are") + " not given the floor" + by
	case chat.FloorCancelled:
		return who("does", "do") + " not want the floor any more"
	case chat.FloorReleased:
		return who("has", "have") + " given the floor back"
	case chat.FloorRevoked:
		switch e.Why {
		case "lost", "lapsed":
			return who("has", "have") + " lost the floor"
		case "longest":
			return does(e.Who, e.self, "has", "have") + " had the floor for as long as one may"
		}
		return "the floor was taken from " + nameTo(e.self, e.Who) + by
	case chat.FloorMissed:
		return e.Who + " is not there, and may come back to the floor"
	case chat.FloorHere:
		return e.Who + " is there, on the floor or waiting for it"
	case chat.FloorPlease:
		return fmt.Sprintf("%s %s for the floor", who("asks", "ask"), nameTo(e.self, e.Holder))
	}
	return fmt.Sprintf("%s %s", who("is", "are"), e.State)
}

// passedOn says whether e is told by the next event, too: that the floor was passed to somebody.
func (e *floorEvent) passedOn() bool {
	return e.State == string(chat.FloorReleased) && e.Why == "passed"
}
