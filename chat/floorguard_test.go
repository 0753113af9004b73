package chat_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// M147: who may not speak any more has the floor no longer, at once, with whatever session it was held and for however long, and
// waits for it no longer.
func TestM147WhoMayNotSpeakAnyMoreLosesTheFloor(t *testing.T) {
	var refused atomic.Bool
	authorize := func(who certs.ID, _ string, v chat.Verb) error {
		if refused.Load() && who.Name == "alice" && v == chat.VerbSpeak {
			return &chat.Error{Code: rpc.PermissionDenied}
		}
		return nil
	}
	ban := func(m rpc.UnaryMethod[chat.SanctionRequest, chat.ChangeResponse]) func(h *house, by *transport.Session) error {
		return func(_ *house, by *transport.Session) error {
			_, err := m.Call(context.Background(), by, &chat.SanctionRequest{Room: "lobby", Who: "alice", ForMs: 60_000})
			return err
		}
	}
	for name, do := range map[string]func(h *house, by *transport.Session) error{
		"ban": ban(chat.Ban), "mute": ban(chat.Mute),
		"kick": func(_ *house, by *transport.Session) error {
			_, err := chat.Kick.Call(context.Background(), by, &chat.KickRequest{Room: "lobby", Who: "alice"})
			return err
		},
		"role": func(_ *house, by *transport.Session) error {
			_, err := chat.SetRole.Call(context.Background(), by, &chat.SetRoleRequest{Room: "lobby", Who: "alice", Role: chat.RoleListener})
			return err
		},
		"policy": func(h *house, _ *transport.Session) error {
			refused.Store(true)
			h.chat.Reauthorize()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			refused.Store(false)
			bubble(t, chat.Config{Administrator: root, Authorize: authorize}, func(t *testing.T, h *house) {
				bob := h.join("bob", "lobby")
				bob.say("lobby", "x")
				h.halfDuplex("lobby", &chat.FloorSettings{LeaseMs: -1})
				member, caller := h.join("alice", "lobby"), h.net.Dial(h.srv, "alice", transport.Config{})
				lease, err := chat.Acquire(t.Context(), caller, "lobby", chat.LeaseConfig{})
				require.NoError(t, err)
				bob.requestFloor("lobby")
				member.requestFloor("lobby")
				expect(bob, func(e *chat.Floor) bool { return e.State == chat.FloorAccepted && e.Who == "alice" })
				began := time.Now()
				require.NoError(t, do(h, h.net.Dial(h.srv, "root", transport.Config{})))
				assert.Equal(t, "barred", bob.expectFloor(chat.FloorRevoked, "alice", "", 1).Why)
				bob.expectFloor(chat.FloorDenied, "alice", "", 0)
				bob.expectFloor(chat.FloorGranted, "bob", "bob", 2)
				<-lease.Context().Done()
				assert.ErrorIs(t, context.Cause(lease.Context()), chat.ErrLeaseLost)
				assert.Less(t, time.Since(began), time.Second)
				_, err = chat.RequestFloor.Call(t.Context(), caller, &chat.FloorRequest{Room: "lobby"})
				assert.Equal(t, name == "kick", err == nil, "%v", err) // who was kicked may come back
			})
		})
	}
}

// M147: what a room's settings say is true of its floor also after a restart.
func TestM147WhoMayNotSpeakDoesNotComeBackToTheFloor(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "lobby")
		alice.requestFloor("lobby")
		log.set(nil, func() error { // the mute is in the log, and nothing after it
			log.set(func() error { return &chat.Error{Code: rpc.ResourceExhausted, Reason: "full"} }, nil, nil)
			return nil
		}, nil)
		_, err := chat.Mute.Call(t.Context(), h.net.Dial(h.srv, "root", transport.Config{}), &chat.SanctionRequest{Room: "lobby", Who: "alice"})
		require.NoError(t, err)
		assert.Equal(t, "alice", alice.floor("lobby").Holder.Who)
		log.set(nil, nil, nil)
		h.restart(log)
		expect[*chat.Resumed](alice.user, nil)
		assert.Nil(t, alice.floor("lobby").Holder)
	})
}

