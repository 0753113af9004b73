package chat_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// beside starts another server on the log and the network of a house.
func (h *house) beside(log chat.Log) *house {
	h.t.Helper()
	other := &house{t: h.t, net: h.net}
	other.start(chat.Config{Log: log, Administrator: root})
	return other
}

// die ends a house's server as a crash does.
func (h *house) die() {
	h.net.Kill(h.srv)
	h.chat.Close()
}

// M146: a server leaves the holder alone whom another one serves, in the room or not, and what the other says to it is seen by who watches here.
// When that server is gone for good, somebody ends what it has left, though its floor is looked after nowhere else.
func TestM146AServerEndsWhatAnotherServesOnlyWhenThatIsGone(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, a *house) {
		b := a.beside(log)
		bob := b.join("bob", "lobby")
		bob.say("lobby", "x")
		statuses, err := chat.WatchFloor.Call(t.Context(), bob.session, &chat.FloorQuery{Room: "lobby"})
		require.NoError(t, err)
		defer statuses.Close()
		_, err = statuses.Recv()
		require.NoError(t, err)
		alice := a.net.Dial(a.srv, "alice", transport.Config{})
		lease, err := chat.Acquire(t.Context(), alice, "lobby", chat.LeaseConfig{})
		require.NoError(t, err)
		st, err := statuses.Recv()
		require.NoError(t, err)
		assert.Equal(t, "alice", st.Holder.Who)
		assert.False(t, st.Holder.Lost)

		assert.Equal(t, chat.FloorAccepted, bob.requestFloor("lobby").State)
		time.Sleep(20 * time.Minute) // her lease is renewed with her server, many times
		require.NoError(t, lease.Context().Err())
		assert.Equal(t, "alice", bob.floor("lobby").Holder.Who)
		records := len(transitions(t, log, "lobby"))
		assert.Less(t, records, 25, "it is asked seldom")

		a.die()
		time.Sleep(6 * time.Minute)
		assert.Equal(t, map[uint64]string{1: "revoked lost", 2: "revoked lapsed"}, lastOf(t, log, "lobby"))
	})
}

// M146: who waits with another server has their turn, and is not passed over by those who wait with the server that the holder is with.
func TestM146TheQueueIsOneOverServers(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, a *house) {
		b := a.beside(log)
		alice, carol, bob := a.join("alice", "lobby"), a.join("carol", "lobby"), b.join("bob", "lobby")
		alice.requestFloor("lobby")
		bob.requestFloor("lobby")
		carol.requestFloor("lobby")
		for _, u := range []*user{alice, bob, carol} {
			synctest.Wait()
			time.Sleep(time.Second)
			assert.Equal(t, u.name, alice.floor("lobby").Holder.Who)
			assert.Equal(t, u.name, bob.floor("lobby").Holder.Who)
			_, err := chat.ReleaseFloor.Call(t.Context(), u.session, &chat.FloorRelease{Room: "lobby"})
			require.NoError(t, err)
		}
		var granted []string
		for _, tr := range transitions(t, log, "lobby") {
			if tr.To == floor.Granted {
				granted = append(granted, fmt.Sprint(tr.Who, tr.Grant))
			}
		}
		assert.Equal(t, []string{"alice1", "bob2", "carol3"}, granted)
	})
}

// M148, C5: a client that goes over to another server takes its grant with it, and the session that it had is refused from then on.
func TestC5WhoGoesOverToAnotherServerTakesTheGrantWithThem(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, a *house) {
		b := a.beside(log)
		cfg := chat.ClientConfig{Producer: chat.Producer{7}}
		a.clients, b.clients = cfg, cfg
		old := a.join("alice", "lobby")
		old.say("lobby", "x")
		a.halfDuplex("lobby", nil)
		got, err := chat.RequestFloor.Call(t.Context(), old.session, &chat.FloorRequest{Room: "lobby", Producer: cfg.Producer[:]})
		require.NoError(t, err)
		old.UseGrant("lobby", got.Grant)
		old.say("lobby", "here")
		now := b.join("alice", "lobby")
		_, err = chat.RenewFloor.Call(t.Context(), now.session, &chat.FloorRenewal{Room: "lobby", Grant: got.Grant, Producer: cfg.Producer[:]})
		require.NoError(t, err)
		now.UseGrant("lobby", got.Grant)
		now.say("lobby", "there")
		assert.Contains(t, old.refusedByFloor("lobby", "here, too"), "alice has the floor, in another session")
		old.release() // in order, and of what it does not have any more
		time.Sleep(10 * time.Second)
		now.say("lobby", "there again")

		// And who gives no producer takes nothing.
		nobody := a.join("alice", "lobby")
		_, err = chat.RenewFloor.Call(t.Context(), nobody.session, &chat.FloorRenewal{Room: "lobby", Grant: got.Grant})
		assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(err))
		nobody.UseGrant("lobby", got.Grant)
		nobody.refusedByFloor("lobby", "?")
		now.say("lobby", "once more")
	})
}

