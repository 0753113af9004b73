package main

import "fmt"

// The events of records that refer to a line: "ref" is its seq.

type editedEvent struct {
	recordEvent // "edited": its line has another text

	Ref  uint64 `json:"ref"`
	Text string `json:"text"`
}

type deletedEvent struct {
	recordEvent // "deleted": its line has no text any more

	Ref uint64 `json:"ref"`
}

type reactedEvent struct {
	recordEvent // "reacted"

	Ref  uint64 `json:"ref"`
	Text string `json:"text"`
	Back bool   `json:"back"` // that reaction is taken back
}

type erasedEvent struct {
	recordEvent // "erased": in the place of a message, or of an edit, that was deleted before it came

	ID  string `json:"id"`
	Ref uint64 `json:"ref"` // of an edit; else 0
}

func (e *editedEvent) line() string {
	return fmt.Sprintf("* %s: %s has edited %d: %s", e.Room, e.By, e.Ref, e.Text)
}

func (e *deletedEvent) line() string {
	return fmt.Sprintf("* %s: %s has deleted %d", e.Room, e.By, e.Ref)
}

func (e *reactedEvent) line() string {
	if e.Back {
		return fmt.Sprintf("* %s: %s takes back from %d: %s", e.Room, e.By, e.Ref, e.Text)
	}
	return fmt.Sprintf("* %s: %s reacts to %d: %s", e.Room, e.By, e.Ref, e.Text)
}

func (e *erasedEvent) line() string {
	return fmt.Sprintf("* %s: what %s said at %d has been deleted", e.Room, e.By, e.Seq)
}

// A signalEvent is no record: it says what somebody does now.
type signalEvent struct {
	Type string `json:"type"` // "signal"
	Room string `json:"room"`
	Who  string `json:"who"`
	Kind string `json:"kind"` // "typing", "hand up" or "hand down"
}

func (e *signalEvent) line() string { return fmt.Sprintf("* %s: %s: %s", e.Room, e.Who, e.Kind) }
