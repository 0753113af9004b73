package chat_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// root is an administrator of the server.
func root(id certs.ID) bool { return id.Name == "root" }

// halfDuplex makes a room half-duplex.
func (h *house) halfDuplex(room string, settings *chat.FloorSettings) {
	h.t.Helper()
	session := h.net.Dial(h.srv, "root", transport.Config{})
	_, err := chat.SetMode.Call(context.Background(), session, &chat.SetModeRequest{Room: room, Mode: chat.HalfDuplex, Floor: settings})
	require.NoError(h.t, err)
	require.NoError(h.t, session.Release(context.Background()))
}

func (u *user) requestFloor(room string) *chat.FloorResponse {
	u.t.Helper()
	res, err := chat.RequestFloor.Call(context.Background(), u.session, &chat.FloorRequest{Room: room})
	require.NoError(u.t, err)
	return res
}

// refused says text and expects that to be refused.
func (u *user) refusedByFloor(room, text string) string {
	u.t.Helper()
	id, err := u.Publish(context.Background(), room, text)
	require.NoError(u.t, err)
	e := expect(u, func(e *chat.Rejected) bool { return e.ID == id })
	assert.Equal(u.t, rpc.FailedPrecondition, e.Code)
	return e.Reason
}

// expectFloor expects the next event of the floor.
func (u *user) expectFloor(state chat.FloorState, who, holder string, grant uint64) *chat.Floor {
	u.t.Helper()
	e := expect[*chat.Floor](u, nil)
	assert.Equal(u.t, [4]any{state, who, holder, grant}, [4]any{e.State, e.Who, e.Holder, e.Grant}, u.name)
	return e
}

func (u *user) floor(room string) *chat.FloorStatus {
	u.t.Helper()
	st, err := chat.QueryFloor.Call(context.Background(), u.session, &chat.FloorQuery{Room: room})
	require.NoError(u.t, err)
	return st
}

// M130, M132, C5: in a half-duplex room only the holder of the floor speaks; who does not hold it, or not any more, is told who does.
func TestC5OnlyTheHolderSpeaksInAHalfDuplexRoom(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice, bob, carol := h.join("alice", "lobby"), h.join("bob", "lobby"), h.join("carol", "lobby")
		alice.say("lobby", "one")
		h.halfDuplex("lobby", nil)
		assert.Contains(t, bob.refusedByFloor("lobby", "?"), "the room is half-duplex, and nobody has the floor; ask for it with trunkline.Floor/Request")

		got := alice.requestFloor("lobby")
		assert.Equal(t, [4]any{chat.FloorGranted, "alice", uint64(1), int64(30_000)}, [4]any{got.State, got.Who, got.Grant, got.ForMs})
		assert.Equal(t, chat.FloorAccepted, bob.requestFloor("lobby").State)
		assert.Contains(t, alice.refusedByFloor("lobby", "no grant"), "alice has the floor")
		alice.UseGrant("lobby", got.Grant)
		alice.say("lobby", "two")
		bob.UseGrant("lobby", got.Grant)
		assert.Contains(t, bob.refusedByFloor("lobby", "with her grant"), "alice has the floor, in another session")

		_, err := chat.PassFloor.Call(t.Context(), alice.session, &chat.FloorPass{Room: "lobby", To: "carol", Reason: "your turn"})
		require.NoError(t, err)
		assert.Contains(t, alice.refusedByFloor("lobby", "late"), "grant 1 does not hold: carol has the floor")
		carol.UseGrant("lobby", 2)
		carol.say("lobby", "three")
		_, err = chat.ReleaseFloor.Call(t.Context(), carol.session, &chat.FloorRelease{Room: "lobby"})
		require.NoError(t, err)
		bob.UseGrant("lobby", 3)
		bob.say("lobby", "four")

		for _, u := range []*user{alice, bob, carol} {
			u.next = 0
			u.expectFloor(chat.FloorGranted, "alice", "alice", 1)
			assert.Equal(t, []string{"bob"}, u.expectFloor(chat.FloorAccepted, "bob", "alice", 1).Queue)
			assert.Equal(t, "your turn", u.expectFloor(chat.FloorReleased, "alice", "", 1).Reason)
			assert.Equal(t, "alice", u.expectFloor(chat.FloorGranted, "carol", "carol", 2).By)
			u.expectFloor(chat.FloorReleased, "carol", "", 2)
			e := u.expectFloor(chat.FloorGranted, "bob", "bob", 3)
			assert.Equal(t, "turn", e.Why)
			assert.EqualValues(t, 10, e.Position.Seq, "every record takes a seq (C1)")
		}
		dave := h.joinOn(h.net.Dial(h.srv, "dave", transport.Config{}), "dave")
		dave.join("lobby", chat.Last(100))
		expect(dave, func(m *chat.Message) bool { return m.Text == "four" })
		assert.Equal(t, []string{"one", "two", "three", "four"}, texts(dave), "the transcript is what was granted")
	})
}

