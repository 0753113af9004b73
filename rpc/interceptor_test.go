package rpc_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

type next = func(context.Context) error

// wholes make a whole call of each kind to the service echo, with one or two messages.
var wholes = []struct {
	kind   rpc.Kind
	method string
	call   func(ctx context.Context, conn rpc.Conn, opts ...rpc.CallOption) error
}{
	{rpc.KindUnary, say.Name(), func(ctx context.Context, conn rpc.Conn, opts ...rpc.CallOption) error {
		_, err := say.Call(ctx, conn, &Text{Text: "hi"}, opts...)
		return err
	}},
	{rpc.KindServerStream, count.Name(), func(ctx context.Context, conn rpc.Conn, opts ...rpc.CallOption) error {
		in, err := count.Call(ctx, conn, &Text{Text: "hi", N: 2}, opts...)
		if err != nil {
			return err
		}
		for _, err := range in.All() {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{rpc.KindClientStream, sum.Name(), func(ctx context.Context, conn rpc.Conn, opts ...rpc.CallOption) error {
		_, err := sum.Call(ctx, conn, slices.Values([]*Text{{N: 1}, {N: 2}}), opts...)
		return err
	}},
	{rpc.KindBidi, chat.Name(), func(ctx context.Context, conn rpc.Conn, opts ...rpc.CallOption) error {
		s, err := chat.Call(ctx, conn, opts...)
		if err != nil {
			return err
		}
		if err := s.Send(&Text{Text: "hi"}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := s.CloseSend(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for _, err := range s.All() {
			if err != nil {
				return err
			}
		}
		return nil
	}},
}

// eachKind runs test in a bubble for every kind of call, with a client whose interceptors, and a server whose
// configuration, test is given the means to set first.
func eachKind(t *testing.T, test func(t *testing.T, k int)) {
	t.Helper()
	for k := range wholes {
		t.Run(wholes[k].kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, k) })
		})
	}
}

func with(conn rpc.Conn, interceptors ...rpc.Interceptor) *rpc.Client {
	return rpc.NewClient(conn, rpc.ClientConfig{Interceptors: interceptors})
}

// The interceptors surround a call in their order, on either side, and see what it is and how it ended.
func TestInterceptorsSurroundCallsOfEveryKindOnBothSides(t *testing.T) {
	eachKind(t, func(t *testing.T, k int) {
		var mu sync.Mutex
		var trace []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			trace = append(trace, what)
		}
		var calls []rpc.Call
		named := func(name string) rpc.Interceptor {
			return func(ctx context.Context, c *rpc.Call, next next) error {
				note(name)
				err := next(ctx)
				note(name + " end")
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, *c)
				return err
			}
		}
		e := newEcho(rpc.Config{
			Interceptors: []rpc.Interceptor{named("server 1"), named("server 2"), func(ctx context.Context, _ *rpc.Call, next next) error {
				assert.NoError(t, rpc.AddHeader(ctx, "h", "1"))
				err := next(ctx)
				assert.NoError(t, rpc.AddTrailer(ctx, "t", "2"))
				return err
			}},
			Authorize: func(context.Context, rpc.Call) error { note("authorize"); return nil },
			Observe:   func(rpc.CallStats) { note("over") },
		})
		_, session, _ := start(t, e.mux)
		outer := with(with(session, named("client 2")), named("client 1"))
		require.NoError(t, wholes[k].call(t.Context(), outer, rpc.WithMetadata(rpc.Metadata{{Key: "m", Value: "0"}})))
		require.Equal(t, []string{
			"client 1", "client 2", "server 1", "server 2", "authorize", "server 2 end", "server 1 end", "over",
			"client 2 end", "client 1 end",
		}, trace)
		for i, c := range calls { // server's, then client's
			require.Equal(t, wholes[k].method, c.Method)
			require.Equal(t, wholes[k].kind, c.Kind)
			require.Equal(t, "json", c.Codec)
			require.Equal(t, rpc.Metadata{{Key: "m", Value: "0"}}, c.Metadata)
			require.Equal(t, i >= 2, c.Caller)
			if c.Caller {
				require.Equal(t, session.Peer(), c.Peer)
				require.Equal(t, rpc.Metadata{{Key: "h", Value: "1"}}, c.Header)
				require.Equal(t, rpc.Metadata{{Key: "t", Value: "2"}}, c.Trailer)
			} else {
				require.Equal(t, "alice", c.Peer.ID.Name)
				require.Empty(t, c.Header)
				require.Empty(t, c.Trailer)
			}
		}
		require.Len(t, calls, 4)
	})
}

