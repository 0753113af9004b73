package certs_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// An overlap is an authority, the one that has succeeded it, and what each has issued.
type overlap struct {
	clk                 *clock
	old, current        *certs.Authority
	oldAlice, oldServer *certs.Credentials
	alice, server       *certs.Credentials
	oldKey, key         certs.Fingerprint
}

func newOverlap(t testing.TB, keyType certs.KeyType) *overlap {
	t.Helper()
	clk := newClock()
	o := &overlap{clk: clk, old: newAuthority(t, certs.Env{Now: clk.Now, KeyType: keyType})}
	o.oldAlice, o.oldServer = issueUser(t, o.old, "alice"), issueServer(t, o.old)
	clk.Advance(day)
	var err error
	o.current, err = o.old.Successor()
	require.NoError(t, err)
	o.alice, o.server = issueUser(t, o.current, "alice"), issueServer(t, o.current)
	o.oldKey, o.key = certs.FingerprintOf(o.old.Certificate()), certs.FingerprintOf(o.current.Certificate())
	return o
}

func TestASuccessorIsOfTheSameDomainWithAKeyOfItsOwn(t *testing.T) {
	o := newOverlap(t, certs.Ed25519)
	assert.Equal(t, o.old.Domain(), o.current.Domain())
	assert.NotEqual(t, o.oldKey, o.key)
	assert.Equal(t, o.old.Certificate(), o.alice.Former)
	assert.Equal(t, 90*day, o.alice.Cross.NotAfter.Sub(o.clk.Now()))
	// For verifiers that go by it alone: issuer and subject have one name.
	assert.Equal(t, o.old.Certificate().SubjectKeyId, o.alice.Cross.AuthorityKeyId)
	assert.Equal(t, o.current.Certificate().SubjectKeyId, o.alice.Cross.SubjectKeyId)
}

func TestInAnOverlapEachTrustsWhatEitherAuthorityHasIssued(t *testing.T) {
	for name, keyType := range map[string]certs.KeyType{"ed25519": certs.Ed25519, "p-256": certs.P256} {
		t.Run(name, func(t *testing.T) {
			o := newOverlap(t, keyType)
			for who, server := range map[string]*certs.Credentials{"the server of the old one": o.oldServer, "the server of the new one": o.server} {
				for whom, alice := range map[string]*certs.Credentials{"alice of the old one": o.oldAlice, "alice of the new one": o.alice} {
					_, err := server.VerifyClient(chainOf(t, alice))
					assert.NoError(t, err, "%s, %s", who, whom)
					_, err = alice.VerifyServer(chainOf(t, server))
					assert.NoError(t, err, "%s, %s", whom, who)
				}
			}
		})
	}
}

// M80
func TestInAnOverlapAPinOfEitherKeyIsGood(t *testing.T) {
	o := newOverlap(t, certs.Ed25519)
	chain := chainOf(t, o.server)
	for name, key := range map[string]certs.Fingerprint{"old": o.oldKey, "new": o.key} {
		id, err := (&certs.Credentials{AuthorityKey: key, Now: o.clk.Now}).VerifyServer(chain)
		require.NoError(t, err, name)
		assert.True(t, id.IsServer())
	}
	assert.Equal(t, o.key, certs.FingerprintOf(certs.AuthorityOf(chain)), "whom a newcomer is shown")
}

func TestAnOverlapEndsByItself(t *testing.T) {
	o := newOverlap(t, certs.Ed25519)
	o.clk.Advance(90 * day)
	leaf := o.oldServer.Certificate.Leaf
	late, err := o.old.Sign(o.oldAlice.ID(), o.oldAlice.Certificate.Leaf.PublicKey, nil) // as nobody does
	require.NoError(t, err)
	verify := func() error {
		_, err := o.server.VerifyClient([]*x509.Certificate{late, o.old.Certificate()})
		return err
	}
	require.NoError(t, verify())
	require.True(t, o.server.Roots().Equal(o.alice.Roots()))
	o.clk.Advance(time.Second)
	id, err := o.server.VerifyClient([]*x509.Certificate{late, o.old.Certificate()})
	failure := requireReason(t, certs.UnknownAuthority, id, err)
	assert.Equal(t, failure.Expected, o.key)
	assert.Equal(t, o.oldKey, failure.Got)
	require.True(t, leaf.NotAfter.Before(o.clk.Now()), "what the old one had issued has expired by then")

	// And whoever has the old key pinned is told of both.
	id, err = o.oldAlice.VerifyServer(chainOf(t, issueServer(t, o.current)))
	failure = requireReason(t, certs.UnknownAuthority, id, err)
	assert.Equal(t, failure.Expected, o.oldKey)
	assert.Equal(t, o.key, failure.Got)
}

func TestThereIsOneOverlapAtATime(t *testing.T) {
	o := newOverlap(t, certs.Ed25519)
	_, err := o.current.Successor()
	require.ErrorIs(t, err, certs.ErrOverlap)
	o.clk.Advance(91 * day)
	next, err := o.current.Successor()
	require.NoError(t, err)
	_, err = o.alice.VerifyServer(chainOf(t, issueServer(t, next)))
	require.NoError(t, err)
}

// A stranger's key for the same domain, certified by itself, or by the authority before, as a user.
func TestNobodyElseSucceedsAnAuthority(t *testing.T) {
	o := newOverlap(t, certs.Ed25519)
	twin, err := newOverlap(t, certs.Ed25519).old.Successor()
	require.NoError(t, err)
	leaf, cross := chainOf(t, issueServer(t, twin)), chainOf(t, o.server)[1]
	for name, chain := range map[string][]*x509.Certificate{
		"its own chain":                     leaf,
		"with the real cross certificate":   {leaf[0], cross, o.old.Certificate(), o.current.Certificate()},
		"with what the real one has issued": append(leaf[:1:1], chainOf(t, o.server)...),
	} {
		id, err := o.oldAlice.VerifyServer(chain)
		requireReason(t, certs.UnknownAuthority, id, err)
		assert.Error(t, err, name)
	}
}
