// Package chattest has the tests that every [chat.Log] must pass.
package chattest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-go/trunkline/rpc"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
)

// Log tests the log that open returns, a new and empty one for each test.
func Log(t *testing.T, open func(t *testing.T) chat.Log) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, chat.Log){
		"an empty room":                           emptyRoom,
		"C1 seq is contiguous from 1":             contiguous,
		"C1 rooms are apart":                      apart,
		"C3 a duplicate has its first position":   duplicates,
		"C3 an id with another body is refused":   anotherBody,
		"C3 duplicates inside one append":         duplicatesInOneAppend,
		"records of any kind":                     kinds,
		"a snapshot comes with a record":          snapshots,
		"C3 what has been sent is found":          found,
		"what refers to a text is found":          references,
		"M114 a delete takes the text for good":   erased,
		"trim":                                    trim,
		"rooms are listed":                        rooms,
		"another server was first":                conflict,
		"C1 many servers append":                  manyServers,
		"read in pieces":                          readPieces,
		"read backwards":                          readBack,
		"bodies and names are kept as they are":   verbatim,
		"watch":                                   watch,
		"times are those of the server's clock":   times,
		"a state proves what can be proven whole": prove,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	if l, ok := open(t).(markingLog); ok {
		t.Run("marks only rise", func(t *testing.T) { marks(t, l) })
	}
}

func entry(from string, producer byte, id, body string) chat.Entry {
	return chat.Entry{From: from, Producer: chat.Producer{producer}, ID: id, Body: []byte(body)}
}

// add appends entries at the head, and returns their results.
func add(t *testing.T, l chat.Log, room string, entries ...chat.Entry) []chat.Result {
	t.Helper()
	s, err := l.State(t.Context(), room)
	require.NoError(t, err)
	results, err := l.Append(t.Context(), room, s.Head, entries, nil)
	require.NoError(t, err)
	require.Len(t, results, len(entries))
	return results
}

func state(t *testing.T, l chat.Log, room string) chat.State {
	t.Helper()
	s, err := l.State(t.Context(), room)
	require.NoError(t, err)
	return s
}

func emptyRoom(t *testing.T, l chat.Log) {
	s := state(t, l, "never seen")
	assert.Equal(t, uint64(0), s.Head)
	assert.Equal(t, uint64(1), s.First)
	require.Len(t, s.Epochs, 1)
	assert.Equal(t, uint64(1), s.Epochs[0].First)
	assert.Positive(t, s.Epoch())
	records, err := l.Read(t.Context(), "never seen", 1, 1<<20)
	require.NoError(t, err)
	assert.Empty(t, records)
	assert.Empty(t, add(t, l, "never seen"), "an append of nothing")
}

func contiguous(t *testing.T, l chat.Log) {
	epoch := state(t, l, "r").Epoch()
	for i := range 10 {
		results := add(t, l, "r", entry("a", 1, fmt.Sprint(i, "x"), "x"), entry("a", 1, fmt.Sprint(i, "y"), "y"))
		for j, res := range results {
			assert.Nil(t, res.Err)
			assert.False(t, res.Duplicate)
			assert.Equal(t, chat.Position{Epoch: epoch, Seq: uint64(2*i + j + 1)}, res.Position)
		}
		assert.Equal(t, uint64(2*i+2), state(t, l, "r").Head)
	}
	records, err := l.Read(t.Context(), "r", 1, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 20)
	for i, rec := range records {
		assert.Equal(t, uint64(i+1), rec.Seq)
		assert.Equal(t, []string{"x", "y"}[i%2], string(rec.Body))
	}
}

func apart(t *testing.T, l chat.Log) {
	add(t, l, "one", entry("a", 1, "i", "x"))
	res := add(t, l, "two", entry("a", 1, "i", "other"))
	assert.Equal(t, uint64(1), res[0].Seq)
	assert.Nil(t, res[0].Err, "ids are of one room")
	assert.False(t, res[0].Duplicate)
}

