package chat

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/transport"
)

// maxQueued is how many bytes of requests may wait behind the write under way.
const maxQueued = 64 << 10

// An outbox is a client's requests on their way to the stream. A goroutine writes them for as long as
// there are any: what is asked while it writes goes out together, in its next write, and an idle client has
// neither goroutine nor buffer. All of it is guarded by Client.mu, but for the write itself.
type outbox struct {
	queued  *[]byte // frames, in order; nil when there are none
	entries *[]byte // of the PUBLISH that follows them, in entriesRoom; nil likewise
	room    string  // of entries
	writing bool    // the goroutine runs
	stopped bool    // it is not started any more
	failed  error   // of a write: nothing more is written

	place  chan struct{} // closed when there may be place again; nil if nobody waits
	ending chan error    // gets the outcome of ending the half; nil if that was not asked for

	consumed    uint64      // bytes of events
	confirmed   uint64      // of these, what RECEIVED has said
	confirmNow  bool        // RECEIVED is to be said
	timer       *time.Timer // sets confirmNow
	timerActive bool
}

// lockForFrame waits until another frame may be queued, and returns with c.mu held if err is nil.
func (c *Client) lockForFrame(ctx context.Context) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	for {
		switch {
		case c.closed:
			c.mu.Unlock()
			return ErrClosed
		case c.failed != nil:
			err = c.failed
			c.mu.Unlock()
			return err
		case bufferLen(c.queued)+bufferLen(c.entries) < maxQueued:
			return nil
		}
		if c.place == nil {
			c.place = make(chan struct{})
		}
		place := c.place
		c.mu.Unlock()
		select {
		case <-place:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.over:
			return ErrClosed
		}
		c.mu.Lock()
	}
}

// queueLocked queues a frame.
func (c *Client) queueLocked(t transport.FrameType, m proto.Message) {
	c.sealLocked()
	b := c.queuedLocked()
	*b = appendMessage(*b, t, m)
	c.startLocked()
}

// queueEntryLocked queues an entry, in one PUBLISH with those before it where they are of one room.
func (c *Client) queueEntryLocked(room, id, text string) {
	if c.room != room || bufferLen(c.entries)+len(id)+len(text) > maxEntries {
		c.sealLocked()
	}
	if c.entries == nil {
		c.entries, c.room = newWriteBuffer(), room
	}
	*c.entries = appendEntry(*c.entries, id, text)
	c.startLocked()
}

// sealLocked makes a frame of the entries.
func (c *Client) sealLocked() {
	if c.entries == nil {
		return
	}
	b := c.queuedLocked()
	*b = appendPublish(*b, c.room, c.cfg.Producer, *c.entries)
	freeWriteBuffer(c.entries)
	c.entries = nil
}

func (c *Client) queuedLocked() *[]byte {
	if c.queued == nil {
		c.queued = newWriteBuffer()
	}
	return c.queued
}

// startLocked has what is queued written.
func (c *Client) startLocked() {
	if c.writing || c.stopped {
		return
	}
	c.writing = true
	c.wg.Go(c.write)
}

// write writes until nothing is left to write, and then ends the half if that was asked for.
func (c *Client) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.sealLocked()
		if c.confirmNow {
			// What it says is settled in its turn to write, so that the number never falls.
			c.confirmNow = false
			if !c.closed && c.consumed > c.confirmed {
				c.confirmed = c.consumed
				b := c.queuedLocked()
				*b = appendReceived(*b, c.confirmed)
			}
		}
		b := c.queued
		c.queued = nil
		if c.place != nil {
			close(c.place)
			c.place = nil
		}
		if b == nil {
			break
		}
		if c.failed == nil {
			c.mu.Unlock()
			_, err := c.str.Write(*b)
			c.mu.Lock()
			c.failed = err // the stream is dead, and Next says so, too
		}
		freeWriteBuffer(b)
	}
	ending, err := c.ending, c.failed
	if ending == nil {
		c.writing = false
		return
	}
	// Nothing is queued any more, for the client is closed; so this is the last writer.
	c.mu.Unlock()
	if err == nil {
		err = c.str.Close() // of a stream that has not begun, it writes
	}
	ending <- err
	c.mu.Lock()
}

// endLocked ends the half behind all that is queued. The channel gets the outcome.
func (c *Client) endLocked() <-chan error {
	c.stopTimerLocked()
	c.ending = make(chan error, 1)
	ended := c.ending
	c.startLocked()
	return ended
}

// stopLocked starts nothing any more: the stream is dead.
func (c *Client) stopLocked() {
	c.stopTimerLocked()
	c.stopped = true
}

// consume counts an event of n bytes, and has RECEIVED said when it is time to: not by itself, for a write
// may block, and Next must not.
func (c *Client) consume(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.consumed += uint64(n)
	switch {
	case c.closed:
	case c.consumed-c.confirmed >= confirmEvery:
		c.confirmLocked()
	case !c.timerActive:
		c.timerActive = true
		if c.timer == nil {
			c.timer = time.AfterFunc(confirmAfter, c.confirm)
		} else {
			c.timer.Reset(confirmAfter)
		}
	}
}

// confirm has RECEIVED said, if there is something to confirm.
func (c *Client) confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timerActive = false
	if !c.closed && c.consumed > c.confirmed {
		c.confirmLocked()
	}
}

func (c *Client) confirmLocked() {
	c.confirmNow = true
	c.startLocked()
}

func (c *Client) stopTimerLocked() {
	if c.timerActive {
		c.timer.Stop() // if it comes too late, what it calls finds the client closed
		c.timerActive = false
	}
}

func bufferLen(b *[]byte) int {
	if b == nil {
		return 0
	}
	return len(*b)
}
