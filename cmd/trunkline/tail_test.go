package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// serveRooms starts a server of a log on a network in memory.
func serveRooms(t *testing.T, network *transporttest.Network, log chat.Log, cfg transport.Config) *transport.Server {
	t.Helper()
	rooms := chat.NewServer(chat.Config{Log: log, Domain: network.Authority().Domain()})
	t.Cleanup(rooms.Close)
	cfg.Handlers = map[transport.StreamType]transport.Handler{transport.StreamChat: rooms.ServeStream}
	return network.Listen(cfg)
}

// lines returns a log of a room "r" with so many lines of a kilobyte.
func lines(t *testing.T, epoch uint64, n int) chat.Log {
	t.Helper()
	log := chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: epoch})
	for i := range n {
		_, err := log.Append(t.Context(), "r", uint64(i), []chat.Entry{{From: "x", ID: fmt.Sprint(i), Body: []byte(strings.Repeat("x", 1000))}}, nil)
		require.NoError(t, err)
	}
	return log
}

// A slowReader reads one line, and then nothing until it is told to go on.
type slowReader struct {
	got  strings.Builder
	one  chan struct{}
	goOn chan struct{}
}

func (r *slowReader) Write(p []byte) (int, error) {
	if r.got.Len() == 0 {
		close(r.one)
		<-r.goOn
	}
	return r.got.Write(p)
}

// C4: tail ends with the log's newest record, also if that is no line.
func TestC4TailEndsWithWhateverIsTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := transporttest.New(t, 20*time.Millisecond)
		log := lines(t, 1, 2)
		_, err := log.Append(t.Context(), "r", 2, []chat.Entry{{From: "x", ID: "topic", Kind: chat.KindSettings, Body: []byte(`{"what":"topic","topic":"tea"}`)}}, nil)
		require.NoError(t, err)
		server := serveRooms(t, network, log, transport.Config{})
		client, err := chat.NewClient(t.Context(), network.Dial(server, "alice", transport.Config{}), chat.ClientConfig{})
		require.NoError(t, err)
		out, cursor := &strings.Builder{}, filepath.Join(t.TempDir(), "r.cursor")
		tail := &tailing{room: "r", from: chat.Last(2), cursor: cursor, out: &printer{stderr: io.Discard, out: out}, patience: newPatience(t.Context(), time.Minute)}
		defer tail.patience.stop()
		require.NoError(t, tail.run(client))
		assert.Contains(t, out.String(), "* r: x has set the topic: tea\n")
		pos, known, err := readCursor(cursor)
		require.NoError(t, err)
		assert.True(t, known)
		assert.Equal(t, chat.Position{Epoch: 1, Seq: 3}, pos, "and next time it begins behind that")
	})
}

// Who reads up to a head, and is cut off while the log is exchanged for one that has less, reads what that has, and ends
// (C4): the head that it was told does not come any more.
func TestC4TailEndsThoughTheLogHasBecomeShorter(t *testing.T) {
	for _, left := range []int{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			network := transporttest.New(t, 20*time.Millisecond)
			server := serveRooms(t, network, lines(t, 1, 500), transport.Config{})
			session := network.Dial(server, "alice", transport.Config{NewPacketConn: network.NewConn})
			client, err := chat.NewClient(t.Context(), session, chat.ClientConfig{})
			require.NoError(t, err)
			out := &slowReader{one: make(chan struct{}), goOn: make(chan struct{})}
			tail := &tailing{room: "r", from: chat.Last(1000), out: &printer{asJSON: true, stderr: io.Discard, out: out},
				patience: newPatience(t.Context(), time.Minute)}
			defer tail.patience.stop()
			done := make(chan error, 1)
			go func() { done <- tail.run(client) }()
			<-out.one
			addr := network.Kill(server)
			serveRooms(t, network, lines(t, 2, left), transport.Config{PacketConn: network.ConnAt(addr)})
			time.Sleep(time.Minute)
			close(out.goOn)
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(time.Hour):
				require.FailNow(t, "it waits for lines that do not come")
			}
			_, after, found := strings.Cut(out.got.String(), `{"type":"gap","room":"r",`)
			require.True(t, found)
			assert.Equal(t, left, strings.Count(after, `"type":"message"`))
		})
	}
}