func duplicates(t *testing.T, l chat.Log) {
	first := add(t, l, "r", entry("a", 1, "i", "x"), entry("a", 1, "j", "y"))
	again := add(t, l, "r", entry("a", 1, "j", "y"), entry("a", 1, "k", "z"), entry("a", 1, "i", "x"))
	assert.True(t, again[0].Duplicate)
	assert.Equal(t, first[1].Position, again[0].Position)
	assert.False(t, again[1].Duplicate)
	assert.Equal(t, uint64(3), again[1].Seq)
	assert.True(t, again[2].Duplicate)
	assert.Equal(t, first[0].Position, again[2].Position)
	assert.Equal(t, uint64(3), state(t, l, "r").Head)
	// Another producer, or another identity, has ids of its own.
	others := add(t, l, "r", entry("a", 2, "i", "x"), entry("b", 1, "i", "x"))
	assert.Equal(t, uint64(4), others[0].Seq)
	assert.Equal(t, uint64(5), others[1].Seq)
}

func anotherBody(t *testing.T, l chat.Log) {
	add(t, l, "r", entry("a", 1, "i", "x"))
	res := add(t, l, "r", entry("a", 1, "i", "changed"), entry("a", 1, "j", "y"))
	require.NotNil(t, res[0].Err)
	assert.Equal(t, rpc.AlreadyExists, res[0].Err.Code)
	assert.Nil(t, res[1].Err, "it stands alone")
	assert.Equal(t, uint64(2), res[1].Seq, "and what was refused takes no position")
}

func duplicatesInOneAppend(t *testing.T, l chat.Log) {
	res := add(t, l, "r", entry("a", 1, "i", "x"), entry("a", 1, "i", "x"), entry("a", 1, "i", "y"))
	assert.False(t, res[0].Duplicate)
	assert.True(t, res[1].Duplicate)
	assert.Equal(t, res[0].Position, res[1].Position)
	assert.NotNil(t, res[2].Err)
	assert.Equal(t, uint64(1), state(t, l, "r").Head)
}

func kinds(t *testing.T, l chat.Log) {
	edit := entry("a", 1, "e", "")
	edit.Kind, edit.Ref = chat.KindEdit, 1<<40+1
	add(t, l, "r", edit)
	records, err := l.Read(t.Context(), "r", 1, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 1)
	assert.Empty(t, records[0].Body)
	records[0].Body = edit.Body // one that is empty may be nil
	assert.Equal(t, edit, records[0].Entry)
	assert.True(t, add(t, l, "r", edit)[0].Duplicate)
	other, another := edit, edit
	other.Kind, another.Ref = chat.KindDelete, 1
	for _, res := range add(t, l, "r", other, another, entry("a", 1, "e", "")) {
		require.NotNil(t, res.Err, "the same id is another message")
		assert.Equal(t, rpc.AlreadyExists, res.Err.Code)
	}
}

func snapshots(t *testing.T, l chat.Log) {
	appendAt := func(head uint64, id, body string, snapshot []byte) error {
		_, err := l.Append(t.Context(), "r", head, []chat.Entry{entry("a", 1, id, body)}, snapshot)
		return err
	}
	assert.Nil(t, state(t, l, "r").Snapshot)
	require.NoError(t, appendAt(0, "i", "x", nil))
	assert.Nil(t, state(t, l, "r").Snapshot)
	require.NoError(t, appendAt(1, "j", "x", []byte("one")))
	require.NoError(t, appendAt(2, "k", "x", nil))
	assert.Equal(t, "one", string(state(t, l, "r").Snapshot), "it is that of the last record that had one")
	assert.Error(t, appendAt(1, "l", "x", []byte("two")), "another server was first")
	require.NoError(t, appendAt(3, "k", "x", []byte("two")), "a duplicate")
	require.NoError(t, appendAt(3, "k", "y", []byte("two")), "another body")
	assert.Equal(t, "one", string(state(t, l, "r").Snapshot), "what became no record has no snapshot")
	require.NoError(t, appendAt(3, "m", "x", []byte{}))
	assert.Empty(t, state(t, l, "r").Snapshot)
	assert.Nil(t, state(t, l, "other").Snapshot)
}

