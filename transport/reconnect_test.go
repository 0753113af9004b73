package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// lasting configures a client that connects again by itself, and serves streams.
func lasting(n *transporttest.Network) transport.Config {
	return transport.Config{NewPacketConn: n.NewConn, Handlers: on(echo)}
}

// closeConn closes the connection that carries s, from its side, without a word to s.
func closeConn(t *testing.T, s *transport.Session, code transport.CloseCode) {
	t.Helper()
	require.NoError(t, transport.Conn(s).CloseWithError(quic.ApplicationErrorCode(code), "closed by the test"))
}

// awaitStatus waits until s is as ok wants it, and returns its status.
func awaitStatus(t *testing.T, s *transport.Session, ok func(transport.Status) bool) transport.Status {
	t.Helper()
	timeout := time.After(10 * time.Minute)
	for {
		now, changed := s.Status()
		if ok(now) {
			return now
		}
		select {
		case <-changed:
		case <-timeout:
			require.FailNow(t, "the session did not become what it should", "%+v", now)
		}
	}
}

// awaitResume waits for the connection with this number.
func awaitResume(t *testing.T, s *transport.Session, attempt uint64) transport.Status {
	t.Helper()
	return awaitStatus(t, s, func(now transport.Status) bool {
		require.NotEqual(t, transport.StateEnded, now.State, "%v", now.Err)
		return now.State == transport.StateLive && now.Attempt >= attempt
	})
}

func awaitDetached(t *testing.T, s *transport.Session) transport.Status {
	t.Helper()
	return awaitStatus(t, s, func(now transport.Status) bool { return now.State == transport.StateDetached })
}

// requireEndWithin is requireEnd for what must be soon.
func requireEndWithin(t *testing.T, s *transport.Session, limit time.Duration, code transport.CloseCode, remote bool) {
	t.Helper()
	begun := time.Now()
	requireEnd(t, s, code, remote)
	require.LessOrEqual(t, time.Since(begun), limit)
}

// An abort by the peer is not the end: the client is back soon, and it is the same session on both sides, in
// both directions.
func TestClientComesBackAfterAnAbort(t *testing.T) {
	for _, code := range []transport.CloseCode{
		transport.Unspecified, transport.Aborted, transport.ReleaseTimeout, transport.Internal,
		transport.ExcessiveLoad, transport.HelloTimeout, transport.Released, 0x2ff, 0x7777,
	} {
		t.Run(code.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo)})
				client, server := n.Pair(srv, "alice", lasting(n))
				assert.False(t, client.Kept())
				closeConn(t, server, code)
				detached := awaitDetached(t, client)
				assert.True(t, detached.Err.Remote)
				assert.EqualValues(t, 1, detached.Attempt)
				lost := time.Now()
				now := awaitResume(t, client, 2)
				assert.Equal(t, transport.Status{State: transport.StateLive, Attempt: 2, Kept: true}, now)
				str, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				assert.EqualValues(t, 2, str.Attempt())
				str.Cancel(transport.StreamCanceled)
				assert.Less(t, time.Since(lost), 100*time.Millisecond+5*rtt)
				requireEcho(t, client)
				requireEcho(t, server)
				require.NoError(t, client.Release(t.Context()))
				requireEnd(t, server, transport.Released, true)
			})
		})
	}
}

// After what is no use to repeat the session ends, as Wait says, and nothing more is sent.
func TestClientStopsWhenItIsRefused(t *testing.T) {
	for _, code := range []transport.CloseCode{
		transport.Protocol, transport.ClosedCriticalStream, transport.FrameTooLarge, 0x3ff,
		transport.Unauthorized, transport.Revoked, transport.Expired, transport.Kicked, transport.Banned, transport.Replaced, 0x4ff,
	} {
		t.Run(code.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo)})
				client, server := n.Pair(srv, "alice", lasting(n))
				closeConn(t, server, code)
				requireEndWithin(t, client, time.Second, code, true)
				time.Sleep(time.Second) // what acknowledges the close is through
				sent := 0
				n.Drop(func(transporttest.Packet) bool { sent++; return false })
				time.Sleep(time.Hour)
				n.Drop(nil)
				assert.Zero(t, sent)
			})
		})
	}
}

