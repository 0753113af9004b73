package rpc_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

var (
	// long answers with more than the window of a stream.
	long   = rpc.Unary[Text, Text]("test.Echo/Long")
	longs  = rpc.ServerStream[Text, Text]("test.Echo/Longs")
	exit   = rpc.Unary[Text, Text]("test.Echo/Exit")
	denied = rpc.Unary[Text, Text]("test.Echo/Denied")
)

// Whatever way a call ends, it is observed once, with what its caller was told.
func TestEveryEndOfACallIsObserved(t *testing.T) {
	const hi = int64(len(`{"text":"hi"}`))
	onWire := func(request string, fin bool) func(*testing.T, *transport.Session) {
		return func(t *testing.T, client *transport.Session) {
			t.Helper()
			_, err := raw(t, client, unhex(t, request), fin)
			require.NoError(t, err)
		}
	}
	calling := func(m rpc.UnaryMethod[Text, Text], text string, timeout time.Duration) func(*testing.T, *transport.Session) {
		return func(t *testing.T, client *transport.Session) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, _ = m.Call(ctx, client, &Text{Text: text})
		}
	}
	// A caller that reads nothing, of an answer that is longer than the window of its stream.
	const (
		headLongOne  = "011a 0a0e746573742e4563686f2f4c6f6e67 10c0843d 1a046a736f6e"   // test.Echo/Long, 1 s, json
		headLongMany = "011b 0a0f746573742e4563686f2f4c6f6e6773 10c0843d 1a046a736f6e" // test.Echo/Longs
	)
	unread := func(head string, end func(s *transport.Stream, client *transport.Session)) func(*testing.T, *transport.Session) {
		return func(t *testing.T, client *transport.Session) {
			t.Helper()
			s, err := client.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = s.Write(unhex(t, head+"0302 7b7d"))
			require.NoError(t, err)
			time.Sleep(rtt)
			end(s, client)
		}
	}
	tests := []struct {
		name string
		end  func(t *testing.T, client *transport.Session)
		want rpc.CallStats // its duration is the least that it may be
	}{
		{"answered", calling(say, "hi", time.Minute), rpc.CallStats{Method: say.Name(), Code: rpc.OK, Execution: rpc.Ran, Received: hi, Sent: hi}},
		{"error", calling(fail, "hi", time.Minute), rpc.CallStats{Method: fail.Name(), Code: rpc.NotFound, Execution: rpc.Ran, Received: hi}},
		{"error that is none of rpc's", calling(fail, "plain", time.Minute), rpc.CallStats{Method: fail.Name(), Code: rpc.Unknown, Execution: rpc.Ran, Received: hi + 3}},
		{"panic", calling(fail, "panic", time.Minute), rpc.CallStats{Method: fail.Name(), Code: rpc.Internal, Execution: rpc.Ran, Received: hi + 3}},
		{"end of its goroutine", calling(exit, "hi", time.Minute), rpc.CallStats{Method: exit.Name(), Code: rpc.Internal, Execution: rpc.Ran, Received: hi}},
		{"not authorized", calling(denied, "hi", time.Minute), rpc.CallStats{Method: denied.Name(), Code: rpc.PermissionDenied, Execution: rpc.NotStarted}},
		{"deadline", calling(hang, "hi", time.Second), rpc.CallStats{Method: hang.Name(), Code: rpc.DeadlineExceeded, Execution: rpc.Ran, Received: hi, Duration: time.Second - rtt}},
		{"unknown method", onWire(headNope, true), rpc.CallStats{Code: rpc.Unimplemented, Execution: rpc.NotStarted}},
		{"invalid method", onWire(headBadName, true), rpc.CallStats{Code: rpc.InvalidArgument, Execution: rpc.NotStarted}},
		{"unknown codec", onWire(headNoCodec, true), rpc.CallStats{Method: say.Name(), Code: rpc.Unimplemented, Execution: rpc.NotStarted}},
		{"no HEAD", onWire("", true), rpc.CallStats{Code: rpc.InvalidArgument, Execution: rpc.NotStarted}},
		{"no HEAD in time", onWire("", false), rpc.CallStats{Code: rpc.DeadlineExceeded, Execution: rpc.NotStarted, Duration: 5 * time.Second}},
		{"HEAD over its limit", onWire(headLong, false), rpc.CallStats{Code: rpc.ResourceExhausted, Execution: rpc.NotStarted}},
		{"message over its limit", onWire(headSay+dataLong, false), rpc.CallStats{Method: say.Name(), Code: rpc.ResourceExhausted, Execution: rpc.NotStarted}},
		{"malformed request", onWire(headSay+"03027b7b", true), rpc.CallStats{Method: say.Name(), Code: rpc.InvalidArgument, Execution: rpc.NotStarted, Received: 2}},
		{"canceled by its caller", func(t *testing.T, client *transport.Session) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err := hang.Call(ctx, client, &Text{Text: "hi"})
			require.ErrorIs(t, err, context.Canceled)
		}, rpc.CallStats{Method: hang.Name(), Code: rpc.Canceled, Execution: rpc.Ran, Received: hi, Duration: time.Second - rtt}},
		{"session aborted", func(t *testing.T, client *transport.Session) {
			t.Helper()
			time.AfterFunc(time.Second, func() { client.Abort(transport.Aborted, "") })
			_, err := hang.Call(t.Context(), client, &Text{Text: "hi"})
			require.Error(t, err)
		}, rpc.CallStats{Method: hang.Name(), Code: rpc.Canceled, Execution: rpc.Ran, Received: hi, Duration: time.Second - rtt}},
		{
			"answer not wanted any more", unread(headLongOne, func(s *transport.Stream, _ *transport.Session) { s.Cancel(transport.StreamCanceled) }),
			rpc.CallStats{Method: long.Name(), Code: rpc.Canceled, Execution: rpc.Ran, Received: 2, Sent: 1<<20 + 11},
		},
		{
			"answer not read in time", unread(headLongOne, func(*transport.Stream, *transport.Session) { time.Sleep(3 * time.Second) }),
			rpc.CallStats{Method: long.Name(), Code: rpc.DeadlineExceeded, Execution: rpc.Ran, Received: 2, Sent: 1<<20 + 11, Duration: time.Second},
		},
		{
			"message cut by the deadline", unread(headLongMany, func(*transport.Stream, *transport.Session) { time.Sleep(3 * time.Second) }),
			rpc.CallStats{Method: longs.Name(), Code: rpc.DeadlineExceeded, Execution: rpc.Ran, Received: 2, Sent: 1<<20 + 11, Duration: time.Second},
		},
		{
			"message cut by its caller", unread(headLongMany, func(s *transport.Stream, _ *transport.Session) { s.Cancel(transport.StreamCanceled) }),
			rpc.CallStats{Method: longs.Name(), Code: rpc.Canceled, Execution: rpc.Ran, Received: 2, Sent: 1<<20 + 11},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				observed := make(chan rpc.CallStats, 10)
				e := newEcho(rpc.Config{
					Observe: func(st rpc.CallStats) { observed <- st },
					Authorize: func(_ context.Context, c rpc.Call) error {
						if c.Method == denied.Name() {
							return errors.New("no")
						}
						return nil
					},
				})
				rpc.Handle(e.mux, denied, func(context.Context, *Text) (*Text, error) { return nil, nil })
				rpc.Handle(e.mux, long, func(context.Context, *Text) (*Text, error) {
					return &Text{Text: strings.Repeat("x", 1<<20)}, nil
				})
				rpc.Handle(e.mux, longs, func(_ context.Context, _ *Text, out *rpc.Sender[Text]) error {
					return out.Send(&Text{Text: strings.Repeat("x", 1<<20)})
				})
				rpc.Handle(e.mux, exit, func(context.Context, *Text) (*Text, error) {
					runtime.Goexit()
					return nil, nil
				})
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
				client := n.Dial(srv, "alice", transport.Config{})
				test.end(t, client)
				got := <-observed
				require.GreaterOrEqual(t, got.Duration, test.want.Duration)
				require.Less(t, got.Duration, 8*time.Second)
				got.Duration = test.want.Duration
				require.Equal(t, test.want, got)
				time.Sleep(10 * time.Second)
				require.Empty(t, observed)
			})
		})
	}
}
