package chat

import (
	"sync/atomic"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// A FloorChange is what has become of a request for a floor, and why, as in [Floor].
type FloorChange struct {
	State FloorState
	Why   string
}

// floorCounts count changes by state and reason.
type floorCounts [floor.Please + 1][floor.NotChaired + 1]atomic.Uint64

func (c *floorCounts) count(t *floor.Transition) {
	if int(t.To) < len(c) && int(t.Why) < len(c[t.To]) {
		c[t.To][t.Why].Add(1)
	}
}

// changes returns those that there were.
func (c *floorCounts) changes() map[FloorChange]uint64 {
	m := make(map[FloorChange]uint64)
	for to := range c {
		for why := range c[to] {
			if n := c[to][why].Load(); n > 0 {
				m[FloorChange{FloorState(floor.State(to).String()), floor.Why(why).String()}] = n
			}
		}
	}
	return m
}

// floorFigures are what a room's floor adds to the server's.
type floorFigures struct {
	half    bool   // the room is half-duplex
	holder  string // "": nobody
	waiting int
}

// countFloor has the server's figures say what the room's floor is. It is the actor's, after everything that may have changed it.
func (r *room) countFloor() {
	var now floorFigures
	now.half = r.known != nil && r.known.Settings.Mode == HalfDuplex
	if r.floor != nil {
		now.holder, _ = r.floor.Held()
		now.waiting = r.floor.Waiting()
	}
	r.setFigures(now)
}

func (r *room) setFigures(now floorFigures) {
	was := r.figures
	if now == was {
		return
	}
	r.mu.Lock()
	r.figures = now
	r.mu.Unlock()
	c := &r.srv.counters
	if now.half != was.half {
		c.halfDuplex.Add(one(now.half))
	}
	if held := now.holder != ""; held != (was.holder != "") {
		c.floorsHeld.Add(one(held))
	}
	c.floorWaiting.Add(int64(now.waiting - was.waiting))
}

// one returns how a count changes by something that is so now, or is no more.
func one(more bool) int64 {
	if more {
		return 1
	}
	return -1
}
