package certs_test

import (
	"context"
	"crypto/x509"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func rotate(t testing.TB, home *certs.Home) *certs.Rotation {
	t.Helper()
	r, err := home.Rotate(certs.RotateOptions{})
	require.NoError(t, err)
	return r
}

// works says that the server and the default user of a home know each other, and that it invites and renews.
func works(t *testing.T, home *certs.Home) {
	t.Helper()
	server, alice := serverCredentials(t, home), userCredentials(t, home, "alice")
	_, err := server.VerifyClient(chainOf(t, alice))
	require.NoError(t, err)
	_, err = alice.VerifyServer(chainOf(t, server))
	require.NoError(t, err)
	_, err = home.Renew(alice.Certificate.Leaf)
	require.NoError(t, err)
	_, err = home.Invite("bob", certs.InviteOptions{AddDevice: true})
	require.NoError(t, err)
}

// pinOf trusts the key alone, as a token and known_servers do.
func pinOf(key certs.Fingerprint, c *clock) *certs.Credentials {
	return &certs.Credentials{AuthorityKey: key, Now: c.Now}
}

func TestARotationMakesANewAuthorityThatIsTrustedByWhoTrustedTheOld(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	oldBob, oldAlice := userCredentials(t, laptop, "bob"), userCredentials(t, server, "alice")
	oldKey, oldServer := read(t, server, "authority.key"), serverCredentials(t, server)
	old, err := server.Contents()
	require.NoError(t, err)
	token := invite(t, server, "carol", certs.InviteOptions{})

	c.Advance(day)
	r := rotate(t, server)
	assert.Equal(t, certs.FingerprintOf(old.Authority), r.Former)
	assert.NotEqual(t, r.Former, r.Authority)
	assert.Equal(t, c.Now().Add(90*day), r.Until)
	assert.NotEqual(t, oldKey, read(t, server, "authority.key"))
	assert.NotContains(t, contents(t, server), "authority.next.key")
	info, err := os.Stat(filepath.Join(server.Dir(), "authority.key"))
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077)
	now, err := server.Contents()
	require.NoError(t, err)
	assert.Equal(t, []any{r.Authority, r.Former, r.Until},
		[]any{certs.FingerprintOf(now.Authority), certs.FingerprintOf(now.Former), now.FormerUntil})

	// Users whose keys are here have been certified anew, for the same key.
	alice := userCredentials(t, server, "alice")
	assert.Equal(t, keyOf(oldAlice), keyOf(alice))
	require.NoError(t, alice.Certificate.Leaf.CheckSignatureFrom(now.Authority))

	// Before the server has noticed, and after.
	works(t, server)
	_, err = oldServer.VerifyClient(chainOf(t, alice))
	require.NoError(t, err, "a server that has not noticed, and somebody who has")
	require.NoError(t, server.Init(nil, "alice"))
	works(t, server)
	creds := serverCredentials(t, server)
	require.NoError(t, creds.Certificate.Leaf.CheckSignatureFrom(now.Authority))
	_, err = creds.VerifyClient(chainOf(t, oldBob))
	require.NoError(t, err, "M80")
	for name, pinned := range map[string]*certs.Credentials{
		"who joined": oldBob, "an old pin": pinOf(r.Former, c), "a new pin": pinOf(r.Authority, c), "a token of before": pinOf(token.Authority, c),
	} {
		_, err = pinned.VerifyServer(chainOf(t, creds))
		require.NoError(t, err, name)
	}
}

// Each file of a rotation can't be written, one after the other: that is where it is cut short.
func TestARotationThatIsCutShortLeavesAHomeThatWorks(t *testing.T) {
	for _, step := range []string{"authority.next.key", "issued", "authority.crt"} {
		for name, again := range map[string]func(home *certs.Home) error{
			"rotated again": func(home *certs.Home) error { _, err := home.Rotate(certs.RotateOptions{}); return err },
			"left at that":  func(home *certs.Home) error { return home.Init(nil, "alice") },
		} {
			t.Run(step+", "+name, func(t *testing.T) {
				home := newHome(t, certs.Env{})
				before := contents(t, home)["authority.crt"]
				issued := read(t, home, "issued")
				write(t, home, "issued", issued[:strings.LastIndex(issued, " ")]+"\n") // as it was before there were rotations
				write(t, home, step+".tmp/file", "")
				_, err := home.Rotate(certs.RotateOptions{})
				require.Error(t, err)
				require.Equal(t, before, read(t, home, "authority.crt"))
				require.NoError(t, os.RemoveAll(filepath.Join(home.Dir(), step+".tmp")))
				works(t, home)

				require.NoError(t, again(home))
				works(t, home)
				assert.Equal(t, name == "rotated again", before != read(t, home, "authority.crt"))
			})
		}
	}
}

