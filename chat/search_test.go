package chat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/query"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// searchedLog finds every record, and notes what it was asked.
type searchedLog struct {
	*chat.MemoryLog
	asked string
	err   error
}

func (l *searchedLog) Search(ctx context.Context, room string, q *query.Query, first, before uint64, n, maxBytes int) (hits []chat.Record, more bool, err error) {
	l.asked = fmt.Sprintln(room, *q, first, before, n)
	if l.err != nil {
		return nil, false, l.err
	}
	s, err := l.State(ctx, room)
	if err != nil {
		return nil, false, err
	}
	for seq := min(before-1, s.Head); seq >= max(first, s.First) && len(hits) < n; seq-- {
		records, err := l.Read(ctx, room, seq, 0)
		if err != nil {
			return nil, false, err
		}
		hits = append(hits, records[0])
	}
	return hits, false, nil
}

// M123: what is found is for who may read the room, and says where it is; a query that is none is told where it is wrong.
func TestM123Search(t *testing.T) {
	log := &searchedLog{MemoryLog: chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 7})}
	cfg := chat.Config{Log: log, Authorize: func(who certs.ID, _ string, _ chat.Verb) error {
		if who.Name == "mallory" {
			return errBroken
		}
		return nil
	}}
	bubble(t, cfg, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		for i := range 3 {
			alice.say("lobby", fmt.Sprint("text ", i+1))
		}
		search := func(conn rpc.Conn, req chat.SearchRequest) (*chat.SearchResponse, error) {
			return chat.Search.Call(t.Context(), conn, &req)
		}
		res, err := search(alice.session, chat.SearchRequest{Room: "lobby", Query: "text -x", Limit: 7})
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintln("lobby", query.Query{All: []query.Text{{Words: "text"}}, None: []query.Text{{Words: "x"}}}, 1, uint64(math.MaxUint64), 7), log.asked)
		assert.Equal(t, []uint64{3, 2, 1}, seqs(res.Hits))
		assert.Equal(t, [5]any{uint64(7), "alice", "text 3", uint64(7), false}, [5]any{res.Hits[0].Epoch, res.Hits[0].From, res.Hits[0].Text, res.Epoch, res.More})
		res, err = search(alice.session, chat.SearchRequest{Room: "lobby", Query: "text", Before: new(uint64(3))})
		require.NoError(t, err)
		assert.Equal(t, []uint64{2, 1}, seqs(res.Hits))

		for query, reason := range map[string]string{"": "at character 1: there is no word", `a "`: "at character 3: this quote"} {
			_, err = search(alice.session, chat.SearchRequest{Room: "lobby", Query: query})
			assert.Equal(t, rpc.InvalidArgument, rpc.CodeOf(err))
			assert.ErrorContains(t, err, reason)
		}
		_, err = search(alice.session, chat.SearchRequest{Room: "lobby", Query: "a", Limit: 501})
		assert.Equal(t, rpc.InvalidArgument, rpc.CodeOf(err))
		log.asked = ""
		for _, who := range []rpc.Conn{alice.session, h.net.Dial(h.srv, "mallory", transport.Config{})} { // C8
			room := "nowhere"
			if who != alice.session {
				room = "lobby"
			}
			_, err = search(who, chat.SearchRequest{Room: room, Query: "a"})
			assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
			assert.ErrorContains(t, err, "there is no such room")
		}
		assert.Empty(t, log.asked, "the log is not asked")

		log.err = &chat.Error{Code: rpc.ResourceExhausted, Reason: "too long"}
		_, err = search(alice.session, chat.SearchRequest{Room: "lobby", Query: "a"})
		assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(err))
		log.err = errBroken
		_, err = search(alice.session, chat.SearchRequest{Room: "lobby", Query: "a"})
		assert.Equal(t, rpc.Unavailable, rpc.CodeOf(err))
		assert.NotContains(t, err.Error(), errBroken.Error())
		log.err = nil

		long := strings.Repeat("<", 64<<10)
		for range 20 {
			alice.say("lobby", long)
		}
		res, err = search(alice.session, chat.SearchRequest{Room: "lobby", Query: "a"})
		require.NoError(t, err)
		b, err := json.Marshal(res)
		require.NoError(t, err)
		assert.Less(t, len(b), 4<<20)
		assert.True(t, res.More, "what does not fit is more")
		assert.EqualValues(t, 23, res.Hits[0].Seq)
	})
}

