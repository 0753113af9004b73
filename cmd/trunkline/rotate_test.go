package main

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A rotating is a server whose authority can be rotated, and a laptop whose user, bob, has joined.
type rotating struct {
	net          *transporttest.Network
	home, laptop *certs.Home
	srv          *transport.Server
	lasting      *standing
	known        *certs.Rotation
}

// newRotating starts the server as of a while ago, but with the methods and the watches that it has now.
func newRotating(t *testing.T, age time.Duration) *rotating {
	t.Helper()
	r := &rotating{net: transporttest.New(t, 20*time.Millisecond)}
	r.home, r.laptop = homesOf(t, age)
	r.lasting = &standing{home: r.home}
	cred, err := issued(r.home)
	require.NoError(t, err)
	own := newMethods(rpc.Config{}, newGate(cred.ID().Domain, defaultPolicy("")))
	handle(own, forSessions, certsRenewMethod, serveRenew(r.home))
	handle(own, forSessions, certsAuthorityMethod, serveAuthority(r.home))
	r.srv = r.net.Listen(transport.Config{
		Credentials: cred,
		Authorize:   func(_ context.Context, p transport.Peer) error { return r.lasting.check(p) },
		Handlers:    map[transport.StreamType]transport.Handler{transport.StreamRPC: own.mux.ServeStream},
	})
	presented := &serverCredentials{srv: r.srv, cred: cred, issue: func() (*certs.Credentials, error) { return issued(r.home) }}
	t.Cleanup(watchAuthority(t.Context(), presented, r.lasting, slog.New(slog.DiscardHandler)))
	return r
}

// rotate is by another process; when it returns the server has noticed.
func (r *rotating) rotate(t *testing.T) {
	t.Helper()
	known, err := r.home.Rotate(certs.RotateOptions{})
	require.NoError(t, err)
	r.known = known
	r.noticed()
}

func (r *rotating) finish(t *testing.T, force bool) {
	t.Helper()
	_, err := r.home.FinishRotation(force)
	require.NoError(t, err)
	r.noticed()
}

func (r *rotating) noticed() {
	time.Sleep(300 * time.Millisecond)
	synctest.Wait()
}

// dial opens a session of bob's that connects again by itself.
func (r *rotating) dial(t *testing.T, cred *certs.Credentials) *transport.Session {
	t.Helper()
	return r.net.Dial(r.srv, "", transport.Config{Credentials: cred, NewPacketConn: r.net.NewConn})
}

// reconnects makes the one client of the server connect again, and says that it can.
func (r *rotating) reconnects(t *testing.T, s *transport.Session) {
	t.Helper()
	synctest.Wait()
	sessions := r.srv.Sessions()
	require.Len(t, sessions, 1)
	sessions[0].Abort(transport.Internal, "so that the client connects again")
	time.Sleep(10 * time.Second)
	now, _ := s.Status()
	require.Equal(t, transport.StateLive, now.State, "%v", now.Err)
	require.Greater(t, now.Attempt, uint64(1))
}

func authorityOf(cred *certs.Credentials) certs.Fingerprint {
	return certs.FingerprintOf(cred.Authority)
}

// M82, M83
func TestAClientThatIsConnectedIsOnTheNewAuthorityWithinAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 0)
		old := credentialsOf(t, r.laptop)
		s := r.dial(t, old)
		keep(t, s, r.laptop, old)
		r.rotate(t)
		require.Equal(t, transport.StateLive, s.State())
		time.Sleep(time.Hour + 2*time.Minute)
		synctest.Wait()
		bob := credentialsOf(t, r.laptop)
		require.Equal(t, r.known.Authority, authorityOf(bob))
		require.NoError(t, bob.Certificate.Leaf.CheckSignatureFrom(bob.Authority))
		now, _ := s.Status()
		require.Equal(t, uint64(1), now.Attempt, "over the connection that it had")

		r.finish(t, false)
		require.Equal(t, transport.StateLive, s.State())
		r.reconnects(t, s)
		assert.Equal(t, bob.Certificate.Leaf.SerialNumber.String(), serial(t, r.srv))
	})
}

// M83
func TestAClientThatWasAwayWhenTheAuthorityWasRotatedRenewsAsItConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 0)
		old := credentialsOf(t, r.laptop)
		r.rotate(t)
		s := r.dial(t, old)
		keep(t, s, r.laptop, old)
		bob := credentialsOf(t, r.laptop)
		require.Equal(t, r.known.Authority, authorityOf(bob), "when it returns")
		require.NoError(t, bob.Certificate.Leaf.CheckSignatureFrom(bob.Authority))
		r.finish(t, false)
		r.reconnects(t, s)
	})
}

