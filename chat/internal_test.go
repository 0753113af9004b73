package chat

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

// The bytes of every frame, as both sides write them. Never edited once released.
func TestGoldenBytes(t *testing.T) {
	for _, tt := range []struct {
		name string
		typ  transport.FrameType
		m    proto.Message
		hex  string
	}{
		{"join live", frameJoin, &chatpb.Join{Room: []byte("r")}, "01030a0172"},
		{"join cursor", frameJoin, &chatpb.Join{Room: []byte("r"), From: &chatpb.Join_Cursor{Cursor: &chatpb.Cursor{Epoch: 1, Seq: 300}}}, "010a0a01721205080110ac02"},
		{"join last", frameJoin, &chatpb.Join{Room: []byte("r"), From: &chatpb.Join_Last{Last: 20}}, "01050a01721814"},
		{"join checkpoint", frameJoin, joinFrom("r", FromCheckpoint()), "011d0a01723001121608ffffffffffffffffff0110ffffffffffffffffff01"},
		{"mark", frameMark, &chatpb.Mark{Room: []byte("r"), Epoch: 1, Read: 2, Delivered: 300}, "1f0a0a01721001180220ac02"},
		{"marks", frameMarks, &chatpb.Marks{Room: []byte("r"), Marks: []*chatpb.Marks_Of{{Who: "a", Read: 1, Delivered: 2}}, Stale: true}, "210e0a017212070a016110011802" + "1801"},
		{"leave", frameLeave, &chatpb.Leave{Room: []byte("r")}, "03030a0172"},
		{"joined", frameJoined, &chatpb.Joined{Room: []byte("r"), Epoch: 1, Head: 5, First: 2, Next: 4, Members: []string{"a", "b"}}, "09110a01721001180520022804320161320162"},
		{"left", frameLeft, &chatpb.Left{Room: []byte("r")}, "0b030a0172"},
		{"rejected", frameRejected, &chatpb.Rejected{Request: chatpb.Rejected_REQUEST_PUBLISH, Room: []byte("r"), MessageId: []byte("i"), Code: 9, Reason: "no"}, "0d0e08021201721a016920092a026e6f"},
		{"rejected cursor", frameRejected, &chatpb.Rejected{Request: chatpb.Rejected_REQUEST_JOIN, Room: []byte("r"), Code: 11, Epoch: 1, Head: 9, First: 3}, "0d0d0801120172200b300138094003"},
		{"presence", framePresence, &chatpb.Presence{Room: []byte("r"), Who: "a", State: chatpb.Presence_STATE_BACK}, "13080a01721201611804"},
		{"presence of many", framePresence, &chatpb.Presence{Room: []byte("r"), Joined: []string{"a", "b"}, Left: []string{"c"}, Lost: []string{"d"}, Back: []string{"e"}}, "13120a01722201612201622a0163320164" + "3a0165"},
		{"joined in part", frameJoined, &chatpb.Joined{Room: []byte("r"), Epoch: 1, Head: 5, First: 2, Next: 4, Members: []string{"a"}, More: 300}, "09110a017210011805200228043201613" + "8ac02"},
		{"members in part", frameMembers, &chatpb.Members{Room: []byte("r"), Members: []string{"a"}, More: 1}, "15080a01721201611801"},
		{"signal", frameSignal, &chatpb.Signal{Room: []byte("r"), Kind: chatpb.SignalKind_SIGNAL_KIND_TYPING}, "1b050a01721001"},
		{"signaled", frameSignaled, &chatpb.Signaled{Room: []byte("r"), Who: "a", Kind: chatpb.SignalKind_SIGNAL_KIND_HAND_UP}, "1d080a01721201611802"},
		{"members", frameMembers, &chatpb.Members{Room: []byte("r"), Members: []string{"a", "b"}}, "15090a0172120161120162"},
	} {
		b := appendMessage(nil, tt.typ, tt.m)
		assert.Equal(t, tt.hex, hex.EncodeToString(b), tt.name)
	}
}

func joinFrom(room string, from From) *chatpb.Join {
	m := &chatpb.Join{Room: []byte(room)}
	from.toWire(m)
	return m
}

