package interceptor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/interceptor"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

var (
	echo  = rpc.Unary[rpc.Raw, rpc.Raw]("test.Echo/Echo")
	other = rpc.Unary[rpc.Raw, rpc.Raw]("test.Echo/Other")
	twice = rpc.Bidi[rpc.Raw, rpc.Raw]("test.Echo/Twice")
)

const rtt = 20 * time.Millisecond

// newMux echoes, and fails with what it is told to.
func newMux(interceptors ...rpc.Interceptor) *rpc.Mux {
	mux := rpc.NewMux(rpc.Config{Interceptors: interceptors})
	answer := func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
		if code, ok := strings.CutPrefix(string(*req), "fail "); ok {
			var c rpc.Code
			if err := c.UnmarshalText([]byte(code)); err != nil {
				return nil, err
			}
			return nil, rpc.Errorf(c, "told to")
		}
		return req, nil
	}
	rpc.Handle(mux, echo, answer)
	rpc.Handle(mux, other, answer)
	rpc.Handle(mux, twice, func(_ context.Context, s *rpc.Stream[rpc.Raw, rpc.Raw]) error {
		for m, err := range s.All() {
			for range 2 {
				if err == nil {
					err = s.Send(m)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return mux
}

func listen(t *testing.T, mux *rpc.Mux) (*transporttest.Network, *transport.Server) {
	t.Helper()
	n := transporttest.New(t, rtt)
	srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
	return n, srv
}

// lines collects lines of log.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns the lines since the last take.
func (l *lines) take(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]any
	for d := json.NewDecoder(&l.text); d.More(); {
		var line map[string]any
		require.NoError(t, d.Decode(&line))
		all = append(all, line)
	}
	l.text.Reset()
	return all
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// A call makes one line on either side, with what it was and how it ended, and nothing of what was in it.
func TestLoggingSaysHowACallWentAndNotWhatWasInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served, made lines
		n, srv := listen(t, newMux(interceptor.Logging(interceptor.LoggingConfig{Logger: served.logger()})))
		conn := rpc.NewClient(n.Dial(srv, "alice", transport.Config{}), rpc.ClientConfig{
			Interceptors: []rpc.Interceptor{interceptor.Logging(interceptor.LoggingConfig{Logger: made.logger()})},
			Options:      []rpc.CallOption{rpc.WithMetadata(rpc.Metadata{{Key: "token", Value: "secret"}})},
		})
		s, err := twice.Call(t.Context(), conn)
		require.NoError(t, err)
		for range 3 {
			require.NoError(t, s.Send(&rpc.Raw{'s', 'e', 'c', 'r', 'e', 't'}))
		}
		time.Sleep(time.Second)
		require.NoError(t, s.CloseSend())
		for _, err := range s.All() {
			require.NoError(t, err)
		}
		for _, side := range []struct {
			lines          *lines
			msg            string
			sent, received float64
		}{{&served, "call served", 6, 3}, {&made, "call made", 3, 6}} {
			all := side.lines.take(t)
			require.Len(t, all, 1)
			line := all[0]
			require.GreaterOrEqual(t, line["took"], float64(time.Second-rtt))
			require.NotContains(t, fmt.Sprint(line), "secret")
			delete(line, "took")
			delete(line, "time")
			peer, _ := line["peer"].(string)
			require.Equal(t, side.msg == "call served", strings.HasSuffix(peer, "/user/alice"), peer)
			delete(line, "peer")
			require.Equal(t, map[string]any{
				"level": "INFO", "msg": side.msg, "method": twice.Name(), "kind": "bidi", "code": "OK",
				"sent": side.sent, "sent_bytes": 6 * side.sent, "received": side.received, "received_bytes": 6 * side.received,
			}, line)
		}
	})
}

// The level of a line is its code's, or what the configuration says; a call that panics has one, too.
func TestLoggingKnowsWhatMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		levels := map[string][]rpc.Code{
			"INFO": {
				rpc.Canceled, rpc.InvalidArgument, rpc.NotFound, rpc.AlreadyExists, rpc.FailedPrecondition, rpc.Aborted,
				rpc.OutOfRange, rpc.Unauthenticated,
			},
			"WARN":  {rpc.DeadlineExceeded, rpc.PermissionDenied, rpc.ResourceExhausted, rpc.Unimplemented, rpc.Unavailable},
			"ERROR": {rpc.Unknown, rpc.Internal, rpc.DataLoss},
		}
		var out lines
		own := interceptor.Logging(interceptor.LoggingConfig{
			Logger: out.logger(),
			Level: func(c *rpc.Call, code rpc.Code) slog.Level {
				if c.Method == other.Name() && code == rpc.OK {
					return slog.LevelDebug
				}
				return slog.LevelError
			},
		})
		bad := func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
			switch v, _ := c.Metadata.Get("bad"); v {
			case "panic":
				panic("secret")
			case "exit":
				runtime.Goexit()
			}
			return next(ctx)
		}
		n, srv := listen(t, newMux(interceptor.Logging(interceptor.LoggingConfig{Logger: out.logger()}), bad))
		session := n.Dial(srv, "alice", transport.Config{})
		codes := 0
		for level, all := range levels {
			for _, code := range all {
				codes++
				req := rpc.Raw("fail " + code.String())
				_, err := echo.Call(t.Context(), session, &req)
				require.Equal(t, code, rpc.CodeOf(err))
				lines := out.take(t)
				require.Len(t, lines, 1)
				require.Equal(t, level, lines[0]["level"], code)
				require.Equal(t, code.String(), lines[0]["code"])
				require.Equal(t, code.String()+": told to", lines[0]["err"])
			}
		}
		require.Equal(t, int(rpc.Unauthenticated), codes, "a code is missing")
		for _, how := range []string{"panic", "exit"} {
			_, err := echo.Call(t.Context(), session, &rpc.Raw{}, rpc.WithMetadata(rpc.Metadata{{Key: "bad", Value: how}}))
			require.Equal(t, rpc.Internal, rpc.CodeOf(err))
			lines := out.take(t)
			require.Len(t, lines, 1)
			require.Equal(t, "ERROR", lines[0]["level"])
		}

		n, srv = listen(t, newMux(own))
		_, err := other.Call(t.Context(), n.Dial(srv, "alice", transport.Config{}), &rpc.Raw{})
		require.NoError(t, err)
		require.Equal(t, "DEBUG", out.take(t)[0]["level"])

		n, srv = listen(t, newMux(interceptor.Logging(interceptor.LoggingConfig{})))
		_, err = other.Call(t.Context(), n.Dial(srv, "alice", transport.Config{}), &rpc.Raw{})
		require.NoError(t, err)
	})
}

