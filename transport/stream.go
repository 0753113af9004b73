package transport

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// A Stream is one bidirectional QUIC stream of a session (RFC 9000, section 2). Its two halves
// end apart: the sending one by Close or CancelWrite, the receiving one at io.EOF or by
// CancelRead. Until both have ended, the stream counts against [Config.MaxStreams];
// [Stream.Cancel] ends what has not ended yet.
//
// One goroutine may read while another writes; reading, or writing, from two at once is
// not safe. The cancel methods may be called from anywhere.
type Stream struct {
	FrameReader // reads the receiving half

	str   *quic.Stream
	link  *link
	typ   StreamType
	local bool // opened by this side

	typeSent bool          // local: the type has gone out before the first bytes
	queued   int           // bytes queued since the last write that waited; see write
	ended    atomic.Uint32 // which halves have ended
	rejected atomic.Bool   // local: the peer's GOAWAY says that it will not be served
}

// Bits of Stream.ended.
const (
	sendEnded uint32 = 1 << iota
	recvEnded
	counted // both have ended, and the link knows
)

// An Urgency orders streams of one connection that have bytes to send: lower goes first
// (RFC 9218, section 4.1). Range: 0 to 7.
type Urgency int8

// The urgencies in use.
const (
	UrgencyControl Urgency = 0
	UrgencyChat    Urgency = 2
	UrgencyRPC     Urgency = 3
	UrgencyBulk    Urgency = 6
)

func newStream(l *link, str *quic.Stream, t StreamType, local bool) *Stream {
	s := new(Stream)
	s.init(l, str, t, local)
	return s
}

func (s *Stream) init(l *link, str *quic.Stream, t StreamType, local bool) {
	s.str, s.link, s.typ, s.local = str, l, t, local
	s.r = (*receiver)(s)
}

// receiver is the receiving half as FrameReader sees it.
type receiver Stream

func (r *receiver) Read(p []byte) (int, error) {
	s := (*Stream)(r)
	n, err := s.str.Read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	canceled := s.ended.Load()&recvEnded != 0 // by CancelRead: this is the only reader
	s.end(recvEnded)
	if errors.Is(err, io.EOF) {
		if canceled { // after which quic-go takes the peer's reset for the end of all
			return n, s.canceled()
		}
		return n, err
	}
	if s.rejected.Load() {
		return n, s.canceled()
	}
	return n, s.link.fromStream(err)
}

// More says whether bytes follow the frame that ReadFrame returned last, whose body stays as it is. It waits for them, or for the
// end of the stream, until the read deadline. Without any the error is that of the next ReadFrame.
func (s *Stream) More() (bool, error) {
	f := &s.FrameReader
	if f.off < f.end {
		return true, nil
	}
	if f.err == nil {
		_, err := s.str.Peek(f.peeked[:])
		if err == nil {
			return true, nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, err
		}
	}
	_, err := f.Read(f.peeked[:]) // there is nothing but the end, and by Peek it is not taken for read
	return false, err
}

// ID returns the stream's id in its connection (RFC 9000, section 2.1).
func (s *Stream) ID() uint64 { return uint64(s.str.StreamID()) }

// Type returns the stream's type.
func (s *Stream) Type() StreamType { return s.typ }

// Session returns the session that the stream belongs to.
func (s *Stream) Session() *Session { return s.link.sess }

// Attempt says which of the session's connections carries the stream: [Status.Attempt] of the time when that
// was the newest.
func (s *Stream) Attempt() uint64 { return s.link.attempt }

// Connection returns a context that ends with the connection that carries the stream. Its cause is then the [*Error]
// that reads and writes fail with. The end of the stream itself does not end it.
func (s *Stream) Connection() context.Context { return s.link.handlersContext() }

// Draining returns a channel that is closed when the session begins to be released or
// drained: whoever keeps the stream open should now bring it to its end. A connection that is lost or aborted was
// neither; a handler's context ends then, so who waits for this waits for that, too.
func (s *Stream) Draining() <-chan struct{} { return s.link.draining }

// prefixed bounds how much of the first write is copied behind the stream's type, in bytes. It holds a message
// of 16 KiB with its head: with 1,200 such a request was two writes, and its first packets were not full.
const prefixed = 20 << 10

