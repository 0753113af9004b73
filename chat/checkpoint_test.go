package chat_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// reader returns a user of a room, not collected, whose client has checkpoints as cfg says.
func (h *house) reader(name, room string, cfg chat.ClientConfig) *user {
	h.t.Helper()
	others := h.clients
	h.clients = cfg
	u := h.client(h.net.Dial(h.srv, name, transport.Config{}), name)
	h.clients = others
	require.NoError(h.t, u.Join(h.ctx(), room, chat.Live()))
	_, ok := u.one().(*chat.Joined)
	require.True(h.t, ok)
	return u
}

// one returns the next event.
func (u *user) one() chat.Event {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := u.Next(ctx)
	require.NoError(u.t, err)
	return e
}

// message returns the next message, past all else.
func (u *user) message() *chat.Message {
	u.t.Helper()
	for {
		if m, ok := u.one().(*chat.Message); ok {
			return m
		}
	}
}

// checkpointAt asserts where the log has the checkpoint of who.
func (h *house) checkpointAt(who, room string, seq uint64, why string) {
	h.t.Helper()
	asker := h.net.Dial(h.srv, "asker", transport.Config{})
	res, err := chat.Marks.Call(h.ctx(), asker, &chat.MarksRequest{Room: room})
	require.NoError(h.t, err)
	require.NoError(h.t, asker.Release(h.ctx()))
	for _, m := range res.Marks {
		if m.Who == who {
			assert.Equal(h.t, seq, m.Read, why)
			return
		}
	}
	assert.Zero(h.t, seq, why)
}

// M154: a client has a checkpoint after every n records, once its user is done with the last of them: not when that has arrived, nor when it has
// been handed out. Close has one, too.
func TestM154ACheckpointFollowsWhatIsDoneWith(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.reader("alice", "lobby", chat.ClientConfig{CheckpointLines: 3})
		for i := range 5 {
			bob.say("lobby", fmt.Sprint(i))
		}
		for range 3 {
			alice.message()
		}
		time.Sleep(10 * time.Second)
		h.checkpointAt("alice", "lobby", 0, "all have arrived, three are handed out, two are done with")
		alice.message()
		time.Sleep(3 * time.Second)
		h.checkpointAt("alice", "lobby", 3, "the third is done with")
		alice.message()
		time.Sleep(10 * time.Second)
		h.checkpointAt("alice", "lobby", 3, "one more")
		require.NoError(t, alice.Close())
		time.Sleep(3 * time.Second)
		h.checkpointAt("alice", "lobby", 4, "the last one may not be done with")
		go alice.collect()
		alice.release()
	})
}

// M154: or so long after the first record since, whether another comes or not; and by default never.
func TestM154ACheckpointByTheClock(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.reader("alice", "lobby", chat.ClientConfig{CheckpointAfter: 20 * time.Second})
		go alice.collect()
		carol := h.join("carol", "lobby")
		for i := range 2 {
			bob.say("lobby", fmt.Sprint(i))
			time.Sleep(10 * time.Second)
		}
		h.checkpointAt("alice", "lobby", 0, "ten seconds after the second, twenty after the first")
		time.Sleep(3 * time.Second)
		h.checkpointAt("alice", "lobby", 2, "those that have come meanwhile, too")
		said := len(all[*chat.Marked](bob))
		time.Sleep(time.Hour)
		assert.Len(t, all[*chat.Marked](bob), said, "there is nothing new to say")
		h.checkpointAt("carol", "lobby", 0, "by default")
		bob.say("lobby", "x")
		expect(carol, func(m *chat.Message) bool { return m.Text == "x" })
		alice.release()
		time.Sleep(3 * time.Second)
		h.checkpointAt("alice", "lobby", 3, "before its time, for there is no other")
	})
}

// M154: who says what has arrived says the checkpoint with it: it costs no MARK of its own, and at most one a second.
func TestM154ACheckpointGoesWithWhatIsSaidAnyway(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		h.clients.NoDelivered = true
		bob := h.join("bob", "lobby")
		h.clients = chat.ClientConfig{CheckpointAfter: time.Second}
		alice := h.join("alice", "lobby")
		for range 100 { // over ten seconds
			bob.say("lobby", "x")
			time.Sleep(100*time.Millisecond - rtt)
		}
		time.Sleep(5 * time.Second)
		marked := all[*chat.Marked](bob)
		assert.LessOrEqual(t, len(marked), 12)
		for _, e := range marked {
			for _, m := range e.Marks {
				assert.LessOrEqual(t, m.Delivered-m.Read, uint64(1), "together, but for the line that comes at the same moment")
			}
		}
		h.checkpointAt("alice", "lobby", 100, "all")
		alice.MarkRead("lobby", chat.Position{Epoch: 1, Seq: 50})
		time.Sleep(2 * time.Second)
		h.checkpointAt("alice", "lobby", 100, "M124: it only rises")
	})
}

// M154: a checkpoint that was due while there was no connection is said behind the break; also of own lines, whose answer was an event before.
func TestM154ACheckpointOverABreak(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.roverWith("alice", chat.ClientConfig{CheckpointAfter: time.Second})
		go alice.collect()
		alice.join("lobby", chat.Live())
		bob.say("lobby", "x")
		expect[*chat.Message](alice.user, nil)
		alice.cut(false)
		h.checkpointAt("alice", "lobby", 0, "it was not said yet")
		expect[*chat.Resumed](alice.user, nil)
		time.Sleep(3 * time.Second)
		h.checkpointAt("alice", "lobby", 1, "behind the break")
		alice.say("lobby", "mine")
		time.Sleep(3 * time.Second)
		h.checkpointAt("alice", "lobby", 2, "one's own")
	})
}

// M124: who raises a mark is told where it is.
func TestM124RaiseAnswersWhereTheMarksAre(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		for range 3 {
			alice.say("lobby", "x")
		}
		for _, read := range []uint64{2, 1} {
			res, err := chat.Raise.Call(t.Context(), alice.session, &chat.RaiseRequest{Room: "lobby", Read: read})
			require.NoError(t, err)
			assert.EqualValues(t, 2, res.Read)
			assert.Equal(t, "alice", res.Who)
		}
	})
}
