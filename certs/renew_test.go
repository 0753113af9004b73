package certs_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// joined returns a server's home, and one of bob's, who joined with a token.
func joined(t *testing.T, c *clock) (server, laptop *certs.Home) {
	t.Helper()
	server = newHome(t, c.Env())
	inv, err := server.Invite("bob", certs.InviteOptions{})
	require.NoError(t, err)
	laptop = openHome(t, filepath.Join(t.TempDir(), "laptop"), c.Env())
	j, err := laptop.StartJoin(inv.Token)
	require.NoError(t, err)
	csr, err := j.Request()
	require.NoError(t, err)
	chain, err := server.Redeem(inv.Token.Secret, csr)
	require.NoError(t, err)
	_, err = j.Finish(chain)
	require.NoError(t, err)
	return server, laptop
}

func TestRenewalIsForTheSameNameAndKeyForAFullTerm(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	before := userCredentials(t, laptop, "bob")
	assert.InDelta(t, 60*day, certs.RenewAt(before.Certificate.Leaf).Sub(c.Now()), float64(time.Hour))
	c.Advance(61 * day)
	chain, err := server.Renew(before.Certificate.Leaf)
	require.NoError(t, err)
	after, err := laptop.KeepRenewed("bob", chain)
	require.NoError(t, err)
	assert.Equal(t, before.ID(), after.ID())
	assert.Equal(t, keyOf(before), keyOf(after))
	assert.Equal(t, 61*day, after.Certificate.Leaf.NotAfter.Sub(before.Certificate.Leaf.NotAfter))
	assert.Equal(t, after.Certificate.Leaf.Raw, userCredentials(t, laptop, "bob").Certificate.Leaf.Raw, "in the home")
	_, err = serverCredentials(t, server).VerifyClient(chainOf(t, after))
	require.NoError(t, err)
	all, err := server.Identities()
	require.NoError(t, err)
	require.Equal(t, "bob", all[len(all)-1].Name)
	assert.Equal(t, after.Certificate.Leaf.NotAfter, all[len(all)-1].NotAfter, "on record")
	info, err := os.Stat(filepath.Join(laptop.Dir(), "users", "bob.key"))
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077)
}

func TestWhoIsRevokedIsNotRenewed(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	bob := userCredentials(t, laptop, "bob").Certificate.Leaf
	require.NoError(t, server.Revoke("bob"))
	_, err := server.Renew(bob)
	require.ErrorIs(t, err, certs.ErrRevoked)
	_, err = server.Invite("bob", certs.InviteOptions{}) // lifts the name, not the key
	require.NoError(t, err)
	_, err = server.Renew(bob)
	require.ErrorIs(t, err, certs.ErrRevoked)
}

func TestWhatHasExpiredIsNotRenewed(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	c.Advance(91 * day)
	_, err := server.Renew(userCredentials(t, laptop, "bob").Certificate.Leaf)
	require.ErrorIs(t, err, certs.ErrNotRenewable)
}

func TestARenewedKeyIsKnownToRevokeEvenIfTheRecordWasGone(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	bob := userCredentials(t, laptop, "bob")
	remove(t, server, "issued")
	_, err := server.Renew(bob.Certificate.Leaf)
	require.NoError(t, err)
	require.NoError(t, server.Revoke("bob"))
	assert.ErrorIs(t, server.CheckRevoked(certs.ID{}, keyOf(bob)), certs.ErrRevoked)
}

func TestOnlyUsersOfTheAuthorityAreRenewed(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	for name, cert := range map[string]*x509.Certificate{
		"the server": serverCredentials(t, server).Certificate.Leaf,
		"a stranger": issueUser(t, newAuthority(t, c.Env()), "bob").Certificate.Leaf,
	} {
		_, err := server.Renew(cert)
		assert.ErrorIs(t, err, certs.ErrNotRenewable, name)
	}
	_, err := laptop.Renew(userCredentials(t, laptop, "bob").Certificate.Leaf)
	assert.ErrorIs(t, err, certs.ErrNoAuthority)
}

func TestARenewedCertificateThatIsNotGoodLeavesTheOldOne(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	bob := userCredentials(t, laptop, "bob")
	renew := func(creds *certs.Credentials) []*x509.Certificate {
		chain, err := server.Renew(creds.Certificate.Leaf)
		require.NoError(t, err)
		return chain
	}
	older := renew(bob)
	c.Advance(time.Hour)
	newer := renew(bob)
	device, err := server.UserCredentials("carol")
	require.NoError(t, err)
	otherKey, err := server.UserCredentials("bob")
	require.NoError(t, err)
	stranger := issueUser(t, newAuthority(t, c.Env()), "bob")
	authority, key := authorityOf(t, server)
	template := leafTemplate(t, authority, "user/carol", x509.ExtKeyUsageClientAuth)
	template.NotAfter = bob.Certificate.Leaf.NotAfter.Add(day)
	der, err := x509.CreateCertificate(nil, template, authority, bob.Certificate.Leaf.PublicKey, key)
	require.NoError(t, err)
	otherName, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	for name, chain := range map[string][]*x509.Certificate{
		"nothing":             nil,
		"another's":           renew(device),
		"for another key":     renew(otherKey),
		"for another name":    {otherName, authority},
		"another authority's": chainOf(t, stranger),
		"the server's":        chainOf(t, serverCredentials(t, server)),
	} {
		_, err := laptop.KeepRenewed("bob", chain)
		require.Error(t, err, name)
		require.Equal(t, bob.Certificate.Leaf.Raw, userCredentials(t, laptop, "bob").Certificate.Leaf.Raw, name)
	}
	_, err = laptop.KeepRenewed("dave", newer)
	require.ErrorIs(t, err, certs.ErrNoIdentity)

	_, err = laptop.KeepRenewed("bob", newer)
	require.NoError(t, err)
	kept, err := laptop.KeepRenewed("bob", older)
	require.NoError(t, err)
	assert.Equal(t, newer[0].Raw, kept.Certificate.Leaf.Raw, "the better one stays")
}
