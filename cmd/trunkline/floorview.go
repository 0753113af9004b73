package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/trunkline-go/trunkline/chat"
)

// A floorView is what a conversation knows of the floor of a room.
type floorView struct {
	as     uint64 // the newest record that it follows
	heard  uint64 // the newest event of the floor's; what comes again after /resync is no news
	half   bool   // the room is half-duplex
	holder string
	queue  []string
}

// viewed returns what is known of a room's floor, or begins to know it. c.mu is held.
func (c *conversation) viewed(room string) *floorView {
	v := c.floors[room]
	if v == nil {
		v = &floorView{}
		c.floors[room] = v
	}
	return v
}

// seeFloor follows an event, and says whether a Floor is news.
func (c *conversation) seeFloor(ctx context.Context, e chat.Event) (news bool) {
	defer c.showPrompt()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := e.(type) {
	case *chat.Joined:
		if c.floors[e.Room] == nil { // else it goes on
			c.viewed(e.Room)
			go c.lookAtFloor(ctx, e.Room)
		}
	case *chat.Gap: // seqs may begin anew
		c.floors[e.Room] = &floorView{}
		go c.lookAtFloor(ctx, e.Room)
	case *chat.Left:
		delete(c.floors, e.Room)
	case *chat.Rejected:
		if notIn(e) {
			delete(c.floors, e.Room)
		}
	case *chat.Changed:
		v := c.viewed(e.Room)
		switch {
		case e.Position.Seq <= v.as:
			return false
		case e.Change.What == chat.ChangeMode && e.Change.Mode != "":
			v.half = e.Change.Mode == chat.HalfDuplex
		case e.Change.What == chat.ChangeCreate && e.Change.Settings != nil:
			v.half = e.Change.Settings.Mode == chat.HalfDuplex
		}
		v.as = e.Position.Seq
	case *chat.Floor:
		v := c.viewed(e.Room)
		if e.Position.Seq > v.as {
			v.as, v.holder, v.queue = e.Position.Seq, e.Holder, e.Queue
		}
		news = e.Position.Seq > v.heard
		v.heard = max(v.heard, e.Position.Seq)
	}
	return news
}

// heardOf returns the newest event of a room's floor that has come.
func (c *conversation) heardOf(room string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.viewed(room).heard
}

// lookAtFloor asks who has the floor of a room, and tells it where that matters: it is half-duplex, or somebody has it or waits for it.
func (c *conversation) lookAtFloor(ctx context.Context, room string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	st, err := chat.QueryFloor.Call(ctx, c.session, &chat.FloorQuery{Room: room})
	if err != nil { // nobody has asked, and who speaks finds out
		return
	}
	c.mu.Lock()
	v := c.floors[room]
	if v != nil && st.Seq >= v.as {
		v.as, v.half, v.holder, v.queue = st.Seq, st.Mode == chat.HalfDuplex, "", nil
		if st.Holder != nil {
			v.holder = st.Holder.Who
		}
		for i := range st.Queue {
			v.queue = append(v.queue, st.Queue[i].Who)
		}
	}
	c.mu.Unlock()
	if v != nil && (st.Mode == chat.HalfDuplex || st.Holder != nil || len(st.Queue)+len(st.Pending) > 0) {
		c.out.print(newFloorStatusEvent(st, ownName(c.session)))
	}
	c.showPrompt()
}

// showPrompt has the prompt say who may speak in the first room, if that is not everybody.
func (c *conversation) showPrompt() {
	k, ok := c.in.(*keyboard)
	if !ok {
		return
	}
	c.mu.Lock()
	var says string
	if len(c.rooms) > 0 {
		if v := c.floors[c.rooms[0]]; v != nil {
			says = v.prompt(ownName(c.session))
		}
	}
	c.mu.Unlock()
	k.setPrompt(plain(c.session.Identity().Name + says + "> "))
}

// prompt says who may speak, to self, or nothing if everybody may.
func (v *floorView) prompt(self string) string {
	switch {
	case v.holder == self:
		return " [you have the floor]"
	case !v.half:
		return ""
	case v.holder == "":
		return " [the floor is free]"
	}
	says := v.holder + " has the floor"
	if at := slices.Index(v.queue, self); at >= 0 {
		says += fmt.Sprintf(", you wait at place %d", at+1)
	}
	return " [" + says + "]"
}