func found(t *testing.T, l chat.Log) {
	s, none, err := l.Find(t.Context(), "r", []chat.Entry{entry("a", 1, "i", "x"), about(chat.KindEdit, "a", "e", 1, "y")})
	require.NoError(t, err)
	assert.Equal(t, make([]chat.Found, 2), none)
	assert.Equal(t, state(t, l, "r"), s)
	add(t, l, "r", entry("a", 1, "i", "x"), entry("a", 1, "j", "y"))
	s, all, err := l.Find(t.Context(), "r", []chat.Entry{entry("a", 1, "j", "y"), entry("b", 1, "j", "y"), entry("a", 1, "i", "changed"), entry("a", 1, "k", "z")})
	require.NoError(t, err)
	assert.Equal(t, state(t, l, "r"), s)
	assert.Equal(t, &chat.Result{Position: chat.Position{Epoch: s.Epoch(), Seq: 2}, Duplicate: true}, all[0].Known)
	assert.Nil(t, all[1].Known)
	require.NotNil(t, all[2].Known)
	assert.Equal(t, rpc.AlreadyExists, all[2].Known.Err.Code)
	assert.Nil(t, all[3].Known)
	assert.Equal(t, uint64(2), state(t, l, "r").Head, "and nothing is appended")
}

// about is a record that refers to another.
func about(kind chat.Kind, from, id string, ref uint64, body string) chat.Entry {
	e := entry(from, 1, id, body)
	e.Kind, e.Ref = kind, ref
	return e
}

func references(t *testing.T, l chat.Log) {
	add(t, l, "other", entry("a", 1, "i", "x"), about(chat.KindReact, "c", "r", 1, "!"))
	add(t, l, "r",
		entry("a", 1, "i", "x"),
		entry("b", 1, "j", "y"),
		about(chat.KindEdit, "a", "e", 1, "z"),
		about(chat.KindReact, "b", "r", 1, "+"),
		about(chat.KindReact, "b", "s", 2, "+"),
		about(chat.KindUnreact, "b", "u", 1, "+"))
	_, all, err := l.Find(t.Context(), "r", []chat.Entry{
		about(chat.KindEdit, "a", "1", 1, "q"), about(chat.KindReact, "a", "2", 2, "q"), about(chat.KindReact, "a", "3", 3, "q"),
		about(chat.KindReact, "a", "4", 7, "q"), about(chat.KindReact, "a", "5", 1<<63+1, "q"), about(chat.KindDelete, "a", "6", 1, ""),
		about(chat.KindEdit, "a", "e", 1, "z"),
	})
	require.NoError(t, err)
	one := &chat.Target{From: "a", Refs: []chat.Reference{{Kind: chat.KindEdit, From: "a"}, {Kind: chat.KindReact, From: "b", Text: "+"}, {Kind: chat.KindUnreact, From: "b", Text: "+"}}}
	assert.Equal(t, one, all[0].Target)
	assert.Equal(t, &chat.Target{From: "b", Refs: []chat.Reference{{Kind: chat.KindReact, From: "b", Text: "+"}}}, all[1].Target)
	assert.Nil(t, all[2].Target, "an edit is no text")
	assert.Nil(t, all[3].Target, "it is beyond the head")
	assert.Nil(t, all[4].Target)
	assert.Equal(t, one, all[5].Target)
	assert.Equal(t, one, all[6].Target)
	assert.Equal(t, uint64(3), all[6].Known.Seq)
}

