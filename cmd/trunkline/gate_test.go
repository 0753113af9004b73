package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
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

// A guarded is a server with a policy, on a network in memory.
type guarded struct {
	*transporttest.Network
	guard *gate
	rooms *chat.Server
	srv   *transport.Server
}

// newGuarded returns one whose own domain has the policy in text.
func newGuarded(t *testing.T, text string) *guarded {
	t.Helper()
	g := &guarded{Network: transporttest.New(t, 0)}
	domain := g.Authority().Domain()
	g.guard = newGate(domain, parse(t, text))
	g.rooms = chat.NewServer(chat.Config{
		Log: chat.NewMemoryLog(chat.MemoryLogConfig{}), Domain: domain,
		Authorize: g.guard.authorizeRoom, AllowLines: g.guard.allowLines,
	})
	t.Cleanup(g.rooms.Close)
	own := builtins(rpc.Config{}, g.guard)
	g.srv = g.Listen(transport.Config{
		Authorize: func(ctx context.Context, p transport.Peer) error {
			return g.guard.admit(transport.SessionFrom(ctx), p.ID)
		},
		Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: own.mux.ServeStream, transport.StreamChat: g.rooms.ServeStream},
	})
	return g
}

// calls makes n calls on s and returns how many were answered; the others were one too many.
func calls(t *testing.T, s *transport.Session, n int) (answered int) {
	t.Helper()
	for range n {
		_, err := echoSay.Call(t.Context(), s, &echoMessage{})
		if err == nil {
			answered++
			continue
		}
		assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(err), "%v", err)
		assertNotStarted(t, err)
	}
	return answered
}

func TestCallsOfAnIdentityAreLimitedOverAllItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, `
[[allow]]
who = ["*"]
methods = ["**"]
[[limit]]
who = ["bob"]
calls_per_second = 3
`)
		one, two := g.Dial(g.srv, "bob", transport.Config{}), g.Dial(g.srv, "bob", transport.Config{})
		assert.Equal(t, 2, calls(t, one, 2))
		assert.Equal(t, 1, calls(t, two, 5), "the limit is the identity's")
		time.Sleep(time.Second)
		assert.Equal(t, 3, calls(t, one, 5))
		time.Sleep(time.Hour)
		assert.Equal(t, 3, calls(t, one, 5), "what was not used is not kept")
		assert.Equal(t, 50, calls(t, g.Dial(g.srv, "carol", transport.Config{}), 50), "the limit is bob's alone")

		// Whoever goes and comes again has no more than before.
		require.NoError(t, one.Release(t.Context()))
		require.NoError(t, two.Release(t.Context()))
		synctest.Wait()
		assert.Zero(t, calls(t, g.Dial(g.srv, "bob", transport.Config{}), 3))

		// A new policy does not fill it either.
		g.guard.apply(parse(t, "[[allow]]\nwho = [\"*\"]\nmethods = [\"**\"]\n[[limit]]\nwho = [\"bob\"]\ncalls_per_second = 10\n"))
		bob := g.Dial(g.srv, "bob", transport.Config{})
		assert.Zero(t, calls(t, bob, 3))
		time.Sleep(time.Second)
		assert.Equal(t, 10, calls(t, bob, 20))
		g.guard.apply(parse(t, "[[allow]]\nwho = [\"*\"]\nmethods = [\"**\"]\n"))
		assert.Equal(t, 30, calls(t, bob, 30), "it has no limit any more")
	})
}

// M63: and those that are allowed are answered as ever.
func TestM63LinesOfAnIdentityAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, `
[[allow]]
who = ["*"]
rooms = ["lobby"]
verbs = ["join", "speak"]
[[limit]]
who = ["*"]
lines_per_second = 2
`)
		s := g.Dial(g.srv, "bob", transport.Config{})
		client, err := chat.NewClient(t.Context(), s, chat.ClientConfig{})
		require.NoError(t, err)
		require.NoError(t, client.Join(t.Context(), "lobby", chat.Live()))
		publish := func(n int) (sent, rejected int) {
			for range n {
				_, err := client.Publish(t.Context(), "lobby", "hi")
				require.NoError(t, err)
			}
			next(t, client, func(e chat.Event) bool {
				switch e := e.(type) {
				case *chat.Sent:
					sent++
				case *chat.Rejected:
					assert.Equal(t, rpc.ResourceExhausted, e.Code)
					rejected++
				}
				return sent+rejected == n
			})
			return sent, rejected
		}
		for range 3 {
			sent, rejected := publish(5)
			assert.Equal(t, []int{2, 3}, []int{sent, rejected})
			time.Sleep(time.Second)
		}
	})
}

func TestM64SessionsOfAnIdentityAreLimitedAndOneThatIsHeldMakesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, `
[[allow]]
who = ["*"]
[[limit]]
who = ["*"]
sessions = 2
`)
		once := transport.Config{NoReconnect: true}
		_, lost := g.Pair(g.srv, "bob", once)
		two := g.Dial(g.srv, "bob", once)
		_, err := g.TryDial(t.Context(), g.srv, "bob", once)
		code, _ := transport.CodeOf(err)
		assert.Equal(t, transport.ExcessiveLoad, code, "%v", err)
		assert.ErrorContains(t, err, "the limit is 2 sessions of one identity")
		g.Dial(g.srv, "carol", once) // who has a limit of her own

		require.NoError(t, two.Release(t.Context()))
		synctest.Wait()
		g.Dial(g.srv, "bob", once)

		// While nobody hears from anybody the server gives up waiting, and holds what it has.
		g.Cut()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		require.Equal(t, transport.StateDetached, lost.State())
		g.Drop(nil)
		g.Dial(g.srv, "bob", once)
		g.Dial(g.srv, "bob", once)
		_, err = g.TryDial(t.Context(), g.srv, "bob", once)
		assert.Error(t, err, "neither of the two is held")
	})
}

