package chat_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A rover is a user whose session connects again, and whose connections can be cut.
type rover struct {
	*user
	h *house

	mu   sync.Mutex // guards what follows
	addr string     // of the newest connection
}

func (h *house) rover(name string, rooms ...string) *rover {
	h.t.Helper()
	r := h.roverWith(name, chat.ClientConfig{})
	go r.collect()
	for _, room := range rooms {
		r.join(room, chat.Live())
	}
	return r
}

// roverWith is a rover who reads only what it is told to.
func (h *house) roverWith(name string, cfg chat.ClientConfig) *rover {
	h.t.Helper()
	r := &rover{h: h}
	session := h.net.Dial(h.srv, name, transport.Config{NewPacketConn: r.newConn})
	c, err := chat.NewClient(h.ctx(), session, cfg)
	require.NoError(h.t, err)
	r.user = &user{Client: c, t: h.t, name: name, session: session, changed: make(chan struct{})}
	return r
}

func (r *rover) newConn() (net.PacketConn, error) {
	conn := r.h.net.Conn()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr = conn.LocalAddr().String()
	return conn, nil
}

// cut loses all packets of the rover's connection from now on, or only those from the server. The next connection
// is well.
func (r *rover) cut(onlyFromServer bool) {
	r.mu.Lock()
	addr := r.addr
	r.mu.Unlock()
	r.h.net.Drop(func(p transporttest.Packet) bool {
		return p.To.String() == addr || !onlyFromServer && p.From.String() == addr
	})
}

// restart replaces the server by another with a log, at the same address. The old one is killed.
func (h *house) restart(log chat.Log) {
	h.t.Helper()
	addr := h.net.Kill(h.srv)
	h.chat.Close()
	h.startAt(addr, log)
}

func (h *house) startAt(addr *net.UDPAddr, log chat.Log) {
	h.t.Helper()
	h.chat = chat.NewServer(chat.Config{Log: log, Domain: h.net.Authority().Domain()})
	h.t.Cleanup(h.chat.Close)
	mux := rpc.NewMux(rpc.Config{})
	chat.Register(mux, h.chat)
	h.srv = h.net.Listen(transport.Config{PacketConn: h.net.ConnAt(addr), Handlers: map[transport.StreamType]transport.Handler{
		transport.StreamChat: h.chat.ServeStream,
		transport.StreamRPC:  mux.ServeStream,
	}, MayRelease: h.chat.MayRelease, BeforeRelease: h.chat.BeforeRelease})
}

func (u *user) ask(room, text string) (id string) {
	u.t.Helper()
	id, err := u.Publish(context.Background(), room, text)
	require.NoError(u.t, err)
	return id
}

// shown are the lines that a user has seen of a room, its own and others', in order.
func (u *user) shown(room string) []chat.Position {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []chat.Position
	for _, e := range u.events {
		switch e := e.(type) {
		case *chat.Message:
			if e.Room == room {
				out = append(out, e.Position)
			}
		case *chat.Sent:
			if e.Room == room {
				out = append(out, e.Position)
			}
		}
	}
	return out
}

// logOf returns the texts that a log has of a room.
func logOf(t testing.TB, log chat.Log, room string) []string {
	t.Helper()
	state, err := log.State(context.Background(), room)
	require.NoError(t, err)
	var out []string
	for seq := state.First; seq <= state.Head; seq++ {
		records, err := log.Read(context.Background(), room, seq, 1)
		require.NoError(t, err)
		out = append(out, string(records[0].Body))
	}
	return out
}

func newLog() *chat.MemoryLog { return chat.NewMemoryLog(chat.MemoryLogConfig{}) }

// What others say while a client is away comes when it is back, and what it says waits.
func TestC4AClientThatWasCutOffMissesNothing(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.rover("alice", "lobby")
		bob.say("lobby", "one")
		expect[*chat.Message](alice.user, nil)
		alice.say("lobby", "two")
		alice.cut(false)
		bob.say("lobby", "three")
		alice.ask("lobby", "four, asked on a dead connection")
		bob.say("lobby", "five")
		detached := expect[*chat.Detached](alice.user, nil)
		assert.Equal(t, transport.Lost, detached.Err.Code)
		alice.ask("lobby", "asked on none")
		resumed := expect[*chat.Resumed](alice.user, nil)
		assert.True(t, resumed.Kept)
		assert.Equal(t, []string{"alice", "bob"}, expect[*chat.Members](alice.user, nil).Names)
		alice.waitFor("acknowledgements", func([]chat.Event, error) bool { return alice.Unacknowledged() == 0 })
		alice.say("lobby", "last")
		time.Sleep(time.Second)
		assert.Equal(t, []string{"one", "two", "three", "five", "four, asked on a dead connection", "asked on none", "last"}, logOf(t, log, "lobby"))
		assert.Equal(t, []string{"one", "three", "five"}, texts(alice.user))
		assert.Len(t, all[*chat.Sent](alice.user), 4)
		assert.Equal(t, []string{"two", "four, asked on a dead connection", "asked on none", "last"}, texts(bob))
		alice.release()
	})
}

