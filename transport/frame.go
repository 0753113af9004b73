package transport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go/quicvarint"
)

// A FrameType says what a frame's body is. Each stream type numbers its own
// frames. A receiver skips a type that it does not know when the number is even,
// and fails the stream when it is odd; so an odd type is one that must be
// understood. Range: 0 to 2^62-1.
type FrameType uint64

// Ignorable says whether a receiver that does not know the type may skip the frame.
func (t FrameType) Ignorable() bool { return t%2 == 0 }

// MaxFrameHeader is the longest header of a frame in bytes: two varints of eight
// bytes each (RFC 9000, section 16).
const MaxFrameHeader = 16

// AppendFrame appends a whole frame to dst: type, length of body, body.
func AppendFrame(dst []byte, t FrameType, body []byte) []byte {
	dst = AppendFrameHeader(dst, t, len(body))
	return append(dst, body...)
}

// AppendFrameHeader appends the header of a frame whose body of n bytes the
// caller appends next, or writes apart.
func AppendFrameHeader(dst []byte, t FrameType, n int) []byte {
	dst = quicvarint.Append(dst, uint64(t))
	return quicvarint.Append(dst, uint64(n))
}

// FrameTooLargeError reports a frame whose declared length is over the limit for
// its type. Nothing of the body has been read.
type FrameTooLargeError struct {
	Type   FrameType
	Length uint64 // as declared, in bytes
	Limit  uint64 // in bytes
}

func (e *FrameTooLargeError) Error() string {
	return fmt.Sprintf("frame of type %#x declares %d bytes, limit is %d", uint64(e.Type), e.Length, e.Limit)
}

// UnknownFrameError reports a frame of an unknown type that must be understood
// (an odd one).
type UnknownFrameError struct{ Type FrameType }

func (e *UnknownFrameError) Error() string {
	return fmt.Sprintf("unknown frame type %#x", uint64(e.Type))
}

// A FrameLimit gives the longest body, in bytes, that a frame of type t may have,
// and whether the type is known at all.
type FrameLimit func(t FrameType) (limit uint64, known bool)

const (
	// readBuffer is what one Read can take at once. It holds a whole small call,
	// and one packet's worth of anything else (a packet is at most 1452 bytes).
	readBuffer = 2048
	// bodyChunk bounds what is allocated for a declared length before the bytes
	// are there, so that a peer pays for memory with traffic. It holds a message of 64 KiB
	// with what a codec adds.
	bodyChunk = 65 << 10
	// maxPooled is the largest body whose memory is kept for another stream, in bytes.
	maxPooled = 128 << 10
)

