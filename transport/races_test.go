package transport_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// Canceled between the handshake and HELLO.
func TestDialCanceledBeforeHello(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cred := *n.User("alice")
		var asked atomic.Int64
		cred.Now = func() time.Time {
			if asked.Add(1) == 2 { // the second look at the certificate, in hello
				cancel()
			}
			return time.Now()
		}
		_, err := n.TryDial(ctx, srv, "", transport.Config{Credentials: &cred})
		require.ErrorIs(t, err, context.Canceled)
	})
}

// Canceled at the very moment WELCOME arrives: a session that Dial has returned lives.
func TestS1DialCanceledAtWelcome(t *testing.T) {
	for i := range 100 {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+20*(i%2))*time.Millisecond)
			defer cancel()
			s, err := n.TryDial(ctx, srv, "alice", transport.Config{})
			if err != nil {
				return
			}
			time.Sleep(time.Second)
			require.Equal(t, transport.StateLive, s.State(), "run %d: Dial succeeded, then: %v", i, context.Cause(s.Context()))
		})
	}
}

// FINISH may overtake a stream whose packet was lost; last_opened tells that it is on its way.
func TestS2LostNoteArrivesBeforeTheRelease(t *testing.T) {
	for _, who := range []string{"client", "server"} {
		t.Run(who, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				got := make(chan int, 1)
				h := on(func(_ context.Context, s *transport.Stream) {
					b, _ := io.ReadAll(s)
					got <- len(b)
				})
				srv := n.Listen(transport.Config{Handlers: h})
				client, server := n.Pair(srv, "alice", transport.Config{Handlers: h})
				time.Sleep(time.Second)
				from := client
				if who == "server" {
					from = server
				}
				to := srv.Addr().String()
				var lost atomic.Bool
				n.Drop(func(p transporttest.Packet) bool {
					return (p.To.String() == to) == (who == "client") && lost.CompareAndSwap(false, true)
				})
				str, err := from.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				_, err = str.Write([]byte("a note"))
				require.NoError(t, err)
				require.NoError(t, str.Close())
				str.CancelRead(transport.StreamNoError)
				time.Sleep(time.Millisecond) // it went out, and is lost
				require.NoError(t, client.Release(t.Context()))
				time.Sleep(time.Second)
				select {
				case k := <-got:
					assert.Equal(t, 6, k)
				default:
					assert.Fail(t, "Release returned nil, and what was written before it never arrived")
				}
			})
		})
	}
}

// The drain begins while MayRelease thinks: nothing is refused any more.
func TestM18RefusalOvertakenByADrain(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MayRelease: func(*transport.Session) error {
			time.Sleep(2 * time.Second)
			return errors.New("no")
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		rel := make(chan error, 1)
		go func() { rel <- client.Release(t.Context()) }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		<-rel
		code, _ := transport.CodeOf(client.Wait(t.Context()))
		require.Contains(t, []transport.CloseCode{0, transport.Drained}, code, "%v", code)
	})
}

// An Authorize that waits for its context does not outlive the client, nor does its session.
func TestS5AuthorizeEndsWithTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Authorize: func(ctx context.Context, _ transport.Peer) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}})
		for i := range byte(5) {
			p := dialRaw(t, n, srv, "alice")
			p.control(hello(i, 1))
			time.Sleep(time.Second)
			_ = p.conn.CloseWithError(0, "")
		}
		time.Sleep(10 * time.Minute)
		require.Empty(t, srv.Sessions(), "sessions of connections that are long gone")
	})
}

// Streams beyond GOAWAY are rejected, and their credit is counted like any other's.
func TestRejectedStreamsCountOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })})
		p := dialRaw(t, n, srv, "alice")
		p.control(hello(1, 1))
		p.readWelcome()
		server := srv.Sessions()[0]
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(ctx) }()
		time.Sleep(2 * time.Second)
		for range 10 {
			s, err := p.conn.OpenStream()
			require.NoError(t, err)
			_, _ = s.Write([]byte{1})
		}
		time.Sleep(time.Second)
		assert.Equal(t, 0, transport.Running(server))
		<-done
	})
}

// Stopping the control stream is a fault of the peer's, not load.
func TestStopSendingOnTheControlStream(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		p := dialRaw(t, n, srv, "alice")
		p.control(hello(1, 1))
		p.readWelcome()
		p.ctl.CancelRead(0)
		time.Sleep(time.Second)
		p.control(transport.AppendFrame(nil, 0x0d, nil))
		p.requireClosed(transport.ClosedCriticalStream)
	})
}

// Shutdown ends with its context, though a handler ignores its own.
func TestShutdownEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		never := make(chan struct{})
		srv := n.Listen(transport.Config{Handlers: on(func(context.Context, *transport.Stream) { <-never })})
		client := n.Dial(srv, "alice", transport.Config{})
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, _ = str.Write([]byte("x"))
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(ctx) }()
		select {
		case <-done:
		case <-time.After(time.Hour):
			assert.Fail(t, "Shutdown(1 s) still waits after an hour")
		}
		close(never)
	})
}