// cutBehindTheCertificate returns a home whose rotation has written the certificate, and nothing after that.
func cutBehindTheCertificate(t *testing.T, opts certs.RotateOptions) (home *certs.Home, before map[string]string) {
	t.Helper()
	home = newHome(t, certs.Env{})
	before = contents(t, home)
	_, err := home.Rotate(opts)
	require.NoError(t, err)
	write(t, home, "authority.next.key", read(t, home, "authority.key"))
	for _, name := range []string{"authority.key", "users/alice.crt"} {
		write(t, home, name, before[name])
	}
	return home, before
}

func TestARotationIsDoneWithTheCertificate(t *testing.T) {
	for name, finish := range map[string]func(home *certs.Home) error{
		"nothing follows": func(*certs.Home) error { return nil },
		"a server starts": func(home *certs.Home) error { return home.Init(nil, "alice") },
		"it is repeated":  func(home *certs.Home) error { _, err := home.Rotate(certs.RotateOptions{}); return err },
		"it is finished":  func(home *certs.Home) error { _, err := home.FinishRotation(false); return err },
	} {
		t.Run(name, func(t *testing.T) {
			home, before := cutBehindTheCertificate(t, certs.RotateOptions{})
			if name != "it is finished" {
				works(t, home)
			}
			certificate := read(t, home, "authority.crt")
			require.NoError(t, finish(home))
			if name == "it is finished" {
				first, _, _ := strings.Cut(certificate, "-----END")
				certificate = first + "-----END CERTIFICATE-----\n"
				require.NoError(t, home.Init(nil, "alice"))
			}
			works(t, home)
			assert.Equal(t, certificate, read(t, home, "authority.crt"), "no second rotation")
			if name != "nothing follows" {
				assert.NotEqual(t, before["authority.key"], read(t, home, "authority.key"))
				assert.NotContains(t, contents(t, home), "authority.next.key")
			}
		})
	}
	t.Run("compromised", func(t *testing.T) {
		home, _ := cutBehindTheCertificate(t, certs.RotateOptions{Compromised: true})
		_, err := home.Rotate(certs.RotateOptions{Compromised: true})
		require.NoError(t, err)
		require.NoError(t, home.Init(nil, "alice"))
		works(t, home)
		assert.NotContains(t, contents(t, home), "authority.next.key")
	})
}

func TestWhoeverReadsWhileTheAuthorityIsRotatedReadsOneOrTheOther(t *testing.T) {
	home := newHome(t, certs.Env{})
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				_, err := home.UserCredentials("alice")
				assert.NoError(t, err)
				_, err = home.Contents()
				assert.NoError(t, err)
			}
		})
	}
	for range 20 {
		rotate(t, home)
		require.NoError(t, home.Init(nil, "alice"))
		_, err := home.FinishRotation(false)
		require.NoError(t, err)
	}
	cancel()
	readers.Wait()
}

func TestThereIsOneRotationAtATime(t *testing.T) {
	c := newClock()
	home := newHome(t, c.Env())
	rotate(t, home)
	before := contents(t, home)
	_, err := home.Rotate(certs.RotateOptions{})
	require.ErrorIs(t, err, certs.ErrOverlap)
	require.ErrorContains(t, err, "2000-03-31")
	assert.Equal(t, before, contents(t, home))
	c.Advance(91 * day)
	rotate(t, home)
	require.NoError(t, home.Init(nil, "alice"))
	works(t, home)
	_, err = openHome(t, t.TempDir(), c.Env()).Rotate(certs.RotateOptions{})
	assert.ErrorIs(t, err, certs.ErrNoAuthority)
}

