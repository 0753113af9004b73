package chat_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// refusedFrom asserts that a JOIN from the user's checkpoint is rejected.
func (u *user) refusedFrom(room string, code rpc.Code) *chat.Rejected {
	u.t.Helper()
	require.NoError(u.t, u.Join(context.Background(), room, chat.FromCheckpoint()))
	r := expect[*chat.Rejected](u, nil)
	assert.Equal(u.t, [2]any{chat.RequestJoin, code}, [2]any{r.Request, r.Code}, "%s", r.Reason)
	return r
}

// M155, C1, C4: device after device begins at the checkpoint of the one before, which was said a moment ago: each line is shown once, and in order.
func TestM155AnotherDeviceGoesOnFromTheCheckpoint(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		said := 0
		say := func(n int) {
			for range n {
				alice.say("lobby", fmt.Sprint(said))
				said++
			}
		}
		say(4)
		var shown []string
		for device := range 8 {
			bob := h.client(h.net.Dial(h.srv, "bob", transport.Config{}), "bob")
			require.NoError(t, bob.Join(t.Context(), "lobby", chat.FromCheckpoint()))
			say(1 + device%3)
			var last *chat.Message
			for range 1 + device%2 {
				last = bob.message()
				shown = append(shown, last.Text)
			}
			bob.MarkRead("lobby", last.Position)
			go bob.collect()
			bob.release()
		}
		for i, text := range shown {
			assert.Equal(t, fmt.Sprint(i), text)
		}
		assert.Len(t, shown, 12)
		carol := h.join("carol")
		assert.EqualValues(t, 1, carol.join("lobby", chat.FromCheckpoint()).Next, "who has none is done with nothing")
		carol.MarkRead("lobby", chat.Position{Epoch: 1, Seq: 9})
		time.Sleep(3 * time.Second)
		require.NoError(t, carol.Resync(t.Context(), "lobby", chat.FromCheckpoint()))
		assert.EqualValues(t, 10, expect[*chat.Joined](carol, nil).Next, "X.225's restart")
	})
}

// M155, C4: what is to come behind the checkpoint is whole, or refused: it may have been trimmed, or lie before a point beyond which nobody is taken back.
func TestM155WhatFollowsACheckpointIsWhole(t *testing.T) {
	cfg := byAlice()
	cfg.Log = newLog()
	bubble(t, cfg, func(t *testing.T, h *house) {
		alice, _ := chaired(t, h, "ops")
		mark := func(name string, seq uint64) *user {
			u := h.join(name)
			_, err := chat.Raise.Call(t.Context(), u.session, &chat.RaiseRequest{Room: "ops", Read: seq})
			require.NoError(t, err)
			return u
		}
		before, at := mark("before", 2), mark("at", 3)
		_, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: "agenda"})
		require.NoError(t, err)
		assert.EqualValues(t, 4, before.refusedFrom("ops", rpc.OutOfRange).First)
		assert.EqualValues(t, 4, at.join("ops", chat.FromCheckpoint()).Next)
		assert.EqualValues(t, 4, h.join("newcomer").join("ops", chat.FromCheckpoint()).Next, "M151: as far back as one may go")

		for range 3 {
			alice.say("ops", "x")
		}
		require.NoError(t, cfg.Log.Trim(t.Context(), "ops", 6))
		late := mark("late", 4)
		assert.EqualValues(t, 6, late.refusedFrom("ops", rpc.OutOfRange).First)
		assert.EqualValues(t, 6, late.join("ops", chat.Last(math.MaxUint64)).Next)
		assert.EqualValues(t, 6, mark("just", 5).join("ops", chat.FromCheckpoint()).Next)
	})
}

// M155: a checkpoint in a room that has been deleted is none in the one that has its name now.
func TestM155ACheckpointIsOfOneRoom(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		bob.MarkRead("ops", chat.Position{Epoch: 1, Seq: 3})
		time.Sleep(3 * time.Second)
		_, err := chat.Delete.Call(t.Context(), alice.session, &chat.DeleteRequest{Room: "ops"})
		require.NoError(t, err)
		expect[*chat.Rejected](alice, nil)
		expect[*chat.Rejected](bob, nil)
		alice.join("ops", chat.Live())
		alice.say("ops", "anew")
		alice.say("ops", "more")
		assert.EqualValues(t, 5, bob.join("ops", chat.FromCheckpoint()).Next)
	})
}

// M155, M156: where there are no checkpoints a JOIN from one is refused, and does not begin somewhere else.
func TestM156WhoKnowsNoCheckpointsRefuses(t *testing.T) {
	bubble(t, chat.Config{Log: &faultyLog{Log: newLog()}}, func(t *testing.T, h *house) {
		h.join("bob", "lobby").say("lobby", "x")
		alice := h.join("alice")
		alice.refusedFrom("lobby", rpc.Unimplemented)

		older := openRaw(t, h.net.Dial(h.srv, "bob", transport.Config{})) // for a server that does not know the field, this is all
		cursor := &chatpb.Join_Cursor{Cursor: &chatpb.Cursor{Epoch: math.MaxUint64, Seq: math.MaxUint64}}
		older.write(frame(0x01, &chatpb.Join{Room: []byte("lobby"), From: cursor}))
		var r chatpb.Rejected
		older.readInto(0x0d, &r)
		assert.Equal(t, rpc.DataLoss, rpc.Code(r.GetCode()))
	})
	bubble(t, chat.Config{}, func(t *testing.T, h *house) { // a server that answers so
		srv := h.net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamChat: func(_ context.Context, str *transport.Stream) {
				_, _, err := str.ReadFrame(anyFrame)
				assert.NoError(t, err)
				_, err = str.Write(frame(0x0d, &chatpb.Rejected{Request: chatpb.Rejected_REQUEST_JOIN, Room: []byte("lobby"), Code: uint32(rpc.DataLoss)}))
				assert.NoError(t, err)
				<-str.Session().Context().Done()
			},
		}})
		alice := h.joinOn(h.net.Dial(srv, "alice", transport.Config{}), "alice")
		alice.refusedFrom("lobby", rpc.Unimplemented)
		alice.session.Abort(transport.Aborted, "done")
	})
}
