package chat_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/transport"
)

// setPoint sets a synchronization point that waits for members.
func (u *user) setPoint(room, name string, waitFor ...string) *chat.ChangeResponse {
	u.t.Helper()
	res, err := chat.SetSyncPoint.Call(context.Background(), u.session, &chat.SetSyncPointRequest{Room: room, Name: name, WaitFor: waitFor, Within: 600})
	require.NoError(u.t, err)
	return res
}

// notFinished releases the user's session, and expects a refusal for that reason.
func (u *user) notFinished(reason string) {
	u.t.Helper()
	err := u.session.Release(context.Background())
	var refused *transport.NotFinishedError
	require.ErrorAs(u.t, err, &refused)
	assert.Equal(u.t, reason, refused.Reason)
}

// M140: who has set a point that is not confirmed, or is waited for, is not released while it is in the room, and all goes on as before; others
// are, and so is everyone who is not in the room, or not alone.
func TestM140AnUnconfirmedPointRefusesARelease(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		carol, dave := h.join("carol", "ops"), h.join("dave", "ops")
		alice.expectPresenceOf("dave", chat.PresenceJoined)
		res := alice.setPoint("ops", "handover", "bob", "erin", "dave")
		const mine = `ops: synchronization point "handover" at 4 waits for your checkpoint: read as far, or force the release`
		bob.notFinished(mine)
		bob.notFinished(mine)
		alice.notFinished(`ops: synchronization point "handover" at 4, which you have set, waits for bob and 2 more: wait, abandon it, or force the release`)
		bob.say("ops", "still here")
		assert.Equal(t, "still here", expect(alice, func(e *chat.Message) bool { return e.Text != "" }).Text)
		expectNothing[*chat.Presence](alice) // nobody has gone, not even for a moment

		carol.release()
		require.NoError(t, h.net.Dial(h.srv, "alice", transport.Config{}).Release(t.Context()), "it is not in the room")
		require.NoError(t, h.net.Dial(h.srv, "erin", transport.Config{}).Release(t.Context()), "nor is she")
		other := h.join("lobby-er", "lobby")
		other.release()
		require.NoError(t, dave.Leave(t.Context(), "ops"))
		expect[*chat.Left](dave, nil)
		dave.release()

		second := h.join("bob", "ops")
		bob.release()
		second.notFinished(mine)
		second.MarkRead("ops", chat.Position{Epoch: res.Epoch, Seq: res.Seq})
		time.Sleep(1500 * time.Millisecond) // it has been said, and is about to be kept: that counts
		second.release()
		alice.notFinished(`ops: synchronization point "handover" at 4, which you have set, waits for dave and 1 more: wait, abandon it, or force the release`)
		_, err := chat.AbandonSyncPoint.Call(t.Context(), alice.session, &chat.AbandonSyncPointRequest{Room: "ops"})
		require.NoError(t, err)
		alice.release()
	})
}

// M140: a point that is confirmed, or whose time is up, holds nobody back any more.
func TestM140AConfirmedPointRefusesNothing(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		res := alice.setPoint("ops", "one", "bob")
		bob.notFinished(`ops: synchronization point "one" at 4 waits for your checkpoint: read as far, or force the release`)
		_, err := chat.Raise.Call(t.Context(), bob.session, &chat.RaiseRequest{Room: "ops", Epoch: res.Epoch, Read: res.Seq})
		require.NoError(t, err)
		bob.release()
		expect(alice, func(e *chat.SyncPoint) bool { return e.Confirmed })
		alice.setPoint("ops", "two", "bob")
		alice.notFinished(`ops: synchronization point "two" at 6, which you have set, waits for bob: wait, abandon it, or force the release`)
		time.Sleep(601 * time.Second)
		alice.release()
	})
}

// M141, S2: who forces the release is not refused, and what it has said before arrives.
func TestM141AForcedReleaseLosesNothing(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		alice.setPoint("ops", "handover", "bob")
		_, err := bob.Publish(t.Context(), "ops", "last words")
		require.NoError(t, err)
		require.NoError(t, bob.session.Close())
		require.ErrorIs(t, bob.ended(), io.EOF)
		expect(alice, func(e *chat.Message) bool { return e.Text == "last words" })
		expect(alice, func(e *chat.Presence) bool { return e.Who == "bob" && e.State == chat.PresenceLeft })
	})
}

// M18, M140: a server that goes refuses nobody, from before its clients learn of it.
func TestM18AServerThatDrainsRefusesNoRelease(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		alice.setPoint("ops", "handover", "bob")
		h.chat.Drain()
		bob.release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, h.srv.Shutdown(ctx))
		expect(alice, func(e *chat.Detached) bool { return e.Err.Code == transport.Drained })
		alice.session.Abort(transport.Aborted, "")
	})
}

