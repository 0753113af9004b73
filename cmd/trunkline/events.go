package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// The events that chat prints, one a line. With --json they are the JSON of these
// structs, which scripts rely on; for people they are what line returns.
type event interface {
	line() string
}

type connectedEvent struct {
	Type     string `json:"type"`  // "session"
	State    string `json:"state"` // "connected"
	Server   string `json:"server"`
	Identity string `json:"identity"` // SPIFFE ID
	Name     string `json:"name"`     // of the user; what "from" and "who" say
	Session  string `json:"session"`  // id, in hex
}

type endedEvent struct {
	Type   string               `json:"type"`             // "session"
	State  string               `json:"state"`            // "released", "drained", "aborted", "refused" or "lost"
	Code   string               `json:"code"`             // name of the close code
	Number *transport.CloseCode `json:"number,omitempty"` // its number; none for Lost
	Reason string               `json:"reason"`
}

type detachedEvent struct {
	Type   string               `json:"type"`  // "session"
	State  string               `json:"state"` // "detached": it is being resumed
	Code   string               `json:"code"`  // how its connection ended, as in endedEvent
	Number *transport.CloseCode `json:"number,omitempty"`
	Reason string               `json:"reason"`
}

type resumedEvent struct {
	Type    string `json:"type"`  // "session"
	State   string `json:"state"` // "resumed"
	Session string `json:"session"`
	Kept    bool   `json:"kept"` // the server still had it; if not, the server has restarted, or it took too long
}

type gapEvent struct {
	Type   string `json:"type"` // "gap"
	Room   string `json:"room"`
	After  uint64 `json:"after"` // seq of the last line that came
	Code   string `json:"code"`  // "OutOfRange": lines have been trimmed; "DataLoss": the log has lost some
	Reason string `json:"reason"`
	Epoch  uint64 `json:"epoch"`
	Head   uint64 `json:"head"`
	First  uint64 `json:"first"` // what comes next
}

type joinedEvent struct {
	Type    string   `json:"type"` // "joined"
	Room    string   `json:"room"`
	Epoch   uint64   `json:"epoch"`
	Head    uint64   `json:"head"`
	Members []string `json:"members"`
	More    int      `json:"more,omitempty"` // a membersEvent follows, which has all
}

type messageEvent struct {
	Type string    `json:"type"` // "message"
	Room string    `json:"room"`
	Seq  uint64    `json:"seq"`
	From string    `json:"from"`
	Time time.Time `json:"time"`
	ID   string    `json:"id"`
	Text string    `json:"text"`
}