// A client that is refused when it comes back stops, with what the server said.
func TestRefusedResumeEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var refused counter
		srv := n.Listen(transport.Config{Authorize: func(context.Context, transport.Peer) error {
			if refused.Add(1) > 1 {
				return &transport.Error{Code: transport.Revoked}
			}
			return nil
		}})
		client, server := n.Pair(srv, "alice", lasting(n))
		waiting := make(chan error, 1)
		closeConn(t, server, transport.Internal)
		awaitDetached(t, client)
		go func() { _, err := client.OpenStream(t.Context(), transport.StreamRPC); waiting <- err }()
		requireEnd(t, client, transport.Revoked, true)
		require.ErrorIs(t, <-waiting, &transport.Error{Code: transport.Revoked})
		time.Sleep(time.Hour)
		assert.EqualValues(t, 2, refused.Load())
	})
}

// While the server has no room for it, or somebody's handlers are in the way, a client goes on asking.
func TestClientGoesOnWhileTheServerIsFull(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MaxSessions: 1, Hold: -1, Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", lasting(n))
		closeConn(t, server, transport.Internal)
		synctest.Wait()
		bob := n.Dial(srv, "bob", transport.Config{})
		time.Sleep(time.Minute)
		now, _ := client.Status()
		require.Equal(t, transport.StateDetached, now.State)
		require.Equal(t, transport.ExcessiveLoad, now.Err.Code)
		require.NoError(t, bob.Release(t.Context()))
		now = awaitResume(t, client, 3)
		assert.False(t, now.Kept)
		requireEcho(t, client)
	})
}

// A cut that outlasts the idle timeout detaches both sides; when it is over they find each other.
func TestClientComesBackAfterACut(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", lasting(n))
		n.Cut()
		assert.Equal(t, transport.Lost, awaitDetached(t, client).Err.Code)
		back := make(chan error, 2)
		for _, s := range []*transport.Session{client, server} {
			go func() { _, err := say(t.Context(), s, "hello"); back <- err }()
		}
		time.Sleep(10 * time.Second)
		n.Drop(nil)
		assert.True(t, awaitResume(t, client, 2).Kept)
		if err := <-back; err != nil { // the server may not have noticed before
			assert.ErrorIs(t, err, net.ErrClosed)
		}
		<-back
		requireEcho(t, client)
		requireEcho(t, server)
	})
}

// While a session is detached, opening a stream waits no longer than its context says.
func TestOpenStreamWhileDetachedEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		client := n.Dial(srv, "alice", lasting(n))
		n.Cut()
		awaitDetached(t, client)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := client.OpenStream(ctx, transport.StreamRPC)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.InDelta(t, 3*time.Second, time.Since(begun), float64(10*time.Millisecond))
	})
}

// Attempts come soon at first, ever less often, and never more than ten seconds apart.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		var attempts []time.Time
		broken := false
		cfg := lasting(n)
		cfg.NewPacketConn = func() (net.PacketConn, error) {
			attempts = append(attempts, time.Now())
			if broken {
				return nil, errors.New("no network")
			}
			return n.NewConn()
		}
		client, server := n.Pair(srv, "alice", cfg)
		time.Sleep(time.Minute)
		broken, attempts = true, nil
		closeConn(t, server, transport.Internal)
		now := awaitDetached(t, client)
		assert.Equal(t, transport.Internal, now.Err.Code)
		lost := time.Now()
		time.Sleep(time.Hour)
		now, _ = client.Status()
		assert.Equal(t, transport.Lost, now.Err.Code)
		require.NotEmpty(t, attempts)
		bound := 100 * time.Millisecond
		for _, at := range attempts {
			assert.LessOrEqual(t, at.Sub(lost), bound)
			bound, lost = min(2*bound, 10*time.Second), at
		}
		assert.InDelta(t, 720, len(attempts), 120, "five seconds apart on the average")
		broken = false
		assert.EqualValues(t, 2, awaitResume(t, client, 2).Attempt, "attempts that said no HELLO do not count")
	})
}

