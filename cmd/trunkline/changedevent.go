package main

import (
	"fmt"
	"time"

	"github.com/trunkline-go/trunkline/chat"
)

type changedEvent struct {
	recordEvent
	chat.Change
}

func (e *changedEvent) line() string {
	return fmt.Sprintf("* %s: %s has %s", e.Room, e.By, e.did())
}

// did says what was done.
func (e *changedEvent) did() string {
	switch e.What {
	case chat.ChangeCreate:
		what := "created the room"
		if e.Settings != nil && e.Settings.Mode == chat.HalfDuplex {
			what += ", half-duplex"
		}
		if e.Settings != nil && e.Settings.Topic != "" {
			what += ": " + e.Settings.Topic
		}
		return what
	case chat.ChangeDelete:
		return "deleted the room"
	case chat.ChangeTopic:
		if e.Topic == "" {
			return "removed the topic"
		}
		return "set the topic: " + e.Topic
	case chat.ChangeRole:
		if e.Role == "" {
			return "given " + e.Who + " the default role"
		}
		return fmt.Sprintf("made %s %s", e.Who, e.Role)
	case chat.ChangeDefaultRole:
		return fmt.Sprintf("made %s the default role", e.Role)
	case chat.ChangeKick:
		return "kicked " + e.Who + untilAndWhy(e.Until, e.Reason)
	case chat.ChangeBan:
		return "banned " + e.Who + untilAndWhy(e.Until, e.Reason)
	case chat.ChangeUnban:
		return "taken the ban of " + e.Who + " back"
	case chat.ChangeMute:
		return "muted " + e.Who + untilAndWhy(e.Until, e.Reason)
	case chat.ChangeUnmute:
		return "taken the mute of " + e.Who + " back"
	case chat.ChangeMode:
		if e.Mode == "" {
			return "changed how the floor is held"
		}
		return fmt.Sprintf("made the room %s", e.Mode)
	case chat.ChangeSlow:
		if e.Slow == nil {
			return "let everyone speak as fast as they like"
		}
		return "slowed the room, to " + e.Slow.String()
	}
	return fmt.Sprintf("changed the room (%s)", e.What)
}

// untilAndWhy says when something ends, and why it was done.
func untilAndWhy(until time.Time, reason string) (text string) {
	if !until.IsZero() {
		text = " until " + until.UTC().Format(time.RFC3339)
	}
	if reason != "" {
		text += ": " + reason
	}
	return text
}