func TestARotationIsFinishedWhenEverybodyHasRenewed(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	_, err := server.FinishRotation(false)
	require.ErrorIs(t, err, certs.ErrNoOverlap)
	userCredentials(t, server, "revoked")
	remove(t, server, "users/revoked.key", "users/revoked.crt")
	_, err = server.Invite("late", certs.InviteOptions{})
	require.NoError(t, err)
	old := userCredentials(t, laptop, "bob")
	r := rotate(t, server)
	require.NoError(t, server.Init(nil, "alice"))

	_, err = server.FinishRotation(false)
	var unrenewed *certs.UnrenewedError
	require.ErrorAs(t, err, &unrenewed)
	require.ErrorContains(t, err, "since the rotation: bob, revoked")
	require.NoError(t, server.Revoke("revoked"))
	_, err = server.FinishRotation(false)
	require.ErrorAs(t, err, &unrenewed)
	require.Len(t, unrenewed.Identities, 1)
	assert.Equal(t, keyOf(old), unrenewed.Identities[0].Key)

	// He renews, and nobody is left.
	chain, err := server.Renew(old.Certificate.Leaf)
	require.NoError(t, err)
	renewed, err := laptop.KeepRenewed("bob", chain)
	require.NoError(t, err)
	done, err := server.FinishRotation(false)
	require.NoError(t, err)
	assert.Equal(t, &certs.Rotation{Authority: r.Authority}, done)
	require.NoError(t, server.Init(nil, "alice"))
	works(t, server)
	creds := serverCredentials(t, server)
	require.Len(t, creds.Certificate.Certificate, 2)
	_, err = creds.VerifyClient(chainOf(t, renewed))
	require.NoError(t, err)
	_, err = userCredentials(t, laptop, "bob").VerifyServer(chainOf(t, creds))
	require.NoError(t, err)
	id, err := creds.VerifyClient(chainOf(t, old))
	requireReason(t, certs.UnknownAuthority, id, err)
	id, err = old.VerifyServer(chainOf(t, creds))
	failure := requireReason(t, certs.UnknownAuthority, id, err)
	assert.Equal(t, []certs.Fingerprint{r.Former, r.Authority}, []certs.Fingerprint{failure.Expected, failure.Got})
	_, err = server.Renew(old.Certificate.Leaf)
	assert.NoError(t, err, "over the connection that was made with it, for the key is certified")
}

func TestARotationThatIsFinishedByForceShutsOutWhoHasNotRenewed(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	bob := userCredentials(t, laptop, "bob")
	rotate(t, server)
	require.NoError(t, server.Init(nil, "alice"))
	_, err := server.FinishRotation(true)
	require.NoError(t, err)
	_, err = server.Renew(bob.Certificate.Leaf)
	require.ErrorIs(t, err, certs.ErrNotRenewable)
	id, err := serverCredentials(t, server).VerifyClient(chainOf(t, bob))
	requireReason(t, certs.UnknownAuthority, id, err)
}

func TestARotationEndsByItselfWithTheLastCertificateOfTheOldAuthority(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	rotate(t, server)
	c.Advance(90*day + time.Second)
	require.NoError(t, server.Init(nil, "alice"))
	creds := serverCredentials(t, server)
	assert.Nil(t, creds.Former)
	require.Len(t, creds.Certificate.Certificate, 2)
	now, err := server.Contents()
	require.NoError(t, err)
	assert.Nil(t, now.Former)
	_, err = server.FinishRotation(false)
	require.ErrorIs(t, err, certs.ErrNoOverlap)
	bob := userCredentials(t, laptop, "bob") // which has expired, and is there all the same
	id, err := bob.VerifyServer(chainOf(t, creds))
	requireReason(t, certs.UnknownAuthority, id, err)
}

// After a compromise there is no overlap, not even with what the old key signs from now on.
func TestACompromisedAuthorityIsTrustedNoMore(t *testing.T) {
	for name, during := range map[string]bool{"at any time": false, "in an overlap": true} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			server, laptop := joined(t, c)
			bob := userCredentials(t, laptop, "bob")
			if during {
				rotate(t, server)
			}
			r, err := server.Rotate(certs.RotateOptions{Compromised: true})
			require.NoError(t, err)
			assert.True(t, r.Former.IsZero())
			require.NoError(t, server.Init(nil, "alice"))
			works(t, server)
			id, err := serverCredentials(t, server).VerifyClient(chainOf(t, bob))
			requireReason(t, certs.UnknownAuthority, id, err)
			id, err = bob.VerifyServer(chainOf(t, serverCredentials(t, server)))
			requireReason(t, certs.UnknownAuthority, id, err)
			_, err = server.Renew(bob.Certificate.Leaf)
			require.ErrorIs(t, err, certs.ErrNotRenewable)
			followed, err := laptop.Follow("localhost:4433", chainOf(t, serverCredentials(t, server)))
			require.NoError(t, err)
			assert.False(t, followed)
		})
	}
}

