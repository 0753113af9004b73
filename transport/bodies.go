package transport

import (
	"errors"
	"sync/atomic"
)

// ErrBuffersFull is what ReadFrame and [Stream.Hold] return when a server holds too many bytes of messages, see
// [Config.MaxBuffered]. Of the message nothing has been handed out, or written.
var ErrBuffersFull = errors.New("transport: too many bytes of messages are being held")

// One identity may have this part of Config.MaxBuffered; and so many bytes even if all of it is taken, so that calls
// that are not large go on, whatever others hold.
const (
	bodyShare = 4
	minBodies = 256 << 10
)

// bodies counts the bytes of long messages that a server holds. Those up to readBuffer are not counted: what a
// stream needs for them it has anyway.
type bodies struct {
	most     int64 // negative: no limit
	counters *counters
	held     atomic.Int64
}

// ownBodies are those of one identity, of all its sessions. Nil counts nothing: a client asks for what it gets.
type ownBodies struct {
	all  *bodies
	held atomic.Int64
}

// take counts n bytes more, if there is room: of its share an identity may have no more than would be left to others.
func (b *ownBodies) take(n int64) bool {
	if b == nil || b.all.most < 0 {
		return true
	}
	mine, held := b.held.Add(n), b.all.held.Add(n)
	if mine <= minBodies || mine <= b.all.most/bodyShare && mine <= b.all.most-held {
		return true
	}
	b.give(n)
	b.all.counters.drop(DropBuffered)
	return false
}

func (b *ownBodies) give(n int64) {
	if b == nil || b.all.most < 0 {
		return
	}
	b.held.Add(-n)
	b.all.held.Add(-n)
}

// BoundBuffers has the memory for long bodies counted against [Config.MaxBuffered], so that ReadFrame may
// return [ErrBuffersFull]. It is for streams of which a peer may open many, and has to be called before the
// first frame is read.
func (s *Stream) BoundBuffers() { s.bodies = s.link.sess.bodies }

// Hold counts n bytes, of a message that this side has read and keeps, or is about to write on the stream, as held.
// It returns [ErrBuffersFull] when there are too many. Who holds must Unhold the same.
func (s *Stream) Hold(n int) error {
	if n > readBuffer && !s.link.sess.bodies.take(int64(n)) {
		return ErrBuffersFull
	}
	return nil
}

// Unhold takes back a Hold that returned nil.
func (s *Stream) Unhold(n int) {
	if n > readBuffer {
		s.link.sess.bodies.give(int64(n))
	}
}

// count makes the bytes that are counted for the body up to n, and says whether there is room for them.
func (f *FrameReader) count(n int64) bool {
	more := n - f.counted.Load()
	if more <= 0 {
		return true
	}
	if !f.bodies.take(more) {
		return false
	}
	f.counted.Add(more)
	return true
}

// uncount says that nothing is needed any more of what is counted. It may be called from anywhere: who reads meanwhile fails, and
// frees.
func (f *FrameReader) uncount() {
	if f.counted.Load() > 0 {
		f.bodies.give(f.counted.Swap(0))
	}
}
