package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestAKeyThatOthersMayTouchIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o644, 0o666} {
		home := newHome(t, certs.Env{})
		path := filepath.Join(home.Dir(), "users", "alice.key")
		require.NoError(t, os.Chmod(path, mode))
		_, err := home.UserCredentials("")
		var open *certs.KeyPermissionError
		require.ErrorAs(t, err, &open)
		assert.Equal(t, certs.KeyPermissionError{Path: path, Mode: mode, Fix: "chmod 600 " + path}, *open)
		assert.ErrorContains(t, err, "chmod 600 "+path)
	}
	for _, name := range []string{"authority.key", "server.key"} {
		home := newHome(t, certs.Env{})
		require.NoError(t, os.Chmod(filepath.Join(home.Dir(), name), 0o644))
		var open *certs.KeyPermissionError
		assert.ErrorAs(t, home.Init(nil, "alice"), &open, name)
	}
}

func TestTheFixCanBePastedIntoAShell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	home := openHome(t, filepath.Join(t.TempDir(), "Application Support", "it's"), certs.Env{})
	require.NoError(t, home.Init(nil, "alice"))
	path := filepath.Join(home.Dir(), "authority.key")
	require.NoError(t, os.Chmod(path, 0o644))
	var open *certs.KeyPermissionError
	require.ErrorAs(t, home.Init(nil, "alice"), &open)
	assert.Equal(t, "chmod 600 '"+strings.ReplaceAll(path, "'", `'\''`)+"'", open.Fix)
}

func TestADamagedFileIsNamedAndLeftAsItIs(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	wrongCurve, err := certs.EncodeKey(p384)
	require.NoError(t, err)
	other := contents(t, newHome(t, certs.Env{}))

	damage := map[string]func(file, good string) string{
		"empty":       func(_, _ string) string { return "" },
		"only space":  func(_, _ string) string { return "\n\n" },
		"no pem":      func(_, _ string) string { return "hello" },
		"junk before": func(_, good string) string { return "junk\n" + good },
		"junk after":  func(_, good string) string { return good + "junk" },
		"twice":       func(_, good string) string { return good + good },
		"cut":         func(_, good string) string { return good[:len(good)/2] },
		"huge":        func(_, good string) string { return good + strings.Repeat("\n", 1<<20) },
		"der is nonsense": func(file, _ string) string {
			return string(pem.EncodeToMemory(&pem.Block{Type: blockType(file), Bytes: []byte("x")}))
		},
		"headers":             func(_, good string) string { return strings.Replace(good, "-----\n", "-----\nA: b\n\n", 1) },
		"another kind of pem": func(file, good string) string { return strings.ReplaceAll(good, blockType(file), "PUBLIC KEY") },
		"another's": func(file, _ string) string {
			// A pair that does not fit together is named by either file.
			return other[file]
		},
		"broken block first": func(_, good string) string { return "-----BEGIN X-----\n!\n-----END X-----\n" + good },
	}
	for kind, spoil := range damage {
		for _, file := range []string{"authority.key", "authority.crt", "server.key", "server.crt", "users/alice.key", "users/alice.crt"} {
			t.Run(kind+" "+file, func(t *testing.T) {
				home := newHome(t, certs.Env{})
				write(t, home, file, spoil(file, read(t, home, file)))
				before := contents(t, home)
				_, errUser := home.UserCredentials("alice")
				_, errServer := home.ServerCredentials()
				errInit := home.Init(nil, "alice")
				for _, err := range []error{errUser, errServer, errInit} {
					if err != nil {
						assert.ErrorContains(t, err, filepath.FromSlash(file))
					}
				}
				if strings.HasPrefix(file, "users/") {
					require.Error(t, errUser)
				} else {
					require.Error(t, errInit)
					// To serve takes no signing.
					assert.Equal(t, file != "authority.key", errServer != nil)
				}
				assert.Equal(t, before, contents(t, home))
			})
		}
	}

	t.Run("a curve that is not accepted", func(t *testing.T) {
		home := newHome(t, certs.Env{})
		write(t, home, "users/alice.key", string(wrongCurve))
		_, err := home.UserCredentials("alice")
		assert.ErrorContains(t, err, "alice.key")
	})
	t.Run("a folder in place of a file", func(t *testing.T) {
		home := newHome(t, certs.Env{})
		remove(t, home, "server.key")
		require.NoError(t, os.Mkdir(filepath.Join(home.Dir(), "server.key"), 0o700))
		_, err := home.ServerCredentials()
		assert.ErrorContains(t, err, "server.key")
	})
	t.Run("a leaf in place of the authority", func(t *testing.T) {
		home := newHome(t, certs.Env{})
		write(t, home, "authority.key", read(t, home, "server.key"))
		write(t, home, "authority.crt", read(t, home, "server.crt"))
		assert.ErrorContains(t, home.Init(nil, "alice"), "authority.crt: the certificate is not that of an authority")
	})
}

func blockType(file string) string {
	if strings.HasSuffix(file, ".key") {
		return "PRIVATE KEY"
	}
	return "CERTIFICATE"
}
