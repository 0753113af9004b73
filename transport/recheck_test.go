package transport_test

import (
	"context"
	"crypto/x509"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// refuseRevoked asks check, and refuses with Revoked.
func refuseRevoked(check func(certs.ID, certs.Fingerprint) error) func(transport.Peer) error {
	return func(p transport.Peer) error {
		if err := check(p.ID, p.Fingerprint); err != nil {
			return &transport.Error{Code: transport.Revoked, Reason: "revoked", Err: err}
		}
		return nil
	}
}

// listenWatching starts a server on a home of its own that ends the sessions of who is revoked.
func listenWatching(t *testing.T, n *transporttest.Network, cfg transport.Config) (*certs.Home, *transport.Server) {
	t.Helper()
	var home *certs.Home
	if cfg.Authorize == nil {
		cfg.Authorize = func(_ context.Context, p transport.Peer) error { return refuseRevoked(home.CheckRevoked)(p) }
	}
	cfg.Handlers = on(echo)
	home, srv := listenHome(t, n, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		home.WatchRevoked(ctx, func(d *certs.Denied) { srv.Recheck(refuseRevoked(d.Check)) }, func(err error) { t.Error(err) })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return home, srv
}

// as returns a configuration for a client that is that user of home.
func as(t *testing.T, home *certs.Home, name string) transport.Config {
	t.Helper()
	cred, err := home.UserCredentials(name)
	require.NoError(t, err)
	return transport.Config{Credentials: cred}
}

// requireRevoked waits, for a second at most, for the end of sessions with Revoked.
func requireRevoked(t *testing.T, remote bool, sessions ...*transport.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for _, s := range sessions {
		err := s.Wait(ctx)
		var e *transport.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, transport.Revoked, e.Code, "%v", err)
		require.Equal(t, remote, e.Remote)
	}
}

// S4, M55
func TestALiveSessionOfWhoIsRevokedEndsWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		home, srv := listenWatching(t, n, transport.Config{})
		alice, bob, second := n.Dial(srv, "", as(t, home, "alice")), n.Dial(srv, "", as(t, home, "bob")), n.Dial(srv, "", as(t, home, "bob"))
		require.NoError(t, home.Revoke("bob"))
		requireRevoked(t, true, bob, second) // and so they do not connect again
		requireEcho(t, alice)
		assert.Len(t, srv.Sessions(), 1)
	})
}

// S4, M55
func TestAHeldSessionOfWhoIsRevokedEndsWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		home, srv := listenWatching(t, n, transport.Config{})
		cfg := as(t, home, "bob")
		client := n.Dial(srv, "", cfg)
		synctest.Wait()
		server := srv.Sessions()[0]
		client.Abort(transport.Aborted, "")
		time.Sleep(time.Second)
		require.Equal(t, transport.StateDetached, server.State())

		require.NoError(t, home.Revoke("bob"))
		requireRevoked(t, false, server)
		cfg.PacketConn = n.Conn()
		_, err := transport.Resume(t.Context(), client, srv.Addr().String(), 2, &cfg)
		code, _ := transport.CodeOf(err)
		assert.Equal(t, transport.Revoked, code)
	})
}

// S4, M55: who is let in just before the revocation, and has not been told so yet.
func TestASessionThatIsBeingOpenedByWhoIsRevokedNeverOpens(t *testing.T) {
	for name, heeds := range map[string]bool{"authorized": false, "given up": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				authorizing, authorized := make(chan struct{}), make(chan struct{})
				home, srv := listenWatching(t, n, transport.Config{Authorize: func(ctx context.Context, _ transport.Peer) error {
					close(authorizing)
					if heeds {
						<-ctx.Done()
						return ctx.Err()
					}
					<-authorized
					return nil
				}})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cfg := as(t, home, "bob")
				dialed := make(chan error, 1)
				go func() {
					_, err := n.TryDial(ctx, srv, "", cfg)
					dialed <- err
				}()
				<-authorizing
				time.AfterFunc(time.Second, cancel)
				require.NoError(t, home.Revoke("bob"))
				time.Sleep(500 * time.Millisecond)
				close(authorized)
				err := <-dialed
				var e *transport.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, transport.Revoked, e.Code)
				assert.True(t, e.Remote)
				assert.Empty(t, srv.Sessions())
			})
		})
	}
}

