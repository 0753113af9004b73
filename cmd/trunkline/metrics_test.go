package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A stage is a server with all that serve gives it, on a network in memory.
type stage struct {
	net    *transporttest.Network
	srv    *transport.Server
	rooms  *chat.Server
	seen   *metrics
	report *reporter
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{net: transporttest.New(t, 20*time.Millisecond), seen: newMetrics()}
	domain := s.net.Authority().Domain()
	s.rooms = chat.NewServer(chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{}), Domain: domain, ObserveCommit: s.seen.observeCommit})
	t.Cleanup(s.rooms.Close)
	own := builtins(rpc.Config{Observe: s.seen.observeCall}, newGate(domain, defaultPolicy("alice")))
	s.srv = s.net.Listen(transport.Config{
		Authorize: func(_ context.Context, p transport.Peer) error {
			if p.ID.Name == "mallory" {
				return &transport.Error{Code: transport.Banned}
			}
			return nil
		},
		Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: own.mux.ServeStream, transport.StreamChat: s.rooms.ServeStream},
	})
	s.report = &reporter{srv: s.srv, rooms: s.rooms, domain: domain, started: time.Now()}
	handle(own, forAdministrators, adminStatus, s.report.status)
	own.serveRooms(s.rooms)
	s.seen.collect(s.srv.Stats, s.rooms.Stats)
	return s
}

// next reads events until done says so.
func next(t *testing.T, c *chat.Client, done func(chat.Event) bool) {
	t.Helper()
	for {
		e, err := c.Next(t.Context())
		require.NoError(t, err)
		if done(e) {
			return
		}
	}
}

// play does a little of everything.
func (s *stage) play(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	alice, bob := s.net.Dial(s.srv, "alice", transport.Config{}), s.net.Dial(s.srv, "bob", transport.Config{})
	for range 3 {
		_, err := echoSay.Call(ctx, alice, &echoMessage{Text: "hi"})
		require.NoError(t, err)
	}
	_, err := adminStatus.Call(ctx, bob, &statusRequest{})
	require.Equal(t, rpc.PermissionDenied, rpc.CodeOf(err), "%v", err)
	for i := range 5 { // a peer must not choose labels
		_, err := rpc.Unary[echoMessage, echoMessage](fmt.Sprintf("made.Up/Name%d", i)).Call(ctx, alice, &echoMessage{})
		require.Equal(t, rpc.Unimplemented, rpc.CodeOf(err))
	}
	_, err = s.net.TryDial(ctx, s.srv, "mallory", transport.Config{})
	require.Error(t, err)

	speaker, err := chat.NewClient(ctx, alice, chat.ClientConfig{})
	require.NoError(t, err)
	reader, err := chat.NewClient(ctx, bob, chat.ClientConfig{})
	require.NoError(t, err)
	for _, c := range []*chat.Client{speaker, reader} {
		require.NoError(t, c.Join(ctx, "lobby", chat.Live()))
		next(t, c, func(e chat.Event) bool { _, ok := e.(*chat.Joined); return ok })
	}
	for range 4 {
		_, err = speaker.Publish(ctx, "lobby", "hello")
		require.NoError(t, err)
		next(t, speaker, func(e chat.Event) bool { _, ok := e.(*chat.Sent); return ok })
	}
	_, err = chat.RequestFloor.Call(ctx, alice, &chat.FloorRequest{Room: "lobby"})
	require.NoError(t, err)
	require.NoError(t, reader.Leave(ctx, "attic"))
	next(t, reader, func(e chat.Event) bool { _, ok := e.(*chat.Rejected); return ok })
	bob.Abort(transport.Aborted, "") // and is held
	time.Sleep(time.Second)
	synctest.Wait()
}

// values returns what a scrape would have, by name and labels, and the names with their types and labels.
func (m *metrics) values(t *testing.T) (values map[string]float64, names []string) {
	t.Helper()
	families, err := m.registry.Gather()
	require.NoError(t, err)
	values = make(map[string]float64)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "trunkline_") {
			continue
		}
		var labels []string
		for _, one := range f.GetMetric() {
			var pairs []string
			labels = nil
			for _, l := range one.GetLabel() {
				pairs = append(pairs, l.GetName()+"="+l.GetValue())
				labels = append(labels, l.GetName())
			}
			v := one.GetCounter().GetValue() + one.GetGauge().GetValue()
			if h := one.GetHistogram(); h != nil {
				v = float64(h.GetSampleCount())
			}
			values[strings.TrimSuffix(f.GetName()+" "+strings.Join(pairs, ","), " ")] = v
		}
		names = append(names, strings.TrimSuffix(fmt.Sprintf("%s %s %s", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ",")), " "))
	}
	return values, names
}

// The names and the labels are what dashboards are built on: testdata/metrics.txt has all.
func TestMetricsHaveTheirNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.play(t)
		time.Sleep(31 * time.Second) // until the session that was lost has ended
		synctest.Wait()
		_, names := s.seen.values(t)
		golden := filepath.Join("testdata", "metrics.txt")
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, strings.Split(strings.TrimSpace(string(want)), "\n"), names)
	})
}

