package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// presents says which certificate of the client's a server sees in its one session.
func presents(t *testing.T, srv *transport.Server, cred *certs.Credentials) {
	t.Helper()
	synctest.Wait()
	sessions := srv.Sessions()
	require.Len(t, sessions, 1)
	require.Equal(t, cred.Certificate.Leaf.SerialNumber, sessions[0].Peer().Certificate.SerialNumber)
}

// M57
func TestARenewedCertificateIsPresentedAtTheNextConnectionOfTheSameSession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		first := n.User("alice")
		renewed, err := n.Authority().IssueUser("alice")
		require.NoError(t, err)
		s := n.Dial(srv, "", transport.Config{Credentials: first, NewPacketConn: func() (net.PacketConn, error) { return n.Conn(), nil }})
		presents(t, srv, first)
		id := srv.Sessions()[0].ID()

		s.SetCredentials(renewed)
		requireEcho(t, s)
		presents(t, srv, first)

		transport.CloseConn(s, transport.Internal)
		time.Sleep(10 * time.Second)
		presents(t, srv, renewed)
		assert.Equal(t, id, srv.Sessions()[0].ID())
		assert.True(t, s.Kept())
		requireEcho(t, s)
	})
}

// M57
func TestARenewedServerCertificateIsForNewConnections(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		first, err := n.Authority().IssueServer(nil)
		require.NoError(t, err)
		renewed, err := n.Authority().IssueServer(nil)
		require.NoError(t, err)
		srv := n.Listen(transport.Config{Credentials: first, Handlers: on(echo)})
		before := n.Dial(srv, "alice", transport.Config{})
		srv.SetCredentials(renewed)
		after := n.Dial(srv, "alice", transport.Config{})
		assert.Equal(t, first.Certificate.Leaf.SerialNumber, before.Peer().Certificate.SerialNumber)
		assert.Equal(t, renewed.Certificate.Leaf.SerialNumber, after.Peer().Certificate.SerialNumber)
		requireEcho(t, before)
		requireEcho(t, after)

		// Who enrols sees the new one as well.
		var shown *x509.Certificate
		conf := transport.ClientTLS(&transport.Config{Credentials: n.User("alice")})
		conf.NextProtos = []string{transport.ALPNEnroll}
		conf.VerifyConnection = func(cs tls.ConnectionState) error {
			shown = cs.PeerCertificates[0]
			return nil
		}
		require.NoError(t, dialTLS(t, n.Conn(), srv, conf))
		assert.Equal(t, renewed.Certificate.Leaf.SerialNumber, shown.SerialNumber)
	})
}

// What is trusted is exchanged as well.
func TestWhoIsNotTrustedAnyMoreOpensNoSession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		other, err := certs.NewAuthority(certs.Env{})
		require.NoError(t, err)
		cred, err := other.IssueServer(nil)
		require.NoError(t, err)
		newcomer, err := other.IssueUser("alice")
		require.NoError(t, err)
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		up := n.Dial(srv, "alice", transport.Config{})
		srv.SetCredentials(cred)
		trusting := *n.User("alice")
		trusting.Authority = other.Certificate()
		_, err = n.TryDial(t.Context(), srv, "", transport.Config{Credentials: &trusting})
		code, _ := transport.CodeOf(err)
		require.Equal(t, transport.Unauthorized, code, "%v", err)
		requireEcho(t, n.Dial(srv, "", transport.Config{Credentials: newcomer}))
		requireEcho(t, up)
	})
}
