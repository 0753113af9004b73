package transport

import (
	"sync"
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
// like this, the limit also bounds a peer that opens streams and resets them at once.
type credit struct {
	link *link

	mu      sync.Mutex // guards what follows
	running int
	pending []*quic.Stream
	timer   *time.Timer
	armed   bool
	stopped bool
}

// began notes a stream whose handler starts.
func (c *credit) began() {
	c.mu.Lock()
	c.running++
	c.mu.Unlock()
}

// release notes a stream whose handler has returned.
func (c *credit) release(str *quic.Stream) {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return
	}
	c.running--
	c.pending = append(c.pending, str)
	if !c.armed {
		c.armed = true
		if c.timer == nil {
			c.timer = time.AfterFunc(creditQuiet, c.flush)
		} else {
			c.timer.Reset(creditQuiet)
		}
	}
	free := c.link.cfg.MaxStreams - c.running - len(c.pending)
	if len(c.pending) < creditBatch && free >= creditLow {
		c.mu.Unlock()
		return
	}
	batch := c.takeLocked()
	c.mu.Unlock()
	giveBack(batch)
}

// flush runs a quiet moment after a stream has ended.
func (c *credit) flush() {
	c.mu.Lock()
	c.armed = false
	batch := c.takeLocked()
	c.mu.Unlock()
	giveBack(batch)
	c.link.letRest()
}

func (c *credit) takeLocked() []*quic.Stream {
	batch := c.pending
	c.pending = nil
	return batch
}

func (c *credit) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
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
