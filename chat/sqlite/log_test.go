package sqlite_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/chattest"
	"github.com/trunkline-go/trunkline/chat/sqlite"
	"github.com/trunkline-go/trunkline/rpc"
)

// open opens the log in a file, for as long as the test lasts.
func open(t *testing.T, path string, cfg sqlite.Config) *sqlite.Log {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "rooms.db") }

// add appends one message at the head.
func add(l chat.Log, room, id, body string) (chat.Result, error) {
	s, err := l.State(context.Background(), room)
	if err != nil {
		return chat.Result{}, err
	}
	res, err := l.Append(context.Background(), room, s.Head, []chat.Entry{{From: "a", ID: id, Body: []byte(body)}}, nil)
	if err != nil {
		return chat.Result{}, err
	}
	return res[0], nil
}

func mustAdd(t *testing.T, l chat.Log, room, id, body string) chat.Result {
	t.Helper()
	res, err := add(l, room, id, body)
	require.NoError(t, err)
	require.Nil(t, res.Err)
	return res
}

func bounds(t *testing.T, l chat.Log, room string) [2]uint64 {
	t.Helper()
	s, err := l.State(t.Context(), room)
	require.NoError(t, err)
	return [2]uint64{s.First, s.Head}
}

func epoch(t *testing.T, l chat.Log) uint64 {
	t.Helper()
	s, err := l.State(t.Context(), "r")
	require.NoError(t, err)
	return s.Epoch()
}

func TestTheLogIsALog(t *testing.T) {
	chattest.Log(t, func(t *testing.T) chat.Log {
		return open(t, newPath(t), sqlite.Config{})
	})
}

// copyFiles copies a database as it is, as if the machine had lost its power now.
func copyFiles(t *testing.T, path string) string {
	t.Helper()
	to := newPath(t)
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to+suffix, b, 0o600))
	}
	return to
}

// copyMain copies a database without its write-ahead log, as if none of that had reached the disk.
func copyMain(t *testing.T, path string) string {
	t.Helper()
	to := newPath(t)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
	return to
}

func TestC1PositionsGoOnAfterARestart(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	first := mustAdd(t, l, "r", "1", "x")
	require.NoError(t, l.Close())
	assert.NoFileExists(t, path+"-wal", "a log that was closed is one file")
	l = open(t, path, sqlite.Config{})
	again := mustAdd(t, l, "r", "1", "x")
	assert.True(t, again.Duplicate)
	assert.Equal(t, first.Position, again.Position)
	assert.Equal(t, chat.Position{Epoch: first.Epoch, Seq: 2}, mustAdd(t, l, "r", "2", "y").Position)
	records, err := l.Read(t.Context(), "r", 1, 100)
	require.NoError(t, err)
	require.Len(t, records, 2)
	assert.Equal(t, first.Time, records[0].Time)
}

func TestM79WithoutFsyncAnEndWithoutCloseBeginsANewEpoch(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{Durability: sqlite.OS})
	mustAdd(t, l, "r", "1", "x")
	mustAdd(t, l, "r", "2", "x")
	before := epoch(t, l)
	torn := open(t, copyFiles(t, path), sqlite.Config{})
	s, err := torn.State(t.Context(), "r")
	require.NoError(t, err)
	assert.Greater(t, s.Epoch(), before)
	_, refused := s.After(chat.Position{Epoch: before, Seq: 3})
	assert.NotNil(t, refused, "a cursor beyond what is left")
	next, refused := s.After(chat.Position{Epoch: before, Seq: 2})
	assert.Nil(t, refused)
	assert.Equal(t, uint64(3), next)

	require.NoError(t, l.Close())
	assert.Equal(t, before, epoch(t, open(t, path, sqlite.Config{Durability: sqlite.OS})), "closed, nothing was lost")
}