// What an interceptor refuses on the serving side has not started, and is not decoded; what it refuses on the
// caller's does not leave.
func TestNotStartedIsWhatAnInterceptorRefuses(t *testing.T) { // R4
	refusals := map[string]struct {
		err  error
		code rpc.Code
	}{
		"an Error":               {rpc.Errorf(rpc.ResourceExhausted, "not now"), rpc.ResourceExhausted},
		"that says it ran":       {&rpc.Error{Message: "no", Execution: rpc.Ran}, rpc.Unknown},
		"a context's error":      {context.DeadlineExceeded, rpc.DeadlineExceeded},
		"of another type":        {errors.New("secret"), rpc.Unknown},
		"no error, which is one": {nil, rpc.Internal},
	}
	eachKind(t, func(t *testing.T, k int) {
		for name, refusal := range refusals {
			refuse := func(context.Context, *rpc.Call, next) error { return refusal.err }
			e := newEcho(rpc.Config{Interceptors: []rpc.Interceptor{refuse}, Authorize: func(context.Context, rpc.Call) error {
				t.Error("asked for a call that was refused before")
				return nil
			}})
			_, session, _ := start(t, e.mux)
			err := wantError(t, wholes[k].call(t.Context(), session), refusal.code, rpc.NotStarted)
			require.NotContains(t, err.Message, "secret", name)
			require.Zero(t, e.calls.Load())
			if wholes[k].kind == rpc.KindUnary {
				_, err := rpc.Unary[rpc.Raw, Text](say.Name()).Call(t.Context(), session, &rpc.Raw{'{'}, rpc.WithCodec("json"))
				wantError(t, err, refusal.code, rpc.NotStarted) // and not InvalidArgument, which decoding says
			}

			e = newEcho(rpc.Config{Observe: func(rpc.CallStats) { t.Error("a refused call has left") }})
			_, session, _ = start(t, e.mux)
			err = wantError(t, wholes[k].call(t.Context(), with(session, refuse)), refusal.code, rpc.NotStarted)
			require.False(t, err.Remote)
			time.Sleep(rtt)
		}
	})
}

