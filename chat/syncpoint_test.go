package chat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// byAlice is a server's configuration where alice may do everything.
func byAlice() chat.Config {
	return chat.Config{Administrator: func(id certs.ID) bool { return id.Name == "alice" }}
}

// chaired returns alice and a member of a room, who has heard 3 lines.
func chaired(t *testing.T, h *house, room string) (owner, member *user) {
	t.Helper()
	session := h.net.Dial(h.srv, "alice", transport.Config{NewPacketConn: h.net.NewConn})
	owner, member = h.joinOn(session, "alice", room), h.join("bob", room)
	for i := range 3 {
		owner.say(room, fmt.Sprint(i))
		expect[*chat.Message](member, nil)
	}
	return owner, member
}

// M151: a confirmed major point is in the log like any record, and nobody is taken back beyond it, but for whom it is owed what it has missed.
func TestM151NobodyIsTakenBackBeyondAConfirmedPoint(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		res, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: "agenda"})
		require.NoError(t, err)
		assert.EqualValues(t, 4, res.Seq)
		for _, u := range []*user{alice, bob} {
			p := expect[*chat.SyncPoint](u, nil)
			assert.Equal(t, [6]any{"alice", chat.SyncSet, "agenda", uint64(4), uint64(4), true}, [6]any{p.By, p.What, p.Name, p.Seq, p.Position.Seq, p.Confirmed})
		}
		alice.say("ops", "behind")
		refused := func(u *user, request chat.Request) {
			r := expect[*chat.Rejected](u, nil)
			assert.Equal(t, [3]any{request, rpc.OutOfRange, uint64(4)}, [3]any{r.Request, r.Code, r.First}, "%s", r.Reason)
		}
		require.NoError(t, bob.Resync(t.Context(), "ops", chat.After(chat.Position{Epoch: res.Epoch, Seq: 2})))
		refused(bob, chat.RequestResync)
		carol := h.join("carol")
		require.NoError(t, carol.Join(t.Context(), "ops", chat.After(chat.Position{})))
		refused(carol, chat.RequestJoin)
		assert.EqualValues(t, 4, carol.join("ops", chat.Last(100)).Next, "as far back as one may go")
		assert.Equal(t, chat.SyncSet, expect[*chat.SyncPoint](carol, nil).What)
		assert.Equal(t, "behind", expect[*chat.Message](carol, nil).Text)
		page, err := chat.History.Call(t.Context(), carol.session, &chat.HistoryRequest{Room: "ops", Before: new(uint64(4))})
		require.NoError(t, err)
		assert.Len(t, page.Records, 3, "it is history")
	})
}

// C4: who was away when a point was set is owed what it has missed before that.
func TestC4APointTakesNothingFromWhoWasAway(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, _ := chaired(t, h, "ops")
		away := h.rover("dave", "ops")
		away.cut(true)
		alice.say("ops", "missed")
		_, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: "agenda"})
		require.NoError(t, err)
		alice.say("ops", "behind")
		time.Sleep(20 * time.Second)
		h.net.Drop(nil)
		expect[*chat.Resumed](away.user, nil)
		assert.Equal(t, "missed", expect[*chat.Message](away.user, nil).Text)
		expect[*chat.SyncPoint](away.user, nil)
		assert.Equal(t, "behind", expect[*chat.Message](away.user, nil).Text)
		assert.Empty(t, all[*chat.Gap](away.user))
	})
}

