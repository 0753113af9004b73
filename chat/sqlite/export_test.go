package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Lock locks the database in a file for writing, until unlock.
func Lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	db, err := openDB(path, 1)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	require.NoError(t, err)
	return func() {
		_, err := db.ExecContext(context.Background(), `ROLLBACK`)
		require.NoError(t, err)
		require.NoError(t, db.Close())
	}
}

// Database returns the file of a database that was made so.
func Database(t *testing.T, statements string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	require.NoError(t, makePrivate(path))
	db, err := openDB(path, 1)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), statements)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}
