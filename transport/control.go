package transport

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/quic-go/quic-go"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
)

// Frames of the control stream. All are odd: a peer must understand them. The bodies
// are the protobuf messages of internal/controlpb/control.proto.
const (
	frameHello       FrameType = 0x01 // client → server, first
	frameWelcome     FrameType = 0x03 // server → client, first
	frameGoAway      FrameType = 0x05
	frameFinish      FrameType = 0x07
	frameNotFinished FrameType = 0x09
	frameDisconnect  FrameType = 0x0b // then FIN
	framePing        FrameType = 0x0d
	framePong        FrameType = 0x0f
)

// maxControlFrame bounds the body of a control frame, in bytes.
const maxControlFrame = 16 << 10

// controlWriteTimeout is how long a frame on the control stream may wait for a peer that
// does not read.
const controlWriteTimeout = 5 * time.Second

// How many control frames a peer may send: so many at once, and then one each time. Those of a session are a few, and a
// PING each 5 s; each costs an answer.
const (
	controlBurst = 256
	controlEvery = 50 * time.Millisecond
)

func controlLimit(t FrameType) (uint64, bool) {
	return maxControlFrame, t%2 == 1 && t <= framePong
}

// appendMessage appends a control frame with message m.
func appendMessage(dst []byte, t FrameType, m proto.Message) []byte {
	n := proto.Size(m)
	dst = AppendFrameHeader(dst, t, n)
	dst, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(dst, m)
	if err != nil { // only for strings that are not UTF-8, and cut leaves none
		panic(fmt.Sprintf("transport: marshal frame %#x: %v", uint64(t), err))
	}
	return dst
}

// send writes frames on the control stream, in one write.
func (l *link) send(frames []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.sendLocked(frames)
}

// sendLocked is send for who holds the lock.
func (l *link) sendLocked(frames []byte) error {
	if l.finSent {
		return nil // a PONG, or a GOAWAY: DISCONNECT has said more
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(controlWriteTimeout))
	_, err := l.control.Write(frames)
	switch {
	case err == nil:
	case isReset(err):
		l.close(ClosedCriticalStream, "control stream ended before the session")
	default:
		l.close(ExcessiveLoad, "control stream is not read")
	}
	return err
}

// readControl serves the control stream until the connection ends.
func (l *link) readControl() {
	var allowance bucket
	for {
		t, body, err := l.messages.ReadFrame(controlLimit)
		if err == nil {
			if !allowance.take(time.Now(), controlBurst, controlEvery) {
				if l.sess.server != nil {
					l.sess.server.counters.drop(DropControl)
				}
				l.close(ExcessiveLoad, "too many control frames")
				return
			}
			err = l.handleControl(t, body)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && l.isDisconnected() {
			return // the peer's FIN after DISCONNECT
		}
		l.closeFor(err)
		return
	}
}

func (l *link) isDisconnected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.disconnected
}

// closeFor closes the connection after a fault on the control stream.
func (l *link) closeFor(err error) {
	if l.isClosed() {
		return
	}
	code, reason := Protocol, err.Error()
	if e, ok := errors.AsType[*FrameTooLargeError](err); ok {
		code, reason = FrameTooLarge, e.Error()
	} else if errors.Is(err, io.EOF) || isReset(err) {
		code, reason = ClosedCriticalStream, "control stream ended before the session"
	}
	l.close(code, reason)
}

func isReset(err error) bool {
	_, ok := errors.AsType[*quic.StreamError](err)
	return ok
}

// unmarshal decodes a control message.
func unmarshal(t FrameType, body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("malformed control frame %#x", uint64(t))
	}
	return nil
}

// handleControl acts on one frame. An error ends the connection.
func (l *link) handleControl(t FrameType, body []byte) error {
	switch t {
	case frameGoAway:
		var m controlpb.GoAway
		if err := unmarshal(t, body, &m); err != nil {
			return err
		}
		return l.handleGoAway(&m)
	case frameFinish:
		var m controlpb.Finish
		if err := unmarshal(t, body, &m); err != nil {
			return err
		}
		return l.handleFinish(&m)
	case frameNotFinished:
		var m controlpb.NotFinished
		if err := unmarshal(t, body, &m); err != nil {
			return err
		}
		l.handleNotFinished(&m)
	case frameDisconnect:
		var m controlpb.Disconnect
		if err := unmarshal(t, body, &m); err != nil {
			return err
		}
		return l.handleDisconnect(&m)
	case framePing:
		return l.send(appendMessage(nil, framePong, &controlpb.Pong{}))
	case framePong:
		// Its packet was the sign of life.
	default:
		return fmt.Errorf("control frame %#x is out of place", uint64(t))
	}
	return nil
}

// millis converts a duration from the wire; absurd ones are cut to most.
func millis(ms uint64, most time.Duration) time.Duration {
	if ms > math.MaxInt64/uint64(time.Millisecond) {
		return most
	}
	return min(time.Duration(ms)*time.Millisecond, most)
}
