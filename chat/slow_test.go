package chat_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

var kilobyte = strings.Repeat("x", 1024)

// publish has u publish n messages of a kilobyte, each after the one before.
func (u *user) publish(room string, n int) {
	u.t.Helper()
	for range n {
		_, err := u.Publish(context.Background(), room, kilobyte)
		require.NoError(u.t, err)
	}
	u.waitFor("acknowledgements", func([]chat.Event, error) bool { return u.Unacknowledged() == 0 })
}

// lines reads until the room's record last has come, and returns the seqs in their order.
func (u *user) lines(last uint64) (seqs []uint64) {
	u.t.Helper()
	for {
		e, err := u.Next(u.t.Context())
		require.NoError(u.t, err)
		u.events = append(u.events, e)
		if m, ok := e.(*chat.Message); ok {
			seqs = append(seqs, m.Position.Seq)
			if m.Position.Seq == last {
				return seqs
			}
		}
	}
}

func upTo(first, last uint64) (seqs []uint64) {
	for ; first <= last; first++ {
		seqs = append(seqs, first)
	}
	return seqs
}

func TestCreditBoundsWhatIsOutstanding(t *testing.T) { // S5: bounds never depend on credit that a peer grants
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		r := openRaw(t, h.net.Dial(h.srv, "mallory", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		alice.publish("lobby", 1000)
		var got, confirmed uint64
		readAll := func() {
			// It reads all that QUIC takes, and QUIC would take more.
			for {
				r.str.SetReadDeadline(time.Now().Add(2 * time.Second))
				_, body, err := r.str.ReadFrame(anyFrame)
				if err != nil {
					break
				}
				got += uint64(len(body))
			}
			assert.LessOrEqual(t, got-confirmed, uint64(chat.CreditWindow))
		}
		readAll()
		assert.Greater(t, got, uint64(chat.CreditWindow)-2048)
		_, writers := h.chat.Load()
		assert.Zero(t, writers, "who waits for credit costs no goroutine")
		for i := range 3 {
			confirmed = got
			r.write(frame(0x07, &chatpb.Received{Bytes: confirmed}))
			before := got
			readAll()
			assert.Greater(t, got, before, "round %d", i)
		}
	})
}

func TestC6AStalledReaderHoldsUpNobody(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		var stalled []*user
		for i := range 5 {
			u := h.client(h.net.Dial(h.srv, fmt.Sprintf("stalled%d", i), transport.Config{}), "")
			require.NoError(t, u.Join(t.Context(), "lobby", chat.Live()))
			stalled = append(stalled, u)
		}
		time.Sleep(time.Second)
		const lines = 2000 // 2 MB, more than the ring, the credit and the windows have
		for range lines / 100 {
			alice.publish("lobby", 100)
			replies, writers := h.chat.Load()
			assert.Zero(t, replies)
			assert.LessOrEqual(t, writers, 7)
		}
		bob.waitFor("all lines", func([]chat.Event, error) bool { return len(bob.events) > 0 && lastSeq(bob.events) == lines })
		time.Sleep(time.Second)
		replies, writers := h.chat.Load()
		assert.Zero(t, replies, "nothing waits for who does not read")
		assert.Zero(t, writers, "not even a goroutine")
		// Who wakes up gets every line, once, from the log (C4).
		for _, u := range stalled {
			assert.Equal(t, upTo(1, lines), u.lines(lines))
		}
	})
}

func lastSeq(events []chat.Event) uint64 {
	for _, e := range slices.Backward(events) {
		if m, ok := e.(*chat.Message); ok {
			return m.Position.Seq
		}
	}
	return 0
}

func TestC6AReaderThatStopsInTheMiddleOfAReplay(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		const backlog = 1024
		alice.publish("lobby", backlog)
		slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.After(chat.Position{})))
		assert.Equal(t, upTo(1, 300), slow.lines(300))
		for range 20 {
			sent := alice.say("lobby", "live")
			m := expect(bob, func(m *chat.Message) bool { return m.Position == sent.Position })
			assert.Equal(t, "live", m.Text)
		}
		// Its own acknowledgement does not wait for the rest of the replay.
		id, err := slow.Publish(t.Context(), "lobby", "out of the middle")
		require.NoError(t, err)
		var replayed int
		for {
			e, err := slow.Next(t.Context())
			require.NoError(t, err)
			if s, ok := e.(*chat.Sent); ok {
				assert.Equal(t, id, s.ID)
				break
			}
			if _, ok := e.(*chat.Message); ok {
				replayed++
			}
		}
		assert.Less(t, replayed, 400)
		started := time.Now()
		assert.Equal(t, upTo(uint64(301+replayed), backlog+20), slow.lines(backlog+20))
		assert.Less(t, time.Since(started), time.Second, "RECEIVED does not wait for its timer")
		// It is at the head now, and live.
		for range 3 {
			started := time.Now()
			sent := bob.say("lobby", "live")
			assert.Equal(t, []uint64{sent.Position.Seq}, slow.lines(sent.Position.Seq))
			assert.Less(t, time.Since(started), 3*rtt)
		}
	})
}