// M112, C3: what was appended under a grant that has ended since is a duplicate when it is published again, and not refused.
func TestC3WhatWasSaidUnderAnEndedGrantIsADuplicate(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		h.halfDuplex("lobby", nil)
		alice.UseGrant("lobby", alice.requestFloor("lobby").Grant)
		require.NoError(t, alice.PublishAs(t.Context(), "lobby", "again", "mine"))
		sent := expect(alice, func(e *chat.Sent) bool { return e.ID == "again" })
		_, err := chat.ReleaseFloor.Call(t.Context(), alice.session, &chat.FloorRelease{Room: "lobby"})
		require.NoError(t, err)
		require.NoError(t, alice.PublishAs(t.Context(), "lobby", "again", "mine"))
		twice := expect(alice, func(e *chat.Sent) bool { return e.ID == "again" })
		assert.Equal(t, [2]any{sent.Position, true}, [2]any{twice.Position, twice.Duplicate})
		require.NoError(t, alice.PublishAs(t.Context(), "lobby", "another", "not mine"))
		assert.Equal(t, "another", expect[*chat.Rejected](alice, nil).ID)
	})
}

// M133: in a duplex room the floor keeps nobody from speaking, but a grant that is named must hold.
func TestM133AGrantThatIsNamedHolds(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		alice.requestFloor("lobby")
		bob.say("lobby", "one")
		bob.UseGrant("lobby", 1)
		assert.Contains(t, bob.refusedByFloor("lobby", "two"), "grant 1 of the floor does not hold: alice has the floor")
		bob.UseGrant("lobby", 0)
		bob.say("lobby", "three")
	})
}

// M136: a session's end gives the floor back; its loss keeps it for the grace, and no longer.
func TestM136WhatBecomesOfTheFloorWhenASessionEnds(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		watcher := h.join("watcher", "lobby")
		// The lease is long: what is looked at is the grace.
		watcher.say("lobby", "x")
		h.halfDuplex("lobby", &chat.FloorSettings{LeaseMs: 3_600_000, GraceMs: 20_000})
		alice, bob, carol := h.rover("alice", "lobby"), h.join("bob", "lobby"), h.join("carol", "lobby")
		for _, u := range []*user{alice.user, bob, carol} {
			u.requestFloor("lobby")
		}
		watcher.expectFloor(chat.FloorGranted, "alice", "alice", 1)
		alice.UseGrant("lobby", 1)

		// Back in time: the floor is hers as before.
		alice.session.Context()
		alice.cut(false)
		expect(watcher, func(p *chat.Presence) bool { return p.State == chat.PresenceLost })
		assert.True(t, watcher.floor("lobby").Holder.Lost)
		expect(watcher, func(p *chat.Presence) bool { return p.State == chat.PresenceBack })
		alice.say("lobby", "still me")
		time.Sleep(time.Minute)
		assert.Equal(t, "alice", watcher.floor("lobby").Holder.Who)

		// Not in time.
		watcher.next = len(watcher.events)
		alice.session.Abort(transport.Aborted, "crash")
		e := watcher.expectFloor(chat.FloorRevoked, "alice", "", 1)
		assert.Equal(t, "lost", e.Why)
		watcher.expectFloor(chat.FloorGranted, "bob", "bob", 2)
		// In order.
		bob.release()
		assert.Equal(t, "left", watcher.expectFloor(chat.FloorReleased, "bob", "", 2).Why)
		watcher.expectFloor(chat.FloorGranted, "carol", "carol", 3)
		require.NoError(t, carol.Leave(t.Context(), "lobby"))
		watcher.expectFloor(chat.FloorReleased, "carol", "", 3)
	})
}

