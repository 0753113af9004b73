package chat

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
)

// What a subscriber is sent says of every record what the log has, whoever else has published what
// comes before it, from the ring and from the log alike, and in however many pieces.
func TestC1EveryLineSaysWhatTheLogHas(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
		r := newRoom(srv, "r")
		sub := &subscription{room: r, member: &member{}, who: "me", next: 1}
		sub.conn = sunkConn(t.Context(), srv, "me")
		sub.member.own = ownRecords{producer: Producer{1}, first: 1 + random.Uint64N(20)}
		other := &session{}
		var records []Record
		epoch, now := uint64(1), time.Unix(1_700_000_000, 0).UTC()
		for seq := range 1 + random.Uint64N(60) {
			if random.IntN(20) == 0 {
				epoch++
			}
			if random.IntN(3) == 0 {
				now = now.Add(time.Duration(random.IntN(2)-1) * time.Hour)
			}
			rec := Record{Position: Position{epoch, seq + 1}, Time: now, Entry: Entry{
				From: []string{"me", "me", "bob", "", "c\xff"}[random.IntN(5)], Producer: Producer{byte(random.IntN(2))},
				ID: fmt.Sprint("id", seq), Body: bytes.Repeat([]byte{'x'}, 1+random.IntN(200)),
			}}
			records = append(records, rec)
			e := r.recordEvent(&rec)
			switch { // the log does not know of sessions: there, whose producer it is decides
			case sub.member.own.has(rec.Producer, rec.Seq) && rec.From == "me":
				e.session = sub.conn.session
			case random.IntN(2) == 0:
				e.session = other
			}
			r.pushLocked(&e)
			if random.IntN(10) == 0 {
				r.ring.push(event{seq: seq + 2, frame: appendMessage(nil, 0x7e, nil)})
			}
		}
		ring, _ := sub.fromRing(nil)
		var log []byte
		sub.next = 1
		for left := records; len(left) > 0; {
			var n int
			log, n = sub.appendRecords(log, left[:1+random.IntN(len(left))])
			require.Positive(t, n)
			left = left[n:]
		}
		for where, frames := range map[string][]byte{"ring": ring, "log": log} {
			messages := make(map[string]string)
			for _, rec := range records {
				messages[rec.ID] = "r"
			}
			c := silentClient(messages, "r")
			c.cfg.ReuseMessages = seed%2 == 1
			frameReader := transport.NewFrameReader(bytes.NewReader(frames))
			for _, rec := range records {
				e := nextOf(t, c, frameReader)
				if sub.member.own.has(rec.Producer, rec.Seq) && rec.From == "me" {
					assert.Equal(t, &Sent{Room: "r", Position: rec.Position, ID: rec.ID}, e, where)
					continue
				}
				assert.Equal(t, &Message{
					Room: "r", Position: rec.Position, From: validUTF8(rec.From), Time: rec.Time, ID: rec.ID, Text: string(rec.Body),
				}, e, where)
			}
		}
		srv.Close()
		if t.Failed() {
			t.Fatal("seed", seed)
		}
	}
}

func nextOf(t *testing.T, c *Client, r *transport.FrameReader) Event {
	t.Helper()
	for c.items.left == 0 {
		typ, body, err := r.ReadFrame(clientLimit)
		require.NoError(t, err)
		_, err = c.decode(typ, body)
		require.NoError(t, err)
	}
	e, err := c.nextItem()
	require.NoError(t, err)
	return e
}

// With ReuseMessages there is one message, and what it has said stays with who has copied it.
func TestAReusedMessageLeavesItsStringsToWhoHasThem(t *testing.T) {
	r := newRoom(NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})}), "r")
	c := silentClient(nil, "r")
	c.cfg.ReuseMessages = true
	var frames []byte
	for seq := range uint64(100) {
		e := r.recordEvent(&Record{Position: Position{1, seq + 1}, Entry: Entry{From: "a", ID: fmt.Sprint("id", seq), Body: fmt.Append(nil, "text ", seq)}, Time: time.Unix(0, 1)})
		frames = appendRecordHeader(frames, r.wire, Position{1, seq + 1}, sizeItemsHeader(r.wire, Position{1, seq + 1})+e.lineSize(false, false))
		frames = e.appendLine(frames, false, false)
	}
	var kept []Message
	reader := transport.NewFrameReader(bytes.NewReader(frames))
	for range 100 {
		e := nextOf(t, c, reader)
		require.Same(t, &c.message, e)
		kept = append(kept, c.message)
	}
	for i := range kept {
		require.Equal(t, []string{fmt.Sprint("id", i), fmt.Sprint("text ", i)}, []string{kept[i].ID, kept[i].Text})
	}
}

// A frame of many lines is still bound by the write and by the credit (S5).
func TestS5AFrameOfManyLinesIsBound(t *testing.T) {
	srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
	defer srv.Close()
	r := newRoom(srv, "r")
	c := newConn(&session{srv: srv, ctx: context.Background()}, &nullStream{})
	sub := &subscription{room: r, member: &member{}, who: "me", next: 1, conn: c}
	for seq := range uint64(1000) {
		e := r.recordEvent(&Record{Position: Position{1, seq + 1}, Entry: Entry{From: "a", ID: "i", Body: make([]byte, 200)}})
		r.pushLocked(&e)
	}
	c.subs = []*subscription{sub}
	for {
		b := c.gather(nil)
		if len(b) == 0 {
			break
		}
		assert.LessOrEqual(t, len(b), writeSize)
	}
	assert.Equal(t, c.sent, c.announce.Load())
	assert.LessOrEqual(t, c.sent, uint64(creditWindow))
	assert.Greater(t, c.sent, uint64(creditWindow-300), "all of it is used")
	assert.True(t, c.stalled.Load())
}