func erased(t *testing.T, l chat.Log) {
	add(t, l, "r",
		entry("a", 1, "i", "secret"),
		entry("a", 1, "j", "stays"),
		about(chat.KindEdit, "a", "e", 1, "secret, too"),
		about(chat.KindEdit, "a", "f", 2, "stays, too"),
		about(chat.KindReact, "b", "r", 1, "+"))
	before, err := l.Read(t.Context(), "r", 1, 1<<20)
	require.NoError(t, err)
	// The last of it in one step with what it takes.
	res := add(t, l, "r", about(chat.KindEdit, "a", "g", 1, "in the same step"), about(chat.KindDelete, "c", "d", 1, ""))
	assert.Equal(t, uint64(7), res[1].Seq)
	after, err := l.Read(t.Context(), "r", 1, 1<<20)
	require.NoError(t, err)
	require.Len(t, after, 7, "no seq is missing")
	for i, body := range []string{"", "stays", "", "stays, too", "+", "", ""} {
		assert.Equal(t, body, string(after[i].Body), "%d", i+1)
		if i < len(before) {
			assert.Equal(t, [4]any{before[i].Position, before[i].Time, before[i].ID, before[i].Kind}, [4]any{after[i].Position, after[i].Time, after[i].ID, after[i].Kind})
		}
	}
	assert.Equal(t, "secret", string(before[0].Body), "who has read it is left alone")
	_, all, err := l.Find(t.Context(), "r", []chat.Entry{about(chat.KindEdit, "a", "1", 1, "q"), about(chat.KindEdit, "a", "2", 2, "q")})
	require.NoError(t, err)
	assert.Equal(t, [2]bool{true, false}, [2]bool{all[0].Target.Erased, all[1].Target.Erased})
	again := add(t, l, "r", entry("a", 1, "i", "secret"), about(chat.KindEdit, "a", "e", 1, "secret, too"), entry("a", 1, "i", ""))
	assert.Equal(t, []uint64{1, 3}, []uint64{again[0].Seq, again[1].Seq})
	assert.True(t, again[0].Duplicate && again[1].Duplicate, "C3 outlives it")
	assert.NotNil(t, again[2].Err)
	// What there is not is not taken; nor is a record of another kind.
	add(t, l, "r", about(chat.KindDelete, "c", "d2", 100, ""), about(chat.KindDelete, "c", "d3", 5, ""), about(chat.KindDelete, "c", "d4", 1<<63+2, ""), about(chat.KindDelete, "c", "d5", 1, ""))
	records, err := l.Read(t.Context(), "r", 5, 1)
	require.NoError(t, err)
	assert.Equal(t, "+", string(records[0].Body))
	assert.Equal(t, uint64(11), state(t, l, "r").Head)
}

func conflict(t *testing.T, l chat.Log) {
	add(t, l, "r", entry("a", 1, "i", "x"))
	for _, head := range []uint64{0, 2} {
		_, err := l.Append(t.Context(), "r", head, []chat.Entry{entry("a", 1, "j", "y")}, nil)
		e, ok := errors.AsType[*chat.ConflictError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, uint64(1), e.Head)
	}
	assert.Equal(t, uint64(1), state(t, l, "r").Head)
	assert.Equal(t, uint64(2), add(t, l, "r", entry("a", 1, "j", "y"))[0].Seq, "and j is not marked")
}

func manyServers(t *testing.T, l chat.Log) {
	const servers, each = 4, 50
	var wg sync.WaitGroup
	for s := range servers {
		wg.Go(func() {
			head := uint64(0)
			for i := range each {
				for {
					res, err := l.Append(context.WithoutCancel(t.Context()), "r", head, []chat.Entry{entry("a", byte(s), fmt.Sprint(i), "x")}, nil)
					if e, ok := errors.AsType[*chat.ConflictError](err); ok {
						head = e.Head
						continue
					}
					if assert.NoError(t, err) {
						head = res[0].Seq
					}
					break
				}
			}
		})
	}
	wg.Wait()
	records, err := l.Read(t.Context(), "r", 1, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, servers*each)
	next := make(map[chat.Producer]int)
	for i, rec := range records {
		assert.Equal(t, uint64(i+1), rec.Seq)
		assert.Equal(t, fmt.Sprint(next[rec.Producer]), rec.ID, "the order of each")
		next[rec.Producer]++
	}
}