// A power cut may take all that was written without fsync, and with it every trace of its having been written.
func TestC1AfterAPowerCutWithoutFsyncAPositionIsNotUsedAgain(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	mustAdd(t, l, "r", "1", "x")
	require.NoError(t, l.Close())
	l = open(t, path, sqlite.Config{Durability: sqlite.OS})
	lost := mustAdd(t, l, "r", "2", "x").Position
	l = open(t, copyMain(t, path), sqlite.Config{Durability: sqlite.OS})
	assert.Equal(t, [2]uint64{1, 1}, bounds(t, l, "r"))
	again := mustAdd(t, l, "r", "another", "x").Position
	assert.Equal(t, lost.Seq, again.Seq)
	assert.Greater(t, again.Epoch, lost.Epoch)
}

// Who opens a log waits for who appends to it.
func TestALogIsOpenedWhileAnotherAppends(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{Durability: sqlite.OS})
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := add(l, "r", fmt.Sprint(i), "x")
			assert.NoError(t, err)
		}
	})
	for range 50 {
		other, err := sqlite.Open(t.Context(), path, sqlite.Config{Durability: sqlite.OS})
		if assert.NoError(t, err) {
			assert.NoError(t, other.Close())
		}
	}
	close(stop)
	writer.Wait()
}

func TestWithFsyncAnEndWithoutCloseKeepsTheEpoch(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	mustAdd(t, l, "r", "1", "x")
	assert.Equal(t, epoch(t, l), epoch(t, open(t, copyFiles(t, path), sqlite.Config{})))
}

// Epochs in which a room was silent are known in it, too: a client may have a cursor of any.
func TestC4AnEpochIsKnownInEveryRoom(t *testing.T) {
	path := newPath(t)
	var epochs []uint64
	for i := range 4 {
		l := open(t, path, sqlite.Config{Durability: sqlite.OS})
		epochs = append(epochs, epoch(t, l))
		if i != 2 {
			mustAdd(t, l, "r", fmt.Sprint(i), "x")
		}
		path = copyFiles(t, path)
	}
	s, err := open(t, path, sqlite.Config{}).State(t.Context(), "r")
	require.NoError(t, err)
	var firsts []uint64
	for i, e := range s.Epochs[:4] {
		assert.Equal(t, epochs[i], e.Number)
		firsts = append(firsts, e.First)
	}
	assert.Equal(t, []uint64{1, 2, 3, 3}, firsts)
	next, refused := s.After(chat.Position{Epoch: epochs[2], Seq: 2})
	assert.Nil(t, refused)
	assert.Equal(t, uint64(3), next)
	_, refused = s.After(chat.Position{Epoch: epochs[2], Seq: 3})
	assert.NotNil(t, refused)
}

func TestS5TheOldestOfARoomIsTrimmed(t *testing.T) {
	for name, cfg := range map[string]sqlite.Config{
		"records": {MaxRoomRecords: 5},
		"bytes":   {MaxRoomBytes: 599},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, newPath(t), cfg)
			body := strings.Repeat("x", 100)
			for i := range 9 {
				mustAdd(t, l, "r", fmt.Sprint(i), body)
			}
			mustAdd(t, l, "other", "1", body)
			assert.Equal(t, [2]uint64{5, 9}, bounds(t, l, "r"))
			assert.Equal(t, [2]uint64{1, 1}, bounds(t, l, "other"))
			_, err := l.Read(t.Context(), "r", 4, 1)
			assert.ErrorIs(t, err, &chat.Error{Code: rpc.OutOfRange})
			records, err := l.Read(t.Context(), "r", 5, 1<<20)
			require.NoError(t, err)
			require.Len(t, records, 5)
			// C3: the mark outlives the record.
			res := mustAdd(t, l, "r", "0", body)
			assert.True(t, res.Duplicate)
			assert.Equal(t, uint64(1), res.Seq)
			res, err = add(l, "r", "0", "another text")
			require.NoError(t, err)
			assert.NotNil(t, res.Err)
		})
	}
	t.Run("the newest stays", func(t *testing.T) {
		l := open(t, newPath(t), sqlite.Config{MaxRoomBytes: 10})
		mustAdd(t, l, "r", "1", strings.Repeat("x", 100))
		mustAdd(t, l, "r", "2", strings.Repeat("x", 100))
		assert.Equal(t, [2]uint64{2, 2}, bounds(t, l, "r"))
	})
}

