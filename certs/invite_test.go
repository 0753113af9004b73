package certs_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func invite(t testing.TB, home *certs.Home, name string, opts certs.InviteOptions) certs.Token {
	t.Helper()
	inv, err := home.Invite(name, opts)
	require.NoError(t, err)
	return inv.Token
}

// request makes a certificate request for a new key, as somebody who would like to be root.
func request(t testing.TB) (ed25519.PublicKey, []byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "root"}}, key)
	require.NoError(t, err)
	return pub, der
}

func requireToken(t testing.TB, err error, why certs.TokenReason) {
	t.Helper()
	var e *certs.TokenError
	require.ErrorAs(t, err, &e)
	require.Equal(t, why, e.Reason)
	require.ErrorIs(t, err, certs.ErrToken)
}

// M48
func TestATokenGetsItsNameACertificateOnce(t *testing.T) {
	clock := newClock()
	home := newHome(t, clock.Env())
	inv, err := home.Invite("bob", certs.InviteOptions{})
	require.NoError(t, err)
	assert.Equal(t, clock.Now().Add(15*time.Minute), inv.Expires)
	text := inv.Token.Text()
	assert.Len(t, text, 79)
	token, err := certs.ParseToken(text)
	require.NoError(t, err)
	assert.NotContains(t, token.String(), text[60:])

	server := serverCredentials(t, home)
	assert.Equal(t, certs.FingerprintOf(server.Authority), token.Authority)
	pub, csr := request(t)
	chain, err := home.Redeem(token.Secret, csr)
	require.NoError(t, err)
	id, err := server.VerifyClient(chain)
	require.NoError(t, err)
	assert.Equal(t, "bob", id.Name, "the name is the token's")
	assert.True(t, pub.Equal(chain[0].PublicKey))
	assert.Contains(t, read(t, home, "issued"), certs.FingerprintOf(chain[0]).String()+" bob ")

	// The same key gets the same certificate, even when the token's time is over; another gets nothing.
	clock.Advance(time.Hour)
	again, err := home.Redeem(token.Secret, csr)
	require.NoError(t, err)
	assert.Equal(t, chain[0].Raw, again[0].Raw)
	_, other := request(t)
	_, err = home.Redeem(token.Secret, other)
	requireToken(t, err, certs.TokenUsed)

	// After a day nobody remembers it.
	clock.Advance(25 * time.Hour)
	_, err = home.Redeem(token.Secret, csr)
	requireToken(t, err, certs.TokenExpired)
	invite(t, home, "carol", certs.InviteOptions{})
	_, err = home.Redeem(token.Secret, csr)
	requireToken(t, err, certs.TokenWrong)
}