// M140: the point is the room's, also for the next server of the log, and a session that was lost and is back.
func TestM140APointOutlivesTheServer(t *testing.T) {
	cfg := byAlice()
	cfg.Log = newLog()
	bubble(t, cfg, func(t *testing.T, h *house) {
		alice, _ := chaired(t, h, "ops")
		bob := h.rover("bob", "ops")
		alice.setPoint("ops", "handover", "bob")
		addr := h.net.Kill(h.srv)
		h.chat.Close()
		h.startAt(addr, cfg.Log)
		expect[*chat.Resumed](bob.user, nil)
		expect[*chat.Members](bob.user, nil)
		var refused *transport.NotFinishedError
		require.ErrorAs(t, bob.session.Release(t.Context()), &refused)
		bob.cut(true)
		time.Sleep(20 * time.Second)
		h.net.Drop(nil)
		expect[*chat.Resumed](bob.user, nil)
		expect[*chat.Members](bob.user, nil)
		require.ErrorAs(t, bob.session.Release(t.Context()), &refused)
		require.NoError(t, bob.session.Close())
	})
}

// M140: the reason fits into what is sent of it, whatever the names, and says last what can be done.
func TestM140TheReasonFits(t *testing.T) {
	cfg := byAlice()
	bubble(t, cfg, func(t *testing.T, h *house) {
		room := strings.Repeat("é", 64)
		alice, bob := chaired(t, h, room)
		alice.setPoint(room, strings.Repeat("語", 42), "bob")
		cut := strings.Repeat("é", 14) + "…"
		bob.notFinished(cut + `: synchronization point "` + strings.Repeat("語", 9) + `…" at 4 waits for your checkpoint: read as far, or force the release`)
		require.NoError(t, bob.Join(t.Context(), "ops", chat.Live()))
		expect(bob, func(e *chat.Joined) bool { return e.Room == "ops" })
		bob.say("ops", "there is such a room")
		alice.setPoint("ops", "x", "bob")
		bob.notFinished(`ops: synchronization point "x" at 2 waits for your checkpoint: read as far, or force the release (and 1 more)`)
		require.NoError(t, bob.session.Close())
		require.NoError(t, alice.session.Close())
	})
}

// A slowLog takes its time to append.
type slowLog struct {
	*chat.MemoryLog

	takes atomic.Int64 // a time.Duration
}

func (l *slowLog) Append(ctx context.Context, room string, head uint64, entries []chat.Entry, snapshot []byte) ([]chat.Result, error) {
	time.Sleep(time.Duration(l.takes.Load()))
	return l.MemoryLog.Append(ctx, room, head, entries, snapshot)
}

// M143, S2: when a session's client learns of its release, what it said under its grant, and behind that the end of the grant, are in the log:
// whether it was in the room, and whether it forces the release.
func TestM143TokensAreGivenBackBeforeTheRelease(t *testing.T) {
	for name, inRoom := range map[string]bool{"a member's": true, "a caller's": false} {
		for how, release := range map[string]func(*transport.Session) error{
			"release": func(s *transport.Session) error { return s.Release(context.Background()) },
			"close":   (*transport.Session).Close,
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				log := &slowLog{MemoryLog: newLog()}
				bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
					h.join("carol", "lobby").say("lobby", "hello")
					h.halfDuplex("lobby", nil)
					var alice *user
					if inRoom {
						alice = h.join("alice", "lobby")
					} else {
						alice = h.joinOn(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
					}
					got := alice.requestFloor("lobby")
					require.Equal(t, chat.FloorGranted, got.State)
					log.takes.Store(int64(time.Second))
					if inRoom {
						alice.UseGrant("lobby", got.Grant)
						_, err := alice.Publish(t.Context(), "lobby", "last words")
						require.NoError(t, err)
					}
					require.NoError(t, release(alice.session))
					state, err := log.State(t.Context(), "lobby")
					require.NoError(t, err)
					records, err := log.Read(t.Context(), "lobby", got.Seq+1, 1<<20)
					require.NoError(t, err)
					if inRoom {
						require.NotEmpty(t, records)
						assert.Equal(t, "last words", string(records[0].Body))
						records = records[1:]
					}
					require.Len(t, records, 1, "of %d", state.Head)
					tr, err := floor.DecodeTransition(records[0].Body)
					require.NoError(t, err)
					assert.Equal(t, [3]any{floor.Released, "alice", got.Grant}, [3]any{tr.To, tr.Who, tr.Grant})
					time.Sleep(time.Minute)
					after, err := log.State(t.Context(), "lobby")
					require.NoError(t, err)
					assert.Equal(t, state.Head, after.Head, "given back once")
				})
			})
		}
	}
}

// A room that does not answer, for its log does not, holds up a release for a moment and no longer.
func TestALogThatHangsRefusesNoRelease(t *testing.T) {
	cfg := byAlice()
	log := &slowLog{MemoryLog: newLog()}
	cfg.Log = log
	bubble(t, cfg, func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		alice.setPoint("ops", "handover", "bob")
		log.takes.Store(int64(5 * time.Second))
		_, err := alice.Publish(t.Context(), "ops", "x")
		require.NoError(t, err)
		time.Sleep(time.Second)
		begun := time.Now()
		require.NoError(t, bob.session.Release(t.Context()))
		assert.Less(t, time.Since(begun), 6*time.Second)
	})
}