func TestRecordsAgeAndMarksOutliveThemByAWeek(t *testing.T) {
	path := newPath(t)
	synctest.Test(t, func(t *testing.T) {
		l, err := sqlite.Open(t.Context(), path, sqlite.Config{MaxAge: time.Hour})
		require.NoError(t, err)
		defer func() { assert.NoError(t, l.Close()) }()
		mustAdd(t, l, "r", "1", "x")
		time.Sleep(40 * time.Minute)
		mustAdd(t, l, "r", "2", "x")
		assert.Equal(t, [2]uint64{1, 2}, bounds(t, l, "r"))
		time.Sleep(22 * time.Minute)
		assert.Equal(t, [2]uint64{2, 2}, bounds(t, l, "r"))
		time.Sleep(time.Hour)
		assert.Equal(t, [2]uint64{3, 2}, bounds(t, l, "r"), "all of it is old")
		records, err := l.Read(t.Context(), "r", 3, 100)
		require.NoError(t, err)
		assert.Empty(t, records)
		time.Sleep(7*24*time.Hour - 62*time.Minute)
		assert.True(t, mustAdd(t, l, "r", "1", "x").Duplicate, "C3")
		time.Sleep(2 * time.Hour)
		assert.Equal(t, uint64(3), mustAdd(t, l, "r", "1", "x").Seq, "forgotten, and seq goes on")
		assert.Equal(t, [2]uint64{3, 3}, bounds(t, l, "r"))
	})
}

// A room in which something always is too old does not keep the others from being looked after.
func TestABusyRoomDoesNotKeepOthersFromAging(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{Durability: sqlite.OS})
	for _, room := range []string{"busy", "quiet"} {
		mustAdd(t, l, room, "1", "x")
	}
	step := sqlite.Sweep(t, path)
	steps := 0
	for ; step(); steps++ {
		mustAdd(t, l, "busy", fmt.Sprint("more", steps), "x")
		require.Less(t, steps, 10)
	}
	assert.Equal(t, [2]uint64{2, 1}, bounds(t, l, "quiet"))
	assert.Equal(t, 2, steps)
}

func TestS5RoomsAreBound(t *testing.T) {
	l := open(t, newPath(t), sqlite.Config{MaxRooms: 2})
	mustAdd(t, l, "a", "1", "x")
	mustAdd(t, l, "b", "1", "x")
	_, err := add(l, "c", "1", "x")
	assert.ErrorIs(t, err, &chat.Error{Code: rpc.ResourceExhausted})
	mustAdd(t, l, "b", "2", "x")
}

// A database that may not grow is what a full disk is: it refuses, says so, loses nothing, is still read, and takes
// again what there is place for.
func TestAFullDatabaseRefusesAndRecovers(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{MaxFileBytes: 512 << 10})
	n := uint64(0)
	var err error
	for {
		if _, err = add(l, "r", fmt.Sprint(n), strings.Repeat("x", 10_000)); err != nil {
			break
		}
		n++
	}
	require.ErrorIs(t, err, &chat.Error{Code: rpc.ResourceExhausted})
	assert.Contains(t, err.Error(), "full")
	assert.Greater(t, n, uint64(20))
	assert.Equal(t, [2]uint64{1, n}, bounds(t, l, "r"))
	records, err := l.Read(t.Context(), "r", 1, 1<<30)
	require.NoError(t, err)
	assert.Len(t, records, int(n))
	mustAdd(t, l, "r", "small", "x") // there is place for that
	require.NoError(t, l.Close())

	l = open(t, path, sqlite.Config{MaxFileBytes: 512 << 10, MaxRoomBytes: 200 << 10})
	assert.Equal(t, n+2, mustAdd(t, l, "r", "next", "x").Seq, "what is trimmed makes place")
	for i := range 30 {
		mustAdd(t, l, "r", fmt.Sprint("more", i), strings.Repeat("x", 10_000))
	}
}

