package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
	"github.com/trunkline-go/trunkline/transport"
)

const crashRoom = "lobby"

// runServer starts a server on a home, and returns when it listens.
func runServer(t *testing.T, home, addr string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "trunkline", "serve", "--home", home, "--listen", addr)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "listening on ")
	return cmd
}

// A survivor is a client that talks over all crashes, and notes what it is told.
type survivor struct {
	name   string
	client *chat.Client

	mu    sync.Mutex               // guards what follows
	acked map[string]chat.Position // by id, which may come before Publish has returned it
	shown []chat.Position          // others' lines, in the order in which Next returned them
	gaps  int
}

// newSurvivor joins the room with a session of its own.
func newSurvivor(t *testing.T, home *certs.Home, name, addr string) *survivor {
	t.Helper()
	cred, err := home.UserCredentials(name)
	require.NoError(t, err)
	s, err := transport.Dial(t.Context(), addr, &transport.Config{Credentials: cred})
	require.NoError(t, err)
	t.Cleanup(func() { s.Abort(transport.Aborted, "test is over") })
	u := &survivor{name: name, acked: make(map[string]chat.Position)}
	u.client, err = chat.NewClient(t.Context(), s, chat.ClientConfig{MaxUnacknowledged: 20})
	require.NoError(t, err)
	require.NoError(t, u.client.Join(t.Context(), crashRoom, chat.After(chat.Position{})))
	return u
}

// listen notes events until the session ends.
func (u *survivor) listen(ctx context.Context) {
	for {
		e, err := u.client.Next(ctx)
		if err != nil {
			return
		}
		u.mu.Lock()
		switch e := e.(type) {
		case *chat.Message:
			u.shown = append(u.shown, e.Position)
		case *chat.Sent:
			u.acked[e.ID] = e.Position
		case *chat.Gap:
			u.gaps++
		}
		u.mu.Unlock()
	}
}

// talk publishes until ctx ends, and returns how much.
func (u *survivor) talk(ctx context.Context, texts *sync.Map) (n int) {
	for ; ctx.Err() == nil; n++ {
		text := fmt.Sprintf("%s says %d", u.name, n)
		id, err := u.client.Publish(ctx, crashRoom, text)
		if err != nil {
			return n
		}
		texts.Store(id, text)
		time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
	}
	return n
}

// A server that is killed at any moment, again and again, has lost nothing that it acknowledged, has nothing twice, and
// its clients are shown every line once and in order. Counted in the manner of Jepsen.
func TestC2C3C4AServerKilledAgainAndAgainLosesNothing(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	dir := filepath.Join(t.TempDir(), "home")
	addr, err := freeAddr()
	require.NoError(t, err)
	server := runServer(t, dir, addr)
	home, err := certs.OpenHome(dir, certs.Env{})
	require.NoError(t, err)
	var users []*survivor
	for _, name := range []string{"ann", "bob", "cem"} {
		users = append(users, newSurvivor(t, home, name, addr))
	}
	ctx, stop := context.WithCancel(t.Context())
	var listeners, talkers sync.WaitGroup
	texts := make([]sync.Map, len(users))
	said := make([]int, len(users))
	for i, u := range users {
		listeners.Go(func() { u.listen(t.Context()) })
		talkers.Go(func() { said[i] = u.talk(ctx, &texts[i]) })
	}
	for range rounds {
		time.Sleep(time.Duration(20+rand.IntN(250)) * time.Millisecond)
		require.NoError(t, server.Process.Kill())
		_ = server.Wait() // killed
		server = runServer(t, dir, addr)
	}
	stop()
	talkers.Wait()
	for i, u := range users {
		require.Eventually(t, func() bool {
			u.mu.Lock()
			defer u.mu.Unlock()
			return len(u.acked) >= said[i] && u.client.Unacknowledged() == 0
		}, time.Minute, 10*time.Millisecond, "%s", u.name)
	}
	require.NoError(t, server.Process.Kill())
	_ = server.Wait() // killed

	records := readAll(t, filepath.Join(dir, roomsFile))
	total := 0
	for i, u := range users {
		total += said[i]
		u.check(t, said[i], &texts[i], records)
	}
	t.Logf("%d rounds, %d lines said, %d in the log", rounds, total, len(records))
	assert.Greater(t, total, rounds, "it was at work")
}

// readAll returns the log of the room, which is contiguous.
func readAll(t *testing.T, file string) []chat.Record {
	t.Helper()
	l, err := sqlite.Open(t.Context(), file, sqlite.Config{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, l.Close()) }()
	var all []chat.Record
	for {
		records, err := l.Read(t.Context(), crashRoom, uint64(len(all)+1), 1<<20)
		require.NoError(t, err)
		if len(records) == 0 {
			return all
		}
		for _, rec := range records {
			require.Equal(t, uint64(len(all)+1), rec.Seq, "C1")
			all = append(all, rec)
		}
	}
}

// check counts what the log has of u's lines, and looks at what u was shown.
func (u *survivor) check(t *testing.T, said int, texts *sync.Map, records []chat.Record) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	where := make(map[string]chat.Position)
	duplicates := 0
	next := 0
	for _, rec := range records {
		text := string(rec.Body)
		if !strings.HasPrefix(text, u.name+" ") {
			continue
		}
		if _, twice := where[text]; twice {
			duplicates++
			continue
		}
		where[text] = rec.Position
		assert.Equal(t, fmt.Sprintf("%s says %d", u.name, next), text, "a sender's lines stay in order")
		next++
	}
	missing := 0
	for id, pos := range u.acked {
		text, _ := texts.Load(id)
		if at, ok := where[fmt.Sprint(text)]; !ok {
			missing++
		} else {
			assert.Equal(t, pos, at, "%s is where it was acknowledged", text)
		}
	}
	assert.Zero(t, missing, "C2: acknowledged lines of %s that are not in the log", u.name)
	assert.Zero(t, duplicates, "C3: lines of %s that are in the log twice", u.name)
	assert.Len(t, u.acked, said, "every line of %s was acknowledged", u.name)
	assert.Len(t, where, said)
	assert.Zero(t, u.gaps, "C4: with fsync there is no gap")
	seen := make(map[uint64]bool)
	for _, pos := range u.acked {
		seen[pos.Seq] = true
	}
	last := uint64(0)
	for _, pos := range u.shown {
		assert.Greater(t, pos.Seq, last, "C4: what %s is shown rises", u.name)
		assert.False(t, seen[pos.Seq], "C4: %s is shown %d twice", u.name, pos.Seq)
		last, seen[pos.Seq] = pos.Seq, true
	}
	for seq := uint64(1); seq <= last; seq++ {
		assert.True(t, seen[seq], "C4: %s was not shown %d", u.name, seq)
	}
	assert.Greater(t, int(last), len(records)/2, "it was shown what others said")
}