// FuzzServerFrames has the server decode and carry out anything.
func FuzzServerFrames(f *testing.F) {
	for _, b := range [][]byte{
		appendMessage(nil, frameJoin, &chatpb.Join{Room: []byte("r"), From: &chatpb.Join_Last{Last: 20}}),
		appendMessage(nil, frameJoin, &chatpb.Join{Room: []byte("r"), From: &chatpb.Join_Cursor{Cursor: &chatpb.Cursor{Epoch: 1, Seq: 1 << 63}}}),
		appendMessage(nil, frameJoin, &chatpb.Join{Room: []byte("r"), From: &chatpb.Join_Last{Last: 1}, Resync: true}),
		appendMessage(nil, frameJoin, joinFrom("r", FromCheckpoint())),
		appendMessage(nil, frameJoin, &chatpb.Join{Room: []byte("r"), From: &chatpb.Join_Last{Last: 1}, Resync: true, Checkpoint: true}),
		appendMessage(nil, frameLeave, &chatpb.Leave{Room: []byte("r")}),
		appendPublish(nil, "r", Producer{}, appendEntry(appendEntry(nil, "i", "hi", KindText, 0), "j", "ho", KindText, 0), 0, nil),
		appendPublish(nil, "r", Producer{}, appendEntry(appendEntry(nil, "k", "other", KindEdit, 1), "l", "", KindDelete, 1), 0, &Position{1, 3}),
		appendPublish(nil, "r", Producer{}, appendEntry(appendEntry(nil, "m", "+", KindReact, 2), "n", "{}", KindSettings, 0), 0, &Position{0, 9}),
		appendReceived(nil, 3),
		appendMessage(nil, frameSignal, &chatpb.Signal{Room: []byte("r"), Kind: chatpb.SignalKind_SIGNAL_KIND_TYPING}),
		appendMessage(nil, frameSignal, &chatpb.Signal{Room: []byte("\xff"), Kind: 99}),
		appendMessage(nil, frameMark, &chatpb.Mark{Room: []byte("r"), Epoch: 1, Read: 2, Delivered: 1 << 63}),
	} {
		f.Add(b)
		f.Add(append(appendMessage(nil, frameJoin, &chatpb.Join{Room: []byte("r")}), b...))
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		log := NewMemoryLog(MemoryLogConfig{Epoch: 1})
		for i, from := range []string{"a", "b", "b"} {
			_, err := log.Append(t.Context(), "r", uint64(i), []Entry{{From: from, ID: strconv.Itoa(i), Body: []byte("text")}}, nil)
			require.NoError(t, err)
		}
		srv := NewServer(Config{Log: log})
		ctx, cancel := context.WithCancel(t.Context())
		s := &session{srv: srv, ctx: ctx, who: "a", rooms: make(map[string]*claim), abort: func(transport.CloseCode, string) { cancel() }}
		str := &nullStream{FrameReader: transport.NewFrameReader(bytes.NewReader(b))}
		c := newConn(s, str)
		s.conn = c
		c.serve(ctx)
		cancel()
		assert.Empty(t, s.rooms, "nobody stays behind")
		srv.Close()
		asClient(t, str.written.Bytes())
	})
}

// asClient reads what a server has written as a client does, which accepts all of it.
func asClient(t *testing.T, b []byte) {
	t.Helper()
	c := silentClient(nil)
	r := transport.NewFrameReader(bytes.NewReader(b))
	for {
		typ, body, err := r.ReadFrame(clientLimit)
		if err != nil {
			assert.Equal(t, io.EOF, err)
			return
		}
		switch typ { // what it answers has been asked
		case frameJoined:
			var m chatpb.Joined
			require.NoError(t, proto.Unmarshal(body, &m))
			c.asked = append(c.asked, pending{request: RequestJoin, room: string(m.GetRoom())}, pending{request: RequestResync, room: string(m.GetRoom())})
		case frameLeft:
			var m chatpb.Left
			require.NoError(t, proto.Unmarshal(body, &m))
			c.asked = append(c.asked, pending{request: RequestLeave, room: string(m.GetRoom())})
		case frameRejected:
			var m chatpb.Rejected
			require.NoError(t, proto.Unmarshal(body, &m))
			request, known := requestFromWire(m.GetRequest())
			require.True(t, known)
			c.asked = append(c.asked, pending{request: request, room: string(m.GetRoom())})
		}
		_, err = c.decode(typ, body)
		require.NoError(t, err, "%#x", uint64(typ))
		for c.items.left > 0 {
			_, err = c.nextItem()
			require.NoError(t, err)
		}
	}
}

// silentClient is a client that only reads: in rooms, whose records begin at 1, with messages unacknowledged, which
// are given as their ids and rooms.
func silentClient(messages map[string]string, rooms ...string) *Client {
	c := &Client{
		rooms: make(map[string]*clientRoom),
		slots: make(chan struct{}, len(messages)),
		shut:  make(chan struct{}),
		books: books{unacked: make(map[string]unacked)},
	}
	c.out = &outbox{c: c, ending: true} // says no RECEIVED
	for _, room := range rooms {
		c.rooms[room] = &clientRoom{name: room, epoch: 1, next: 1}
	}
	for id, room := range messages {
		c.unacked[id] = unacked{room: room, draft: draft{id: id}}
		c.slots <- struct{}{}
	}
	return c
}