var (
	readBuffers  = sync.Pool{New: func() any { return new([readBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([]byte) }}
)

// A FrameReader reads frames from a stream of bytes. It checks every length as
// declared, before it reads or allocates. It is not safe for concurrent use.
type FrameReader struct {
	r        io.Reader
	buf      *[readBuffer]byte // while there are bytes in it, or a body that was returned
	off, end int               // unread: buf[off:end]
	err      error             // from r, to be returned once the buffer is empty

	// The frame under way, for a read that goes on after a deadline has passed in its midst.
	header uint8 // how many varints of it have been read
	peeked [1]byte
	typ    FrameType
	left   uint64 // declared length of the body, less what was skipped
	body   []byte // what there is of one that is longer than the buffer
	own    bool   // that will be the caller's

	large *[]byte // where such a body was put, to be used again

	bodies  *ownBodies   // which counts such bodies; nil if nobody does
	counted atomic.Int64 // bytes of the newest one
}

// A peeker waits for bytes without a place to put them, as quic-go's streams do.
type peeker interface {
	Peek(p []byte) (int, error)
}

// NewFrameReader returns a reader of the frames in r.
func NewFrameReader(r io.Reader) *FrameReader { return &FrameReader{r: r} }

// ReadFrame returns the next frame of a known type. Its body may share memory
// with the reader and is valid until the next call.
//
// The error is io.EOF when the stream ends between two frames, and wraps
// io.ErrUnexpectedEOF when it ends inside one; os.ErrDeadlineExceeded, after which the next call
// goes on where this one ended; a [*FrameTooLargeError] or an
// [*UnknownFrameError] when the peer broke the rules; [ErrBuffersFull]; or what the underlying
// reader said.
func (f *FrameReader) ReadFrame(limit FrameLimit) (FrameType, []byte, error) {
	t, body, _, err := f.readFrame(limit, nil)
	return t, body, err
}

// ReadOwnFrame is ReadFrame for who may keep the body: one that does not fit into the reader's buffer of 2 KiB
// is read into memory of its own, once, if keep, which is asked only then, says so. Where own is false, the body shares
// memory with the reader as ReadFrame's does.
func (f *FrameReader) ReadOwnFrame(limit FrameLimit, keep func() bool) (t FrameType, body []byte, own bool, err error) {
	return f.readFrame(limit, keep)
}

func (f *FrameReader) readFrame(limit FrameLimit, keep func() bool) (_ FrameType, _ []byte, own bool, _ error) {
	for {
		if f.header == 0 {
			f.uncount() // nothing of the last body is needed any more
			t, err := f.readVarint(true)
			if err != nil {
				return 0, nil, false, err
			}
			f.header, f.typ = 1, FrameType(t)
		}
		if f.header == 1 {
			n, err := f.readVarint(false)
			if err != nil {
				return 0, nil, false, err
			}
			f.header, f.left = 2, n
		}
		most, known := limit(f.typ)
		if !known {
			if !f.typ.Ignorable() {
				return 0, nil, false, &UnknownFrameError{Type: f.typ}
			}
			if err := f.discard(); err != nil {
				return 0, nil, false, err
			}
			f.header = 0
			continue
		}
		if f.left > most {
			return 0, nil, false, &FrameTooLargeError{Type: f.typ, Length: f.left, Limit: most}
		}
		body, own, err := f.readBody(int(f.left), keep)
		if err != nil {
			return 0, nil, false, err
		}
		f.header = 0
		return f.typ, body, own, nil
	}
}

// Read reads what is buffered first, then from the underlying reader.
func (f *FrameReader) Read(p []byte) (int, error) {
	if f.off < f.end {
		n := copy(p, f.buf[f.off:f.end])
		f.off += n
		f.recycle()
		return n, nil
	}
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		f.err = err
	}
	return n, err
}

// readBody returns the n bytes that follow. Short ones alias the buffer; of others own says
// whether they are the caller's, which they are only if keep says so.
func (f *FrameReader) readBody(n int, keep func() bool) (_ []byte, own bool, _ error) {
	if n == 0 {
		return nil, false, nil
	}
	if n <= readBuffer {
		if err := f.fill(n); err != nil {
			return nil, false, truncated(err)
		}
		b := f.buf[f.off : f.off+n : f.off+n]
		f.off += n
		return b, false, nil
	}
	body := f.body
	f.body = nil
	if body == nil {
		f.own = keep != nil && keep()
		if body = f.place(min(n, bodyChunk)); body == nil {
			return nil, false, ErrBuffersFull
		}
	}
	for len(body) < n {
		if len(body) == cap(body) {
			room := min(n, 2*cap(body))
			if !f.count(int64(room)) {
				f.body = body
				return nil, false, ErrBuffersFull
			}
			grown := make([]byte, len(body), room)
			copy(grown, body)
			body = grown
			if !f.own {
				*f.large = body
			}
		}
		m, err := f.Read(body[len(body):min(n, cap(body))])
		body = body[:len(body)+m]
		if err != nil && len(body) < n {
			f.body = body
			return nil, false, truncated(err)
		}
	}
	return body, f.own, nil
}

// place returns where a body goes of which the first n bytes are awaited; nil if there is no room.
func (f *FrameReader) place(n int) []byte {
	if !f.count(int64(n)) {
		return nil
	}
	if f.own {
		return make([]byte, 0, n)
	}
	if f.large == nil {
		f.large = largeBuffers.Get().(*[]byte)
	}
	if cap(*f.large) < n {
		*f.large = make([]byte, 0, n)
	}
	return (*f.large)[:0]
}

// discard skips the rest of a body without keeping it.
func (f *FrameReader) discard() error {
	for f.left > 0 {
		if err := f.fill(1); err != nil {
			return truncated(err)
		}
		m := min(f.left, uint64(f.end-f.off))
		f.off += int(m)
		f.left -= m
	}
	return nil
}

// readVarint reads one varint. With first, an end of the stream before its first
// byte is io.EOF; every other end is truncation.
func (f *FrameReader) readVarint(first bool) (uint64, error) {
	if first && f.off == f.end {
		f.wait()
	}
	if err := f.fill(1); err != nil {
		if first {
			return 0, err
		}
		return 0, truncated(err)
	}
	if n := 1 << (f.buf[f.off] >> 6); n > 1 {
		if err := f.fill(n); err != nil {
			return 0, truncated(err)
		}
	}
	v, n, err := quicvarint.Parse(f.buf[f.off:f.end])
	if err != nil {
		return 0, err
	}
	f.off += n
	return v, nil
}

// fill waits until at least n unread bytes are buffered; n is at most readBuffer.
func (f *FrameReader) fill(n int) error {
	if f.end-f.off >= n {
		return nil
	}
	f.recycle()
	if f.buf == nil {
		f.buf = readBuffers.Get().(*[readBuffer]byte)
	}
	if f.off+n > readBuffer {
		f.end = copy(f.buf[:], f.buf[f.off:f.end])
		f.off = 0
	}
	for f.end-f.off < n {
		if f.err != nil {
			return f.err
		}
		m, err := f.r.Read(f.buf[f.end:])
		f.end += m
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if f.end-f.off >= n {
					return nil
				}
				return err // the deadline may be moved, and reading go on
			}
			f.err = err
		}
	}
	return nil
}

// wait waits for the next frame with no buffer held: most streams that live long are silent most of the
// time, and two buffers were 4 of the 57 KiB of heap that an idle session in a room took. What it costs
// busy ones BenchmarkPingPong does not show. The Read that follows says what ended the wait.
func (f *FrameReader) wait() {
	p, ok := f.r.(peeker)
	if !ok || f.err != nil || f.buf == nil { // a call's first frame is on its way: one look is enough
		return
	}
	f.giveBack()
	f.off, f.end = 0, 0
	_, _ = p.Peek(f.peeked[:])
}

// recycle starts again at the front of an empty buffer.
func (f *FrameReader) recycle() {
	if f.off == f.end {
		f.off, f.end = 0, 0
	}
}

// free gives the buffer back. What was buffered is lost, and bodies that
// ReadFrame returned become invalid.
func (f *FrameReader) free() {
	f.giveBack()
	f.uncount()
	f.off, f.end, f.body = 0, 0, nil
	f.err = io.ErrClosedPipe
}

func (f *FrameReader) giveBack() {
	if f.buf != nil {
		readBuffers.Put(f.buf)
		f.buf = nil
	}
	if f.large != nil {
		if cap(*f.large) <= maxPooled {
			largeBuffers.Put(f.large)
		}
		f.large = nil
	}
}

// Peek is how a stream's FrameReader waits.
func (r *receiver) Peek(p []byte) (int, error) { return r.str.Peek(p) }

// truncated turns the end of a stream inside a frame into io.ErrUnexpectedEOF.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("stream truncated inside a frame: %w", io.ErrUnexpectedEOF)
	}
	return err
}