// How a call ends is what the outermost interceptor returns, once the call has ended.
func TestTheInterceptorsSayHowACallEnds(t *testing.T) {
	refused := rpc.Errorf(rpc.NotFound, "no")
	tests := map[string]struct {
		authorize, returned error
		answered, streamed  rpc.Code // the end of a call with one response, and with a stream of them
		execution           rpc.Execution
		atCaller            rpc.Execution // the same, if the interceptor is the caller's
	}{
		"an error for an answer": {
			returned: rpc.Errorf(rpc.DataLoss, "stale"),
			answered: rpc.DataLoss, streamed: rpc.DataLoss, execution: rpc.Ran, atCaller: rpc.Maybe,
		},
		"another error": {
			authorize: refused, returned: rpc.Errorf(rpc.Unavailable, "closed"),
			answered: rpc.Unavailable, streamed: rpc.Unavailable, execution: rpc.NotStarted, atCaller: rpc.Maybe,
		},
		"a claim that it never ran": {
			returned: &rpc.Error{Message: "x", Execution: rpc.NotStarted},
			answered: rpc.Unknown, streamed: rpc.Unknown, execution: rpc.Ran, atCaller: rpc.Ran,
		},
		"no error for a refusal": {
			authorize: refused,
			answered:  rpc.Internal, streamed: rpc.OK, execution: rpc.NotStarted, atCaller: rpc.NotStarted,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, k int) {
				end := func(ctx context.Context, _ *rpc.Call, next next) error {
					err := next(ctx)
					assert.Equal(t, rpc.CodeOf(test.authorize), rpc.CodeOf(err))
					return test.returned
				}
				code := test.answered
				if kind := wholes[k].kind; kind == rpc.KindServerStream || kind == rpc.KindBidi {
					code = test.streamed
				}
				authorize := func(context.Context, rpc.Call) error { return test.authorize }
				for _, caller := range []bool{false, true} {
					cfg := rpc.Config{Authorize: authorize, Interceptors: []rpc.Interceptor{end}}
					if caller {
						cfg.Interceptors = nil
					}
					_, session, _ := start(t, newEcho(cfg).mux)
					var conn rpc.Conn = session
					execution := test.execution
					if caller {
						conn, execution = with(session, end), test.atCaller
					}
					err := wholes[k].call(t.Context(), conn)
					if code == rpc.OK {
						require.NoError(t, err)
						continue
					}
					wantError(t, err, code, execution)
				}
			})
		})
	}
}

// next goes on once, however often, whenever and from wherever it is called.
func TestNextGoesOnOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, k int) {
		var late next
		twice := func(ctx context.Context, _ *rpc.Call, next next) error {
			late = next
			err := next(ctx)
			assert.Equal(t, rpc.Internal, rpc.CodeOf(next(ctx)))
			return err
		}
		// Its first interceptor returns before next, which it has running elsewhere, or not yet.
		returned := make(chan struct{}, 2)
		elsewhere := func(ctx context.Context, _ *rpc.Call, next next) error {
			running := make(chan struct{})
			go func() {
				close(running)
				_ = next(ctx)
			}()
			<-running
			time.Sleep(time.Millisecond)
			returned <- struct{}{}
			return rpc.Errorf(rpc.Aborted, "gone")
		}
		e := newEcho(rpc.Config{Interceptors: []rpc.Interceptor{twice}})
		_, session, _ := start(t, e.mux)
		require.NoError(t, wholes[k].call(t.Context(), session))
		require.Equal(t, rpc.Internal, rpc.CodeOf(late(t.Context())))
		require.NoError(t, wholes[k].call(t.Context(), with(session, twice)))
		require.Equal(t, rpc.Internal, rpc.CodeOf(late(t.Context())))
		require.Equal(t, int64(2), e.calls.Load())

		err := wholes[k].call(t.Context(), with(session, elsewhere))
		wantError(t, err, rpc.Aborted, rpc.Maybe)
		require.Equal(t, int64(3), e.calls.Load(), "the call was over before its end")
		<-returned

		e = newEcho(rpc.Config{Interceptors: []rpc.Interceptor{elsewhere}})
		_, session, _ = start(t, e.mux)
		wantError(t, wholes[k].call(t.Context(), session), rpc.Aborted, rpc.Ran)
		require.Equal(t, int64(1), e.calls.Load())

		never := func(ctx context.Context, _ *rpc.Call, next next) error {
			late = next
			return rpc.Errorf(rpc.Aborted, "gone")
		}
		wantError(t, wholes[k].call(t.Context(), with(session, never)), rpc.Aborted, rpc.NotStarted)
		require.Equal(t, rpc.Internal, rpc.CodeOf(late(t.Context())))
		require.Equal(t, int64(1), e.calls.Load())
	})
}

type userKey struct{}

