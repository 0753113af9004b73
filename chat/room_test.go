package chat_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

func TestWhatOneSaysReachesEveryOther(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		bob := h.join("bob", "lobby")
		sent := alice.say("lobby", "hello")
		assert.Equal(t, chat.Position{Epoch: 1, Seq: 1}, sent.Position)
		assert.False(t, sent.Duplicate)
		m := expect[*chat.Message](bob, nil)
		assert.Equal(t, chat.Message{Room: "lobby", Position: sent.Position, From: "alice", ID: sent.ID, Text: "hello", Time: m.Time}, *m)
		assert.WithinDuration(t, time.Now(), m.Time, time.Second)
		assert.Equal(t, time.UTC, m.Time.Location())
		expectNothing[*chat.Message](alice)
		assert.Zero(t, alice.Unacknowledged())
	})
}

func TestC1SeqIsContiguousAndTheSameForEveryMember(t *testing.T) { // C1, C4
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		const members, lines = 6, 30
		var users []*user
		for i := range members {
			users = append(users, h.join(fmt.Sprintf("u%d", i), "lobby", "attic"))
		}
		var wg sync.WaitGroup
		for _, u := range users {
			wg.Go(func() {
				for i := range lines {
					room := []string{"lobby", "attic"}[i%2]
					_, err := u.Publish(context.Background(), room, fmt.Sprintf("%s says %d", u.name, i))
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		byPosition := make(map[string]string)
		for _, u := range users {
			u.waitFor("all lines", func(events []chat.Event, _ error) bool {
				n := 0
				for _, e := range events {
					switch e.(type) {
					case *chat.Message, *chat.Sent:
						n++
					}
				}
				return n == members*lines
			})
			seen := make(map[string]bool)
			note := func(room string, p chat.Position, id string) {
				at := room + p.String()
				assert.False(t, seen[at], "%s saw %s twice", u.name, at)
				seen[at] = true
				if byPosition[at] == "" {
					byPosition[at] = id
				}
				assert.Equal(t, byPosition[at], id, "what is at %s", at)
			}
			for _, m := range all[*chat.Message](u) {
				note(m.Room, m.Position, m.ID)
			}
			for _, s := range all[*chat.Sent](u) {
				note(s.Room, s.Position, s.ID)
			}
		}
		for _, room := range []string{"lobby", "attic"} {
			for seq := range uint64(members * lines / 2) {
				assert.Contains(t, byPosition, room+chat.Position{Epoch: 1, Seq: seq + 1}.String())
			}
		}
	})
}

func TestPublisherGetsAStubAndItsOtherSessionTheRecord(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		laptop := h.join("alice", "lobby")
		phone := h.join("alice", "lobby")
		laptop.say("lobby", "one")
		assert.Equal(t, "one", expect[*chat.Message](phone, nil).Text)
		phone.say("lobby", "two")
		m := expect[*chat.Message](laptop, nil)
		assert.Equal(t, "two", m.Text)
		assert.Equal(t, uint64(2), m.Position.Seq, "the stub has taken 1, or C4 would have failed")
		expectNothing[*chat.Message](phone)
	})
}

// A program that starts again with its outbox has lost what it had shown: it gets whole what an earlier
// stream said, of this session or another, and stubs for what this one says.
func TestAnEarlierSessionsLinesComeWhole(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		start := func() *user {
			s := h.net.Dial(h.srv, "alice", transport.Config{})
			c, err := chat.NewClient(t.Context(), s, chat.ClientConfig{Producer: chat.Producer{7}})
			require.NoError(t, err)
			u := &user{Client: c, t: t, name: "alice", session: s, changed: make(chan struct{})}
			go u.collect()
			u.join("lobby", chat.Last(10))
			return u
		}
		alice := start()
		alice.say("lobby", "one")
		alice.say("lobby", "two")
		alice.release()
		alice = start()
		alice.say("lobby", "three")
		bob := h.join("bob", "lobby")
		bob.say("lobby", "four")
		alice.waitFor("four", func([]chat.Event, error) bool { return lastSeq(alice.events) == 4 })
		assert.Equal(t, []string{"one", "two", "four"}, texts(alice))
		// The same when it reads the log: a new stream of the session.
		again, err := chat.NewClient(t.Context(), alice.session, chat.ClientConfig{Producer: chat.Producer{7}})
		require.NoError(t, err)
		u := &user{Client: again, t: t, name: "alice", session: alice.session, changed: make(chan struct{})}
		go u.collect()
		u.join("lobby", chat.Last(10))
		u.waitFor("four", func([]chat.Event, error) bool { return lastSeq(u.events) == 4 })
		assert.Equal(t, []string{"one", "two", "three", "four"}, texts(u))
		u.say("lobby", "five")
		bob.say("lobby", "six")
		u.waitFor("six", func([]chat.Event, error) bool { return lastSeq(u.events) == 6 })
		assert.Equal(t, []string{"one", "two", "three", "four", "six"}, texts(u))
	})
}

