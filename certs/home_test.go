package certs_test

import (
	"crypto/x509"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestOpenHomeMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	home := openHome(t, dir, certs.Env{})
	assert.False(t, home.HasAuthority())
	_, err := home.ServerCredentials()
	assert.ErrorIs(t, err, certs.ErrNoAuthority)
	_, err = home.UserCredentials("alice")
	assert.ErrorIs(t, err, certs.ErrNoIdentity)
	_, err = home.UserCredentials("")
	assert.ErrorIs(t, err, certs.ErrNoIdentity)
	_, err = home.DefaultName()
	assert.ErrorIs(t, err, certs.ErrNoIdentity)
	assert.ErrorIs(t, home.Revoke("alice"), certs.ErrNoAuthority)
	assert.NoError(t, home.CheckRevoked(certs.ID{}, certs.Fingerprint{}))
	assert.NoDirExists(t, dir)

	_, err = certs.OpenHome("", certs.Env{})
	assert.Error(t, err)
}

func TestTheDefaultHomeIsInTheUsersConfiguration(t *testing.T) {
	if runtime.GOOS == "linux" {
		t.Setenv("XDG_CONFIG_HOME", "/somewhere")
		dir, err := certs.DefaultHomeDir()
		require.NoError(t, err)
		assert.Equal(t, "/somewhere/trunkline", dir)
	}
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	t.Setenv("AppData", "")
	_, err := certs.DefaultHomeDir()
	assert.Error(t, err)
}

func TestInitMakesAHouse(t *testing.T) {
	clk := newClock()
	home := openHome(t, filepath.Join(t.TempDir(), "deep", "home"), clk.Env())
	require.NoError(t, home.Init([]string{"Chat.Example", "192.0.2.1"}, "alice"))

	assert.True(t, home.HasAuthority())
	name, err := home.DefaultName()
	require.NoError(t, err)
	assert.Equal(t, "alice", name)

	server, alice := serverCredentials(t, home), userCredentials(t, home, "")
	assert.True(t, server.ID().IsServer())
	assert.Equal(t, "alice", alice.ID().Name)
	_, err = server.VerifyClient(chainOf(t, alice))
	require.NoError(t, err)
	_, err = alice.VerifyServer(chainOf(t, server))
	require.NoError(t, err)

	for _, host := range []string{"localhost", "127.0.0.1", "::1", "chat.example", "192.0.2.1"} {
		assert.NoError(t, server.Certificate.Leaf.VerifyHostname(host), host)
	}
	assert.Error(t, server.Certificate.Leaf.VerifyHostname("elsewhere.example"))
}

func TestFilesOfTheHomeAreForTheirOwner(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	home := newHome(t, certs.Env{})
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(filepath.Join(home.Dir(), name))
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	assert.EqualValues(t, 0o700, mode("."))
	assert.EqualValues(t, 0o700, mode("users"))
	for _, name := range []string{"authority.key", "server.key", "users/alice.key"} {
		assert.EqualValues(t, 0o600, mode(name), name)
	}
	for _, name := range []string{"authority.crt", "server.crt", "users/alice.crt"} {
		assert.Zero(t, mode(name)&^0o644, name)
	}
}

func TestInitAgainChangesNothing(t *testing.T) {
	home := newHome(t, certs.Env{})
	before := contents(t, home)
	require.NoError(t, home.Init(nil, "alice"))
	require.NoError(t, home.Init([]string{"localhost"}, "bob"))
	assert.Equal(t, before, contents(t, home))
}

func TestInitRefusesWhatItCannotUse(t *testing.T) {
	home := openHome(t, filepath.Join(t.TempDir(), "home"), certs.Env{})
	assert.Error(t, home.Init(nil, ""))
	assert.Error(t, home.Init(nil, "../alice"))
	assert.ErrorContains(t, home.Init([]string{"not a host"}, "alice"), "not a host")
	assert.NoDirExists(t, home.Dir())
}

