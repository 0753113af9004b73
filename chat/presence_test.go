package chat_test

import (
	"context"
	"io"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

func TestPresenceOfARelease(t *testing.T) { // S3
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
		started := time.Now()
		alice.release()
		bob.expectPresence("alice", chat.PresenceLeft)
		assert.Less(t, time.Since(started), time.Second, "left follows at once")
		time.Sleep(time.Minute)
		expectNothing[*chat.Presence](bob)
		h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
	})
}

func TestPresenceOfAnAbort(t *testing.T) { // S3
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
		alice.session.Abort(transport.Aborted, "crash")
		bob.expectPresence("alice", chat.PresenceLost)
		carol := h.joinOn(h.net.Dial(h.srv, "carol", transport.Config{}), "carol")
		assert.Equal(t, []string{"bob", "carol"}, carol.join("lobby", chat.Live()).Members, "lost are not there")
		bob.expectPresence("carol", chat.PresenceJoined)
		h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceBack)
		time.Sleep(time.Minute) // the first session's hold ends
		expectNothing[*chat.Presence](bob)
	})
}

func TestPresenceAfterTheHoldIsOver(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
		alice.session.Abort(transport.Aborted, "crash")
		bob.expectPresence("alice", chat.PresenceLost)
		time.Sleep(31 * time.Second)
		expectNothing[*chat.Presence](bob)
		h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
	})
}

func TestPresenceOfACutLink(t *testing.T) { // S3
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		conn := h.net.Conn()
		alice := h.joinOn(h.net.Dial(h.srv, "alice", transport.Config{PacketConn: conn}), "alice", "lobby")
		bob := h.join("bob", "lobby")
		cut := conn.LocalAddr().String()
		h.net.Drop(func(p transporttest.Packet) bool { return p.From.String() == cut || p.To.String() == cut })
		bob.expectPresence("alice", chat.PresenceLost)
		assert.Equal(t, transport.Lost, code(alice.ended()))
		expectNothing[*chat.Presence](bob)
	})
}

func TestPresenceIsTheSumOfSessions(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		laptop := h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
		phone := h.join("alice", "lobby")
		phone.session.Abort(transport.Aborted, "crash")
		time.Sleep(time.Second)
		expectNothing[*chat.Presence](bob)
		phone = h.join("alice", "lobby")
		laptop.release()
		time.Sleep(time.Second)
		expectNothing[*chat.Presence](bob)
		phone.session.Abort(transport.Aborted, "crash")
		bob.expectPresence("alice", chat.PresenceLost)
		laptop = h.join("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceBack)
		require.NoError(t, laptop.Leave(t.Context(), "lobby"))
		bob.expectPresence("alice", chat.PresenceLeft)
		time.Sleep(time.Minute)
		expectNothing[*chat.Presence](bob)
	})
}

func TestPresenceOfAStreamThatIsReset(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		session := h.net.Dial(h.srv, "alice", transport.Config{})
		r := openRaw(t, session)
		r.write(joinFrame("lobby"))
		bob.expectPresence("alice", chat.PresenceJoined)
		r.str.Cancel(transport.StreamCanceled)
		bob.expectPresence("alice", chat.PresenceLost)
		alice := h.joinOn(session, "alice", "lobby")
		bob.expectPresence("alice", chat.PresenceBack)
		alice.release()
		bob.expectPresence("alice", chat.PresenceLeft)
	})
}

func TestANewerStreamReplacesTheOlder(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		session := h.net.Dial(h.srv, "alice", transport.Config{})
		older := h.joinOn(session, "alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
		older.say("lobby", "mine")
		newer := h.joinOn(session, "alice")
		j := newer.join("lobby", chat.Last(10))
		assert.Error(t, older.ended())
		assert.Equal(t, []string{"alice", "bob"}, j.Members)
		bob.say("lobby", "more")
		assert.Equal(t, "mine", expect[*chat.Message](newer, nil).Text, "the newer client was not told of what the older has said")
		assert.Equal(t, "more", expect[*chat.Message](newer, nil).Text)
		expectNothing[*chat.Presence](bob)
		newer.release()
		bob.expectPresence("alice", chat.PresenceLeft)
	})
}

func TestANewerStreamThatDoesNotJoinLeavesAtItsEnd(t *testing.T) {
	for _, aborted := range []bool{false, true} {
		bubble(t, chat.Config{}, func(t *testing.T, h *house) {
			bob := h.join("bob", "lobby")
			session := h.net.Dial(h.srv, "alice", transport.Config{})
			older := h.joinOn(session, "alice", "lobby")
			bob.expectPresence("alice", chat.PresenceJoined)
			newer := h.joinOn(session, "alice", "attic")
			assert.Error(t, older.ended())
			expectNothing[*chat.Presence](bob)
			if aborted {
				session.Abort(transport.Aborted, "")
				bob.expectPresence("alice", chat.PresenceLost)
				return
			}
			newer.release()
			bob.expectPresence("alice", chat.PresenceLeft)
		})
	}
}

func TestOthersDomainsAppearByTheirWholeID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, rtt)
		cs := chat.NewServer(chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{}), Domain: "elsewhere"})
		t.Cleanup(cs.Close)
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamChat: cs.ServeStream}})
		h := &house{t: t, net: n, srv: srv, chat: cs}
		alice := h.joinOn(n.Dial(srv, "alice", transport.Config{}), "alice")
		assert.Equal(t, []string{"spiffe://" + n.Authority().Domain() + "/user/alice"}, alice.join("lobby", chat.Live()).Members)
	})
}

// replay applies a user's presence events to a list of members.
func replay(members []string, u *user) []string {
	is := make(map[string]bool)
	for _, m := range members {
		is[m] = true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range u.events {
		switch e := e.(type) {
		case *chat.Presence:
			there := e.State == chat.PresenceJoined || e.State == chat.PresenceBack
			if is[e.Who] == there {
				assert.Fail(u.t, "not a change", "%+v", e)
			}
			is[e.Who] = there
		case *chat.Members:
			clear(is)
			for _, m := range e.Names {
				is[m] = true
			}
		}
	}
	var out []string
	for m, there := range is {
		if there {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out
}

func TestCloseOfTheServerEndsEverything(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		h.chat.Close()
		h.chat.Close()
		assert.NotErrorIs(t, alice.ended(), io.EOF)
		// The session goes on.
		_, err := alice.session.OpenStream(context.Background(), transport.StreamChat)
		assert.NoError(t, err)
	})
}

// Who leaves as soon as it has joined is told of a room with itself in it, though the answer may be written when it has left.
func TestJoinedNamesOneselfAlsoWhenOneHasLeft(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		for range 50 {
			hasty := h.join("hasty")
			for i := range 20 {
				require.NoError(t, hasty.Join(h.ctx(), strconv.Itoa(i), chat.Live()))
			}
			require.NoError(t, hasty.Close())
			hasty.release()
			joined := all[*chat.Joined](hasty)
			require.Len(t, joined, 20)
			for _, j := range joined {
				require.Equal(t, []string{"hasty"}, j.Members)
			}
		}
	})
}