// Whoever has the database for too long makes appends be refused, and they go on after that.
func TestALockedDatabaseRefusesAndRecovers(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	mustAdd(t, l, "r", "1", "x")
	unlock := sqlite.Lock(t, path)
	_, err := add(l, "r", "2", "x")
	assert.ErrorIs(t, err, &chat.Error{Code: rpc.Unavailable})
	assert.Equal(t, [2]uint64{1, 1}, bounds(t, l, "r"))
	unlock()
	assert.Equal(t, uint64(2), mustAdd(t, l, "r", "2", "x").Seq)
}

// What would be written to a file that is no longer there would be gone after a restart, so it is not acknowledged.
func TestC2ALogWhoseFileIsGoneRefusesAndRecovers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open stays")
	}
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	mustAdd(t, l, "r", "1", "x")
	gone := &chat.Error{Code: rpc.Unavailable, Reason: "the log's file is gone"}
	require.NoError(t, os.Rename(path, path+".moved"))
	_, err := add(l, "r", "2", "x")
	require.ErrorIs(t, err, gone)
	assert.NoFileExists(t, path, "it is not made again")
	require.NoError(t, os.WriteFile(path, sqlite.Database(t, `CREATE TABLE x (y)`), 0o600))
	_, err = add(l, "r", "2", "x")
	require.ErrorIs(t, err, gone, "it is another")
	require.NoError(t, os.Rename(path+".moved", path))
	assert.Equal(t, uint64(2), mustAdd(t, l, "r", "2", "x").Seq)
}

// A backup may be restored twice, and the clock be set back: what was appended after the first time is not taken for what is
// after the second.
func TestC1EachRestoreIsAnotherEpochWhateverTheClock(t *testing.T) {
	path := newPath(t)
	mustAdd(t, open(t, path, sqlite.Config{}), "r", "1", "x")
	var epochs []uint64
	for range 2 {
		restored := newPath(t)
		require.NoError(t, sqlite.Restore(t.Context(), path, restored))
		synctest.Test(t, func(t *testing.T) { // in the year 2000
			l, err := sqlite.Open(t.Context(), restored, sqlite.Config{})
			require.NoError(t, err)
			defer func() { assert.NoError(t, l.Close()) }()
			epochs = append(epochs, epoch(t, l))
		})
	}
	assert.NotEqual(t, epochs[0], epochs[1])
}

// While somebody reads for long, as a backup does, the write-ahead log grows; it shrinks again after that.
func TestS5ALongReadLeavesNoLongWriteAheadLog(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{Durability: sqlite.OS})
	mustAdd(t, l, "r", "first", "x")
	release := sqlite.Hold(t, path)
	body := strings.Repeat("x", 60_000)
	size := func(id string) int64 {
		mustAdd(t, l, "r", id, body)
		info, err := os.Stat(path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	for i := 0; size(fmt.Sprint("meanwhile", i)) < 12<<20; i++ {
		require.Less(t, i, 1000)
	}
	release()
	for i := 0; size(fmt.Sprint("after", i)) > 9<<20; i++ {
		require.Less(t, i, 1000)
	}
}

func TestWhatIsNoLogIsNotOpened(t *testing.T) {
	for name, tt := range map[string]struct {
		content []byte
		says    string
	}{
		"text":           {[]byte(strings.Repeat("no database ", 1000)), "not a database"},
		"another's":      {sqlite.Database(t, `CREATE TABLE x (y); PRAGMA application_id = 7`), "not a chat log"},
		"another's, too": {sqlite.Database(t, `CREATE TABLE x (y)`), "not a chat log"},
		"a later one":    {sqlite.Database(t, `CREATE TABLE x (y); PRAGMA application_id = 1953656427; PRAGMA user_version = 99`), "version 99"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			require.NoError(t, os.WriteFile(path, tt.content, 0o600))
			_, err := sqlite.Open(t.Context(), path, sqlite.Config{})
			require.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, path)
			assert.Error(t, sqlite.Backup(t.Context(), path, newPath(t)))
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(tt.content, b), "it is left as it is")
		})
	}
}

