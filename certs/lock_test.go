package certs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func requireLocked(t *testing.T, home *certs.Home, pid int) {
	t.Helper()
	_, err := home.Lock()
	require.ErrorIs(t, err, certs.ErrLocked)
	var locked *certs.LockedError
	require.ErrorAs(t, err, &locked)
	assert.Equal(t, pid, locked.PID)
	assert.Equal(t, filepath.Join(home.Dir(), "serve.lock"), locked.Path)
}

func TestAHomeIsLockedOnce(t *testing.T) {
	home := openHome(t, filepath.Join(t.TempDir(), "home"), certs.Env{})
	lock, err := home.Lock()
	require.NoError(t, err)
	requireLocked(t, home, os.Getpid())
	requireLocked(t, openHome(t, home.Dir(), certs.Env{}), os.Getpid())

	require.NoError(t, lock.Unlock())
	assert.Error(t, lock.Unlock())
	lock, err = home.Lock()
	require.NoError(t, err)
	require.NoError(t, lock.Unlock())
}

func TestALockHoldsAcrossProcessesAndGoesWithItsHolder(t *testing.T) {
	home := openHome(t, filepath.Join(t.TempDir(), "home"), certs.Env{})
	other := lockElsewhere(t, home.Dir())
	requireLocked(t, home, other.Process.Pid)

	require.NoError(t, other.Process.Kill())
	_ = other.Wait()
	lock, err := home.Lock()
	require.NoError(t, err)
	require.NoError(t, lock.Unlock())
}

func TestALockedHomeCanBeUsed(t *testing.T) {
	home := newHome(t, certs.Env{})
	lock, err := home.Lock()
	require.NoError(t, err)
	defer func() { assert.NoError(t, lock.Unlock()) }()
	userCredentials(t, home, "bob")
	assert.NoError(t, home.Revoke("bob"))
	assert.NoError(t, home.Init(nil, "alice"))
}

func TestTheHolderOfALockIsNamedOnlyIfKnown(t *testing.T) {
	home := openHome(t, t.TempDir(), certs.Env{})
	lock, err := home.Lock()
	require.NoError(t, err)
	defer func() { assert.NoError(t, lock.Unlock()) }()
	for _, text := range []string{"", "nonsense", "-1"} {
		require.NoError(t, os.WriteFile(filepath.Join(home.Dir(), "serve.lock"), []byte(text), 0o600))
		requireLocked(t, home, 0)
	}
	assert.Contains(t, (&certs.LockedError{Path: "x"}).Error(), "another process")
	assert.Contains(t, (&certs.LockedError{Path: "x", PID: 7}).Error(), "process 7")
}
