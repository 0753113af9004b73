package chat

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/internal/wire"
	"github.com/trunkline-go/trunkline/transport"
)

// The bytes of the frames that are encoded by hand, and that the generated code writes the same. Never
// edited once released.
func TestGoldenBytesByHand(t *testing.T) {
	producer := Producer([]byte("0123456789abcdef"))
	lines := []*chatpb.Line{
		{From: new("a"), Time: new(int64(1000000000)), MessageId: []byte("i"), Body: []byte("hi")},
		{MessageId: []byte("j"), Body: []byte("ho")},
		{MessageId: []byte("k"), Own: true},
		{From: new("b"), MessageId: []byte("l"), Body: []byte("he")},
		{Time: new(int64(-1)), MessageId: []byte("m"), Body: []byte("hu"), Kind: 1, Ref: 300},
	}
	var body []byte
	rest := func(l *chatpb.Line) *Entry {
		return &Entry{ID: string(l.GetMessageId()), Body: l.GetBody(), Kind: Kind(l.GetKind()), Ref: l.GetRef()}
	}
	for _, l := range lines {
		if l.GetOwn() {
			body = appendOwn(body, string(l.GetMessageId()))
			assert.Len(t, appendOwn(nil, "k"), sizeOwn("k"))
			continue
		}
		before := len(body)
		body = appendLineStart(body, l.GetFrom(), l.GetTime(), l.From != nil, l.Time != nil, sizeLineRest(rest(l)))
		body = appendLineRest(body, rest(l))
		assert.Equal(t, len(body)-before, sizeLine(l.GetFrom(), l.GetTime(), l.From != nil, l.Time != nil, sizeLineRest(rest(l))))
	}
	first := Position{1, 7}
	for _, tt := range []struct {
		name string
		typ  transport.FrameType
		m    proto.Message
		got  []byte
		hex  string
	}{
		{
			"publish", framePublish,
			&chatpb.Publish{Room: []byte("r"), Producer: producer[:], Entries: []*chatpb.Entry{{MessageId: []byte("i"), Body: []byte("hi")}, {MessageId: []byte("j"), Kind: 2, Ref: 7}}},
			appendPublish(nil, "r", producer, appendEntry(appendEntry(nil, "i", "hi", KindText, 0), "j", "", KindDelete, 7), 0, nil),
			"05270a017212103031323334353637383961626364656" + "61a070a0169120268691a070a016a18022007",
		},
		{
			"publish at a head", framePublish,
			&chatpb.Publish{Room: []byte("r"), Producer: producer[:], Entries: []*chatpb.Entry{{MessageId: []byte("i"), Body: []byte("hi")}}, ExpectHead: &chatpb.Cursor{Epoch: 1, Seq: 300}},
			appendPublish(nil, "r", producer, appendEntry(nil, "i", "hi", KindText, 0), 0, &Position{1, 300}),
			"05250a017212103031323334353637383961626364656" + "61a070a0169120268693205080110ac02",
		},
		{
			"publish under a grant", framePublish,
			&chatpb.Publish{Room: []byte("r"), Producer: producer[:], Entries: []*chatpb.Entry{{MessageId: []byte("i"), Body: []byte("hi")}}, Grant: 300},
			appendPublish(nil, "r", producer, appendEntry(nil, "i", "hi", KindText, 0), 300, nil),
			"05210a017212103031323334353637383961626364656" + "61a070a01691202686920ac02",
		},
		{
			"publish at the beginning", framePublish,
			&chatpb.Publish{Room: []byte("r"), Producer: producer[:], ExpectHead: &chatpb.Cursor{}},
			appendPublish(nil, "r", producer, nil, 0, &Position{}),
			"05170a0172121030313233343536373839616263646566" + "3200",
		},
		{"received", frameReceived, &chatpb.Received{Bytes: 65536}, appendReceived(nil, 65536), "070408808004"},
		{"nothing received", frameReceived, &chatpb.Received{}, appendReceived(nil, 0), "0700"},
		{
			"puback", framePubAck,
			&chatpb.PubAck{Room: []byte("r"), Epoch: 1, Seq: 7, MessageIds: [][]byte{[]byte("i"), {}}, Duplicate: true},
			appendPubAck(nil, []byte("r"), first, []string{"i", ""}, true),
			"0f0e0a0172100118072201692200" + "2801",
		},
		{
			"record", frameRecord,
			&chatpb.Record{Room: []byte("r"), Epoch: 1, Seq: 7, Lines: lines},
			append(appendRecordHeader(nil, []byte("r"), first, sizeItemsHeader([]byte("r"), first)+len(body)), body...),
			"11404e" + "0a017210011807" + "22100a0161108094ebdc031a016922026869" + "22071a016a2202686f" + "22051a016b2801" + "220a0a01621a016c22026865" + "221710ffffffffffffffffff011a016d22026875300140ac02",
		},
	} {
		want, err := proto.Marshal(tt.m)
		require.NoError(t, err)
		assert.Equal(t, hex.EncodeToString(transport.AppendFrame(nil, tt.typ, want)), hex.EncodeToString(tt.got), tt.name)
		assert.Equal(t, tt.hex, hex.EncodeToString(tt.got), tt.name)
	}
}