// A server that accepts everybody and then fails is not asked ten times a second.
func TestBackoffGoesOnUntilAConnectionLasts(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", lasting(n))
		begun := time.Now()
		for i := range uint64(20) {
			closeConn(t, server, transport.Internal)
			awaitResume(t, client, i+2)
			synctest.Wait()
		}
		assert.Greater(t, time.Since(begun), 20*time.Second) // 70 s on the average
		time.Sleep(time.Minute)
		lost := time.Now()
		closeConn(t, server, transport.Internal)
		awaitResume(t, client, 22)
		assert.Less(t, time.Since(lost), 100*time.Millisecond+5*rtt, "after a connection that lasted, the first attempt is soon again")
	})
}

func TestReconnectTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		cfg := lasting(n)
		cfg.ReconnectTimeout = 30 * time.Second
		client := n.Dial(srv, "alice", cfg)
		n.Cut()
		awaitDetached(t, client)
		begun := time.Now()
		requireEnd(t, client, transport.Lost, false)
		assert.LessOrEqual(t, time.Since(begun), 30*time.Second+rtt)
		assert.GreaterOrEqual(t, time.Since(begun), 20*time.Second)
	})
}

func TestNoReconnect(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		cfg := lasting(n)
		cfg.NoReconnect = true
		client, server := n.Pair(srv, "alice", cfg)
		closeConn(t, server, transport.Internal)
		requireEndWithin(t, client, time.Second, transport.Internal, true)
	})
}

// The context of Dial bounds the first connection alone.
func TestSessionOutlivesTheContextOfDial(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		ctx, cancel := context.WithCancel(t.Context())
		client, err := n.TryDial(ctx, srv, "alice", lasting(n))
		require.NoError(t, err)
		cancel()
		time.Sleep(time.Second)
		closeConn(t, srv.Sessions()[0], transport.Internal)
		awaitResume(t, client, 2)
		requireEcho(t, client)
	})
}

// The client comes back when GOAWAY said, not before, and its session was kept. What it opens meanwhile waits.
func TestClientObeysTheDelayOfADrain(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Hold: 5 * time.Minute, Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", lasting(n))
		working, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = io.WriteString(working, "half")
		require.NoError(t, err)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			transport.Drain(ctx, server, 2*time.Minute)
		}()
		<-working.Draining()
		back := make(chan error, 1)
		go func() { _, err := say(t.Context(), client, "hello"); back <- err }()
		time.Sleep(5 * time.Second)
		require.NoError(t, working.Close())
		b, err := io.ReadAll(working)
		require.NoError(t, err)
		require.Equal(t, "half", string(b), "what was under way came to its end")
		<-drained
		now := awaitDetached(t, client)
		assert.Equal(t, transport.Drained, now.Err.Code)
		begun := time.Now()
		require.NoError(t, <-back)
		assert.InDelta(t, 2*time.Minute, time.Since(begun), float64(time.Second))
		now, _ = client.Status()
		assert.Equal(t, transport.Status{State: transport.StateLive, Attempt: 2, Kept: true}, now)
	})
}

// A server is drained and another takes its place: the client goes over to it, and no stream is refused.
func TestDrainThenNewServer(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", lasting(n))
		stop, failed := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					failed <- nil
					return
				default:
				}
				if _, err := say(t.Context(), client, "hello"); err != nil {
					failed <- err
					return
				}
			}
		}()
		time.Sleep(time.Second)
		require.NoError(t, srv.Shutdown(t.Context()))
		time.Sleep(3 * time.Second)
		again := n.Listen(transport.Config{PacketConn: n.ConnAt(srv.Addr().(*net.UDPAddr)), Handlers: on(echo)})
		now := awaitResume(t, client, 2)
		assert.False(t, now.Kept, "a new server knows nothing of it")
		require.Len(t, again.Sessions(), 1)
		assert.Equal(t, client.ID(), again.Sessions()[0].ID(), "and adopts it")
		close(stop)
		require.NoError(t, <-failed)
	})
}

