package transport_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A world is a server, alice, to whom things happen, and bob, to whom nothing happens that is not the server's.
type world struct {
	t      *testing.T
	n      *transporttest.Network
	random *rand.Rand
	cfg    transport.Config // the server's
	srv    *transport.Server
	alice  *transport.Session
	bob    *transport.Session
	wg     sync.WaitGroup
	did    []string // for the message of a failure

	mu      sync.Mutex // guards what follows
	sockets []net.PacketConn
}

// within returns a random time.
func (w *world) within(most time.Duration) time.Duration {
	return time.Duration(w.random.Int64N(int64(most)))
}

// ofAlice says whether a packet is from or to one of alice's sockets.
func (w *world) ofAlice(p transporttest.Packet) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.sockets, func(pc net.PacketConn) bool {
		at := pc.LocalAddr().String()
		return p.From.String() == at || p.To.String() == at
	})
}

// serverSide returns alice's session as the server has it now, or nil.
func (w *world) serverSide() *transport.Session {
	for _, s := range w.srv.Sessions() {
		if s.ID() == w.alice.ID() {
			return s
		}
	}
	return nil
}

// The faults, after all of which alice is to be back by herself.
var faults = map[string]func(w *world){
	"cut": func(w *world) {
		w.n.Drop(w.ofAlice)
		time.Sleep(w.within(40 * time.Second)) // the idle timeout is 15 s, the hold 30 s
		w.n.Drop(nil)
	},
	"cut one way": func(w *world) {
		server := w.srv.Addr().String()
		w.n.Drop(func(p transporttest.Packet) bool { return p.From.String() == server && w.ofAlice(p) })
		time.Sleep(w.within(30 * time.Second))
		w.n.Drop(nil)
	},
	"loss": func(w *world) {
		seed := w.random.Uint64()
		lost := rand.New(rand.NewPCG(seed, 0))
		w.n.Drop(func(p transporttest.Packet) bool { return w.ofAlice(p) && lost.IntN(4) == 0 })
		time.Sleep(w.within(20 * time.Second))
		w.n.Drop(nil)
	},
	"rebind": func(w *world) {
		w.mu.Lock()
		at := w.sockets[len(w.sockets)-1].LocalAddr()
		w.mu.Unlock()
		w.n.Rebind(at)
	},
	"migrate": func(w *world) {
		w.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			_ = w.alice.Migrate(ctx) // which may find it detached
		})
	},
	"abort by the server's connection": func(w *world) {
		if s := w.serverSide(); s != nil && s.State() == transport.StateLive {
			transport.CloseConn(s, transport.Internal)
		}
	},
	"restart": func(w *world) {
		w.cfg.PacketConn = w.n.ConnAt(w.n.Kill(w.srv))
		w.srv = w.n.Listen(w.cfg)
	},
	"silence": func(w *world) { time.Sleep(w.within(time.Minute)) },
}

// The ends.
var wishes = map[string]func(w *world){
	"release": func(w *world) { _ = w.alice.Release(context.Background()) },
	"abort":   func(w *world) { w.alice.Abort(transport.Aborted, "enough") },
	"release by the server": func(w *world) {
		if s := w.serverSide(); s != nil {
			_ = s.Release(context.Background())
		}
	},
	"kick": func(w *world) {
		if s := w.serverSide(); s != nil {
			s.Abort(transport.Kicked, "")
		}
	},
	"cut for good": func(w *world) { w.n.Drop(w.ofAlice) },
}