// M64: what is on its way to WELCOME only looks held.
func TestM64ASessionThatIsBeingOpenedDoesNotMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, 0)
		guard := newGate(n.Authority().Domain(), parse(t, `
[[allow]]
who = ["*"]
[[limit]]
who = ["*"]
sessions = 1
`))
		decide := make(chan struct{})
		srv := n.Listen(transport.Config{Authorize: func(ctx context.Context, p transport.Peer) error {
			err := guard.admit(transport.SessionFrom(ctx), p.ID)
			if err == nil {
				<-decide // admitted, and not welcomed yet
			}
			return err
		}})
		first := make(chan error, 1)
		go func() {
			_, err := n.TryDial(t.Context(), srv, "bob", transport.Config{NoReconnect: true})
			first <- err
		}()
		synctest.Wait()
		_, err := n.TryDial(t.Context(), srv, "bob", transport.Config{NoReconnect: true})
		code, _ := transport.CodeOf(err)
		assert.Equal(t, transport.ExcessiveLoad, code, "%v", err)
		close(decide)
		require.NoError(t, <-first)
	})
}

// M64: live or held, and only of those whom the policy does not name any more.
func TestM64ANewPolicyEndsTheSessionsThatItDoesNotAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const everyone = "[[allow]]\nwho = [\"*\"]\nmethods = [\"**\"]\n"
		g := newGuarded(t, everyone)
		once := transport.Config{NoReconnect: true}
		_, held := g.Pair(g.srv, "bob", once)
		g.Cut()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		require.Equal(t, transport.StateDetached, held.State())
		g.Drop(nil)
		bob, ann := g.Dial(g.srv, "bob", transport.Config{}), g.Dial(g.srv, "ann", transport.Config{})

		assert.Equal(t, 2, g.guard.apply(parse(t, "[[allow]]\nwho = [\"ann\"]\nmethods = [\"**\"]\n")))
		synctest.Wait()
		for name, s := range map[string]*transport.Session{"live": bob, "held": held} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			code, _ := transport.CodeOf(s.Wait(ctx))
			cancel()
			assert.Equal(t, transport.Unauthorized, code, name)
		}
		assert.Equal(t, 1, calls(t, ann, 1))
		_, err := g.TryDial(t.Context(), g.srv, "bob", once)
		code, _ := transport.CodeOf(err)
		assert.Equal(t, transport.Unauthorized, code, "%v", err)

		g.guard.apply(parse(t, everyone))
		assert.Equal(t, 1, calls(t, g.Dial(g.srv, "bob", once), 1))
	})
}

// A file that is broken, or gone, changes nothing for anybody.
func TestAPolicyThatIsRefusedLeavesTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = "[[allow]]\nwho = [\"bob\"]\nmethods = [\"**\"]\n"
		g := newGuarded(t, text)
		bob := g.Dial(g.srv, "bob", transport.Config{})
		before := g.guard.policy
		file := filepath.Join(t.TempDir(), "policy.toml")
		log := slog.New(slog.DiscardHandler)
		for _, broken := range []string{"[[allow]]\nwho = [\"ann\"]\n[[limits]]\n", "[[allow]]\nwho = [\"ann\"]\nrooms = [\"a\"]\n", "\x00"} {
			require.NoError(t, os.WriteFile(file, []byte(broken), 0o600))
			reloadPolicy(file, g.guard, g.rooms, log)
			assert.Same(t, before, g.guard.policy)
			assert.Equal(t, 1, calls(t, bob, 1))
		}
		require.NoError(t, os.Remove(file))
		reloadPolicy(file, g.guard, g.rooms, log)
		assert.Same(t, before, g.guard.policy)
	})
}

// Identities come and go for ever; what is kept of them is not.
func TestWhoHasGoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, "[[allow]]\nwho = [\"*\"]\nmethods = [\"**\"]\n[[limit]]\nwho = [\"*\"]\ncalls_per_second = 1\n")
		names := []string{"a", "b", "c"}
		for _, name := range names {
			s := g.Dial(g.srv, name, transport.Config{})
			calls(t, s, 1)
			require.NoError(t, s.Release(t.Context()))
		}
		synctest.Wait()
		g.guard.mu.Lock()
		assert.Len(t, g.guard.people, len(names), "their limits are used up")
		g.guard.mu.Unlock()
		time.Sleep(time.Minute)
		g.guard.mu.Lock()
		g.guard.prune = 1
		g.guard.pruneLocked()
		assert.Empty(t, g.guard.people)
		g.guard.mu.Unlock()
	})
}

// M64: about to be opened: the policy changes right after the one before has admitted it.
func TestM64NoSessionSlipsThroughAChangeOfThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := transporttest.New(t, 0)
		guard := newGate(net.Authority().Domain(), parse(t, "[[allow]]\nwho = [\"*\"]\n"))
		without := parse(t, "[[allow]]\nwho = [\"ann\"]\n")
		srv := net.Listen(transport.Config{Authorize: func(ctx context.Context, p transport.Peer) error {
			err := guard.admit(transport.SessionFrom(ctx), p.ID)
			assert.NoError(t, err)
			guard.apply(without)
			return err
		}})
		_, err := net.TryDial(t.Context(), srv, "bob", transport.Config{})
		code, _ := transport.CodeOf(err)
		assert.Equal(t, transport.Unauthorized, code, "%v", err)
		synctest.Wait()
		assert.Zero(t, srv.Stats().Live)
		assert.Empty(t, guard.people)
	})
}
