package rpc

import (
	"sync"
	"sync/atomic"

	"github.com/trunkline-go/trunkline/transport"
)

const (
	// maxGathered is how many bytes of messages may wait behind a write. 16, 64 and 256 KiB made
	// no difference to a stream of 1 KiB messages.
	maxGathered = 32 << 10
	// gatherable is the longest frame that is copied for it. A longer one fills packets by itself:
	// it waits for its turn, and goes out from where it is.
	gatherable = 16 << 10
)

// An outbox writes the messages that one side of a call sends. What is sent for the first time
// since something was received goes out at once, by who sends it: nothing is faster for a request, an answer or
// one turn of a conversation. Who sends again at once is streaming. From then on a goroutine writes,
// and what is sent while it does is gathered for its next write, so that small messages fill packets.
// With one write for each message instead, a stream of 1 KiB messages made half as many a second.
//
// One goroutine at a time may call write and wait.
type outbox struct {
	again atomic.Bool // something has been sent since this side received last

	// stream is nil until there is something to gather.
	stream *gatherer
}

// received notes that this side has received a message.
func (o *outbox) received() {
	if o.again.Load() { // is what a stream of requests or answers never writes to
		o.again.Store(false)
	}
}

// write writes what is in buf, or takes a copy that will be written. The error may be that of an earlier
// write; n is above 0 if anything of the failed one has gone out, which may then be half a frame.
func (o *outbox) write(str *transport.Stream, buf *buffer) (n int, err error) {
	b := buf.bytes()
	if len(b) <= gatherable && (o.again.Load() || o.stream.running()) {
		if o.stream == nil {
			o.stream = newGatherer(str)
		}
		return o.stream.add(b)
	}
	if n, err := o.wait(); err != nil {
		return n, err
	}
	if n, err := str.WriteFrom(buf.b, buf.start); err != nil {
		return n, err
	}
	o.again.Store(true)
	return len(b), nil
}

// wait waits until all has been written, and returns as write does.
func (o *outbox) wait() (n int, err error) {
	if o.stream == nil {
		return 0, nil
	}
	return o.stream.wait()
}

// A gatherer writes to a stream what is added, in a goroutine that runs while there is something.
type gatherer struct {
	str *transport.Stream

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // what is pending is being written, or the goroutine has ended
	pending *[]byte    // what the next write has; nil if it has nothing
	writing bool       // the goroutine runs
	n       int        // of the write that failed, what it wrote
	err     error      // why it failed; nothing is written after it
}

// gathered has buffers for gatherers. Each grows up to maxGathered.
var gathered = sync.Pool{New: func() any { return new([]byte) }}

func newGatherer(str *transport.Stream) *gatherer {
	g := &gatherer{str: str}
	g.changed.L = &g.mu
	return g
}

func (g *gatherer) running() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.writing
}

// add has a copy of b, of at most gatherable bytes, written behind what was added before.
func (g *gatherer) add(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.pending != nil && len(*g.pending)+len(b) > maxGathered {
		g.changed.Wait()
	}
	if g.err != nil {
		return g.n, g.err
	}
	if g.pending == nil {
		g.pending = gathered.Get().(*[]byte)
	}
	*g.pending = append(*g.pending, b...)
	if !g.writing {
		g.writing = true
		go g.write()
	}
	return 0, nil
}

// wait waits until all has been written, or failed.
func (g *gatherer) wait() (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.writing {
		g.changed.Wait()
	}
	return g.n, g.err
}

// write is the goroutine. It ends when nothing is left, or with the stream, whose reset or
// deadline ends a write.
func (g *gatherer) write() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.pending != nil {
		out := g.pending
		g.pending = nil
		if g.err == nil {
			g.changed.Broadcast()
			g.mu.Unlock()
			n, err := g.str.WriteThrough(*out)
			g.mu.Lock()
			if err != nil {
				g.n, g.err = n, err
			}
		}
		*out = (*out)[:0]
		gathered.Put(out)
	}
	g.writing = false
	g.changed.Broadcast()
}