// A page that is damaged while the log is open: what needs it fails with a clear status, and nothing panics.
func TestADamagedDatabaseSaysSo(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	for i := range 400 {
		mustAdd(t, l, "r", fmt.Sprint(i), strings.Repeat("x", 3000))
	}
	require.NoError(t, l.Close())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	junk := []byte(strings.Repeat("\xff", int(size)-8192))
	_, err = f.WriteAt(junk, 8192)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	l, err = sqlite.Open(t.Context(), path, sqlite.Config{})
	if err == nil {
		defer func() { _ = l.Close() }()
		_, err = add(l, "r", "next", "x")
	}
	require.Error(t, err)
	assert.ErrorContains(t, sqlite.Backup(t.Context(), path, newPath(t)), "")
}

func TestAClosedLogRefuses(t *testing.T) {
	l := open(t, newPath(t), sqlite.Config{})
	require.NoError(t, l.Close())
	_, err := l.Append(t.Context(), "r", 0, []chat.Entry{{ID: "1", Body: []byte("x")}}, nil)
	assert.ErrorIs(t, err, &chat.Error{Code: rpc.Unavailable})
	_, err = l.State(t.Context(), "r")
	assert.Error(t, err)
}

// What many append at once is committed together, and each has its answer.
func TestC2ManyAppendAtOnce(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	var all sync.WaitGroup
	for r := range 20 {
		all.Go(func() {
			for i := range 20 {
				res, err := add(l, fmt.Sprint("r", r), fmt.Sprint(i), "x")
				assert.NoError(t, err)
				assert.Equal(t, uint64(i+1), res.Seq)
			}
		})
	}
	all.Wait()
	copied := open(t, copyFiles(t, path), sqlite.Config{})
	for r := range 20 {
		assert.Equal(t, [2]uint64{1, 20}, bounds(t, copied, fmt.Sprint("r", r)))
	}
}

func TestTheFileIsItsOwnersAlone(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	mustAdd(t, l, "r", "1", "x")
	copied := newPath(t)
	require.NoError(t, sqlite.Backup(t.Context(), path, copied))
	for _, p := range []string{path, path + "-wal", path + "-shm", copied} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, p)
	}
}

// Also where there are no hard links, a file gets its name whole, and none is overwritten.
func TestAFileIsNamedWithoutHardLinksToo(t *testing.T) {
	none := func(temp, to string) error {
		return &os.LinkError{Op: "link", Old: temp, New: to, Err: syscall.EPERM}
	}
	for name, link := range map[string]func(temp, to string) error{"with": os.Link, "without": none} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := func(name string) string { return filepath.Join(dir, name) }
			require.NoError(t, os.WriteFile(file("temp"), []byte("whole"), 0o600))
			require.NoError(t, sqlite.NameIt(file("temp"), file("to"), link))
			b, err := os.ReadFile(file("to"))
			require.NoError(t, err)
			assert.Equal(t, "whole", string(b))

			require.NoError(t, os.WriteFile(file("other"), []byte("another"), 0o600))
			require.ErrorIs(t, sqlite.NameIt(file("other"), file("to"), link), os.ErrExist)
			b, err = os.ReadFile(file("to"))
			require.NoError(t, err)
			assert.Equal(t, "whole", string(b), "the one that was there")

			require.Error(t, sqlite.NameIt(file("nothing"), file("third"), link))
			assert.NoFileExists(t, file("third"), "nothing is left behind")
		})
	}
}

