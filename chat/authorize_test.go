package chat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// denials are what nobody of a name may do, as "bob joins ops"; all else is allowed.
type denials struct {
	mu    sync.Mutex // guards what follows
	list  map[string]bool
	asked int
}

func (d *denials) set(list ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = make(map[string]bool)
	for _, s := range list {
		d.list[s] = true
	}
}

func (d *denials) authorize(who certs.ID, room string, verb chat.Verb) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.list[fmt.Sprintf("%s: %s %s", who.Name, verb, room)] {
		return errors.New("a secret")
	}
	return nil
}

// watchedLog knows of which rooms it has ever heard.
type watchedLog struct {
	chat.Log
	rooms sync.Map
}

func (l *watchedLog) Watch(room string, changed func(uint64)) func() {
	l.rooms.Store(room, true)
	return l.Log.Watch(room, changed)
}

// C8: a JOIN that is denied is answered the same whether or not there is such a room, and makes none.
func TestM61AJoinThatIsDeniedTellsNothing(t *testing.T) {
	var d denials
	d.set("bob: join ops", "bob: join nowhere")
	log := &watchedLog{Log: newLog()}
	bubble(t, chat.Config{Log: log, Authorize: d.authorize}, func(t *testing.T, h *house) {
		alice := h.join("alice", "ops")
		bob := h.join("bob", "lobby")
		for _, room := range []string{"ops", "nowhere"} {
			require.NoError(t, bob.Join(t.Context(), room, chat.Last(10)))
			e := expect[*chat.Rejected](bob, nil)
			assert.Equal(t, chat.Rejected{Room: room, Request: chat.RequestJoin, Code: rpc.PermissionDenied, Reason: "not allowed to join in this room"}, *e)
		}
		expectNothing[*chat.Presence](alice)
		bob.say("lobby", "the rest goes on")
		_, made := log.rooms.Load("nowhere")
		assert.False(t, made)
	})
}

// M61: every entry of a PUBLISH that is denied is answered, and none is appended.
func TestM61WhoMayNotSpeakIsRejectedLineByLineAndReads(t *testing.T) {
	var d denials
	d.set("bob: speak lobby")
	bubble(t, chat.Config{Authorize: d.authorize}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		refused := func() {
			t.Helper()
			for range 3 {
				_, err := bob.Publish(t.Context(), "lobby", "let me in")
				require.NoError(t, err)
			}
			for range 3 {
				e := expect[*chat.Rejected](bob, nil)
				assert.Equal(t, chat.RequestPublish, e.Request)
				assert.Equal(t, rpc.PermissionDenied, e.Code)
				assert.NotContains(t, e.Reason, "secret")
			}
		}
		refused()
		alice.say("lobby", "hello")
		expect[*chat.Message](bob, nil)

		d.set()
		h.chat.Reauthorize()
		assert.Equal(t, uint64(2), bob.say("lobby", "thanks").Position.Seq)
		d.set("bob: speak lobby")
		h.chat.Reauthorize()
		refused()
		assert.Equal(t, uint64(3), alice.say("lobby", "bye").Position.Seq)
	})
}

func TestAuthorizeMayChooseTheCode(t *testing.T) {
	bubble(t, chat.Config{Authorize: func(certs.ID, string, chat.Verb) error {
		return fmt.Errorf("wrapped: %w", &chat.Error{Code: rpc.Unavailable, Reason: "later"})
	}}, func(t *testing.T, h *house) {
		bob := h.join("bob")
		require.NoError(t, bob.Join(t.Context(), "lobby", chat.Live()))
		e := expect[*chat.Rejected](bob, nil)
		assert.Equal(t, rpc.Unavailable, e.Code)
		assert.Equal(t, "later", e.Reason)
	})
}

// M62: whoever may no longer join is taken out of the room at once, told so, and goes on elsewhere.
func TestM62WhoMayNoLongerJoinIsTakenOut(t *testing.T) {
	var d denials
	bubble(t, chat.Config{Authorize: d.authorize}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "ops", "lobby"), h.join("bob", "ops", "lobby")
		twin := h.join("bob", "ops")
		alice.expectPresence("bob", chat.PresenceJoined)
		alice.expectPresence("bob", chat.PresenceJoined)
		d.set("bob: join ops")
		h.chat.Reauthorize()
		for _, u := range []*user{bob, twin} {
			e := expect[*chat.Rejected](u, nil)
			assert.Equal(t, chat.Rejected{Room: "ops", Request: chat.RequestJoin, Code: rpc.PermissionDenied, Reason: "not allowed to join in this room"}, *e)
		}
		alice.expectPresence("bob", chat.PresenceLeft)
		st := h.chat.Stats()
		assert.Equal(t, [2]uint64{2, 0}, [2]uint64{st.Evicted, st.Trimmed})
		assert.Empty(t, st.Rejected, "nobody asked")
		alice.say("ops", "he is gone")
		_, err := bob.Publish(t.Context(), "ops", "am I?")
		require.NoError(t, err)
		assert.Equal(t, rpc.FailedPrecondition, expect[*chat.Rejected](bob, nil).Code)
		bob.say("lobby", "here I am")
		assert.Equal(t, "lobby", expect[*chat.Message](alice, nil).Room)
		expectNothing[*chat.Message](bob)

		d.set()
		h.chat.Reauthorize()
		assert.Equal(t, []string{"alice", "bob"}, bob.join("ops", chat.Live()).Members)
	})
}