// Each identity has its own limit in each method; what is over it has not started, and time brings more.
func TestRateLimitIsOfEachIdentityInEachMethod(t *testing.T) { // R4
	synctest.Test(t, func(t *testing.T) {
		n, srv := listen(t, newMux(interceptor.RateLimit(interceptor.RateLimitConfig{PerSecond: 2, Burst: 3})))
		alice, bob := n.Dial(srv, "alice", transport.Config{}), n.Dial(srv, "bob", transport.Config{})
		allowed := func(m rpc.UnaryMethod[rpc.Raw, rpc.Raw], s *transport.Session) int {
			t.Helper()
			for i := range 10 {
				_, err := m.Call(t.Context(), s, &rpc.Raw{})
				if err == nil {
					continue
				}
				e, ok := err.(*rpc.Error) //nolint:errorlint // that very one
				require.True(t, ok)
				require.Equal(t, rpc.ResourceExhausted, e.Code())
				require.Equal(t, rpc.NotStarted, e.Execution)
				require.Greater(t, e.RetryAfter, time.Duration(0))
				require.LessOrEqual(t, e.RetryAfter, 500*time.Millisecond)
				return i
			}
			return 10
		}
		require.Equal(t, 3, allowed(echo, alice))
		require.Zero(t, allowed(echo, alice), "to be refused costs nothing, and gains nothing")
		require.Equal(t, 3, allowed(other, alice))
		require.Equal(t, 3, allowed(echo, bob))
		time.Sleep(time.Second)
		require.Equal(t, 2, allowed(echo, alice))
		time.Sleep(time.Minute)
		require.Equal(t, 3, allowed(echo, alice))
	})
}

// A key is what the configuration says, of "" there is no limit, and a table that is full forgets the oldest.
func TestRateLimitRemembersSoManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ""
		limit := interceptor.RateLimit(interceptor.RateLimitConfig{
			PerSecond: 0.5, MaxKeys: 2, Key: func(*rpc.Call) string { return key },
		})
		allowed := func(k string) bool {
			key = k
			err := limit(t.Context(), &rpc.Call{}, func(context.Context) error { return nil })
			return err == nil
		}
		for range 100 {
			require.True(t, allowed(""))
		}
		require.True(t, allowed("a"))
		require.True(t, allowed("b"))
		require.False(t, allowed("a"))
		require.True(t, allowed("c")) // instead of b
		require.False(t, allowed("a"))
		require.False(t, allowed("c"))
		require.True(t, allowed("b"), "forgotten") // instead of a
		require.False(t, allowed("c"))
		time.Sleep(2 * time.Second)
		require.True(t, allowed("c"))
	})
}

// Many at once get as many calls as there are tokens.
func TestRateLimitCountsConcurrentCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := interceptor.RateLimit(interceptor.RateLimitConfig{PerSecond: 20, Key: func(c *rpc.Call) string { return c.Method }, MaxKeys: 8})
		var mu sync.Mutex
		n := map[string]int{}
		var wg sync.WaitGroup
		for i := range 800 {
			wg.Go(func() {
				c := &rpc.Call{Method: fmt.Sprint(i % 8)}
				_ = limit(t.Context(), c, func(context.Context) error {
					mu.Lock()
					defer mu.Unlock()
					n[c.Method]++
					return nil
				})
			})
		}
		wg.Wait()
		for i := range 8 {
			require.Equal(t, 20, n[fmt.Sprint(i)])
		}
	})
}
