package chat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// texts returns the texts of all messages so far, and a mark for each Joined.
func (u *user) texts() (texts []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range u.events {
		switch e := e.(type) {
		case *chat.Message:
			texts = append(texts, e.Text)
		case *chat.Joined:
			texts = append(texts, "|")
		}
	}
	return texts
}

// M150: a member who resynchronizes is shown what there is from there on, once and in order, and nobody else notices.
func TestM150AResynchronizationGoesOnFromThere(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
		var at []chat.Position
		for i := range 3 {
			bob.say("lobby", fmt.Sprint(i))
			at = append(at, expect[*chat.Message](alice, nil).Position)
		}
		alice.say("lobby", "mine")
		resync := func(from chat.From) *chat.Joined {
			require.NoError(t, alice.Resync(t.Context(), "lobby", from))
			return expect[*chat.Joined](alice, nil)
		}
		assert.EqualValues(t, 2, resync(chat.After(at[0])).Next) // restart
		for _, text := range []string{"1", "2", "mine"} {
			assert.Equal(t, text, expect[*chat.Message](alice, nil).Text)
		}
		assert.EqualValues(t, 5, resync(chat.Live()).Next)  // abandon
		assert.EqualValues(t, 3, resync(chat.Last(2)).Next) // set
		bob.say("lobby", "more")
		assert.EqualValues(t, 6, alice.say("lobby", "mine, too").Position.Seq)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"|", "0", "1", "2", "|", "1", "2", "mine", "|", "|", "2", "mine", "more"}, alice.texts())
		expectNothing[*chat.Presence](bob)
		assert.Len(t, all[*chat.Message](bob), 2, "to bob it is as if nothing had been")
	})
}

// C4: one who is in the midst of a long replay begins anew, and sees all of it from there, once.
func TestM150AResynchronizationEndsTheReplayUnderWay(t *testing.T) {
	const lines = 5000
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		for i := range lines {
			_, err := bob.Publish(t.Context(), "lobby", fmt.Sprint(i))
			require.NoError(t, err)
		}
		bob.waitFor("acknowledgements", func([]chat.Event, error) bool { return bob.Unacknowledged() == 0 })
		alice := h.join("alice")
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Last(lines)))
		for range 3 { // asked while what comes before is on its way
			require.NoError(t, alice.Resync(t.Context(), "lobby", chat.Last(100)))
			require.NoError(t, alice.Resync(t.Context(), "lobby", chat.Last(lines)))
		}
		time.Sleep(time.Minute)
		texts := alice.texts()
		last := len(texts) - 1
		for texts[last] != "|" {
			last--
		}
		texts = texts[last+1:]
		require.Len(t, texts, lines)
		for i, text := range texts {
			require.Equal(t, fmt.Sprint(i), text)
		}
	})
}

// M150: a resynchronization that cannot be is refused, and all goes on as before.
func TestM150ARefusedResynchronizationChangesNothing(t *testing.T) {
	log := chat.NewMemoryLog(chat.MemoryLogConfig{MaxRoomRecords: 2, Epoch: 1})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob, alice := h.join("bob", "lobby"), h.join("alice", "lobby")
		for i := range 5 {
			bob.say("lobby", fmt.Sprint(i))
		}
		for _, c := range []struct {
			room string
			from chat.From
			code rpc.Code
		}{
			{"lobby", chat.After(chat.Position{Epoch: 1, Seq: 1}), rpc.OutOfRange},
			{"lobby", chat.After(chat.Position{Epoch: 1, Seq: 9}), rpc.DataLoss},
			{"attic", chat.Live(), rpc.FailedPrecondition},
		} {
			require.NoError(t, alice.Resync(t.Context(), c.room, c.from))
			r := expect[*chat.Rejected](alice, nil)
			assert.Equal(t, [3]any{c.room, chat.RequestResync, c.code}, [3]any{r.Room, r.Request, r.Code})
		}
		bob.say("lobby", "more")
		assert.Equal(t, "more", expect[*chat.Message](alice, nil).Text)
		assert.Len(t, all[*chat.Message](alice), 6)
	})
}

// C4: a resynchronization that had no answer when the connection ended is made again on the next one.
func TestC4AResynchronizationOutlivesTheConnection(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		session := h.net.Dial(h.srv, "alice", transport.Config{NewPacketConn: h.net.NewConn})
		alice := h.joinOn(session, "alice", "lobby")
		for i := range 3 {
			bob.say("lobby", fmt.Sprint(i))
			expect[*chat.Message](alice, nil)
		}
		h.net.Cut()
		require.NoError(t, alice.Resync(t.Context(), "lobby", chat.Last(2)))
		time.Sleep(time.Second)
		h.net.Drop(nil)
		assert.EqualValues(t, 2, expect[*chat.Joined](alice, nil).Next)
		assert.Equal(t, "1", expect[*chat.Message](alice, nil).Text)
		bob.say("lobby", "more")
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"|", "0", "1", "2", "|", "1", "2", "more"}, alice.texts())
	})
}
