package chat

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

// maxQueued is how many bytes of requests may wait behind the write under way.
const maxQueued = 64 << 10

// An outbox is a client's requests on their way to one stream. A goroutine writes them for as long as
// there are any: what is asked while it writes goes out together, in its next write, and an idle client has
// neither goroutine nor buffer. All of it is guarded by Client.mu, but for the write itself. What has been
// written and not answered is in the client's books, for the next stream.
type outbox struct {
	c    *Client
	str  *transport.Stream
	gone chan struct{}  // closed when the stream is of no use any more
	wg   sync.WaitGroup // the writer, and who watches for a drain

	ready   bool      // requests are queued as they are made; before, they only are in the books
	backlog []pending // from the books, to be queued before all that is made from now on

	queued  *[]byte // frames, in order; nil when there are none
	entries *[]byte // of the PUBLISH that follows them, in room; nil likewise
	room    string  // of entries
	grant   uint64  // likewise
	writing bool    // the goroutine runs
	ending  bool    // the half ends behind all that is queued, or has ended
	ended   bool
	stopped bool  // nothing is written any more
	failed  error // of a write: likewise

	consumed    uint64      // bytes of events
	confirmed   uint64      // of these, what RECEIVED has said
	signaled    int         // bytes of signals since the last RECEIVED
	confirmNow  bool        // RECEIVED is to be said
	timer       *time.Timer // sets confirmNow
	timerActive bool
	marksNow    bool // MARKs are to be said
}

// takesLocked says whether requests are queued as they are made.
func (o *outbox) takesLocked() bool {
	return o != nil && o.ready && !o.ending && !o.stopped && o.failed == nil
}

// fullLocked says whether whoever has a request should wait.
func (o *outbox) fullLocked() bool {
	return len(o.backlog) == 0 && bufferLen(o.queued)+bufferLen(o.entries) >= maxQueued
}

// askLocked queues a request, which is in the books, if it is time for that.
func (o *outbox) askLocked(p *pending) {
	switch {
	case !o.takesLocked():
	case len(o.backlog) > 0:
		o.backlog = append(o.backlog, *p)
	default:
		o.queuePendingLocked(p)
	}
}

// publishLocked is askLocked for a message.
func (o *outbox) publishLocked(m *unacked) {
	switch {
	case !o.takesLocked():
	case len(o.backlog) > 0:
		o.backlog = append(o.backlog, m.pending())
	default:
		o.queueEntryLocked(m.room, &m.draft)
	}
}

func (o *outbox) queuePendingLocked(p *pending) {
	switch p.request {
	case RequestJoin:
		m := &chatpb.Join{Room: []byte(p.room)}
		p.from.toWire(m)
		o.queueLocked(frameJoin, m)
	case RequestResync:
		m := &chatpb.Join{Room: []byte(p.room), Resync: true}
		p.from.toWire(m)
		o.queueLocked(frameJoin, m)
	case RequestLeave:
		o.queueLocked(frameLeave, &chatpb.Leave{Room: []byte(p.room)})
	case RequestPublish:
		o.queueEntryLocked(p.room, &p.draft)
	}
}

// queueLocked queues a frame.
func (o *outbox) queueLocked(t transport.FrameType, m proto.Message) {
	o.sealLocked()
	b := o.queuedLocked()
	*b = appendMessage(*b, t, m)
	o.startLocked()
}

// queueEntryLocked queues an entry, in one PUBLISH with those before it where they are of one room and grant, and no head is expected.
func (o *outbox) queueEntryLocked(room string, d *draft) {
	if d.head != nil {
		o.sealLocked()
		b := o.queuedLocked()
		*b = appendPublish(*b, room, o.c.cfg.Producer, appendEntry(nil, d.id, d.text, d.kind, d.ref), d.grant, d.head)
		o.startLocked()
		return
	}
	if o.room != room || o.grant != d.grant || bufferLen(o.entries)+len(d.id)+len(d.text) > maxEntries {
		o.sealLocked()
	}
	if o.entries == nil {
		o.entries, o.room, o.grant = newWriteBuffer(), room, d.grant
	}
	*o.entries = appendEntry(*o.entries, d.id, d.text, d.kind, d.ref)
	o.startLocked()
}

// sealLocked makes a frame of the entries.
func (o *outbox) sealLocked() {
	if o.entries == nil {
		return
	}
	b := o.queuedLocked()
	*b = appendPublish(*b, o.room, o.c.cfg.Producer, *o.entries, o.grant, nil)
	freeWriteBuffer(o.entries)
	o.entries = nil
}

func (o *outbox) queuedLocked() *[]byte {
	if o.queued == nil {
		o.queued = newWriteBuffer()
	}
	return o.queued
}