func readPieces(t *testing.T, l chat.Log) {
	for i := range 10 {
		add(t, l, "r", entry("a", 1, fmt.Sprint(i), string(make([]byte, 100))))
	}
	many := make([]chat.Entry, chat.MaxRead+1)
	for i := range many {
		many[i] = entry("a", 1, fmt.Sprint("m", i), "")
	}
	add(t, l, "many", many...)
	for seq, n := range map[uint64]int{1: chat.MaxRead, 2: chat.MaxRead, 3: chat.MaxRead - 1} {
		records, err := l.Read(t.Context(), "many", seq, 1000)
		require.NoError(t, err)
		assert.Len(t, records, n, "S5: empty bodies are records, too")
	}
	for _, tt := range []struct {
		seq   uint64
		bytes int
		n     int
	}{{1, 1000, 10}, {1, 350, 3}, {4, 100, 1}, {4, 1, 1}, {4, 0, 1}, {10, 1000, 1}, {11, 1000, 0}, {1 << 63, 1000, 0}} {
		records, err := l.Read(t.Context(), "r", tt.seq, tt.bytes)
		require.NoError(t, err)
		require.Len(t, records, tt.n, "%+v", tt)
		for i, rec := range records {
			assert.Equal(t, tt.seq+uint64(i), rec.Seq)
		}
	}
}

func readBack(t *testing.T, l chat.Log) {
	for i := range 10 {
		add(t, l, "r", entry("a", 1, fmt.Sprint(i), string(make([]byte, 100))))
	}
	add(t, l, "other", entry("a", 1, "i", "x"))
	for _, tt := range []struct {
		seq   uint64
		n     int
		bytes int
		want  int
	}{{10, 100, 1 << 20, 10}, {10, 3, 1 << 20, 3}, {7, 100, 1 << 20, 7}, {7, 100, 350, 3}, {7, 2, 350, 2}, {7, 100, 0, 1}, {1, 5, 1 << 20, 1}, {11, 5, 1 << 20, 0}, {1 << 63, 5, 1 << 20, 0}} {
		records, err := l.ReadBack(t.Context(), "r", tt.seq, tt.n, tt.bytes)
		require.NoError(t, err)
		require.Len(t, records, tt.want, "%+v", tt)
		for i, rec := range records {
			assert.Equal(t, tt.seq-uint64(len(records)-1-i), rec.Seq)
		}
		if len(records) == 0 {
			continue
		}
		forth, err := l.Read(t.Context(), "r", records[0].Seq, 1<<20)
		require.NoError(t, err)
		assert.Equal(t, forth[:len(records)], records)
	}
	_, err := l.ReadBack(t.Context(), "r", 0, 5, 1<<20)
	assert.ErrorIs(t, err, &chat.Error{Code: rpc.OutOfRange}, "there is none before the first")
	records, err := l.ReadBack(t.Context(), "never seen", 1, 5, 1<<20)
	require.NoError(t, err)
	assert.Empty(t, records)
}

// A markingLog is a log that is a Marker, too.
type markingLog interface {
	chat.Log
	chat.Marker
}

