package rpc_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// relay is a method whose handler makes another call with its own context.
var relay = rpc.Unary[Text, Text]("test.Relay/Call")

// nest returns a caller of relay, whose handler works for a while, and then calls hang, of the caller itself or of a third party, with
// the context that it has. deadlines gets what the handler of hang is told, causes why its context ended.
func nest(t *testing.T, back bool, work time.Duration) (caller *transport.Session, deadlines chan time.Time, causes chan error) {
	t.Helper()
	deadlines, causes = make(chan time.Time, 1), make(chan error, 1)
	last := rpc.NewMux(rpc.Config{})
	rpc.Handle(last, hang, func(ctx context.Context, _ *Text) (*Text, error) {
		deadline, _ := ctx.Deadline()
		deadlines <- deadline
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, ctx.Err()
	})
	n := transporttest.New(t, rtt)
	third := n.Dial(n.Listen(transport.Config{Handlers: handlers(last)}), "relay", transport.Config{})
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, relay, func(ctx context.Context, req *Text) (*Text, error) {
		time.Sleep(work)
		to := third
		if back {
			to = transport.SessionFrom(ctx)
		}
		return hang.Call(ctx, to, req)
	})
	srv := n.Listen(transport.Config{Handlers: handlers(mux)})
	return n.Dial(srv, "alice", transport.Config{Handlers: handlers(last)}), deadlines, causes
}

var ways = map[string]bool{"back": true, "to a third party": false}

// What a handler calls with its context has what is left of its caller's time, and ends with it.
func TestNestedCallsHaveTheRestOfTheDeadline(t *testing.T) {
	for name, back := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, deadlines, causes := nest(t, back, 4*time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				begun := time.Now()
				_, err := relay.Call(ctx, caller, &Text{})
				wantError(t, err, rpc.DeadlineExceeded, rpc.Maybe)
				assert.Equal(t, 10*time.Second, time.Since(begun))
				assert.WithinDuration(t, begun.Add(10*time.Second), <-deadlines, 2*rtt, "each hop adds the way that the request took")
				assert.Equal(t, rpc.DeadlinePassed, causeOf(t, <-causes))
				assert.WithinDuration(t, begun.Add(10*time.Second), time.Now(), 2*rtt)
			})
		})
	}
}

// A caller that goes takes the calls with it that its own has led to.
func TestNestedCallsAreCanceledWithTheirCaller(t *testing.T) {
	for name, back := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, deadlines, causes := nest(t, back, 0)
				ctx, cancel := context.WithCancel(t.Context())
				answered := make(chan error, 1)
				go func() {
					_, err := relay.Call(ctx, caller, &Text{})
					answered <- err
				}()
				require.Zero(t, <-deadlines, "none was given")
				time.Sleep(time.Second)
				cancel()
				wantError(t, <-answered, rpc.Canceled, rpc.Maybe)
				begun := time.Now()
				assert.Equal(t, rpc.CallerCanceled, causeOf(t, <-causes))
				assert.LessOrEqual(t, time.Since(begun), 2*rtt)
			})
		})
	}
}
