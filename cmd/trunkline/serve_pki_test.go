package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// initHome makes or renews what is in dir, as of so long ago.
func initHome(t *testing.T, dir string, ago time.Duration) {
	t.Helper()
	home, err := certs.OpenHome(dir, certs.Env{Now: func() time.Time { return time.Now().Add(-ago) }})
	require.NoError(t, err)
	require.NoError(t, home.Init(nil, "ann"))
}

func TestAServerOfAPKIReadsAReplacedCertificateAndNoOther(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	const old = 80 * 24 * time.Hour
	initHome(t, dir, old)
	initHome(t, other, 0)
	ca, cert, key := filepath.Join(dir, "authority.crt"), filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	pki := pkiFlags{ca: &ca, cert: &cert, key: &key}
	first, err := pki.credentials()
	require.NoError(t, err)
	require.True(t, due(first))
	again := pki.replaced(first)

	_, err = again()
	require.ErrorContains(t, err, "has not been replaced")

	cert, key = filepath.Join(other, "server.crt"), filepath.Join(other, "server.key")
	_, err = again()
	require.ErrorContains(t, err, "is now of spiffe://")

	initHome(t, dir, 0)
	cert, key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	next, err := again()
	require.NoError(t, err)
	assert.False(t, due(next))
	assert.Equal(t, first.ID(), next.ID())
	assert.Len(t, next.CAs, 1)

	_, err = again()
	assert.ErrorContains(t, err, "has not been replaced")
}
