package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
)

// slashOrder carries out a line that began with a slash, if it is an order for the first room, and says whether it was.
func (c *conversation) slashOrder(ctx context.Context, line string) bool {
	name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	o := orderNamed(name)
	if o == nil {
		return false
	}
	room := c.first()
	if room == "" {
		c.out.complain("you are in no room (join one with /join ROOM)")
		return true
	}
	call, err := o.typed(room, text)
	if err != nil {
		c.out.complain(fmt.Sprintf("%s (%s)", err, o.usage()))
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := call(ctx, c.session); err != nil { // else all are told, and oneself, too
		c.out.complain(name + ": " + err.Error())
	}
	return true
}

// message says something to somebody alone: in the room of the two, which is joined if need be.
func (c *conversation) message(ctx context.Context, line string) {
	_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	who, text, _ := strings.Cut(strings.TrimSpace(rest), " ")
	text = strings.TrimSpace(text)
	err := checkWho(who)
	var room string
	if err == nil {
		room, err = roomOn(c.session, "@"+who)
	}
	if err == nil && text == "" {
		err = usagef("there is nothing to say")
	}
	if err != nil {
		c.out.complain(fmt.Sprintf("%s (/msg NAME TEXT)", err))
		c.refuse()
		return
	}
	if !c.isIn(room) && !c.join(ctx, room) {
		c.refuse()
		return
	}
	c.publish(ctx, room, text)
}

// isIn says whether the room was asked for.
func (c *conversation) isIn(room string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.rooms, room)
}

// join asks for a room, and says whether that could be done.
func (c *conversation) join(ctx context.Context, room string) bool {
	if err := c.client.Join(ctx, room, c.where()); err != nil {
		c.reject(err, chat.RequestJoin, room, "")
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.rooms, room) {
		c.rooms = append(c.rooms, room)
	}
	return true
}

// publish says a line in a room.
func (c *conversation) publish(ctx context.Context, room, text string) {
	id, err := c.client.Publish(ctx, room, text)
	if err != nil {
		c.reject(err, chat.RequestPublish, room, id)
	}
}