// The context that an interceptor makes is the handler's, and that of the calls which the handler makes with it; on
// the caller's side its deadline and metadata go with the request.
func TestTheInterceptorsContextIsTheHandlers(t *testing.T) {
	eachKind(t, func(t *testing.T, k int) {
		e := newEcho(rpc.Config{
			Interceptors: []rpc.Interceptor{
				func(ctx context.Context, c *rpc.Call, next next) error {
					from, _ := c.Metadata.Get("from")
					return next(context.WithValue(ctx, userKey{}, from))
				},
				func(ctx context.Context, _ *rpc.Call, next next) error {
					ctx, cancel := context.WithTimeout(ctx, time.Minute)
					defer cancel()
					return next(ctx)
				},
			},
			Authorize: func(ctx context.Context, _ rpc.Call) error {
				assert.Equal(t, "me", ctx.Value(userKey{}))
				deadline, _ := ctx.Deadline()
				assert.Equal(t, time.Minute, time.Until(deadline).Round(time.Second))
				return nil
			},
		})
		_, session, _ := start(t, e.mux)
		client := with(session, func(ctx context.Context, c *rpc.Call, next next) error {
			c.Metadata = append(c.Metadata, rpc.Field{Key: "from", Value: "me"})
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			return next(ctx)
		})
		require.NoError(t, wholes[k].call(t.Context(), client))

		// Its deadline is the request's.
		mux := rpc.NewMux(rpc.Config{Interceptors: []rpc.Interceptor{func(ctx context.Context, _ *rpc.Call, _ next) error {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, time.Hour, time.Until(deadline).Round(time.Second))
			return rpc.Errorf(rpc.Aborted, "seen")
		}}})
		rpc.Handle(mux, say, func(context.Context, *Text) (*Text, error) { return nil, nil })
		rpc.Handle(mux, count, func(context.Context, *Text, *rpc.Sender[Text]) error { return nil })
		rpc.Handle(mux, sum, func(context.Context, *rpc.Receiver[Text]) (*Text, error) { return nil, nil })
		rpc.Handle(mux, chat, func(context.Context, *rpc.Stream[Text, Text]) error { return nil })
		_, session, _ = start(t, mux)
		client = rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{func(ctx context.Context, _ *rpc.Call, next next) error {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			return next(ctx)
		}}})
		wantError(t, wholes[k].call(t.Context(), client), rpc.Aborted, rpc.NotStarted)

		// Bad metadata does not go out, nor does a call whose context is over.
		client = with(session, func(ctx context.Context, c *rpc.Call, next next) error {
			c.Metadata = rpc.Metadata{{Key: "Upper", Value: "x"}}
			return next(ctx)
		})
		wantError(t, wholes[k].call(t.Context(), client), rpc.InvalidArgument, rpc.NotStarted)
		client = with(session, func(ctx context.Context, _ *rpc.Call, next next) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return next(ctx)
		})
		wantError(t, wholes[k].call(t.Context(), client), rpc.Canceled, rpc.NotStarted)
	})
}

var errEnough = errors.New("enough")