// A backup that is made while others append has each room up to one moment, at its positions, and is another epoch.
func TestABackupWhileOthersAppendIsWhole(t *testing.T) {
	path := newPath(t)
	l := open(t, path, sqlite.Config{})
	was := epoch(t, l)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	defer writer.Wait()
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := add(l, "r", fmt.Sprint(i), fmt.Sprint("text ", i))
			assert.NoError(t, err)
		}
	})
	require.Eventually(t, func() bool { return bounds(t, l, "r")[1] > 20 }, 10*time.Second, time.Millisecond)
	backup := newPath(t)
	require.NoError(t, sqlite.Backup(t.Context(), path, backup))
	at := bounds(t, l, "r")[1]
	require.Eventually(t, func() bool { return bounds(t, l, "r")[1] > at+20 }, 10*time.Second, time.Millisecond)
	end()
	writer.Wait()
	require.ErrorIs(t, sqlite.Backup(t.Context(), path, backup), os.ErrExist)

	restored := newPath(t)
	require.NoError(t, sqlite.Restore(t.Context(), backup, restored))
	old := open(t, restored, sqlite.Config{})
	s, err := old.State(t.Context(), "r")
	require.NoError(t, err)
	assert.Greater(t, s.Head, uint64(20))
	assert.LessOrEqual(t, s.Head, at)
	records, err := old.Read(t.Context(), "r", 1, 1<<30)
	require.NoError(t, err)
	require.Len(t, records, int(s.Head))
	for i, rec := range records {
		assert.Equal(t, chat.Position{Epoch: was, Seq: uint64(i + 1)}, rec.Position)
		assert.Equal(t, fmt.Sprint("text ", i), string(rec.Body))
	}
	assert.Greater(t, s.Epoch(), was)
	_, refused := s.After(chat.Position{Epoch: was, Seq: s.Head + 1})
	assert.Equal(t, rpc.DataLoss, refused.Code, "who saw more is told so")
	next, refused := s.After(chat.Position{Epoch: was, Seq: s.Head})
	assert.Nil(t, refused)
	assert.Equal(t, s.Head+1, next)
	res := mustAdd(t, old, "r", "new", "x")
	assert.Equal(t, chat.Position{Epoch: s.Epoch(), Seq: s.Head + 1}, res.Position)
}

// A database of an earlier version is brought forward as it is opened, and keeps what it has.
func TestAnEarlierVersionIsBroughtForward(t *testing.T) {
	path := newPath(t)
	first, err := os.ReadFile("schema/1.sql")
	require.NoError(t, err)
	old := sqlite.Database(t, string(first)+`; PRAGMA application_id = 1953656427; PRAGMA user_version = 1;
		INSERT INTO epochs VALUES (5);
		INSERT INTO rooms VALUES (1, 'r', 2, 2, 1, 1);
		INSERT INTO room_epochs VALUES (1, 5, 1);
		INSERT INTO records VALUES (1 << 40 | 1, 1, 5, 10, 'a', x'00000000000000000000000000000000', x'31', 0, NULL);
		INSERT INTO records VALUES (1 << 40 | 2, 1, 5, 10, 'a', x'00000000000000000000000000000000', x'32', 3274422879871479876, x'78')`)
	require.NoError(t, os.WriteFile(path, old, 0o600))
	for range 2 {
		l := open(t, path, sqlite.Config{})
		s, err := l.State(t.Context(), "r")
		require.NoError(t, err)
		assert.Equal(t, chat.State{Head: 2, First: 2, Epochs: []chat.Epoch{{Number: 5, First: 1}}}, s)
		records, err := l.Read(t.Context(), "r", 2, 100)
		require.NoError(t, err)
		assert.Equal(t, []string{"x"}, []string{string(records[0].Body)})
		again, err := l.Append(t.Context(), "r", 2, []chat.Entry{{From: "a", ID: "2", Body: []byte("x")}}, nil)
		require.NoError(t, err)
		assert.True(t, again[0].Duplicate, "%+v", again[0])
		require.NoError(t, l.Close())
	}
}

// A room's snapshot is there after a restart, and in a backup.
func TestSnapshotsOutliveTheProcess(t *testing.T) {
	path, copied := newPath(t), newPath(t)
	l := open(t, path, sqlite.Config{})
	_, err := l.Append(t.Context(), "r", 0, []chat.Entry{{From: "a", ID: "1", Body: []byte("x")}}, []byte("as it is"))
	require.NoError(t, err)
	require.NoError(t, sqlite.Backup(t.Context(), path, copied))
	require.NoError(t, l.Close())
	for _, path := range []string{path, copied} {
		s, err := open(t, path, sqlite.Config{}).State(t.Context(), "r")
		require.NoError(t, err)
		assert.Equal(t, "as it is", string(s.Snapshot))
	}
}
