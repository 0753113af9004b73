package rpc_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// askBack is say, asked of who called.
var askBack = rpc.Unary[Text, Text]("test.Echo/AskBack")

// limitedPair returns both sides of a session that let each other have most calls at once, and handle askBack.
func limitedPair(t *testing.T, most int) (client, server *transport.Session) {
	t.Helper()
	mux := newEcho(rpc.Config{}).mux
	rpc.Handle(mux, askBack, func(ctx context.Context, req *Text) (*Text, error) {
		return say.Call(ctx, transport.SessionFrom(ctx), req)
	})
	n := transporttest.New(t, rtt)
	srv := n.Listen(transport.Config{MaxStreams: most + 1, Hold: -1, Handlers: handlers(mux)}) // one is control
	return n.Pair(srv, "alice", transport.Config{MaxStreams: most, Handlers: handlers(mux)})
}

// Both sides call each other, with more callers than there may be calls: each has its turn.
func TestBothSidesCallEachOtherAtTheirStreamLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, callers, calls = 8, 100, 5
		client, server := limitedPair(t, most)
		var wg sync.WaitGroup
		for _, conn := range []rpc.Conn{client, server} {
			for range callers {
				wg.Go(func() {
					for i := range calls {
						res, err := say.Call(t.Context(), conn, &Text{N: i})
						if assert.NoError(t, err) {
							assert.Equal(t, i, res.N)
						}
					}
				})
			}
		}
		wg.Wait()
		releaseAtOnce(t, client, server)
	})
}

// Where the handlers of either side wait for the other's, which may begin none, that is the end only of calls that have no
// deadline: it gets all others out of it.
func TestHandlersThatCallBackAtBothStreamLimitsEndWithTheirDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, timeout = 8, time.Second
		client, server := limitedPair(t, most)
		askedBack := func(conn rpc.Conn) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := askBack.Call(ctx, conn, &Text{})
			return err
		}
		require.NoError(t, askedBack(client)) // one alone is no matter
		require.NoError(t, askedBack(server))

		var ok, late atomic.Int64
		var wg sync.WaitGroup
		for _, conn := range []rpc.Conn{client, server} {
			for range 3 * most {
				wg.Go(func() {
					begun := time.Now()
					err := askedBack(conn)
					assert.LessOrEqual(t, time.Since(begun), timeout)
					switch {
					case err == nil:
						ok.Add(1)
					case errors.Is(err, context.DeadlineExceeded):
						late.Add(1)
					default:
						assert.NoError(t, err)
					}
				})
			}
		}
		wg.Wait()
		require.Positive(t, late.Load(), "the limits were not reached")
		time.Sleep(timeout)
		require.NoError(t, askedBack(client))
		require.NoError(t, askedBack(server))
		releaseAtOnce(t, client, server)
	})
}

// A call that waits for a stream of the peer's has not started, and ends with its session as soon as that ends.
func TestCallsThatWaitForAStreamEndWithTheSession(t *testing.T) {
	for name, end := range map[string]func(caller, callee *transport.Session){
		"released":           func(caller, _ *transport.Session) { go func() { _ = caller.Release(context.Background()) }() },
		"released by callee": func(_, callee *transport.Session) { go func() { _ = callee.Release(context.Background()) }() },
		"aborted":            func(caller, _ *transport.Session) { caller.Abort(transport.Aborted, "enough") },
		"aborted by callee":  func(_, callee *transport.Session) { callee.Abort(transport.Aborted, "enough") },
	} {
		for _, from := range []string{"client", "server"} {
			t.Run(name+", from "+from, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const waiting = 20
					caller, callee := limitedPair(t, 1)
					if from == "server" {
						caller, callee = callee, caller
					}
					ctx, cancel := context.WithCancel(t.Context())
					s, err := chat.Call(ctx, caller) // takes the one
					require.NoError(t, err)
					require.NoError(t, s.Send(&Text{}))
					errs := make(chan error, waiting)
					for range waiting {
						go func() {
							_, err := say.Call(t.Context(), caller, &Text{})
							errs <- err
						}()
					}
					time.Sleep(time.Second)
					require.Empty(t, errs)
					end(caller, callee)
					time.Sleep(2 * rtt)
					require.Len(t, errs, waiting)
					for range waiting {
						wantError(t, <-errs, rpc.Unavailable, rpc.NotStarted)
					}
					cancel()
				})
			})
		}
	}
}
