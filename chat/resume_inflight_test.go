package chat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// What is in flight when a connection ends: whether the server has seen it or not, it is carried out once.
func TestM77RequestsInFlightAreMadeAgain(t *testing.T) {
	for _, seen := range []bool{true, false} {
		inFlight := func(name string, f func(t *testing.T, h *house, alice *rover, bob *user)) {
			t.Run(fmt.Sprintf("%s, seen by the server: %t", name, seen), func(t *testing.T) {
				bubble(t, chat.Config{}, func(t *testing.T, h *house) {
					bob := h.join("bob", "lobby")
					f(t, h, h.rover("alice"), bob)
				})
			})
		}
		inFlight("JOIN", func(t *testing.T, h *house, alice *rover, bob *user) {
			alice.cut(seen)
			require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
			id := alice.ask("lobby", "hello")
			expect[*chat.Joined](alice.user, nil)
			assert.Equal(t, id, expect[*chat.Sent](alice.user, nil).ID)
			assert.Equal(t, "hello", expect[*chat.Message](bob, nil).Text)
			bob.say("lobby", "x")
			expect[*chat.Message](alice.user, nil)
			assert.Len(t, all[*chat.Joined](alice.user), 1)
			assert.Len(t, all[*chat.Message](alice.user), 1)
			assert.Empty(t, all[*chat.Rejected](alice.user))
		})
		inFlight("LEAVE", func(t *testing.T, h *house, alice *rover, bob *user) {
			alice.join("lobby", chat.Live())
			bob.expectPresence("alice", chat.PresenceJoined)
			alice.cut(seen)
			id := alice.ask("lobby", "goodbye")
			require.NoError(t, alice.Leave(t.Context(), "lobby"))
			assert.Equal(t, id, expect[*chat.Sent](alice.user, nil).ID)
			expect[*chat.Left](alice.user, nil)
			bob.say("lobby", "unheard")
			time.Sleep(time.Second)
			expectNothing[*chat.Message](alice.user)
			presence := all[*chat.Presence](bob)
			assert.Equal(t, chat.PresenceLeft, presence[len(presence)-1].State)
			assert.Equal(t, []string{"goodbye"}, texts(bob))
			assert.Empty(t, all[*chat.Rejected](alice.user))
			alice.join("lobby", chat.Live())
		})
		inFlight("Close", func(t *testing.T, h *house, alice *rover, bob *user) {
			alice.join("lobby", chat.Live())
			bob.expectPresence("alice", chat.PresenceJoined)
			alice.cut(seen)
			for i := range 10 {
				alice.ask("lobby", fmt.Sprint(i))
			}
			require.NoError(t, alice.Close())
			assert.ErrorIs(t, alice.Close(), chat.ErrClosed)
			assert.ErrorIs(t, alice.ended(), io.EOF)
			assert.Len(t, all[*chat.Sent](alice.user), 10)
			assert.Zero(t, alice.Unacknowledged())
			time.Sleep(time.Second)
			assert.Len(t, texts(bob), 10)
			presence := all[*chat.Presence](bob)
			assert.Equal(t, chat.PresenceLeft, presence[len(presence)-1].State)
			assert.NoError(t, alice.session.Release(t.Context()))
		})
	}
}

// Who joined live and has seen nothing resumes from the head that it was told, and so does who saw nothing of an
// older epoch's.
func TestM76ARoomThatWasSilentIsResumedFromItsHead(t *testing.T) {
	for _, from := range []chat.From{chat.Live(), chat.Last(0), chat.After(chat.Position{Epoch: 1, Seq: 2})} {
		bubble(t, chat.Config{}, func(t *testing.T, h *house) {
			bob := h.join("bob", "lobby")
			bob.say("lobby", "one")
			bob.say("lobby", "two")
			alice := h.rover("alice")
			alice.join("lobby", from)
			alice.cut(false)
			bob.say("lobby", "three")
			assert.Equal(t, "three", expect[*chat.Message](alice.user, nil).Text)
			assert.Empty(t, all[*chat.Gap](alice.user))
		})
	}
}

// epochs is a log whose epoch has risen behind its last record.
type epochs struct{ chat.Log }

func (l epochs) State(ctx context.Context, room string) (chat.State, error) {
	s, err := l.Log.State(ctx, room)
	s.Epochs = append(s.Epochs, chat.Epoch{Number: 7, First: 4})
	return s, err
}