func TestMembersAfterSkippedPresence(t *testing.T) { // C7
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.Live()))
		e, err := slow.Next(t.Context())
		require.NoError(t, err)
		members := e.(*chat.Joined).Members
		alice.publish("lobby", 600) // the credit is used up
		h.join("bob", "lobby").release()
		carol := h.join("carol", "lobby")
		carol.session.Abort(transport.Aborted, "")
		h.join("dave", "lobby")
		alice.publish("lobby", 600) // and all that has left the ring
		h.join("erin", "lobby")
		time.Sleep(time.Second)
		assert.Equal(t, upTo(1, 1200), slow.lines(1200))
		sent := alice.say("lobby", "end")
		slow.lines(sent.Position.Seq)
		assert.Len(t, all[*chat.Members](slow), 1)
		assert.Equal(t, []string{"alice", "dave", "erin", "slow"}, replay(members, slow))
	})
}

func TestNoMembersWhenNoPresenceWasSkipped(t *testing.T) { // C7
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.Live()))
		e, err := slow.Next(t.Context())
		require.NoError(t, err)
		members := e.(*chat.Joined).Members
		h.join("bob", "lobby")
		slow.lines(alice.say("lobby", "after bob").Position.Seq)
		alice.publish("lobby", 1000)
		slow.lines(1001)
		sent := alice.say("lobby", "end")
		slow.lines(sent.Position.Seq)
		assert.Empty(t, all[*chat.Members](slow))
		assert.Equal(t, []string{"alice", "bob", "slow"}, replay(members, slow))
	})
}

func TestAReaderThatTheLogHasOvertakenIsTold(t *testing.T) { // C4
	log := chat.NewMemoryLog(chat.MemoryLogConfig{MaxRoomRecords: 100, Epoch: 1})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.Live()))
		_, err := slow.Next(t.Context())
		require.NoError(t, err)
		for range 20 {
			alice.publish("lobby", 50) // so that it is the credit which ends first, and not the log
		}
		var last uint64
		for {
			e, err := slow.Next(t.Context())
			require.NoError(t, err)
			if m, ok := e.(*chat.Message); ok {
				last = m.Position.Seq
			}
			if r, ok := e.(*chat.Rejected); ok {
				assert.Equal(t, chat.RequestJoin, r.Request)
				assert.Equal(t, rpc.OutOfRange, r.Code)
				assert.Equal(t, uint64(901), r.First)
				assert.Equal(t, uint64(1000), r.Head)
				break
			}
		}
		assert.Less(t, last, uint64(900))
		alice.expectPresence("slow", chat.PresenceJoined)
		alice.expectPresence("slow", chat.PresenceLeft)
		// It may come back, knowing what it has missed.
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.Last(100)))
		assert.Equal(t, upTo(901, 1000), slow.lines(1000))
	})
}

func TestALogThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.publish("lobby", 1000)
		log.set(nil, nil, func() error { return errBroken })
		bob := h.joinOn(h.net.Dial(h.srv, "bob", transport.Config{}), "bob")
		bob.join("lobby", chat.After(chat.Position{}))
		time.Sleep(10 * time.Second)
		assert.Empty(t, texts(bob))
		log.set(nil, nil, nil)
		bob.waitFor("the replay", func(events []chat.Event, _ error) bool { return lastSeq(events) == 1000 })
	})
}

func TestAClientThatPublishesAndNeverReadsIsAborted(t *testing.T) { // S5
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "attic")
		session := h.net.Dial(h.srv, "mallory", transport.Config{})
		r := openRaw(t, session)
		r.write(joinFrame("lobby"))
		most := 0
		for i := 0; session.Context().Err() == nil && i < 100_000; i++ {
			_, _ = r.str.Write(publishFrame("lobby", fmt.Sprint(i), "x"))
			if i%1000 == 0 {
				replies, _ := h.chat.Load()
				most = max(most, replies)
			}
		}
		assert.Equal(t, transport.ExcessiveLoad, code(session.Wait(t.Context())))
		assert.LessOrEqual(t, most, 4097)
		assert.Equal(t, uint64(1), h.chat.Stats().Unread)
		bob.say("attic", "unharmed")
	})
}

func TestRoomsEndWithTheirLastMember(t *testing.T) { // S5
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "a", "b"), h.join("bob", "b", "c")
		assert.Equal(t, 3, h.chat.Stats().Rooms)
		alice.say("a", "kept")
		alice.release()
		synctest.Wait()
		assert.Equal(t, 2, h.chat.Stats().Rooms)
		bob.session.Abort(transport.Aborted, "")
		time.Sleep(time.Second)
		assert.Equal(t, 2, h.chat.Stats().Rooms, "held")
		time.Sleep(time.Minute)
		assert.Equal(t, 0, h.chat.Stats().Rooms)
		carol := h.joinOn(h.net.Dial(h.srv, "carol", transport.Config{}), "carol")
		assert.Equal(t, uint64(1), carol.join("a", chat.Last(1)).Head, "the log stays")
		for i := range 50 { // that nobody may join does not count
			require.NoError(t, carol.Join(t.Context(), fmt.Sprint(i), chat.After(chat.Position{Epoch: 1, Seq: 9})))
			expect[*chat.Rejected](carol, nil)
		}
		synctest.Wait()
		assert.Equal(t, 1, h.chat.Stats().Rooms)
	})
}

func TestCloseFlushesWhatTheCreditAllows(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.publish("lobby", 1000)
		slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.Last(1000)))
		require.NoError(t, slow.Close())
		var seqs []uint64
		for {
			e, err := slow.Next(t.Context())
			if err != nil {
				assert.ErrorIs(t, err, io.EOF)
				break
			}
			if m, ok := e.(*chat.Message); ok {
				seqs = append(seqs, m.Position.Seq)
			}
		}
		assert.Greater(t, len(seqs), 150)
		assert.Equal(t, upTo(1, uint64(len(seqs))), seqs)
	})
}