// A message whose acknowledgement was lost is asked again, and is the one it was (C3).
func TestC3AMessageWhoseAcknowledgementWasLostIsSentOnce(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.rover("alice", "lobby")
		alice.cut(true)
		id := alice.ask("lobby", "hello")
		heard := expect[*chat.Message](bob, nil)
		assert.Equal(t, id, heard.ID)
		sent := expect[*chat.Sent](alice.user, nil)
		assert.Equal(t, id, sent.ID)
		assert.Equal(t, heard.Position, sent.Position)
		alice.say("lobby", "again")
		time.Sleep(time.Second)
		assert.Equal(t, []string{"hello", "again"}, logOf(t, log, "lobby"))
		assert.Len(t, all[*chat.Sent](alice.user), 2)
		assert.Empty(t, texts(alice.user), "no line of its own")
	})
}

// Who was told that a message is in the log is not shown it after the break, though the record had yet to come.
func TestC4ALineThatWasAcknowledgedIsNotShownAgain(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.roverWith("alice", chat.ClientConfig{})
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
		next := func() chat.Event {
			e, err := alice.Next(t.Context())
			require.NoError(t, err)
			return e
		}
		require.IsType(t, &chat.Joined{}, next())
		// So much that events lag behind the credit, and acknowledgements do not.
		for range 12 {
			bob.say("lobby", kilobytes(32))
		}
		alice.ask("lobby", "mine")
		time.Sleep(time.Second)
		sent := 0
		for sent == 0 {
			if _, ok := next().(*chat.Sent); ok {
				sent++
			}
		}
		before := len(texts(bob))
		alice.cut(false)
		go alice.collect()
		expect[*chat.Resumed](alice.user, nil)
		time.Sleep(time.Second)
		assert.Empty(t, all[*chat.Sent](alice.user))
		assert.NotContains(t, texts(alice.user), "mine")
		assert.Equal(t, 1, before)
		bob.say("lobby", "last")
		assert.Equal(t, "last", expect(alice.user, func(m *chat.Message) bool { return m.Text == "last" }).Text)
	})
}

func kilobytes(n int) string { return string(slices.Repeat([]byte{'x'}, n<<10)) }

// A server that has restarted with its log gives all that it has; a session is new to it.
func TestC4ARestartOfTheServerLosesNothingThatIsInTheLog(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.rover("alice", "lobby"), h.rover("bob", "lobby")
		bob.say("lobby", "before")
		expect[*chat.Message](alice.user, nil)
		h.restart(log)
		id := alice.ask("lobby", "meanwhile")
		for _, r := range []*rover{alice, bob} {
			assert.False(t, expect[*chat.Resumed](r.user, nil).Kept)
		}
		expect(alice.user, func(s *chat.Sent) bool { return s.ID == id })
		assert.Equal(t, "meanwhile", expect[*chat.Message](bob.user, nil).Text)
		bob.say("lobby", "after")
		expect[*chat.Message](alice.user, nil)
		assert.Equal(t, []string{"before", "meanwhile", "after"}, logOf(t, log, "lobby"))
		assert.Empty(t, all[*chat.Gap](alice.user))
	})
}

// A log that began anew is told as a gap, and what had no answer is in the new one, once.
func TestC4ALogThatBeganAnewIsAGap(t *testing.T) {
	for _, saidBefore := range []int{0, 1, 5} {
		t.Run(fmt.Sprint(saidBefore), func(t *testing.T) {
			bubble(t, chat.Config{Log: newLog()}, func(t *testing.T, h *house) {
				bob := h.rover("bob", "lobby")
				alice := h.rover("alice", "lobby")
				for i := range saidBefore {
					alice.say("lobby", fmt.Sprint(i))
				}
				alice.cut(true)
				alice.ask("lobby", "unacknowledged")
				time.Sleep(time.Second)
				addr := h.net.Kill(h.srv)
				h.chat.Close()
				log := newLog()
				h.startAt(addr, log)
				quick := h.join("carol", "lobby")
				for range 3 { // so that the new log has a record at alice's position
					quick.say("lobby", "carol is back already")
				}
				for _, r := range []*rover{alice, bob} {
					gap := expect[*chat.Gap](r.user, nil)
					assert.Equal(t, rpc.DataLoss, gap.Code)
					assert.Equal(t, uint64(1), gap.First)
					assert.Positive(t, gap.Head)
					expect[*chat.Members](r.user, nil)
				}
				expect(alice.user, func(s *chat.Sent) bool { return !s.Duplicate })
				assert.Equal(t, 1, count(logOf(t, log, "lobby"), "unacknowledged"))
				assert.Equal(t, 3, count(texts(alice.user), "carol is back already"), "from where the log begins")
				assert.Zero(t, alice.Unacknowledged())
			})
		})
	}
}