// A room whose epoch has just begun has no record of it, and neither has who resumes with the last of an older one.
func TestM76ACursorNeedsNoRecordOfItsEpoch(t *testing.T) {
	for _, n := range []uint64{0, 2} {
		log := epochs{chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1})}
		for i := range uint64(3) {
			_, err := log.Append(t.Context(), "lobby", i, []chat.Entry{{From: "x", ID: fmt.Sprint(i), Body: []byte("x")}}, nil)
			require.NoError(t, err)
		}
		bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
			alice := h.roverWith("alice", chat.ClientConfig{})
			require.NoError(t, alice.Join(t.Context(), "lobby", chat.Last(n)))
			for {
				e, err := alice.Next(t.Context())
				require.NoError(t, err)
				if _, ok := e.(*chat.Joined); ok { // and no record: they are left unread
					break
				}
			}
			alice.cut(false)
			go alice.collect()
			expect[*chat.Members](alice.user, nil)
			time.Sleep(time.Second)
			assert.Empty(t, all[*chat.Gap](alice.user))
			assert.Len(t, texts(alice.user), int(n))
		})
	}
}

// The context bounds the wait for a connection, and the next call goes on.
func TestNextEndsWithItsContextWhileDetached(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.roverWith("alice", chat.ClientConfig{})
		h.net.Cut()
		reason := errors.New("no patience")
		next := func() (chat.Event, error) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, reason)
			defer cancel()
			return alice.Next(ctx)
		}
		e, err := next()
		require.NoError(t, err)
		assert.IsType(t, &chat.Detached{}, e)
		for range 3 {
			_, err = next()
			assert.ErrorIs(t, err, reason)
		}
		h.net.Drop(nil)
		e, err = next()
		require.NoError(t, err)
		assert.IsType(t, &chat.Resumed{}, e)
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
		e, err = next()
		require.NoError(t, err)
		assert.IsType(t, &chat.Joined{}, e)
	})
}

// While there is no connection, as many requests wait as always, and others with their context (S5).
func TestRequestsMadeWhileDetachedAreBounded(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.roverWith("alice", chat.ClientConfig{MaxUnacknowledged: 10})
		go alice.collect()
		alice.join("lobby", chat.Live())
		alice.cut(false)
		expect[*chat.Detached](alice.user, nil)
		h.net.Cut()
		for i := range 10 {
			alice.ask("lobby", fmt.Sprint(i))
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := alice.Publish(impatient, "lobby", "x")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 10, alice.Unacknowledged())
		asked := 0
		for err = nil; err == nil && asked < 2000; asked++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err = alice.Join(ctx, fmt.Sprint("room", asked%50), chat.Live())
			cancel()
		}
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			_, err := alice.Publish(ctx, "lobby", "the eleventh")
			done <- err
		}()
		time.Sleep(time.Minute)
		h.net.Drop(nil)
		require.NoError(t, <-done)
		alice.waitFor("acknowledgements", func([]chat.Event, error) bool { return alice.Unacknowledged() == 0 })
		assert.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "the eleventh"}, logOf(t, log, "lobby"), "in their order")
	})
}

// What waits for a connection goes out in pieces, and what is asked meanwhile goes behind it.
func TestM77ALongBacklogKeepsItsOrder(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "lobby", "attic")
		alice.cut(false)
		expect[*chat.Detached](alice.user, nil)
		h.net.Cut()
		var want []string
		for i := range 300 {
			if i == 200 {
				h.net.Drop(nil)
				expect[*chat.Resumed](alice.user, nil)
			}
			text := fmt.Sprint(i, " ", kilobytes(20))
			alice.ask("lobby", text)
			alice.ask("attic", text)
			want = append(want, text)
		}
		alice.waitFor("acknowledgements", func([]chat.Event, error) bool { return alice.Unacknowledged() == 0 })
		assert.Equal(t, want, logOf(t, log, "lobby"))
		assert.Equal(t, want, logOf(t, log, "attic"))
		assert.Empty(t, all[*chat.Rejected](alice.user))
	})
}

// absent is a log that does not know its state while it is gone.
type absent struct {
	chat.Log
	gone atomic.Bool
}

func (l *absent) State(ctx context.Context, room string) (chat.State, error) {
	if l.gone.Load() {
		return chat.State{}, errBroken
	}
	return l.Log.State(ctx, room)
}

