package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/chat"
)

// What happens to a floor is told to those whom it concerns in terms of themselves.
func TestAFloorEventIsToldToWhoReadsIt(t *testing.T) {
	for _, c := range []struct {
		e                    floorEvent
		alice, bob, somebody string
	}{
		{
			floorEvent{State: "pending", Who: "alice", Request: 3, Reason: "a word"},
			"you ask the chair for the floor, request 3: a word", "alice asks the chair for the floor, request 3: a word", "alice asks the chair for the floor, request 3: a word",
		},
		{
			floorEvent{State: "accepted", Who: "bob", Place: 2, Queue: []string{"carol", "bob"}},
			"bob waits for the floor, at place 2 (next: carol, bob)", "you wait for the floor, at place 2 (next: carol, bob)", "bob waits for the floor, at place 2 (next: carol, bob)",
		},
		{floorEvent{State: "granted", Who: "alice", Why: "turn"}, "you have the floor", "alice has the floor", "alice has the floor"},
		{
			floorEvent{State: "granted", Who: "bob", By: "alice", Why: "passed"},
			"you have passed the floor to bob", "alice has passed the floor to you", "alice has passed the floor to bob",
		},
		{
			floorEvent{State: "denied", Who: "alice", By: "bob", Why: "chair"},
			"you are not given the floor by bob", "alice is not given the floor by you", "alice is not given the floor by bob",
		},
		{floorEvent{State: "cancelled", Who: "alice"}, "you do not want the floor any more", "alice does not want the floor any more", "alice does not want the floor any more"},
		{floorEvent{State: "released", Who: "alice", Why: "asked"}, "you have given the floor back", "alice has given the floor back", "alice has given the floor back"},
		{
			floorEvent{State: "revoked", Who: "alice", By: "bob", Why: "chair"},
			"the floor was taken from you by bob", "the floor was taken from alice by you", "the floor was taken from alice by bob",
		},
		{floorEvent{State: "revoked", Who: "alice", Why: "lapsed"}, "you have lost the floor", "alice has lost the floor", "alice has lost the floor"},
		{
			floorEvent{State: "revoked", Who: "alice", Why: "longest"},
			"you have had the floor for as long as one may", "alice has had the floor for as long as one may", "alice has had the floor for as long as one may",
		},
		{floorEvent{State: "please", Who: "bob", Holder: "alice"}, "bob asks you for the floor", "you ask alice for the floor", "bob asks alice for the floor"},
		{floorEvent{State: "later", Who: "bob"}, "bob is later", "you are later", "bob is later"},
	} {
		for self, want := range map[string]string{"alice": c.alice, "bob": c.bob, "": c.somebody} {
			e := c.e
			e.Room, e.self = "ops", self
			assert.Equal(t, "* ops: "+want, e.line(), "to %q", self)
		}
	}
}

func TestAFloorsStatusSaysWhoIsNext(t *testing.T) {
	st := &chat.FloorStatus{Room: "ops", Mode: chat.HalfDuplex}
	line := func() string { return newFloorStatusEvent(st, "bob").line() }
	assert.Equal(t, "* ops is half-duplex: nobody has the floor", line())
	st.Holder = &chat.FloorParticipant{Who: "alice", Request: 1, Grant: 7, ForMs: 29_900, Lost: true}
	st.Queue = []chat.FloorParticipant{{Who: "carol", Request: 4, Priority: "high"}, {Who: "bob", Request: 3, Priority: "normal", Reason: "a word"}}
	assert.Equal(t, `* ops is half-duplex: alice has the floor (grant 7, for another 30s, connection lost); next: 1. carol (request 4, high), 2. you (request 3) "a word"`, line())
	st.Mode, st.Chaired, st.Holder.Who, st.Holder.ForMs, st.Holder.Lost = chat.Duplex, true, "bob", 0, false
	st.Queue, st.Pending = nil, []chat.FloorParticipant{{Who: "dave", Request: 5, Priority: "normal"}, {Who: "erin", Request: 6, Priority: "normal"}}
	assert.Equal(t, `* ops is duplex, with a chair: you have the floor (grant 7); for the chair: dave (request 5), erin (request 6)`, line())
}

