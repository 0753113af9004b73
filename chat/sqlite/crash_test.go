package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
)

// The crash tests run this test binary again, as a process that appends until it is killed:
//
//	TEST -test.run=^TestAppendingProcess$ -- FILE FIRST…
//
// with the number at which each writer begins. It prints "writer number epoch seq" when that is acknowledged.
const writers = 4

func TestAppendingProcess(t *testing.T) {
	args := os.Args[slices.Index(os.Args, "--")+1:]
	if len(args) != 1+writers || !slices.Contains(os.Args, "--") {
		t.Skip("it is for the crash tests")
	}
	l, err := sqlite.Open(t.Context(), args[0], sqlite.Config{})
	require.NoError(t, err)
	var out sync.Mutex
	for w, first := range args[1:] {
		n, err := strconv.Atoi(first)
		require.NoError(t, err)
		go func() { // until the process is killed
			for ; ; n++ {
				res, err := appendNth(l, w, n)
				if err != nil {
					panic(err)
				}
				out.Lock()
				fmt.Printf("%d %d %d %d\n", w, n, res.Epoch, res.Seq)
				out.Unlock()
			}
		}()
	}
	select {}
}

// roomOf returns the room that a writer appends to: two writers share one.
func roomOf(w int) string { return fmt.Sprint("room", w/2) }

func text(w, n int) string { return fmt.Sprint("line ", n, " of ", w, strings.Repeat(".", n%700)) }

// appendNth appends a writer's message n, behind whatever others append.
func appendNth(l chat.Log, w, n int) (chat.Result, error) {
	head := uint64(0)
	for {
		res, err := l.Append(context.Background(), roomOf(w), head, []chat.Entry{{
			From: fmt.Sprint("w", w), Producer: chat.Producer{byte(w + 1)}, ID: strconv.Itoa(n), Body: []byte(text(w, n)),
		}}, nil)
		if e, ok := errors.AsType[*chat.ConflictError](err); ok {
			head = e.Head
			continue
		}
		if err != nil {
			return chat.Result{}, err
		}
		if res[0].Err != nil {
			return chat.Result{}, res[0].Err
		}
		return res[0], nil
	}
}

// acked is what was acknowledged to each writer: message n at acked[w][n].
type acked [writers][]chat.Position

// runAndKill runs the process, kills it a while after it began, or after what it acknowledged first, and notes what it acknowledged.
func (a *acked) runAndKill(t *testing.T, path string, after time.Duration, atWork bool) {
	t.Helper()
	args := []string{"-test.run=^TestAppendingProcess$", "--", path}
	for _, positions := range a {
		args = append(args, strconv.Itoa(len(positions)))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill := sync.OnceFunc(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) })
	if !atWork {
		kill()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		kill()
		var w, n int
		var pos chat.Position
		if c, err := fmt.Sscan(lines.Text(), &w, &n, &pos.Epoch, &pos.Seq); c < 4 || err != nil || !strings.HasSuffix(lines.Text(), fmt.Sprint(pos.Seq)) {
			continue // cut off by the kill
		}
		require.Len(t, a[w], n, "acknowledged in order")
		a[w] = append(a[w], pos)
	}
	_ = cmd.Wait() // killed
}

// check counts, as Jepsen does for a log: for each writer what was acknowledged and is missing, as a prefix, in
// the middle, or as a suffix; and what is there twice.
func (a *acked) check(t *testing.T, path string) (total int) {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, l.Close()) }()
	for w := range writers {
		s, err := l.State(t.Context(), roomOf(w))
		require.NoError(t, err)
		found := make(map[int]chat.Position)
		duplicates := 0
		last := -1
		for seq := uint64(1); seq <= s.Head; {
			records, err := l.Read(t.Context(), roomOf(w), seq, 1<<20)
			require.NoError(t, err)
			require.NotEmpty(t, records)
			for _, rec := range records {
				require.Equal(t, seq, rec.Seq, "C1")
				seq++
				if rec.From != fmt.Sprint("w", w) {
					continue
				}
				n, err := strconv.Atoi(rec.ID)
				require.NoError(t, err)
				require.Equal(t, text(w, n), string(rec.Body))
				if _, twice := found[n]; twice {
					duplicates++
				}
				assert.Greater(t, n, last, "a writer's lines are in its order")
				last = n
				found[n] = rec.Position
			}
		}
		missing := make([]int, 3) // prefix, middle, suffix
		where := 0
		for n, pos := range a[w] {
			at, ok := found[n]
			if ok {
				where = 1
				assert.Equal(t, pos, at, "C1: it is where it was acknowledged")
				continue
			}
			missing[where]++
		}
		for n := len(a[w]) - 1; n >= 0 && where == 1; n-- {
			if _, ok := found[n]; ok {
				break
			}
			missing[1]--
			missing[2]++
		}
		assert.Equal(t, []int{0, 0, 0}, missing, "C2: writer %d: acknowledged and missing as prefix, middle, suffix", w)
		assert.Zero(t, duplicates, "C3: writer %d", w)
		total += len(a[w])
	}
	return total
}

func TestC2WhatWasAcknowledgedOutlivesKill9(t *testing.T) {
	path := newPath(t)
	var a acked
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds { // some may not have begun their work, which takes long on a slow machine
		a.runAndKill(t, path, time.Duration(rand.IntN(120))*time.Millisecond, i%5 > 0)
	}
	total := a.check(t, path)
	assert.GreaterOrEqual(t, total, rounds/5*4, "it was at work")
	t.Logf("%d rounds, %d lines were acknowledged", rounds, total)
}

// A power cut leaves of what was not synced any part, and of the last write any bytes.
func TestC2WhatWasAcknowledgedOutlivesATornTail(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	n := 0
	for range 40 {
		for range 1 + random.IntN(5) {
			_, err := appendNth(l, 0, n)
			require.NoError(t, err)
			n++
		}
		synced := fileSize(t, path+"-wal")
		for i := range random.IntN(4) {
			_, err := appendNth(l, 2, n+i)
			require.NoError(t, err)
		}
		torn := copyFiles(t, path)
		tear(t, torn+"-wal", synced, random)
		again := open(t, torn, sqlite.Config{})
		records, err := again.Read(t.Context(), roomOf(0), 1, 1<<30)
		require.NoError(t, err)
		require.Len(t, records, n)
		for i, rec := range records {
			require.Equal(t, uint64(i+1), rec.Seq)
			require.Equal(t, text(0, i), string(rec.Body))
		}
		_, err = appendNth(again, 0, n)
		require.NoError(t, err, "it goes on")
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

// tear cuts a file somewhere behind what was synced, and has what is left of it there be anything.
func tear(t *testing.T, path string, synced int64, random *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	tail := make([]byte, fileSize(t, path)-synced)
	_, err = f.ReadAt(tail, synced)
	require.NoError(t, err)
	tail = tail[:random.IntN(len(tail)+1)]
	for range random.IntN(4) {
		if len(tail) > 0 {
			tail[random.IntN(len(tail))] ^= byte(1 + random.IntN(255))
		}
	}
	require.NoError(t, f.Truncate(synced))
	_, err = f.WriteAt(tail, synced)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
