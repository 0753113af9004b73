package sqlite_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/query"
	"github.com/trunkline-go/trunkline/chat/sqlite"
	"github.com/trunkline-go/trunkline/rpc"
)

// find returns the seqs of a room's records that a query finds, the newest first.
func find(t *testing.T, l *sqlite.Log, room, q string) []uint64 {
	t.Helper()
	parsed, err := query.Parse(q)
	require.NoError(t, err)
	records, more, err := l.Search(t.Context(), room, parsed, 0, math.MaxUint64, 1000, 1<<30)
	require.NoError(t, err, "%q", q)
	require.False(t, more)
	out := []uint64{}
	for _, r := range records {
		out = append(out, r.Seq)
	}
	return out
}

// say appends an entry at the head of a room, with an id of its own.
func say(t *testing.T, l chat.Log, room string, e chat.Entry) {
	t.Helper()
	s, err := l.State(t.Context(), room)
	require.NoError(t, err)
	e.ID = fmt.Sprint("say ", s.Head)
	results, err := l.Append(t.Context(), room, s.Head, []chat.Entry{e}, nil)
	require.NoError(t, err)
	require.Nil(t, results[0].Err)
	require.Equal(t, s.Head+1, results[0].Seq)
}

func TestSearchFindsTextsByTheirWords(t *testing.T) {
	l := open(t, newPath(t), sqlite.Config{})
	for _, text := range []string{
		1:  "The backup of Tuesday is done",
		2:  "is the backup done?",
		3:  "Ärger mit dem CAFÉ",
		4:  "an e-mail, and another one: E mail",
		5:  "東京タワーに行く",
		6:  "京都",
		7:  "see http://example.org/a?b=c_d",
		8:  `he said "backup" AND left`,
		9:  "nothing\x00here, then backups",
		10: strings.Repeat("\xff", 10) + " broken",
	}[1:] {
		say(t, l, "r", chat.Entry{From: "alice", Body: []byte(text)})
	}
	say(t, l, "other", chat.Entry{From: "alice", Body: []byte("backup")})
	say(t, l, "r", chat.Entry{From: "bob", Body: []byte("backup by bob")})
	say(t, l, "r", chat.Entry{From: "bob", Kind: chat.KindSettings, Body: []byte("backup")})
	for q, want := range map[string][]uint64{
		"backup":                 {11, 8, 2, 1},
		"BACKUP done":            {2, 1},
		`"backup of"`:            {1},
		`"done the"`:             {},
		"back*":                  {11, 9, 8, 2, 1},
		"backup -done":           {11, 8},
		`backup -done -"by bob"`: {8},
		"cafe":                   {3},
		"arger":                  {3},
		"CAFÉ":                   {3},
		"e-mail":                 {4},
		`"another one e mail"`:   {4},
		"mail -e-mail":           {},
		"東京":                     {5},
		"京":                      {6, 5},
		"京東":                     {},
		"タワ*":                    {5},
		"http://example.org/a":   {7},
		"AND":                    {8, 4},
		"here":                   {9},
		"broken":                 {10},
		"backup from:bob":        {11},
		"backup from:bo":         {},
		"backup from:alice":      {8, 2, 1},
		"backup after:2020-01-01 before:2199-01-01": {11, 8, 2, 1},
		"backup after:2199-01-01":                   {},
		"backup before:2020-01-01":                  {},
	} {
		assert.Equal(t, want, find(t, l, "r", q), q)
	}
	assert.Equal(t, []uint64{1}, find(t, l, "other", "backup"), "rooms are apart")
	assert.Empty(t, find(t, l, "never seen", "backup"))

	q, err := query.Parse("backup")
	require.NoError(t, err)
	for _, tt := range []struct {
		first, before uint64
		n, bytes      int
		want          []uint64
		more          bool
	}{
		{0, math.MaxUint64, 2, 1000, []uint64{11, 8}, true},
		{0, 8, 2, 1000, []uint64{2, 1}, false},
		{0, 9, 1, 1000, []uint64{8}, true},
		{0, 1, 2, 1000, nil, false},
		{2, 9, 9, 1000, []uint64{8, 2}, false},
		{8, 8, 9, 1000, nil, false},
		{math.MaxUint64, math.MaxUint64, 9, 1000, nil, false},
		{0, 0, 2, 1000, nil, false},
		{0, math.MaxUint64, 10, 40, []uint64{11, 8}, true},
		{0, math.MaxUint64, 10, 0, []uint64{11}, true},
	} {
		records, more, err := l.Search(t.Context(), "r", q, tt.first, tt.before, tt.n, tt.bytes)
		require.NoError(t, err)
		var seqs []uint64
		for _, r := range records {
			seqs = append(seqs, r.Seq)
			whole, err := l.Read(t.Context(), "r", r.Seq, 0)
			require.NoError(t, err)
			assert.Equal(t, whole[0], r)
		}
		assert.Equal(t, tt.want, seqs, "%+v", tt)
		assert.Equal(t, tt.more, more, "%+v", tt)
	}
}