func TestThePromptSaysWhoMaySpeak(t *testing.T) {
	for _, c := range []struct {
		v    floorView
		want string
	}{
		{floorView{}, ""},
		{floorView{holder: "alice", queue: []string{"bob"}}, ""}, // all may speak
		{floorView{holder: "bob"}, " [you have the floor]"},
		{floorView{half: true}, " [the floor is free]"},
		{floorView{half: true, holder: "bob"}, " [you have the floor]"},
		{floorView{half: true, holder: "alice", queue: []string{"carol"}}, " [alice has the floor]"},
		{floorView{half: true, holder: "alice", queue: []string{"carol", "bob"}}, " [alice has the floor, you wait at place 2]"},
	} {
		assert.Equal(t, c.want, c.v.prompt("bob"), "%+v", c.v)
	}
}

func TestWhoWaitsForTheFloorIsToldForWhom(t *testing.T) {
	st := &chat.FloorStatus{Queue: []chat.FloorParticipant{{Who: "carol", Request: 4}, {Who: "bob", Request: 3}}, Pending: []chat.FloorParticipant{{Who: "dave", Request: 5}}}
	assert.Equal(t, "nobody has it, you are at place 2", waitsFor(st, 3))
	st.Holder = &chat.FloorParticipant{Who: "alice"}
	assert.Equal(t, "alice has it, you are at place 1", waitsFor(st, 4))
	assert.Equal(t, "the chair decides (request 5)", waitsFor(st, 5))

	assert.EqualError(t, floorLost("ops", chat.ErrLeaseLost), "the floor of ops is lost: it was taken back, passed on, or given back elsewhere")
	assert.EqualError(t, floorLost("ops", fmt.Errorf("%w: it was not renewed in time", chat.ErrLeaseLost)), "the floor of ops is lost: it was not renewed in time")
	assert.EqualError(t, floorLost("ops", errors.New("the session is over")), "the floor of ops is lost: the session is over")
}

// What comes again after a resynchronization is no grant, and what comes late does not undo what is known.
func TestAFloorEventThatComesAgainIsNoNews(t *testing.T) {
	c := &conversation{floors: make(map[string]*floorView)}
	at := func(seq uint64) chat.Position { return chat.Position{Epoch: 1, Seq: seq} }
	granted := func(seq uint64, who string) *chat.Floor {
		return &chat.Floor{Room: "ops", Position: at(seq), State: chat.FloorGranted, Who: who, Holder: who}
	}
	see := func(e chat.Event) bool { return c.seeFloor(t.Context(), e) }
	see(&chat.Changed{Room: "ops", Position: at(1), Change: chat.Change{What: chat.ChangeCreate, Settings: &chat.Settings{Mode: chat.HalfDuplex}}})
	assert.True(t, see(granted(2, "alice")))
	assert.True(t, see(&chat.Floor{Room: "ops", Position: at(3), State: chat.FloorReleased, Who: "alice"}))
	assert.True(t, see(granted(4, "bob")))
	assert.False(t, see(granted(2, "alice")))
	assert.Equal(t, floorView{as: 4, heard: 4, half: true, holder: "bob"}, *c.floors["ops"])

	c.floors["ops"].as = 6 // the floor was asked for, and is told faster than its events
	assert.True(t, see(granted(5, "carol")), "who it is has to know")
	assert.Equal(t, "bob", c.floors["ops"].holder)
	see(&chat.Changed{Room: "ops", Position: at(7), Change: chat.Change{What: chat.ChangeMode, Mode: chat.Duplex}})
	assert.False(t, c.floors["ops"].half)
	see(&chat.Left{Room: "ops"})
	assert.Empty(t, c.floors)
}
