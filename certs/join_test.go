package certs_test

import (
	"crypto/rand"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// join redeems the token for that home, with nothing in between.
func join(t testing.TB, server, client *certs.Home, token certs.Token) (certs.ID, error) {
	t.Helper()
	j, err := client.StartJoin(token)
	require.NoError(t, err)
	csr, err := j.Request()
	require.NoError(t, err)
	chain, err := server.Redeem(token.Secret, csr)
	if err != nil {
		return certs.ID{}, err
	}
	return j.Finish(chain)
}

func TestWhoJoinsHasAnIdentityInAHomeOfTheirOwn(t *testing.T) {
	server := newHome(t, certs.Env{})
	client := openHome(t, filepath.Join(t.TempDir(), "client"), certs.Env{})
	id, err := join(t, server, client, invite(t, server, "bob", certs.InviteOptions{}))
	require.NoError(t, err)
	assert.Equal(t, "bob", id.Name)
	creds := userCredentials(t, client, "")
	got, err := serverCredentials(t, server).VerifyClient(chainOf(t, creds))
	require.NoError(t, err)
	assert.Equal(t, id, got)
	_, err = creds.VerifyServer(chainOf(t, serverCredentials(t, server)))
	require.NoError(t, err)
	assert.False(t, client.HasAuthority())
	left, err := os.ReadDir(filepath.Join(client.Dir(), "joining"))
	require.NoError(t, err)
	assert.Empty(t, left)

	// A second identity leaves the default.
	_, err = join(t, server, client, invite(t, server, "carol", certs.InviteOptions{}))
	require.NoError(t, err)
	assert.Equal(t, "bob\n", read(t, client, "default"))
	assert.Equal(t, "carol", userCredentials(t, client, "carol").ID().Name)
}

func TestAJoinThatWasCutShortIsRepeated(t *testing.T) {
	server := newHome(t, certs.Env{})
	token := invite(t, server, "bob", certs.InviteOptions{})
	dir := filepath.Join(t.TempDir(), "client")
	first, err := openHome(t, dir, certs.Env{}).StartJoin(token)
	require.NoError(t, err)
	csr, err := first.Request()
	require.NoError(t, err)
	lost, err := server.Redeem(token.Secret, csr)
	require.NoError(t, err)

	client := openHome(t, dir, certs.Env{})
	_, err = join(t, server, client, token)
	require.NoError(t, err)
	assert.Equal(t, lost[0].Raw, userCredentials(t, client, "bob").Certificate.Leaf.Raw)

	// Cut short at the end of Finish, too: each file alone may be missing.
	whole := contents(t, client)
	for _, missing := range []string{"default", "users/bob.crt"} {
		again := openHome(t, filepath.Join(t.TempDir(), "again"), certs.Env{})
		for name, data := range whole {
			if name != missing {
				write(t, again, name, data)
			}
		}
		write(t, again, filepath.Join("joining", filepath.Base(joiningKey(t, token))), whole["users/bob.key"])
		_, err = join(t, server, again, token)
		require.NoError(t, err)
		assert.Equal(t, whole, contents(t, again))
	}
}

// joiningKey is the path of the key that a join with the token makes.
func joiningKey(t *testing.T, token certs.Token) string {
	t.Helper()
	home := openHome(t, t.TempDir(), certs.Env{})
	_, err := home.StartJoin(token)
	require.NoError(t, err)
	all, err := filepath.Glob(filepath.Join(home.Dir(), "joining", "*.key"))
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0]
}

func TestAHomeOfAnotherAuthorityIsNotForJoining(t *testing.T) {
	server, other := newHome(t, certs.Env{}), newHome(t, certs.Env{})
	token := invite(t, server, "bob", certs.InviteOptions{})
	for _, home := range []*certs.Home{server, other} {
		before := contents(t, home)
		_, err := home.StartJoin(token)
		require.ErrorIs(t, err, certs.ErrOtherHome)
		assert.Equal(t, before, contents(t, home))
	}
	client := openHome(t, t.TempDir(), certs.Env{})
	_, err := join(t, other, client, invite(t, other, "bob", certs.InviteOptions{}))
	require.NoError(t, err)
	_, err = client.StartJoin(token)
	require.ErrorIs(t, err, certs.ErrOtherHome)
}