// Whatever is asked for, SQLite takes what it becomes, and finds what has the words, as going over the texts does.
func TestSearchIsWhatGoingOverAllTextsIs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	vocabulary := strings.Fields("a b c ab abc AND or not NEAR x1 2")
	words := func(n int) string {
		var out []string
		for range n {
			out = append(out, vocabulary[random.IntN(len(vocabulary))])
		}
		return strings.Join(out, " ")
	}
	l := open(t, newPath(t), sqlite.Config{MaxRoomRecords: 60})
	var texts []string // as the log should have them now, by seq; "": none
	texts = append(texts, "")
	for range 4 {
		for range 30 {
			text := words(1 + random.IntN(6))
			e := chat.Entry{From: "a", Body: []byte(text)}
			if n := uint64(len(texts)); n > 1 && random.IntN(4) == 0 {
				if ref := max(1, n-1-random.Uint64N(min(n-1, 70))); texts[ref] != "" { // else it would be an edit of no text
					e.Kind, e.Ref = chat.KindEdit, ref
					texts[ref], text = text, ""
				}
			}
			say(t, l, "r", e)
			texts = append(texts, text)
			if gone := len(texts) - 1 - 60; gone > 0 {
				texts[gone] = ""
			}
		}
		for range 100 {
			q := &query.Query{}
			for range 1 + random.IntN(2) {
				q.All = append(q.All, query.Text{Words: words(1 + random.IntN(2)), Prefix: random.IntN(4) == 0})
			}
			for range random.IntN(2) {
				q.None = append(q.None, query.Text{Words: words(1 + random.IntN(2)), Prefix: random.IntN(4) == 0})
			}
			want := []uint64{}
			for seq := len(texts) - 1; seq > 0; seq-- {
				if texts[seq] != "" && matches(q, texts[seq]) {
					want = append(want, uint64(seq))
				}
			}
			records, _, err := l.Search(t.Context(), "r", q, 0, math.MaxUint64, 1000, 1<<20)
			require.NoError(t, err)
			got := []uint64{}
			for _, r := range records {
				got = append(got, r.Seq)
			}
			require.Equal(t, want, got, "%+v", q)
		}
	}
}

// matches says whether a text of ASCII words is what q asks for.
func matches(q *query.Query, text string) bool {
	words := strings.Fields(strings.ToLower(text))
	has := func(t query.Text) bool {
		phrase := strings.Fields(strings.ToLower(t.Words))
		for i := range words {
			rest := words[i:]
			if len(rest) < len(phrase) {
				break
			}
			last := len(phrase) - 1
			if slices.Equal(rest[:last], phrase[:last]) && (rest[last] == phrase[last] || t.Prefix && strings.HasPrefix(rest[last], phrase[last])) {
				return true
			}
		}
		return false
	}
	return !slices.ContainsFunc(q.All, func(t query.Text) bool { return !has(t) }) && !slices.ContainsFunc(q.None, has)
}