func count(texts []string, text string) int {
	n := 0
	for _, t := range texts {
		if t == text {
			n++
		}
	}
	return n
}

// A client that was away for longer than the log reaches back is told, and goes on where the log begins.
func TestC4ATrimmedLogIsAGap(t *testing.T) {
	log := chat.NewMemoryLog(chat.MemoryLogConfig{MaxRoomRecords: 4, Epoch: 1})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.rover("alice", "lobby")
		alice.say("lobby", "mine")
		alice.cut(false)
		for i := range 10 {
			bob.say("lobby", fmt.Sprint(i))
		}
		gap := expect[*chat.Gap](alice.user, nil)
		assert.Equal(t, rpc.OutOfRange, gap.Code)
		assert.Equal(t, chat.Position{Epoch: 1, Seq: 1}, gap.After)
		assert.Equal(t, [2]uint64{8, 11}, [2]uint64{gap.First, gap.Head})
		time.Sleep(time.Second)
		assert.Equal(t, []string{"6", "7", "8", "9"}, texts(alice.user))
		alice.say("lobby", "x")
	})
}

// A server that goes away in order is left in order, and found again.
func TestAClientGoesOnAfterADrain(t *testing.T) { // S2
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "lobby")
		for i := range 100 {
			alice.ask("lobby", fmt.Sprint(i))
		}
		addr, _ := h.srv.Addr().(*net.UDPAddr)
		require.NoError(t, h.srv.Shutdown(t.Context()))
		h.chat.Close()
		assert.Equal(t, transport.Drained, expect[*chat.Detached](alice.user, nil).Err.Code)
		assert.Len(t, all[*chat.Sent](alice.user), 100, "answered before the connection ended")
		alice.ask("lobby", "meanwhile")
		h.startAt(addr, log)
		expect[*chat.Resumed](alice.user, nil)
		expect[*chat.Sent](alice.user, nil)
		alice.release()
		assert.Len(t, logOf(t, log, "lobby"), 101)
		for i, pos := range alice.shown("lobby") {
			assert.Equal(t, uint64(i+1), pos.Seq)
		}
	})
}

// After a release, or the end of a session that does not connect again, nothing is tried again.
func TestM36NothingFollowsARelease(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "lobby")
		alice.release()
		_, err := alice.Publish(t.Context(), "lobby", "x")
		assert.ErrorIs(t, err, chat.ErrClosed)
		assert.Empty(t, all[*chat.Detached](alice.user))

		bob := h.rover("bob", "lobby")
		bob.cut(false)
		expect[*chat.Detached](bob.user, nil)
		bob.ask("lobby", "it waits")
		assert.ErrorIs(t, bob.session.Release(t.Context()), &transport.Error{Code: transport.Aborted})
		assert.ErrorIs(t, bob.ended(), &transport.Error{Code: transport.Aborted})
		synctest.Wait()
		assert.Empty(t, all[*chat.Resumed](bob.user))
		_, err = bob.Publish(t.Context(), "lobby", "x")
		assert.Error(t, err)
		assert.Equal(t, 1, bob.Unacknowledged())
		_, err = bob.Next(t.Context())
		assert.NotErrorIs(t, err, io.EOF)
	})
}

// What is trimmed between the answer that the state is insufficient and the JOIN that follows is missing, too.
func TestC4AGapSaysExactlyWhatIsMissing(t *testing.T) {
	log := chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1, MaxRoomRecords: 5})
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.rover("alice", "lobby")
		bob.say("lobby", "seen")
		expect[*chat.Message](alice.user, nil)
		alice.cut(false)
		for range 1000 {
			bob.ask("lobby", "one of many")
			time.Sleep(30 * time.Millisecond)
		}
		gap := expect[*chat.Gap](alice.user, nil)
		assert.Equal(t, chat.Position{Epoch: 1, Seq: 1}, gap.After)
		assert.Equal(t, rpc.OutOfRange, gap.Code)
		expect[*chat.Members](alice.user, nil)
		assert.Equal(t, gap.First, expect[*chat.Message](alice.user, nil).Position.Seq)
		assert.Len(t, all[*chat.Gap](alice.user), 1)
	})
}
