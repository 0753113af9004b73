package rpc_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// causeOf returns the Cause in the cause of a handler's context.
func causeOf(t *testing.T, err error) rpc.Cause {
	t.Helper()
	e, ok := errors.AsType[*rpc.CanceledError](err)
	require.True(t, ok, "%T: %v", err, err)
	want := context.Canceled
	if e.Cause == rpc.DeadlinePassed {
		want = context.DeadlineExceeded
	}
	require.ErrorIs(t, err, want)
	return e.Cause
}

// The ends, told apart in the handler (its context), and by the caller (code and execution).
func TestHandlerLearnsWhyItsCallEnded(t *testing.T) {
	tests := []struct {
		name  string
		end   func(n *transporttest.Network, caller, callee *transport.Session, cancel context.CancelFunc)
		cause rpc.Cause
		code  rpc.Code
	}{
		{
			"canceled by caller",
			func(_ *transporttest.Network, _, _ *transport.Session, cancel context.CancelFunc) { cancel() },
			rpc.CallerCanceled, rpc.Canceled,
		},
		{
			"deadline",
			func(*transporttest.Network, *transport.Session, *transport.Session, context.CancelFunc) {
				time.Sleep(time.Minute)
			},
			rpc.DeadlinePassed, rpc.DeadlineExceeded,
		},
		{
			"peer released", // and waited for as long as it would
			func(_ *transporttest.Network, caller, _ *transport.Session, _ context.CancelFunc) {
				_ = caller.Release(context.Background())
			},
			rpc.PeerReleased, rpc.Unavailable,
		},
		{
			"peer aborted",
			func(_ *transporttest.Network, caller, _ *transport.Session, _ context.CancelFunc) {
				caller.Abort(transport.Aborted, "enough")
			},
			rpc.PeerAborted, rpc.Unavailable,
		},
		{
			"peer lost",
			func(n *transporttest.Network, _, _ *transport.Session, _ context.CancelFunc) { n.Cut() },
			rpc.PeerLost, rpc.Unavailable,
		},
		{
			"local shutdown",
			func(_ *transporttest.Network, _, callee *transport.Session, _ context.CancelFunc) {
				callee.Abort(transport.Aborted, "shutting down")
			},
			rpc.LocalShutdown, rpc.Unavailable,
		},
		{
			"released by this side", // which waited, too
			func(_ *transporttest.Network, _, callee *transport.Session, _ context.CancelFunc) {
				_ = callee.Release(context.Background())
			},
			rpc.LocalShutdown, rpc.Unavailable,
		},
		{
			"kicked",
			func(_ *transporttest.Network, _, callee *transport.Session, _ context.CancelFunc) {
				callee.Abort(transport.Kicked, "behave")
			},
			rpc.LocalShutdown, rpc.PermissionDenied,
		},
		{
			"revoked",
			func(_ *transporttest.Network, _, callee *transport.Session, _ context.CancelFunc) {
				callee.Abort(transport.Revoked, "")
			},
			rpc.LocalShutdown, rpc.Unauthenticated,
		},
		{
			"protocol error of the callee's",
			func(_ *transporttest.Network, caller, _ *transport.Session, _ context.CancelFunc) {
				caller.Abort(transport.Protocol, "")
			},
			rpc.PeerAborted, rpc.Internal,
		},
	}
	for _, test := range tests {
		for _, from := range []string{"client", "server"} {
			t.Run(test.name+", called by the "+from, func(t *testing.T) {
				testCause(t, from, test.end, test.cause, test.code)
			})
		}
	}
}

// testCause has one side call hang on the other, and end that.
func testCause(t *testing.T, from string, end func(n *transporttest.Network, caller, callee *transport.Session, cancel context.CancelFunc), cause rpc.Cause, code rpc.Code) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		caller, callee := n.Pair(srv, "alice", transport.Config{Handlers: handlers(e.mux)})
		if from == "server" {
			caller, callee = callee, caller
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		answered := make(chan error, 1)
		go func() {
			_, err := hang.Call(ctx, caller, &Text{})
			answered <- err
		}()
		<-e.hung
		end(n, caller, callee, cancel)
		assert.Equal(t, cause, causeOf(t, <-e.causes))
		err := <-answered
		if cause == rpc.DeadlinePassed { // whose clock came first decides
			assert.Equal(t, code, rpc.CodeOf(err))
			return
		}
		wantError(t, err, code, rpc.Maybe)
	})
}

// A server that drains and does not wait for a call: Maybe to its caller, and a shutdown to its handler.
func TestCallThatADrainCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		client := n.Dial(srv, "alice", transport.Config{})
		answered := make(chan error, 1)
		go func() {
			_, err := hang.Call(t.Context(), client, &Text{})
			answered <- err
		}()
		<-e.hung
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var cut *transport.CutError
		require.ErrorAs(t, srv.Shutdown(ctx), &cut)
		assert.Equal(t, transport.CutError{Sessions: 1, Streams: 1}, *cut)
		assert.Equal(t, rpc.LocalShutdown, causeOf(t, <-e.causes))
		err := wantError(t, <-answered, rpc.Unavailable, rpc.Maybe)
		assert.ErrorIs(t, err, &transport.Error{Code: transport.DrainTimeout})
	})
}