// prefixBuffers grow up to prefixed and a type.
var prefixBuffers = sync.Pool{New: func() any { return new([]byte) }}

// Write writes p, and blocks while the peer grants no credit; a context does not end it, but
// CancelWrite and the deadlines do. After a timeout part of p may have been sent, so the half
// must be reset. Errors are a [*StreamError] when the half was reset, an [*Error] when the
// session ended or detached, and os.ErrDeadlineExceeded.
func (s *Stream) Write(p []byte) (int, error) {
	if s.local && !s.typeSent {
		return s.writeFirst(p)
	}
	n, err := s.write(p, false)
	return n, s.sendError(err)
}

// maxQueued bounds what a stream queues in memory, in bytes, whatever window the peer grants.
const maxQueued = 16 << 10

// tail is what a write that waits leaves for the queue, in bytes. It is there when the Close that
// mostly follows says FIN, which so needs no packet of its own.
const tail = 1000

// write never waits in quic-go's buffer for small writes: one that waits there when the half is
// reset is kept for ever by quic-go v0.65, the stream never completes, and its slot is lost (R5). So
// small writes are queued, which does not wait, up to maxQueued bytes; any other waits until all
// before it has been sent, and its own bytes but for the tail, with a limit that limits nothing, which turns
// that buffer off. With through there is no tail.
func (s *Stream) write(p []byte, through bool) (n int, err error) {
	if through || s.queued+len(p) > maxQueued {
		waits := len(p)
		if !through && waits > tail {
			waits -= tail
		}
		s.queued = 0
		if n, err = s.str.WriteWithLimit(p[:waits], unlimited); err != nil || n == len(p) {
			return n, err
		}
	}
	rest := p[n:]
	s.queued += len(rest)
	err = s.str.TryWriteAll(rest)
	if err == nil {
		return len(p), nil
	}
	if !errors.Is(err, quic.ErrWouldBlock) {
		return n, err
	}
	s.queued = 0
	m, err := s.str.WriteWithLimit(rest, unlimited)
	return n + m, err
}

func unlimited(n int) int { return n }

// WriteThrough is Write that returns only when all of p has been put into packets. Whoever has more
// to say meanwhile can gather it, and so fill packets with it.
func (s *Stream) WriteThrough(p []byte) (int, error) {
	if s.local && !s.typeSent {
		if _, err := s.writeFirst(nil); err != nil {
			return 0, err
		}
	}
	n, err := s.write(p, true)
	return n, s.sendError(err)
}

// TryWrite writes all of p, if that needs no waiting, and says whether it did; else nothing of p has been written, and
// Write would wait, or says what is the matter. It may not run at the same time as Write or Close. At most 16 KiB in
// all, of what Write has queued and this, are taken between two writes that have waited, whatever the peer grants.
func (s *Stream) TryWrite(p []byte) bool {
	if s.local && !s.typeSent || s.queued+len(p) > maxQueued || s.str.TryWriteAll(p) != nil {
		return false
	}
	s.queued += len(p)
	return true
}

// WriteFrom writes b[start:], as Write does. What is before start is room for the stream's type, and is written over: with it
// a first write needs no copy, which of 16 KiB took 3 of the 140 µs of CPU that a call took its caller, by profile.
func (s *Stream) WriteFrom(b []byte, start int) (int, error) {
	size := quicvarint.Len(uint64(s.typ))
	if !s.local || s.typeSent || size > start {
		return s.Write(b[start:])
	}
	s.typeSent = true
	first := start - size
	quicvarint.Append(b[first:first], uint64(s.typ))
	n, err := s.write(b[first:], false)
	return max(0, n-size), s.sendError(err)
}

// writeFirst sends the stream's type in one write with the beginning of p, because
// each write may become a packet.
func (s *Stream) writeFirst(p []byte) (int, error) {
	s.typeSent = true
	buf := prefixBuffers.Get().(*[]byte)
	b := quicvarint.Append((*buf)[:0], uint64(s.typ))
	head := len(b)
	b = append(b, p[:min(len(p), prefixed)]...)
	n, err := s.write(b, false)
	*buf = b
	prefixBuffers.Put(buf)
	n = max(0, n-head)
	if err == nil && n < len(p) {
		var m int
		m, err = s.write(p[n:], false)
		n += m
	}
	return n, s.sendError(err)
}

