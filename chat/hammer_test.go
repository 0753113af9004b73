package chat_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// Hundreds of sessions do at once what they may, and what they may not: they join and leave, talk, replace their streams, read
// slowly or not at all, abort, and are kicked out or not let in. All are shown the same line at the same place (C1), which is the
// log's, in order and each once (C4); what was acknowledged is where it was said to be (C2); and when they have gone, nothing is left
// of them (S5). It is for the race detector.
func TestC1C4AHammer(t *testing.T) {
	sessions, length := 120, 4*time.Second
	if testing.Short() {
		sessions = 50
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	a := &anvil{shown: make(map[place]chat.Message), said: make(map[string]place)}
	log := newLog()
	cfg := chat.Config{Log: log, Authorize: a.authorize, Administrator: administrators("root")}
	bubble(t, cfg, func(t *testing.T, h *house) {
		h.chat.SetBigRoom(15, 10)
		a.h, a.end = h, time.Now().Add(length)
		root := h.join("root")
		for i := range anvilRooms {
			root.join(roomName(i), chat.Live())
		}
		slow := h.client(h.net.Dial(h.srv, "root", transport.Config{}), "slow") // reads nothing until the others have gone, of a log that keeps it all
		require.NoError(t, slow.Join(t.Context(), roomName(0), chat.Live()))
		var wg sync.WaitGroup
		for i := range sessions {
			wg.Go(func() { a.strike(rand.New(rand.NewPCG(seed, uint64(i))), fmt.Sprintf("u%d", i/3)) })
		}
		wg.Go(func() { // root keeps order
			random := rand.New(rand.NewPCG(seed, 1<<32))
			root.publish(roomName(0), 500)
			for time.Now().Before(a.end) {
				time.Sleep(100 * time.Millisecond)
				a.generation.Add(1)
				h.chat.Reauthorize()
				_, _ = chat.Kick.Call(t.Context(), root.session, &chat.KickRequest{Room: roomName(random.IntN(anvilRooms)), Who: fmt.Sprintf("u%d", random.IntN(sessions/3))})
				h.chat.Stats()
				h.chat.Rooms()
			}
		})
		wg.Wait()
		st := h.chat.Stats()
		assert.Equal(t, 1, st.Stalled)
		last := root.say(roomName(0), "last").Position
		slow.lines(last.Seq)
		var next uint64
		for _, e := range slow.events {
			switch e := e.(type) {
			case *chat.Joined:
				next = e.Next
			case *chat.Message:
				require.Equal(t, next, e.Position.Seq)
				next++
			case *chat.Changed:
				require.Equal(t, next, e.Position.Seq)
				next++
			}
		}
		require.Equal(t, last.Seq+1, next)
		go slow.collect()
		slow.release()
		root.release()
		time.Sleep(2 * time.Minute) // so that nobody is held any more
		synctest.Wait()

		assert.Empty(t, a.faults)
		rooms, known := h.chat.Refs()
		assert.Empty(t, rooms)
		assert.Zero(t, known)
		now := h.chat.Stats()
		assert.Equal(t, [7]int{}, [7]int{now.Streams, now.Rooms, now.Members, now.Held, now.Lagging, now.Stalled, int(now.Malformed)})
		a.compareWith(t, log)
		assert.Positive(t, st.Evicted)
		assert.Positive(t, st.Vanished)
		assert.Positive(t, now.CatchUps)
		assert.Greater(t, len(a.said), sessions)
		t.Logf("%d lines, %d of them acknowledged; %+v", len(a.shown), len(a.said), st)
	})
}

const anvilRooms = 6

func roomName(i int) string { return fmt.Sprintf("room%d", i) }

// A place is where a record is.
type place struct {
	room string
	at   chat.Position
}

// An anvil is what the sessions hammer at, and what they have been told.
type anvil struct {
	h   *house
	end time.Time

	generation counter

	mu     sync.Mutex // guards what follows
	shown  map[place]chat.Message
	said   map[string]place // by message id
	faults []string
}

// counter is an integer that many change.
type counter struct {
	mu sync.Mutex // guards n
	n  int
}

func (c *counter) Add(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	return c.n
}

// authorize keeps a third of all out of each room, for a while.
func (a *anvil) authorize(who certs.ID, room string, _ chat.Verb) error {
	if who.Name != "root" && (a.generation.Add(0)/20+int(who.Name[len(who.Name)-1])+int(room[4]))%3 == 0 {
		return errBroken
	}
	return nil
}

func (a *anvil) fault(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.faults) < 10 {
		a.faults = append(a.faults, fmt.Sprintf(format, args...))
	}
}