// M49
func TestNothingOfATokenIsKeptThatWouldLetSomebodyIn(t *testing.T) {
	home := newHome(t, certs.Env{})
	token := invite(t, home, "bob", certs.InviteOptions{})
	kept := read(t, home, "invites")
	assert.NotContains(t, kept, token.Text())
	assert.NotContains(t, kept, string(token.Secret[:]))
	info, err := os.Stat(filepath.Join(home.Dir(), "invites"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestATokenThatIsNotGoodSaysWhich(t *testing.T) {
	clock := newClock()
	home := newHome(t, clock.Env())
	_, csr := request(t)
	token := invite(t, home, "bob", certs.InviteOptions{})
	_, err := home.Redeem([16]byte{1}, csr)
	requireToken(t, err, certs.TokenWrong)
	clock.Advance(15*time.Minute + time.Second)
	_, err = home.Redeem(token.Secret, csr)
	requireToken(t, err, certs.TokenExpired)
	assert.NotContains(t, read(t, home, "issued"), "bob")

	// The name was given away in the meantime.
	token = invite(t, home, "bob", certs.InviteOptions{TTL: time.Hour})
	userCredentials(t, home, "bob")
	_, err = home.Redeem(token.Secret, csr)
	requireToken(t, err, certs.TokenTaken)

	// The name, or the key, was revoked in the meantime.
	token = invite(t, home, "carol", certs.InviteOptions{})
	chain, err := home.Redeem(token.Secret, csr)
	require.NoError(t, err)
	require.NoError(t, home.Revoke("carol"))
	_, err = home.Redeem(token.Secret, csr)
	requireToken(t, err, certs.TokenRevoked)
	require.ErrorIs(t, err, certs.ErrRevoked)
	token = invite(t, home, "dave", certs.InviteOptions{})
	_, err = home.Redeem(token.Secret, csr)
	requireToken(t, err, certs.TokenRevoked)
	assert.NotContains(t, read(t, home, "issued"), certs.FingerprintOf(chain[0]).String()+" dave")
}

func TestANameThatExistsIsInvitedForAFurtherDeviceOnly(t *testing.T) {
	home := newHome(t, certs.Env{})
	_, err := home.Invite("alice", certs.InviteOptions{})
	require.ErrorIs(t, err, certs.ErrNameExists)
	remove(t, home, "issued")
	_, err = home.Invite("alice", certs.InviteOptions{})
	require.ErrorIs(t, err, certs.ErrNameExists, "also without the record")

	// Two open invitations for two devices.
	one := invite(t, home, "alice", certs.InviteOptions{AddDevice: true})
	two := invite(t, home, "alice", certs.InviteOptions{AddDevice: true})
	for _, token := range []certs.Token{one, two} {
		_, csr := request(t)
		_, err := home.Redeem(token.Secret, csr)
		assert.NoError(t, err)
	}
}

func TestANewInvitationVoidsTheOpenOne(t *testing.T) {
	home := newHome(t, certs.Env{})
	first := invite(t, home, "bob", certs.InviteOptions{})
	second := invite(t, home, "bob", certs.InviteOptions{})
	_, csr := request(t)
	_, err := home.Redeem(first.Secret, csr)
	requireToken(t, err, certs.TokenWrong)
	third := invite(t, home, "bob", certs.InviteOptions{AddDevice: true})
	_, err = home.Redeem(second.Secret, csr)
	require.NoError(t, err, "a further device's voids none")
	_, csr = request(t)
	_, err = home.Redeem(third.Secret, csr)
	require.NoError(t, err)

	// Nor can two become one user who was not there when the first was invited.
	first = invite(t, home, "carol", certs.InviteOptions{AddDevice: true})
	invite(t, home, "carol", certs.InviteOptions{})
	_, err = home.Redeem(first.Secret, csr)
	requireToken(t, err, certs.TokenWrong)
}

func TestOpenInvitationsAreAmongTheContents(t *testing.T) {
	clock := newClock()
	home := newHome(t, clock.Env())
	used := invite(t, home, "bob", certs.InviteOptions{})
	invite(t, home, "carol", certs.InviteOptions{TTL: time.Minute})
	invite(t, home, "alice", certs.InviteOptions{AddDevice: true})
	_, csr := request(t)
	_, err := home.Redeem(used.Secret, csr)
	require.NoError(t, err)
	c, err := home.Contents()
	require.NoError(t, err)
	alice := certs.Invited{Name: "alice", AddDevice: true, Expires: clock.Now().Add(15 * time.Minute)}
	assert.Equal(t, []certs.Invited{{Name: "carol", Expires: clock.Now().Add(time.Minute)}, alice}, c.Invited)
	clock.Advance(2 * time.Minute)
	c, err = home.Contents()
	require.NoError(t, err)
	assert.Equal(t, []certs.Invited{alice}, c.Invited)
}

func TestInvitingAgainLiftsTheNameAndNotTheKeys(t *testing.T) {
	home := newHome(t, certs.Env{})
	bob := userCredentials(t, home, "bob")
	old := invite(t, home, "bob", certs.InviteOptions{AddDevice: true})
	require.NoError(t, home.Revoke("bob"))
	token := invite(t, home, "bob", certs.InviteOptions{AddDevice: true})
	_, csr := request(t)
	_, err := home.Redeem(old.Secret, csr)
	requireToken(t, err, certs.TokenWrong)
	chain, err := home.Redeem(token.Secret, csr)
	require.NoError(t, err)
	require.NoError(t, home.CheckRevoked(bob.ID(), certs.FingerprintOf(chain[0])))
	require.ErrorIs(t, home.CheckRevoked(bob.ID(), keyOf(bob)), certs.ErrRevoked)
}

func TestARequestMustBeSignedWithAKeyOfOurs(t *testing.T) {
	home := newHome(t, certs.Env{})
	token := invite(t, home, "bob", certs.InviteOptions{})
	_, csr := request(t)
	forged := append([]byte(nil), csr...)
	forged[len(forged)-1] ^= 1
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	rsaCSR, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	for _, bad := range [][]byte{nil, csr[:20], forged, rsaCSR, make([]byte, 5000)} {
		_, err := home.Redeem(token.Secret, bad)
		require.ErrorIs(t, err, certs.ErrRequest)
	}
	_, err = home.Redeem(token.Secret, csr)
	require.NoError(t, err, "the token was not used up")
}

func TestOfTwoKeysThatRedeemOneTokenOneWins(t *testing.T) {
	home := newHome(t, certs.Env{})
	for range 10 {
		token := invite(t, home, "bob", certs.InviteOptions{AddDevice: true})
		var won, used atomic.Int32
		var wg sync.WaitGroup
		for range 4 {
			_, csr := request(t)
			wg.Go(func() {
				_, err := home.Redeem(token.Secret, csr)
				switch {
				case err == nil:
					won.Add(1)
				case assert.ErrorIs(t, err, certs.ErrToken):
					used.Add(1)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int32(1), won.Load())
		require.Equal(t, int32(3), used.Load())
	}
}

// Between the record of the key and the use of the token.
func TestACrashWhileATokenIsRedeemedLeavesItToTheSameKey(t *testing.T) {
	home := newHome(t, certs.Env{})
	token := invite(t, home, "bob", certs.InviteOptions{})
	open := read(t, home, "invites")
	_, csr := request(t)
	_, err := home.Redeem(token.Secret, csr)
	require.NoError(t, err)
	write(t, home, "invites", open) // as it was before
	_, other := request(t)
	_, err = home.Redeem(token.Secret, other)
	requireToken(t, err, certs.TokenTaken)
	_, err = home.Redeem(token.Secret, csr)
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(read(t, home, "issued"), " bob "))
}

func TestAHomeThatCannotSignInvitesNobody(t *testing.T) {
	home := openHome(t, t.TempDir(), certs.Env{})
	_, err := home.Invite("bob", certs.InviteOptions{})
	require.ErrorIs(t, err, certs.ErrNoAuthority)
	_, err = newHome(t, certs.Env{}).Invite("bob", certs.InviteOptions{TTL: 25 * time.Hour})
	require.Error(t, err)
	_, err = newHome(t, certs.Env{}).Invite("../bob", certs.InviteOptions{})
	require.Error(t, err)
}

func FuzzParseToken(f *testing.F) {
	text := certs.Token{Authority: certs.Fingerprint{1}, Secret: [16]byte{2}}.Text()
	for _, s := range []string{"", "trunkline1_", text, text[:78], text + "A", text[:40] + "\n" + text[40:78], strings.ToUpper(text)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := certs.ParseToken(s)
		if err == nil && token.Text() != s {
			t.Fatalf("%q came back as %q", s, token.Text())
		}
	})
}

func FuzzInvites(f *testing.F) {
	home := newHome(f, certs.Env{})
	token := invite(f, home, "bob", certs.InviteOptions{})
	f.Add(read(f, home, "invites"))
	_, csr := request(f)
	_, err := home.Redeem(token.Secret, csr)
	require.NoError(f, err)
	f.Add(read(f, home, "invites"))
	f.Add("x\n")
	f.Fuzz(func(t *testing.T, text string) {
		write(t, home, "invites", text)
		_, err := home.Redeem([16]byte{9}, csr)
		require.Error(t, err)
		_, err = home.Invite("fuzz", certs.InviteOptions{})
		if err != nil {
			require.Equal(t, text, read(t, home, "invites"), "what is not understood stays")
		}
	})
}

func FuzzRequest(f *testing.F) {
	_, csr := request(f)
	f.Add(csr)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, err := certs.ParseRequest(der)
		if (pub == nil) != (err != nil) {
			t.Fatalf("key %v, error %v", pub, err)
		}
	})
}