// The decoders and the generated ones must agree on every input: in whether it is well-formed, and what it says.

func FuzzPublishAsGenerated(f *testing.F) {
	f.Add(appendPublish(nil, "r", Producer{1}, appendEntry(appendEntry(nil, "i", "hi", KindText, 0), "", "", KindEdit, 1<<40), 7, nil)[2:])
	f.Add(appendPublish(nil, "r", Producer{1}, appendEntry(nil, "i", "hi", KindText, 0), 0, &Position{300, 7})[2:])
	f.Add([]byte("\x32\x02\x08\x01\x32\x02\x10\x02"))
	addHostile(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodePublish(b)
		var decoded []wireEntry
		for f := wire.Over(b); err == nil; {
			var e wireEntry
			var ok bool
			if e, ok, err = nextEntry(&f); err != nil || !ok {
				break
			}
			decoded = append(decoded, e)
		}
		var want chatpb.Publish
		wantErr := proto.Unmarshal(b, &want)
		require.Equal(t, wantErr == nil, err == nil, "%v against %v", wantErr, err)
		if err != nil {
			return
		}
		require.Equal(t, string(want.GetRoom()), string(h.room))
		require.Equal(t, string(want.GetProducer()), string(h.producer))
		require.Equal(t, want.GetGrant(), h.grant)
		require.Equal(t, want.GetExpectHead() != nil, h.expects)
		require.Equal(t, Position{want.GetExpectHead().GetEpoch(), want.GetExpectHead().GetSeq()}, h.head)
		require.Len(t, decoded, len(want.GetEntries()))
		var entries []byte
		for i, e := range want.GetEntries() {
			d := &decoded[i]
			require.Equal(t, []any{string(e.GetMessageId()), string(e.GetBody()), Kind(e.GetKind()), e.GetRef()}, []any{string(d.id), string(d.body), d.kind, d.ref})
			entries = appendEntry(entries, string(d.id), string(d.body), d.kind, d.ref)
		}
		var again chatpb.Publish
		require.NoError(t, proto.Unmarshal(entries, &again))
		require.True(t, proto.Equal(&chatpb.Publish{Entries: want.GetEntries()}, &again) || len(want.ProtoReflect().GetUnknown()) > 0 || hasUnknown(want.GetEntries()))
	})
}

func hasUnknown(entries []*chatpb.Entry) bool {
	for _, e := range entries {
		if len(e.ProtoReflect().GetUnknown()) > 0 {
			return true
		}
	}
	return false
}

func FuzzPubAckAsGenerated(f *testing.F) {
	f.Add(appendPubAck(nil, []byte("r"), Position{1, 7}, []string{"i", ""}, true)[2:])
	addHostile(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeItems(b)
		var want chatpb.PubAck
		wantErr := proto.Unmarshal(b, &want)
		require.Equal(t, wantErr == nil, err == nil, "%v against %v", wantErr, err)
		if err != nil {
			return
		}
		require.Equal(t, string(want.GetRoom()), string(h.room))
		require.Equal(t, Position{want.GetEpoch(), want.GetSeq()}, h.first)
		require.Equal(t, want.GetDuplicate(), h.duplicate)
		require.Len(t, want.GetMessageIds(), h.n)
		fields := wire.Over(b)
		for _, id := range want.GetMessageIds() {
			require.Equal(t, string(id), string(nextItem(&fields)))
		}
	})
}