// refillLocked queues as much of the backlog as there is place for.
func (o *outbox) refillLocked() {
	for len(o.backlog) > 0 && bufferLen(o.queued)+bufferLen(o.entries) < maxQueued {
		p := &o.backlog[0]
		if p.request != RequestPublish || o.c.unacked[p.id].nth == p.nth { // else it has been answered meanwhile
			o.queuePendingLocked(p)
		}
		*p = pending{}
		o.backlog = o.backlog[1:]
	}
	if len(o.backlog) == 0 {
		o.backlog = nil
	}
}

// startLocked has what is queued written.
func (o *outbox) startLocked() {
	if o.writing || o.stopped {
		return
	}
	o.writing = true
	o.wg.Go(o.write)
}

// write writes until nothing is left to write, and then ends the half if that was asked for.
func (o *outbox) write() {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		o.refillLocked()
		o.sealLocked()
		if o.confirmNow {
			// What it says is settled in its turn to write, so that the number never falls.
			o.confirmNow = false
			if !o.ending && (o.consumed > o.confirmed || o.signaled > 0) {
				o.confirmed, o.signaled = o.consumed, 0
				b := o.queuedLocked()
				*b = appendReceived(*b, o.confirmed)
			}
		}
		if o.marksNow {
			o.marksNow = false
			if !o.ended {
				b := o.queuedLocked()
				*b = c.appendMarksLocked(*b)
			}
		}
		b := o.queued
		o.queued = nil
		c.placeLocked()
		if b == nil {
			break
		}
		if o.failed == nil && !o.stopped {
			c.mu.Unlock()
			_, err := o.str.Write(*b)
			c.mu.Lock()
			o.failed = err // the stream is dead, and Next says so, too
		}
		freeWriteBuffer(b)
	}
	if !o.ending || o.ended || o.stopped || o.failed != nil {
		o.writing = false
		return
	}
	// Nothing is queued any more, for the half is ending; so this is the last writer.
	o.ended = true
	c.mu.Unlock()
	err := o.str.Close() // of a stream that has not begun, it writes
	c.mu.Lock()
	o.failed = err
}

// endLocked ends the half behind all that is queued.
func (o *outbox) endLocked() {
	o.stopTimerLocked()
	o.ending = true
	o.c.checkpointsLocked()
	o.marksNow = o.ready && o.c.unsaidLocked()
	o.startLocked()
}

// stopLocked writes nothing any more: the stream is dead.
func (o *outbox) stopLocked() {
	o.stopTimerLocked()
	o.stopped = true
	o.backlog = nil
	close(o.gone)
}

// endWhenDraining ends the half when the session begins to end, or its connection, which waits for that. What
// is not written by then is for the next stream; if there will be none, nothing more is asked.
func (o *outbox) endWhenDraining() {
	select {
	case <-o.str.Draining():
		last := isLast(o.c.session)
		o.c.mu.Lock()
		defer o.c.mu.Unlock()
		if last {
			o.c.shutLocked()
		}
		if !o.ending {
			o.backlog = nil
			o.endLocked()
		}
	case <-o.c.session.Context().Done():
	case <-o.gone:
	}
}

// consume counts an event of n bytes, and has RECEIVED said when it is time to: not by itself, for a write
// may block, and Next must not.
func (o *outbox) consume(n int) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.consumed += uint64(n)
	switch {
	case o.ending:
	case o.consumed-o.confirmed >= confirmEvery:
		o.confirmLocked()
	default:
		o.armLocked()
	}
}

// armLocked has what is to be said by itself said soon.
func (o *outbox) armLocked() {
	if o.timerActive || o.ending || o.stopped {
		return
	}
	o.timerActive = true
	if o.timer == nil {
		o.timer = time.AfterFunc(confirmAfter, o.confirm)
	} else {
		o.timer.Reset(confirmAfter)
	}
}

// confirm has RECEIVED said, and MARKs, if there is something to say.
func (o *outbox) confirm() {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.timerActive = false
	if o.ending || o.stopped {
		return
	}
	if o.consumed > o.confirmed {
		o.confirmLocked()
	}
	o.c.checkpointsSoonLocked()
	switch {
	case !o.c.unsaidLocked():
	case o.ready:
		o.marksNow = true
		o.startLocked()
	default: // the rooms are not joined yet
		o.armLocked()
	}
}

func (o *outbox) confirmLocked() {
	o.confirmNow = true
	o.startLocked()
}

func (o *outbox) stopTimerLocked() {
	if o.timerActive {
		o.timer.Stop() // if it comes too late, what it calls finds that the half has ended
		o.timerActive = false
	}
}

func bufferLen(b *[]byte) int {
	if b == nil {
		return 0
	}
	return len(*b)
}
