package main

import (
	"fmt"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
)

type marksEvent struct {
	Type  string      `json:"type"` // "marks": how far identities have come
	Room  string      `json:"room"`
	Marks []chat.Mark `json:"marks"` // of those that have moved on; in answer to /read, of all
	More  bool        `json:"more"`  // others have, too, that are not named
}

func (e *marksEvent) line() string {
	var who []string
	for _, m := range e.Marks {
		switch m.Read {
		case m.Delivered:
			who = append(who, fmt.Sprintf("%s to %d", m.Who, m.Read))
		case 0:
			who = append(who, fmt.Sprintf("%s has got %d", m.Who, m.Delivered))
		default:
			who = append(who, fmt.Sprintf("%s to %d and has got %d", m.Who, m.Read, m.Delivered))
		}
	}
	switch {
	case len(who) == 0:
		return "* nobody has read anything in " + e.Room
	case e.More:
		who = append(who, "…")
	}
	return fmt.Sprintf("* read in %s: %s", e.Room, strings.Join(who, ", "))
}
