package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// bulkMessage is the size of a message of a bulk stream.
const bulkMessage = 64 << 10

// A streamRequest asks for a stream of messages: Count of them, or as many as go out in
// Duration. It is the payload of the request for all peers.
type streamRequest struct {
	Size     int // of a message, in bytes; at least streamHeader
	Count    int64
	Duration time.Duration
}

const streamRequestSize = 24

func (r streamRequest) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, streamRequestSize), uint64(r.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Count))
	return binary.BigEndian.AppendUint64(b, uint64(r.Duration))
}

func parseStreamRequest(b []byte) (streamRequest, error) {
	if len(b) != streamRequestSize {
		return streamRequest{}, errors.New("malformed stream request")
	}
	r := streamRequest{
		Size:     int(binary.BigEndian.Uint64(b)),
		Count:    int64(binary.BigEndian.Uint64(b[8:])),
		Duration: time.Duration(binary.BigEndian.Uint64(b[16:])),
	}
	if r.Size < streamHeader || r.Size > 1<<20 {
		return streamRequest{}, errors.New("malformed stream request")
	}
	return r, nil
}

// Every message of a stream begins with its number and the time at which it was sent, 8 bytes
// each. The last one has lastMessage for its time, and for its number how many there were
// before. The clock is that of the machine, since the processes share it.
const (
	streamHeader = 16
	lastMessage  = 0
)

// serve sends what was asked for. send may keep the message back, and copies it.
func (r streamRequest) serve(send func(msg []byte) error) error {
	msg := filler(r.Size)
	end := time.Now().Add(r.Duration)
	var n int64
	for ; r.Count == 0 || n < r.Count; n++ {
		now := time.Now()
		if r.Count == 0 && now.After(end) {
			break
		}
		binary.BigEndian.PutUint64(msg, uint64(n))
		binary.BigEndian.PutUint64(msg[8:], uint64(now.UnixNano()))
		if err := send(msg); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint64(msg, uint64(n))
	binary.BigEndian.PutUint64(msg[8:], lastMessage)
	return send(msg)
}

// filler returns n bytes that do not repeat soon, and are UTF-8.
func filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte((i*7+i>>8)%26)
	}
	return b
}

// A streamChecker sees to it that all messages come, in order, as they were sent.
type streamChecker struct {
	next int64
	tail []byte
	hist *histogram
	last bool
}

func newStreamChecker(size int, h *histogram) *streamChecker {
	return &streamChecker{tail: filler(size)[streamHeader:], hist: h}
}

func (c *streamChecker) take(msg []byte) error {
	if c.last || len(msg) != streamHeader+len(c.tail) {
		return fmt.Errorf("message %d has %d bytes, not %d", c.next, len(msg), streamHeader+len(c.tail))
	}
	n, sent := int64(binary.BigEndian.Uint64(msg)), int64(binary.BigEndian.Uint64(msg[8:]))
	if n != c.next {
		return fmt.Errorf("message %d where %d was to come", n, c.next)
	}
	if !bytes.Equal(msg[streamHeader:], c.tail) {
		return fmt.Errorf("message %d has changed", n)
	}
	if sent == lastMessage {
		c.last = true
		return nil
	}
	c.next++
	c.hist.record(time.Duration(time.Now().UnixNano() - sent))
	return nil
}

// end says whether the stream has come to its end.
func (c *streamChecker) end(err error) error {
	if err != nil {
		return err
	}
	if !c.last {
		return fmt.Errorf("stream ended after %d messages: %w", c.next, io.ErrUnexpectedEOF)
	}
	return nil
}

// newRPCLoad returns the load of a work of the suite rpc.
func newRPCLoad(conn rpcConn, w *work) (load, error) {
	switch w.Kind {
	case kindUnary:
		return newUnaryLoad(conn, w.N, w.Size), nil
	case kindStream, kindBulk:
		return &streamLoad{conn}, nil
	case kindPingPong:
		return &pingPongLoad{conn}, nil
	case kindBeside:
		return &besideLoad{conn, newUnaryLoad(conn, w.N, w.Size)}, nil
	default:
		return nil, fmt.Errorf("no rpc work %q", w.Kind)
	}
}

// A unaryLoad is a closed loop of callers: each makes its next call when it has the answer to
// the last.
type unaryLoad struct {
	callers []func([]byte) ([]byte, error)
	hists   []histogram
	size    int
}

