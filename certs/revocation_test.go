package certs_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestRevokingDeniesTheNameAndItsKeys(t *testing.T) {
	home := newHome(t, certs.Env{})
	alice, bob := userCredentials(t, home, "alice"), userCredentials(t, home, "bob")
	require.NoError(t, home.CheckRevoked(bob.ID(), keyOf(bob)))
	require.NoError(t, home.Revoke("bob"))

	// A home that was open all the time, and one that is opened later.
	for _, h := range []*certs.Home{home, openHome(t, home.Dir(), certs.Env{})} {
		err := h.CheckRevoked(bob.ID(), certs.Fingerprint{})
		require.ErrorIs(t, err, certs.ErrRevoked)
		var denied *certs.RevokedError
		require.ErrorAs(t, err, &denied)
		assert.Equal(t, certs.RevokedError{Name: "bob"}, *denied)

		err = h.CheckRevoked(alice.ID(), keyOf(bob))
		require.ErrorAs(t, err, &denied, "a key is denied under whatever name")
		assert.Equal(t, certs.RevokedError{Name: "bob", Key: keyOf(bob)}, *denied)

		assert.NoError(t, h.CheckRevoked(alice.ID(), keyOf(alice)))
		assert.NoError(t, h.CheckRevoked(serverCredentials(t, h).ID(), keyOf(serverCredentials(t, h))))
	}
}

func TestRevokingAUserCalledServerSparesTheServer(t *testing.T) {
	home := newHome(t, certs.Env{})
	require.NoError(t, home.Revoke("server"))
	server := serverCredentials(t, home)
	assert.NoError(t, home.CheckRevoked(server.ID(), keyOf(server)))
}

func TestEveryKeyThatANameEverHadIsDenied(t *testing.T) {
	home := newHome(t, certs.Env{})
	lost := userCredentials(t, home, "bob")
	remove(t, home, "users/bob.key", "users/bob.crt")
	now := userCredentials(t, home, "bob")
	require.NotEqual(t, keyOf(lost), keyOf(now))
	require.NoError(t, home.Revoke("bob"))
	for _, creds := range []*certs.Credentials{lost, now} {
		assert.ErrorIs(t, home.CheckRevoked(certs.ID{}, keyOf(creds)), certs.ErrRevoked)
	}
}

func TestAKeyIsDeniedEvenIfTheRecordIsGone(t *testing.T) {
	home := newHome(t, certs.Env{})
	bob := userCredentials(t, home, "bob")
	remove(t, home, "issued")
	require.NoError(t, home.Revoke("bob"))
	assert.ErrorIs(t, home.CheckRevoked(certs.ID{}, keyOf(bob)), certs.ErrRevoked)
}

func TestARevokedNameIsNeverMadeAgain(t *testing.T) {
	home := newHome(t, certs.Env{})
	userCredentials(t, home, "bob")
	require.NoError(t, home.Revoke("bob"))
	require.NoError(t, home.Revoke("nobody-yet"))
	remove(t, home, "users/bob.key", "users/bob.crt")
	before := contents(t, home)
	for _, name := range []string{"bob", "nobody-yet"} {
		_, err := home.UserCredentials(name)
		assert.ErrorIs(t, err, certs.ErrRevoked, name)
	}
	assert.Equal(t, before, contents(t, home))
}

func TestARevokedIdentityIsNeverCompletedOrRenewed(t *testing.T) {
	clk := newClock()
	home := newHome(t, clk.Env())
	userCredentials(t, home, "bob")
	carol := userCredentials(t, home, "carol")
	require.NoError(t, home.Revoke("bob"))
	require.NoError(t, home.Revoke("carol"))

	remove(t, home, "users/bob.crt")
	_, err := home.UserCredentials("bob")
	assert.ErrorIs(t, err, certs.ErrRevoked, "not completed")

	clk.Advance(61 * day)
	assert.Equal(t, carol.Certificate, userCredentials(t, home, "carol").Certificate, "not renewed, but still valid")
	clk.Advance(30 * day)
	_, err = home.UserCredentials("carol")
	assert.ErrorIs(t, err, certs.ErrRevoked, "not renewed")
}

func TestARevokedKeyIsNotSignedAgainWhenTheNameIsLifted(t *testing.T) {
	home := newHome(t, certs.Env{})
	bob := userCredentials(t, home, "bob")
	require.NoError(t, home.Revoke("bob"))
	write(t, home, "revoked", strings.Replace(read(t, home, "revoked"), "name bob\n", "", 1))
	require.NoError(t, home.CheckRevoked(bob.ID(), certs.Fingerprint{}))

	remove(t, home, "users/bob.crt")
	_, err := home.UserCredentials("bob")
	require.ErrorIs(t, err, certs.ErrRevoked)
	remove(t, home, "users/bob.key")
	again := userCredentials(t, home, "bob")
	assert.NotEqual(t, keyOf(bob), keyOf(again))
	assert.NoError(t, home.CheckRevoked(again.ID(), keyOf(again)))
}

func TestARevokedLocalUserDoesNotKeepTheServerFromStarting(t *testing.T) {
	home := newHome(t, certs.Env{})
	require.NoError(t, home.Revoke("alice"))
	require.NoError(t, home.Init(nil, "alice"))
	remove(t, home, "default", "users/alice.key", "users/alice.crt")
	require.NoError(t, home.Init(nil, "alice"))
	_, err := home.DefaultName()
	assert.ErrorIs(t, err, certs.ErrNoIdentity)
}

