package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	mathrand "math/rand/v2"
	"testing"
	"testing/cryptotest"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestEveryAuthorityHasADomainOfItsOwn(t *testing.T) {
	a, b := newAuthority(t, certs.Env{}), newAuthority(t, certs.Env{})
	assert.NotEqual(t, a.Domain(), b.Domain())
	assert.Regexp(t, `^[a-z2-7]{26}$`, a.Domain())
}

func TestAnAuthorityIsReproducibleFromItsRandomness(t *testing.T) {
	clk := newClock()
	build := func(seed byte) *certs.Credentials {
		a := newAuthority(t, certs.Env{Now: clk.Now, Rand: mathrand.NewChaCha8([32]byte{seed})})
		return issueUser(t, a, "alice")
	}
	one, two := build(1), build(1)
	assert.Equal(t, one.Certificate.Certificate, two.Certificate.Certificate)
	assert.NotEqual(t, one.ID().Domain, build(2).ID().Domain)
}

func TestP256KeysAreReproducibleWithCryptotest(t *testing.T) {
	build := func() certs.Fingerprint {
		cryptotest.SetGlobalRandom(t, 7)
		return certs.FingerprintOf(newAuthority(t, certs.Env{KeyType: certs.P256}).Certificate())
	}
	first, second := build(), build()
	assert.Equal(t, first, second)
}

func TestAnAuthorityNeedsRandomness(t *testing.T) {
	broken := errors.New("no entropy")
	for _, env := range []certs.Env{
		{Rand: iotest.ErrReader(broken)},
		{Rand: iotest.ErrReader(broken), KeyType: certs.P256},
	} {
		_, err := certs.NewAuthority(env)
		assert.ErrorIs(t, err, broken)
	}
	_, err := certs.NewAuthority(certs.Env{Rand: bytes.NewReader(make([]byte, 100))})
	assert.ErrorContains(t, err, "zeros")
	_, err = certs.NewAuthority(certs.Env{KeyType: 9})
	assert.ErrorContains(t, err, "unknown key type")
}

func TestTheAuthorityCertificateBindsItToItsDomain(t *testing.T) {
	clk := newClock()
	a := newAuthority(t, clk.Env())
	cert := a.Certificate()

	assert.True(t, cert.IsCA)
	assert.Equal(t, x509.KeyUsageCertSign, cert.KeyUsage)
	assert.Equal(t, 1, cert.MaxPathLen)
	assert.Equal(t, []string{a.Domain()}, cert.PermittedURIDomains)
	assert.True(t, cert.PermittedDNSDomainsCritical)
	require.Len(t, cert.URIs, 1)
	assert.Equal(t, "spiffe://"+a.Domain(), cert.URIs[0].String())
	assert.Equal(t, clk.Now().Add(-5*time.Minute), cert.NotBefore)
	assert.Equal(t, clk.Now().Add(3650*day), cert.NotAfter)
}

func TestAUsersCertificateIsForClientsAlone(t *testing.T) {
	clk := newClock()
	a := newAuthority(t, clk.Env())
	creds := issueUser(t, a, "alice")
	cert := creds.Certificate.Leaf

	assert.Equal(t, "spiffe://"+a.Domain()+"/user/alice", creds.ID().String())
	assert.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, cert.ExtKeyUsage)
	assert.Equal(t, x509.KeyUsageDigitalSignature, cert.KeyUsage)
	assert.False(t, cert.IsCA)
	assert.Empty(t, cert.DNSNames)
	assert.Equal(t, clk.Now().Add(-5*time.Minute), cert.NotBefore)
	assert.Equal(t, clk.Now().Add(90*day), cert.NotAfter)
	assert.IsType(t, ed25519.PublicKey{}, cert.PublicKey)
}