// strike is what one user does, on one session after the other.
func (a *anvil) strike(random *rand.Rand, name string) {
	var readers sync.WaitGroup
	defer readers.Wait()
	for time.Now().Before(a.end) {
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		session := a.h.net.Dial(a.h.srv, name, transport.Config{})
		var c *chat.Client
		home := random.IntN(anvilRooms)
		for steps := 5 + random.IntN(40); steps > 0 && time.Now().Before(a.end); steps-- {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			room := roomName((home + random.IntN(2)) % anvilRooms)
			if c == nil || random.IntN(15) == 0 { // a newer stream
				newer, err := chat.NewClient(ctx, session, chat.ClientConfig{})
				if err != nil {
					cancel()
					break
				}
				c = newer
				pause := time.Duration(0)
				if random.IntN(5) == 0 { // it is slow
					pause = time.Duration(random.IntN(50)) * time.Millisecond
				}
				readers.Go(func() { a.read(newer, pause) })
			}
			switch n := random.IntN(100); {
			case n < 40:
				_ = c.Join(ctx, room, []chat.From{chat.Live(), chat.Last(20), chat.After(chat.Position{})}[random.IntN(3)])
			case n < 50:
				_ = c.Leave(ctx, room)
			case n < 99:
				id := fmt.Sprint(random.Uint64())
				_ = c.PublishAs(ctx, room, id, name+" says "+id)
			default:
				for range 300 { // more than the credit, and the ring
					_ = c.PublishAs(ctx, room, fmt.Sprint(random.Uint64()), kilobyte)
				}
			}
			cancel()
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		}
		switch random.IntN(3) {
		case 0:
			session.Abort(transport.Aborted, "")
		case 1:
			if c != nil {
				_ = c.Close()
			}
			fallthrough
		default:
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_ = session.Release(ctx) // may take longer than who is slow has
			cancel()
			session.Abort(transport.Aborted, "")
		}
	}
}

// read reads until the end, and checks what it is shown.
func (a *anvil) read(c *chat.Client, pause time.Duration) {
	next := make(map[string]uint64) // the seq that comes next, of rooms that it is in
	for {
		e, err := c.Next(context.Background())
		if err != nil {
			if code(err).Class() == transport.ClassProtocol {
				a.fault("%v", err)
			}
			return
		}
		switch e := e.(type) {
		case *chat.Joined:
			next[e.Room] = e.Next
		case *chat.Message:
			if e.Position.Seq < next[e.Room] {
				a.fault("%s: %d after %d", e.Room, e.Position.Seq, next[e.Room])
			}
			next[e.Room] = e.Position.Seq + 1
			a.show(place{e.Room, e.Position}, *e)
		case *chat.Sent:
			a.mu.Lock()
			a.said[e.ID] = place{e.Room, e.Position}
			a.mu.Unlock()
		}
		time.Sleep(pause)
	}
}

// show notes what is at a place, and that all are shown the same.
func (a *anvil) show(p place, m chat.Message) {
	a.mu.Lock()
	before, known := a.shown[p]
	a.shown[p] = m
	a.mu.Unlock()
	if known && before != m {
		a.fault("at %v is %+v, and %+v", p, before, m)
	}
}

// compareWith compares what was shown, and said to be there, with what the log still has.
func (a *anvil) compareWith(t *testing.T, log chat.Log) {
	t.Helper()
	for i := range anvilRooms {
		room := roomName(i)
		state, err := log.State(t.Context(), room)
		require.NoError(t, err)
		ids := make(map[string]bool)
		for seq := state.First; seq <= state.Head; {
			records, err := log.Read(t.Context(), room, seq, 1<<20)
			require.NoError(t, err)
			for _, r := range records {
				require.Equal(t, seq, r.Seq)
				seq++
				if r.Kind != chat.KindText {
					continue
				}
				p := place{room, r.Position}
				require.False(t, ids[r.ID], "%s is there twice", r.ID)
				ids[r.ID] = true
				if m, ok := a.shown[p]; ok {
					require.Equal(t, [3]string{r.From, r.ID, string(r.Body)}, [3]string{m.From, m.ID, m.Text})
				}
				if at, ok := a.said[r.ID]; ok {
					require.Equal(t, p, at)
				}
			}
		}
		for id, p := range a.said {
			if p.room == room && p.at.Seq >= state.First {
				require.True(t, ids[id], "%s is not in the log", id)
			}
		}
	}
}