// The end of the context that an interceptor has made ends the messages that a handler waits for, as the end of its own
// does, and the caller is told.
func TestTheEndOfTheInterceptorsContextEndsTheHandlersMessages(t *testing.T) {
	endless := rpc.ServerStream[Text, rpc.Raw]("test.Bench/Flood")
	for _, deadline := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var told error
			mux := rpc.NewMux(rpc.Config{Interceptors: []rpc.Interceptor{func(ctx context.Context, _ *rpc.Call, next next) error {
				ctx, cancel := context.WithCancelCause(ctx)
				defer cancel(nil)
				if deadline {
					ctx, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					return next(ctx)
				}
				time.AfterFunc(time.Second, func() { cancel(errEnough) })
				err := next(ctx)
				if errors.Is(err, errEnough) {
					err = ctx.Err()
				}
				return err
			}}})
			receive := func(ctx context.Context, recv func() (*Text, error)) error {
				assert.NoError(t, rpc.AddTrailer(ctx, "long", strings.Repeat("x", 30<<10))) // the status takes time
				for told = nil; told == nil; {
					_, told = recv()
				}
				return told
			}
			rpc.Handle(mux, say, func(context.Context, *Text) (*Text, error) { return nil, nil })
			rpc.Handle(mux, sum, func(ctx context.Context, in *rpc.Receiver[Text]) (*Text, error) { return nil, receive(ctx, in.Recv) })
			rpc.Handle(mux, chat, func(ctx context.Context, s *rpc.Stream[Text, Text]) error { return receive(ctx, s.Recv) })
			rpc.Handle(mux, endless, func(_ context.Context, _ *Text, out *rpc.Sender[rpc.Raw]) error {
				for told = nil; told == nil; {
					told = out.Send(&rpc.Raw{1: 1})
				}
				return told
			})
			_, session, _ := start(t, mux)
			check := func(err error) {
				t.Helper()
				if deadline {
					wantError(t, err, rpc.DeadlineExceeded, rpc.Ran)
					require.ErrorIs(t, told, context.DeadlineExceeded)
					return
				}
				wantError(t, err, rpc.Canceled, rpc.Ran)
				require.ErrorIs(t, told, errEnough)
			}

			s, err := chat.Call(t.Context(), session)
			require.NoError(t, err)
			_, err = s.Recv()
			check(err)
			_, err = sum.Call(t.Context(), session, func(yield func(*Text) bool) {
				yield(&Text{})
				time.Sleep(20 * time.Second)
			})
			check(err)

			if deadline { // a request that never comes
				str := attack(t, session, head(say.Name(), "json"))
				began := time.Now()
				require.Contains(t, string(readEnd(t, str)), "deadline")
				require.Less(t, time.Since(began), 2*time.Second)
				str.Cancel(transport.StreamCanceled)
			}

			in, err := endless.Call(t.Context(), session, &Text{})
			require.NoError(t, err)
			time.Sleep(20 * time.Second) // unread, so that Send waits
			err = nil
			for err == nil {
				_, err = in.Recv()
			}
			if rpc.CodeOf(told) != rpc.OK && errors.Is(err, rpc.Errorf(rpc.DeadlineExceeded, "")) {
				return // a message was cut in its midst, of which a reset tells
			}
			check(err)
		})
	}
}

// A panic of a handler is an error to the interceptors, one of theirs fails the call alone, and Recover says with what.
func TestAPanicEndsItsCallAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logs
		var seen []error
		var value any
		var stack string
		see := func(ctx context.Context, _ *rpc.Call, next next) error {
			err := next(ctx)
			seen = append(seen, err)
			return err
		}
		bad := func(ctx context.Context, c *rpc.Call, next next) error {
			switch v, _ := c.Metadata.Get("bad"); v {
			case "before":
				panic("secret before")
			case "after":
				_ = next(ctx)
				panic("secret after")
			case "exit":
				runtime.Goexit()
			}
			return next(ctx)
		}
		cfg := rpc.Config{Logger: out.logger(), Interceptors: []rpc.Interceptor{see, bad}}
		_, session, _ := start(t, newEcho(cfg).mux)
		cfg.Recover = func(ctx context.Context, c rpc.Call, v any) error {
			value, stack = v, string(debug.Stack())
			if text, _ := v.(string); strings.Contains(text, "after") {
				return nil
			}
			if c.Metadata != nil {
				panic("in Recover")
			}
			return rpc.Errorf(rpc.DataLoss, "it broke")
		}
		_, recovering, _ := start(t, newEcho(cfg).mux)

		_, err := fail.Call(t.Context(), session, &Text{Text: "panic"})
		wantError(t, err, rpc.Internal, rpc.Ran)
		require.NotContains(t, err.Error(), "secret")
		require.Len(t, seen, 1)
		require.EqualError(t, errors.Unwrap(seen[0]), "panic: secret")
		require.Contains(t, out.String(), "newEcho") // the stack of the handler

		_, err = fail.Call(t.Context(), recovering, &Text{Text: "panic"})
		wantError(t, err, rpc.DataLoss, rpc.Ran)
		require.Equal(t, "secret", value)
		require.Contains(t, stack, "newEcho")
		require.Len(t, seen, 2)

		for where, x := range map[string]rpc.Execution{"before": rpc.NotStarted, "after": rpc.Ran, "exit": rpc.NotStarted} {
			how := rpc.WithMetadata(rpc.Metadata{{Key: "bad", Value: where}})
			for _, conn := range []*transport.Session{session, recovering} {
				_, err = say.Call(t.Context(), conn, &Text{}, how)
				wantError(t, err, rpc.Internal, x)
				require.NotContains(t, err.Error(), "secret")
				_, err = say.Call(t.Context(), conn, &Text{})
				require.NoError(t, err)
			}
		}
		require.Contains(t, out.String(), "in Recover")
	})
}