// M135: who does not renew loses the floor, and the next in line has it.
func TestM135ALeaseThatIsNotRenewedEnds(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		alice.requestFloor("lobby")
		bob.requestFloor("lobby")
		for range 5 {
			time.Sleep(20 * time.Second)
			_, err := chat.RenewFloor.Call(t.Context(), alice.session, &chat.FloorRenewal{Room: "lobby", Grant: 1})
			require.NoError(t, err)
		}
		before := time.Now()
		bob.next = 0
		bob.expectFloor(chat.FloorGranted, "alice", "alice", 1)
		bob.expectFloor(chat.FloorAccepted, "bob", "alice", 1)
		assert.Equal(t, "lapsed", bob.expectFloor(chat.FloorRevoked, "alice", "", 1).Why)
		assert.InDelta(t, 30, time.Since(before).Seconds(), 0.1)
		_, err := chat.RenewFloor.Call(t.Context(), alice.session, &chat.FloorRenewal{Room: "lobby", Grant: 1})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(err))
		_, err = chat.RenewFloor.Call(t.Context(), alice.session, &chat.FloorRenewal{Room: "lobby", Grant: 2})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(err), "of somebody else's grant")
		assert.ErrorContains(t, err, "bob holds the floor")
	})
}

// M137: after a restart of the server the floor is for the same identity and producer, within the grace.
func TestM137TheFloorAfterARestart(t *testing.T) {
	for _, back := range []bool{true, false} {
		log := newLog()
		bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
			alice := h.roverWith("alice", chat.ClientConfig{Producer: chat.Producer{7}})
			go alice.collect()
			alice.join("lobby", chat.Live())
			alice.say("lobby", "x")
			h.halfDuplex("lobby", nil)
			_, err := chat.RequestFloor.Call(t.Context(), alice.session, &chat.FloorRequest{Room: "lobby", Producer: append([]byte{7}, make([]byte, 15)...)})
			require.NoError(t, err)
			alice.UseGrant("lobby", 1)
			if !back {
				alice.session.Abort(transport.Aborted, "crash")
				time.Sleep(time.Second)
			}
			h.restart(log)
			bob := h.join("bob", "lobby") // an actor, with the floor of the log
			bob.requestFloor("lobby")
			assert.Equal(t, "alice", bob.floor("lobby").Holder.Who)
			if back {
				expect[*chat.Resumed](alice.user, nil)
				alice.say("lobby", "still me")
				assert.False(t, bob.floor("lobby").Holder.Lost)
				return
			}
			bob.next = 0
			bob.expectFloor(chat.FloorAccepted, "bob", "alice", 1)
			bob.expectFloor(chat.FloorMissed, "alice", "alice", 1)
			bob.expectFloor(chat.FloorRevoked, "alice", "", 1)
			bob.expectFloor(chat.FloorGranted, "bob", "bob", 2)
		})
	}
}

// M137: a server that drains does not give back what clients have that go with it.
func TestM137ADrainGivesNothingBack(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		alice.requestFloor("lobby")
		bob.requestFloor("lobby")
		h.chat.Drain()
		require.NoError(t, h.srv.Shutdown(t.Context()))
		h.chat.Close()
		records, err := log.Read(t.Context(), "lobby", 1, 1<<20)
		require.NoError(t, err)
		assert.Len(t, records, 2, "granted, accepted")
		other := &house{t: t, net: h.net}
		other.start(chat.Config{Log: log})
		st := other.join("carol", "lobby").floor("lobby")
		assert.Equal(t, [2]any{"alice", "bob"}, [2]any{st.Holder.Who, st.Queue[0].Who})
	})
}