func TestRoomsOfOneStreamAreApart(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby", "attic")
		bob := h.join("bob", "attic")
		alice.say("lobby", "for lobby")
		alice.say("attic", "for attic")
		assert.Equal(t, "for attic", expect[*chat.Message](bob, nil).Text)
		assert.Equal(t, []string{"for attic"}, texts(bob))
	})
}

func TestJoinBeginsWhereItSays(t *testing.T) { // C4
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		var at []chat.Position
		for i := range 10 {
			at = append(at, alice.say("lobby", fmt.Sprint(i+1)).Position)
		}
		for _, tt := range []struct {
			name  string
			from  chat.From
			first int
		}{
			{"live", chat.Live(), 11},
			{"last 3", chat.Last(3), 8},
			{"last 0", chat.Last(0), 11},
			{"last of more than there are", chat.Last(1 << 63), 1},
			{"after the third", chat.After(at[2]), 4},
			{"after the last", chat.After(at[9]), 11},
			{"from the beginning", chat.After(chat.Position{}), 1},
		} {
			bob := h.joinOn(h.net.Dial(h.srv, "bob", transport.Config{}), "bob")
			j := bob.join("lobby", tt.from)
			assert.Equal(t, uint64(tt.first), j.Next, tt.name)
			assert.Equal(t, uint64(10), j.Head)
			assert.Equal(t, uint64(1), j.First)
			assert.Equal(t, []string{"alice", "bob"}, j.Members)
			time.Sleep(time.Second)
			var want []string
			for i := tt.first; i <= 10; i++ {
				want = append(want, fmt.Sprint(i))
			}
			assert.Equal(t, want, texts(bob), tt.name)
			bob.release()
		}
	})
}

func TestJoinWhileOthersPublishLeavesNoGap(t *testing.T) { // C4
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		const lines = 1000
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range lines {
				_, err := alice.Publish(context.Background(), "lobby", fmt.Sprint(i+1))
				assert.NoError(t, err)
				time.Sleep(time.Millisecond)
			}
		}()
		froms := []chat.From{chat.Live(), chat.Last(5), chat.After(chat.Position{}), chat.Last(1000)}
		var joiners []*user
		for i := range 12 {
			time.Sleep(17 * time.Millisecond)
			u := h.joinOn(h.net.Dial(h.srv, fmt.Sprintf("u%d", i), transport.Config{}), fmt.Sprint(i))
			u.join("lobby", froms[i%len(froms)])
			joiners = append(joiners, u)
		}
		<-done
		for _, u := range joiners {
			next := all[*chat.Joined](u)[0].Next
			u.waitFor("the rest", func(events []chat.Event, _ error) bool {
				for _, e := range events {
					if m, ok := e.(*chat.Message); ok && m.Position.Seq == lines {
						return true
					}
				}
				return false
			})
			for _, m := range all[*chat.Message](u) {
				require.Equal(t, next, m.Position.Seq)
				require.Equal(t, fmt.Sprint(next), m.Text)
				next++
			}
		}
	})
}