// FuzzClientFrames has the client decode anything: no panic, and records in order.
func FuzzClientFrames(f *testing.F) {
	joined := appendMessage(nil, frameJoined, &chatpb.Joined{Room: []byte("r"), Epoch: 1, Head: 5, First: 2, Next: 4, Members: []string{"a", "b"}})
	for _, b := range [][]byte{
		joined,
		appendMessage(nil, frameLeft, &chatpb.Left{Room: []byte("r")}),
		appendMessage(nil, frameRejected, &chatpb.Rejected{Request: chatpb.Rejected_REQUEST_JOIN, Room: []byte("r"), Code: 11}),
		appendPubAck(nil, []byte("r"), Position{1, 7}, []string{"i", "j"}, false),
		appendMessage(nil, frameRecord, &chatpb.Record{Room: []byte("r"), Epoch: 1, Seq: 4, Lines: []*chatpb.Line{
			{From: new("a"), Time: new(int64(1)), MessageId: []byte("i"), Body: []byte("hi")},
			{MessageId: []byte("j"), Body: []byte("ho")},
			{MessageId: []byte("i"), Own: true},
		}}),
		appendMessage(nil, framePresence, &chatpb.Presence{Room: []byte("r"), Who: "a", State: chatpb.Presence_STATE_BACK}),
		appendMessage(nil, frameMarks, &chatpb.Marks{Room: []byte("r"), Marks: []*chatpb.Marks_Of{{Who: "a", Read: 1, Delivered: 2}, {}}, Stale: true}),
		appendMessage(nil, frameJoined, &chatpb.Joined{Room: []byte("s"), Epoch: 1, Head: 5, First: 1, Next: 1}),
		appendMessage(nil, frameMembers, &chatpb.Members{Room: []byte("r"), Members: []string{"a", "b"}}),
		appendMessage(nil, frameSignaled, &chatpb.Signaled{Room: []byte("r"), Who: "a", Kind: chatpb.SignalKind_SIGNAL_KIND_HAND_UP}),
		appendMessage(nil, framePresence, &chatpb.Presence{Room: []byte("r"), Who: "z", State: chatpb.Presence_STATE_LOST, Joined: []string{"a", "b"}, Left: []string{"c"}, Lost: []string{"d"}, Back: []string{"e"}}),
		bytes.Join([][]byte{
			appendMessage(nil, frameMembers, &chatpb.Members{Room: []byte("r"), Members: []string{"a", "b"}, More: 3}),
			appendMessage(nil, frameMembers, &chatpb.Members{Room: []byte("r"), Members: []string{"c"}, More: 2}),
			appendMessage(nil, frameMembers, &chatpb.Members{Room: []byte("r"), Members: []string{"d", "e"}}),
		}, nil),
		bytes.Join([][]byte{
			appendMessage(nil, frameRejected, &chatpb.Rejected{Request: chatpb.Rejected_REQUEST_JOIN, Room: []byte("s"), Code: 11}),
			appendMessage(nil, frameJoined, &chatpb.Joined{Room: []byte("s"), Epoch: 1, Head: 9, First: 7, Next: 7, Members: []string{"a"}}),
			appendMessage(nil, frameRecord, &chatpb.Record{Room: []byte("s"), Epoch: 1, Seq: 7, Lines: []*chatpb.Line{
				{From: new("a"), Time: new(int64(1)), MessageId: []byte("i"), Body: []byte("other"), Kind: uint64(KindEdit), Ref: 6},
				{MessageId: []byte("j"), Kind: uint64(KindDelete), Ref: 6},
				{MessageId: []byte("k"), Body: []byte(`{"what":"ban","who":"b","until":"2031-01-01T00:00:00Z"}`), Kind: uint64(KindSettings)},
			}}),
		}, nil),
		bytes.Join([][]byte{ // it is in doubt, and then in the log
			appendMessage(nil, frameRejected, &chatpb.Rejected{Request: chatpb.Rejected_REQUEST_PUBLISH, Room: []byte("r"), MessageId: []byte("i"), Code: 14}),
			appendMessage(nil, frameRecord, &chatpb.Record{Room: []byte("r"), Epoch: 1, Seq: 4, Lines: []*chatpb.Line{{MessageId: []byte("i"), Own: true}}}),
		}, nil),
	} {
		f.Add(b)
		f.Add(append(bytes.Clone(joined), b...))
		f.Add(bytes.ReplaceAll(b, []byte("r"), []byte("s")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := silentClient(map[string]string{"i": "r"}, "s")
		c.rooms["s"].rejoin, c.rejoins = rejoinCursor, 1 // on a resumed stream
		c.asked = []pending{{request: RequestJoin, room: "r"}, {request: RequestLeave, room: "r"}}
		r := transport.NewFrameReader(bytes.NewReader(b))
		last := make(map[string]uint64)
		for {
			var e Event
			var err error
			if c.items.left > 0 {
				e, err = c.nextItem()
			} else {
				typ, body, bad := r.ReadFrame(clientLimit)
				if bad != nil {
					return
				}
				e, err = c.decode(typ, body)
			}
			if err != nil {
				assert.True(t, isProtocolError(err))
				return
			}
			switch e := e.(type) {
			case *Joined:
				last[e.Room] = e.Next - 1
			case *Gap:
				assert.Equal(t, "s", e.Room)
				last[e.Room] = e.First - 1
			}
			if p, ok := PositionOf(e); ok {
				assert.Greater(t, p.Seq, last[e.RoomName()])
				last[e.RoomName()] = p.Seq
			}
		}
	})
}

func FuzzRoomName(f *testing.F) {
	for _, name := range []string{"lobby", "", " x", "x\u00a0", "a\x00", "\xff", "\u202ea", "日本", "a b", "@alice,bob", "@bob,alice", "@a,a", "@a", "@a,b,c", "@,b", "@a,spiffe://d/user/b", "@a,spiffe://d/server", "@A,b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if ValidRoom(name) != nil {
			return
		}
		assert.True(t, utf8.ValidString(name))
		assert.LessOrEqual(t, len(name), 128)
		assert.NotEmpty(t, name)
		assert.Equal(t, strings.TrimSpace(name), name)
		assert.NotContains(t, name, "\x1b")
		a, b, direct := DirectMembers(name)
		assert.Equal(t, strings.HasPrefix(name, "@"), direct)
		if direct {
			assert.Equal(t, name, DirectRoom(a, b))
			assert.Equal(t, name, DirectRoom(b, a))
			assert.Less(t, a, b)
		}
	})
}