// M133: a room that was deleted has no floor that anybody holds, and the numbers go on when it is there again.
func TestM133TheNumbersGoOnWhenARoomIsDeleted(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "x")
		first := alice.requestFloor("lobby")
		chat.DeleteInRoom(h.chat, "lobby")
		expect(alice, func(e *chat.Rejected) bool { return e.Code == rpc.PermissionDenied })
		_, err := chat.QueryFloor.Call(t.Context(), alice.session, &chat.FloorQuery{Room: "lobby"})
		assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
		time.Sleep(time.Minute) // and no record of a floor's brings it back
		_, err = chat.QueryFloor.Call(t.Context(), alice.session, &chat.FloorQuery{Room: "lobby"})
		assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
		alice.join("lobby", chat.Live())
		alice.say("lobby", "again")
		assert.Greater(t, alice.requestFloor("lobby").Grant, first.Grant)
	})
}

// C2, C5: what the log has not taken has not happened, and is done when it takes it; of what it may have taken it says what is so.
func TestC5AFloorIsWhatTheLogHas(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		alice.say("lobby", "x")
		h.halfDuplex("lobby", nil)
		log.set(func() error { return &chat.Error{Code: rpc.ResourceExhausted, Reason: "full"} }, nil, nil)
		_, err := chat.RequestFloor.Call(t.Context(), alice.session, &chat.FloorRequest{Room: "lobby"})
		assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(err))
		log.set(nil, nil, nil)
		assert.Nil(t, alice.floor("lobby").Holder)

		log.set(nil, func() error { return errBroken }, nil)
		_, err = chat.RequestFloor.Call(t.Context(), alice.session, &chat.FloorRequest{Room: "lobby"})
		require.NoError(t, err, "the log has it, after all")
		log.set(nil, nil, nil)
		alice.UseGrant("lobby", 1)
		alice.say("lobby", "mine")

		bob.requestFloor("lobby")
		log.set(func() error { return &chat.Error{Code: rpc.ResourceExhausted, Reason: "full"} }, nil, nil)
		alice.release() // in order, but nothing is recorded
		time.Sleep(10 * time.Second)
		assert.Equal(t, "alice", bob.floor("lobby").Holder.Who)
		log.set(nil, nil, nil)
		bob.next = 0
		bob.expectFloor(chat.FloorGranted, "alice", "alice", 1)
		bob.expectFloor(chat.FloorAccepted, "bob", "alice", 1)
		bob.expectFloor(chat.FloorReleased, "alice", "", 1)
		bob.expectFloor(chat.FloorGranted, "bob", "bob", 2)
	})
}

// M138: a room stays for as long as somebody has or wants its floor, also when nobody is in it, and no longer.
func TestM138AProgramHoldsTheFloorOfARoomThatNobodyIsIn(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice := h.join("alice", "job")
		alice.say("job", "x")
		alice.release()
		one, two := h.net.Dial(h.srv, "one", transport.Config{}), h.net.Dial(h.srv, "two", transport.Config{})
		first, err := chat.Acquire(t.Context(), one, "job", chat.LeaseConfig{})
		require.NoError(t, err)
		assert.EqualValues(t, 1, first.Grant())
		var second *chat.Lease
		got := make(chan error, 1)
		go func() {
			second, err = chat.Acquire(t.Context(), two, "job", chat.LeaseConfig{})
			got <- err
		}()
		time.Sleep(5 * time.Minute) // renewed, all the time
		require.NoError(t, first.Context().Err())
		require.Empty(t, got)
		require.NoError(t, first.Release(t.Context()))
		assert.ErrorIs(t, context.Cause(first.Context()), context.Canceled)
		require.NoError(t, <-got)
		assert.EqualValues(t, 2, second.Grant())
		require.NoError(t, two.Release(t.Context())) // gives it back
		time.Sleep(time.Second)
		assert.Zero(t, h.chat.Stats().Rooms)
	})
}

// S2: who watches a floor does not hold up the release of the session, nor a drain.
func TestS2WatchingAFloorDelaysNoRelease(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		h.join("alice", "job").say("job", "x")
		watcher := h.net.Dial(h.srv, "watcher", transport.Config{})
		statuses, err := chat.WatchFloor.Call(t.Context(), watcher, &chat.FloorQuery{Room: "job"})
		require.NoError(t, err)
		_, err = statuses.Recv()
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { _, err := statuses.Recv(); ended <- err }()
		require.NoError(t, watcher.Release(t.Context()))
		assert.Equal(t, rpc.Unavailable, rpc.CodeOf(<-ended))
	})
}

