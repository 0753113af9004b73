package chat_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// marksOf calls Marks, and returns read and delivered by identity.
func marksOf(t *testing.T, conn rpc.Conn, room string) map[string][2]uint64 {
	t.Helper()
	res, err := chat.Marks.Call(t.Context(), conn, &chat.MarksRequest{Room: room})
	require.NoError(t, err)
	assert.False(t, res.More)
	out := make(map[string][2]uint64)
	for _, m := range res.Marks {
		out[m.Who] = [2]uint64{m.Read, m.Delivered}
	}
	return out
}

// M124, M125: what a client has taken in is delivered, without a word of its user; what that has read, it says. Others see both, and they outlive
// the server.
func TestM124MarksAreKeptAndShown(t *testing.T) {
	log := chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		h.clients.NoDelivered = true
		carol := h.join("carol", "lobby")
		for i := range 3 {
			alice.say("lobby", fmt.Sprint(i))
		}
		seen := make(map[string][2]uint64)
		for len(seen) < 2 {
			for _, m := range expect[*chat.Marked](carol, nil).Marks {
				seen[m.Who] = [2]uint64{m.Read, m.Delivered}
			}
		}
		assert.Equal(t, map[string][2]uint64{"alice": {0, 3}, "bob": {0, 3}}, seen, "and carol's client says nothing")
		bob.MarkRead("lobby", chat.Position{Epoch: 1, Seq: 2})
		bob.MarkRead("lobby", chat.Position{Epoch: 1, Seq: 1})
		assert.Equal(t, []chat.Mark{{Who: "bob", Read: 2, Delivered: 3}}, expect[*chat.Marked](alice, func(e *chat.Marked) bool { return e.Marks[0].Read > 0 }).Marks)
		carol.MarkRead("lobby", chat.Position{Epoch: 1, Seq: 3})
		carol.release() // which says what is unsaid
		want := map[string][2]uint64{"alice": {0, 3}, "bob": {2, 3}, "carol": {3, 3}}
		time.Sleep(2 * time.Second)
		assert.Equal(t, want, marksOf(t, alice.session, "lobby"))

		other := &house{t: t, net: h.net}
		other.start(chat.Config{Log: log})
		assert.Equal(t, want, marksOf(t, other.net.Dial(other.srv, "dave", transport.Config{}), "lobby"))
	})
}

// M124: marks only rise, and name records that there have been.
func TestM124MarksRiseUpToTheHead(t *testing.T) {
	log := chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		h.clients.NoDelivered = true
		alice := h.join("alice", "lobby")
		for i := range 3 {
			alice.say("lobby", fmt.Sprint(i))
		}
		raise := func(req chat.RaiseRequest) rpc.Code {
			req.Room = "lobby"
			_, err := chat.Raise.Call(t.Context(), alice.session, &req)
			return rpc.CodeOf(err)
		}
		of := func() [2]uint64 { return marksOf(t, alice.session, "lobby")["alice"] }
		assert.Equal(t, rpc.OK, raise(chat.RaiseRequest{Delivered: 2}))
		assert.Equal(t, [2]uint64{0, 2}, of(), "kept when it is answered")
		assert.Equal(t, rpc.OK, raise(chat.RaiseRequest{Read: 1}))
		assert.Equal(t, [2]uint64{1, 2}, of())
		assert.Equal(t, rpc.OK, raise(chat.RaiseRequest{Epoch: 1, Read: 3}))
		assert.Equal(t, [2]uint64{3, 3}, of(), "what was read has been delivered")
		for _, req := range []chat.RaiseRequest{{Read: 4}, {Epoch: 1, Delivered: 4}, {Epoch: 2, Read: 1}} {
			assert.Equal(t, rpc.DataLoss, raise(req), "%+v", req)
		}
		assert.Equal(t, rpc.OK, raise(chat.RaiseRequest{Read: 1, Delivered: 1}))
		assert.Equal(t, [2]uint64{3, 3}, of())

		// Frames are not answered, and no more believed.
		r := openRaw(t, h.net.Dial(h.srv, "mallory", transport.Config{}))
		mark := func(room string, epoch, read, delivered uint64) {
			r.write(frame(0x1f, &chatpb.Mark{Room: []byte(room), Epoch: epoch, Read: read, Delivered: delivered}))
		}
		mark("lobby", 1, 1, 1)
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		time.Sleep(2 * time.Second)
		assert.NotContains(t, marksOf(t, alice.session, "lobby"), "mallory", "who is not in the room has no marks in it by that way")
		mark("lobby", 1, 4, 0)
		time.Sleep(2 * time.Second)
		mark("lobby", 2, 1, 0)
		mark("nowhere", 1, 1, 1)
		time.Sleep(2 * time.Second)
		assert.NotContains(t, marksOf(t, alice.session, "lobby"), "mallory")
		mark("lobby", 1, 1, 2)
		mark("lobby", 1, 0, 3)
		time.Sleep(2 * time.Second)
		assert.Equal(t, [2]uint64{1, 3}, marksOf(t, alice.session, "lobby")["mallory"])
	})
}