// A client's handlers learn it too, when the server drains and does not wait for them.
func TestHandlerOnTheClientLearnsThatTheServerDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{})
		_, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(e.mux)})
		go func() { _, _ = hang.Call(context.Background(), server, &Text{}) }()
		<-e.hung
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		assert.Equal(t, rpc.PeerReleased, causeOf(t, <-e.causes))
	})
}

func TestDrainingIsSeenByAHandlerBeforeItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		running := make(chan struct{})
		rpc.Handle(mux, say, func(ctx context.Context, req *Text) (*Text, error) {
			close(running)
			<-rpc.Draining(ctx)
			return req, ctx.Err()
		})
		_, client, _ := start(t, mux)
		answered := make(chan error, 1)
		go func() {
			_, err := say.Call(t.Context(), client, &Text{})
			answered <- err
		}()
		<-running
		require.NoError(t, client.Release(t.Context()), "the handler ends in order, so the release does")
		require.NoError(t, <-answered)
	})
}

// The handler's own waiting ends with the call, whatever it waits for.
func TestRecvAndSendOfAHandlerEndWithTheCall(t *testing.T) {
	for _, test := range []struct {
		name  string
		wait  func(s *rpc.Stream[Text, Text]) error
		end   func(s *rpc.Stream[Text, Text], cancel context.CancelFunc)
		cause rpc.Cause
	}{
		{"recv, canceled", recvAll, func(_ *rpc.Stream[Text, Text], cancel context.CancelFunc) { cancel() }, rpc.CallerCanceled},
		{"send, canceled", sendAll, func(_ *rpc.Stream[Text, Text], cancel context.CancelFunc) { cancel() }, rpc.CallerCanceled},
		{"recv, closed", recvAll, func(s *rpc.Stream[Text, Text], _ context.CancelFunc) { s.Close() }, rpc.CallerCanceled},
		{"recv, deadline", recvAll, func(*rpc.Stream[Text, Text], context.CancelFunc) {}, rpc.DeadlinePassed},
		{"send, deadline", sendAll, func(*rpc.Stream[Text, Text], context.CancelFunc) {}, rpc.DeadlinePassed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				errs := make(chan error, 1)
				mux := rpc.NewMux(rpc.Config{})
				rpc.Handle(mux, chat, func(_ context.Context, s *rpc.Stream[Text, Text]) error {
					err := test.wait(s)
					errs <- err
					return err
				})
				_, client, _ := start(t, mux)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s, err := chat.Call(ctx, client)
				require.NoError(t, err)
				require.NoError(t, s.Send(&Text{}))
				time.Sleep(time.Second)
				test.end(s, cancel)
				assert.Equal(t, test.cause, causeOf(t, <-errs))
			})
		})
	}
}

// A caller that only stops receiving has given the call up too. The code says why.
func TestRecvOfAHandlerEndsWithStopSendingAlone(t *testing.T) {
	for code, want := range map[transport.StreamCode]rpc.Cause{
		transport.StreamCanceled: rpc.CallerCanceled,
		transport.StreamDeadline: rpc.DeadlinePassed,
	} {
		t.Run(code.String(), func(t *testing.T) { testStopSending(t, code, want) })
	}
}

func testStopSending(t *testing.T, code transport.StreamCode, want rpc.Cause) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		errs := make(chan error, 1)
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, chat, func(_ context.Context, s *rpc.Stream[Text, Text]) error {
			err := recvAll(s)
			errs <- err
			return err
		})
		_, client, _ := start(t, mux)
		s, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		defer s.Cancel(transport.StreamCanceled)
		_, err = s.Write(unhex(t, headChat))
		require.NoError(t, err)
		time.Sleep(time.Second)
		s.CancelRead(code)
		select {
		case err := <-errs:
			assert.Equal(t, want, causeOf(t, err))
		case <-time.After(10 * time.Second):
			require.Fail(t, "Recv goes on")
		}
	})
}

func recvAll(s *rpc.Stream[Text, Text]) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
}

func sendAll(s *rpc.Stream[Text, Text]) error {
	for {
		if err := s.Send(&Text{Text: "much that nobody reads, so that the window is full before long"}); err != nil {
			return err
		}
	}
}

// A handler that has not looked at its context before, and does when a Send says that the call has ended, finds the cause there.
func TestTheCauseIsThereWhenASendSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		ended := make(chan [2]error, 1)
		count := rpc.ServerStream[Text, Text]("test.Cause/Count")
		rpc.Handle(mux, count, func(ctx context.Context, req *Text, out *rpc.Sender[Text]) error {
			for {
				time.Sleep(time.Millisecond)
				if err := out.Send(req); err != nil {
					ended <- [2]error{err, context.Cause(ctx)}
					return err
				}
			}
		})
		_, client, _ := start(t, mux)
		in, err := count.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		_, err = in.Recv()
		require.NoError(t, err)
		in.Close()
		errs := <-ended
		assert.Equal(t, rpc.CallerCanceled, causeOf(t, errs[0]))
		assert.Equal(t, rpc.CallerCanceled, causeOf(t, errs[1]))
	})
}
