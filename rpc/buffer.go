package rpc

import (
	"slices"
	"sync"

	"github.com/trunkline-go/trunkline/transport"
)

// A buffer is where frames are put together, so that they go out in one write: each write
// may become a packet and wakes the connection's goroutines. A message is encoded behind
// room for what goes before it, because only then its length is known.
type buffer struct {
	b     []byte
	start int // what goes out is b[start:]
}

// maxPooled is the largest buffer that is kept for another call, in bytes.
const maxPooled = 128 << 10

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// newBuffer returns a buffer with room bytes before what is appended.
func newBuffer(room int) *buffer {
	buf := buffers.Get().(*buffer)
	buf.b = slices.Grow(buf.b[:0], room+64)[:room]
	buf.start = room
	return buf
}

func (buf *buffer) free() {
	if cap(buf.b) <= maxPooled {
		buffers.Put(buf)
	}
}

// bytes returns what goes out.
func (buf *buffer) bytes() []byte { return buf.b[buf.start:] }

// prepend puts the header of a frame of type t before what is there, which is its body.
func (buf *buffer) prepend(t transport.FrameType) {
	buf.prependHeader(t, len(buf.b)-buf.start)
}

// prependHeader puts the header of a frame of type t, whose body has n bytes, before what is there.
func (buf *buffer) prependHeader(t transport.FrameType, n int) {
	var space [transport.MaxFrameHeader]byte
	header := transport.AppendFrameHeader(space[:0], t, n)
	buf.start -= len(header)
	copy(buf.b[buf.start:], header)
}

// prependFrame puts a frame before what is there. The room must have MaxFrameHeader bytes more than its body.
func (buf *buffer) prependFrame(t transport.FrameType, body string) {
	buf.start -= len(body)
	copy(buf.b[buf.start:], body)
	buf.prependHeader(t, len(body))
}

// prependHead puts a HEAD frame before what is there. The room that newBuffer
// left must have maxSize and MaxFrameHeader bytes for it.
func (buf *buffer) prependHead(h *ownHead) {
	// The body goes to the front of the room first: its length is not known before.
	body := h.append(buf.b[:0:buf.start])
	buf.start -= len(body)
	copy(buf.b[buf.start:], body)
	buf.prependHeader(frameHead, len(body))
}
