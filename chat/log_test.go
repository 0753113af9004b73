package chat_test

import (
	"fmt"
	"testing"

	"github.com/trunkline-go/trunkline/rpc"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/chattest"
)

func TestMemoryLogIsALog(t *testing.T) {
	chattest.Log(t, func(*testing.T) chat.Log { return chat.NewMemoryLog(chat.MemoryLogConfig{}) })
}

func appendTo(t *testing.T, l chat.Log, room, id, body string) chat.Result {
	t.Helper()
	s, err := l.State(t.Context(), room)
	require.NoError(t, err)
	res, err := l.Append(t.Context(), room, s.Head, []chat.Entry{{From: "a", ID: id, Body: []byte(body)}}, nil)
	require.NoError(t, err)
	return res[0]
}

func bounds(t *testing.T, l chat.Log, room string) [2]uint64 {
	t.Helper()
	s, err := l.State(t.Context(), room)
	require.NoError(t, err)
	return [2]uint64{s.First, s.Head}
}

func TestMemoryLogTrimsTheOldest(t *testing.T) { // S5
	for name, cfg := range map[string]chat.MemoryLogConfig{
		"records": {MaxRoomRecords: 5},
		"bytes":   {MaxRoomBytes: 5 * (200 + 101)},
		"total":   {MaxBytes: 5 * (200 + 101)},
	} {
		t.Run(name, func(t *testing.T) {
			l := chat.NewMemoryLog(cfg)
			for i := range 9 {
				appendTo(t, l, "r", fmt.Sprint(i), string(make([]byte, 100)))
			}
			assert.Equal(t, [2]uint64{5, 9}, bounds(t, l, "r"))
			_, err := l.Read(t.Context(), "r", 4, 1)
			assert.ErrorIs(t, err, &chat.Error{Code: rpc.OutOfRange})
			records, err := l.Read(t.Context(), "r", 5, 1<<20)
			require.NoError(t, err)
			assert.Len(t, records, 5)
			// C3: the mark outlives the record.
			res := appendTo(t, l, "r", "0", string(make([]byte, 100)))
			assert.True(t, res.Duplicate)
			assert.Equal(t, uint64(1), res.Seq)
		})
	}
}

func TestMemoryLogTrimsTheOldestOfAllRooms(t *testing.T) { // S5
	l := chat.NewMemoryLog(chat.MemoryLogConfig{MaxBytes: 4 * (200 + 101)})
	for i, room := range []string{"a", "a", "b", "b", "c", "c", "c"} {
		appendTo(t, l, room, fmt.Sprint(i), string(make([]byte, 100)))
	}
	assert.Equal(t, [2]uint64{3, 2}, bounds(t, l, "a"))
	assert.Equal(t, [2]uint64{2, 2}, bounds(t, l, "b"))
	assert.Equal(t, [2]uint64{1, 3}, bounds(t, l, "c"))
	assert.Equal(t, uint64(3), appendTo(t, l, "a", "n", "x").Seq, "seq goes on")
}

func TestMemoryLogBoundsRoomsAndMarks(t *testing.T) { // S5
	l := chat.NewMemoryLog(chat.MemoryLogConfig{MaxRooms: 2, MaxMarks: 3})
	stop := l.Watch("c", func(uint64) {}) // a watched room is not one with records
	appendTo(t, l, "a", "1", "x")
	appendTo(t, l, "b", "1", "x")
	_, err := l.Append(t.Context(), "c", 0, []chat.Entry{{ID: "1", Body: []byte("x")}}, nil)
	assert.ErrorIs(t, err, &chat.Error{Code: rpc.ResourceExhausted})
	stop()
	for i := range 3 {
		appendTo(t, l, "b", fmt.Sprint(i+2), "x")
	}
	assert.False(t, appendTo(t, l, "a", "1", "x").Duplicate, "forgotten")
	assert.True(t, appendTo(t, l, "b", "4", "x").Duplicate)
}

func TestStateProvesACursorAcrossEpochs(t *testing.T) { // C4
	s := chat.State{First: 3, Head: 20, Epochs: []chat.Epoch{{Number: 1, First: 1}, {Number: 2, First: 8}, {Number: 5, First: 15}}}
	for _, tt := range []struct {
		epoch, seq uint64
		next       uint64
		code       rpc.Code
	}{
		{1, 5, 6, 0},
		{1, 7, 8, 0},            // its last record: resumed across the boundary
		{1, 8, 0, rpc.DataLoss}, // its own 8 was lost, another is 8 now
		{2, 8, 9, 0},
		{2, 14, 15, 0},
		{2, 15, 0, rpc.DataLoss},
		{2, 7, 8, 0}, // it has seen no record of its epoch
		{5, 9, 10, 0},
		{3, 0, 0, rpc.DataLoss},
		{3, 15, 0, rpc.DataLoss},
		{5, 20, 21, 0},
		{5, 21, 0, rpc.DataLoss},
		{1, 2, 3, 0},
		{1, 1, 0, rpc.OutOfRange},
		{0, 0, 0, rpc.OutOfRange},
	} {
		next, err := s.After(chat.Position{Epoch: tt.epoch, Seq: tt.seq})
		if tt.code == 0 {
			assert.Nil(t, err, "%+v", tt)
			assert.Equal(t, tt.next, next)
			continue
		}
		if assert.NotNil(t, err, "%+v", tt) {
			assert.Equal(t, tt.code, err.Code, "%+v", tt)
		}
	}
}