// M124: what a client says of a room and what is said by the method, in the newest epoch, are one.
func TestM124AMarkOfTheNewestEpochTakesNothingAway(t *testing.T) {
	log := chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		for i := range 3 {
			alice.say("lobby", fmt.Sprint(i))
		}
		r := openRaw(t, h.net.Dial(h.srv, "bob", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		r.write(frame(0x1f, &chatpb.Mark{Room: []byte("lobby"), Epoch: 1, Read: 3}))
		_, err := chat.Raise.Call(t.Context(), h.net.Dial(h.srv, "bob", transport.Config{}), &chat.RaiseRequest{Room: "lobby", Delivered: 1})
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		assert.Equal(t, [2]uint64{3, 3}, marksOf(t, alice.session, "lobby")["bob"])
	})
}

// C8: a room that one may not read is none.
func TestC8MarksDoNotTellOfRooms(t *testing.T) {
	cfg := chat.Config{Authorize: func(who certs.ID, _ string, _ chat.Verb) error {
		if who.Name == "mallory" {
			return errBroken
		}
		return nil
	}}
	bubble(t, cfg, func(t *testing.T, h *house) {
		h.join("alice", "secret").say("secret", "x")
		mallory := h.net.Dial(h.srv, "mallory", transport.Config{})
		for _, room := range []string{"secret", "nowhere"} {
			_, marks := chat.Marks.Call(t.Context(), mallory, &chat.MarksRequest{Room: room})
			_, raise := chat.Raise.Call(t.Context(), mallory, &chat.RaiseRequest{Room: room, Read: 1})
			for _, err := range []error{marks, raise} {
				assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
				assert.ErrorContains(t, err, "there is no such room")
			}
		}
	})
}

func TestALogWithoutMarksIsUnimplemented(t *testing.T) {
	bubble(t, chat.Config{Log: &faultyLog{Log: newLog()}}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		_, marks := chat.Marks.Call(t.Context(), alice.session, &chat.MarksRequest{Room: "lobby"})
		_, raise := chat.Raise.Call(t.Context(), alice.session, &chat.RaiseRequest{Room: "lobby", Read: 1})
		for _, err := range []error{marks, raise} {
			assert.Equal(t, rpc.Unimplemented, rpc.CodeOf(err))
		}
		time.Sleep(3 * time.Second)
		expectNothing[*chat.Marked](alice)
	})
}

// However many rise, and however often, members are told once a second, all together.
func TestM125MarksAreShownOnceASecond(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		others := []*user{h.join("bob", "lobby"), h.join("carol", "lobby")}
		const n = 100
		for range n { // over ten seconds
			pos := alice.say("lobby", "x").Position
			for _, u := range others {
				_, err := chat.Raise.Call(t.Context(), u.session, &chat.RaiseRequest{Room: "lobby", Read: pos.Seq})
				require.NoError(t, err)
			}
			time.Sleep(100*time.Millisecond - 3*rtt)
		}
		time.Sleep(3 * time.Second)
		events := all[*chat.Marked](alice)
		assert.LessOrEqual(t, len(events), 14)
		assert.GreaterOrEqual(t, len(events), 8)
		assert.Equal(t, []chat.Mark{{Who: "bob", Read: n, Delivered: n}, {Who: "carol", Read: n, Delivered: n}}, slices.DeleteFunc(slices.Concat(events[len(events)-2].Marks, events[len(events)-1].Marks), func(m chat.Mark) bool { return m.Read < n }))
	})
}

