package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// serveHome serves on loopback from a home of its own, whose authority's key it returns.
func serveHome(t *testing.T, addr string) (*transport.Server, *certs.Credentials) {
	t.Helper()
	home, err := certs.OpenHome(t.TempDir(), certs.Env{})
	require.NoError(t, err)
	require.NoError(t, home.Init(nil, "alice"))
	cred, err := home.ServerCredentials()
	require.NoError(t, err)
	srv, err := transport.Listen(&transport.Config{Credentials: cred, Addr: addr})
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(context.Background())
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	alice, err := home.UserCredentials("alice")
	require.NoError(t, err)
	return srv, alice
}

// Who brings an identity and no authority meets a server for the first time.
func TestTheFirstContactOfAnIdentityWithoutAnAuthority(t *testing.T) {
	srv, cred := serveHome(t, "127.0.0.1:0")
	addr, key := srv.Addr().String(), certs.FingerprintOf(cred.Authority)
	home, err := certs.OpenHome(t.TempDir(), certs.Env{})
	require.NoError(t, err)
	a := &app{stdin: strings.NewReader("yes\n"), stdout: io.Discard, stderr: io.Discard}
	bare := *cred
	bare.Authority = nil

	// Nobody is at a terminal, so nothing is trusted, whatever stdin says.
	_, _, err = a.trusting(t.Context(), home, &bare, addr)
	require.ErrorContains(t, err, key.String())
	assert.Equal(t, exitRefused, exitCode(err))
	assert.Contains(t, hintFor(err), "trunkline certs pin "+addr+" --fingerprint ")
	pins, err := home.Pins()
	require.NoError(t, err)
	assert.Empty(t, pins)

	require.NoError(t, home.Pin(addr, key))
	trusting, pinned, err := a.trusting(t.Context(), home, &bare, addr)
	require.NoError(t, err)
	assert.Equal(t, key, pinned)
	s, err := transport.Dial(t.Context(), addr, &transport.Config{Credentials: trusting})
	require.NoError(t, err)
	require.NoError(t, s.Release(t.Context()))

	// Another authority at the same address.
	require.NoError(t, srv.Close())
	_, other := serveHome(t, addr)
	trusting, pinned, err = a.trusting(t.Context(), home, &bare, addr)
	require.NoError(t, err)
	_, err = transport.Dial(t.Context(), addr, &transport.Config{Credentials: trusting})
	err = changed(err, addr, pinned)
	var e *certs.PinError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, certs.PinError{Addr: addr, Pinned: key, Got: certs.FingerprintOf(other.Authority)}, *e)
	assert.Equal(t, exitRefused, exitCode(err))
	assert.Contains(t, hintFor(err), "trunkline certs pin "+addr+" --forget")
}

// An identity whose authority is known needs no pin, but a pin goes before.
func TestAPinGoesBeforeTheAuthorityOfTheHome(t *testing.T) {
	srv, cred := serveHome(t, "127.0.0.1:0")
	addr := srv.Addr().String()
	home, err := certs.OpenHome(t.TempDir(), certs.Env{})
	require.NoError(t, err)
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	same, pinned, err := a.trusting(t.Context(), home, cred, addr)
	require.NoError(t, err)
	assert.True(t, pinned.IsZero())
	assert.Equal(t, cred, same)
	require.NoError(t, home.Pin(addr, certs.Fingerprint{1}))
	other, pinned, err := a.trusting(t.Context(), home, cred, addr)
	require.NoError(t, err)
	assert.Equal(t, certs.Fingerprint{1}, pinned)
	assert.Nil(t, other.Authority)
	_, _, err = a.trusting(t.Context(), home, cred, "host:service")
	require.NoError(t, err)
	_, _, err = a.trusting(t.Context(), home, &certs.Credentials{}, "host:service")
	assert.Equal(t, exitUsage, exitCode(err))
}

func TestAPinHoldsForAPortByItsServicesName(t *testing.T) {
	home, err := certs.OpenHome(t.TempDir(), certs.Env{})
	require.NoError(t, err)
	other := certs.Fingerprint{1}
	require.NoError(t, home.Pin("chat.example:53", other))
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	cred := &certs.Credentials{AuthorityKey: certs.Fingerprint{2}}
	trusting, pinned, err := a.trusting(t.Context(), home, cred, "chat.example:domain")
	require.NoError(t, err)
	assert.Equal(t, other, pinned)
	assert.Equal(t, other, trusting.AuthorityKey)
}