func TestRevokingTwiceIsRevokingOnce(t *testing.T) {
	home := newHome(t, certs.Env{})
	require.NoError(t, home.Revoke("alice"))
	before := read(t, home, "revoked")
	require.NoError(t, home.Revoke("alice"))
	assert.Equal(t, before, read(t, home, "revoked"))
	assert.Equal(t, "name alice\nkey "+keyOf(userCredentials(t, home, "")).String()+" alice\n", before)
	assert.Error(t, home.Revoke("../alice"))
}

func TestRevokingManyAtOnceLosesNone(t *testing.T) {
	home := newHome(t, certs.Env{})
	names := strings.Fields("a b c d e f g h i j k l")
	var group sync.WaitGroup
	for _, name := range names {
		h := openHome(t, home.Dir(), certs.Env{})
		group.Go(func() { assert.NoError(t, h.Revoke(name)) })
	}
	group.Wait()
	for _, name := range names {
		id, err := certs.UserID(serverCredentials(t, home).ID().Domain, name)
		require.NoError(t, err)
		assert.ErrorIs(t, home.CheckRevoked(id, certs.Fingerprint{}), certs.ErrRevoked, name)
	}
}

func TestAListThatCannotBeReadLetsNobodyIn(t *testing.T) {
	for _, text := range []string{"nome bob\n", "name Bob\n", "name\n", "\n", "key SHA256:abc bob\n", "name bob extra\n", "\x00\x00\x00", strings.Repeat("name bob\n", 200_000)} {
		home := newHome(t, certs.Env{})
		alice := userCredentials(t, home, "alice")
		write(t, home, "revoked", text)
		err := home.CheckRevoked(alice.ID(), keyOf(alice))
		require.ErrorContains(t, err, "revoked")
		assert.NotErrorIs(t, err, certs.ErrRevoked)
		assert.Error(t, home.Revoke("carol"))
		_, err = home.UserCredentials("carol")
		assert.Error(t, err)
		assert.Equal(t, text, read(t, home, "revoked"), "and nothing is overwritten")
	}
}

// Whatever is in the list, a name that was revoked after it was read is denied, or the list is as it was.
func FuzzRevoked(f *testing.F) {
	home := newHome(f, certs.Env{})
	require.NoError(f, home.Revoke("alice"))
	f.Add(read(f, home, "revoked"), read(f, home, "issued"))
	f.Add("name bob\nkey x bob\n", "SHA256:x bob\n")
	f.Add("", strings.TrimSuffix(read(f, home, "issued"), "Z\n"))
	f.Fuzz(func(t *testing.T, revoked, issued string) {
		write(t, home, "revoked", revoked)
		write(t, home, "issued", issued)
		before, readErr := home.Identities()
		if err := home.Revoke("fuzz"); err != nil {
			require.Equal(t, revoked, read(t, home, "revoked"), "what is not understood stays")
			return
		}
		require.NoError(t, readErr)
		denied, err := home.Denied()
		require.NoError(t, err)
		require.ErrorIs(t, denied.Check(userID(t, home, "fuzz"), certs.Fingerprint{}), certs.ErrRevoked)
		for _, i := range before {
			if i.Name == "fuzz" && !i.Key.IsZero() {
				require.ErrorIs(t, denied.Check(certs.ID{}, i.Key), certs.ErrRevoked)
			}
		}
	})
}

// userID returns the id of that user of home's.
func userID(t *testing.T, home *certs.Home, name string) certs.ID {
	t.Helper()
	id, err := certs.UserID(serverCredentials(t, home).ID().Domain, name)
	require.NoError(t, err)
	return id
}

// A server with a PKI of its own has users of other domains, and a list that is of the home's.
func TestANameIsDeniedInTheDomainOfTheHomeAlone(t *testing.T) {
	home := newHome(t, certs.Env{})
	require.NoError(t, home.Revoke("bob"))
	ours, theirs := userCredentials(t, home, "alice"), issueUser(t, newAuthority(t, certs.Env{}), "bob")
	bob, err := certs.UserID(ours.ID().Domain, "bob")
	require.NoError(t, err)
	check := func(id certs.ID) (once, watched error) {
		denied, err := home.Denied()
		require.NoError(t, err)
		return home.CheckRevoked(id, certs.Fingerprint{}), denied.Check(id, certs.Fingerprint{})
	}
	for name, test := range map[string]struct {
		id     certs.ID
		denied bool
	}{"ours": {bob, true}, "theirs": {theirs.ID(), false}} {
		once, watched := check(test.id)
		assert.Equal(t, test.denied, once != nil, name)
		assert.Equal(t, test.denied, watched != nil, name)
	}

	// A key that is denied is denied wherever it is shown.
	require.ErrorIs(t, home.CheckRevoked(theirs.ID(), keyOfRevoked(t, home)), certs.ErrRevoked)

	// Whoever can't tell whose names they are denies rather too many.
	write(t, home, "authority.crt", "damaged")
	for _, id := range []certs.ID{bob, theirs.ID()} {
		once, watched := check(id)
		assert.ErrorIs(t, once, certs.ErrRevoked)
		assert.ErrorIs(t, watched, certs.ErrRevoked)
	}
}

// keyOfRevoked revokes a user who has a key, and returns that.
func keyOfRevoked(t *testing.T, home *certs.Home) certs.Fingerprint {
	t.Helper()
	carol := userCredentials(t, home, "carol")
	require.NoError(t, home.Revoke("carol"))
	return keyOf(carol)
}