func TestInitCompletesWhatWasCutShort(t *testing.T) {
	env := newClock().Env()
	whole := newHome(t, env)
	// The files in the order in which Init writes them, cut after each.
	order := []string{"authority.key", "authority.crt", "server.key", "server.crt", "users/alice.key", "issued", "users/alice.crt", "default"}
	all := contents(t, whole)
	require.Len(t, all, len(order))
	for cut := range order {
		t.Run("before "+order[cut], func(t *testing.T) {
			home := openHome(t, t.TempDir(), env)
			for _, name := range order[:cut] {
				write(t, home, name, all[name])
			}
			write(t, home, order[cut]+".tmp", "half a fi")
			require.NoError(t, home.Init(nil, "alice"))

			after := contents(t, home)
			assert.ElementsMatch(t, order, keys(after), "and no temporary file is left")
			for _, name := range order[:cut] {
				assert.Equal(t, all[name], after[name], name)
			}
			server, alice := serverCredentials(t, home), userCredentials(t, home, "")
			_, err := server.VerifyClient(chainOf(t, alice))
			assert.NoError(t, err)
			assert.Contains(t, after["issued"], keyOf(alice).String())
		})
	}
}

func keys(m map[string]string) (names []string) {
	for name := range maps.Keys(m) {
		names = append(names, name)
	}
	return names
}

func TestTheServerCertificateIsReissuedForTheSameKey(t *testing.T) {
	clk := newClock()
	home := newHome(t, clk.Env())
	first := serverCredentials(t, home)
	reissued := func() bool {
		require.NoError(t, home.Init([]string{"localhost"}, "alice"))
		now := serverCredentials(t, home)
		require.Equal(t, keyOf(first), keyOf(now))
		changed := !now.Certificate.Leaf.Equal(first.Certificate.Leaf)
		first = now
		return changed
	}

	assert.False(t, reissued(), "while it is fresh")

	require.NoError(t, home.Init([]string{"chat.example"}, "alice"))
	assert.NoError(t, serverCredentials(t, home).Certificate.Leaf.VerifyHostname("chat.example"), "a name was missing")
	first = serverCredentials(t, home)
	assert.False(t, reissued(), "a name that is no longer asked for does no harm")

	clk.Advance(59 * day)
	assert.False(t, reissued(), "before two thirds")
	clk.Advance(2 * day)
	assert.True(t, reissued(), "after two thirds")
	clk.Advance(91 * day)
	assert.True(t, reissued(), "after it has expired")
	clk.Advance(-100 * day)
	assert.True(t, reissued(), "before it is valid")
}

func TestAnotherAuthorityReissuesEverything(t *testing.T) {
	home := newHome(t, certs.Env{})
	server, alice := serverCredentials(t, home), userCredentials(t, home, "alice")
	other := contents(t, newHome(t, certs.Env{}))
	write(t, home, "authority.key", other["authority.key"])
	write(t, home, "authority.crt", other["authority.crt"])

	_, err := home.ServerCredentials()
	require.ErrorContains(t, err, "is not issued by")
	require.NoError(t, home.Init(nil, "alice"))
	newServer, newAlice := serverCredentials(t, home), userCredentials(t, home, "alice")
	assert.Equal(t, keyOf(server), keyOf(newServer))
	assert.Equal(t, keyOf(alice), keyOf(newAlice))
	assert.NotEqual(t, server.ID().Domain, newServer.ID().Domain)
	_, err = newServer.VerifyClient(chainOf(t, newAlice))
	assert.NoError(t, err)
}

func TestInitOfAClientsHomeIsRefused(t *testing.T) {
	home := newHome(t, certs.Env{})
	remove(t, home, "authority.key")
	before := contents(t, home)
	assert.False(t, home.HasAuthority())
	assert.ErrorIs(t, home.Init(nil, "alice"), certs.ErrNoAuthority)
	assert.Equal(t, before, contents(t, home))
}

func TestManyInitsAtOnceMakeOneHouse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	var group sync.WaitGroup
	for range 8 {
		home := openHome(t, dir, certs.Env{})
		group.Go(func() { assert.NoError(t, home.Init(nil, "alice")) })
	}
	for range 2 {
		cmd := otherProcess(t, "init", dir)
		group.Go(func() {
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s", out)
		})
	}
	group.Wait()
	home := openHome(t, dir, certs.Env{})
	_, err := serverCredentials(t, home).VerifyClient(chainOf(t, userCredentials(t, home, "")))
	assert.NoError(t, err)
	assert.Equal(t, 1, strings.Count(read(t, home, "issued"), "\n"))
}

func TestAHomeOfP256Keys(t *testing.T) {
	home := newHome(t, certs.Env{KeyType: certs.P256})
	alice := userCredentials(t, home, "")
	assert.Equal(t, x509.ECDSA, alice.Certificate.Leaf.PublicKeyAlgorithm)
	_, err := serverCredentials(t, home).VerifyClient(chainOf(t, alice))
	assert.NoError(t, err)
}
