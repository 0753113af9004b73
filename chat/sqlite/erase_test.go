package sqlite_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
)

// M114: what a delete has taken is in the file no longer, nor in its free pages; short and long texts, in full pages.
func TestM114WhatWasDeletedLeavesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.db")
	l, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	require.NoError(t, err)
	head := uint64(0)
	add := func(e chat.Entry) {
		t.Helper()
		head++
		e.From, e.ID = "a", fmt.Sprint(head)
		_, err := l.Append(t.Context(), "r", head-1, []chat.Entry{e}, nil)
		require.NoError(t, err)
	}
	secret := []string{"SECRET", strings.Repeat("SECRET", 200), strings.Repeat("SECRET", 5000)}
	for i := range 60 {
		add(chat.Entry{Body: []byte(secret[i%3])})
		add(chat.Entry{Body: []byte("stays")})
		add(chat.Entry{Kind: chat.KindEdit, Ref: head - 1, Body: []byte(secret[(i+1)%3])})
	}
	for seq := uint64(1); seq <= 180; seq += 3 {
		add(chat.Entry{Kind: chat.KindDelete, Ref: seq})
	}
	require.NoError(t, l.Close())
	for _, name := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(name)
		if name != path && os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		assert.False(t, bytes.Contains(b, []byte("SECRET")), name)
		assert.True(t, bytes.Contains(b, []byte("stays")), name)
	}
}

// M114: nor is it in the write-ahead log for long, unless somebody reads what was before.
func TestM114WhatWasDeletedLeavesTheWriteAheadLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.db")
	synctest.Test(t, func(t *testing.T) {
		l, err := sqlite.Open(t.Context(), path, sqlite.Config{})
		require.NoError(t, err)
		defer l.Close()
		_, err = l.Append(t.Context(), "r", 0, []chat.Entry{{From: "a", ID: "1", Body: []byte("SECRET")}}, nil)
		require.NoError(t, err)
		release := sqlite.Hold(t, path)
		_, err = l.Append(t.Context(), "r", 1, []chat.Entry{{From: "a", ID: "2", Kind: chat.KindDelete, Ref: 1}}, nil)
		require.NoError(t, err)
		has := func() bool {
			db, err := os.ReadFile(path)
			require.NoError(t, err)
			wal, err := os.ReadFile(path + "-wal")
			require.NoError(t, err)
			return bytes.Contains(append(db, wal...), []byte("SECRET"))
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		assert.True(t, has(), "there is a reader")
		_, err = l.Append(t.Context(), "r", 2, []chat.Entry{{From: "a", ID: "3", Body: []byte("x")}}, nil)
		require.NoError(t, err, "who keeps nobody waiting")
		release()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		assert.False(t, has())
	})
}

// What refers to a text is found by an index, not by going over the room.
func TestWhatRefersToATextIsFoundByAnIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.db")
	l, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	for _, query := range sqlite.ReferQueries {
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, 1, 1, 1)
		if err != nil {
			rows, err = db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, 1, 1)
		}
		require.NoError(t, err)
		var plan strings.Builder
		for rows.Next() {
			var id, parent, unused int
			var detail string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan.WriteString(detail + "\n")
		}
		require.NoError(t, rows.Err())
		assert.Contains(t, plan.String(), "records_ref (room=? AND ref=?")
		assert.NotContains(t, plan.String(), "SCAN records")
	}
}
