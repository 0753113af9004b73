package transport_test

import (
	"crypto/x509"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// What verifies a peer gets the host that was dialled, for a session's first connection and for the next ones.
func TestM58ASessionWithCAsIsWithTheHostThatWasDialled(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		cas := []*x509.Certificate{n.Authority().Certificate()}
		serve := func(addrOf func(string) []string) *transport.Server {
			pc := n.Conn()
			host, _, err := net.SplitHostPort(pc.LocalAddr().String())
			require.NoError(t, err)
			cred, err := n.Authority().IssueServer(addrOf(host))
			require.NoError(t, err)
			cred.CAs = cas
			return n.Listen(transport.Config{PacketConn: pc, Credentials: cred, Handlers: on(echo)})
		}
		client := func() transport.Config {
			alice := *n.User("alice")
			alice.Authority, alice.CAs = nil, cas
			return transport.Config{Credentials: &alice}
		}

		s, err := n.TryDial(t.Context(), serve(func(host string) []string { return []string{host} }), "alice", client())
		require.NoError(t, err)
		requireEcho(t, s)

		_, err = n.TryDial(t.Context(), serve(func(string) []string { return []string{"chat.example"} }), "alice", client())
		var e *transport.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, transport.Unauthorized, e.Code)
		assert.False(t, e.Remote)
		var v *certs.VerifyError
		require.ErrorAs(t, err, &v)
		assert.Equal(t, certs.WrongHost, v.Reason)
	})
}

func TestM59AServerWithCAsAdmitsOtherDomainsAsItsPolicySays(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		other, err := certs.NewAuthority(certs.Env{})
		require.NoError(t, err)
		cred, err := n.Authority().IssueServer(nil)
		require.NoError(t, err)
		cred.CAs = []*x509.Certificate{n.Authority().Certificate(), other.Certificate()}
		srv := n.Listen(transport.Config{Credentials: cred, Handlers: on(echo)})

		eve, err := other.IssueUser("eve")
		require.NoError(t, err)
		eve.Authority = n.Authority().Certificate()
		s, err := n.TryDial(t.Context(), srv, "", transport.Config{Credentials: eve})
		require.NoError(t, err)
		assert.Equal(t, eve.ID(), s.Identity())
		requireEcho(t, s)

		third, err := certs.NewAuthority(certs.Env{})
		require.NoError(t, err)
		mallory, err := third.IssueUser("mallory")
		require.NoError(t, err)
		mallory.Authority = n.Authority().Certificate()
		_, err = n.TryDial(t.Context(), srv, "", transport.Config{Credentials: mallory})
		var e *transport.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, transport.Unauthorized, e.Code)
	})
}