func newUnaryLoad(conn rpcConn, callers, size int) *unaryLoad {
	l := &unaryLoad{hists: make([]histogram, callers), size: size}
	for range callers {
		l.callers = append(l.callers, conn.newCaller())
	}
	return l
}

func (l *unaryLoad) run(s *section) error {
	for i := range l.hists {
		l.hists[i].reset()
	}
	payloads := make([][]byte, len(l.callers))
	for i := range payloads {
		payloads[i] = filler(l.size)
		binary.BigEndian.PutUint32(payloads[i], uint32(i)) // an answer meant for another is wrong
	}
	var failed atomic.Bool
	errs := make([]error, len(l.callers))
	var callers sync.WaitGroup
	s.begin()
	deadline := s.deadline()
	for i, call := range l.callers {
		callers.Go(func() {
			for now := time.Now(); now.Before(deadline) && !failed.Load(); {
				if errs[i] = echoOnce(call, payloads[i]); errs[i] != nil {
					failed.Store(true)
					return
				}
				end := time.Now()
				l.hists[i].record(end.Sub(now))
				now = end
			}
		})
	}
	callers.Wait()
	s.end()
	for i := range l.hists {
		s.hist.add(&l.hists[i])
	}
	s.ops = int64(s.hist.total)
	return errors.Join(errs...)
}

func echoOnce(call func([]byte) ([]byte, error), payload []byte) error {
	res, err := call(payload)
	if err == nil && !bytes.Equal(res, payload) {
		err = errors.New("the echo is not what was sent")
	}
	return err
}

// A streamLoad reads one stream.
type streamLoad struct{ conn rpcConn }

func (l *streamLoad) run(s *section) error {
	req := streamRequest{Size: s.work.Size, Duration: s.duration}
	if s.work.Kind == kindBulk {
		goal := s.work.Goal
		if s.warm {
			goal /= 16
		}
		req = streamRequest{Size: s.work.Size, Count: goal / int64(s.work.Size)}
	}
	c := newStreamChecker(req.Size, &s.hist)
	s.begin()
	err := l.conn.stream(context.Background(), req, c.take)
	s.end()
	s.ops = c.next
	s.set("mb_per_second", float64(c.next)*float64(req.Size)/1e6/s.elapsed.Seconds())
	return c.end(err)
}

// A pingPongLoad keeps one message on its way.
type pingPongLoad struct{ conn rpcConn }

func (l *pingPongLoad) run(s *section) error {
	exchange, done, err := l.conn.exchange()
	if err != nil {
		return err
	}
	payload := filler(s.work.Size)
	if err := echoOnce(exchange, payload); err != nil { // the stream is there
		return err
	}
	s.begin()
	deadline := s.deadline()
	for now := s.started; now.Before(deadline); {
		if err := echoOnce(exchange, payload); err != nil {
			return err
		}
		end := time.Now()
		s.hist.record(end.Sub(now))
		now = end
	}
	s.end()
	s.ops = int64(s.hist.total)
	return done()
}

// A besideLoad makes calls beside a bulk stream.
type besideLoad struct {
	conn  rpcConn
	calls *unaryLoad
}

func (l *besideLoad) run(s *section) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var h histogram
	c := newStreamChecker(bulkMessage, &h)
	var taken atomic.Int64
	flowing := make(chan struct{})
	ended := make(chan error, 1)
	go func() { // waited for below
		ended <- l.conn.stream(ctx, streamRequest{Size: bulkMessage, Duration: time.Hour}, func(msg []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if taken.Add(1) == 16 {
				close(flowing)
			}
			return c.take(msg)
		})
	}()
	select {
	case <-flowing:
	case err := <-ended:
		return fmt.Errorf("bulk stream ended: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	before := taken.Load()
	err := l.calls.run(s)
	n := taken.Load() - before
	s.set("bulk_mb_per_second", float64(n)*bulkMessage/1e6/s.elapsed.Seconds())
	cancel()
	if bulk := <-ended; bulk == nil || n == 0 {
		return errors.Join(err, errors.New("the bulk stream did not flow to the end of the turn"))
	} else if c.last || c.next == 0 {
		return errors.Join(err, fmt.Errorf("the bulk stream broke off: %w", bulk))
	}
	return err
}