// A recordEvent is what the events of records that are no texts have in common.
type recordEvent struct {
	Type string    `json:"type"` // "changed": the room's settings
	Room string    `json:"room"`
	Seq  uint64    `json:"seq"`
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

type floorEvent struct {
	Type   string   `json:"type"` // "floor"
	Room   string   `json:"room"`
	Seq    uint64   `json:"seq"`
	State  string   `json:"state"` // what has become of the request of who; "please": who asks the holder for the floor
	Who    string   `json:"who"`
	Holder string   `json:"holder"` // after it; "": nobody
	Grant  uint64   `json:"grant"`
	Queue  []string `json:"queue"` // after it, the next first
	By     string   `json:"by,omitempty"`
	Why    string   `json:"why,omitempty"`
	Reason string   `json:"reason,omitempty"`

	Request uint64 `json:"request,omitempty"` // its number, which a chair names
	Place   int    `json:"place,omitempty"`   // accepted: in the queue; 1 is next

	self string // who reads it, if that is known
}

type unknownEvent struct {
	recordEvent // "unknown": a record of a later version's kind

	Kind chat.Kind `json:"kind"`
}

type sentEvent struct {
	Type      string `json:"type"` // "sent"
	Room      string `json:"room"`
	Seq       uint64 `json:"seq"`
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
	Kind      string `json:"kind,omitempty"` // "edit", "delete", "react" or "unreact"; a text has none
	Ref       uint64 `json:"ref,omitempty"`  // of these: the line's seq
}

type rejectedEvent struct {
	Type    string `json:"type"` // "rejected"
	Room    string `json:"room"`
	Request string `json:"request"` // "join", "publish" or "leave"
	ID      string `json:"id"`
	Code    string `json:"code"`
	Reason  string `json:"reason"`
}

type presenceEvent struct {
	Type  string `json:"type"` // "presence"
	Room  string `json:"room"`
	Who   string `json:"who"`
	State string `json:"state"` // "joined", "left", "lost" or "back"
}

type membersEvent struct {
	Type    string   `json:"type"` // "members"
	Room    string   `json:"room"`
	Members []string `json:"members"`
}

type leftEvent struct {
	Type string `json:"type"` // "left"
	Room string `json:"room"`
}

func (e *connectedEvent) line() string {
	return fmt.Sprintf("* connected to %s as %s", e.Server, e.Name)
}

func (e *endedEvent) line() string {
	line := "* session " + e.State
	if !strings.EqualFold(e.Code, e.State) {
		line += " (" + e.Code + ")"
	}
	if e.Reason != "" {
		line += ": " + e.Reason
	}
	return line
}

func (e *detachedEvent) line() string {
	what := "connection lost"
	switch {
	case e.Code == transport.Drained.String():
		what = "the server goes away"
	case e.Number != nil:
		what = "connection aborted (" + e.Code + ")"
	}
	if e.Reason != "" {
		what += ": " + e.Reason
	}
	return "* " + what + "; trying again…"
}

func (e *resumedEvent) line() string { return "* back" }

func (e *gapEvent) line() string {
	if e.Code == rpc.OutOfRange.String() {
		return fmt.Sprintf("* lines of %s after %d are gone, it goes on with %d", e.Room, e.After, e.First)
	}
	return fmt.Sprintf("* the log of %s may have lost lines; what it has follows, from %d", e.Room, e.First)
}

func (e *joinedEvent) line() string {
	if e.More > 0 {
		return fmt.Sprintf("* joined %s, at %d, with %d others", e.Room, e.Head, len(e.Members)+e.More-1)
	}
	return fmt.Sprintf("* joined %s, at %d, with %s", e.Room, e.Head, strings.Join(e.Members, ", "))
}

func (e *messageEvent) line() string {
	return fmt.Sprintf("%s #%d %s %s: %s", e.Time.Local().Format("15:04"), e.Seq, e.Room, e.From, e.Text)
}

func (e *sentEvent) line() string {
	if e.Kind != "" {
		return fmt.Sprintf("* done in %s: %s %d", e.Room, e.Kind, e.Ref)
	}
	return fmt.Sprintf("* sent to %s, at %d", e.Room, e.Seq)
}

func (e *rejectedEvent) line() string {
	reason, unheld := cutFloorHint(e.Reason)
	if unheld {
		reason += " (/floor request asks for it)"
	}
	return fmt.Sprintf("* %s rejected in %s: %s: %s", e.Request, e.Room, e.Code, reason)
}

func (e *presenceEvent) line() string {
	return fmt.Sprintf("* %s %s: %s", e.Room, e.State, e.Who)
}

func (e *membersEvent) line() string {
	return fmt.Sprintf("* in %s: %s", e.Room, strings.Join(e.Members, ", "))
}

func (e *leftEvent) line() string { return "* left " + e.Room }

func (e *unknownEvent) line() string {
	return fmt.Sprintf("* %s: record %d is of a kind that this version does not know", e.Room, e.Seq)
}

// eventOf returns what is printed for an event of the chat client.
func eventOf(e chat.Event) event {
	switch e := e.(type) {
	case *chat.Joined:
		return &joinedEvent{"joined", e.Room, e.Epoch, e.Head, e.Members, e.More}
	case *chat.Message:
		return &messageEvent{"message", e.Room, e.Position.Seq, e.From, e.Time, e.ID, e.Text}
	case *chat.Edited:
		return &editedEvent{recordEvent{"edited", e.Room, e.Position.Seq, e.By, e.Time}, e.Ref, e.Text}
	case *chat.Deleted:
		return &deletedEvent{recordEvent{"deleted", e.Room, e.Position.Seq, e.By, e.Time}, e.Ref}
	case *chat.Reacted:
		return &reactedEvent{recordEvent{"reacted", e.Room, e.Position.Seq, e.By, e.Time}, e.Ref, e.Text, e.Back}
	case *chat.Erased:
		return &erasedEvent{recordEvent{"erased", e.Room, e.Position.Seq, e.From, e.Time}, e.ID, e.Ref}
	case *chat.Changed:
		return &changedEvent{recordEvent{"changed", e.Room, e.Position.Seq, e.By, e.Time}, e.Change}
	case *chat.SyncPoint:
		return syncEvent(e)
	case *chat.Floor:
		return newFloorEvent(e)
	case *chat.Unknown:
		return &unknownEvent{recordEvent{"unknown", e.Room, e.Position.Seq, e.From, e.Time}, e.Kind}
	case *chat.Sent:
		sent := &sentEvent{Type: "sent", Room: e.Room, Seq: e.Position.Seq, ID: e.ID, Duplicate: e.Duplicate}
		if e.Kind != chat.KindText {
			sent.Kind, sent.Ref = e.Kind.String(), e.Ref
		}
		return sent
	case *chat.Rejected:
		return &rejectedEvent{"rejected", e.Room, string(e.Request), e.ID, e.Code.String(), e.Reason}
	case *chat.Presence:
		return &presenceEvent{"presence", e.Room, e.Who, string(e.State)}
	case *chat.Members:
		return &membersEvent{"members", e.Room, e.Names}
	case *chat.Left:
		return &leftEvent{"left", e.Room}
	case *chat.Signal:
		return &signalEvent{"signal", e.Room, e.Who, string(e.Kind)}
	case *chat.Marked:
		return &marksEvent{"marks", e.Room, e.Marks, e.Stale}
	case *chat.Gap:
		return &gapEvent{"gap", e.Room, e.After.Seq, e.Code.String(), e.Reason, e.Epoch, e.Head, e.First}
	}
	return nil
}

// connected says that the session is live.
func connected(s *transport.Session, server string) event {
	id := s.Identity()
	return &connectedEvent{"session", "connected", server, id.String(), id.Name, s.ID().String()}
}

// detached says that the session's connection has ended, and that it is being resumed.
func detached(why *transport.Error) event {
	e := &detachedEvent{Type: "session", State: "detached", Code: why.Code.String(), Reason: why.Reason}
	if why.Code != transport.Lost {
		e.Number = &why.Code
	}
	return e
}

// resumed says that another connection carries the session.
func resumed(s *transport.Session, kept bool) event {
	return &resumedEvent{"session", "resumed", s.ID().String(), kept}
}

// ended says how the session ended; nil is a release.
func ended(end *transport.Error) event {
	if end == nil {
		end = &transport.Error{Code: transport.Released}
	}
	e := &endedEvent{Type: "session", State: endState(end.Code), Code: end.Code.String(), Reason: end.Reason}
	if end.Code != transport.Lost {
		e.Number = &end.Code
	}
	return e
}

// endState returns what an end by code is called.
func endState(code transport.CloseCode) string {
	switch code.Class() {
	case transport.ClassGraceful:
		if code == transport.Drained {
			return "drained"
		}
		return "released"
	case transport.ClassRefused:
		return "refused"
	case transport.ClassLost:
		return "lost"
	case transport.ClassAbort, transport.ClassProtocol:
	}
	return "aborted"
}

// A roster keeps who is in which room, from the events.
type roster map[string][]string

func (r roster) note(e chat.Event) {
	switch e := e.(type) {
	case *chat.Joined:
		r[e.Room] = e.Members
	case *chat.Members:
		r[e.Room] = e.Names
	case *chat.Left:
		delete(r, e.Room)
	case *chat.Rejected:
		if notIn(e) {
			delete(r, e.Room)
		}
	case *chat.Presence:
		members := slices.DeleteFunc(slices.Clone(r[e.Room]), func(who string) bool { return who == e.Who })
		if e.State == chat.PresenceJoined || e.State == chat.PresenceBack {
			members = append(members, e.Who)
			slices.Sort(members)
		}
		r[e.Room] = members
	}
}

// notIn says whether e means that one is not, or no longer, in its room.
func notIn(e *chat.Rejected) bool {
	return e.Request == chat.RequestJoin && e.Code != rpc.FailedPrecondition // who is in it can't join it again
}

// format returns the line that is printed for e, without its end.
func format(e event, asJSON bool) (string, error) {
	if !asJSON {
		return plain(e.line()), nil
	}
	b, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	return escaped(string(b)), nil
}

// printable says whether a character may reach a terminal. Controls and what reorders text may not,
// for with them others could write anywhere on the screen; joiners, which many scripts
// and emoji need, may.
func printable(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	return unicode.IsGraphic(r) || r == zeroWidthNonJoiner || r == zeroWidthJoiner
}

// plain makes text that others wrote fit for a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case printable(r):
			return r
		case r == '\t' || r == '\n':
			return ' '
		}
		return unicode.ReplacementChar
	}, s)
}

// escaped escapes in JSON what encoding/json leaves and a terminal should not get.
func escaped(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !printable(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case printable(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