// M147: nobody is given the floor who may not speak, by whomever.
func TestM147NobodyIsGivenTheFloorWhoMayNotSpeak(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		h.join("bob", "lobby")
		alice.say("lobby", "x")
		root := h.net.Dial(h.srv, "root", transport.Config{})
		_, err := chat.Mute.Call(t.Context(), root, &chat.SanctionRequest{Room: "lobby", Who: "bob"})
		require.NoError(t, err)
		alice.requestFloor("lobby")
		_, err = chat.PassFloor.Call(t.Context(), alice.session, &chat.FloorPass{Room: "lobby", To: "bob"})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(err))
		assert.ErrorContains(t, err, "bob may not have the floor: muted by root")
		_, err = chat.RequestFloor.Call(t.Context(), root, &chat.FloorRequest{Room: "lobby", For: "bob"})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(err))
	})
}

// M139, S5: nothing is left of sessions that have come, waited, and gone, nor of calls that were given up before they began.
func TestM139NothingIsLeftOfWhoHasGone(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		alice.requestFloor("lobby")
		for range 3 {
			s := h.net.Dial(h.srv, "bob", transport.Config{})
			_, err := chat.PleaseFloor.Call(t.Context(), s, &chat.FloorAsk{Room: "lobby"})
			if err == nil {
				_, err = chat.RequestFloor.Call(t.Context(), s, &chat.FloorRequest{Room: "lobby"})
			}
			assert.True(t, err == nil || rpc.CodeOf(err) == rpc.FailedPrecondition, "%v", err)
			require.NoError(t, s.Release(t.Context()))
		}
		synctest.Wait()
		sessions, _ := chat.FloorWatchers(h.chat, "lobby")
		assert.Equal(t, 1, sessions, "alice's")

		// The room is busy, and does not come to what was given up.
		log.set(func() error { time.Sleep(3 * time.Second); return nil }, nil, nil)
		_, err := alice.Publish(t.Context(), "lobby", "slow")
		require.NoError(t, err)
		time.Sleep(time.Second)
		s := h.net.Dial(h.srv, "bob", transport.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		statuses, err := chat.WatchFloor.Call(ctx, s, &chat.FloorQuery{Room: "lobby"})
		require.NoError(t, err)
		_, err = chat.RequestFloor.Call(ctx, s, &chat.FloorRequest{Room: "lobby"})
		assert.Error(t, err)
		_, err = statuses.Recv()
		assert.Error(t, err)
		time.Sleep(2 * time.Second)
		log.set(nil, nil, nil)
		assert.Empty(t, alice.floor("lobby").Queue, "who does not wait for the answer has not asked")
		_, calls := chat.FloorWatchers(h.chat, "lobby")
		assert.Zero(t, calls)
		alice.release()
		require.NoError(t, s.Release(t.Context()))
		synctest.Wait()
		assert.Zero(t, h.chat.Stats().Rooms)
	})
}

// Who gives up waiting for a lease has asked for nothing, also when that is before there was an answer; another session of
// theirs keeps what it has.
func TestWhatNobodyWaitsForIsGivenUp(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		alice.requestFloor("lobby")
		other := h.net.Dial(h.srv, "alice", transport.Config{})
		for _, slow := range []time.Duration{0, 2 * time.Second} { // the second time the answer comes too late
			log.set(func() error { time.Sleep(slow); return nil }, nil, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := chat.Acquire(ctx, other, "lobby", chat.LeaseConfig{})
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			time.Sleep(5 * time.Second)
			log.set(nil, nil, nil)
			st := alice.floor("lobby")
			assert.Empty(t, st.Queue)
			assert.Equal(t, "alice", st.Holder.Who)
		}
	})
}