func marks(t *testing.T, marker markingLog) {
	l := chat.Log(marker)
	of := func(room string) []chat.Mark {
		got, err := marker.Marks(t.Context(), room)
		require.NoError(t, err)
		return got
	}
	one := func(room, who string) chat.Mark {
		got, err := marker.MarkOf(t.Context(), room, who)
		require.NoError(t, err)
		return got
	}
	mark := func(room string, m ...chat.Mark) { require.NoError(t, marker.Mark(t.Context(), room, m)) }
	mark("never seen", chat.Mark{Who: "a", Read: 1, Delivered: 1})
	assert.Empty(t, of("never seen"))
	assert.Equal(t, chat.Mark{Who: "a"}, one("never seen", "a"))
	assert.Zero(t, state(t, l, "never seen").Head)
	add(t, l, "r", entry("a", 1, "i", "x"), entry("a", 1, "j", "y"))
	assert.Empty(t, of("r"))
	mark("r", chat.Mark{Who: "spiffe://d/user/ü", Read: 1, Delivered: 2}, chat.Mark{Who: "b", Delivered: 1})
	mark("r", chat.Mark{Who: "b", Read: 1}, chat.Mark{Who: "b", Delivered: 2})
	mark("r", chat.Mark{Who: "spiffe://d/user/ü", Read: 0, Delivered: 1})
	mark("r")
	assert.Equal(t, []chat.Mark{{Who: "b", Read: 1, Delivered: 2}, {Who: "spiffe://d/user/ü", Read: 1, Delivered: 2}}, of("r"))
	assert.Equal(t, of("r")[1], one("r", "spiffe://d/user/ü"))
	assert.Equal(t, chat.Mark{Who: "a"}, one("r", "a"))
	add(t, l, "other", entry("a", 1, "i", "x"))
	assert.Empty(t, of("other"), "marks are of one room")
	assert.Equal(t, chat.Mark{Who: "b"}, one("other", "b"))
	assert.Equal(t, uint64(2), state(t, l, "r").Head, "a mark is no record")
	assert.Equal(t, uint64(3), add(t, l, "r", entry("a", 1, "k", "z"))[0].Seq)

	var many []chat.Mark
	for i := range 12_000 {
		many = append(many, chat.Mark{Who: fmt.Sprint("many", i), Delivered: 1})
	}
	mark("r", many...)
	assert.Len(t, of("r"), 10_000, "they are bounded")
	mark("r", chat.Mark{Who: "b", Read: 3, Delivered: 3})
	assert.Equal(t, chat.Mark{Who: "b", Read: 3, Delivered: 3}, of("r")[0], "and those that there are go on rising")
}

func verbatim(t *testing.T, l chat.Log) {
	room := "Räume 🏠 'quoted' \"and\" % _"
	e := chat.Entry{From: "spiffe://d/user/ü", Producer: chat.Producer{0, 255, 3}, ID: "\x00\xff'", Body: []byte("z\u0000eilen\nund 🙂")}
	add(t, l, room, e)
	records, err := l.Read(t.Context(), room, 1, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 1)
	assert.Equal(t, e, records[0].Entry)
}

func watch(t *testing.T, l chat.Log) {
	heads := make(chan uint64, 100)
	stop := l.Watch("r", func(head uint64) { heads <- head })
	add(t, l, "other", entry("a", 1, "i", "x"))
	add(t, l, "r", entry("a", 1, "i", "x"), entry("a", 1, "j", "y"))
	select {
	case head := <-heads:
		assert.Equal(t, uint64(2), head)
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing was said")
	}
	stop()
	for len(heads) > 0 {
		<-heads
	}
	add(t, l, "r", entry("a", 1, "k", "z"))
	assert.Empty(t, heads)
	assert.Equal(t, uint64(3), state(t, l, "r").Head)
}

func times(t *testing.T, l chat.Log) {
	before := time.Now().Add(-time.Second)
	res := add(t, l, "r", entry("a", 1, "i", "x"))
	records, err := l.Read(t.Context(), "r", 1, 1)
	require.NoError(t, err)
	assert.True(t, records[0].Time.Equal(res[0].Time))
	assert.WithinRange(t, records[0].Time, before, time.Now().Add(time.Second))
	assert.Equal(t, time.UTC, records[0].Time.Location())
}

