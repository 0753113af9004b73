package sqlite_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
)

// Marks are as durable as records, and in a backup.
func TestMarksOutliveTheProcess(t *testing.T) {
	path, copied := newPath(t), newPath(t)
	l := open(t, path, sqlite.Config{})
	mustAdd(t, l, "r", "1", "x")
	want := []chat.Mark{{Who: "a", Read: 1, Delivered: 1}}
	require.NoError(t, l.Mark(t.Context(), "r", want))
	require.NoError(t, sqlite.Backup(t.Context(), path, copied))
	for _, path := range []string{copyFiles(t, path), copied} {
		got, err := open(t, path, sqlite.Config{}).Marks(t.Context(), "r")
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// Marks and records of many at once share commits, and none is lost.
func TestMarksAreCommittedTogetherWithRecords(t *testing.T) {
	l := open(t, newPath(t), sqlite.Config{Durability: sqlite.OS})
	mustAdd(t, l, "r", "1", "x")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for seq := range uint64(10) {
				assert.NoError(t, l.Mark(t.Context(), "r", []chat.Mark{{Who: fmt.Sprint("u", i), Delivered: seq + 1}}))
				assert.NoError(t, l.Mark(t.Context(), "r", []chat.Mark{{Who: "all", Delivered: uint64(i)*10 + seq}}))
			}
		})
		wg.Go(func() {
			_, err := add(l, fmt.Sprint("room", i), "1", "x")
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	marks, err := l.Marks(t.Context(), "r")
	require.NoError(t, err)
	require.Len(t, marks, 21)
	for _, m := range marks {
		want := uint64(10)
		if m.Who == "all" {
			want = 199
		}
		assert.Equal(t, want, m.Delivered, m.Who)
	}
}
