package chat_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// C1, C3, C4: several clients talk while their connections are cut, one way or both, and the server is killed, drained and
// started again over its log. In the end everyone has seen every line once, in the order of the log, and every
// acknowledgement names the place where its line is.
func TestC4LinesUnderRandomCutsAndRestarts(t *testing.T) {
	for range 5 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			log := newLog()
			bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) { randomBreaks(t, h, log, seed) })
		})
	}
}

// A member who comes and goes while connections are cut sees, from each Joined to its Left, all that there is.
func TestC4MembershipsUnderRandomCutsAndRestarts(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			log := newLog()
			bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
				random := rand.New(rand.NewPCG(seed, 0))
				guest, host := h.rover("guest"), h.rover("host", "lobby")
				done := make(chan struct{})
				go func() {
					defer close(done)
					random := rand.New(rand.NewPCG(seed, 1))
					for range 30 {
						guest.join("lobby", []chat.From{chat.Live(), chat.Last(2)}[random.IntN(2)])
						time.Sleep(time.Duration(random.IntN(20)) * time.Second)
						assert.NoError(t, guest.Leave(context.Background(), "lobby"))
						expect[*chat.Left](guest.user, nil)
					}
				}()
				for talking := true; talking; {
					time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
					host.ask("lobby", "x")
					switch random.IntN(12) {
					case 0:
						h.restart(log)
					case 1:
						h.net.Drop(nil)
					case 2:
						[]*rover{guest, host}[random.IntN(2)].cut(random.IntN(2) == 0)
					}
					select {
					case <-done:
						talking = false
					default:
					}
				}
				var next uint64 // 0: not in the room
				rooms := 0
				for _, e := range all[chat.Event](guest.user) {
					switch e := e.(type) {
					case *chat.Joined:
						assert.Zero(t, next)
						next = e.Next
						rooms++
					case *chat.Message:
						assert.Equal(t, next, e.Position.Seq)
						next++
					case *chat.Left:
						next = 0
					case *chat.Gap, *chat.Rejected:
						assert.Fail(t, "unexpected", "%+v", e)
					}
				}
				assert.Equal(t, 30, rooms)
				assert.NotEmpty(t, all[*chat.Resumed](guest.user))
			})
		})
	}
}

func randomBreaks(t *testing.T, h *house, log chat.Log, seed uint64) {
	t.Helper()
	const members, lines = 4, 60
	random := rand.New(rand.NewPCG(seed, 0))
	var rovers []*rover
	for i := range members {
		rovers = append(rovers, h.rover(fmt.Sprint("u", i), "lobby", "attic"))
	}
	for i, r := range rovers { // the first talks little, and is mostly silent when it is cut
		go func() {
			random := rand.New(rand.NewPCG(seed, uint64(i+1)))
			for n := range lines {
				room := []string{"lobby", "attic"}[random.IntN(2)]
				_, err := r.Publish(context.Background(), room, fmt.Sprintf("%s of %s", fmt.Sprint(n), r.name))
				assert.NoError(t, err)
				time.Sleep(time.Duration(random.IntN(1+3*members/(i+1))) * time.Second)
			}
		}()
	}
	for range 25 {
		time.Sleep(time.Duration(random.IntN(8000)) * time.Millisecond)
		switch random.IntN(6) {
		case 0:
			h.restart(log)
		case 1:
			addr, _ := h.srv.Addr().(*net.UDPAddr)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(3000))*time.Millisecond)
			_ = h.srv.Shutdown(ctx) // may have to cut
			cancel()
			h.chat.Close()
			time.Sleep(time.Duration(random.IntN(5)) * time.Second)
			h.startAt(addr, log)
		case 2:
			h.net.Drop(nil)
		case 3:
			share := random.IntN(30)
			var mu sync.Mutex
			losing := rand.New(rand.NewPCG(seed, 99))
			h.net.Drop(func(transporttest.Packet) bool {
				mu.Lock()
				defer mu.Unlock()
				return losing.IntN(100) < share
			})
		default:
			rovers[random.IntN(members)].cut(random.IntN(2) == 0)
		}
	}
	h.net.Drop(nil)
	for _, room := range []string{"lobby", "attic"} {
		checkRoom(t, log, rovers, room)
	}
	state, err := log.State(t.Context(), "lobby")
	require.NoError(t, err)
	attic, err := log.State(t.Context(), "attic")
	require.NoError(t, err)
	assert.Equal(t, uint64(members*lines), state.Head+attic.Head, "no line is there twice, and none is missing")
}

func checkRoom(t *testing.T, log chat.Log, rovers []*rover, room string) {
	t.Helper()
	// All publishers are done when all of their messages are acknowledged, but for who sleeps between two.
	time.Sleep(10 * time.Minute)
	for _, r := range rovers {
		r.user.mu.Lock()
		err := r.err
		r.user.mu.Unlock()
		require.NoError(t, err, "%s goes on for as long as its session does", r.name)
		require.Zero(t, r.Unacknowledged(), r.name)
	}
	state, err := log.State(t.Context(), room)
	require.NoError(t, err)
	records, err := log.Read(t.Context(), room, 1, 1<<30)
	require.NoError(t, err)
	require.Len(t, records, int(state.Head))
	detached := 0
	for _, r := range rovers {
		detached += len(all[*chat.Detached](r.user))
		assert.Len(t, all[*chat.Resumed](r.user), len(all[*chat.Detached](r.user)))
		assert.Empty(t, all[*chat.Gap](r.user))
		assert.Empty(t, all[*chat.Rejected](r.user))
		seen := make(map[uint64]bool)
		last := uint64(0)
		for _, m := range all[*chat.Message](r.user) {
			if m.Room != room {
				continue
			}
			assert.Greater(t, m.Position.Seq, last, "it rises")
			last = m.Position.Seq
			rec := records[m.Position.Seq-1]
			assert.Equal(t, [4]any{rec.Position, rec.From, rec.ID, string(rec.Body)}, [4]any{m.Position, m.From, m.ID, m.Text})
			assert.NotEqual(t, r.name, m.From)
			seen[m.Position.Seq] = true
		}
		for _, s := range all[*chat.Sent](r.user) {
			if s.Room != room {
				continue
			}
			assert.False(t, seen[s.Position.Seq], "once")
			seen[s.Position.Seq] = true
			rec := records[s.Position.Seq-1]
			assert.Equal(t, [3]any{rec.Position, rec.From, rec.ID}, [3]any{s.Position, r.name, s.ID})
		}
		assert.Len(t, seen, len(records), "%s has seen all of %s", r.name, room)
	}
	assert.Positive(t, detached)
}