// After kill -9 a new server with the same stateless reset key lets the client know with its next packet.
func TestKilledServerIsNoticedWithTheNextPacket(t *testing.T) {
	for _, keyed := range []bool{true, false} {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			cfg := transport.Config{Handlers: on(echo)}
			if keyed {
				cfg.StatelessResetKey = &[32]byte{1, 2, 3}
			}
			srv := n.Listen(cfg)
			client := n.Dial(srv, "alice", lasting(n))
			requireEcho(t, client)
			cfg.PacketConn = n.ConnAt(n.Kill(srv))
			n.Listen(cfg)
			begun := time.Now()
			str, err := client.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = str.Write(make([]byte, 64))
			require.NoError(t, err)
			_, err = str.Read(make([]byte, 1))
			require.ErrorIs(t, err, &transport.Error{Code: transport.Lost})
			now := awaitResume(t, client, 2)
			assert.False(t, now.Kept)
			if keyed {
				assert.Less(t, time.Since(begun), time.Second)
			} else {
				assert.Greater(t, time.Since(begun), 10*time.Second)
			}
			requireEcho(t, client)
		})
	}
}

// An idle client's PING is packet enough.
func TestIdleClientNoticesAKilledServer(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		cfg := transport.Config{StatelessResetKey: &[32]byte{1}, Handlers: on(echo)}
		srv := n.Listen(cfg)
		client := n.Dial(srv, "alice", lasting(n))
		time.Sleep(time.Minute)
		cfg.PacketConn = n.ConnAt(n.Kill(srv))
		n.Listen(cfg)
		begun := time.Now()
		awaitResume(t, client, 2)
		assert.Less(t, time.Since(begun), 7*time.Second)
	})
}

// A second process with the same id and key takes the session over; the first stops, or the two would take it from
// each other for ever.
func TestReplacedClientStops(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", lasting(n))
		second, err := resume(t, n, srv, client, "alice", 7)
		require.NoError(t, err)
		requireEndWithin(t, client, time.Second, transport.Replaced, true)
		time.Sleep(time.Minute)
		requireEcho(t, second)
	})
}

// So does one that was detached when it was overtaken.
func TestReplacedWhileDetached(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		cfg := lasting(n)
		var sockets counter
		cfg.NewPacketConn = func() (net.PacketConn, error) {
			if sockets.Add(1) == 2 {
				return nil, errors.New("no network")
			}
			return n.NewConn()
		}
		client, server := n.Pair(srv, "alice", cfg)
		closeConn(t, server, transport.Internal)
		awaitStatus(t, client, func(now transport.Status) bool { return now.Err != nil && now.Err.Code == transport.Lost })
		second, err := resume(t, n, srv, client, "alice", 7)
		require.NoError(t, err)
		requireEnd(t, client, transport.Replaced, true)
		requireEcho(t, second)
	})
}

// An attempt whose WELCOME is lost is given up here while there it carries the session. The next overtakes it,
// and nobody is harmed (S6).
func TestS6LateAttemptHarmsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var asked counter
		cfg := transport.Config{Handlers: on(echo), Authorize: func(_ context.Context, p transport.Peer) error {
			if p.ID.Name == "alice" && asked.Add(1) == 2 { // of the first attempt to come back: from here on it hears nothing
				to := p.Addr.String()
				n.Drop(func(p transporttest.Packet) bool { return p.To.String() == to })
			}
			return nil
		}}
		srv := n.Listen(cfg)
		bob := n.Dial(srv, "bob", transport.Config{})
		client, server := n.Pair(srv, "alice", lasting(n))
		closeConn(t, server, transport.Internal)
		now := awaitResume(t, client, 3)
		assert.EqualValues(t, 3, now.Attempt)
		assert.True(t, now.Kept)
		time.Sleep(time.Minute)
		requireEcho(t, client)
		requireEcho(t, server)
		requireEcho(t, bob)
		assert.Len(t, srv.Sessions(), 2)
	})
}