func prove(t *testing.T, l chat.Log) {
	for i := range 3 {
		add(t, l, "r", entry("a", 1, fmt.Sprint(i), "x"))
	}
	s := state(t, l, "r")
	next, err := s.After(chat.Position{Epoch: s.Epoch(), Seq: 2})
	assert.Nil(t, err)
	assert.Equal(t, uint64(3), next)
	_, err = s.After(chat.Position{Epoch: s.Epoch(), Seq: 4})
	assert.NotNil(t, err)
	_, err = s.After(chat.Position{Epoch: s.Epoch() + 1, Seq: 2})
	assert.NotNil(t, err)
}

func trim(t *testing.T, l chat.Log) {
	for i := range 5 {
		add(t, l, "r", entry("a", 1, fmt.Sprint(i), "x"))
	}
	first := state(t, l, "r").Epoch()
	_, err := l.Append(t.Context(), "r", 5, []chat.Entry{entry("a", 1, "6", "x")}, []byte("snapshot"))
	require.NoError(t, err)
	bounds := func() [2]uint64 {
		s := state(t, l, "r")
		assert.Equal(t, "snapshot", string(s.Snapshot))
		return [2]uint64{s.First, s.Head}
	}
	require.NoError(t, l.Trim(t.Context(), "r", 3))
	assert.Equal(t, [2]uint64{3, 6}, bounds())
	require.NoError(t, l.Trim(t.Context(), "r", 2))
	assert.Equal(t, [2]uint64{3, 6}, bounds(), "what is gone stays so")
	_, err = l.Read(t.Context(), "r", 2, 1<<20)
	assert.Equal(t, rpc.OutOfRange, chat.CodeOf(err))
	records, err := l.Read(t.Context(), "r", 3, 1<<20)
	require.NoError(t, err)
	assert.Len(t, records, 4)
	require.NoError(t, l.Trim(t.Context(), "r", 1<<62))
	assert.Equal(t, [2]uint64{7, 6}, bounds(), "nothing is left")
	assert.Equal(t, chat.Position{Epoch: first, Seq: 7}, add(t, l, "r", entry("a", 1, "7", "x"))[0].Position, "positions are not used again")
	again := add(t, l, "r", entry("a", 1, "2", "x"))[0]
	assert.Equal(t, [2]any{true, uint64(3)}, [2]any{again.Duplicate, again.Seq}, "marks outlive their records")
	records, err = l.Read(t.Context(), "r", 7, 1<<20)
	require.NoError(t, err)
	assert.Len(t, records, 1)
	require.NoError(t, l.Trim(t.Context(), "never seen", 1<<62))
	assert.Equal(t, uint64(1), state(t, l, "never seen").First)
}

func rooms(t *testing.T, l chat.Log) {
	list := func(after string, n int) (names []string) {
		t.Helper()
		found, err := l.Rooms(t.Context(), after, n)
		require.NoError(t, err)
		for _, r := range found {
			s := state(t, l, r.Name)
			assert.Equal(t, chat.RoomState{Name: r.Name, Head: s.Head, First: s.First, Snapshot: s.Snapshot}, r)
			names = append(names, r.Name)
		}
		return names
	}
	assert.Empty(t, list("", 10))
	names := []string{"B", "a", "aa", "b", "@x", "\u00e9", "%", "a b"}
	for _, name := range names {
		_, err := l.Append(t.Context(), name, 0, []chat.Entry{entry("a", 1, "i", "x"), entry("a", 1, "j", "x")}, []byte(name))
		require.NoError(t, err)
	}
	require.NoError(t, l.Trim(t.Context(), "b", 2))
	slices.Sort(names)
	assert.Equal(t, names, list("", 10))
	assert.Equal(t, names[:3], list("", 3))
	assert.Equal(t, names[3:5], list(names[2], 2))
	assert.Equal(t, names[3:], list(names[2]+"\x00", 10), "behind one that there is not")
	assert.Empty(t, list(names[7], 10))
	assert.Empty(t, list("", 0))
}
