package transport_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// Both sides write a trace of each connection, under its id and their side, for their owner alone.
func TestQlog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "qlog")
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{QlogDir: dir, Handlers: on(echo)})
		client := n.Dial(srv, "alice", transport.Config{QlogDir: dir})
		requireEcho(t, client)
		require.NoError(t, client.Release(t.Context()))
		time.Sleep(time.Second)
		synctest.Wait()
		both, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		require.Len(t, both, 2)
		require.Regexp(t, `/[0-9a-f]{16,40}_client\.sqlog$`, filepath.ToSlash(both[0]))
		require.Equal(t, both[0], both[1][:len(both[1])-len("server.sqlog")]+"client.sqlog")
		for _, path := range both {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			names := make(map[string]int)
			for _, record := range bytes.Split(data, []byte{0x1e})[1:] {
				var event struct {
					Name string
					Data struct{ Session, Identity string }
				}
				require.NoError(t, json.Unmarshal(record, &event), "%s", record)
				names[event.Name]++
				if event.Name == "trunkline:session" {
					require.Equal(t, client.ID().String(), event.Data.Session)
					require.Equal(t, client.Identity().String(), event.Data.Identity)
				}
			}
			require.Positive(t, names["transport:packet_sent"], names)
			require.Positive(t, names["transport:packet_received"], names)
			require.Equal(t, 1, names["trunkline:session"], names)
			require.Positive(t, names["transport:connection_closed"], "the last is there: %v", names)
			key := transport.ResumeKey(client)
			require.NotContains(t, string(data), string(key[:]))
			if runtime.GOOS != "windows" {
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
			}
		}
		if runtime.GOOS != "windows" {
			info, err := os.Stat(dir)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
		}
	})
}

// Where no trace can be written the session is as it would be without, and the log says so once.
func TestQlogThatCannotBeWrittenHarmsNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var book logbook
		srv := n.Listen(transport.Config{QlogDir: filepath.Join(file, "no"), Logger: book.logger(), Handlers: on(echo)})
		for range 3 {
			client := n.Dial(srv, "alice", transport.Config{QlogDir: filepath.Join(file, "no")})
			requireEcho(t, client)
			require.NoError(t, client.Release(t.Context()))
		}
		require.Len(t, book.lines(t, "qlog cannot be written"), 1)
	})
}

// The secrets of the connections' TLS go where somebody asked for them, and nowhere else.
func TestKeyLog(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		t.Setenv("SSLKEYLOGFILE", filepath.Join(t.TempDir(), "keys")) // is not asking
		var server, client bytes.Buffer
		srv := n.Listen(transport.Config{KeyLog: &server, Handlers: on(echo)})
		quiet := n.Dial(srv, "bob", transport.Config{})
		require.NoError(t, quiet.Release(t.Context()))
		s := n.Dial(srv, "alice", transport.Config{KeyLog: &client})
		requireEcho(t, s)
		require.NoError(t, s.Release(t.Context()))
		require.NoFileExists(t, os.Getenv("SSLKEYLOGFILE"))
		require.Regexp(t, `(?m)^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]+$`, client.String())
		require.Equal(t, 2*bytes.Count(client.Bytes(), []byte("\n")), bytes.Count(server.Bytes(), []byte("\n")))
		for line := range bytes.SplitSeq(bytes.TrimSpace(client.Bytes()), []byte("\n")) {
			require.Contains(t, server.String(), string(line))
		}
	})
}
