package chat_test

import (
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Every line is counted once where it is appended, and once for each member it is written to.
func TestLinesAreCounted(t *testing.T) {
	var mu sync.Mutex // guards commits
	var commits []chat.CommitStats
	cfg := chat.Config{ObserveCommit: func(st chat.CommitStats) {
		mu.Lock()
		defer mu.Unlock()
		commits = append(commits, st)
	}}
	bubble(t, cfg, func(t *testing.T, h *house) {
		require.Equal(t, chat.Stats{Rejected: map[chat.Rejection]uint64{}, FloorChanges: map[chat.FloorChange]uint64{}}, h.chat.Stats())
		alice, bob := h.join("alice", "lobby", "attic"), h.join("bob", "lobby")
		for i := range 10 {
			alice.say("lobby", strconv.Itoa(i))
		}
		alice.say("attic", "alone")
		bob.waitFor("the last line", func([]chat.Event, error) bool { return lastSeq(bob.events) == 10 })
		late := h.client(h.net.Dial(h.srv, "late", transport.Config{}), "late")
		require.NoError(t, late.Join(t.Context(), "lobby", chat.Last(4))) // from the log
		require.Equal(t, upTo(7, 10), late.lines(10))
		r := openRaw(t, h.net.Dial(h.srv, "raw", transport.Config{}))
		twice := publishFrame("lobby", "twice", "x")
		r.write(joinFrame("lobby"), twice, publishFrame("lobby", "too long", string(make([]byte, 64<<10+1))), publishFrame("nowhere", "1", "x"), frame(0x03, &chatpb.Leave{Room: []byte("nowhere")}))
		time.Sleep(time.Second)
		r.write(twice)
		time.Sleep(time.Second)
		synctest.Wait()

		st := h.chat.Stats()
		require.Equal(t, uint64(12), st.Published)
		require.Equal(t, uint64(1), st.Duplicates)
		require.Equal(t, uint64(10*2+1+4+4), st.Delivered)
		require.Positive(t, st.DeliveredBytes)
		require.Equal(t, map[chat.Rejection]uint64{
			{Request: chat.RequestPublish, Code: rpc.InvalidArgument}:    1,
			{Request: chat.RequestPublish, Code: rpc.FailedPrecondition}: 1,
			{Request: chat.RequestLeave, Code: rpc.FailedPrecondition}:   1,
		}, st.Rejected)
		require.Equal(t, [6]int{4, 2, 5, 0, 0, 0}, [6]int{st.Streams, st.Rooms, st.Members, st.Held, st.Lagging, st.Stalled})
		require.Zero(t, st.CatchUps, "who joins with old lines has not fallen behind")
		require.Equal(t, []chat.RoomStats{
			{Name: "attic", Members: 1, Sessions: 1, Head: 1},
			{Name: "lobby", Members: 4, Sessions: 4, Head: 11},
		}, h.chat.Rooms())
		lines := 0
		mu.Lock()
		for _, c := range commits {
			lines += c.Lines
			require.False(t, c.Failed)
		}
		mu.Unlock()
		require.Equal(t, 13, lines, "the duplicate was asked for, too")

		alice.release()
		bob.session.Abort(transport.Aborted, "") // and is held
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []chat.RoomStats{{Name: "lobby", Members: 2, Sessions: 3, Head: 11, Held: 1}}, h.chat.Rooms())
		require.Equal(t, 2, h.chat.Stats().Streams)
		require.Equal(t, 1, h.chat.Stats().Held)
		require.Equal(t, uint64(1), h.chat.Stats().Vanished)
		time.Sleep(time.Minute) // the hold is over
		synctest.Wait()
		require.Zero(t, h.chat.Stats().Held)
		require.Equal(t, uint64(1), h.chat.Stats().Vanished)
	})
}