func TestAClientThatComesBackAfterTheOverlapIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 0)
		old := credentialsOf(t, r.laptop)
		s := r.dial(t, old)
		r.rotate(t)
		r.finish(t, true)
		require.Equal(t, transport.StateEnded, s.State(), "M82: its session, too")
		now, _ := s.Status()
		require.ErrorIs(t, now.Err, &transport.Error{Code: transport.Unauthorized, Remote: true})
		_, err := r.net.TryDial(t.Context(), r.srv, "", transport.Config{Credentials: old})
		code, _ := transport.CodeOf(err)
		require.Equal(t, transport.Unauthorized, code)
		assert.ErrorContains(t, err, r.known.Former.String())
		assert.ErrorContains(t, err, r.known.Authority.String())

		// So is one who trusts the new authority, and has nothing of it, with what to run.
		_, err = r.laptop.Follow("10.0.0.1:4433", nil)
		require.NoError(t, err)
		server, err := r.home.ServerCredentials()
		require.NoError(t, err)
		trusting := *old
		trusting.Authority = server.Authority
		_, err = r.net.TryDial(t.Context(), r.srv, "", transport.Config{Credentials: &trusting})
		code, _ = transport.CodeOf(err)
		require.Equal(t, transport.Unauthorized, code)
		assert.Contains(t, hintFor(leftBehind(err, &trusting)), "--new-authority")
		assert.NotContains(t, hintFor(leftBehind(err, old)), "not renewed in time")
	})
}

// M81
func TestAPinInUseMovesToTheNewAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 0)
		pinned := *credentialsOf(t, r.laptop)
		pinned.AuthorityKey, pinned.Authority = authorityOf(&pinned), nil
		addr := r.srv.Addr().String()
		require.NoError(t, r.laptop.Pin(addr, pinned.AuthorityKey))
		r.rotate(t)
		s := r.dial(t, &pinned)
		c := &renewal{session: s, home: r.laptop, addr: addr, cred: &pinned, log: slog.New(slog.DiscardHandler)}
		c.keep(t.Context())
		key, err := r.laptop.Pinned(addr)
		require.NoError(t, err)
		require.Equal(t, r.known.Authority, key)
		r.finish(t, false)
		r.reconnects(t, s)
	})
}

// Of two processes with one home, the one that is older presents what the other has got.
func TestWhatAnotherProcessHasRenewedIsPresentedNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 0)
		old := credentialsOf(t, r.laptop)
		s := r.dial(t, old)
		keep(t, s, r.laptop, old)
		r.rotate(t)
		chain, err := r.home.Renew(old.Certificate.Leaf)
		require.NoError(t, err)
		bob, err := reopened(t, r.laptop).KeepRenewed("bob", chain)
		require.NoError(t, err)
		time.Sleep(renewLook + time.Second)
		r.finish(t, false)
		r.reconnects(t, s)
		assert.Equal(t, bob.Certificate.Leaf.SerialNumber.String(), serial(t, r.srv))
	})
}

// M82: a handshake of before the end of the overlap makes no session after it.
func TestNoSessionIsMadeWithWhatWasTrustedAtItsHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 0)
		bob := credentialsOf(t, r.laptop)
		late := transport.Peer{ID: bob.ID(), Certificate: bob.Certificate.Leaf}
		alice, err := r.home.UserCredentials("alice")
		require.NoError(t, err)
		require.NoError(t, r.lasting.check(late))
		r.rotate(t)
		require.NoError(t, r.lasting.check(late))
		r.finish(t, true)
		require.ErrorIs(t, r.lasting.check(late), &transport.Error{Code: transport.Unauthorized})
		require.NoError(t, r.lasting.check(transport.Peer{ID: alice.ID(), Certificate: alice.Certificate.Leaf}), "who has what is good")

		// Of the next rotation somebody else may know before the server does.
		_, err = r.home.Rotate(certs.RotateOptions{})
		require.NoError(t, err)
		alice, err = r.home.UserCredentials("alice")
		require.NoError(t, err)
		require.NoError(t, r.lasting.check(transport.Peer{ID: alice.ID(), Certificate: alice.Certificate.Leaf}))
	})
}

// M84
func TestASessionEndsWithItsCertificateUnlessThereIsAnother(t *testing.T) {
	for name, test := range map[string]struct{ renew, own bool }{
		"not renewed":        {},
		"renewed":            {renew: true},
		"a PKI of one's own": {renew: true, own: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRotating(t, 90*24*time.Hour-10*time.Minute)
				judge := recorded(r.home)
				if test.own {
					judge = expiry
				}
				defer endExpired(t.Context(), r.srv, judge, slog.New(slog.DiscardHandler))()
				old := credentialsOf(t, r.laptop)
				s := r.dial(t, old)
				if test.renew {
					_, err := renewOnce(t.Context(), s, r.laptop, "bob")
					require.NoError(t, err)
				}
				time.Sleep(9 * time.Minute)
				require.Equal(t, transport.StateLive, s.State())
				time.Sleep(3 * time.Minute)
				if test.renew && !test.own {
					require.Equal(t, transport.StateLive, s.State())
					return
				}
				now, _ := s.Status()
				require.ErrorIs(t, now.Err, &transport.Error{Code: transport.Expired, Remote: true})
			})
		})
	}
}