// M82, M84
func TestWhoMayStayWithAnOldCertificate(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	bob := userCredentials(t, laptop, "bob").Certificate.Leaf
	carol := userCredentials(t, server, "carol").Certificate.Leaf
	stranger := issueUser(t, newAuthority(t, c.Env()), "bob").Certificate.Leaf
	check := func(cert *x509.Certificate) certs.Reason {
		known, err := server.Certified()
		require.NoError(t, err)
		if err := known.Check(cert); err != nil {
			var failure *certs.VerifyError
			require.ErrorAs(t, err, &failure)
			return failure.Reason
		}
		return 0
	}
	require.Zero(t, check(bob))
	require.Equal(t, certs.UnknownAuthority, check(stranger))

	rotate(t, server) // certifies carol, whose key is there, anew
	require.Zero(t, check(bob))
	_, err := server.FinishRotation(true)
	require.NoError(t, err)
	require.Equal(t, certs.UnknownAuthority, check(bob))
	require.Zero(t, check(carol), "has what is good")
	require.Equal(t, certs.UnknownAuthority, check(stranger))

	carol = userCredentials(t, server, "carol").Certificate.Leaf
	c.Advance(61 * day)
	_, err = server.Renew(carol)
	require.NoError(t, err)
	c.Advance(30 * day)
	require.Zero(t, check(carol), "it has expired, and there is another")
	_, err = server.Renew(carol)
	require.NoError(t, err)
	c.Advance(91 * day)
	require.Equal(t, certs.Expired, check(carol))
	require.NoError(t, server.Init(nil, "alice"))
	c.Advance(91 * day)
	require.Equal(t, certs.Expired, check(serverCredentials(t, server).Certificate.Leaf))

	_, err = openHome(t, t.TempDir(), c.Env()).Certified()
	require.ErrorIs(t, err, certs.ErrNoAuthority)
}

// M82: over two rotations, with one connection.
func TestWhoHasRenewedAfterOneRotationStaysInTheNext(t *testing.T) {
	c := newClock()
	server, laptop, _ := rotated(t, c)
	bob := userCredentials(t, laptop, "bob").Certificate.Leaf
	_, err := server.Renew(bob)
	require.NoError(t, err)
	_, err = server.FinishRotation(false)
	require.NoError(t, err)
	rotate(t, server)
	check := func() error {
		known, err := server.Certified()
		require.NoError(t, err)
		return known.Check(bob)
	}
	require.NoError(t, check(), "what he has is of the one that is the former now")
	_, err = server.FinishRotation(true)
	require.NoError(t, err)
	require.Error(t, check())
}

// The record of a home from before there were rotations does not say who has certified a key.
func TestRecordsWithoutAnAuthorityAreOfTheFirst(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	bob := userCredentials(t, laptop, "bob").Certificate.Leaf
	var lines []string
	for line := range strings.Lines(read(t, server, "issued")) {
		lines = append(lines, line[:strings.LastIndex(line, " ")]+"\n")
	}
	write(t, server, "issued", strings.Join(lines, ""))
	all, err := server.Identities()
	require.NoError(t, err)
	require.False(t, all[1].Former)
	rotate(t, server)
	_, err = server.FinishRotation(false)
	require.ErrorContains(t, err, "since the rotation: bob")
	_, err = server.FinishRotation(true)
	require.NoError(t, err)
	known, err := server.Certified()
	require.NoError(t, err)
	assert.Error(t, known.Check(bob))
}

// S4 in kind
func TestAWatchTellsOfARotationAndOfItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		home := newHome(t, c.Env())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		var looks []int // how many certificates the server presents
		var failures []error
		var broken atomic.Bool
		go func() {
			defer close(done)
			home.WatchAuthority(ctx, func() error {
				if broken.Load() {
					return os.ErrPermission
				}
				if err := home.Init(nil, "alice"); err != nil {
					return err
				}
				creds, err := home.ServerCredentials()
				if err == nil {
					looks = append(looks, len(creds.Certificate.Certificate))
				}
				return err
			}, func(err error) { failures = append(failures, err) })
		}()
		defer func() {
			cancel()
			<-done
		}()
		synctest.Wait()
		require.Equal(t, []int{2}, looks)
		_, err := openHome(t, home.Dir(), c.Env()).Rotate(certs.RotateOptions{})
		require.NoError(t, err)
		look()
		require.Equal(t, []int{2, 4}, looks)
		c.Advance(90 * day)
		look()
		require.Len(t, looks, 2)
		c.Advance(time.Second)
		look()
		require.Equal(t, []int{2, 4, 2}, looks, "it has ended by itself")

		rotate(t, home)
		broken.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []error{os.ErrPermission}, failures, "said once")
		broken.Store(false)
		look()
		require.Equal(t, []int{2, 4, 2, 4}, looks, "and tried again")
		_, err = home.FinishRotation(false)
		require.NoError(t, err)
		look()
		require.Equal(t, []int{2, 4, 2, 4, 2}, looks)

		// What somebody has removed is not made anew behind everybody's back.
		there := read(t, home, "authority.crt")
		remove(t, home, "authority.crt")
		look()
		require.ErrorIs(t, failures[len(failures)-1], certs.ErrNoAuthority)
		write(t, home, "authority.crt", there)
		look()
		require.Equal(t, []int{2, 4, 2, 4, 2, 2}, looks)
		require.Equal(t, there, read(t, home, "authority.crt"))
	})
}