// M135, C5: a holder that cannot renew gives up before the server gives the floor to the next.
func TestM135AHolderGivesUpBeforeTheServerTakesBack(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		bob := h.join("bob", "job")
		bob.say("job", "x")
		var mu sync.Mutex
		hers := make(map[string]bool)
		alice := h.net.Dial(h.srv, "alice", transport.Config{NewPacketConn: func() (net.PacketConn, error) {
			conn := h.net.Conn()
			mu.Lock()
			defer mu.Unlock()
			hers[conn.LocalAddr().String()] = true
			return conn, nil
		}})
		lease, err := chat.Acquire(t.Context(), alice, "job", chat.LeaseConfig{})
		require.NoError(t, err)
		bob.requestFloor("job")
		time.Sleep(time.Minute)
		cut := time.Now()
		h.net.Drop(func(p transporttest.Packet) bool {
			mu.Lock()
			defer mu.Unlock()
			return hers[p.From.String()] || hers[p.To.String()]
		})
		gaveUp := make(chan time.Time, 1)
		stop := context.AfterFunc(lease.Context(), func() { gaveUp <- time.Now() })
		defer stop()
		bob.mu.Lock()
		bob.next = len(bob.events)
		bob.mu.Unlock()
		bob.expectFloor(chat.FloorRevoked, "alice", "", 1)
		took := time.Now()
		bob.expectFloor(chat.FloorGranted, "bob", "bob", 2)
		require.Len(t, gaveUp, 1)
		assert.False(t, (<-gaveUp).After(took))
		assert.ErrorIs(t, context.Cause(lease.Context()), chat.ErrLeaseLost)
		assert.Less(t, took.Sub(cut), 31*time.Second)
	})
}

// M131: where a chair is there, requests wait for them; what they decide is a record like the others.
func TestM131AChairDecides(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		_, err := log.Append(t.Context(), "lobby", 0, []chat.Entry{{From: "chair", ID: "1", Body: []byte("x")}},
			[]byte(`{"settings":{"mode":"half-duplex","floor":{"chair_away_ms":20000},"roles":{"chair":"chair"}}}`))
		require.NoError(t, err)
		chair, alice, bob := h.join("chair", "lobby"), h.join("alice", "lobby"), h.join("bob", "lobby")
		first := alice.requestFloor("lobby")
		assert.Equal(t, chat.FloorPending, first.State)
		second := bob.requestFloor("lobby")
		rule := func(u *user, ruling chat.FloorRuling) error {
			ruling.Room = "lobby"
			_, err := chat.ChairFloor.Call(t.Context(), u.session, &ruling)
			return err
		}
		assert.Equal(t, rpc.PermissionDenied, rpc.CodeOf(rule(bob, chat.FloorRuling{Do: "grant", Request: second.Request})))
		assert.Equal(t, rpc.InvalidArgument, rpc.CodeOf(rule(chair, chat.FloorRuling{Do: "sing"})))
		require.NoError(t, rule(chair, chat.FloorRuling{Do: "accept", Request: first.Request}))
		require.NoError(t, rule(chair, chat.FloorRuling{Do: "deny", Request: second.Request, Reason: "later"}))
		require.NoError(t, rule(chair, chat.FloorRuling{Do: "revoke", Reason: "too long"}))
		alice.next = 0
		alice.expectFloor(chat.FloorPending, "alice", "", 0)
		alice.expectFloor(chat.FloorPending, "bob", "", 0)
		assert.Equal(t, "chair", alice.expectFloor(chat.FloorGranted, "alice", "alice", 1).By)
		assert.Equal(t, "later", alice.expectFloor(chat.FloorDenied, "bob", "alice", 1).Reason)
		assert.Equal(t, "too long", alice.expectFloor(chat.FloorRevoked, "alice", "", 1).Reason)

		_, err = chat.RequestFloor.Call(t.Context(), bob.session, &chat.FloorRequest{Room: "lobby", Priority: "high"})
		assert.Equal(t, rpc.PermissionDenied, rpc.CodeOf(err), "to be urgent is for chairs")
		_, err = chat.RequestFloor.Call(t.Context(), chair.session, &chat.FloorRequest{Room: "lobby", For: "bob", Priority: "highest"})
		require.NoError(t, err)
		assert.Equal(t, "highest", chair.floor("lobby").Pending[0].Priority)
		// The chair leaves, and blocks nobody for long.
		chair.release()
		before := time.Now()
		alice.expectFloor(chat.FloorPending, "bob", "", 0)
		alice.expectFloor(chat.FloorGranted, "bob", "bob", 2)
		assert.InDelta(t, 20, time.Since(before).Seconds(), 0.1)
	})
}

