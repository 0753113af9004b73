package transport

import (
	"time"

	"github.com/quic-go/quic-go"
)

// Stream credit is given back in batches. QUIC gives the peer leave to open another
// stream (MAX_STREAMS, RFC 9000, section 19.11) for each one that has ended, in a packet of its own;
// 64 at a time a lone caller's call fell from 180 to 127 µs, and from 2.0 to 1.0 packets each
// way. A batch also goes out when the peer could run short of credit, and after a quiet
// moment, so that long-lived streams never starve new ones.
const (
	creditBatch = 64
	creditLow   = 128
	creditQuiet = 100 * time.Millisecond
)

// credit counts the streams of one link that the peer has opened. Tied to running work
// like this, the limit also bounds a peer that opens streams and resets them at once. The
// link's lock guards it.
type credit struct {
	link    *link
	running int
	pending []*quic.Stream
	timer   *time.Timer
	armed   bool
	late    bool // a stream has ended since the timer was set
	stopped bool
}

// beganLocked notes a stream whose handler starts.
func (c *credit) beganLocked() { c.running++ }

// releaseLocked notes a stream whose handler has returned. The caller gives back what it returns,
// after the lock.
func (c *credit) releaseLocked(str *quic.Stream) (batch []*quic.Stream) {
	if c.stopped {
		return nil
	}
	c.running--
	c.pending = append(c.pending, str)
	switch {
	case c.armed:
		c.late = true
	case c.timer == nil:
		c.armed = true
		c.timer = time.AfterFunc(creditQuiet, c.flush)
	default:
		c.armed = true
		c.timer.Reset(creditQuiet)
	}
	if free := c.link.cfg.MaxStreams - c.running - len(c.pending); len(c.pending) < creditBatch && free >= creditLow {
		return nil
	}
	batch = c.pending
	c.pending = make([]*quic.Stream, 0, creditBatch)
	return batch
}

// flush runs a quiet moment after a stream has ended, and at least as long after the last one.
func (c *credit) flush() {
	c.link.mu.Lock()
	batch := c.pending
	c.pending = nil
	if c.armed = c.late && !c.stopped; c.armed {
		c.late = false
		c.timer.Reset(creditQuiet)
	}
	c.link.mu.Unlock()
	giveBack(batch)
	c.link.letRest()
}

func (c *credit) stopLocked() {
	c.stopped = true
	c.pending = nil
	if c.timer != nil {
		c.timer.Stop()
	}
}

func giveBack(batch []*quic.Stream) {
	for _, str := range batch {
		str.ReleaseStreamCredit()
	}
}