// A token of before the rotation names the old authority, and its answer may come after, or be lost meanwhile.
func TestATokenOutlivesARotation(t *testing.T) {
	c := newClock()
	server := newHome(t, c.Env())
	tokens := map[string]certs.Token{}
	for _, name := range []string{"before", "lost"} {
		tokens[name] = invite(t, server, name, certs.InviteOptions{TTL: 24 * time.Hour})
	}
	lost := openHome(t, filepath.Join(t.TempDir(), "lost"), c.Env())
	j, err := lost.StartJoin(tokens["lost"])
	require.NoError(t, err)
	csr, err := j.Request()
	require.NoError(t, err)
	_, err = server.Redeem(tokens["lost"].Secret, csr)
	require.NoError(t, err)

	r := rotate(t, server)
	require.NoError(t, server.Init(nil, "alice"))
	tokens["after"] = invite(t, server, "after", certs.InviteOptions{})
	assert.Equal(t, r.Authority, tokens["after"].Authority)
	for _, name := range []string{"before", "after"} {
		client := openHome(t, filepath.Join(t.TempDir(), name), c.Env())
		_, err := join(t, server, client, tokens[name])
		require.NoError(t, err, name)
		creds := userCredentials(t, client, "")
		require.Equal(t, r.Authority, certs.FingerprintOf(creds.Authority), name)
		_, err = serverCredentials(t, server).VerifyClient(chainOf(t, creds))
		require.NoError(t, err, name)
	}
	chain, err := server.Redeem(tokens["lost"].Secret, csr)
	require.NoError(t, err)
	require.NotEqual(t, r.Authority, certs.FingerprintOf(chain[len(chain)-1]), "the same again")
	_, err = j.Finish(chain)
	require.NoError(t, err)

	_, err = server.FinishRotation(true)
	require.NoError(t, err)
	chain, err = server.Redeem(tokens["lost"].Secret, csr)
	require.NoError(t, err)
	require.Equal(t, r.Authority, certs.FingerprintOf(chain[1]), "one that is good")
	require.NoError(t, chain[0].CheckSignatureFrom(chain[1]))
}

// Who was away for the whole overlap joins again, in the same home: with a token, which says whom to trust now.
func TestAHomeJoinsTheNextAuthorityIfItIsToldTo(t *testing.T) {
	c := newClock()
	server, laptop := joined(t, c)
	old := read(t, laptop, "users/bob.key")
	_, err := server.Rotate(certs.RotateOptions{Compromised: true})
	require.NoError(t, err)
	require.NoError(t, server.Init(nil, "alice"))
	token := invite(t, server, "bob", certs.InviteOptions{AddDevice: true})
	before := contents(t, laptop)
	_, err = laptop.StartJoin(token)
	require.ErrorIs(t, err, certs.ErrOtherHome)

	j, err := laptop.StartJoinAnew(token)
	require.NoError(t, err)
	csr, err := j.Request()
	require.NoError(t, err)
	now := contents(t, laptop)
	maps.DeleteFunc(now, func(name, _ string) bool { return strings.HasPrefix(name, "joining/") })
	require.Equal(t, before, now, "nothing is given up before there is something else")
	chain, err := server.Redeem(token.Secret, csr)
	require.NoError(t, err)
	id, err := j.Finish(chain)
	require.NoError(t, err)
	assert.Equal(t, "bob", id.Name)
	creds := userCredentials(t, laptop, "")
	_, err = serverCredentials(t, server).VerifyClient(chainOf(t, creds))
	require.NoError(t, err)
	_, err = creds.VerifyServer(chainOf(t, serverCredentials(t, server)))
	require.NoError(t, err)
	assert.Equal(t, old, read(t, laptop, "users/bob.key.old"))
	_, err = server.StartJoinAnew(token)
	require.ErrorIs(t, err, certs.ErrOtherHome, "whoever signs does not join")
}
