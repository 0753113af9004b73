package certs_test

import (
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestAnIdentityIsMadeOnFirstUseAndKept(t *testing.T) {
	home := newHome(t, certs.Env{})
	bob := userCredentials(t, home, "bob")
	assert.Equal(t, "bob", bob.ID().Name)
	again := userCredentials(t, openHome(t, home.Dir(), certs.Env{}), "bob")
	assert.Equal(t, bob.Certificate, again.Certificate)
	name, err := home.DefaultName()
	require.NoError(t, err)
	assert.Equal(t, "alice", name, "the default stays")
}

func TestANameThatIsNotValidMakesNothing(t *testing.T) {
	home := newHome(t, certs.Env{})
	before := contents(t, home)
	for _, name := range []string{"../server", "Bob", "a/b", "con"} {
		_, err := home.UserCredentials(name)
		assert.Error(t, err, name)
	}
	assert.Equal(t, before, contents(t, home))
}

func TestOneNameHasOneKeyHoweverManyAsk(t *testing.T) {
	home := newHome(t, certs.Env{})
	var mu sync.Mutex
	seen := map[string]int{}
	var group sync.WaitGroup
	ask := func(get func() string) {
		group.Go(func() {
			key := get()
			mu.Lock()
			defer mu.Unlock()
			seen[key]++
		})
	}
	for range 16 {
		ask(func() string {
			creds, err := openHome(t, home.Dir(), certs.Env{}).UserCredentials("bob")
			if !assert.NoError(t, err) {
				return ""
			}
			return keyOf(creds).String()
		})
	}
	for range 2 {
		cmd := otherProcess(t, "user", home.Dir())
		ask(func() string { return output(t, cmd) })
	}
	group.Wait()
	assert.Len(t, seen, 1)
	assert.Equal(t, 1, strings.Count(read(t, home, "issued"), " bob "))
}

func output(t *testing.T, cmd *exec.Cmd) string {
	out, err := cmd.Output()
	assert.NoError(t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

func TestAnIdentityIsRenewedForTheSameKey(t *testing.T) {
	clk := newClock()
	home := newHome(t, clk.Env())
	first := userCredentials(t, home, "")
	clk.Advance(59 * day)
	assert.True(t, userCredentials(t, home, "").Certificate.Leaf.Equal(first.Certificate.Leaf), "before two thirds")

	for _, later := range []int{2, 91} {
		clk.Advance(time.Duration(later) * day)
		require.NoError(t, home.Init(nil, "alice"))
		renewed := userCredentials(t, home, "")
		assert.False(t, renewed.Certificate.Leaf.Equal(first.Certificate.Leaf))
		assert.Equal(t, keyOf(first), keyOf(renewed))
		_, err := serverCredentials(t, home).VerifyClient(chainOf(t, renewed))
		assert.NoError(t, err)
		first = renewed
	}
	assert.Equal(t, 1, strings.Count(read(t, home, "issued"), "\n"), "a key is recorded once")
}

func TestARenewalThatFailsLeavesWhatIsStillValid(t *testing.T) {
	clk := newClock()
	home := newHome(t, clk.Env())
	first := userCredentials(t, home, "")
	clk.Advance(61 * day)
	write(t, home, "issued", "nonsense\n")
	assert.True(t, userCredentials(t, home, "").Certificate.Leaf.Equal(first.Certificate.Leaf))
	clk.Advance(30 * day)
	_, err := home.UserCredentials("")
	assert.ErrorContains(t, err, "issued, line 1")
}

func TestAKeyWithoutCertificateIsCompleted(t *testing.T) {
	home := newHome(t, certs.Env{})
	bob := userCredentials(t, home, "bob")
	remove(t, home, "users/bob.crt")
	again := userCredentials(t, home, "bob")
	assert.Equal(t, keyOf(bob), keyOf(again))
	assert.False(t, again.Certificate.Leaf.Equal(bob.Certificate.Leaf))
}

func TestACertificateWithoutKeyIsLeftAlone(t *testing.T) {
	home := newHome(t, certs.Env{})
	userCredentials(t, home, "bob")
	remove(t, home, "users/bob.key")
	before := contents(t, home)
	_, err := home.UserCredentials("bob")
	assert.ErrorContains(t, err, "bob.key is missing")
	assert.Equal(t, before, contents(t, home))
}

func TestTheIdentityOfAnotherNameIsNotUsed(t *testing.T) {
	clk := newClock()
	home := newHome(t, clk.Env())
	write(t, home, "users/bob.key", read(t, home, "users/alice.key"))
	write(t, home, "users/bob.crt", read(t, home, "users/alice.crt"))
	before := contents(t, home)
	_, err := home.UserCredentials("bob")
	assert.ErrorContains(t, err, "bob.crt is not that of bob")
	clk.Advance(100 * day)
	_, err = home.UserCredentials("bob")
	assert.ErrorContains(t, err, "bob.crt is not that of bob")
	assert.Equal(t, before, contents(t, home))
	remove(t, home, "authority.key")
	_, err = home.UserCredentials("bob")
	assert.ErrorContains(t, err, "bob.crt is not that of bob")
}

func TestAClientsHomeHasWhatItWasGiven(t *testing.T) {
	clk := newClock()
	house := newHome(t, clk.Env())
	bob := userCredentials(t, house, "bob")
	client := openHome(t, t.TempDir(), clk.Env())
	for _, name := range []string{"authority.crt", "users/bob.key", "users/bob.crt"} {
		write(t, client, name, read(t, house, name))
	}

	assert.Equal(t, bob.Certificate, userCredentials(t, client, "bob").Certificate)
	_, err := client.UserCredentials("carol")
	assert.ErrorIs(t, err, certs.ErrNoIdentity)
	assert.ErrorContains(t, err, "carol")
	_, err = client.ServerCredentials()
	assert.ErrorIs(t, err, certs.ErrNoAuthority)

	clk.Advance(91 * day)
	expired := userCredentials(t, client, "bob")
	assert.Equal(t, bob.Certificate, expired.Certificate)
	id, err := serverCredentials(t, house).VerifyClient(chainOf(t, expired))
	requireReason(t, certs.Expired, id, err)

	remove(t, client, "authority.crt")
	_, err = client.UserCredentials("bob")
	assert.ErrorContains(t, err, "authority.crt is missing")
}

func TestADefaultThatCannotBeReadIsAnErrorThatNamesIt(t *testing.T) {
	for _, text := range []string{"", "../alice\n", "alice\nbob\n", "\n"} {
		home := newHome(t, certs.Env{})
		write(t, home, "default", text)
		_, err := home.UserCredentials("")
		assert.ErrorContains(t, err, "default", "%q", text)
		assert.NotErrorIs(t, err, certs.ErrNoIdentity)
	}
}
