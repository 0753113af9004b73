package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
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

// ago is a clock that stands still in the past.
func ago(age time.Duration) certs.Env {
	then := time.Now().Add(-age)
	return certs.Env{Now: func() time.Time { return then }}
}

// reopened returns the home in the present.
func reopened(t *testing.T, h *certs.Home) *certs.Home {
	t.Helper()
	now, err := certs.OpenHome(h.Dir(), certs.Env{})
	require.NoError(t, err)
	return now
}

// oldHomes returns the home of a server, and one of bob's, who joined, with certificates that are to be
// renewed in 8 minutes: they are good for five minutes before they were issued.
func oldHomes(t *testing.T) (server, laptop *certs.Home) {
	t.Helper()
	return homesOf(t, 60*24*time.Hour-10*time.Minute)
}

// homesOf is oldHomes for certificates that were issued so long ago.
func homesOf(t *testing.T, age time.Duration) (server, laptop *certs.Home) {
	t.Helper()
	server, err := certs.OpenHome(filepath.Join(t.TempDir(), "server"), ago(age))
	require.NoError(t, err)
	require.NoError(t, server.Init(nil, "alice"))
	inv, err := server.Invite("bob", certs.InviteOptions{})
	require.NoError(t, err)
	laptop, err = certs.OpenHome(filepath.Join(t.TempDir(), "laptop"), ago(age))
	require.NoError(t, err)
	j, err := laptop.StartJoin(inv.Token)
	require.NoError(t, err)
	csr, err := j.Request()
	require.NoError(t, err)
	chain, err := server.Redeem(inv.Token.Secret, csr)
	require.NoError(t, err)
	_, err = j.Finish(chain)
	require.NoError(t, err)
	return reopened(t, server), reopened(t, laptop)
}

// credentialsOf returns what bob's home has.
func credentialsOf(t *testing.T, laptop *certs.Home) *certs.Credentials {
	t.Helper()
	cred, err := laptop.UserCredentials("bob")
	require.NoError(t, err)
	return cred
}

// renewing starts a server on home that renews after so many failures.
func renewing(t *testing.T, n *transporttest.Network, home *certs.Home, failures int) *transport.Server {
	t.Helper()
	cred, err := home.ServerCredentials()
	require.NoError(t, err)
	own := newMethods(rpc.Config{}, newGate(cred.ID().Domain, defaultPolicy("")))
	handle(own, forSessions, certsRenewMethod, func(ctx context.Context, req *renewRequest) (*renewResponse, error) {
		if failures--; failures >= 0 {
			return nil, rpc.Errorf(rpc.Internal, "the disk is full")
		}
		return serveRenew(home)(ctx, req)
	})
	return n.Listen(transport.Config{Credentials: cred, Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: own.mux.ServeStream}})
}

// issued returns what the server of a home presents now.
func issued(home *certs.Home) (*certs.Credentials, error) {
	if err := home.Init(nil, "alice"); err != nil {
		return nil, err
	}
	return home.ServerCredentials()
}

// keep has a client of s do what every client does to keep cred good.
func keep(t *testing.T, s *transport.Session, home *certs.Home, cred *certs.Credentials) {
	t.Helper()
	r := &renewal{session: s, home: home, addr: "10.0.0.1:4433", cred: cred, log: slog.New(slog.DiscardHandler)}
	r.keep(t.Context())
}

// serial returns which certificate of its one client's a server sees.
func serial(t *testing.T, srv *transport.Server) string {
	t.Helper()
	synctest.Wait()
	sessions := srv.Sessions()
	require.Len(t, sessions, 1)
	return sessions[0].Peer().Certificate.SerialNumber.String()
}

// M57
func TestAClientRenewsAtTwoThirdsWhileItsSessionIsUpAndPresentsThatNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, 20*time.Millisecond)
		home, laptop := oldHomes(t)
		srv := renewing(t, n, home, 0)
		old := credentialsOf(t, laptop)
		s := n.Dial(srv, "", transport.Config{Credentials: old, NewPacketConn: func() (net.PacketConn, error) { return n.Conn(), nil }})
		keep(t, s, laptop, old)

		time.Sleep(8 * time.Minute)
		require.Equal(t, old.Certificate.Leaf.Raw, credentialsOf(t, laptop).Certificate.Leaf.Raw, "it is not time")
		time.Sleep(time.Minute)
		renewed := credentialsOf(t, laptop)
		require.NotEqual(t, old.Certificate.Leaf.SerialNumber, renewed.Certificate.Leaf.SerialNumber)
		assert.Equal(t, certs.FingerprintOf(old.Certificate.Leaf), certs.FingerprintOf(renewed.Certificate.Leaf), "the key stays")
		assert.InDelta(t, 90*24*time.Hour, time.Until(renewed.Certificate.Leaf.NotAfter), float64(time.Hour))
		assert.Equal(t, transport.StateLive, s.State())
		assert.Equal(t, old.Certificate.Leaf.SerialNumber.String(), serial(t, srv), "nothing happened to the connection")

		srv.Sessions()[0].Abort(transport.Internal, "so that the client connects again")
		time.Sleep(10 * time.Second)
		assert.Equal(t, renewed.Certificate.Leaf.SerialNumber.String(), serial(t, srv))
	})
}

