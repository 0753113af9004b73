package rpc

import "sync"

// A gate knows who is inside, and is closed once: nobody enters any more, and who was inside has left.
type gate struct {
	mu     sync.Mutex // guards what follows
	inside int
	closed bool
	empty  chan struct{} // closed when the last has left; nil unless close waits for that
}

// enter says whether the gate is open. Whoever has entered must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
	}
}

func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	if g.inside == 0 {
		g.mu.Unlock()
		return
	}
	g.empty = make(chan struct{})
	g.mu.Unlock()
	<-g.empty
}
