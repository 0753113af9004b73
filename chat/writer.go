package chat

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

const (
	// writeSize is how much is gathered for one Write, so that acknowledgements never
	// wait behind more of a replay.
	writeSize = 64 << 10
	// writeThrough is from where on a write waits until all of it is in packets, in bytes. With a tail that is queued, two packets of each write were
	// not full, and it took a packet train more: with 100 subscribers, as fast as it goes, a line took 8 % more CPU at both ends.
	writeThrough = 16 << 10
	// retryAfter is when a log that did not answer is asked again.
	retryAfter = time.Second
)

// writer is what belongs to a conn's writer goroutine. There is one at a time; the counter of
// wake-ups orders one after the other.
type writer struct {
	subs    []*subscription // whose JOINED has been written
	turn    int             // which of them is next
	sent    uint64          // bytes of events, as RECEIVED counts them
	lines   int             // of the write under way
	queue   []reply         // taken from replies
	encoded int             // of queue
	base    int             // length of the write under way behind its replies
	held    bool            // an event was held back: the write is full, or the credit used up
	retry   *time.Timer
}

var writeBuffers = sync.Pool{New: func() any { return new([]byte) }}

// newWriteBuffer returns an empty buffer for a write, which freeWriteBuffer gives back.
func newWriteBuffer() *[]byte { return writeBuffers.Get().(*[]byte) }

func freeWriteBuffer(b *[]byte) {
	if cap(*b) <= 2*writeSize {
		*b = (*b)[:0]
		writeBuffers.Put(b)
	}
}

// write writes until there is nothing left to do, or the stream is dead. It is the
// writer goroutine.
func (c *conn) write() {
	buf := newWriteBuffer()
	defer freeWriteBuffer(buf)
	for {
		seen := c.pending.Load()
		*buf = c.gather((*buf)[:0])
		if len(*buf) == 0 {
			if c.pending.CompareAndSwap(seen, 0) {
				return
			}
			continue
		}
		write := c.str.Write
		if len(*buf) > writeThrough {
			write = c.str.WriteThrough
		}
		if _, err := write(*buf); err != nil {
			// The reader finds out, too. pending stays above 0, so no writer follows.
			c.str.Cancel(transport.StreamCanceled)
			return
		}
	}
}

// gather appends what is to be written next to dst: first replies, then events, of one room
// after the other. Nothing means that nothing is owed, or the credit is used up.
func (c *conn) gather(dst []byte) []byte {
	dst = c.gatherReplies(dst)
	c.base, c.held, c.lines = len(dst), false, 0
	sent := c.sent
	for range len(c.subs) {
		if len(dst) >= writeSize {
			break
		}
		if c.turn >= len(c.subs) {
			c.turn = 0
		}
		before := len(dst)
		dst = c.subs[c.turn].gather(dst)
		if c.held && len(dst) == before {
			break // it goes first next time, or rooms with small events would for ever take what it needs
		}
		c.turn++
		if c.held {
			break
		}
	}
	c.session.srv.counters.wrote(c.lines, c.sent-sent)
	return c.gatherSignals(dst)
}

// fits says whether n bytes of an event may go into the write under way. The first always may.
func (c *conn) fits(dst []byte, n int) bool {
	if len(dst) > c.base && len(dst)+n > writeSize {
		c.held = true
		return false
	}
	return true
}

func (c *conn) gatherReplies(dst []byte) []byte {
	if c.encoded == len(c.queue) {
		clear(c.queue)
		c.mu.Lock()
		c.queue, c.replies, c.replyBytes = c.replies, c.queue[:0], 0
		c.signals.taken, c.signals.waiting = c.signals.waiting, c.signals.taken
		c.mu.Unlock()
		c.encoded = 0
	}
	for c.encoded < len(c.queue) && len(dst) < writeSize {
		dst = c.appendReply(dst, &c.queue[c.encoded])
		c.encoded++
	}
	return dst
}

// unsubscribe stops writing a subscription's events.
func (c *conn) unsubscribe(sub *subscription) {
	if i := slices.Index(c.subs, sub); i >= 0 {
		sub.setBehind(false, false)
		c.subs = slices.Delete(c.subs, i, i+1)
	}
}

func (c *conn) appendReply(dst []byte, r *reply) []byte {
	if r.unsubscribe {
		c.unsubscribe(r.sub)
	}
	switch r.kind {
	case framePubAck:
		return appendPubAck(dst, r.room, r.pos, r.ids, r.duplicate)
	case frameJoined:
		// The members are those of now, which keeps what waits here small; presence
		// events that happened meanwhile are accounted for.
		members, more := r.sub.joined()
		next := r.sub.next
		c.unsubscribe(r.instead)
		c.subs = append(c.subs, r.sub)
		return appendMessage(dst, frameJoined, &chatpb.Joined{Room: r.room, Epoch: r.pos.Epoch, Head: r.head, First: r.first, Next: next, Members: members, More: more})
	case frameLeft:
		return appendMessage(dst, frameLeft, &chatpb.Left{Room: r.room})
	default:
		return appendMessage(dst, frameRejected, &chatpb.Rejected{
			Request:   r.request,
			Room:      r.room,
			MessageId: []byte(r.id),
			Code:      uint32(r.err.Code),
			Reason:    validUTF8(r.err.Reason),
			Epoch:     r.epoch,
			Head:      r.head,
			First:     r.first,
		})
	}
}

// mayAppend says whether an event of n bytes may be sent. One may always be, when nothing
// is unconfirmed, or an event longer than the credit would never be sent.
func (c *conn) mayAppend(n int) bool {
	for {
		received := c.received.Load()
		if c.sent == received || c.sent-received+uint64(n) <= creditWindow {
			return true
		}
		c.stalled.Store(true)
		if c.received.Load() == received {
			c.held = true
			return false
		}
		// A RECEIVED came in between, and may have cleared the flag too early.
		c.stalled.Store(false)
	}
}

// credit returns how many bytes of events may still be sent.
func (c *conn) credit() int { return creditWindow - int(c.sent-c.received.Load()) }

// frameRoom returns how long the body of a RECORD may become by more lines than its first.
func (c *conn) frameRoom(dst []byte) int { return min(writeSize-len(dst)-maxHeader, c.credit()) }

// charge counts an event whose body has n bytes, before it is written: the client may
// confirm it at once.
func (c *conn) charge(n int) {
	c.sent += uint64(n)
	c.announce.Store(c.sent)
}

func bodyLen(m proto.Message) int { return proto.Size(m) }
