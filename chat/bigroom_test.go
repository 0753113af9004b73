package chat_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

// bigRoom is bubble with a server to which a room with more than 4 is big, until it has fewer than 3.
func bigRoom(t *testing.T, cfg chat.Config, f func(t *testing.T, h *house)) {
	t.Helper()
	bubble(t, cfg, func(t *testing.T, h *house) {
		h.chat.SetBigRoom(4, 3)
		f(t, h)
	})
}

// crowd has n users join, who are in the room with alice, and waits until all are shown.
func (h *house) crowd(n int) (alice *user, users []*user) {
	h.t.Helper()
	alice = h.join("alice", "lobby")
	for i := range n {
		users = append(users, h.join(fmt.Sprintf("m%d", i), "lobby"))
	}
	time.Sleep(2 * time.Second)
	synctest.Wait()
	require.Len(h.t, all[*chat.Presence](alice), n)
	alice.next = len(alice.events)
	return alice, users
}

// now returns who is there by a fresh snapshot, of somebody who is then gone again.
func (h *house) now(room string) []string {
	h.t.Helper()
	fresh := h.join("fresh")
	j := fresh.join(room, chat.Live())
	members := j.Members
	if j.More > 0 {
		members = expect[*chat.Members](fresh, nil).Names
	}
	require.NoError(h.t, fresh.Leave(h.ctx(), room))
	fresh.release()
	return slices.DeleteFunc(slices.Clone(members), func(who string) bool { return who == "fresh" })
}

// M160: who joins a big room in the same second is shown to a member with one frame, and each newcomer is told of all others, and not of
// itself again (C7).
func TestM160AStormOfJoinsIsOneFrame(t *testing.T) {
	const before, storm = 101, 50 // with 101 the room is big
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		for i := range before - 1 {
			h.join(fmt.Sprintf("before%d", i), "lobby")
		}
		time.Sleep(2 * time.Second)
		watcher := openRaw(t, h.net.Dial(h.srv, "watcher", transport.Config{}))
		watcher.write(joinFrame("lobby"))
		var joined chatpb.Joined
		watcher.readInto(0x09, &joined)
		require.Len(t, joined.GetMembers(), before)
		time.Sleep(2 * time.Second) // for all others it has been shown

		names := make([]string, storm)
		sessions := make([]*transport.Session, storm)
		for i := range storm {
			names[i] = fmt.Sprintf("storm%d", i)
			sessions[i] = h.net.Dial(h.srv, names[i], transport.Config{})
		}
		users := make([]*user, storm)
		for i := range storm {
			users[i] = h.joinOn(sessions[i], names[i])
			require.NoError(t, users[i].Join(t.Context(), "lobby", chat.Live()))
		}
		time.Sleep(2 * time.Second)
		var p chatpb.Presence
		watcher.readInto(0x13, &p)
		slices.Sort(names)
		assert.Equal(t, names, p.GetJoined())
		assert.Empty(t, p.GetWho())
		watcher.write(frame(0x03, &chatpb.Leave{Room: []byte("lobby")}))
		watcher.readInto(0x0b, new(chatpb.Left)) // and nothing between them
		time.Sleep(2 * time.Second)
		synctest.Wait()
		now := h.now("lobby")
		require.Len(t, now, before-1+storm)
		for _, u := range users {
			j := expect[*chat.Joined](u, nil)
			assert.Contains(t, j.Members, u.name)
			assert.Equal(t, now, replay(j.Members, u))
		}
	})
}

// M161: what has been undone in the meantime is not shown, in either direction, and what was shown says in which.
func TestM161WhatIsUndoneIsNotShown(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, users := h.crowd(5)
		h.join("bob", "lobby").release() // has come and gone
		h.join("carol", "lobby").session.Abort(transport.Aborted, "")
		require.NoError(t, users[0].Leave(t.Context(), "lobby")) // has gone and come
		users[0].join("lobby", chat.Live())
		dave := h.join("dave", "lobby")
		time.Sleep(2 * time.Second)
		alice.expectPresence("dave", chat.PresenceJoined)
		expectNothing[*chat.Presence](alice)

		h.join("carol", "lobby") // whom nobody knows to be lost
		dave.session.Abort(transport.Aborted, "")
		users[1].release()
		users[2].session.Abort(transport.Aborted, "")
		h.join("m2", "lobby")
		time.Sleep(2 * time.Second)
		for _, want := range []chat.Presence{
			{Room: "lobby", Who: "carol", State: chat.PresenceJoined},
			{Room: "lobby", Who: "m1", State: chat.PresenceLeft},
			{Room: "lobby", Who: "dave", State: chat.PresenceLost},
		} {
			alice.expectPresence(want.Who, want.State)
		}
		expectNothing[*chat.Presence](alice)

		dave = h.join("dave", "lobby") // back, and gone again before that is shown
		dave.release()
		time.Sleep(2 * time.Second)
		expectNothing[*chat.Presence](alice)
		h.join("dave", "lobby")
		time.Sleep(2 * time.Second)
		alice.expectPresence("dave", chat.PresenceBack) // lost is what alice knows
		expectNothing[*chat.Presence](alice)
	})
}