// nullStream reads what it is given, and takes all that is written.
type nullStream struct {
	*transport.FrameReader
	written bytes.Buffer
}

func (s *nullStream) Write(p []byte) (int, error)        { return s.written.Write(p) }
func (s *nullStream) WriteThrough(p []byte) (int, error) { return s.Write(p) }

func (s *nullStream) TryWrite(p []byte) bool {
	_, err := s.Write(p)
	return err == nil
}
func (s *nullStream) Close() error                { return nil }
func (s *nullStream) Cancel(transport.StreamCode) {}

func TestRingFindsWhereAReaderGoesOn(t *testing.T) {
	var r ring
	_, ok := r.find(1, 0)
	assert.True(t, ok, "at the head")
	r.push(event{seq: 1}) // presence before the first record
	for seq := range uint64(2000) {
		r.push(event{seq: seq + 1, record: true, chained: make([]byte, 10)})
		if seq%100 == 0 {
			r.push(event{seq: seq + 2})
		}
	}
	assert.LessOrEqual(t, r.events.len(), ringEvents)
	assert.Positive(t, r.skipped)
	assert.LessOrEqual(t, r.skipped, r.start)
	first := r.at(r.start).seq
	for seq := uint64(1); seq <= 2001; seq++ {
		i, ok := r.find(seq, 2000)
		assert.Equal(t, seq >= first, ok, seq)
		if ok && seq <= 2000 {
			for !r.at(i).record {
				i++
			}
			assert.Equal(t, seq, r.at(i).seq)
		}
	}
	r.clear()
	_, ok = r.find(2000, 2000)
	assert.False(t, ok)
}

func TestRingIsBoundInBytes(t *testing.T) { // S5
	var r ring
	for seq := range uint64(1000) {
		r.push(event{seq: seq + 1, record: true, chained: make([]byte, 5000)})
		assert.LessOrEqual(t, r.bytes, ringBytes)
	}
	r.push(event{seq: 1001, record: true, chained: make([]byte, 2*ringBytes)})
	assert.Equal(t, 1, r.events.len(), "one is always there")
}

func TestFifo(t *testing.T) {
	var q fifo[int]
	next, front := 0, 0
	for range 50 {
		for range 7 {
			q.push(next)
			next++
		}
		for range 5 {
			assert.Equal(t, front, q.pop())
			front++
		}
		for i := range q.len() {
			assert.Equal(t, front+i, *q.at(i))
		}
	}
	assert.Equal(t, next-front, q.len())
}

func TestHowAnEndAppearsToOthers(t *testing.T) { // S3
	for code, want := range map[transport.CloseCode]ending{
		transport.Released:    endLeft,
		transport.Drained:     endLeft,
		transport.Replaced:    endReplaced,
		transport.Aborted:     endLost,
		transport.Lost:        endLost,
		transport.Unspecified: endLost,
		transport.Protocol:    endLost,
		transport.Kicked:      endLost,
	} {
		assert.Equal(t, want, endOf(&transport.Error{Code: code}), code.String())
	}
	assert.Equal(t, endLost, endOf(&transport.StreamError{Code: transport.StreamCanceled, Remote: true}))
}
