package chat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
)

// A moodyStream keeps what is written, and now and then would have TryWrite wait. It has no lock: the race detector
// sees whether two write at a time.
type moodyStream struct {
	transport.FrameReader
	conn    *conn
	random  *rand.Rand
	refuse  int // one in how many
	written bytes.Buffer
	tried   int
}

func (s *moodyStream) Write(p []byte) (int, error) {
	s.written.Write(p)
	s.confirm()
	return len(p), nil
}

func (s *moodyStream) WriteThrough(p []byte) (int, error) { return s.Write(p) }

func (s *moodyStream) TryWrite(p []byte) bool {
	if s.refuse > 0 && s.random.IntN(s.refuse) == 0 {
		return false
	}
	s.tried++
	s.written.Write(p)
	s.confirm()
	return true
}

func (s *moodyStream) confirm() {
	if s.random.IntN(3) == 0 {
		_ = s.conn.confirm(s.conn.announce.Load())
	}
}
func (s *moodyStream) Close() error                { return nil }
func (s *moodyStream) Cancel(transport.StreamCode) {}
func (s *moodyStream) ReadFrame(transport.FrameLimit) (transport.FrameType, []byte, error) {
	return 0, nil, io.EOF
}

// moodyMember joins a room with a session of its own.
func moodyMember(t *testing.T, srv *Server, who string, seed uint64, refuse int, rooms ...string) *conn {
	s := &session{srv: srv, ctx: t.Context(), who: who, rooms: make(map[string]*claim), abort: func(transport.CloseCode, string) {}}
	str := &moodyStream{random: rand.New(rand.NewPCG(seed, 1)), refuse: refuse}
	c := newConn(s, str)
	str.conn, s.conn = c, c
	for _, room := range rooms {
		require.Nil(t, s.claim(room))
		r, err := srv.room(room, true)
		require.Nil(t, err)
		require.NoError(t, c.send(r, &request{kind: requestJoin}))
	}
	return c
}

// settle confirms what is written until nothing more is. It is for a bubble.
func settle(c *conn) {
	for {
		announced := c.announce.Load()
		_ = c.confirm(announced)
		synctest.Wait()
		if c.announce.Load() == announced {
			return
		}
	}
}

// Whatever of it the actor writes itself, and whatever a writer does, each stream has every line once and in order: with
// streams that would wait, credit that is used up, several rooms, and readers that publish.
func TestC1WhatTheActorWritesItselfIsInOrder(t *testing.T) {
	synctest.Test(t, testActorWrites)
}

func testActorWrites(t *testing.T) {
	srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
	defer srv.Close()
	const members, perMember = 8, 300
	var conns []*conn
	for i := range members {
		conns = append(conns, moodyMember(t, srv, fmt.Sprint("u", i), uint64(i), i, "a", "b"))
	}
	var publishers sync.WaitGroup
	for i, c := range conns {
		publishers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 2))
			for n := 0; n < perMember; {
				var entries []byte
				for range 1 + random.IntN(5) {
					entries = appendEntry(entries, strconv.Itoa(n), string(bytes.Repeat([]byte{'x'}, 1+random.IntN(2000))), KindText, 0)
					n++
				}
				frame := appendPublish(nil, []string{"a", "b"}[random.IntN(2)], Producer{byte(i + 1)}, entries, 0, nil)
				_, body, err := transport.NewFrameReader(bytes.NewReader(frame)).ReadFrame(srv.limit)
				assert.NoError(t, err)
				assert.NoError(t, c.publish(context.Background(), body))
				time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond) // fake
			}
		})
	}
	publishers.Wait()
	synctest.Wait()
	heads := make(map[string]uint64)
	for _, room := range []string{"a", "b"} {
		state, err := srv.cfg.Log.State(t.Context(), room)
		require.NoError(t, err)
		heads[room] = state.Head
	}
	tried := 0
	for i, c := range conns {
		settle(c)
		str := c.str.(*moodyStream)
		tried += str.tried
		checkLines(t, str.written.Bytes(), heads, i, c.announce.Load())
	}
	assert.Positive(t, tried, "the actor wrote some of it")
}

// checkLines checks that what was written to a stream has each room's lines from 1 to its head, and as many bytes of
// events as were counted.
func checkLines(t *testing.T, written []byte, heads map[string]uint64, member int, counted uint64) {
	c := &Client{rooms: make(map[string]*clientRoom), slots: make(chan struct{}, 1)}
	r := transport.NewFrameReader(bytes.NewReader(written))
	seqs := make(map[string]uint64)
	for {
		typ, body, err := r.ReadFrame(clientLimit)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if counts(typ) {
			counted -= uint64(len(body))
		}
		if typ != frameRecord {
			continue
		}
		h, err := decodeItems(body)
		require.NoError(t, err)
		room := string(h.room)
		if c.rooms[room] == nil {
			c.rooms[room] = &clientRoom{name: room, next: 1}
		}
		require.NoError(t, c.record(body), "member %d", member)
		for c.items.left > 0 {
			it := &c.items
			it.left--
			pos := it.pos
			it.pos.Seq++
			event, err := c.nextLine(it, pos)
			require.NoError(t, err, "member %d", member)
			if m, whole := event.(*Message); whole {
				assert.NotEqual(t, fmt.Sprint("u", member), m.From, "its own lines are stubs")
			}
			seqs[room] = pos.Seq
		}
	}
	assert.Zero(t, counted, "member %d", member)
	assert.Equal(t, heads, seqs, "member %d", member)
}

// Who has published a line is sent its stub, also if its credit comes back while the actor shows the line: its writer, which was
// woken for the acknowledgement, could not show it then, and is not awake yet.
func TestC4TheActorWritesNobodyItsOwnLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
		defer srv.Close()
		c := moodyMember(t, srv, "u0", 1, 0, "a")
		synctest.Wait()
		settle(c)
		r, _ := srv.room("a", false)
		m := r.members[c.session]
		line := func(seq uint64, s *session) {
			e := r.recordEvent(&Record{Position: Position{1, seq}, Entry: Entry{From: "u0", Producer: Producer{1}, ID: strconv.Itoa(int(seq)), Body: []byte("x")}})
			e.session = s
			r.pushLocked(&e)
			r.events = append(r.events[:0], e)
			r.deliver()
			synctest.Wait()
			settle(c)
		}
		str := c.str.(*moodyStream)
		m.own = ownRecords{producer: Producer{1}, first: 1}
		line(1, c.session)
		assert.Zero(t, str.tried, "its own")
		line(2, &session{})
		assert.Equal(t, 1, str.tried, "another session's")
	})
}
