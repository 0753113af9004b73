package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
	"github.com/trunkline-go/trunkline/rpc"
)

// A disk that is full is noticed by the commit, and is a refusal all the same: nothing of it is in the log later. Failures
// leave nothing open behind them.
func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("may not mount a small disk: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, 0)) })
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 2<<20), 0o600))
	path := filepath.Join(dir, "rooms.db")
	l := open(t, path, sqlite.Config{})
	n := uint64(0)
	var err error
	for {
		if _, err = add(l, "r", fmt.Sprint(n), strings.Repeat("x", 10_000)); err != nil {
			break
		}
		n++
	}
	refused := &chat.Error{Code: rpc.ResourceExhausted}
	require.ErrorIs(t, err, refused)
	files := openFiles(t)
	for i := range 50 {
		_, err := add(l, "r", fmt.Sprint("refused", i), strings.Repeat("x", 60_000))
		require.ErrorIs(t, err, refused)
	}
	assert.LessOrEqual(t, openFiles(t), files+4, "but for the readers")
	assert.Equal(t, [2]uint64{1, n}, bounds(t, l, "r"))

	assert.Equal(t, [2]uint64{1, n}, bounds(t, open(t, copyFiles(t, path), sqlite.Config{}), "r"), "nor after a crash")
	require.NoError(t, os.Remove(ballast))
	res := mustAdd(t, l, "r", "refused0", strings.Repeat("x", 60_000))
	assert.Equal(t, n+1, res.Seq)
	assert.False(t, res.Duplicate)
	require.NoError(t, l.Close())
	assert.Equal(t, [2]uint64{1, n + 1}, bounds(t, open(t, copyMain(t, path), sqlite.Config{}), "r"))
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}