// After known traffic every count is what it must be.
func TestMetricsCountWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.play(t)
		got, _ := s.seen.values(t)
		for name, want := range map[string]float64{
			"trunkline_sessions state=live":                                                   1,
			"trunkline_sessions state=detached":                                               1,
			"trunkline_sessions_established_total":                                            2,
			"trunkline_session_resumes_total kept=true":                                       0,
			"trunkline_connection_endings_total by=peer,code=Aborted":                         1,
			"trunkline_connection_refusals_total by=server,code=Banned":                       1,
			"trunkline_calls_total code=OK,method=trunkline.Echo/Say":                         3,
			"trunkline_calls_total code=PermissionDenied,method=trunkline.Admin/Status":       1,
			"trunkline_calls_total code=Unimplemented,method=other":                           5,
			"trunkline_call_duration_seconds method=trunkline.Echo/Say":                       3,
			"trunkline_call_duration_seconds method=other":                                    5,
			"trunkline_call_message_bytes_total direction=received,method=trunkline.Echo/Say": 3 * float64(len(`{"text":"hi"}`)),
			"trunkline_chat_rooms":                                                            1,
			"trunkline_chat_members":                                                          2,
			"trunkline_chat_held_members":                                                     1,
			"trunkline_chat_vanished_total":                                                   1,
			"trunkline_chat_streams":                                                          1,
			"trunkline_chat_lagging_readers":                                                  0,
			"trunkline_chat_stalled_readers":                                                  0,
			"trunkline_chat_catch_ups_total":                                                  0,
			"trunkline_chat_lines_total":                                                      4,
			"trunkline_chat_deliveries_total":                                                 10, // of the floor, too
			"trunkline_chat_commit_lines":                                                     4,
			"trunkline_chat_floor_changes_total state=granted,why=asked":                      1,
			"trunkline_chat_floors_held":                                                      1,
			"trunkline_chat_floor_waiting_requests":                                           0,
			"trunkline_chat_half_duplex_rooms":                                                0,
			"trunkline_chat_commit_failures_total":                                            0,
			"trunkline_chat_rejections_total code=FailedPrecondition,request=leave":           1,
			"trunkline_chat_drops_total reason=trimmed":                                       0,
			"trunkline_chat_drops_total reason=evicted":                                       0,
		} {
			assert.Contains(t, got, name)
			assert.InDelta(t, want, got[name], 0, name)
		}
		for name := range got {
			assert.NotContains(t, name, "made.Up")
		}
		time.Sleep(31 * time.Second) // bob is not held any more
		synctest.Wait()
		got, _ = s.seen.values(t)
		assert.Zero(t, got["trunkline_sessions state=detached"])
		assert.Zero(t, got["trunkline_chat_held_members"])
		assert.InDelta(t, 1, got["trunkline_session_endings_total by=peer,code=Aborted"], 0)
	})
}

// Totals are of everything, whatever the limit; rows are the newest.
func TestStatusIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		for i := range 5 {
			s.net.Dial(s.srv, fmt.Sprintf("user%d", i), transport.Config{Name: "test/1"})
			time.Sleep(time.Second)
		}
		st, err := s.report.status(t.Context(), &statusRequest{Limit: 2})
		require.NoError(t, err)
		require.Equal(t, 5, st.Totals.Live)
		require.Len(t, st.Sessions, 2)
		require.Equal(t, "user4", st.Sessions[0].Name)
		require.Equal(t, "user3", st.Sessions[1].Name)
		require.Equal(t, "test/1", st.Sessions[0].Software)
		var out strings.Builder
		require.NoError(t, printStatus(&out, st))
		require.Contains(t, out.String(), "\nand 3 more\n")
		for _, limit := range []int{-1, maxStatusRows + 1} {
			_, err = s.report.status(t.Context(), &statusRequest{Limit: limit})
			require.Equal(t, rpc.InvalidArgument, rpc.CodeOf(err))
		}
	})
}

// What a client calls itself does not reach the terminal as it is.
func TestStatusPrintsNothingThatATerminalObeys(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printStatus(&out, &statusResponse{
		Sessions: []statusSession{{Software: "evil\x1b[2J\tx\ny", Identity: "a\rb"}},
		Rooms:    []statusRoom{{Name: "\u202eroom", Holder: "ev\x1bil"}},
	}))
	require.False(t, strings.ContainsAny(out.String(), "\x1b\r\t\u202e"), "%q", out.String())
	require.Equal(t, 4+3+3, strings.Count(out.String(), "\n"), out.String())
}

// Without a host the metrics are on loopback, and a slow client is not waited for.
func TestMetricsListenOnLoopback(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s, err := serveMetrics(":0", newMetrics(), log)
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", host)
	for _, timeout := range []time.Duration{s.http.ReadHeaderTimeout, s.http.ReadTimeout, s.http.WriteTimeout, s.http.IdleTimeout} {
		require.Positive(t, timeout)
	}
	_, err = serveMetrics("127.0.0.1:"+port, newMetrics(), log)
	require.Error(t, err)
	require.Equal(t, exitError, exitCode(err))
	_, err = serveMetrics("nonsense", newMetrics(), log)
	require.Equal(t, exitUsage, exitCode(err))

	client := &http.Client{}
	defer client.CloseIdleConnections()
	get := func(path string) (int, string) {
		res, err := client.Get("http://127.0.0.1:" + port + path)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	code, text := get("/metrics")
	require.Equal(t, http.StatusOK, code)
	for _, name := range []string{"go_goroutines ", "process_open_fds ", "trunkline_build_info{"} {
		require.True(t, slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool { return strings.HasPrefix(l, name) }), name)
	}
	code, _ = get("/")
	require.Equal(t, http.StatusNotFound, code)
	s.close()
	_, err = net.Dial("tcp", "127.0.0.1:"+port)
	require.Error(t, err)
}
