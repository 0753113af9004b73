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

func TestResetKeyIsMadeOnceAndKept(t *testing.T) {
	home := newHome(t, certs.Env{})
	key, err := home.ResetKey()
	require.NoError(t, err)
	assert.NotZero(t, key)
	again, err := openHome(t, home.Dir(), certs.Env{}).ResetKey()
	require.NoError(t, err)
	assert.Equal(t, key, again)
	other, err := newHome(t, certs.Env{}).ResetKey()
	require.NoError(t, err)
	assert.NotEqual(t, key, other)
}

func TestResetKeyIsItsOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	home := newHome(t, certs.Env{})
	_, err := home.ResetKey()
	require.NoError(t, err)
	path := filepath.Join(home.Dir(), "reset.key")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = home.ResetKey()
	var open *certs.KeyPermissionError
	require.ErrorAs(t, err, &open)
}

func TestDamagedResetKeyIsNamedAndLeftAsItIs(t *testing.T) {
	home := newHome(t, certs.Env{})
	for _, text := range []string{"", "\n", "00", strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("x", 64)} {
		write(t, home, "reset.key", text)
		_, err := home.ResetKey()
		require.ErrorContains(t, err, "reset.key", "%q", text)
		assert.Equal(t, text, read(t, home, "reset.key"))
	}
}
