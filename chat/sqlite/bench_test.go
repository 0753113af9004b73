package sqlite_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
)

// BenchmarkAppend appends lines of about 100 bytes of words to one room, so many at a time, as a room does whose commit is
// waited for by so many. "full" is a room that has as many as it may, so that each line trims another.
func BenchmarkAppend(b *testing.B) {
	for _, bm := range []struct {
		name  string
		batch int
		cfg   sqlite.Config
	}{
		{"fsync/1", 1, sqlite.Config{}},
		{"fsync/64", 64, sqlite.Config{}},
		{"fsync/1024", 1024, sqlite.Config{}},
		{"os/1", 1, sqlite.Config{Durability: sqlite.OS}},
		{"os/64", 64, sqlite.Config{Durability: sqlite.OS}},
		{"os/1024", 1024, sqlite.Config{Durability: sqlite.OS}},
		{"full/os/64", 64, sqlite.Config{Durability: sqlite.OS, MaxRoomRecords: 1000}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			bm.cfg.MaxRooms = -1
			l, err := sqlite.Open(b.Context(), b.TempDir()+"/rooms.db", bm.cfg)
			require.NoError(b, err)
			defer l.Close()
			head, line := uint64(0), 0
			for b.Loop() {
				entries := make([]chat.Entry, bm.batch)
				for i := range entries {
					line++
					entries[i] = chat.Entry{From: "alice", Producer: chat.Producer{1}, ID: fmt.Sprint(line), Body: []byte(words(line))}
				}
				_, err := l.Append(b.Context(), "r", head, entries, nil)
				require.NoError(b, err)
				head += uint64(bm.batch)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(line), "µs/line")
		})
	}
}

// words returns the text of a line: 16 words, frequent ones and rare ones.
func words(n int) string {
	var b strings.Builder
	for i := range 16 {
		n = n*1103515245 + 12345
		fmt.Fprintf(&b, "w%d ", (n>>16&0x7fff)%(100<<(i%6)))
	}
	return b.String()
}
