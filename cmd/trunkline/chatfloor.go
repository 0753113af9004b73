package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

// floor carries out /floor with what follows it, in the first room.
func (c *conversation) floor(ctx context.Context, words string) {
	room := c.first()
	if room == "" {
		c.out.complain("you are in no room (join one with /join ROOM)")
		return
	}
	verb, rest, _ := strings.Cut(words, " ")
	rest = strings.TrimSpace(rest)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if verb == "" {
		st, err := chat.QueryFloor.Call(ctx, c.session, &chat.FloorQuery{Room: room})
		if err != nil {
			c.out.complain("floor: " + err.Error())
			return
		}
		c.out.print(newFloorStatusEvent(st))
		return
	}
	producer := c.client.Producer()
	known, err := floorAction{verb: verb, room: room, rest: rest, producer: producer[:]}.do(ctx, c.session)
	switch {
	case !known:
		c.out.complain("there is no /floor " + verb + " (request, release, pass NAME, please; for chairs accept, grant, deny, revoke)")
	case err != nil:
		c.out.complain("floor: " + err.Error())
	}
	// What came of it is an event of the room.
}

// mode carries out /mode.
func (c *conversation) mode(ctx context.Context, mode string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := chat.SetMode.Call(ctx, c.session, &chat.SetModeRequest{Room: c.first(), Mode: chat.Mode(mode)}); err != nil {
		c.out.complain("mode: " + err.Error())
	}
}

// noteFloor has what is said in a room said under the grant that one has, and keeps that for as long as the
// conversation goes on.
func (c *conversation) noteFloor(ctx context.Context, e *chat.Floor) {
	if id := c.session.Identity(); e.Who != id.Name && e.Who != id.String() {
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

// A floorAction is what somebody wants to do with the floor of a room.
type floorAction struct {
	verb, room string
	rest       string // a reason, or of pass a name, or a number of a request, and then a reason
	producer   []byte
	priority   string
	res        **chat.FloorResponse // where the answer goes; may be nil
}

// do does it; known is false if there is no such verb.
func (f floorAction) do(ctx context.Context, conn rpc.Conn) (known bool, err error) {
	var res *chat.FloorResponse
	word, reason, _ := strings.Cut(f.rest, " ")
	number, _ := strconv.ParseUint(word, 10, 64)
	if number == 0 {
		reason = f.rest
	}
	switch f.verb {
	case "request":
		res, err = chat.RequestFloor.Call(ctx, conn, &chat.FloorRequest{Room: f.room, Reason: f.rest, Producer: f.producer, Priority: f.priority})
	case "release":
		res, err = chat.ReleaseFloor.Call(ctx, conn, &chat.FloorRelease{Room: f.room, Request: number, Reason: reason})
	case "pass":
		to, why, _ := strings.Cut(f.rest, " ")
		if to == "" {
			return true, usagef("pass needs the name of who is to have the floor")
		}
		res, err = chat.PassFloor.Call(ctx, conn, &chat.FloorPass{Room: f.room, To: to, Reason: why})
	case "please":
		res, err = chat.PleaseFloor.Call(ctx, conn, &chat.FloorAsk{Room: f.room, Reason: f.rest})
	case "accept", "grant", "deny":
		if number == 0 {
			return true, usagef("%s needs the number of a request, as the floor's status shows it", f.verb)
		}
		res, err = chat.ChairFloor.Call(ctx, conn, &chat.FloorRuling{Room: f.room, Do: f.verb, Request: number, Reason: reason})
	case "revoke":
		res, err = chat.ChairFloor.Call(ctx, conn, &chat.FloorRuling{Room: f.room, Do: f.verb, Reason: f.rest})
	default:
		return false, nil
	}
	if f.res != nil {
		*f.res = res
	}
	return true, err
}