// M62: also a membership that is held for a session without a stream comes to its end.
func TestM62AMembershipThatIsHeldEnds(t *testing.T) {
	var d denials
	bubble(t, chat.Config{Authorize: d.authorize}, func(t *testing.T, h *house) {
		alice := h.join("alice", "ops")
		session := h.net.Dial(h.srv, "bob", transport.Config{})
		r := openRaw(t, session)
		r.write(joinFrame("ops"))
		alice.expectPresence("bob", chat.PresenceJoined)
		r.str.Cancel(transport.StreamCanceled)
		alice.expectPresence("bob", chat.PresenceLost)
		d.set("bob: join ops")
		h.chat.Reauthorize()
		synctest.Wait()
		d.set()
		h.joinOn(session, "bob", "ops")
		alice.expectPresence("bob", chat.PresenceJoined) // not back
	})
}

// M61: who comes back to a room asks anew, also if its membership was held meanwhile.
func TestM61WhoComesBackIsAuthorizedAgain(t *testing.T) {
	var d denials
	bubble(t, chat.Config{Authorize: d.authorize}, func(t *testing.T, h *house) {
		session := h.net.Dial(h.srv, "bob", transport.Config{})
		h.joinOn(session, "bob", "ops")
		d.set("bob: join ops")
		bob := h.joinOn(session, "bob")
		require.NoError(t, bob.Join(t.Context(), "ops", chat.Live()))
		assert.Equal(t, rpc.PermissionDenied, expect[*chat.Rejected](bob, nil).Code)
	})
}

// M62: a client that was away when it was taken out finds out when it is back, and goes on.
func TestM62WhoWasAwayFindsOutWhenItIsBack(t *testing.T) {
	var d denials
	bubble(t, chat.Config{Authorize: d.authorize}, func(t *testing.T, h *house) {
		bob := h.rover("bob", "ops", "lobby")
		bob.cut(false)
		bob.ask("ops", "never to be heard")
		d.set("bob: join ops")
		h.chat.Reauthorize()
		expect[*chat.Resumed](bob.user, nil)
		e := expect[*chat.Rejected](bob.user, nil)
		assert.Equal(t, []any{"ops", chat.RequestJoin, rpc.PermissionDenied}, []any{e.Room, e.Request, e.Code})
		e = expect[*chat.Rejected](bob.user, nil)
		assert.Equal(t, []any{"ops", chat.RequestPublish, rpc.FailedPrecondition}, []any{e.Room, e.Request, e.Code})
		bob.say("lobby", "back")
		bob.release()
	})
}

// Whatever the order of changes and requests, nobody breaks the protocol, and at the end everybody has what
// is allowed then.
func TestM62ChangesRaceRequests(t *testing.T) {
	var d denials
	bubble(t, chat.Config{Authorize: d.authorize}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "ops"), h.join("bob")
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { _ = bob.Join(context.Background(), "ops", chat.Last(3)) })
			wg.Go(func() {
				if i%2 == 0 {
					d.set("bob: join ops")
				} else {
					d.set()
				}
				h.chat.Reauthorize()
			})
			if i%3 == 0 {
				wg.Go(func() { _ = bob.Leave(context.Background(), "ops") })
			}
			_, err := alice.Publish(t.Context(), "ops", "on and on")
			require.NoError(t, err)
			time.Sleep(time.Duration(i%7) * time.Millisecond)
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		d.set()
		h.chat.Reauthorize()
		require.NoError(t, bob.Join(t.Context(), "ops", chat.Live()))
		time.Sleep(time.Second)
		alice.say("ops", "the end")
		expect(bob, func(m *chat.Message) bool { return m.Text == "the end" })
	})
}

// M63: what is above the limit is rejected, what is below is not, in one PUBLISH too.
func TestM63LinesAboveTheLimitAreRejected(t *testing.T) {
	left := map[string]int{"bob": 5}
	var mu sync.Mutex // guards left
	allow := func(who certs.ID, n int) int {
		mu.Lock()
		defer mu.Unlock()
		if _, limited := left[who.Name]; !limited {
			return n
		}
		n = min(n, left[who.Name])
		left[who.Name] -= n
		return n
	}
	bubble(t, chat.Config{AllowLines: allow}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		for i := range 8 {
			_, err := bob.Publish(t.Context(), "lobby", fmt.Sprint(i))
			require.NoError(t, err)
		}
		for range 3 {
			e := expect[*chat.Rejected](bob, nil)
			assert.Equal(t, rpc.ResourceExhausted, e.Code)
			assert.Equal(t, chat.RequestPublish, e.Request)
		}
		synctest.Wait()
		assert.Len(t, all[*chat.Sent](bob), 5)
		assert.Equal(t, []string{"0", "1", "2", "3", "4"}, texts(alice))
		assert.Equal(t, uint64(6), alice.say("lobby", "not limited").Position.Seq)
		mu.Lock()
		left["bob"] = 1
		mu.Unlock()
		bob.say("lobby", "again")
	})
}