// M139: an ended request ends the wait for it, and a watcher sees each change.
func TestM139AWatcherSeesTheFloorChange(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		_, err := log.Append(t.Context(), "lobby", 0, []chat.Entry{{From: "chair", ID: "1", Body: []byte("x")}},
			[]byte(`{"settings":{"roles":{"chair":"chair"}}}`))
		require.NoError(t, err)
		chair, alice := h.join("chair", "lobby"), h.join("alice", "lobby")
		seen, err := chat.WatchFloor.Call(t.Context(), alice.session, &chat.FloorQuery{Room: "lobby"})
		require.NoError(t, err)
		st, err := seen.Recv()
		require.NoError(t, err)
		assert.Equal(t, &chat.FloorStatus{Room: "lobby", Mode: chat.Duplex, Chaired: true, Seq: 1}, st)
		got := make(chan error, 1)
		go func() {
			_, err := chat.Acquire(t.Context(), alice.session, "lobby", chat.LeaseConfig{Reason: "a word"})
			got <- err
		}()
		st, err = seen.Recv()
		require.NoError(t, err)
		assert.Equal(t, []chat.FloorParticipant{{Who: "alice", Request: 1, Priority: "normal", Reason: "a word"}}, st.Pending)
		_, err = chat.ChairFloor.Call(t.Context(), chair.session, &chat.FloorRuling{Room: "lobby", Do: "deny", Request: 1})
		require.NoError(t, err)
		assert.Equal(t, rpc.Aborted, rpc.CodeOf(<-got))
		st, err = seen.Recv()
		require.NoError(t, err)
		assert.Empty(t, st.Pending)
		seen.Close()
		_, err = chat.WatchFloor.Call(t.Context(), alice.session, &chat.FloorQuery{Room: "nowhere"})
		if err == nil {
			var r *rpc.Receiver[chat.FloorStatus]
			r, _ = chat.WatchFloor.Call(t.Context(), alice.session, &chat.FloorQuery{Room: "nowhere"})
			_, err = r.Recv()
		}
		assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
	})
}

// M134: the holder is asked, and told by whom.
func TestM134TheHolderIsAskedForTheFloor(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		please := func() error {
			_, err := chat.PleaseFloor.Call(t.Context(), bob.session, &chat.FloorAsk{Room: "lobby", Reason: "one word"})
			return err
		}
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(please()))
		alice.requestFloor("lobby")
		require.NoError(t, please())
		alice.expectFloor(chat.FloorGranted, "alice", "alice", 1)
		e := alice.expectFloor(chat.FloorPlease, "bob", "alice", 1)
		assert.Equal(t, "one word", e.Reason)
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(please()), "once")

		lease, err := chat.Hold(t.Context(), alice.session, "lobby", 1, chat.LeaseConfig{})
		require.NoError(t, err)
		_, err = chat.Hold(t.Context(), bob.session, "lobby", 1, chat.LeaseConfig{})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(err))
		_, err = chat.PassFloor.Call(t.Context(), alice.session, &chat.FloorPass{Room: "lobby", To: "nobody"})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(err))
		_, err = chat.PassFloor.Call(t.Context(), alice.session, &chat.FloorPass{Room: "lobby", To: "bob"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		assert.ErrorIs(t, context.Cause(lease.Context()), chat.ErrLeaseLost, "passed on, so it is not held any more")
		require.NoError(t, lease.Release(t.Context()), "which is no error")
	})
}