// So that a command that is done at once does so, too.
func TestAClientWhoseCertificateIsDueRenewsAsItConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, 20*time.Millisecond)
		home, laptop := oldHomes(t)
		srv := renewing(t, n, home, 0)
		time.Sleep(9 * time.Minute)
		old := credentialsOf(t, laptop)
		keep(t, n.Dial(srv, "", transport.Config{Credentials: old}), laptop, old)
		require.NotEqual(t, old.Certificate.Leaf.Raw, credentialsOf(t, laptop).Certificate.Leaf.Raw, "when it returns")
	})
}

func TestARenewalThatFailsLeavesEverythingAsItIsAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, 20*time.Millisecond)
		home, laptop := oldHomes(t)
		srv := renewing(t, n, home, 2) // as it connects, and an hour later
		time.Sleep(9 * time.Minute)
		old := credentialsOf(t, laptop)
		s := n.Dial(srv, "", transport.Config{Credentials: old})
		keep(t, s, laptop, old)
		time.Sleep(time.Hour + time.Minute)
		require.Equal(t, old.Certificate.Leaf.Raw, credentialsOf(t, laptop).Certificate.Leaf.Raw)
		time.Sleep(time.Hour)
		require.NotEqual(t, old.Certificate.Leaf.Raw, credentialsOf(t, laptop).Certificate.Leaf.Raw)
		assert.Equal(t, transport.StateLive, s.State())
	})
}

// M56
func TestWhoIsRevokedIsNotRenewedOverASessionThatIsStillUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, 20*time.Millisecond)
		home, laptop := oldHomes(t)
		old := credentialsOf(t, laptop)
		s := n.Dial(renewing(t, n, home, 0), "", transport.Config{Credentials: old})
		require.NoError(t, home.Revoke("bob"))
		_, err := renewOnce(t.Context(), s, laptop, "bob")
		assert.Equal(t, rpc.PermissionDenied, rpc.CodeOf(err), "%v", err)
		_, err = home.Invite("bob", certs.InviteOptions{}) // lifts the name
		require.NoError(t, err)
		_, err = renewOnce(t.Context(), s, laptop, "bob")
		assert.Equal(t, rpc.PermissionDenied, rpc.CodeOf(err), "%v", err)
		assert.Equal(t, old.Certificate.Leaf.Raw, credentialsOf(t, laptop).Certificate.Leaf.Raw)
	})
}

// M57
func TestAServerRenewsItsOwnCertificateWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, 20*time.Millisecond)
		home, _ := oldHomes(t)
		cred, err := home.ServerCredentials()
		require.NoError(t, err)
		srv := renewing(t, n, home, 0)
		alice, err := home.UserCredentials("alice")
		require.NoError(t, err)
		failures := 1
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		defer keepServerRenewed(ctx, &serverCredentials{srv: srv, cred: cred, issue: func() (*certs.Credentials, error) {
			if failures > 0 {
				failures--
				return nil, certs.ErrNoAuthority
			}
			return issued(home)
		}}, slog.New(slog.DiscardHandler))()
		seen := func() string {
			s := n.Dial(srv, "", transport.Config{Credentials: alice})
			defer s.Abort(transport.Aborted, "seen")
			return s.Peer().Certificate.SerialNumber.String()
		}
		time.Sleep(9 * time.Minute)
		assert.Equal(t, cred.Certificate.Leaf.SerialNumber.String(), seen(), "the first attempt failed")
		time.Sleep(time.Hour)
		assert.NotEqual(t, cred.Certificate.Leaf.SerialNumber.String(), seen())
	})
}

func TestARenewalThatIsNoneIsRefused(t *testing.T) {
	_, err := (&renewResponse{Chain: [][]byte{[]byte("certificate")}}).certificates()
	require.Error(t, err)
	_, err = (&renewResponse{Chain: make([][]byte, maxRenewed+1)}).certificates()
	require.ErrorContains(t, err, "9 certificates")
}
