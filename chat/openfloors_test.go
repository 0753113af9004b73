package chat_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/transport"
)

// transitions are what the log has of the floor of a room, without what servers ask each other.
func transitions(t testing.TB, log chat.Log, room string) (all []floor.Transition) {
	t.Helper()
	records, err := log.Read(context.Background(), room, 1, 64<<20)
	require.NoError(t, err)
	for _, rec := range records {
		if rec.Kind == chat.KindFloor {
			tr, err := floor.DecodeTransition(rec.Body)
			require.NoError(t, err)
			all = append(all, tr)
		}
	}
	return all
}

// lastOf is how a floor's records end: the last transition of each request.
func lastOf(t testing.TB, log chat.Log, room string) map[uint64]string {
	t.Helper()
	last := make(map[uint64]string)
	for _, tr := range transitions(t, log, room) {
		last[tr.Request] = tr.To.String() + " " + tr.Why.String()
	}
	return last
}

// unlistedLog is a log whose list of rooms fails a number of times.
type unlistedLog struct {
	chat.Log
	fails atomic.Int32
	calls atomic.Int32
}

func (l *unlistedLog) Rooms(ctx context.Context, after string, n int) ([]chat.RoomState, error) {
	l.calls.Add(1)
	if l.fails.Add(-1) >= 0 {
		return nil, errBroken
	}
	return l.Log.Rooms(ctx, after, n)
}

// M145: who had the floor, or waited for it, when the server ended, and never comes back, loses it after the grace, without
// anybody's looking at the room; and the room is not kept for longer.
func TestM145AnOpenFloorEndsAfterARestartThoughNobodyComes(t *testing.T) {
	log := &unlistedLog{Log: newLog()}
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby", "job", "quiet"), h.join("bob", "lobby")
		alice.requestFloor("lobby")
		bob.requestFloor("lobby")
		alice.requestFloor("job")
		alice.requestFloor("quiet")
		_, err := chat.ReleaseFloor.Call(t.Context(), alice.session, &chat.FloorRelease{Room: "quiet"})
		require.NoError(t, err)
		h.net.Kill(h.srv)
		h.chat.Close()

		log.fails.Store(2)
		next := chat.NewServer(chat.Config{Log: log, MaxRooms: 1}) // one after the other, then
		defer next.Close()
		synctest.Wait()
		assert.Zero(t, next.Stats().Rooms)
		time.Sleep(25 * time.Second) // and two that failed
		rooms, _ := next.Refs()
		assert.Equal(t, map[string]int{"job": 1}, rooms, "a floor that nobody wants is not loaded")
		time.Sleep(2 * time.Minute)
		assert.Equal(t, map[uint64]string{1: "revoked lost"}, lastOf(t, log, "job"))
		assert.Equal(t, map[uint64]string{1: "revoked lost", 2: "cancelled lost"}, lastOf(t, log, "lobby"))
		assert.Zero(t, next.Stats().Rooms)
		_, sessions := next.Refs()
		assert.Zero(t, sessions)
	})
}

// M145: pages of rooms, and those that have nothing of the kind.
func TestM145OpenFloorsAreFoundAmongManyRooms(t *testing.T) {
	log := &unlistedLog{Log: newLog()}
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice := h.join("alice", "zoo", "aisle")
		alice.requestFloor("zoo")
		alice.requestFloor("aisle")
		h.net.Kill(h.srv)
		h.chat.Close()
		for i := range 600 {
			name := "room" + string(rune('a'+i/26)) + string(rune('a'+i%26))
			snapshot := [][]byte{nil, []byte(`{"settings":{"topic":"x"}}`), []byte(`{"settings":{},"floor":"AAAA"}`), []byte(`garbage`)}[i%4]
			_, err := log.Append(t.Context(), name, 0, []chat.Entry{{From: "x", ID: "1"}}, snapshot)
			require.NoError(t, err)
		}
		before := log.calls.Load()
		next := chat.NewServer(chat.Config{Log: log})
		defer next.Close()
		synctest.Wait()
		rooms, _ := next.Refs()
		assert.Equal(t, map[string]int{"aisle": 1, "zoo": 1}, rooms)
		assert.EqualValues(t, 3, log.calls.Load()-before)
		time.Sleep(time.Minute)
		assert.Equal(t, map[uint64]string{1: "revoked lost"}, lastOf(t, log, "zoo"))
		rooms, _ = next.Refs()
		assert.Empty(t, rooms)
	})
}

// M137, M145: the server that is there next grants the floor to who waits for it and has come back, and knows of the room already.
func TestM145WhoComesBackIsGrantedWhatTheHolderLost(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice := h.join("alice", "job")
		alice.say("job", "x")
		session := h.net.Dial(h.srv, "bob", transport.Config{NewPacketConn: func() (net.PacketConn, error) { return h.net.Conn(), nil }})
		alice.requestFloor("job")
		got := make(chan *chat.Lease, 1)
		go func() {
			lease, err := chat.Acquire(t.Context(), session, "job", chat.LeaseConfig{Producer: chat.Producer{9}})
			assert.NoError(t, err)
			got <- lease
		}()
		synctest.Wait()
		time.Sleep(time.Second)
		alice.session.Abort(transport.Aborted, "crash")
		began := time.Now()
		h.restart(log)
		lease := <-got
		assert.EqualValues(t, 2, lease.Grant())
		assert.InDelta(t, 30, time.Since(began).Seconds(), 1, "the grace began with the server")
		assert.Equal(t, map[uint64]string{1: "revoked lost", 2: "granted turn"}, lastOf(t, log, "job"))
		require.NoError(t, lease.Release(t.Context()))
	})
}