// C5: a decision that the log may have taken, while somebody was taken out of the room by another server, is what the log says.
func TestC5SomebodyIsTakenOutWhileTheFloorIsInDoubt(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		alice.say("lobby", "x")
		log.set(nil, func() error {
			log.set(nil, nil, nil)
			kick, _ := json.Marshal(&chat.Change{What: chat.ChangeKick, Who: "bob"})
			_, err := log.Log.Append(t.Context(), "lobby", 2, []chat.Entry{{From: "chair", ID: "k", Kind: chat.KindSettings, Body: kick}}, nil)
			require.NoError(t, err)
			return errBroken
		}, nil)
		got := alice.requestFloor("lobby")
		assert.Equal(t, [2]any{chat.FloorGranted, uint64(1)}, [2]any{got.State, got.Grant})
		expect(bob, func(e *chat.Rejected) bool { return e.Code == rpc.PermissionDenied })
		alice.UseGrant("lobby", 1)
		alice.say("lobby", "mine")
	})
}

// M139, C8: who watches the floor of a room that is deleted is told so.
func TestC8WhoWatchesTheFloorOfADeletedRoomIsToldSo(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		alice.requestFloor("lobby")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		seen, err := chat.WatchFloor.Call(ctx, h.net.Dial(h.srv, "bob", transport.Config{}), &chat.FloorQuery{Room: "lobby"})
		require.NoError(t, err)
		_, err = seen.Recv()
		require.NoError(t, err)
		chat.DeleteInRoom(h.chat, "lobby")
		_, err = seen.Recv()
		assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
	})
}

// M152: a point whose time was up while nobody was in the room stands in nobody's way.
func TestM152APointWhoseTimeIsUpIsInNobodysWay(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		set := func(name string) error {
			_, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: name, WaitFor: []string{"bob"}, Within: 10})
			return err
		}
		require.NoError(t, set("one"))
		require.NoError(t, bob.session.Close())
		require.NoError(t, alice.Leave(t.Context(), "ops"))
		time.Sleep(time.Minute)
		require.NoError(t, set("two"))
	})
}

// M139, S5: a session keeps no more rooms in memory by their floors than it may be in, with calls that watch or with requests.
func TestM139ASessionHasSoManyFloors(t *testing.T) {
	bubble(t, chat.Config{MaxSessionRooms: 2}, func(t *testing.T, h *house) {
		rooms := []string{"one", "two", "three"}
		for _, room := range rooms {
			owner := h.join("owner", room)
			owner.say(room, "x")
			owner.release()
		}
		s := h.net.Dial(h.srv, "alice", transport.Config{})
		request := func(room string) error {
			_, err := chat.RequestFloor.Call(t.Context(), s, &chat.FloorRequest{Room: room})
			return err
		}
		watch := func(room string) (*rpc.Receiver[chat.FloorStatus], error) {
			seen, err := chat.WatchFloor.Call(t.Context(), s, &chat.FloorQuery{Room: room})
			require.NoError(t, err)
			_, err = seen.Recv()
			return seen, err
		}
		for range 3 { // the same one twice is one
			require.NoError(t, request("one"))
		}
		require.NoError(t, request("two"))
		assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(request("three")))
		_, err := chat.ReleaseFloor.Call(t.Context(), s, &chat.FloorRelease{Room: "one"})
		require.NoError(t, err)
		require.NoError(t, request("three"))
		time.Sleep(time.Minute) // their leases end
		require.NoError(t, request("one"))
		require.NoError(t, request("two"))

		first, err := watch("one")
		require.NoError(t, err)
		_, err = watch("one")
		require.NoError(t, err)
		_, err = watch("one")
		assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(err))
		first.Close()
		synctest.Wait()
		time.Sleep(time.Second)
		_, err = watch("two")
		require.NoError(t, err)
	})
}