// Whatever befalls a session, in whatever order: while nobody ends it, it is back, on both sides the same, and it works;
// once somebody has, both sides know, nothing goes on in the dark, and nobody else was touched (S1, S3, S6, S7).
func TestS3SessionModel(t *testing.T) {
	for range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { befall(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func befall(t *testing.T, random *rand.Rand) {
	t.Helper()
	w := &world{t: t, n: transporttest.New(t, rtt), random: random}
	w.cfg = transport.Config{Handlers: on(echo), StatelessResetKey: &[32]byte{1}}
	w.srv = w.n.Listen(w.cfg)
	cfg := lasting(w.n)
	w.bob = w.n.Dial(w.srv, "bob", cfg)
	cfg.NewPacketConn = func() (net.PacketConn, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sockets = append(w.sockets, w.n.Conn())
		return w.sockets[len(w.sockets)-1], nil
	}
	w.alice = w.n.Dial(w.srv, "alice", cfg)
	defer func() {
		if t.Failed() {
			t.Log(w.did)
		}
	}()

	ctx, cancel := context.WithCancel(t.Context())
	for range 2 { // calls all the while
		w.wg.Go(func() {
			for ctx.Err() == nil && w.alice.State() != transport.StateEnded {
				if back, err := say(ctx, w.alice, "hello"); err == nil {
					assert.Equal(t, "hello", back)
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	restarts := 0
	for range 1 + random.IntN(8) {
		names := slices.Sorted(maps.Keys(faults))
		name := names[random.IntN(len(names))]
		if name == "restart" {
			restarts++
		}
		w.did = append(w.did, name)
		faults[name](w)
		time.Sleep(w.within(3 * time.Second))
	}

	// Nobody wanted it to end.
	time.Sleep(time.Minute)
	now, _ := w.alice.Status()
	require.Equal(t, transport.StateLive, now.State, "%v", now.Err)
	server := w.serverSide()
	require.NotNil(t, server)
	require.Equal(t, transport.StateLive, server.State())
	requireEcho(t, w.alice)
	requireEcho(t, server)
	requireEcho(t, w.bob)
	if restarts == 0 {
		assert.EqualValues(t, 1, attempts(w.bob), "nothing has happened to bob")
	}

	// One or two want it to, at about the same time.
	var ended []string
	for range 1 + random.IntN(2) {
		names := slices.Sorted(maps.Keys(wishes))
		name := names[random.IntN(len(names))]
		ended = append(ended, name)
		after := w.within(2 * rtt)
		w.wg.Go(func() {
			time.Sleep(after)
			wishes[name](w)
		})
	}
	w.did = append(w.did, ended...)
	time.Sleep(2 * time.Minute)
	checkEnd(t, w, server, ended)
	cancel()
	w.n.Drop(nil)
	w.alice.Abort(transport.Aborted, "the test is over")
	w.wg.Wait()
	requireEcho(t, w.bob)
}

// checkEnd checks what both sides say two minutes after somebody wanted the end.
func checkEnd(t *testing.T, w *world, server *transport.Session, ended []string) {
	t.Helper()
	if !slices.ContainsFunc(ended, func(name string) bool { return name != "cut for good" }) {
		assert.NotEqual(t, transport.StateEnded, w.alice.State(), "she goes on trying")
		assert.Equal(t, transport.Lost, codeOf(t, server))
		return
	}
	assert.Equal(t, transport.StateEnded, server.State())
	for _, s := range []*transport.Session{w.alice, server} {
		now, _ := s.Status()
		if now.State != transport.StateEnded {
			continue
		}
		if err := s.Wait(t.Context()); err != nil {
			assert.ErrorIs(t, err, now.Err)
		} else {
			assert.Equal(t, transport.Released, now.Err.Code)
		}
	}
	alice := w.alice.State() == transport.StateEnded
	onlyServer := !slices.Contains(ended, "release") && !slices.Contains(ended, "abort")
	if slices.Contains(ended, "cut for good") && onlyServer {
		return // she may not have heard, and then goes on trying
	}
	require.True(t, alice)
	a, s := codeOf(t, w.alice), codeOf(t, server)
	only := func(names ...string) bool {
		return !slices.ContainsFunc(ended, func(name string) bool { return !slices.Contains(names, name) })
	}
	if only("release", "release by the server") {
		assert.Equal(t, []transport.CloseCode{transport.Released, transport.Released}, []transport.CloseCode{a, s})
	}
	if slices.Contains(ended, "release") || slices.Contains(ended, "release by the server") {
		return
	}
	assert.NotEqual(t, transport.ClassGraceful, a.Class(), "nobody asked for a release")
	assert.NotEqual(t, transport.ClassGraceful, s.Class(), "nobody asked for a release")
}

func codeOf(t *testing.T, s *transport.Session) transport.CloseCode {
	t.Helper()
	now, _ := s.Status()
	require.NotNil(t, now.Err)
	return now.Err.Code
}
