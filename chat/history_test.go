package chat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// historyOf calls History, of the room "lobby".
func historyOf(t *testing.T, conn rpc.Conn, req chat.HistoryRequest) *chat.HistoryResponse {
	t.Helper()
	req.Room = "lobby"
	res, err := chat.History.Call(t.Context(), conn, &req)
	require.NoError(t, err)
	return res
}

func seqs(records []chat.HistoryRecord) []uint64 {
	out := []uint64{}
	for _, r := range records {
		out = append(out, r.Seq)
	}
	return out
}

// M120, M121: whatever is asked for, the page is a stretch of the room's records, and says whether there are more.
func TestM120EveryPageIsAStretchWithAnExplicitEnd(t *testing.T) {
	const first, head = 21, 60
	log := chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 7, MaxRoomRecords: head - first + 1})
	for i := range head {
		appendTo(t, log, "lobby", fmt.Sprint(i+1), fmt.Sprint("text ", i+1))
	}
	// want is the definition, by going over all there is.
	want := func(req *chat.HistoryRequest) (page []uint64) {
		limit := req.Limit
		if limit == 0 {
			limit = 50
		}
		var older, newer []uint64
		for seq := uint64(first); seq <= head; seq++ {
			switch {
			case req.Before != nil && seq < *req.Before, req.Around != nil && seq < *req.Around, req.Before == nil && req.After == nil && req.Around == nil:
				older = append(older, seq)
			case req.After != nil && seq > *req.After, req.Around != nil:
				newer = append(newer, seq)
			}
		}
		before, after := limit, limit
		if req.Around != nil {
			before, after = limit/2, limit-limit/2
		}
		older = older[max(0, len(older)-before):]
		newer = newer[:min(len(newer), after)]
		return append(append([]uint64{}, older...), newer...)
	}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.net.Dial(h.srv, "alice", transport.Config{})
		random := rand.New(rand.NewPCG(1, 2))
		seq := func() *uint64 {
			if random.IntN(20) == 0 {
				return new(uint64(math.MaxUint64))
			}
			return new(random.Uint64N(head + 10))
		}
		for range 500 {
			req := chat.HistoryRequest{Limit: random.IntN(60)}
			switch random.IntN(7) {
			case 0, 1:
				req.Before = seq()
			case 2, 3:
				req.After = seq()
			case 4, 5:
				req.Around = seq()
			}
			res := historyOf(t, alice, req)
			text, err := json.Marshal(req)
			require.NoError(t, err)
			expected := want(&req)
			require.Equal(t, expected, seqs(res.Records), "%s", text)
			assert.Equal(t, [3]uint64{7, head, first}, [3]uint64{res.Epoch, res.Head, res.First})
			for _, r := range res.Records {
				assert.Equal(t, [4]any{uint64(7), "a", fmt.Sprint(r.Seq), fmt.Sprint("text ", r.Seq)}, [4]any{r.Epoch, r.From, r.ID, r.Text})
				assert.False(t, r.Time.IsZero())
			}
			if len(expected) > 0 {
				assert.Equal(t, [2]bool{expected[0] > first, expected[len(expected)-1] < head}, [2]bool{res.MoreBefore, res.MoreAfter}, "%s", text)
			}
		}
		// Where there is nothing there may still be something on the one side.
		res := historyOf(t, alice, chat.HistoryRequest{Before: new(uint64(first))})
		assert.Equal(t, [3]any{0, false, true}, [3]any{len(res.Records), res.MoreBefore, res.MoreAfter})
		res = historyOf(t, alice, chat.HistoryRequest{After: new(uint64(head))})
		assert.Equal(t, [3]any{0, true, false}, [3]any{len(res.Records), res.MoreBefore, res.MoreAfter})
		assert.Zero(t, h.chat.Stats().Rooms, "no actor was started for it")
	})
}

// M121: a page is bounded in bytes, too, and what does not fit is more. Paging both ways finds every record once.
func TestM121PagesOfLongRecordsGoOnWithoutAGap(t *testing.T) {
	log := chat.NewMemoryLog(chat.MemoryLogConfig{MaxRoomBytes: 64 << 20})
	const n = 60
	long := strings.Repeat("<", 64<<10) // six bytes in JSON
	for i := range n {
		appendTo(t, log, "lobby", fmt.Sprint(i), long)
	}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.net.Dial(h.srv, "alice", transport.Config{})
		var down, up []uint64
		req := chat.HistoryRequest{Limit: 500}
		for more := true; more; {
			res := historyOf(t, alice, req)
			require.NotEmpty(t, res.Records)
			b, err := json.Marshal(res)
			require.NoError(t, err)
			require.Less(t, len(b), 4<<20)
			require.Greater(t, len(b), 2<<20*min(1, n-len(down)-len(res.Records)), "it is as long as it can be")
			down = append(seqs(res.Records), down...)
			req.Before, more = new(res.Records[0].Seq), res.MoreBefore
		}
		req = chat.HistoryRequest{After: new(uint64(0)), Limit: 500}
		for more := true; more; {
			res := historyOf(t, alice, req)
			require.NotEmpty(t, res.Records)
			up = append(up, seqs(res.Records)...)
			req.After, more = new(up[len(up)-1]), res.MoreAfter
		}
		var all []uint64
		for i := range uint64(n) {
			all = append(all, i+1)
		}
		assert.Equal(t, all, down)
		assert.Equal(t, all, up)
		res := historyOf(t, alice, chat.HistoryRequest{Around: new(uint64(30)), Limit: 500})
		assert.Less(t, res.Records[0].Seq, uint64(30), "a page around has something of both sides")
		assert.Greater(t, res.Records[len(res.Records)-1].Seq, uint64(30))
		assert.Equal(t, [2]bool{true, true}, [2]bool{res.MoreBefore, res.MoreAfter})
	})
}