// C5, M146, M148: two servers on one log, one of which may be killed and another started in its place, with clients that ask, release, are lost, and speak under the grants
// that they believe to have: the log has no speech but that of who was granted the floor, and every request ends when all are gone.
func TestC5TwoServersNeverLetTwoSpeak(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			log := newLog()
			a := newHouse(t, chat.Config{Log: log, Administrator: root})
			houses := []*house{a, a.beside(log)}
			first := a.join("root", "lobby")
			first.say("lobby", "x")
			a.halfDuplex("lobby", &chat.FloorSettings{LeaseMs: 8_000, GraceMs: 7_000})
			first.release()
			var users []*user
			grants := make(map[*user]uint64)
			for i := range rapid.IntRange(5, 15).Draw(rt, "steps") {
				switch step := rapid.SampledFrom([]string{"join", "request", "request", "speak", "speak", "release", "lose", "kill", "wait", "join again"}).Draw(rt, "step"); {
				case step == "join" || len(users) == 0 || step == "join again" && len(users) < 4:
					h := houses[rapid.IntRange(0, 1).Draw(rt, "server")]
					h.clients.Producer = chat.Producer{byte(rapid.IntRange(1, 3).Draw(rt, "producer"))}
					who := fmt.Sprint("member", h.clients.Producer[0])
					users = append(users, h.join(who, "lobby"))
				case step == "kill":
					n := rapid.IntRange(0, 1).Draw(rt, "server")
					houses[n].die()
					users = alive(users)
					houses[n] = houses[1-n].beside(log)
				case step == "wait":
					time.Sleep(time.Duration(rapid.IntRange(1, 9_000).Draw(rt, "ms")) * time.Millisecond)
				default:
					u := rapid.SampledFrom(users).Draw(rt, "user")
					act(t, u, step, grants, i)
				}
				users = alive(users)
			}
			for _, u := range users {
				u.session.Abort(transport.Aborted, "crash")
			}
			houses[0].die()
			// What it has left may have been looked after there alone: whoever looks at the room begins with it.
			visitor := houses[1].join("visitor", "lobby")
			visitor.floor("lobby")
			time.Sleep(7 * time.Minute)
			visitor.release()
			time.Sleep(time.Minute)
			judgeFloor(t, log)
			for request, last := range lastOf(t, log, "lobby") {
				assert.NotContains(t, []string{"granted", "accepted", "pending", "missed", "here"}, firstWord(last), "request %d", request)
			}
			assert.Zero(t, houses[1].chat.Stats().Rooms)
		})
	})
}

func firstWord(s string) (word string) {
	_, _ = fmt.Sscan(s, &word)
	return word
}

// alive are those whose session has not ended.
func alive(users []*user) (left []*user) {
	synctest.Wait()
	for _, u := range users {
		if u.session.Context().Err() == nil {
			left = append(left, u)
		}
	}
	return left
}

// act has somebody do something that may be refused, or get no answer for a while.
func act(t *testing.T, u *user, step string, grants map[*user]uint64, i int) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	producer := u.Producer()
	switch step {
	case "request":
		if res, err := chat.RequestFloor.Call(ctx, u.session, &chat.FloorRequest{Room: "lobby", Producer: producer[:]}); err == nil && res.Grant != 0 {
			grants[u] = res.Grant // or the holder's: then it is refused
			u.UseGrant("lobby", res.Grant)
		}
	case "speak":
		_, _ = u.Publish(ctx, "lobby", fmt.Sprint("line ", i))
	case "release":
		_, _ = chat.ReleaseFloor.Call(ctx, u.session, &chat.FloorRelease{Room: "lobby"})
	case "lose":
		u.session.Abort(transport.Aborted, "crash")
	}
	synctest.Wait()
}

// judgeFloor goes over the log: grants rise, one at a time, and what was said under them was said by who had them.
func judgeFloor(t *testing.T, log chat.Log) {
	records, err := log.Read(context.Background(), "lobby", 1, 64<<20)
	require.NoError(t, err)
	var holder string
	var request, grant uint64
	for _, rec := range records[1:] {
		if rec.Kind == chat.KindText && holder != "" {
			require.Equal(t, holder, rec.From, "C5: record %d is said by who does not have the floor", rec.Seq)
		} else if rec.Kind == chat.KindText {
			require.Fail(t, "C5", "record %d is said, and nobody has the floor", rec.Seq)
		}
		if rec.Kind != chat.KindFloor {
			continue
		}
		tr, err := floor.DecodeTransition(rec.Body)
		require.NoError(t, err)
		switch tr.To {
		case floor.Granted:
			require.Empty(t, holder, "C5: one live grant")
			require.Greater(t, tr.Grant, grant, "C5: numbers rise")
			holder, request, grant = tr.Who, tr.Request, tr.Grant
		case floor.Released, floor.Revoked:
			require.Equal(t, [2]uint64{request, grant}, [2]uint64{tr.Request, tr.Grant})
			holder = ""
		default:
		}
	}
}
