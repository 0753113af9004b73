package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// presented is what a handshake has agreed on with who has cred: it parses a chain of its own.
func presented(t *testing.T, cred *certs.Credentials) tls.ConnectionState {
	t.Helper()
	cs := tls.ConnectionState{NegotiatedProtocol: transport.ALPN}
	for _, der := range cred.Certificate.Certificate {
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		cs.PeerCertificates = append(cs.PeerCertificates, cert)
	}
	return cs
}

// What the handshake has verified is looked at again (M3), and its signatures are checked once.
func TestM3EveryHandshakeIsVerified(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		v, verified := transport.NewVerifier(n.User("server"))
		alice, bob := presented(t, n.User("alice")), presented(t, n.User("bob"))
		require.NoError(t, v.InHandshake(alice))
		require.NoError(t, v.InHandshake(bob))

		for name, cs := range map[string]tls.ConnectionState{"alice": alice, "bob": bob} {
			id, err := v.Check(cs)
			require.NoError(t, err)
			assert.Equal(t, name, id.Name)
		}
		assert.Equal(t, 2, *verified)

		_, err := v.Check(alice)
		require.NoError(t, err)
		assert.Equal(t, 3, *verified, "what a handshake has shown counts for one session")
	})
}

func TestM3WhatNoHandshakeVerifiedIsVerified(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		v, _ := transport.NewVerifier(n.User("server"))
		require.NoError(t, v.InHandshake(presented(t, n.User("alice"))))
		stranger := presented(t, transporttest.New(t, rtt).User("alice"))
		require.Error(t, v.InHandshake(stranger))
		for name, cs := range map[string]tls.ConnectionState{
			"of another authority": stranger,
			"no certificate":       {NegotiatedProtocol: transport.ALPN},
		} {
			_, err := v.Check(cs)
			require.ErrorIs(t, err, &transport.Error{Code: transport.Unauthorized}, name)
		}
		other := presented(t, n.User("alice"))
		other.NegotiatedProtocol = "h3"
		require.NoError(t, v.InHandshake(other))
		_, err := v.Check(other)
		require.ErrorIs(t, err, &transport.Error{Code: transport.Protocol})
	})
}

// Handshakes that come to nothing are forgotten (S5), and whoever is forgotten is verified again.
func TestM3HandshakesThatAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		v, verified := transport.NewVerifier(n.User("server"))
		cred := n.User("alice")
		first := presented(t, cred)
		require.NoError(t, v.InHandshake(first))
		for range transport.MaxAccepted {
			require.NoError(t, v.InHandshake(presented(t, cred)))
		}
		before := *verified
		id, err := v.Check(first)
		require.NoError(t, err)
		assert.Equal(t, "alice", id.Name)
		assert.Equal(t, before+1, *verified)
	})
}

// A certificate that has expired since the handshake is not accepted any more (M1).
func TestM3ExpiredSinceTheHandshake(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		v, _ := transport.NewVerifier(n.User("server"))
		alice := presented(t, n.User("alice"))
		require.NoError(t, v.InHandshake(alice))
		time.Sleep(time.Until(alice.PeerCertificates[0].NotAfter) + time.Second)
		_, err := v.Check(alice)
		var refused *certs.VerifyError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, certs.Expired, refused.Reason)
	})
}

// Nor is one whose authority has, which the peer need not send (M1).
func TestM3AuthorityExpiredSinceTheHandshake(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		cred := *n.User("server")
		authority := *cred.Authority
		authority.NotAfter = time.Now().Add(time.Hour)
		cred.Authority = &authority
		v, _ := transport.NewVerifier(&cred)
		alice := presented(t, n.User("alice"))
		alice.PeerCertificates = alice.PeerCertificates[:1]
		require.NoError(t, v.InHandshake(alice))
		time.Sleep(time.Hour + time.Second)
		_, err := v.Check(alice)
		var refused *certs.VerifyError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, certs.Expired, refused.Reason)
	})
}

// Nor is one of an authority that was trusted because of a rotation, when that is over.
func TestM3OverlapOverSinceTheHandshake(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		old := n.User("alice")
		next, err := n.Authority().Successor()
		require.NoError(t, err)
		cred, err := next.IssueServer(nil)
		require.NoError(t, err)
		cross := *cred.Cross
		cross.NotAfter = time.Now().Add(time.Hour)
		cred.Cross = &cross
		v, _ := transport.NewVerifier(cred)
		alice := presented(t, old)
		require.NoError(t, v.InHandshake(alice))
		time.Sleep(time.Hour + time.Second)
		_, err = v.Check(alice)
		var refused *certs.VerifyError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, certs.UnknownAuthority, refused.Reason)
	})
}