func TestSearchOfALogThatHasNoneIsUnimplemented(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		_, err := chat.Search.Call(t.Context(), alice.session, &chat.SearchRequest{Room: "lobby", Query: "x"})
		assert.Equal(t, rpc.Unimplemented, rpc.CodeOf(err))
	})
}

// What was said in a room before it was deleted is not read in the one that has its name now.
func TestADeletedRoomIsNotReadInTheNextOne(t *testing.T) {
	log := &searchedLog{MemoryLog: chat.NewMemoryLog(chat.MemoryLogConfig{})}
	for i := range 3 {
		appendTo(t, log, "lobby", fmt.Sprint(i), "old")
	}
	_, err := log.Append(t.Context(), "lobby", 3, []chat.Entry{{From: "a", ID: "gone", Kind: chat.KindSettings, Body: []byte("{}")}}, []byte(`{"settings":{},"gone":4}`))
	require.NoError(t, err)
	for i := range 3 {
		appendTo(t, log, "lobby", fmt.Sprint("new", i), "new")
	}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.net.Dial(h.srv, "alice", transport.Config{})
		for _, req := range []chat.HistoryRequest{{}, {Before: new(uint64(8))}, {After: new(uint64(0))}, {Around: new(uint64(2))}} {
			res := historyOf(t, alice, req)
			assert.Equal(t, []uint64{5, 6, 7}, seqs(res.Records))
			assert.Equal(t, [2]any{uint64(5), false}, [2]any{res.First, res.MoreBefore})
		}
		assert.Empty(t, historyOf(t, alice, chat.HistoryRequest{Before: new(uint64(3))}).Records)
		res, err := chat.Search.Call(t.Context(), alice, &chat.SearchRequest{Room: "lobby", Query: "x"})
		require.NoError(t, err)
		assert.Equal(t, []uint64{7, 6, 5}, seqs(res.Hits))
	})
}

// heldLog holds up each search until it is let go on.
type heldLog struct {
	*chat.MemoryLog
	begun, goOn chan struct{}
}

func (l *heldLog) Search(ctx context.Context, _ string, _ *query.Query, _, _ uint64, _, _ int) ([]chat.Record, bool, error) {
	l.begun <- struct{}{}
	select {
	case <-l.goOn:
	case <-ctx.Done():
	}
	return nil, false, ctx.Err()
}

// S5: of the searches of one identity one at a time is under way, so that they do not hold up another's.
func TestS5SearchesOfOneIdentityTakeTurns(t *testing.T) {
	log := &heldLog{MemoryLog: chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1})}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		log.begun, log.goOn = make(chan struct{}, 9), make(chan struct{})
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		ctx, cancel := context.WithCancel(t.Context())
		answers := make(chan error, 9)
		search := func(ctx context.Context, s rpc.Conn) {
			_, err := chat.Search.Call(ctx, s, &chat.SearchRequest{Room: "lobby", Query: "x"})
			answers <- err
		}
		for range 2 { // from two devices
			go search(ctx, alice.session)
			go search(t.Context(), h.net.Dial(h.srv, "alice", transport.Config{}))
		}
		time.Sleep(time.Second)
		assert.Len(t, log.begun, 1)
		go search(t.Context(), h.net.Dial(h.srv, "bob", transport.Config{}))
		time.Sleep(time.Second)
		assert.Len(t, log.begun, 2)
		cancel() // those that wait, and the one under way if it is one of them, leave the turn to the next
		for range 2 {
			assert.Equal(t, rpc.Canceled, rpc.CodeOf(<-answers))
		}
		close(log.goOn)
		for range 3 {
			assert.NoError(t, <-answers)
		}
	})
}