// A release of a session that no connection carries ends it at once: there is nothing that could arrive.
func TestReleaseWhileDetached(t *testing.T) {
	for name, wait := range map[string]time.Duration{"between attempts": 0, "in an attempt": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{})
				cfg := lasting(n)
				var socket net.PacketConn
				cfg.NewPacketConn = func() (net.PacketConn, error) {
					socket = n.Conn()
					return socket, nil
				}
				client, server := n.Pair(srv, "alice", cfg)
				closeConn(t, server, transport.Internal)
				synctest.Wait()
				awaitDetached(t, client)
				n.Cut()
				time.Sleep(wait)
				begun := time.Now()
				err := client.Release(t.Context())
				require.ErrorIs(t, err, &transport.Error{Code: transport.Aborted})
				assert.Less(t, time.Since(begun), 100*time.Millisecond)
				_, err = socket.WriteTo([]byte("x"), srv.Addr())
				require.Error(t, err, "what the attempt had is closed")
				_, err = client.OpenStream(t.Context(), transport.StreamRPC)
				require.ErrorIs(t, err, &transport.Error{Code: transport.Aborted})
			})
		})
	}
}

// Whenever Abort comes, the session ends at once, and the server does not take it for live.
func TestAbortWhileConnecting(t *testing.T) {
	for at := range 100 {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{})
			client, server := n.Pair(srv, "alice", lasting(n))
			closeConn(t, server, transport.Internal)
			awaitDetached(t, client)
			time.Sleep(time.Duration(at) * 2 * time.Millisecond)
			client.Abort(transport.Internal, "enough")
			requireEndWithin(t, client, 100*time.Millisecond, transport.Internal, false)
			time.Sleep(time.Second)
			assert.NotEqual(t, transport.StateLive, server.State())
		})
	}
}

// A loss in the midst of a release ends the session: nobody wants it back.
func TestLossDuringRelease(t *testing.T) {
	never := on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })
	begin := func(t *testing.T, n *transporttest.Network) (client, server *transport.Session, released chan error) {
		t.Helper()
		srv := n.Listen(transport.Config{Handlers: never})
		client, server = n.Pair(srv, "alice", lasting(n))
		go func() { _, _ = say(t.Context(), client, "never answered") }()
		time.Sleep(time.Second)
		released = make(chan error, 1)
		go func() { released <- client.Release(t.Context()) }()
		time.Sleep(time.Second)
		return client, server, released
	}
	t.Run("by the peer", func(t *testing.T) {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			client, server, released := begin(t, n)
			closeConn(t, server, transport.Internal)
			require.ErrorIs(t, <-released, &transport.Error{Code: transport.Internal})
			require.Equal(t, transport.StateEnded, client.State())
		})
	})
	t.Run("in silence", func(t *testing.T) {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			client, _, released := begin(t, n)
			n.Cut()
			begun := time.Now()
			require.Error(t, <-released)
			assert.Less(t, time.Since(begun), 11*time.Second)
			require.Equal(t, transport.StateEnded, client.State())
		})
	})
	t.Run("of the server's", func(t *testing.T) { // whose session ends, and who comes back has a new one
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{Handlers: never})
			client, server := n.Pair(srv, "alice", lasting(n))
			go func() { _, _ = say(t.Context(), client, "never answered") }()
			time.Sleep(time.Second)
			released := make(chan error, 1)
			go func() { released <- server.Release(t.Context()) }()
			time.Sleep(time.Second)
			closeConn(t, client, transport.Internal)
			require.ErrorIs(t, <-released, &transport.Error{Code: transport.Internal})
			assert.False(t, awaitResume(t, client, 2).Kept)
		})
	})
}

// A client that comes back while the server releases its session finds that gone when the release is over, and has a
// new one: a release does not move to another connection.
func TestComingBackDuringAReleaseOfTheServers(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })})
		client, server := n.Pair(srv, "alice", lasting(n))
		go func() { _, _ = say(t.Context(), client, "never answered") }()
		time.Sleep(time.Second)
		released := make(chan error, 1)
		go func() { released <- server.Release(t.Context()) }()
		time.Sleep(time.Second)
		old := server.Peer().Addr.String()
		n.Drop(func(p transporttest.Packet) bool { return p.From.String() == old || p.To.String() == old })
		closeConn(t, client, transport.Internal) // which the server does not learn
		begun := time.Now()
		now := awaitStatus(t, client, func(now transport.Status) bool { return now.Err != nil && now.Err.Remote })
		assert.Equal(t, transport.Aborted, now.Err.Code)
		require.Error(t, <-released)
		assert.Less(t, time.Since(begun), 11*time.Second)
		assert.False(t, awaitResume(t, client, 2).Kept)
	})
}