// What a person types is a query or an error of this side, and never one of SQLite's.
func TestEveryQueryIsOneThatSQLiteTakes(t *testing.T) {
	l := open(t, newPath(t), sqlite.Config{})
	mustAdd(t, l, "r", "1", "some text")
	random := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"a", "é", "e\u0301", "東", "1", `"`, `""`, "'", "*", "-", "+", "^", "(", ")", "{", "}", ":", ",", ".", " ", "  ", "AND", "OR", "NOT", "NEAR", "from:", "before:2026-01-02", "body:", "texts", "\u00ad", "\u200b", "𞤀", "🙂", "\ufffd", ";", "--", "/*", "\\", "%", "_", "ߞ", "์", "ก", "٣"}
	accepted := 0
	for range 3000 {
		var b strings.Builder
		for range 1 + random.IntN(8) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		q, err := query.Parse(b.String())
		if err != nil {
			continue
		}
		accepted++
		_, _, err = l.Search(t.Context(), "r", q, 0, math.MaxUint64, 10, 1000)
		require.NoError(t, err, "%q", b.String())
	}
	assert.Greater(t, accepted, 300)
}

func TestATrimmedTextIsNotFoundAndLeavesTheIndex(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{MaxRoomRecords: 5})
	for i := range 5 {
		mustAdd(t, l, "r", fmt.Sprint(i), fmt.Sprint("word w", i+1))
	}
	assert.Equal(t, []uint64{5, 4, 3, 2, 1}, find(t, l, "r", "word"))
	assert.Equal(t, 5, sqlite.Indexed(t, path, "word"))
	mustAdd(t, l, "r", "x", "other")
	assert.Equal(t, 4, sqlite.Indexed(t, path, "word"), "in the same step")
	for i := range 1000 { // many are trimmed before they are indexed
		mustAdd(t, l, "r", fmt.Sprint("more", i), "other")
	}
	assert.Equal(t, 0, sqlite.Indexed(t, path, "word"))
	assert.Empty(t, find(t, l, "r", "word"))
	assert.Equal(t, []uint64{1006, 1005, 1004, 1003, 1002}, find(t, l, "r", "other"))
	assert.Equal(t, 5, sqlite.Indexed(t, path, "other"))
}

// What was deleted is not found, and of its words, and those of its edits, nothing is left in the database.
func TestADeletedTextIsNotFoundAndLeavesTheIndex(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	say(t, l, "r", chat.Entry{From: "a", Body: []byte("the hyacinth is 東京 taken")})
	say(t, l, "r", chat.Entry{From: "a", Body: []byte("stays")})
	assert.Equal(t, []uint64{1}, find(t, l, "r", "hyacinth"))
	say(t, l, "r", chat.Entry{From: "a", Kind: chat.KindEdit, Ref: 1, Body: []byte("the rhododendron is taken")})
	assert.Empty(t, find(t, l, "r", "hyacinth"))
	assert.Equal(t, []uint64{1}, find(t, l, "r", "rhododendron"))
	q, err := query.Parse("taken")
	require.NoError(t, err)
	records, _, err := l.Search(t.Context(), "r", q, 0, math.MaxUint64, 1, 0)
	require.NoError(t, err)
	assert.Equal(t, "the rhododendron is taken", string(records[0].Body), "a hit has the newest text")
	say(t, l, "r", chat.Entry{From: "a", Kind: chat.KindEdit, Ref: 1, Body: []byte("the gladiolus, not indexed yet")})
	say(t, l, "r", chat.Entry{From: "a", Kind: chat.KindDelete, Ref: 1})
	for _, word := range []string{"hyacinth", "rhododendron", "gladiolus", "taken"} {
		assert.Zero(t, sqlite.Indexed(t, path, word))
		assert.Empty(t, find(t, l, "r", word))
	}
	assert.Equal(t, []uint64{2}, find(t, l, "r", "stays"))
	require.NoError(t, l.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(b), "stays")
	for _, part := range []string{"hyacin", "yacinth", "rhodo", "endron", "gladiol", "東"} { // words may be kept without what they share with others
		assert.NotContains(t, string(b), part)
	}
}

