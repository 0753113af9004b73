package certs_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestAnIdentityIsReadFromFiles(t *testing.T) {
	home := newHome(t, certs.Env{})
	creds := userCredentials(t, home, "bob")
	path := func(name string) string { return filepath.Join(home.Dir(), filepath.FromSlash(name)) }
	loaded, err := certs.LoadCredentials(path("users/bob.crt"), path("users/bob.key"), certs.Env{})
	require.NoError(t, err)
	assert.Equal(t, creds.ID(), loaded.ID())
	assert.Nil(t, loaded.Authority)
	_, err = loaded.VerifyServer(chainOf(t, serverCredentials(t, home)))
	require.Error(t, err, "it trusts nobody")

	// With its authority behind it, and words between the two.
	write(t, home, "chain.pem", "bob\n"+read(t, home, "users/bob.crt")+"authority\n"+read(t, home, "authority.crt"))
	loaded, err = certs.LoadCredentials(path("chain.pem"), path("users/bob.key"), certs.Env{})
	require.NoError(t, err)
	assert.Equal(t, creds.Certificate.Certificate, loaded.Certificate.Certificate)

	bob := read(t, home, "users/bob.crt")
	for name, text := range map[string]string{
		"empty": "", "words": "bob\n", "key": read(t, home, "users/bob.key"), "cut short": bob[:len(bob)/2],
		"damaged in the middle": bob + bob[:len(bob)/2] + "\n" + bob, "many": strings.Repeat(bob, 9),
	} {
		write(t, home, "bad.pem", text)
		_, err := certs.LoadCredentials(path("bad.pem"), path("users/bob.key"), certs.Env{})
		assert.ErrorContains(t, err, "bad.pem", name)
	}
	_, err = certs.LoadCredentials(path("users/bob.crt"), path("users/alice.key"), certs.Env{})
	require.ErrorContains(t, err, "is not the key of")
	_, err = certs.LoadCredentials(path("none"), path("users/bob.key"), certs.Env{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = certs.LoadCredentials(path("users/bob.crt"), path("none"), certs.Env{})
	require.ErrorIs(t, err, os.ErrNotExist)
	if runtime.GOOS != "windows" {
		require.NoError(t, os.Chmod(path("users/bob.key"), 0o644))
		_, err = certs.LoadCredentials(path("users/bob.crt"), path("users/bob.key"), certs.Env{})
		var open *certs.KeyPermissionError
		require.ErrorAs(t, err, &open)
	}
}

func FuzzChainFile(f *testing.F) {
	home := newHome(f, certs.Env{})
	cert := read(f, home, "authority.crt")
	for _, s := range []string{"", cert, cert + cert, cert[:100], "words\n" + cert, read(f, home, "authority.key")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, err := certs.ParseChain(data)
		if (len(chain) == 0) != (err != nil) || len(chain) > 8 {
			t.Fatalf("%d certificates, error %v", len(chain), err)
		}
	})
}
