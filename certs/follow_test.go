package certs_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

const at = "chat.example:4433"

// rotated returns a server's home in an overlap, one of bob's who joined before and pinned the old key as well, and the rotation.
func rotated(t *testing.T, c *clock) (server, laptop *certs.Home, r *certs.Rotation) {
	t.Helper()
	server, laptop = joined(t, c)
	return server, laptop, rotateUnder(t, server, laptop)
}

func rotateUnder(t testing.TB, server, laptop *certs.Home) *certs.Rotation {
	t.Helper()
	require.NoError(t, laptop.Pin(at, certs.FingerprintOf(userCredentials(t, laptop, "bob").Authority)))
	r := rotate(t, server)
	require.NoError(t, server.Init(nil, "alice"))
	return r
}

// M81
func TestAHomeAndItsPinsFollowTheServer(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	before := contents(t, server)
	r := rotateUnder(t, server, laptop)
	require.NoError(t, laptop.Pin("other.example:4433", r.Former))
	chain := chainOf(t, serverCredentials(t, server))
	followed, err := laptop.Follow(at, chain)
	require.NoError(t, err)
	require.True(t, followed)
	bob := userCredentials(t, laptop, "bob")
	assert.Equal(t, r.Authority, certs.FingerprintOf(bob.Authority))
	_, err = bob.VerifyServer(chain)
	require.NoError(t, err)
	_, err = serverCredentials(t, server).VerifyClient(chainOf(t, bob))
	require.NoError(t, err, "with what the old one has issued")
	for addr, want := range map[string]certs.Fingerprint{at: r.Authority, "other.example:4433": r.Former} {
		key, err := laptop.Pinned(addr)
		require.NoError(t, err)
		assert.Equal(t, want, key, addr)
	}
	followed, err = laptop.Follow(at, chain)
	require.NoError(t, err)
	assert.False(t, followed, "it is there")

	// One that signs does not, though it be restored from before: it would be without its key.
	restored := newHome(t, c.Env())
	for name, data := range before {
		write(t, restored, name, data)
	}
	followed, err = restored.Follow(at, chain)
	require.NoError(t, err)
	assert.False(t, followed)
	assert.Equal(t, before, contents(t, restored))
}

// M81
func TestNobodyFollowsWhatThePinnedAuthorityHasNotSigned(t *testing.T) {
	c := newClock()
	server, laptop, _ := rotated(t, c)
	good := chainOf(t, serverCredentials(t, server))
	leaf, cross, old, current := good[0], good[1], good[2], good[3]

	// A thief has a key of their own, and signs the cross certificate with that, in the name of the old authority.
	_, thiefKey := authorityOf(t, newHome(t, c.Env()))
	sign := func(template *x509.Certificate) *x509.Certificate {
		copied := *template
		copied.SignatureAlgorithm = 0
		parent := copied
		parent.PublicKey = thiefKey.Public()
		der, err := x509.CreateCertificate(nil, &copied, &parent, thiefKey.Public(), thiefKey)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return cert
	}
	own := sign(current)
	ownLeaf := forge(t, leafTemplate(t, own, "server", x509.ExtKeyUsageServerAuth), own, thiefKey)
	forged := sign(cross)
	for name, chain := range map[string][]*x509.Certificate{
		"a forged cross certificate":            {ownLeaf, forged, old, own},
		"the real one for the thief's key":      {ownLeaf, cross, old, own},
		"the real ones beside":                  {ownLeaf, cross, old, current, own},
		"no cross certificate":                  {leaf, old, old, current},
		"a user of the old one in its place":    {leaf, userCredentials(t, laptop, "bob").Certificate.Leaf, old, current},
		"the successor's own in its place":      {leaf, current, old, current},
		"the successor's certificate left out":  {leaf, cross, old, old},
		"nothing that the successor has issued": {userCredentials(t, laptop, "bob").Certificate.Leaf, cross, old, current},
		"nothing":                               {nil, nil, nil, nil},
	} {
		before := contents(t, laptop)
		followed, err := laptop.Follow(at, chain)
		require.NoError(t, err, name)
		assert.False(t, followed, name)
		assert.Equal(t, before, contents(t, laptop), name)
	}
	c.Advance(90*day + time.Second)
	followed, err := laptop.Follow(at, good)
	require.NoError(t, err)
	assert.False(t, followed, "a cross certificate that has expired")
}

// M81, M83
func TestARenewalInAnOverlapBringsTheNewAuthority(t *testing.T) {
	c := newClock()
	server, laptop, r := rotated(t, c)
	old := userCredentials(t, laptop, "bob")
	chain, err := server.Renew(old.Certificate.Leaf)
	require.NoError(t, err)
	require.Len(t, chain, 4, "M80")

	// An answer without the authority that has certified it would leave a home that can't use it.
	_, err = laptop.KeepRenewed("bob", []*x509.Certificate{chain[0], chain[1], chain[2]})
	require.ErrorContains(t, err, "lacks the authority")
	assert.Equal(t, old.Certificate.Leaf.Raw, userCredentials(t, laptop, "bob").Certificate.Leaf.Raw)

	bob, err := laptop.KeepRenewed("bob", chain)
	require.NoError(t, err)
	assert.Equal(t, r.Authority, certs.FingerprintOf(bob.Authority))
	assert.Equal(t, keyOf(old), keyOf(bob))
	_, err = server.FinishRotation(false)
	require.NoError(t, err)
	require.NoError(t, server.Init(nil, "alice"))
	_, err = serverCredentials(t, server).VerifyClient(chainOf(t, bob))
	require.NoError(t, err)
	_, err = bob.VerifyServer(chainOf(t, serverCredentials(t, server)))
	require.NoError(t, err)
}

// A rotation whose whole overlap somebody missed, and then another one.
func TestNobodyFollowsOverAnAuthorityThatTheyHaveMissed(t *testing.T) {
	c := newClock()
	server, laptop, _ := rotated(t, c)
	_, err := server.FinishRotation(true)
	require.NoError(t, err)
	rotate(t, server)
	require.NoError(t, server.Init(nil, "alice"))
	chain := chainOf(t, serverCredentials(t, server))
	followed, err := laptop.Follow(at, chain)
	require.NoError(t, err)
	assert.False(t, followed)
	id, err := userCredentials(t, laptop, "bob").VerifyServer(chain)
	requireReason(t, certs.UnknownAuthority, id, err)
}