// A log that fails is seen where it is asked.
func TestFailedCommitsAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		commits := make(chan chat.CommitStats, 10)
		h := newHouse(t, chat.Config{Log: log, ObserveCommit: func(st chat.CommitStats) { commits <- st }})
		alice := h.join("alice", "lobby")
		log.set(func() error { time.Sleep(time.Second); return errBroken }, nil, nil)
		_, err := alice.Publish(t.Context(), "lobby", "x")
		require.NoError(t, err)
		require.Equal(t, chat.CommitStats{Lines: 1, Duration: time.Second, Failed: true}, <-commits)
		expect[*chat.Rejected](alice, nil)
		require.Zero(t, h.chat.Stats().Published)
	})
}

// Who stops reading is behind until it has read everything, or is gone; nothing stays in the count.
func TestLaggingRisesAndFalls(t *testing.T) {
	type endings map[string]func(t *testing.T, u *user)
	for name, end := range (endings{
		"it reads": func(t *testing.T, u *user) { t.Helper(); require.Equal(t, upTo(1, 1000), u.lines(1000)) },
		"it leaves": func(t *testing.T, u *user) {
			t.Helper()
			require.NoError(t, u.Leave(t.Context(), "lobby"))
		},
		"it releases its session": func(t *testing.T, u *user) {
			t.Helper()
			go u.collect() // or the release would wait for who does not read
			require.NoError(t, u.session.Release(t.Context()))
		},
		"its session is aborted": func(_ *testing.T, u *user) { u.session.Abort(transport.Aborted, "") },
		"a newer stream replaces its": func(t *testing.T, u *user) {
			t.Helper()
			openRaw(t, u.session).write(joinFrame("attic"))
		},
	}) {
		t.Run(name, func(t *testing.T) {
			bubble(t, chat.Config{}, func(t *testing.T, h *house) {
				alice := h.join("alice", "lobby")
				slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
				require.NoError(t, slow.Join(t.Context(), "lobby", chat.Live()))
				alice.publish("lobby", 100) // less than the credit
				time.Sleep(time.Second)
				require.Zero(t, h.chat.Stats().Lagging)
				alice.publish("lobby", 400) // more, but the ring has some of it
				time.Sleep(time.Second)
				require.Equal(t, 1, h.chat.Stats().Lagging)
				require.Equal(t, 1, h.chat.Stats().Stalled)
				alice.publish("lobby", 500)
				time.Sleep(time.Second)
				require.Equal(t, 1, h.chat.Stats().Lagging)
				require.Equal(t, [2]int{1, 1}, [2]int{h.chat.Rooms()[0].Lagging, h.chat.Rooms()[0].Stalled})
				require.Zero(t, h.chat.Stats().CatchUps, "nothing was read for it yet")
				end(t, slow)
				time.Sleep(time.Second)
				synctest.Wait()
				require.Zero(t, h.chat.Stats().Lagging)
				require.Zero(t, h.chat.Stats().Stalled)
				if name == "it reads" {
					require.Equal(t, uint64(1), h.chat.Stats().CatchUps)
				}
			})
		})
	}
}

// What was not delivered has a reason, and a count.
func TestDropsAreCounted(t *testing.T) {
	bubble(t, chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{MaxRoomRecords: 300})}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		slow := h.client(h.net.Dial(h.srv, "slow", transport.Config{}), "slow")
		require.NoError(t, slow.Join(t.Context(), "lobby", chat.Live()))
		for range 10 {
			alice.publish("lobby", 100)
		}
		go slow.collect()
		rejected := expect(slow, func(e *chat.Rejected) bool { return true })
		require.Equal(t, rpc.OutOfRange, rejected.Code)
		st := h.chat.Stats()
		require.Equal(t, uint64(1), st.Trimmed)
		require.Zero(t, st.Evicted)
		require.Empty(t, st.Rejected, "nobody asked")
		require.Zero(t, st.Lagging)

		mallory := h.net.Dial(h.srv, "mallory", transport.Config{})
		openRaw(t, mallory).write(frame(0x09, &chatpb.Joined{}))
		require.Equal(t, transport.Protocol, code(mallory.Wait(t.Context())))
		require.Equal(t, uint64(1), h.chat.Stats().Malformed)
		require.Zero(t, h.chat.Stats().Unread)
	})
}