// A release that is refused changes nothing: the session is resumed after a loss.
func TestSessionIsResumedAfterARefusedRelease(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), MayRelease: func(*transport.Session) error { return errors.New("no") }})
		client, server := n.Pair(srv, "alice", lasting(n))
		var refused *transport.NotFinishedError
		require.ErrorAs(t, client.Release(t.Context()), &refused)
		closeConn(t, server, transport.Internal)
		awaitResume(t, client, 2)
		requireEcho(t, client)
	})
}

// Who waits for the end of a drain to open a stream is told when the session is released instead.
func TestReleaseInADrainEndsTheWaitForAStream(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(_ context.Context, s *transport.Stream) {
			<-s.Draining()
			time.Sleep(5 * time.Second)
			_ = s.Close()
		})})
		client, server := n.Pair(srv, "alice", lasting(n))
		go func() { _, _ = say(t.Context(), client, "x") }()
		time.Sleep(time.Second)
		drained := make(chan struct{})
		go func() { defer close(drained); transport.Drain(t.Context(), server, time.Second) }()
		time.Sleep(time.Second)
		opened := make(chan error, 1)
		go func() { _, err := client.OpenStream(t.Context(), transport.StreamRPC); opened <- err }()
		synctest.Wait()
		released := make(chan error, 1)
		go func() { released <- client.Release(t.Context()) }()
		require.ErrorIs(t, <-opened, transport.ErrGoingAway)
		require.ErrorIs(t, <-released, &transport.Error{Code: transport.Drained})
		require.Equal(t, transport.StateEnded, client.State())
		<-drained
	})
}

// Packets of the client's that come from another address, as after a NAT's forgetting, are the same connection's.
func TestNATRebinding(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", lasting(n))
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		turn := func() {
			_, err := io.WriteString(str, "ping")
			require.NoError(t, err)
			_, err = io.ReadFull(str, make([]byte, 4))
			require.NoError(t, err)
		}
		turn()
		n.Rebind(server.Peer().Addr)
		for range 3 {
			turn()
			time.Sleep(time.Second)
		}
		requireEcho(t, client)
		requireEcho(t, server)
		str.Cancel(transport.StreamNoError)
		now, _ := client.Status()
		assert.EqualValues(t, 1, now.Attempt, "it was the same connection")
		require.NoError(t, client.Release(t.Context()))
	})
}

// Wait waits for the handlers of every connection that there was.
func TestWaitWaitsForHandlersOfEarlierConnections(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		cfg := lasting(n)
		returned := false
		cfg.Handlers = on(func(ctx context.Context, _ *transport.Stream) {
			<-ctx.Done()
			time.Sleep(time.Hour) // it is slow to go
			returned = true
		})
		client, server := n.Pair(srv, "alice", cfg)
		go func() { _, _ = say(t.Context(), server, "x") }()
		time.Sleep(time.Second)
		closeConn(t, server, transport.Internal)
		awaitResume(t, client, 2)
		client.Abort(transport.Aborted, "")
		requireEnd(t, client, transport.Aborted, false)
		assert.True(t, returned)
	})
}

// A session that was resumed has no more goroutines than before, and a detached one none.
func TestResumingLeavesNoGoroutines(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		synctest.Wait()
		before := goroutines()
		client, server := n.Pair(srv, "alice", lasting(n))
		for i := range uint64(5) {
			requireEcho(t, client)
			closeConn(t, server, transport.Internal)
			awaitDetached(t, client)
			synctest.Wait()
			require.Zero(t, goroutines()-before)
			awaitResume(t, client, i+2)
			time.Sleep(time.Minute)
			synctest.Wait() // a timer may have woken with us
			require.Equal(t, 2*2, goroutines()-before)
		}
	})
}