// A chair has all members go on from the same place; those who came later, or resume, or see the record again, stay where they are.
func TestAChairResynchronizesTheRoom(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		_, err := chat.Resynchronize.Call(t.Context(), alice.session, &chat.ResynchronizeRequest{Room: "ops", Seq: 2})
		require.NoError(t, err)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"|", "0", "1", "2", "|", "1", "2"}, bob.texts())
		assert.Equal(t, []string{"|", "|", "1", "2"}, alice.texts())
		carol := h.join("carol")
		carol.join("ops", chat.Last(100))
		time.Sleep(time.Second)
		assert.Equal(t, []string{"|", "0", "1", "2"}, carol.texts())

		for seq, code := range map[uint64]rpc.Code{0: rpc.OutOfRange, 6: rpc.OutOfRange} {
			_, err := chat.Resynchronize.Call(t.Context(), alice.session, &chat.ResynchronizeRequest{Room: "ops", Seq: seq})
			assert.Equal(t, code, rpc.CodeOf(err), "%d", seq)
		}
		_, err = chat.Resynchronize.Call(t.Context(), bob.session, &chat.ResynchronizeRequest{Room: "ops", Seq: 2})
		assert.Equal(t, rpc.PermissionDenied, rpc.CodeOf(err))
		_, err = chat.SetSyncPoint.Call(t.Context(), bob.session, &chat.SetSyncPointRequest{Room: "ops", Name: "x"})
		assert.Equal(t, rpc.PermissionDenied, rpc.CodeOf(err))
		_, err = chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: "x"})
		require.NoError(t, err)
		_, err = chat.Resynchronize.Call(t.Context(), alice.session, &chat.ResynchronizeRequest{Room: "ops", Seq: 2})
		assert.Equal(t, rpc.OutOfRange, rpc.CodeOf(err), "M151: nor by the chair")
	})
}

// A point that waits for members is abandoned when its time is up, also if nobody is in the room then; there is one at a time.
func TestM152APointIsAbandonedWhenItsTimeIsUp(t *testing.T) {
	bubble(t, byAlice(), func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		set := func(name string) error {
			_, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: name, WaitFor: []string{"dave", "bob", "dave"}, Within: 10})
			return err
		}
		require.NoError(t, set("one"))
		p := expect[*chat.SyncPoint](bob, nil)
		assert.Equal(t, [3]any{chat.SyncSet, false, []string{"bob", "dave"}}, [3]any{p.What, p.Confirmed, p.WaitFor})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(set("two")))
		began := time.Now()
		p = expect[*chat.SyncPoint](bob, nil)
		assert.Equal(t, [3]any{chat.SyncAbandoned, false, "one"}, [3]any{p.What, p.Confirmed, p.Name})
		assert.InDelta(t, 10, time.Since(began).Seconds(), 1)
		require.NoError(t, bob.Resync(t.Context(), "ops", chat.After(chat.Position{})))
		assert.EqualValues(t, 1, expect[*chat.Joined](bob, nil).Next)

		require.NoError(t, set("two"))
		_, err := chat.AbandonSyncPoint.Call(t.Context(), alice.session, &chat.AbandonSyncPointRequest{Room: "ops"})
		require.NoError(t, err)
		assert.Equal(t, chat.SyncAbandoned, expect[*chat.SyncPoint](bob, func(p *chat.SyncPoint) bool { return p.Name == "two" && p.What != chat.SyncSet }).What)

		require.NoError(t, set("three"))
		require.NoError(t, bob.session.Close())
		require.NoError(t, alice.Leave(t.Context(), "ops"))
		time.Sleep(time.Minute)
		alice.join("ops", chat.Last(1))
		assert.Equal(t, chat.SyncAbandoned, expect[*chat.SyncPoint](alice, func(p *chat.SyncPoint) bool { return p.Name == "three" && p.What != chat.SyncSet }).What)
	})
}