// A log that does not answer yet is asked again, and no message goes ahead of its room.
func TestARoomThatIsUnavailableIsJoinedAgainLater(t *testing.T) {
	log := &absent{Log: newLog()}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "lobby")
		alice.say("lobby", "one")
		log.gone.Store(true)
		alice.cut(false)
		expect[*chat.Resumed](alice.user, nil)
		alice.ask("lobby", "two")
		time.Sleep(10 * time.Second)
		expectNothing[*chat.Members](alice.user)
		log.gone.Store(false)
		expect[*chat.Members](alice.user, nil)
		expect[*chat.Sent](alice.user, nil)
		assert.Empty(t, all[*chat.Rejected](alice.user))
	})
}

// A session that is refused when it comes back ends its client, with the code.
func TestARefusalEndsAClientThatWasDetached(t *testing.T) { // S3
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "lobby")
		addr := h.net.Kill(h.srv)
		h.srv = h.net.Listen(transport.Config{PacketConn: h.net.ConnAt(addr), Authorize: func(context.Context, transport.Peer) error {
			return &transport.Error{Code: transport.Revoked, Reason: "x"}
		}})
		assert.ErrorIs(t, alice.ended(), &transport.Error{Code: transport.Revoked})
		_, err := alice.Publish(t.Context(), "lobby", "x")
		assert.Error(t, err)
	})
}

// A stream that is reset alone, and a break of the protocol, end the client: another connection would not help.
func TestOnlyTheEndOfAConnectionIsResumed(t *testing.T) {
	for name, f := range map[string]func(s *transport.Stream){
		"reset":     func(s *transport.Stream) { s.Cancel(transport.StreamInternal) },
		"end":       func(s *transport.Stream) { _ = s.Close() },
		"malformed": func(s *transport.Stream) { _, _ = s.Write(recordFrame(1, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, chat.Config{}, func(t *testing.T, h *house) {
				h.srv = h.net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
					transport.StreamChat: func(ctx context.Context, s *transport.Stream) {
						f(s)
						<-ctx.Done()
					},
				}})
				alice := h.roverWith("alice", chat.ClientConfig{})
				require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
				_, err := alice.Next(t.Context())
				require.Error(t, err)
				time.Sleep(time.Minute)
				assert.Equal(t, name != "malformed", alice.session.State() == transport.StateLive)
			})
		})
	}
}

// A session that does not connect again ends its client in a drain, and nothing that it accepts then is lost without
// a word.
func TestADrainWithoutReconnectEndsTheClient(t *testing.T) { // S2
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		log.set(func() error { time.Sleep(5 * time.Second); return nil }, nil, nil)
		alice.ask("lobby", "in flight")
		go func() { _ = h.srv.Shutdown(context.Background()) }()
		time.Sleep(time.Second)
		_, err := alice.Publish(t.Context(), "lobby", "too late")
		assert.ErrorIs(t, err, chat.ErrClosed)
		assert.ErrorIs(t, alice.ended(), io.EOF)
		assert.Len(t, all[*chat.Sent](alice), 1)
	})
}

// Who has closed a client whose session goes on, and has all answers, is not made to wait for another connection.
func TestACloseIsOverWithItsAnswersAlsoInADrain(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "lobby")
		log.set(func() error { time.Sleep(5 * time.Second); return nil }, nil, nil)
		alice.ask("lobby", "in flight")
		require.NoError(t, alice.Close())
		go func() { _ = h.srv.Shutdown(context.Background()) }()
		assert.ErrorIs(t, alice.ended(), io.EOF)
		assert.Len(t, all[*chat.Sent](alice.user), 1)
		assert.Empty(t, all[*chat.Detached](alice.user))
	})
}

// Presence of a client that was lost: the others see it go and come back, and it sees who is there.
func TestPresenceOfAClientThatComesBack(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob, alice := h.join("bob", "lobby"), h.rover("alice", "lobby")
		bob.expectPresence("alice", chat.PresenceJoined)
		alice.cut(false)
		h.join("carol", "lobby")
		bob.release()
		assert.Equal(t, []string{"alice", "carol"}, expect[*chat.Members](alice.user, nil).Names)

		dave := h.rover("dave", "lobby")
		h.net.Drop(func(p transporttest.Packet) bool { // so that the server notices, too
			return p.From.String() != dave.addr && p.To.String() != dave.addr
		})
		expect(dave.user, func(p *chat.Presence) bool { return p.Who == "alice" && p.State == chat.PresenceLost })
		h.net.Drop(nil)
		expect(dave.user, func(p *chat.Presence) bool { return p.Who == "alice" && p.State == chat.PresenceBack })
		assert.Contains(t, expect[*chat.Members](alice.user, nil).Names, "dave")
	})
}