func TestInsufficientStateIsSaidWithWhatIsLeft(t *testing.T) { // C4
	log := chat.NewMemoryLog(chat.MemoryLogConfig{MaxRoomRecords: 4, Epoch: 1})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		for i := range 10 {
			alice.say("lobby", fmt.Sprint(i+1))
		}
		bob := h.joinOn(h.net.Dial(h.srv, "bob", transport.Config{}), "bob")
		for _, tt := range []struct {
			cursor chat.Position
			code   rpc.Code
		}{
			{chat.Position{Epoch: 1, Seq: 5}, rpc.OutOfRange},
			{chat.Position{}, rpc.OutOfRange},
			{chat.Position{Epoch: 1, Seq: 11}, rpc.DataLoss},
			{chat.Position{Epoch: 1, Seq: 1<<64 - 1}, rpc.DataLoss},
			{chat.Position{Epoch: 2, Seq: 8}, rpc.DataLoss},
		} {
			require.NoError(t, bob.Join(t.Context(), "lobby", chat.After(tt.cursor)))
			r := expect[*chat.Rejected](bob, nil)
			assert.Equal(t, tt.code, r.Code, tt.cursor)
			assert.Equal(t, chat.RequestJoin, r.Request)
			assert.Equal(t, [3]uint64{1, 10, 7}, [3]uint64{r.Epoch, r.Head, r.First})
		}
		j := bob.join("lobby", chat.After(chat.Position{Epoch: 1, Seq: 6}))
		assert.Equal(t, uint64(7), j.Next)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"7", "8", "9", "10"}, texts(bob))
	})
}

func TestLeaveEndsWhatIsDelivered(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby", "attic")
		bob := h.join("bob", "lobby")
		require.NoError(t, alice.Leave(t.Context(), "lobby"))
		expect[*chat.Left](alice, nil)
		bob.expectPresence("alice", chat.PresenceLeft)
		bob.say("lobby", "unheard")
		time.Sleep(time.Second)
		assert.Empty(t, texts(alice))
		// And again, at once.
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Last(1)))
		require.NoError(t, alice.Leave(t.Context(), "lobby"))
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Last(1)))
		expect[*chat.Joined](alice, nil)
		expect[*chat.Left](alice, nil)
		expect[*chat.Joined](alice, nil)
		assert.Equal(t, "unheard", expect[*chat.Message](alice, nil).Text)
	})
}

func TestRequestsThatAreWrongAreRejectedAlone(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		// The client refuses what is wrong in itself, as the server does (see TestServerChecks).
		for _, room := range []string{"", " lobby", "lobby ", "a\x00b", "a\nb", "\xff", string(make([]byte, 129)), "a\u202eb"} {
			assert.ErrorIs(t, alice.Join(t.Context(), room, chat.Live()), &chat.Error{Code: rpc.InvalidArgument}, "%q", room)
			assert.ErrorIs(t, alice.Leave(t.Context(), room), &chat.Error{Code: rpc.InvalidArgument}, "%q", room)
			_, err := alice.Publish(t.Context(), room, "x")
			assert.ErrorIs(t, err, &chat.Error{Code: rpc.InvalidArgument}, "%q", room)
		}
		for _, text := range []string{"", "\xff", string(make([]byte, 64<<10+1))} {
			_, err := alice.Publish(t.Context(), "lobby", text)
			assert.ErrorIs(t, err, &chat.Error{Code: rpc.InvalidArgument})
		}
		id, err := alice.Publish(t.Context(), "attic", "not there")
		require.NoError(t, err)
		r := expect[*chat.Rejected](alice, nil)
		assert.Equal(t, chat.Rejected{Room: "attic", Request: chat.RequestPublish, ID: id, Code: rpc.FailedPrecondition, Reason: r.Reason}, *r)
		require.NoError(t, alice.Leave(t.Context(), "attic"))
		r = expect[*chat.Rejected](alice, nil)
		assert.Equal(t, chat.RequestLeave, r.Request)
		// The same in a room that others are in.
		bob := h.join("bob", "cellar")
		_, err = alice.Publish(t.Context(), "cellar", "not there")
		require.NoError(t, err)
		assert.Equal(t, rpc.FailedPrecondition, expect[*chat.Rejected](alice, nil).Code)
		require.NoError(t, alice.Leave(t.Context(), "cellar"))
		assert.Equal(t, rpc.FailedPrecondition, expect[*chat.Rejected](alice, nil).Code)
		expectNothing[*chat.Message](bob)
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
		assert.Equal(t, rpc.FailedPrecondition, expect[*chat.Rejected](alice, nil).Code)
		alice.say("lobby", string(make([]byte, 64<<10)))
		assert.Zero(t, alice.Unacknowledged())
	})
}