// In a big room marks are kept, and not shown; when it is small again, members are told that there were.
func TestM125BigRoomsShowNoMarks(t *testing.T) {
	bigRoom(t, chat.Config{}, func(t *testing.T, h *house) {
		h.clients.NoDelivered = true
		alice := h.join("alice", "lobby")
		var crowd []*user
		for i := range 5 {
			crowd = append(crowd, h.join(fmt.Sprint("user", i), "lobby"))
		}
		pos := alice.say("lobby", "x").Position
		crowd[0].MarkRead("lobby", pos)
		time.Sleep(5 * time.Second)
		assert.Empty(t, all[*chat.Marked](alice))
		assert.Equal(t, map[string][2]uint64{"user0": {1, 1}}, marksOf(t, alice.session, "lobby"))
		for _, u := range crowd[1:] {
			u.release()
		}
		time.Sleep(2 * time.Second)
		alice.MarkRead("lobby", pos)
		assert.Equal(t, &chat.Marked{Room: "lobby", Marks: []chat.Mark{{Who: "alice", Read: 1, Delivered: 1}}, Stale: true}, expect[*chat.Marked](alice, nil))
	})
}

// C7: what a snapshot has, and what events say behind it, the higher of each, is what a fresh snapshot has; whoever was so slow that events
// were skipped is told to take another.
func TestC7MarksAndEventsAreTheMarks(t *testing.T) {
	for seed := range uint64(5) {
		bubble(t, chat.Config{}, func(t *testing.T, h *house) {
			random := rand.New(rand.NewPCG(seed, 1))
			var users []*user
			for i := range 4 {
				users = append(users, h.join(fmt.Sprint("user", i), "lobby"))
			}
			slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
			require.NoError(t, slow.Join(t.Context(), "lobby", chat.Live()))
			known := make(map[*user]map[string][2]uint64)
			from := make(map[*user]int) // of its events: the first behind the snapshot
			users[0].say("lobby", "x")
			for _, u := range users {
				u.mu.Lock()
				from[u] = len(u.events)
				u.mu.Unlock()
				known[u] = marksOf(t, u.session, "lobby")
			}
			for range 60 {
				u := users[random.IntN(len(users))]
				switch random.IntN(3) {
				case 0:
					u.say("lobby", strings.Repeat("x", random.IntN(60<<10)+1))
				case 1:
					if had := all[*chat.Message](u); len(had) > 0 {
						u.MarkRead("lobby", had[random.IntN(len(had))].Position)
					}
				case 2:
					time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
				}
			}
			for range 12 { // more than a ring has
				users[0].say("lobby", strings.Repeat("x", 40<<10))
			}
			time.Sleep(10 * time.Second)
			go slow.collect()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			fresh := marksOf(t, users[0].session, "lobby")
			assert.Len(t, fresh, 5)
			for _, u := range users {
				got := maps.Clone(known[u])
				u.mu.Lock()
				for _, e := range u.events[from[u]:] {
					if e, ok := e.(*chat.Marked); ok {
						assert.False(t, e.Stale)
						for _, m := range e.Marks {
							got[m.Who] = [2]uint64{max(got[m.Who][0], m.Read), max(got[m.Who][1], m.Delivered)}
						}
					}
				}
				u.mu.Unlock()
				assert.Equal(t, fresh, got, "%s, seed %d", u.name, seed)
			}
			stale := slices.ContainsFunc(all[*chat.Marked](slow), func(e *chat.Marked) bool { return e.Stale })
			assert.True(t, stale, "seed %d", seed)
		})
	}
}

// What was said before a break, and may not have arrived, is said again behind it.
func TestMarksAreSaidAgainAfterABreak(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		h.clients.NoDelivered = true
		alice, bob := h.rover("alice", "lobby"), h.join("bob", "lobby")
		pos := bob.say("lobby", "x").Position
		expect[*chat.Message](alice.user, nil)
		alice.cut(false)
		alice.MarkRead("lobby", pos)
		expect[*chat.Resumed](alice.user, nil)
		assert.Empty(t, all[*chat.Marked](bob))
		assert.Equal(t, []chat.Mark{{Who: "alice", Read: 1, Delivered: 1}}, expect[*chat.Marked](bob, nil).Marks)
	})
}