// The index goes on where it was, whenever the process ends.
func TestWhatWasNotIndexedIsAfterARestart(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	for i := range 3 {
		mustAdd(t, l, "r", fmt.Sprint(i), "word")
	}
	torn := open(t, copyFiles(t, path), sqlite.Config{})
	assert.Equal(t, []uint64{3, 2, 1}, find(t, torn, "r", "word"))
	mustAdd(t, l, "r", "3", "word")
	require.NoError(t, l.Close())
	l = open(t, path, sqlite.Config{})
	assert.Equal(t, []uint64{4, 3, 2, 1}, find(t, l, "r", "word"))
	require.NoError(t, l.Close())

	backup, restored := newPath(t), newPath(t)
	require.NoError(t, sqlite.Backup(t.Context(), path, backup))
	require.NoError(t, sqlite.Restore(t.Context(), backup, restored))
	l = open(t, restored, sqlite.Config{})
	mustAdd(t, l, "r", "4", "a word")
	assert.Equal(t, []uint64{5, 4, 3, 2, 1}, find(t, l, "r", "word"))
}

// A log of a version that had no index gets one.
func TestALogOfAnEarlierVersionIsIndexed(t *testing.T) {
	var old strings.Builder
	for _, v := range []string{"schema/1.sql", "schema/2.sql"} {
		b, err := os.ReadFile(v)
		require.NoError(t, err)
		old.Write(b)
	}
	old.WriteString(`; PRAGMA application_id = 1953656427; PRAGMA user_version = 2;
		INSERT INTO epochs VALUES (7);
		INSERT INTO rooms (id, name, head, first, oldest, bytes) VALUES (3, 'r', 3, 2, 1, 9);
		INSERT INTO room_epochs VALUES (3, 7, 1);
		INSERT INTO records VALUES (3 << 40 | 1, 3, 7, 1, 'a', x'00000000000000000000000000000001', x'31', 1, NULL, 0, 0);
		INSERT INTO records VALUES (3 << 40 | 2, 3, 7, 1, 'a', x'00000000000000000000000000000001', x'32', 1, CAST('some word' AS BLOB), 0, 0);
		INSERT INTO records VALUES (3 << 40 | 3, 3, 7, 1, 'a', x'00000000000000000000000000000001', x'33', 1, CAST('a wörd' AS BLOB), 0, 0);`)
	path := newPath(t)
	require.NoError(t, os.WriteFile(path, sqlite.Database(t, old.String()), 0o600))
	l := open(t, path, sqlite.Config{})
	assert.Equal(t, []uint64{3, 2}, find(t, l, "r", "word"))
}

// Who searches does not wait for ever while others go on appending, and finds what there was when it asked.
func TestASearchDoesNotWaitForWhatIsAppendedMeanwhile(t *testing.T) {
	l := open(t, newPath(t), sqlite.Config{Durability: sqlite.OS})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := add(l, "r", fmt.Sprint(i), "word")
			assert.NoError(t, err)
		}
	}()
	for range 20 {
		s, err := l.State(t.Context(), "r")
		require.NoError(t, err)
		q, err := query.Parse("word")
		require.NoError(t, err)
		records, _, err := l.Search(t.Context(), "r", q, 0, s.Head+1, 1, 0)
		require.NoError(t, err)
		if s.Head > 0 && assert.Len(t, records, 1) {
			assert.Equal(t, s.Head, records[0].Seq)
		}
	}
	close(stop)
	<-done
}

func TestASearchOfALogThatCannotBeWrittenIsRefused(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	mustAdd(t, l, "r", "1", "word")
	assert.Equal(t, []uint64{1}, find(t, l, "r", "word"))
	mustAdd(t, l, "r", "2", "word")
	require.NoError(t, os.Rename(path, path+".away"))
	q, err := query.Parse("word")
	require.NoError(t, err)
	_, _, err = l.Search(t.Context(), "r", q, 0, math.MaxUint64, 1, 0)
	if err != nil { // else it had been indexed just in time
		assert.Equal(t, rpc.Unavailable, chat.CodeOf(err), "%v", err)
	}
	require.NoError(t, os.Rename(path+".away", path))
	assert.Equal(t, []uint64{2, 1}, find(t, l, "r", "word"), "and it goes on")
}