func TestTheServersCertificateIsForServersAlone(t *testing.T) {
	a := newAuthority(t, certs.Env{})
	creds, err := a.IssueServer([]string{"Chat.Example", "192.0.2.1", "2001:db8::1", "my_host"})
	require.NoError(t, err)
	cert := creds.Certificate.Leaf

	assert.Equal(t, "spiffe://"+a.Domain()+"/server", creds.ID().String())
	assert.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, cert.ExtKeyUsage)
	assert.Equal(t, []string{"chat.example", "my_host"}, cert.DNSNames)
	require.Len(t, cert.IPAddresses, 2)
	assert.Equal(t, "192.0.2.1", cert.IPAddresses[0].String())

	_, err = issueUser(t, a, "alice").VerifyServer(chainOf(t, creds))
	assert.NoError(t, err)
}

func TestSerialNumbersAreRandom(t *testing.T) {
	a := newAuthority(t, certs.Env{})
	one, two := issueUser(t, a, "alice"), issueUser(t, a, "alice")
	assert.NotEqual(t, one.Certificate.Leaf.SerialNumber, two.Certificate.Leaf.SerialNumber)
	assert.Greater(t, one.Certificate.Leaf.SerialNumber.BitLen(), 64)
}

func TestAnAuthorityRefusesToSign(t *testing.T) {
	a := newAuthority(t, certs.Env{})
	pub, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	alice, err := certs.UserID(a.Domain(), "alice")
	require.NoError(t, err)

	t.Run("for another domain", func(t *testing.T) {
		foreign, err := certs.UserID("elsewhere", "alice")
		require.NoError(t, err)
		_, err = a.Sign(foreign, pub, nil)
		assert.ErrorContains(t, err, "does not sign for")
	})
	t.Run("for nobody", func(t *testing.T) {
		_, err := a.Sign(certs.ID{}, pub, nil)
		assert.Error(t, err)
		_, err = a.Sign(certs.ID{Domain: a.Domain()}, pub, nil)
		assert.Error(t, err)
	})
	t.Run("for an id that was tampered with", func(t *testing.T) {
		id := alice
		id.Name = "../server"
		_, err := a.Sign(id, pub, nil)
		assert.Error(t, err)
	})
	t.Run("hosts for a user", func(t *testing.T) {
		_, err := a.Sign(alice, pub, []string{"localhost"})
		assert.Error(t, err)
	})
	t.Run("what is not a host", func(t *testing.T) {
		for _, host := range []string{"", "a b", "-a", "a..b", "*.example", "fe80::1%eth0", "https://a", "ä.example"} {
			_, err := a.IssueServer([]string{host})
			assert.ErrorContains(t, err, "neither a dns name nor an ip address", "%q", host)
		}
	})
	t.Run("other kinds of keys", func(t *testing.T) {
		p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		require.NoError(t, err)
		weak, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		for _, pub := range []any{p384.Public(), weak.Public(), ed25519.PublicKey{1}, (*ecdsa.PublicKey)(nil), nil} {
			_, err := a.Sign(alice, pub, nil)
			assert.Error(t, err, "%T", pub)
		}
	})
}

func TestAnAuthoritySignsNothingThatOutlivesIt(t *testing.T) {
	clk := newClock()
	a := newAuthority(t, clk.Env())
	clk.Advance(3640 * day)
	assert.Equal(t, a.Certificate().NotAfter, issueUser(t, a, "alice").Certificate.Leaf.NotAfter)
	clk.Advance(11 * day)
	_, err := a.IssueUser("alice")
	assert.ErrorContains(t, err, "authority is valid from")
}

func TestP256IsAcceptedThroughout(t *testing.T) {
	a := newAuthority(t, certs.Env{KeyType: certs.P256})
	alice, server := issueUser(t, a, "alice"), issueServer(t, a)
	assert.IsType(t, &ecdsa.PublicKey{}, alice.Certificate.Leaf.PublicKey)
	_, err := server.VerifyClient(chainOf(t, alice))
	assert.NoError(t, err)
	_, err = alice.VerifyServer(chainOf(t, server))
	assert.NoError(t, err)
}
