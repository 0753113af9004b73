package transport_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A logbook collects what is logged at any level.
type logbook struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines returns what was logged with this message.
func (l *logbook) lines(t *testing.T, msg string) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if !strings.HasPrefix(text, "{") {
			continue
		}
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		if line["msg"] == msg {
			lines = append(lines, line)
		}
	}
	return lines
}

var _ io.Writer = (*logbook)(nil)

// M13: whatever becomes of a session, neither side logs its key, in any of the forms in which one prints
// bytes. And every line about a session says which, and whose.
func TestM13TheResumeKeyIsNotLogged(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var book logbook
		srv := n.Listen(transport.Config{Logger: book.logger(), Handlers: on(func(_ context.Context, s *transport.Stream) {
			panic(fmt.Sprint("of stream ", s.ID()))
		})})
		client := n.Dial(srv, "alice", transport.Config{Logger: book.logger(), NewPacketConn: n.NewConn})
		_, _ = say(t.Context(), client, "x")
		str, err := client.OpenStream(t.Context(), 0x7)
		require.NoError(t, err)
		_, _ = str.Write([]byte("x"))
		time.Sleep(rtt)
		// Lost, and resumed by itself.
		n.Cut()
		time.Sleep(20 * time.Second)
		n.Drop(nil)
		time.Sleep(20 * time.Second)
		require.Equal(t, transport.StateLive, client.State())
		// A thief, an old attempt, and another's connection.
		key := transport.ResumeKey(client)
		wrong := key
		wrong[0]++
		for _, attempt := range []struct {
			key    [16]byte
			number uint64
			name   string
		}{{wrong, 99, "alice"}, {key, 1, "alice"}, {key, 99, "mallory"}} {
			_, err := transport.ResumeWithKey(t.Context(), client, attempt.key, srv.Addr().String(), attempt.number,
				&transport.Config{Credentials: n.User(attempt.name), PacketConn: n.Conn(), Logger: book.logger()})
			require.Error(t, err)
		}
		for _, s := range append(srv.Sessions(), client) { // by mistake
			book.logger().Info("printed", "session", s)
			slog.New(slog.NewTextHandler(&book, nil)).Info("printed", "session", s)
			book.logger().Info("printed", "session", fmt.Sprintf("%s %v %+v %#v %q", s, s, s, s, s))
		}
		require.NoError(t, srv.Shutdown(t.Context()))
		client.Abort(transport.Aborted, "over")
		synctest.Wait()

		text := book.String()
		for _, key := range [][16]byte{key, wrong} {
			for _, form := range []string{
				string(key[:]), hex.EncodeToString(key[:]), strings.ToUpper(hex.EncodeToString(key[:])),
				base64.StdEncoding.EncodeToString(key[:]), base64.RawURLEncoding.EncodeToString(key[:]),
				fmt.Sprint(key), fmt.Sprintf("%q", key[:]), strings.ReplaceAll(strings.Trim(fmt.Sprint(key), "[]"), " ", ","),
			} {
				require.NotContains(t, text, form)
			}
		}
		for msg, count := range map[string]int{
			"session live": 2, "session detached": 2, "session resumed": 1, "session refused": 3, "session ended": 2,
			"stream handler panicked": 1, "stream of unknown type": 1, "server drains": 1,
		} {
			lines := book.lines(t, msg)
			assert.GreaterOrEqual(t, len(lines), count, msg)
			for _, line := range lines {
				assert.Contains(t, line, "identity", line)
				if msg != "session refused" { // it was not theirs
					assert.Equal(t, client.ID().String(), line["session"], line)
					assert.Equal(t, client.Identity().String(), line["identity"], line)
				}
			}
		}
	})
}
