package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
)

// floor carries out /floor with what follows it, in the first room.
func (c *conversation) floor(ctx context.Context, words string) {
	room := c.first()
	if room == "" {
		c.out.complain("you are in no room (join one with /join ROOM)")
		return
	}
	verb, rest, _ := strings.Cut(words, " ")
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if verb == "" || verb == "status" {
		c.showFloor(ctx, room)
		return
	}
	action, err := parseFloorAction(verb, rest)
	if err != nil {
		c.out.complain(fmt.Sprintf("floor: %s (%s)", err, slashFloor))
		return
	}
	producer := c.client.Producer()
	action.producer = producer[:]
	heard := c.heardOf(room)
	res, err := action.do(ctx, c.session, room)
	switch {
	case err != nil:
		c.out.complain("floor: " + err.Error())
	case res.Seq <= heard: // it is as it was, and no event says so
		c.showFloor(ctx, room)
	}
}

// slashFloor says what may be typed behind "/floor".
const slashFloor = "/floor, and behind it status, request [REASON], release, pass NAME, please [REASON]; for chairs accept N, grant N, deny N, revoke"

// showFloor prints the floor of a room as it is.
func (c *conversation) showFloor(ctx context.Context, room string) {
	st, err := chat.QueryFloor.Call(ctx, c.session, &chat.FloorQuery{Room: room})
	if err != nil {
		c.out.complain("floor: " + err.Error())
		return
	}
	c.out.print(newFloorStatusEvent(st, ownName(c.session)))
}

// noteFloor has what is said in a room said under the grant that one has, and keeps that for as long as the
// conversation goes on.
func (c *conversation) noteFloor(ctx context.Context, e *chat.Floor) {
	if e.Who != ownName(c.session) {
		return
	}
	switch e.State {
	case chat.FloorGranted:
		c.client.UseGrant(e.Room, e.Grant) // before the event is shown: whoever reads it may speak
		go func() {
			lease, err := chat.Hold(ctx, c.session, e.Room, e.Grant, chat.LeaseConfig{Producer: c.client.Producer()})
			if err != nil { // another of one's sessions has it, or it is over already
				return
			}
			<-lease.Context().Done() // what ends it is an event, too
		}()
	case chat.FloorReleased, chat.FloorRevoked:
		c.client.UseGrant(e.Room, 0)
	default:
	}
}
