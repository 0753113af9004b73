package chat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

// M117: a signal reaches the others in the room, and leaves nothing behind.
func TestM117SignalsAreForTheMoment(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob, carol := h.join("alice", "lobby"), h.join("bob", "lobby", "attic"), h.join("carol", "attic")
		alice.say("lobby", "one")
		require.NoError(t, alice.Signal("lobby", chat.SignalTyping))
		assert.Equal(t, chat.Signal{Room: "lobby", Who: "alice", Kind: chat.SignalTyping}, *expect[*chat.Signal](bob, nil))
		require.NoError(t, bob.Signal("lobby", chat.SignalHandUp))
		assert.Equal(t, chat.SignalHandUp, expect[*chat.Signal](alice, nil).Kind)
		require.NoError(t, bob.Signal("lobby", chat.SignalHandDown))
		assert.Equal(t, chat.SignalHandDown, expect[*chat.Signal](alice, nil).Kind)
		require.NoError(t, alice.Signal("attic", chat.SignalTyping), "a room that she is not in")
		require.NoError(t, alice.Signal("lobby", "waves"), "a kind that there is not")
		assert.Error(t, alice.Signal(" ", chat.SignalTyping))
		for _, u := range []*user{alice, bob, carol} {
			expectNothing[*chat.Signal](u)
		}
		s, err := log.State(t.Context(), "lobby")
		require.NoError(t, err)
		assert.EqualValues(t, 1, s.Head)
		dora := h.join("dora")
		dora.join("lobby", chat.Last(10))
		expectNothing[*chat.Signal](dora)
		require.NoError(t, alice.Close())
		assert.ErrorIs(t, alice.Signal("lobby", chat.SignalTyping), chat.ErrClosed)
	})
}

// M117: who may not speak does not type, but may raise a hand.
func TestM117SignalsOfListeners(t *testing.T) {
	log := newLog()
	appoint(t, log, "lobby", "bob", chat.RoleListener)
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		require.NoError(t, bob.Signal("lobby", chat.SignalTyping))
		require.NoError(t, bob.Signal("lobby", chat.SignalHandUp))
		assert.Equal(t, chat.SignalHandUp, expect[*chat.Signal](alice, nil).Kind)
		expectNothing[*chat.Signal](alice)
	})
}

// M118: the same again within a second, and too many, are told to nobody; in a big room nobody is told who types.
func TestM118SignalsAreBounded(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) { // 5 are many
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		typing := func(n int) int {
			before := len(all[*chat.Signal](bob))
			for range n {
				require.NoError(t, alice.Signal("lobby", chat.SignalTyping))
				time.Sleep(100 * time.Millisecond)
			}
			time.Sleep(time.Second)
			return len(all[*chat.Signal](bob)) - before
		}
		assert.Equal(t, 1, typing(9))
		assert.Equal(t, 3, typing(30))
		time.Sleep(10 * time.Second)
		before := len(all[*chat.Signal](bob))
		for range 50 { // for five seconds
			require.NoError(t, alice.Signal("lobby", chat.SignalHandUp))
			time.Sleep(50 * time.Millisecond)
			require.NoError(t, alice.Signal("lobby", chat.SignalHandDown))
			time.Sleep(50 * time.Millisecond)
		}
		told := len(all[*chat.Signal](bob)) - before
		assert.Greater(t, told, 9)
		assert.Less(t, told, 10+5*5+3)
		for i := range 4 {
			h.join(fmt.Sprint("u", i), "lobby")
		}
		time.Sleep(10 * time.Second)
		assert.Zero(t, typing(3))
		require.NoError(t, alice.Signal("lobby", chat.SignalHandUp))
		assert.Equal(t, chat.SignalHandUp, expect(bob, func(e *chat.Signal) bool { return e.Kind == chat.SignalHandUp }).Kind)
	})
}

// M119: a reader that gives no sign of life is sent little, and one that has used up its credit nothing; and then what
// it is owed comes as ever.
func TestM119SignalsCostASlowReaderNothing(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		r := openRaw(t, h.net.Dial(h.srv, "slow", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		signals := func() (bytes int) {
			for range 500 {
				require.NoError(t, alice.Signal("lobby", chat.SignalTyping))
				time.Sleep(1100 * time.Millisecond)
			}
			alice.say("lobby", "end")
			for {
				typ, body := r.read()
				switch typ {
				case 0x1d:
					bytes += len(body)
				case 0x11:
					return bytes
				}
			}
		}
		first := signals()
		assert.Greater(t, first, 4<<10)
		assert.LessOrEqual(t, first, 8<<10)
		assert.Zero(t, signals())
		r.write(frame(0x07, &chatpb.Received{}))
		assert.Greater(t, signals(), 4<<10, "it is there")

		// Out of credit.
		r.write(frame(0x07, &chatpb.Received{}))
		time.Sleep(time.Second)
		for range 6 {
			alice.say("lobby", string(make([]byte, 60<<10)))
		}
		require.NoError(t, alice.Signal("lobby", chat.SignalHandUp))
		time.Sleep(time.Second)
		var lines, got int
		var consumed uint64
		for lines < 6 {
			typ, body := r.read()
			if typ == 0x1d {
				got++
			}
			if typ == 0x11 {
				var m chatpb.Record
				require.NoError(t, proto.Unmarshal(body, &m))
				lines += len(m.GetLines())
				consumed += uint64(len(body))
				r.write(frame(0x07, &chatpb.Received{Bytes: consumed}))
			}
		}
		assert.Zero(t, got)
	})
}

// M119: a client goes on getting them for as long as it reads.
func TestM119AClientThatReadsGetsThemAll(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		const n = 1500 // more than twice what may follow one RECEIVED
		for range n {
			require.NoError(t, alice.Signal("lobby", chat.SignalTyping))
			time.Sleep(1100 * time.Millisecond)
		}
		assert.Len(t, all[*chat.Signal](bob), n)
	})
}