// A record that is no text has its place, and is to who pages what it was to who was there.
func TestHistoryHasRecordsOfEveryKind(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: administrators("alice")}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		bob := h.join("bob", "lobby")
		alice.say("lobby", "one")
		_, err := chat.SetTopic.Call(t.Context(), alice.session, &chat.SetTopicRequest{Room: "lobby", Topic: "tea"})
		require.NoError(t, err)
		_, err = log.Append(t.Context(), "lobby", 2, []chat.Entry{{From: "bob", ID: "1", Kind: 99, Ref: 1, Body: []byte("\xff")}}, nil)
		require.NoError(t, err)
		expect[*chat.Unknown](bob, nil)
		res := historyOf(t, bob.session, chat.HistoryRequest{})
		var events []chat.Event
		for i := range res.Records {
			events = append(events, res.Records[i].Event("lobby"))
		}
		bob.mu.Lock()
		defer bob.mu.Unlock()
		assert.Equal(t, events, bob.events[len(bob.events)-3:])
		assert.Equal(t, []byte("\xff"), res.Records[2].Body)
	})
}

func TestHistoryRefusesWhatItCannotAnswer(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "one")
		for _, req := range []chat.HistoryRequest{
			{Room: "lobby", Before: new(uint64(1)), After: new(uint64(1))},
			{Room: "lobby", Limit: -1},
			{Room: "lobby", Limit: 501},
			{Room: ""},
		} {
			_, err := chat.History.Call(t.Context(), alice.session, &req)
			assert.Equal(t, rpc.InvalidArgument, rpc.CodeOf(err), "%+v", req)
		}
	})
}

// C8: a page is for who may read the room when it is asked for.
func TestC8HistoryIsAuthorizedWhenItIsRead(t *testing.T) {
	allowed := true
	cfg := chat.Config{Authorize: func(who certs.ID, _ string, _ chat.Verb) error {
		if who.Name == "bob" && !allowed {
			return errBroken
		}
		return nil
	}}
	bubble(t, cfg, func(t *testing.T, h *house) {
		h.join("alice", "lobby").say("lobby", "one")
		bob := h.net.Dial(h.srv, "bob", transport.Config{})
		assert.Len(t, historyOf(t, bob, chat.HistoryRequest{}).Records, 1)
		allowed = false
		for _, room := range []string{"lobby", "nowhere"} {
			_, err := chat.History.Call(t.Context(), bob, &chat.HistoryRequest{Room: room})
			assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
			assert.ErrorContains(t, err, "there is no such room")
		}
	})
}

// trimmingLog trims all of a room whenever it is read, up to so many times.
type trimmingLog struct {
	*chat.MemoryLog
	trims int
}

func (l *trimmingLog) ReadBack(ctx context.Context, room string, seq uint64, n, maxBytes int) ([]chat.Record, error) {
	if l.trims > 0 {
		l.trims--
		s, err := l.State(ctx, room)
		if err != nil {
			return nil, err
		}
		if _, err := l.Append(ctx, room, s.Head, []chat.Entry{{From: "x", ID: fmt.Sprint(s.Head), Body: []byte("new")}}, nil); err != nil {
			return nil, err
		}
	}
	return l.MemoryLog.ReadBack(ctx, room, seq, n, maxBytes)
}

// What is trimmed while a page is read makes it another page, and no error.
func TestHistoryOfARoomThatIsBeingTrimmed(t *testing.T) {
	log := &trimmingLog{MemoryLog: chat.NewMemoryLog(chat.MemoryLogConfig{MaxRoomRecords: 1}), trims: 3}
	appendTo(t, log, "lobby", "1", "one")
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		res := historyOf(t, h.net.Dial(h.srv, "alice", transport.Config{}), chat.HistoryRequest{})
		assert.Equal(t, []uint64{4}, seqs(res.Records))
		assert.Equal(t, [2]uint64{4, 4}, [2]uint64{res.First, res.Head})
	})
}