// M160: nobody waits longer than a second to be seen, also if there always is something to do.
func TestM160GatheringEnds(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, users := h.crowd(5)
		for range 5 {
			started := time.Now()
			bob := h.join("bob", "lobby")
			for range 5 {
				users[0].say("lobby", "a line")
				time.Sleep(100 * time.Millisecond)
			}
			alice.expectPresence("bob", chat.PresenceJoined)
			assert.Less(t, time.Since(started), time.Second+10*rtt)
			bob.release()
			alice.expectPresence("bob", chat.PresenceLeft)
		}
	})
}

// M160: a room is big above one number, and small again below another one; nothing is forgotten in between (C7).
func TestM160ARoomDoesNotGoBackAndForth(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		atOnce := func(do func()) bool {
			synctest.Wait()
			alice.next = len(alice.events)
			started := time.Now()
			do()
			expect[*chat.Presence](alice, nil)
			return time.Since(started) < time.Second
		}
		join := func(name string) (u *user) { return h.join(name, "lobby") }
		var users []*user
		for i := range 3 {
			assert.True(t, atOnce(func() { users = append(users, join(fmt.Sprint(i))) }), "with %d", i+2)
		}
		assert.False(t, atOnce(func() { users = append(users, join("3")) }), "with 5")
		assert.False(t, atOnce(users[3].release), "with 4")
		assert.False(t, atOnce(users[2].release), "with 3")
		assert.True(t, atOnce(users[1].release), "with 2")
		assert.True(t, atOnce(func() { join("again") }), "with 3")
		assert.Equal(t, h.now("lobby"), replay([]string{"alice"}, alice))
	})
}

// C7: who joins while changes are gathered knows, once they are shown, what all others do, also if it was itself lost, or the room
// has become small meanwhile.
func TestC7JoinedWhileChangesAreGathered(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) {
		h.chat.SetBigRoom(6, 5)
		alice, users := h.crowd(6)
		users[0].session.Abort(transport.Aborted, "") // is shown to be lost, and then back
		alice.expectPresence("m0", chat.PresenceLost)
		users[1].release()
		users = append(users, h.join("early", "lobby"))
		time.Sleep(300 * time.Millisecond)
		var late []*user
		var lists [][]string
		for _, name := range []string{"late", "m0", "late", "m1"} {
			u := h.join(name)
			late, lists = append(late, u), append(lists, u.join("lobby", chat.Live()).Members)
			assert.Contains(t, lists[len(lists)-1], name)
		}
		for range 2 { // then it is small, with alice and these
			time.Sleep(2 * time.Second)
			synctest.Wait()
			now := h.now("lobby")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			for i, u := range late {
				assert.Equal(t, now, replay(lists[i], u), u.name)
			}
			for _, u := range users[2:] {
				u.release()
			}
			users = users[:2]
		}
	})
}

// C7: who has missed presence while it was still to be shown itself is told of itself once.
func TestC7MembersOfABigRoom(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, _ := h.crowd(5)
		slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.Live()))
		e, err := slow.Next(t.Context())
		require.NoError(t, err)
		members := e.(*chat.Joined).Members
		assert.Contains(t, members, "slow")
		alice.publish("lobby", 600)
		time.Sleep(2 * time.Second)
		h.join("bob", "lobby")
		time.Sleep(2 * time.Second)
		alice.publish("lobby", 600)
		go slow.collect()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Len(t, all[*chat.Members](slow), 1)
		assert.Equal(t, h.now("lobby"), replay(members, slow))
	})
}

// M32: a client that is told of many at once confirms the whole frame, with the last of them, and nothing that was not sent.
func TestM32PresenceOfManyIsConfirmed(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, _ := h.crowd(5)
		for i := range 20 { // of whom each is told of the others, and not of itself
			h.join(fmt.Sprint(i), "lobby")
		}
		time.Sleep(2 * time.Second)
		alice.say("lobby", "still here")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Positive(t, h.chat.Stats().DeliveredBytes)
		assert.Zero(t, h.chat.Unconfirmed())
		assert.Len(t, all[*chat.Presence](alice), 5+20)
	})
}