// M157: a server that trims to synchronization points does so when one is confirmed, and not before; who is owed what was before is told of the gap (C4).
func TestM157ALogIsTrimmedToAConfirmedPoint(t *testing.T) {
	cfg := byAlice()
	cfg.Log = newLog()
	cfg.TrimToSyncPoints = true
	bubble(t, cfg, func(t *testing.T, h *house) {
		first := func() uint64 {
			time.Sleep(3 * time.Second)
			state, err := cfg.Log.State(t.Context(), "ops")
			require.NoError(t, err)
			return state.First
		}
		alice, bob := chaired(t, h, "ops")
		away := h.rover("dave", "ops")
		away.cut(true)
		alice.say("ops", "missed")
		res, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: "agenda", WaitFor: []string{"bob"}, Within: 600})
		require.NoError(t, err)
		alice.say("ops", "behind")
		assert.EqualValues(t, 1, first(), "it is not confirmed")
		bob.MarkRead("ops", chat.Position{Epoch: res.Epoch, Seq: res.Seq})
		assert.Equal(t, res.Seq, first(), "the point itself stays")

		time.Sleep(20 * time.Second)
		h.net.Drop(nil)
		expect[*chat.Resumed](away.user, nil)
		gap := expect[*chat.Gap](away.user, nil)
		assert.Equal(t, [3]any{uint64(3), rpc.OutOfRange, res.Seq}, [3]any{gap.After.Seq, gap.Code, gap.First})
		expect[*chat.SyncPoint](away.user, nil)
		assert.Equal(t, "behind", expect[*chat.Message](away.user, nil).Text)
		page, err := chat.History.Call(t.Context(), bob.session, &chat.HistoryRequest{Room: "ops"})
		require.NoError(t, err)
		assert.Equal(t, res.Seq, page.First)

		_, err = chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: "at once"})
		require.NoError(t, err)
		assert.EqualValues(t, 8, first())
	})
}

// M157: what a server has not trimmed, for it was killed or did not trim then, the next one does once the room is used; and by default none does.
func TestM157AnotherServerTrimsToThePoint(t *testing.T) {
	log := newLog()
	cfg := byAlice()
	cfg.Log = log
	bubble(t, cfg, func(t *testing.T, h *house) {
		alice, _ := chaired(t, h, "ops")
		_, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{Room: "ops", Name: "agenda"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		state, err := log.State(t.Context(), "ops")
		require.NoError(t, err)
		assert.EqualValues(t, 1, state.First, "by default")
		other := &house{t: t, net: h.net}
		other.start(chat.Config{Log: log, TrimToSyncPoints: true})
		assert.EqualValues(t, 4, other.join("carol").join("ops", chat.Last(100)).Next)
		time.Sleep(time.Second)
		state, err = log.State(t.Context(), "ops")
		require.NoError(t, err)
		assert.EqualValues(t, 4, state.First)
	})
}

// M152: a point that waits for members is confirmed when the last of them has a checkpoint there, however that comes, also over a restart of the
// server, and not before.
func TestM152APointWaitsForCheckpoints(t *testing.T) {
	cfg := byAlice()
	cfg.Log = newLog()
	bubble(t, cfg, func(t *testing.T, h *house) {
		alice, bob := chaired(t, h, "ops")
		carol := h.rover("carol", "ops")
		res, err := chat.SetSyncPoint.Call(t.Context(), alice.session, &chat.SetSyncPointRequest{
			Room: "ops", Name: "handover", WaitFor: []string{"bob", "carol"}, Within: 600,
		})
		require.NoError(t, err)
		bob.MarkRead("ops", chat.Position{Epoch: res.Epoch, Seq: res.Seq - 1})
		set := expect[*chat.SyncPoint](carol.user, nil)
		assert.False(t, set.Confirmed)
		time.Sleep(time.Minute)
		expectNothing[*chat.SyncPoint](carol.user) // what was delivered was not read
		bob.MarkRead("ops", chat.Position{Epoch: res.Epoch, Seq: res.Seq})
		time.Sleep(time.Minute)
		expectNothing[*chat.SyncPoint](carol.user) // it waits for carol herself

		addr := h.net.Kill(h.srv)
		h.chat.Close()
		h.startAt(addr, cfg.Log)
		expect[*chat.Resumed](carol.user, nil)
		time.Sleep(time.Minute)
		expectNothing[*chat.SyncPoint](carol.user)
		_, err = chat.Raise.Call(t.Context(), carol.session, &chat.RaiseRequest{Room: "ops", Epoch: res.Epoch, Read: res.Seq})
		require.NoError(t, err)
		p := expect[*chat.SyncPoint](carol.user, nil)
		assert.Equal(t, [4]any{chat.SyncConfirmed, true, "handover", res.Seq}, [4]any{p.What, p.Confirmed, p.Name, p.Seq})
		joiner := h.join("dave")
		assert.Equal(t, res.Seq, joiner.join("ops", chat.Last(100)).Next, "M151")
	})
}
