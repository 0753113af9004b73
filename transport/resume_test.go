package transport_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// resume connects again for client's session, as the user called name.
func resume(t *testing.T, n *transporttest.Network, srv *transport.Server, client *transport.Session, name string, attempt uint64) (*transport.Session, error) {
	t.Helper()
	s, err := transport.Resume(t.Context(), client, srv.Addr().String(), attempt, &transport.Config{
		Credentials: n.User(name), PacketConn: n.Conn(), Handlers: on(echo),
	})
	if err == nil {
		t.Cleanup(func() {
			s.Abort(transport.Aborted, "")
			_ = s.Wait(context.Background())
		})
	}
	return s, err
}

func TestLostSessionIsHeldAndResumed(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", transport.Config{})
		client.Abort(transport.Aborted, "")
		synctest.Wait()
		time.Sleep(time.Second)
		require.Equal(t, transport.StateDetached, server.State())

		// Opening a stream meanwhile waits, and is served by the next connection.
		back := make(chan error, 1)
		go func() {
			_, err := say(t.Context(), server, "hello")
			back <- err
		}()
		time.Sleep(20 * time.Second)
		again, err := resume(t, n, srv, client, "alice", 2)
		require.NoError(t, err)
		assert.True(t, again.Kept())
		assert.Equal(t, client.ID(), again.ID())
		require.NoError(t, <-back)
		assert.Equal(t, transport.StateLive, server.State())
		assert.NoError(t, server.Context().Err(), "it is the same session")
		requireEcho(t, again)
		time.Sleep(time.Minute)
		assert.Equal(t, transport.StateLive, server.State(), "the hold of the first loss is over")
	})
}

func TestHoldEnds(t *testing.T) {
	for name, hold := range map[string]time.Duration{"after 30 s": 0, "after 5 s": 5 * time.Second, "at once": -1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Hold: hold})
				client, server := n.Pair(srv, "alice", transport.Config{})
				start := time.Now()
				client.Abort(transport.Internal, "")
				requireEnd(t, server, transport.Internal, true)
				want := max(0, hold)
				if hold == 0 {
					want = 30 * time.Second
				}
				assert.InDelta(t, want, time.Since(start), float64(time.Second))
				synctest.Wait()
				assert.Empty(t, srv.Sessions())

				// The id is unknown by now, so the server adopts it as new.
				again, err := resume(t, n, srv, client, "alice", 2)
				require.NoError(t, err)
				assert.False(t, again.Kept())
			})
		})
	}
}

// Only the identity with the key gets a session back, and only its own connection is
// replaced (S6).
func TestS6ResumingTouchesNoOtherSession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		phone := n.Dial(srv, "alice", transport.Config{})
		laptop, server := n.Pair(srv, "alice", transport.Config{})
		bob := n.Dial(srv, "bob", transport.Config{})

		_, err := resume(t, n, srv, laptop, "bob", 2)
		require.ErrorIs(t, err, &transport.Error{Code: transport.Unauthorized}, "another identity")
		_, err = transport.ResumeWithKey(t.Context(), laptop, [16]byte{1}, srv.Addr().String(), 2,
			&transport.Config{Credentials: n.User("alice"), PacketConn: n.Conn()})
		require.ErrorIs(t, err, &transport.Error{Code: transport.Unauthorized}, "another key")
		_, err = resume(t, n, srv, laptop, "alice", 1)
		require.ErrorIs(t, err, &transport.Error{Code: transport.Replaced}, "an attempt that was overtaken")
		for _, s := range []*transport.Session{phone, laptop, bob} {
			requireEcho(t, s)
		}

		again, err := resume(t, n, srv, laptop, "alice", 2)
		require.NoError(t, err)
		assert.True(t, again.Kept())
		requireEnd(t, laptop, transport.Replaced, true)
		assert.Equal(t, transport.StateLive, server.State())
		for _, s := range []*transport.Session{phone, again, bob} {
			requireEcho(t, s)
		}
	})
}

// Whoever has been released is gone for good: the id means nothing any more.
func TestReleasedSessionIsNotResumed(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		client := n.Dial(srv, "alice", transport.Config{})
		require.NoError(t, client.Release(t.Context()))
		time.Sleep(time.Second)
		again, err := resume(t, n, srv, client, "alice", 2)
		require.NoError(t, err)
		assert.False(t, again.Kept())
	})
}

// A resumed connection that is not authorized any more leaves nothing behind.
func TestResumeIsAuthorizedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		revoked := false
		srv := n.Listen(transport.Config{Authorize: func(context.Context, transport.Peer) error {
			if revoked {
				return &transport.Error{Code: transport.Revoked}
			}
			return nil
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		client.Abort(transport.Aborted, "")
		time.Sleep(time.Second)
		revoked = true
		_, err := resume(t, n, srv, client, "alice", 2)
		require.ErrorIs(t, err, &transport.Error{Code: transport.Revoked})
		synctest.Wait()
		assert.Empty(t, srv.Sessions())
	})
}

// A connection that asks for a session and dies before WELCOME does not keep it for ever (S5).
func TestS5HalfResumedSessionStillEnds(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		slow := make(chan struct{})
		var first bool
		srv := n.Listen(transport.Config{Authorize: func(context.Context, transport.Peer) error {
			if first {
				<-slow
			}
			first = true
			return nil
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		client.Abort(transport.Aborted, "")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := transport.Resume(ctx, client, srv.Addr().String(), 2, &transport.Config{Credentials: n.User("alice"), PacketConn: n.Conn()})
		require.Error(t, err)
		time.Sleep(20 * time.Second)
		close(slow)
		time.Sleep(35 * time.Second)
		assert.Empty(t, srv.Sessions())
	})
}