func FuzzRecordAsGenerated(f *testing.F) {
	b, err := proto.Marshal(&chatpb.Record{Room: []byte("r"), Epoch: 1, Seq: 4, Lines: []*chatpb.Line{
		{From: new("a"), Time: new(int64(1)), MessageId: []byte("i"), Body: []byte("hi")},
		{From: new(""), Time: new(int64(0)), MessageId: []byte("j")},
		{MessageId: []byte("i"), Own: true},
		{MessageId: []byte("k"), Kind: 3, Ref: 1 << 50},
	}})
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte("\x22\x07\x22\x01b\x1a\x02id"))   // the body before the id
	f.Add([]byte("\x22\x06\x1a\x01i\x1a\x01j"))    // an id twice
	f.Add([]byte("\x22\x03\x0a\x01\xff"))          // not UTF-8
	f.Add([]byte("\x22\x06\x0a\x01\xff\x0a\x01a")) // nor this, though another follows
	addHostile(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeItems(b)
		var lines []line
		var texts [][2]string
		fields := wire.Over(b)
		for i := 0; err == nil && i < h.n; i++ {
			item := nextItem(&fields)
			var l line
			l, err = decodeLine(item)
			id, text := string(item[l.idAt:l.idAt+len(l.id)]), string(item[l.bodyAt:l.bodyAt+len(l.body)])
			lines, texts = append(lines, l), append(texts, [2]string{id, text})
		}
		var want chatpb.Record
		wantErr := proto.Unmarshal(b, &want)
		require.Equal(t, wantErr == nil, err == nil, "%v against %v", wantErr, err)
		if err != nil {
			return
		}
		require.Equal(t, string(want.GetRoom()), string(h.room))
		require.Equal(t, Position{want.GetEpoch(), want.GetSeq()}, h.first)
		require.Len(t, lines, len(want.GetLines()))
		for i, l := range want.GetLines() {
			require.Equal(t, l.From != nil, lines[i].hasFrom)
			require.Equal(t, l.GetFrom(), string(lines[i].from))
			require.Equal(t, l.Time != nil, lines[i].hasTime)
			require.Equal(t, l.GetTime(), lines[i].time)
			require.Equal(t, l.GetOwn(), lines[i].own)
			require.Equal(t, Kind(l.GetKind()), lines[i].kind)
			require.Equal(t, l.GetRef(), lines[i].ref)
			require.Equal(t, [2]string{string(l.GetMessageId()), string(l.GetBody())}, texts[i])
		}
	})
}

func FuzzReceivedAsGenerated(f *testing.F) {
	f.Add(appendReceived(nil, 65536)[2:])
	addHostile(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeReceived(b)
		var want chatpb.Received
		wantErr := proto.Unmarshal(b, &want)
		require.Equal(t, wantErr == nil, err == nil, "%v against %v", wantErr, err)
		if err == nil {
			require.Equal(t, want.GetBytes(), got)
		}
	})
}

// addHostile adds what is malformed, unknown or out of the ordinary in any message.
func addHostile(f *testing.F) {
	f.Helper()
	for _, s := range []string{
		"\x0b\x0c", "\x0c", "\x0b", "\x09\x01\x02\x03\x04\x05\x06\x07\x08", "\x0d\x01\x02\x03\x04", // groups and fixed widths
		"\x08\x01", "\x12\x01x", "\x1a\x80", "\x0a\x05x", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", // wrong types, truncation, overflow
		"\x00\x01", "\x02\x00", "\xf8\x01\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x0a\x81\x00x", // numbers out of range, unknown; a length too long by a byte
		"\x1a\x02\x0a\x00\x22\x02\x2a\x00", "",
	} {
		f.Add([]byte(s))
	}
}