// JOIN with a producer: what was published with it before, by whichever session, is its client's own.
func TestM75AJoinWithAProducerKnowsItsRecords(t *testing.T) {
	for _, lagging := range []bool{true, false} {
		bubble(t, chat.Config{}, func(t *testing.T, h *house) {
			h.clients.NoDelivered = true // or there are frames of it
			before := h.join("alice", "lobby")
			before.say("lobby", "with another producer")
			first := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
			first.write(joinFrame("lobby"))
			first.readInto(0x09, new(chatpb.Joined))
			resumed := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
			join := &chatpb.Join{Room: []byte("lobby"), From: &chatpb.Join_Cursor{Cursor: &chatpb.Cursor{}}, Producer: make([]byte, 16)}
			if !lagging {
				resumed.write(frame(0x01, join))
				resumed.readInto(0x09, new(chatpb.Joined))
			}
			first.write(publishFrame("lobby", "1", "x"))
			time.Sleep(time.Second)
			bob := openRaw(t, h.net.Dial(h.srv, "bob", transport.Config{}))
			bob.write(joinFrame("lobby"), publishFrame("lobby", "2", "with the same producer, which is not his"))
			time.Sleep(time.Second)
			if lagging {
				resumed.write(frame(0x01, join))
				resumed.readInto(0x09, new(chatpb.Joined))
			}
			var lines []*chatpb.Line
			for len(lines) < 3 {
				typ, body := resumed.read()
				if typ != 0x11 {
					continue
				}
				var m chatpb.Record
				require.NoError(t, protoUnmarshal(body, &m))
				lines = append(lines, m.GetLines()...)
			}
			assert.Equal(t, []bool{false, true, false}, []bool{lines[0].GetOwn(), lines[1].GetOwn(), lines[2].GetOwn()})
			assert.Equal(t, "1", string(lines[1].GetMessageId()))

			join.Room, join.Producer = []byte("attic"), make([]byte, 15)
			resumed.write(frame(0x01, join))
			var r chatpb.Rejected
			resumed.readInto(0x0d, &r)
			assert.Equal(t, uint32(rpc.InvalidArgument), r.GetCode())
		})
	}
}

// A stream of a connection that has been replaced may be served late, and does not replace the newer one.
func TestAnOlderConnectionsStreamDoesNotReplaceANewerOnes(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		slow := make(chan struct{})
		late := make(chan struct{})
		h.srv = h.net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamChat: func(ctx context.Context, s *transport.Stream) {
				if s.Attempt() == 1 {
					<-slow
					defer close(late)
				}
				h.chat.ServeStream(ctx, s)
			},
		}})
		alice := h.rover("alice")
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
		time.Sleep(time.Second)
		alice.cut(false)
		expect[*chat.Joined](alice.user, nil)
		close(slow)
		<-late
		alice.say("lobby", "still here")
		assert.Len(t, all[*chat.Detached](alice.user), 1)
	})
}

// A client whose address changes stays on its connection, and misses nothing.
func TestANewAddressIsNoBreak(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob, alice := h.join("bob", "lobby"), h.rover("alice", "lobby")
		for i := range 10 {
			conn, err := net.ResolveUDPAddr("udp", alice.addr)
			require.NoError(t, err)
			alice.ask("lobby", fmt.Sprint("alice ", i))
			h.net.Rebind(conn)
			alice.ask("lobby", fmt.Sprint("alice again ", i))
			bob.say("lobby", fmt.Sprint("bob ", i))
			time.Sleep(time.Minute)
		}
		assert.Len(t, texts(alice.user), 10)
		assert.Len(t, texts(bob), 20)
		assert.Zero(t, alice.Unacknowledged())
		assert.Empty(t, all[*chat.Detached](alice.user))
	})
}

// A publish whose outcome the server does not know is rejected as Unavailable; if it is in the log, that is told, also
// after a break.
func TestC4AnUnavailableMessageThatIsInTheLogIsTold(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob, alice := h.join("bob", "lobby"), h.rover("alice", "lobby")
		log.set(nil, func() error { return errBroken }, nil)
		alice.cut(true)
		id := alice.ask("lobby", "perhaps")
		expect[*chat.Message](bob, nil)
		log.set(nil, nil, nil)
		assert.Equal(t, id, expect[*chat.Sent](alice.user, nil).ID)
		alice.say("lobby", "x")
		time.Sleep(time.Second)
		assert.Equal(t, []string{"perhaps", "x"}, texts(bob))
		assert.Len(t, all[*chat.Sent](alice.user), 2)
		assert.Empty(t, all[*chat.Rejected](alice.user))
	})
}