func (s *Stream) sendError(err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	s.end(sendEnded)
	if s.rejected.Load() {
		return s.canceled()
	}
	return s.link.fromStream(err)
}

// canceled is what a half has ended with that was reset here: by the user, or for the peer, whose GOAWAY has
// rejected the stream.
func (s *Stream) canceled() error {
	if s.rejected.Load() {
		return &StreamError{Code: StreamRejected, Remote: true}
	}
	return &StreamError{Code: StreamCanceled}
}

// Close ends the sending half in order: the peer reads io.EOF after all that was
// written. It must not run at the same time as Write.
func (s *Stream) Close() error {
	if s.local && !s.typeSent {
		if _, err := s.writeFirst(nil); err != nil {
			return err
		}
	}
	err := s.str.Close()
	s.end(sendEnded)
	if err != nil { // the half had been reset before
		return s.canceled()
	}
	return nil
}

// CancelWrite resets the sending half: what was written and has not been delivered is
// thrown away. After Close it does nothing.
func (s *Stream) CancelWrite(code StreamCode) {
	if s.ended.Load()&sendEnded == 0 {
		s.str.CancelWrite(quic.StreamErrorCode(code))
	}
	s.end(sendEnded)
}

// CancelRead asks the peer to stop sending, and throws away what it sent. After the
// receiving half's end it does nothing.
func (s *Stream) CancelRead(code StreamCode) {
	if s.ended.Load()&recvEnded == 0 {
		s.str.CancelRead(quic.StreamErrorCode(code))
	}
	s.end(recvEnded)
}

// Cancel resets the halves that have not come to their end; on a stream whose
// halves both have, it does nothing. So it may be deferred.
func (s *Stream) Cancel(code StreamCode) {
	s.CancelRead(code)
	s.CancelWrite(code)
}

// SetReadDeadline bounds reads, also one that is under way. The zero time means no bound.
func (s *Stream) SetReadDeadline(t time.Time) {
	if s.ended.Load()&recvEnded == 0 { // else all is here, as with most small calls from the first read on
		_ = s.str.SetReadDeadline(t) // never fails
	}
}

// SetReadTimeout is SetReadDeadline of the time so long from now. After the receiving half's end it does not even look
// at the clock.
func (s *Stream) SetReadTimeout(d time.Duration) {
	if s.ended.Load()&recvEnded == 0 {
		_ = s.str.SetReadDeadline(time.Now().Add(d)) // never fails
	}
}

// SetWriteDeadline bounds writes, also one that is under way. The zero time means no bound.
func (s *Stream) SetWriteDeadline(t time.Time) { _ = s.str.SetWriteDeadline(t) } // never fails

// SetUrgency says how soon this stream's bytes go out beside those of the connection's other
// streams; of those of one urgency, incremental ones share. Default: [UrgencyRPC].
func (s *Stream) SetUrgency(u Urgency, incremental bool) { s.str.SetPriority(int8(u), incremental) }

// Done says whether both halves have ended.
func (s *Stream) Done() bool { return s.ended.Load()&(sendEnded|recvEnded) == sendEnded|recvEnded }

// Free gives the stream's read buffer back for other streams to use. Nothing may be read
// from the stream any more, and bodies that ReadFrame returned become invalid.
// Streams that were accepted are freed when their handler returns.
func (s *Stream) Free() { s.free() }

// end notes that a half has ended, and tells the link once both have.
func (s *Stream) end(half uint32) {
	for {
		old := s.ended.Load()
		now := old | half
		both := now&(sendEnded|recvEnded) == sendEnded|recvEnded
		if both {
			now |= counted
		}
		if now == old {
			return
		}
		if s.ended.CompareAndSwap(old, now) {
			if both && old&counted == 0 && s.local {
				s.uncount() // who opened it may not come back to Free it
				s.link.forget(s)
			}
			return
		}
	}
}
