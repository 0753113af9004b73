package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/quic-go/quic-go"
)

// floorRooms are the rooms of a server.
type floorRooms struct {
	mu    sync.Mutex // guards what follows
	named map[string]*floorRoom
}

type floorRoom struct {
	mu   sync.Mutex // guards what follows
	subs []*floorSubscription
	last []byte // the newest line, encoded
}

func (r *floorRooms) room(name string) *floorRoom {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.named == nil {
		r.named = make(map[string]*floorRoom)
	}
	room := r.named[name]
	if room == nil {
		room = new(floorRoom)
		r.named[name] = room
	}
	return room
}

// roomName reads the name that a stream begins with. Nothing follows it before the answer.
func roomName(b []byte) (string, error) {
	msg, rest, ok, err := floorMessage(b)
	if err != nil || !ok || len(rest) > 0 {
		return "", errors.New("no name of a room")
	}
	return string(msg), nil
}

// join subscribes the stream, and reads it until the client is gone.
func (r *floorRooms) join(str *quic.Stream, first []byte, withLast bool) error {
	name, err := roomName(first)
	if err != nil {
		return err
	}
	room := r.room(name)
	sub := &floorSubscription{str: str}
	room.mu.Lock()
	greeting := appendFloorMessage(nil, nil)
	if withLast {
		greeting = append(greeting, room.last...)
	}
	room.subs = append(slices.Clip(room.subs), sub) // whoever writes has the old slice
	sub.send(greeting)
	room.mu.Unlock()
	_, err = str.Read(make([]byte, 1))
	room.remove(sub)
	if errors.Is(err, io.EOF) {
		return str.Close()
	}
	return err
}

func (room *floorRoom) remove(sub *floorSubscription) {
	room.mu.Lock()
	defer room.mu.Unlock()
	left := make([]*floorSubscription, 0, len(room.subs))
	for _, s := range room.subs {
		if s != sub {
			left = append(left, s)
		}
	}
	room.subs = left
}

// publish passes on what comes, as many whole lines at a time as there are: they are encoded
// already, once for all.
func (r *floorRooms) publish(str *quic.Stream, first []byte) error {
	name, err := roomName(first)
	if err != nil {
		return err
	}
	room := r.room(name)
	if _, err := str.Write(appendFloorMessage(nil, nil)); err != nil {
		return err
	}
	buf := make([]byte, floorCoalesce)
	n := 0
	for {
		m, err := str.Read(buf[n:])
		n += m
		whole, last := 0, 0
		for rest := buf[:n]; ; {
			msg, more, ok, err := floorMessage(rest)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			last = whole
			whole += floorHeader + len(msg)
			rest = more
		}
		if whole > 0 {
			room.show(buf[:whole], buf[last:whole])
		}
		n = copy(buf, buf[whole:n])
		if errors.Is(err, io.EOF) {
			return str.Close()
		}
		if err != nil {
			return err
		}
	}
}

func (room *floorRoom) show(lines, last []byte) {
	room.mu.Lock()
	subs := room.subs
	room.last = append(room.last[:0], last...)
	room.mu.Unlock()
	for _, s := range subs {
		s.send(lines)
	}
}

// A floorSubscription writes to one subscriber. As long as the connection takes everything at
// once, no goroutine is needed for it; what has to wait goes out in one write.
type floorSubscription struct {
	str *quic.Stream

	mu      sync.Mutex // guards what follows
	busy    bool       // drain is running
	pending []byte
}

func (s *floorSubscription) send(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy {
		if s.str.TryWriteAll(b) == nil { // does not block
			return
		}
		s.busy = true
		go s.drain() // ends with the stream
	}
	s.pending = append(s.pending, b...)
}

func (s *floorSubscription) drain() {
	var out []byte
	for {
		s.mu.Lock()
		out, s.pending = s.pending, out[:0]
		if len(out) == 0 {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if _, err := s.str.Write(out); err != nil {
			return // busy stays: nothing more is sent, and the window of the benchmark bounds what waits
		}
	}
}

// What follows is the client's side.

type floorChat struct {
	addr string
	keys *keySet
}

// open opens a stream that names a room, and waits for the answer.
func (d *floorChat) open(kind byte, room string) (*quic.Conn, *floorReader, error) {
	conf, err := d.keys.clientTLS(floorALPN)
	if err != nil {
		return nil, nil, err
	}
	conn, _, err := dialFloor(context.Background(), d.addr, conf, floorIdle(suiteChat))
	if err != nil {
		return nil, nil, err
	}
	r, err := openRoom(conn, kind, room)
	return conn, r, err
}

func openRoom(conn *quic.Conn, kind byte, room string) (*floorReader, error) {
	str, err := conn.OpenStreamSync(context.Background())
	if err != nil {
		return nil, err
	}
	if _, err := str.Write(appendFloorMessage([]byte{kind}, []byte(room))); err != nil {
		return nil, err
	}
	r := &floorReader{floorBuffer{b: make([]byte, 2<<10)}, str}
	if msg, err := r.next(); err != nil || len(msg) > 0 {
		return nil, fmt.Errorf("join was not answered: %w", err)
	}
	return r, nil
}

// A floorReader reads messages, as many at a time as there are.
type floorReader struct {
	floorBuffer
	str *quic.Stream
}

func (r *floorReader) next() ([]byte, error) { return r.message(r.str, false) }

type connCloser struct{ conn *quic.Conn }

func (c connCloser) Close() error { return c.conn.CloseWithError(0, "") }

func (d *floorChat) subscribe(room string, s *subscriber) (io.Closer, error) {
	conn, r, err := d.open(floorJoin, room)
	if err != nil {
		return nil, err
	}
	r.b = append(make([]byte, 0, 16<<10), r.b...)[:16<<10] // for many lines at a time
	go func() {                                            // ends with the connection
		for {
			line, err := r.next()
			if err != nil {
				s.fail(err)
				return
			}
			deliver(s, line)
		}
	}()
	return connCloser{conn}, nil
}

func (d *floorChat) publisher(room string) (publisher, error) {
	conn, r, err := d.open(floorPublish, room)
	if err != nil {
		return nil, err
	}
	p := &floorPublisher{connCloser: connCloser{conn}, str: r.str}
	p.changed.L = &p.mu
	go p.write() // ends with the process
	return p, nil
}

// A floorPublisher gathers lines while a write is under way.
type floorPublisher struct {
	connCloser
	str *quic.Stream

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	pending []byte
	err     error
}

func (p *floorPublisher) publish(line []byte) error {
	p.mu.Lock()
	for len(p.pending) >= floorCoalesce && p.err == nil {
		p.changed.Wait()
	}
	err := p.err
	p.pending = appendFloorMessage(p.pending, line)
	p.mu.Unlock()
	p.changed.Broadcast()
	return err
}

func (p *floorPublisher) acknowledged() error { return nil }

func (p *floorPublisher) write() {
	var out []byte
	for {
		p.mu.Lock()
		for len(p.pending) == 0 {
			p.changed.Wait()
		}
		out, p.pending = p.pending, out[:0]
		p.mu.Unlock()
		p.changed.Broadcast()
		if _, err := p.str.Write(out); err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			p.changed.Broadcast()
			return
		}
	}
}