func TestLimitsOnRooms(t *testing.T) {
	bubble(t, chat.Config{MaxRooms: 4, MaxSessionRooms: 3}, func(t *testing.T, h *house) {
		alice := h.join("alice", "a", "b", "c")
		require.NoError(t, alice.Join(t.Context(), "d", chat.Live()))
		assert.Equal(t, rpc.ResourceExhausted, expect[*chat.Rejected](alice, nil).Code)
		bob := h.join("bob", "a", "d")
		require.NoError(t, bob.Join(t.Context(), "e", chat.Live()))
		assert.Equal(t, rpc.ResourceExhausted, expect[*chat.Rejected](bob, nil).Code)
		require.NoError(t, alice.Leave(t.Context(), "b"))
		expect[*chat.Left](alice, nil)
		bob.join("e", chat.Live()) // b has gone with its last member
	})
}

func TestFiftyMembersWithTwentyLinesEach(t *testing.T) { // C1, C4
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		const members, lines = 50, 20
		var users []*user
		for i := range members {
			users = append(users, h.join(fmt.Sprintf("u%d", i), "lobby"))
		}
		for _, u := range users {
			go func() {
				for i := range lines {
					_, err := u.Publish(context.Background(), "lobby", fmt.Sprintf("%s says %d", u.name, i))
					assert.NoError(t, err)
				}
			}()
		}
		for _, u := range users {
			u.waitFor("all lines", func(events []chat.Event, _ error) bool {
				n := 0
				for _, e := range events {
					switch e.(type) {
					case *chat.Message, *chat.Sent:
						n++
					}
				}
				return n == members*lines
			})
			assert.Len(t, texts(u), (members-1)*lines)
		}
	})
}

func TestTwoServersShareALog(t *testing.T) { // C1
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		log := chat.NewMemoryLog(chat.MemoryLogConfig{})
		h.start(chat.Config{Log: log})
		one := h.join("alice", "lobby")
		h.start(chat.Config{Log: log})
		two := h.join("bob", "lobby")
		const lines = 50
		var wg sync.WaitGroup
		for _, u := range []*user{one, two} {
			wg.Go(func() {
				for i := range lines {
					_, err := u.Publish(context.Background(), "lobby", fmt.Sprintf("%s %d", u.name, i))
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		for _, u := range []*user{one, two} {
			u.waitFor("all lines", func([]chat.Event, error) bool { return u.Unacknowledged() == 0 })
			u.waitFor("all lines", func(events []chat.Event, _ error) bool {
				n := 0
				for _, e := range events {
					if _, ok := e.(*chat.Message); ok {
						n++
					}
				}
				return n == lines
			})
			assert.Len(t, all[*chat.Sent](u), lines)
			assert.Empty(t, all[*chat.Rejected](u))
		}
	})
}

func TestCloseAnswersEverythingFirst(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		bob := h.join("bob", "lobby")
		for i := range 100 {
			_, err := alice.Publish(t.Context(), "lobby", fmt.Sprint(i))
			require.NoError(t, err)
		}
		require.NoError(t, alice.Close())
		assert.ErrorIs(t, alice.Close(), chat.ErrClosed)
		_, err := alice.Publish(t.Context(), "lobby", "late")
		assert.ErrorIs(t, err, chat.ErrClosed)
		assert.ErrorIs(t, alice.ended(), io.EOF)
		assert.Len(t, all[*chat.Sent](alice), 100)
		assert.Zero(t, alice.Unacknowledged())
		bob.expectPresence("alice", chat.PresenceLeft)
		assert.Len(t, texts(bob), 100)
	})
}

func TestDrainClosesTheStreamByItself(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		bob := h.join("bob", "lobby")
		alice.say("lobby", "before")
		require.NoError(t, h.srv.Shutdown(t.Context()))
		for _, u := range []*user{alice, bob} {
			assert.ErrorIs(t, u.ended(), io.EOF)
			assert.Equal(t, transport.Drained, code(u.session.Wait(t.Context())))
		}
		assert.Equal(t, []string{"before"}, texts(bob))
		synctest.Wait()
	})
}

func TestNextGoesOnAfterItsContextEnds(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		h.clients.NoDelivered = true // or there are events of it
		alice := h.client(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		bob := h.join("bob", "lobby")
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
		e, err := alice.Next(t.Context())
		require.NoError(t, err)
		assert.IsType(t, &chat.Joined{}, e)
		for i := range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err = alice.Next(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
			_, err = alice.Next(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			bob.say("lobby", fmt.Sprint(i))
			e, err = alice.Next(t.Context())
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprint(i), e.(*chat.Message).Text)
		}
		alice.session.Abort(transport.Aborted, "")
		_, err = alice.Next(context.Background())
		assert.Error(t, err)
	})
}