// Hooks see each message with its size, both ways and on both sides, and may refuse it.
func TestHooksSeeEveryMessageAndMayRefuseIt(t *testing.T) {
	type tally struct{ sent, received, sentBytes, receivedBytes int }
	messages := map[rpc.Kind]tally{ // of the caller
		rpc.KindUnary:        {1, 1, len(`{"text":"hi"}`), len(`{"text":"hi"}`)},
		rpc.KindServerStream: {1, 2, len(`{"text":"hi","n":2}`), len(`{"text":"hi"}{"text":"hi","n":1}`)},
		rpc.KindClientStream: {2, 1, 2 * len(`{"text":"","n":1}`), len(`{"text":"","n":3}`)},
		rpc.KindBidi:         {1, 1, len(`{"text":"hi"}`), len(`{"text":"hi"}`)},
	}
	refusal := rpc.Errorf(rpc.OutOfRange, "not this one")
	eachKind(t, func(t *testing.T, k int) {
		var got tally
		hook := func(ctx context.Context, c *rpc.Call, next next) error {
			got = tally{}
			c.OnSend(func(m any, n int) error {
				_, ok := m.(*Text)
				assert.True(t, ok)
				got.sent++
				got.sentBytes += n
				return nil
			})
			c.OnReceive(func(m any, n int) error {
				_, ok := m.(*Text)
				assert.True(t, ok)
				got.received++
				got.receivedBytes += n
				return nil
			})
			return next(ctx)
		}
		refuse := func(sent bool) rpc.Interceptor {
			return func(ctx context.Context, c *rpc.Call, next next) error {
				on := c.OnReceive
				if sent {
					on = c.OnSend
				}
				on(func(any, int) error { return refusal })
				return next(ctx)
			}
		}
		kind, call := wholes[k].kind, wholes[k].call
		_, session, _ := start(t, newEcho(rpc.Config{}).mux)
		want := messages[kind]
		require.NoError(t, call(t.Context(), with(session, hook)))
		require.Equal(t, want, got)
		unsent := rpc.NotStarted // the one request is not sent
		if kind == rpc.KindClientStream {
			unsent = rpc.Maybe
		}
		if kind == rpc.KindBidi { // keeps the message from leaving, not the call
			unsent = rpc.Maybe
		}
		wantError(t, call(t.Context(), with(session, refuse(true))), rpc.OutOfRange, unsent)
		wantError(t, call(t.Context(), with(session, refuse(false))), rpc.OutOfRange, rpc.Maybe)

		_, session, _ = start(t, newEcho(rpc.Config{Interceptors: []rpc.Interceptor{hook}}).mux)
		require.NoError(t, call(t.Context(), session))
		require.Equal(t, tally{want.received, want.sent, want.receivedBytes, want.sentBytes}, got)
		for _, sent := range []bool{false, true} {
			e := newEcho(rpc.Config{Interceptors: []rpc.Interceptor{refuse(sent)}})
			_, session, _ = start(t, e.mux)
			x := rpc.Ran
			if !sent && (kind == rpc.KindUnary || kind == rpc.KindServerStream) {
				x = rpc.NotStarted // as if it could not be decoded
			}
			wantError(t, call(t.Context(), session), rpc.OutOfRange, x)
			require.Equal(t, x == rpc.Ran, e.calls.Load() == 1)
		}
	})
}

