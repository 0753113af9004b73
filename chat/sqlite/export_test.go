package sqlite

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// NameIt is nameIt.
func NameIt(temp, to string, link func(temp, to string) error) error { return nameIt(temp, to, link) }

// Hold has the database in a file read as it is now, until release.
func Hold(t *testing.T, path string) (release func()) {
	t.Helper()
	db, err := openDB(path, 1)
	require.NoError(t, err)
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	var n int
	require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT count(*) FROM records`).Scan(&n))
	return func() {
		require.NoError(t, tx.Rollback())
		require.NoError(t, db.Close())
	}
}

// Sweep returns a function that does a step of one pass over the database in a file, for which all that is there, or comes
// within the hour, is too old.
func Sweep(t *testing.T, path string) (step func() (more bool)) {
	t.Helper()
	db, err := openDB(path, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w, err := newWriter(t.Context(), db, &Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.close()) })
	p := &pass{began: time.Now().Add(2 * time.Hour)}
	return func() bool {
		require.NoError(t, w.exec(t.Context(), w.begin))
		more, err := w.sweep(t.Context(), p, time.Hour)
		require.NoError(t, err)
		require.NoError(t, w.exec(t.Context(), w.commit))
		return more
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

// ReferQueries are those that look for what refers to a text.
var ReferQueries = []string{sumErasable, eraseBodies, selectReferences, selectNow}

// Indexed returns how many texts with a word the index of the database in a file has, whatever there is in records, and that FTS5
// finds nothing wrong with it.
func Indexed(t *testing.T, path, word string) (n int) {
	t.Helper()
	db, err := openDB(path, 1)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO texts (texts) VALUES ('integrity-check')`)
	require.NoError(t, err)
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM texts WHERE texts MATCH ?`, word).Scan(&n))
	require.NoError(t, db.Close())
	return n
}