// Whatever a log says of who published, and why it refuses, is sent as UTF-8: no record is passed over, and nothing panics.
func TestWhatALogSaysIsSentAsUTF8(t *testing.T) {
	r := newRoom(NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})}), "r")
	e := r.recordEvent(&Record{Position: Position{1, 1}, Entry: Entry{From: "a\xff", ID: "\xff", Body: []byte("\xff")}, Time: time.Unix(0, 1)})
	b := append(appendRecordHeader(nil, r.wire, Position{1, 1}, sizeItemsHeader(r.wire, Position{1, 1})+e.lineSize(false, false)), e.appendLine(nil, false, false)...)
	var m chatpb.Record
	require.NoError(t, proto.Unmarshal(b[2:], &m))
	assert.Equal(t, "a\ufffd", m.GetLines()[0].GetFrom())
	assert.Equal(t, "\xff", string(m.GetLines()[0].GetMessageId()), "bytes are as they are")

	c := &conn{}
	rep := rejectedPublish(r.wire, "i", &Error{Code: 13, Reason: "no\xff"})
	frame := c.appendReply(nil, &rep)
	var rejected chatpb.Rejected
	require.NoError(t, proto.Unmarshal(frame[2:], &rejected))
	assert.Equal(t, "no\ufffd", rejected.GetReason())
}

// Behind the highest seq there is, nothing follows (C4).
func TestC4SeqsDoNotBeginAgain(t *testing.T) {
	c := silentClient(nil, "r")
	c.rooms["r"].next = math.MaxUint64
	text := &chatpb.Line{From: new("a"), Time: new(int64(1)), MessageId: []byte("i"), Body: []byte("x")}
	body, err := proto.Marshal(&chatpb.Record{Room: []byte("r"), Epoch: 1, Seq: math.MaxUint64, Lines: []*chatpb.Line{text, text}})
	require.NoError(t, err)
	_, err = c.decode(frameRecord, body)
	require.NoError(t, err)
	_, err = c.nextItem()
	require.NoError(t, err)
	_, err = c.nextItem()
	require.True(t, isProtocolError(err), "%v", err)
}

// BenchmarkRecordCodec compares the hand-written codec of RECORD with the generated one, for one
// subscriber and a frame of 16 lines. One operation is one line.
func BenchmarkRecordCodec(b *testing.B) {
	const lines = 16
	text := []byte(strings.Repeat("x", 100))
	at := time.Unix(1_700_000_000, 0)
	hand := func(b *testing.B, reuse bool) {
		b.Helper()
		b.ReportAllocs()
		r := newRoom(NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})}), "lobby")
		var events []event
		for i := range lines {
			events = append(events, r.recordEvent(&Record{Position: Position{1, uint64(i + 1)}, Entry: Entry{From: "alice", ID: "AbCdEfGhIjK1x", Body: text}, Time: at}))
		}
		c := silentClient(nil, "lobby")
		c.cfg.ReuseMessages = reuse
		var buf []byte
		for n := 0; n < b.N; n += lines {
			first := Position{1, uint64(n + 1)}
			length := sizeItemsHeader(r.wire, first)
			for i := range events {
				length += events[i].lineSize(false, i > 0)
			}
			buf = appendRecordHeader(buf[:0], r.wire, first, length)
			header := len(buf) - sizeItemsHeader(r.wire, first)
			for i := range events {
				buf = events[i].appendLine(buf, false, i > 0)
			}
			if _, err := c.decode(frameRecord, buf[header:]); err != nil {
				b.Fatal(err)
			}
			for c.items.left > 0 {
				if e, err := c.nextItem(); err != nil || len(e.(*Message).Text) != len(text) {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("hand", func(b *testing.B) { hand(b, false) })
	b.Run("reused", func(b *testing.B) { hand(b, true) })
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		record := &chatpb.Record{Room: []byte("lobby"), Epoch: 1, Seq: 1}
		for range lines {
			record.Lines = append(record.Lines, &chatpb.Line{MessageId: []byte("AbCdEfGhIjK1x"), Body: text})
		}
		record.Lines[0].From, record.Lines[0].Time = new("alice"), new(at.UnixNano())
		var buf []byte
		for n := 0; n < b.N; n += lines {
			buf = appendMessage(buf[:0], frameRecord, record)
			var m chatpb.Record
			if err := unmarshal(frameRecord, buf[3:], &m); err != nil {
				b.Fatal(err)
			}
			for _, l := range m.GetLines() {
				var e Event = &Message{Room: "lobby", From: "alice", ID: string(l.GetMessageId()), Text: string(l.GetBody())}
				if len(e.RoomName()) == 0 {
					b.Fatal()
				}
			}
		}
	})
}
