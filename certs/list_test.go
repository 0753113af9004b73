package certs_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestIdentitiesAreAllKeysAndAllWhoAreDenied(t *testing.T) {
	home := newHome(t, newClock().Env())
	alice, lost := userCredentials(t, home, "alice"), userCredentials(t, home, "bob")
	remove(t, home, "users/bob.key", "users/bob.crt")
	require.NoError(t, home.Revoke("bob"))
	require.NoError(t, home.Revoke("nobody-yet"))
	_, err := home.Invite("bob", certs.InviteOptions{}) // lifts the name, and no key
	require.NoError(t, err)
	bob := userCredentials(t, home, "bob")

	all, err := home.Identities()
	require.NoError(t, err)
	assert.Equal(t, []certs.Identity{
		{Name: "alice", Key: keyOf(alice), NotAfter: alice.Certificate.Leaf.NotAfter, Default: true},
		{Name: "bob", Key: keyOf(lost), NotAfter: lost.Certificate.Leaf.NotAfter, Revoked: true},
		{Name: "bob", Key: keyOf(bob), NotAfter: bob.Certificate.Leaf.NotAfter},
		{Name: "nobody-yet", Revoked: true},
	}, all)

	require.NoError(t, home.Revoke("alice"))
	all, err = home.Identities()
	require.NoError(t, err)
	assert.True(t, all[0].Revoked)

	write(t, home, "revoked", "everybody\n")
	_, err = home.Identities()
	assert.ErrorContains(t, err, "everybody")
	_, err = openHome(t, t.TempDir(), certs.Env{}).Identities()
	assert.ErrorIs(t, err, certs.ErrNoAuthority)
}