// A session that is banned while its client comes back does not live on.
func TestS4AbortBeatsAResume(t *testing.T) {
	survived := 0
	for range 100 {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{})
			p := dialRaw(t, n, srv, "alice")
			p.control(hello(1, 1))
			p.readWelcome()
			server := srv.Sessions()[0]
			q := dialRaw(t, n, srv, "alice") // its handshake is done, HELLO follows
			time.Sleep(time.Second)
			q.control(hello(1, 2))
			time.Sleep(rtt / 2) // HELLO arrives now
			server.Abort(transport.Banned, "")
			time.Sleep(time.Second)
			synctest.Wait()
			if server.State() != transport.StateEnded {
				survived++
			}
		})
	}
	require.Zero(t, survived, "sessions that live on after Abort(Banned)")
}

// A resume at the very moment the hold ends is either kept or new, and never a crash.
func TestResumeAtTheEndOfTheHold(t *testing.T) {
	for range 60 {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{Hold: 5 * time.Second, IdleTimeout: 3 * time.Second})
			p := dialRawConfig(t, n, srv, &transport.Config{Credentials: n.User("alice"), IdleTimeout: 3 * time.Second})
			p.control(hello(1, 1))
			p.readWelcome()
			server := srv.Sessions()[0]
			n.Cut()
			for server.State() == transport.StateLive {
				time.Sleep(time.Millisecond)
			}
			n.Drop(nil)
			ended := time.Now().Add(5*time.Second - time.Millisecond)
			q := dialRawConfig(t, n, srv, &transport.Config{Credentials: n.User("alice"), IdleTimeout: time.Minute})
			time.Sleep(time.Until(ended) - rtt/2 - 0)
			q.control(hello(1, 2))
			time.Sleep(time.Second)
		})
	}
}

// A close packet that was lost is sent again, for the socket stays open a moment longer.
func TestClosePacketsGetTheirTime(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, s *transport.Stream) { _, _ = io.Copy(io.Discard, s) })})
		client := n.Dial(srv, "alice", transport.Config{})
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		go func() {
			for {
				if _, err := str.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		end := time.Now().Add(5 * time.Second)
		var cut atomic.Int64
		n.Drop(func(p transporttest.Packet) bool { // the first packets from the server once the time is up
			return p.From.String() == srv.Addr().String() && !time.Now().Before(end) && cut.Add(1) <= 2
		})
		var e *transport.CutError
		require.ErrorAs(t, srv.Shutdown(ctx), &e)
		requireEnd(t, client, transport.DrainTimeout, true)
	})
}

// What a peer says of itself is kept in short.
func TestS5PeersTextIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		name := make([]byte, 15<<10)
		for i := range name {
			name[i] = 1
		}
		_, server := n.Pair(srv, "alice", transport.Config{Name: string(name)})
		require.Less(t, len(server.Peer().Software), 1<<10)
	})
}

// A session whose client is being greeted again makes no room for others.
func TestWhoComesBackIsNotEvicted(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		gate := make(chan struct{})
		var slow atomic.Bool
		srv := n.Listen(transport.Config{MaxSessions: 1, Handlers: on(echo), Authorize: func(_ context.Context, p transport.Peer) error {
			if slow.Load() && p.ID.Name == "alice" {
				<-gate
			}
			return nil
		}})
		alice := n.Dial(srv, "alice", transport.Config{})
		slow.Store(true)
		back := make(chan error, 1)
		go func() { _, err := resume(t, n, srv, alice, "alice", 2); back <- err }()
		time.Sleep(time.Second)
		_, err := n.TryDial(t.Context(), srv, "bob", transport.Config{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.ExcessiveLoad})
		close(gate)
		require.NoError(t, <-back)
	})
}

// A server that has gone without a word after the time it gave has drained.
func TestSilenceAfterGoAwayIsDrainedByDefault(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })})
		client := n.Dial(srv, "alice", transport.Config{})
		go func() { _, _ = say(t.Context(), client, "never answered") }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		go func() {
			time.Sleep(4 * time.Second)
			n.Cut()
		}()
		_ = srv.Shutdown(ctx)
		requireEnd(t, client, transport.Drained, false)
	})
}

// FINISH{drain} that nobody asked for would go round MayRelease (M20).
func TestS7DrainMustBeAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MayRelease: func(*transport.Session) error { return errors.New("you hold the floor") }})
		p := dialRaw(t, n, srv, "alice")
		p.control(hello(1, 1))
		p.readWelcome()
		p.control(transport.AppendFrame(nil, 0x07, []byte{0x08, 0x02}))
		p.requireClosed(transport.Protocol)
	})
}

// An OpenStream that waits for credit when a release begins ends with ErrGoingAway, and soon.
func TestBlockedOpenStreamEndsWithTheRelease(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MaxStreams: 2, Handlers: on(func(_ context.Context, s *transport.Stream) {
			<-s.Draining()
			time.Sleep(8 * time.Second)
			_ = s.Close()
		})})
		client := n.Dial(srv, "alice", transport.Config{})
		go func() { _, _ = say(t.Context(), client, "x") }()
		time.Sleep(time.Second)
		opened := make(chan time.Duration, 1)
		go func() {
			start := time.Now()
			_, err := client.OpenStream(t.Context(), transport.StreamRPC)
			assert.ErrorIs(t, err, transport.ErrGoingAway)
			opened <- time.Since(start)
		}()
		time.Sleep(time.Second)
		require.NoError(t, client.Release(t.Context()))
		assert.Less(t, <-opened, 3*time.Second, "OpenStream returned long after the release had begun")
	})
}
