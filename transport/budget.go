package transport

import (
	"errors"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// ErrBuffersFull is what ReadFrame returns when the memory is used up that [Config.MaxBuffered] grants to
// messages in reassembly. Nothing of the message has been handed out.
var ErrBuffersFull = errors.New("transport: too many bytes of unfinished messages")

// sessionShare is the part of Config.MaxBuffered that one session may take.
const sessionShare = 4

// A budget bounds bytes that peers make this side hold, of one session and, through its parent, of all. The nil
// budget has no bound.
type budget struct {
	parent  *budget
	most    int64
	used    atomic.Int64
	refused func() // counts a message that was refused; nil on a client
}

func newBudget(parent *budget, most int64) *budget {
	if most < 0 {
		return nil
	}
	return &budget{parent: parent, most: most}
}

// take takes n bytes, of the parent too, and says whether they were there.
func (b *budget) take(n int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(n) > b.most || !b.parent.take(n) {
		b.used.Add(-n)
		return false
	}
	return true
}

// give gives n bytes back.
func (b *budget) give(n int64) {
	for ; b != nil; b = b.parent {
		b.used.Add(-n)
	}
}

// sessionBuffers returns how many bytes of messages one session may hold.
func sessionBuffers(cfg *Config) int64 { return cfg.MaxBuffered / sessionShare }

// BoundBuffers has memory for bodies longer than 65 KiB counted against [Config.MaxBuffered], so that ReadFrame may
// return [ErrBuffersFull]. It is for streams of which a peer may open many, and has to be called before the
// first frame is read.
func (s *Stream) BoundBuffers() { s.budget = s.link.sess.buffers }

// grow makes room for n bytes in the body's memory, keeping what is in body, if the budget allows.
func (f *FrameReader) grow(body []byte, n int) ([]byte, error) {
	if more := int64(n) - bodyChunk - f.held; more > 0 {
		if !f.budget.take(more) {
			if f.budget.refused != nil {
				f.budget.refused()
			}
			return body, ErrBuffersFull
		}
		f.held += more
	}
	grown := make([]byte, len(body), n)
	copy(grown, body)
	if !f.own {
		*f.large = grown
	}
	return grown, nil
}

// giveBudget gives back what the body took.
func (f *FrameReader) giveBudget() {
	if f.held > 0 {
		f.budget.give(f.held)
		f.held = 0
	}
}

// allowWindow says whether a connection's receive window may grow by delta bytes (quic.Config.
// AllowConnectionWindowIncrease). What it takes it has until it ends.
func (srv *Server) allowWindow(conn *quic.Conn, delta uint64) bool {
	ad := admittedFrom(conn)
	if !srv.buffers.take(int64(delta)) {
		srv.counters.drop(DropWindow)
		return false
	}
	if ad.window.Add(int64(delta)); ad.over.Load() { // meanwhile, and end may not have seen it
		srv.buffers.give(ad.window.Swap(0))
	}
	return true
}