// S4, M55: who is about to come back.
func TestASessionThatIsBeingResumedByWhoIsRevokedIsNot(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		resuming, authorized := make(chan struct{}), make(chan struct{})
		var asked counter
		home, srv := listenWatching(t, n, transport.Config{Authorize: func(context.Context, transport.Peer) error {
			if asked.Add(1) == 2 {
				close(resuming)
				<-authorized
			}
			return nil
		}})
		cfg := as(t, home, "bob")
		cfg.NewPacketConn = func() (net.PacketConn, error) { return n.Conn(), nil }
		client := n.Dial(srv, "", cfg)
		synctest.Wait()
		server := srv.Sessions()[0]
		transport.CloseConn(client, transport.Internal)
		<-resuming
		require.NoError(t, home.Revoke("bob"))
		requireRevoked(t, false, server)
		close(authorized)
		requireRevoked(t, true, client)
		assert.Empty(t, srv.Sessions())
	})
}

// S4, M55
func TestWhoIsRevokedWhileEnrollingGetsNoSession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		for name, redeemFirst := range map[string]bool{"before the token is redeemed": false, "after": true} {
			asked, goOn := make(chan struct{}), make(chan struct{})
			var home *certs.Home
			home, srv := listenWatching(t, n, transport.Config{Enroll: func(_ context.Context, r *transport.EnrollRequest) (chain []*x509.Certificate, err error) {
				if redeemFirst {
					chain, err = home.Redeem(r.Secret, r.Request)
				}
				close(asked)
				<-goOn
				if !redeemFirst {
					chain, err = home.Redeem(r.Secret, r.Request)
				}
				return chain, err
			}})
			laptop, joining, req := startJoin(t, filepath.Join(t.TempDir(), "laptop"), invite(t, home, "bob"))
			enrolled := make(chan error, 1)
			go func() {
				chain, err := enroll(t.Context(), n, srv, joining.Credentials(), req)
				if err == nil {
					_, err = joining.Finish(chain)
				}
				enrolled <- err
			}()
			<-asked
			require.NoError(t, home.Revoke("bob"))
			close(goOn)
			err := <-enrolled
			if !redeemFirst {
				var refused *certs.TokenError
				require.ErrorAs(t, err, &refused, name)
				assert.Equal(t, certs.TokenRevoked, refused.Reason, name)
				continue
			}
			require.NoError(t, err, name)
			// Neither the name, nor, once that is lifted, the key.
			for range 2 {
				cfg := as(t, laptop, "bob")
				cfg.PacketConn = n.Conn()
				_, err = transport.Dial(t.Context(), srv.Addr().String(), &cfg)
				code, _ := transport.CodeOf(err)
				assert.Equal(t, transport.Revoked, code, name)
				_, err = home.Invite("bob", certs.InviteOptions{})
				require.NoError(t, err)
			}
		}
	})
}

// S4: one key of a user's.
func TestRecheckEndsNoOtherSession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		other, err := n.Authority().IssueUser("bob")
		require.NoError(t, err)
		lost, kept := n.Dial(srv, "bob", transport.Config{}), n.Dial(srv, "", transport.Config{Credentials: other})
		denied := certs.FingerprintOf(n.User("bob").Certificate.Leaf)
		srv.Recheck(refuseRevoked(func(_ certs.ID, key certs.Fingerprint) error {
			if key == denied {
				return certs.ErrRevoked
			}
			return nil
		}))
		requireRevoked(t, true, lost)
		requireEcho(t, kept)
		srv.Recheck(func(transport.Peer) error { return certs.ErrRevoked })
		requireEnd(t, kept, transport.Unauthorized, true) // as for Authorize
	})
}