// M51
func TestAnAnswerForAnotherKeyOrAuthorityIsNotKept(t *testing.T) {
	server, other := newHome(t, certs.Env{}), newHome(t, certs.Env{})
	token := invite(t, server, "bob", certs.InviteOptions{})
	client := openHome(t, t.TempDir(), certs.Env{})
	j, err := client.StartJoin(token)
	require.NoError(t, err)
	before := contents(t, client)
	for _, creds := range []*certs.Credentials{userCredentials(t, server, "alice"), userCredentials(t, other, "alice"), serverCredentials(t, server)} {
		_, err = j.Finish(chainOf(t, creds))
		require.Error(t, err)
	}
	_, err = j.Finish(nil)
	require.Error(t, err)
	assert.Equal(t, before, contents(t, client))
	require.NoError(t, j.Abandon())
	assert.Empty(t, contents(t, client))
}

func TestAnIdentityThatJoinsAgainPutsItsOldKeyAside(t *testing.T) {
	server := newHome(t, certs.Env{})
	client := openHome(t, t.TempDir(), certs.Env{})
	_, err := join(t, server, client, invite(t, server, "bob", certs.InviteOptions{}))
	require.NoError(t, err)
	before := contents(t, client)
	require.NoError(t, server.Revoke("bob"))
	_, err = join(t, server, client, invite(t, server, "bob", certs.InviteOptions{}))
	require.NoError(t, err)
	creds := userCredentials(t, client, "bob")
	require.NoError(t, server.CheckRevoked(creds.ID(), keyOf(creds)))
	after := contents(t, client)
	assert.Equal(t, before["users/bob.key"], after["users/bob.key.old"])
	assert.Equal(t, before["users/bob.crt"], after["users/bob.crt.old"])
}

func TestAHomeKeepsTheFirstServerItJoined(t *testing.T) {
	home := openHome(t, t.TempDir(), certs.Env{})
	addr, err := home.Server()
	require.NoError(t, err)
	assert.Empty(t, addr)
	require.NoError(t, home.KeepServer("Chat.example:4433"))
	require.NoError(t, home.KeepServer("other.example:4433"))
	addr, err = home.Server()
	require.NoError(t, err)
	assert.Equal(t, "chat.example:4433", addr)
	require.Error(t, home.KeepServer("nowhere"))
	write(t, home, "server", "nonsense\n")
	_, err = home.Server()
	require.ErrorContains(t, err, "line 1")
}

// M46, M52
func TestAnAuthorityIsPinnedByItsKey(t *testing.T) {
	server, other := newHome(t, certs.Env{}), newHome(t, certs.Env{})
	creds := serverCredentials(t, server)
	chain := chainOf(t, creds)
	pin := certs.Credentials{AuthorityKey: certs.FingerprintOf(creds.Authority)}
	id, err := pin.VerifyServer(chain)
	require.NoError(t, err)
	assert.True(t, id.IsServer())
	assert.Equal(t, creds.Authority, certs.AuthorityOf(chain))

	var e *certs.VerifyError
	_, err = pin.VerifyServer(chainOf(t, serverCredentials(t, other)))
	require.ErrorAs(t, err, &e)
	assert.Equal(t, certs.UnknownAuthority, e.Reason)
	assert.Equal(t, e.Expected, certs.FingerprintOf(creds.Authority))
	assert.Equal(t, certs.FingerprintOf(serverCredentials(t, other).Authority), e.Got)
	_, err = pin.VerifyServer(nil)
	require.ErrorAs(t, err, &e)
	assert.Equal(t, certs.NoCertificate, e.Reason)
	_, err = pin.VerifyServer(chain[:1])
	require.ErrorAs(t, err, &e, "the authority has to be in the chain")
	_, err = pin.VerifyServer(chainOf(t, userCredentials(t, server, "alice")))
	require.ErrorAs(t, err, &e)
	assert.Equal(t, certs.WrongPurpose, e.Reason)

	// The key of the leaf is not that of an authority, and a certificate that somebody else has made for
	// the authority's key is not the authority's.
	leaf := certs.Credentials{AuthorityKey: certs.FingerprintOf(chain[0])}
	_, err = leaf.VerifyServer(chain)
	require.ErrorAs(t, err, &e)
	assert.Equal(t, certs.UnknownAuthority, e.Reason)
	theirs, signer := authorityOf(t, other)
	forged := *creds.Authority
	der, err := x509.CreateCertificate(rand.Reader, &forged, theirs, creds.Authority.PublicKey, signer)
	require.NoError(t, err)
	fake, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	assert.Equal(t, pin.AuthorityKey, certs.FingerprintOf(fake))
	_, err = pin.VerifyServer(append(chain[:1:1], fake))
	require.ErrorAs(t, err, &e)
	assert.Equal(t, certs.UnknownAuthority, e.Reason)
}