// Until the answer goes out an interceptor may add to its header.
func TestAnInterceptorMayAddToTheHeaderBehindTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var after error
		e := newEcho(rpc.Config{Interceptors: []rpc.Interceptor{func(ctx context.Context, _ *rpc.Call, next next) error {
			err := next(ctx)
			return errors.Join(err, rpc.AddHeader(ctx, "took", "1 s"), after)
		}}})
		_, session, _ := start(t, e.mux)
		for _, after = range []error{nil, rpc.Errorf(rpc.Aborted, "")} {
			var header rpc.Metadata
			res, err := say.Call(t.Context(), session, &Text{Text: "hi"}, rpc.WithHeader(&header))
			require.Equal(t, rpc.CodeOf(after), rpc.CodeOf(err))
			if err == nil {
				require.Equal(t, "hi", res.Text)
			}
			require.Equal(t, rpc.Metadata{{Key: "took", Value: "1 s"}}, header)
		}
	})
}

// The size of a message is what its codec makes of it, also of one that is compressed on its way.
func TestHooksAreToldTheSizesBeforeCompression(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		long := rpc.Raw(prose(t, 20_000))
		var sizes []int
		size := func(_ any, n int) error { sizes = append(sizes, n); return nil }
		hook := func(ctx context.Context, c *rpc.Call, next next) error {
			c.OnSend(size)
			c.OnReceive(size)
			return next(ctx)
		}
		stream := rpc.ServerStream[rpc.Raw, rpc.Raw]("test.Log/Raw", rpc.Resumable())
		mux := rpc.NewMux(rpc.Config{Compressors: []rpc.Compressor{peers}, Interceptors: []rpc.Interceptor{hook}})
		rpc.Handle(mux, octets, func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) { return req, nil })
		rpc.Handle(mux, stream, func(_ context.Context, req *rpc.Raw, out *rpc.Sender[rpc.Raw]) error {
			return out.SendAt("1", req)
		})
		_, session, _ := start(t, mux)
		conn := with(session, hook)
		_, err := octets.Call(t.Context(), conn, &long, rpc.WithCompression(own))
		require.NoError(t, err)
		in, err := stream.Call(t.Context(), conn, &long, rpc.WithCompression(own))
		require.NoError(t, err)
		for _, err := range in.All() {
			require.NoError(t, err)
		}
		require.Equal(t, slices.Repeat([]int{len(long)}, 8), sizes)
		own.want(t, 2, 2)
	})
}

// R4: what a hook returns may be the error of another call, which may say that the next connection would serve that. This one is
// not made again for it.
func TestR4ErrorOfAHookMakesNoCallAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		d := newDisruptor(t, transport.Config{Handlers: handlers(e.mux)})
		session := d.dial(transport.Config{})
		unsent, err := chat.Call(t.Context(), session)
		require.NoError(t, err)
		d.abort()
		time.Sleep(time.Second)
		others := unsent.Send(&Text{})
		wantError(t, others, rpc.Unavailable, rpc.NotStarted)

		var hook func(c *rpc.Call, fn func(any, int) error)
		asked := 0
		client := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{MaxAttempts: -1}, Interceptors: []rpc.Interceptor{
			func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
				hook(c, func(any, int) error {
					if asked++; asked > 1 {
						return nil
					}
					return others
				})
				return next(ctx)
			},
		}})
		hook = (*rpc.Call).OnReceive
		_, err = say.Call(t.Context(), client, &Text{})
		wantError(t, err, rpc.Unavailable, rpc.Maybe)
		require.EqualValues(t, 1, e.calls.Load())

		asked, hook = 0, (*rpc.Call).OnSend
		_, err = say.Call(t.Context(), client, &Text{})
		wantError(t, err, rpc.Unavailable, rpc.NotStarted)
		require.EqualValues(t, 1, e.calls.Load())
	})
}
