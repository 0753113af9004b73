package rpc_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// unhex makes wire bytes of hex with spaces.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

const (
	// Requests as they are on the wire.
	headSay     = "0115 0a0d746573742e4563686f2f536179 1a046a736f6e"                        // test.Echo/Say, json
	headChat    = "0116 0a0e746573742e4563686f2f43686174 1a046a736f6e"                      // test.Echo/Chat, json
	dataHi      = "030d 7b2274657874223a226869227d"                                         // {"text":"hi"}
	endOK       = "0500"                                                                    //
	unknownEven = "0203 010203"                                                             // to be skipped
	headNope    = "0116 0a0e746573742e4563686f2f4e6f7065 1a046a736f6e"                      // test.Echo/Nope
	headNoCodec = "0114 0a0d746573742e4563686f2f536179 1a03786d6c"                          // codec xml
	headBadKey  = "011b 0a0d746573742e4563686f2f536179 1a046a736f6e 22040a024142"           // metadata key AB
	headTimeout = "0119 0a0d746573742e4563686f2f536179 10c0843d 1a046a736f6e"               // 1 s
	headLong    = "0180010001"                                                              // declares 65537 bytes
	dataLong    = "0380400001"                                                              // declares 4 MiB and 1
	headForever = "0120 0a0d746573742e4563686f2f536179 10ffffffffffffffffff01 1a046a736f6e" // 2⁶⁴ − 1 µs
	headBadName = "010f 0a07746573742e4563 1a046a736f6e"                                    // test.Ec
)

func TestGoldenCall(t *testing.T) { // the whole of a call, byte by byte
	synctest.Test(t, func(t *testing.T) {
		got := make(chan []byte, 1)
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
				b, err := io.ReadAll(s)
				assert.NoError(t, err)
				got <- b
				_, err = s.Write(unhex(t, dataHi+unknownEven+endOK))
				assert.NoError(t, err)
				assert.NoError(t, s.Close())
			},
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		res, err := say.Call(t.Context(), client, &Text{Text: "hi"})
		require.NoError(t, err)
		assert.Equal(t, "hi", res.Text)
		assert.Equal(t, unhex(t, headSay+dataHi), <-got)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = say.Call(ctx, client, &Text{Text: "hi"})
		require.NoError(t, err)
		assert.Equal(t, unhex(t, headTimeout+dataHi), <-got)
	})
}

// raw sends bytes as the request of one call and returns those of the response.
func raw(t *testing.T, client *transport.Session, request []byte, fin bool) ([]byte, error) {
	t.Helper()
	s, err := client.OpenStream(t.Context(), transport.StreamRPC)
	require.NoError(t, err)
	defer s.Cancel(transport.StreamCanceled)
	if _, err := s.Write(request); err == nil && fin {
		_ = s.Close()
	}
	return io.ReadAll(s)
}

func TestMuxAnswersWhatIsOnTheWire(t *testing.T) {
	const notStarted = "2801"
	tests := []struct {
		name     string
		request  string
		fin      bool
		response string // begins with
		text     string // of the error contains
		runs     int64
	}{
		{"call", headSay + dataHi, true, dataHi + endOK, "", 1},
		{"the handler starts on the message, not on the FIN", headSay + dataHi, false, dataHi + endOK, "", 1},
		{"unknown even frames are skipped", headSay + unknownEven + dataHi, true, dataHi + endOK, "", 1},
		{"a timeout that is longer than time", headForever + dataHi, true, dataHi + endOK, "", 1},
		{"unknown method", headNope, true, "05", "unknown method test.Echo/Nope", 0},
		{"invalid method", headBadName, true, "05", "invalid method name", 0},
		{"unknown codec", headNoCodec, true, "05", `unknown codec "xml"`, 0},
		{"metadata key", headBadKey, true, "05", "malformed HEAD", 0},
		{"malformed HEAD", "0101ff", true, "05", "malformed HEAD", 0},
		{"no HEAD", "", true, "05", "request without HEAD", 0},
		{"message before HEAD", dataHi, true, "05", "does not begin with HEAD", 0},
		{"HEAD twice", headSay + headSay, true, "05", "misplaced HEAD", 0},
		{"HEAD over its limit", headLong, false, "05", "limit is 65536", 0},
		{"message over its limit", headSay + dataLong, false, "05", "limit is 4194304", 0},
		{"unknown odd frame", headSay + "0701ff", false, "05", "unknown frame type 0x7", 0},
		{"END in a request", headSay + endOK, false, "05", "unknown frame type 0x5", 0},
		{"no message", headSay, true, "05", "without a message", 0},
		{"two messages", headSay + dataHi + dataHi, true, "05", "more than one message", 0},
		{"truncated in HEAD", headSay[:19], true, "05", "truncated", 0},
		{"truncated in a message", headSay + dataHi[:9], true, "05", "truncated", 0},
		{"invalid JSON", headSay + "03027b7b", true, "05", "malformed request", 0},
		{"JSON and more", headSay + "03047b7d7b7d", true, "05", "something follows", 0},
		{"JSON with a mistyped field", headSay + "0309 7b22746578223a317d", true, "05", "unknown field", 0},
		{"no JSON", headSay + "0300", true, "05", "unexpected end", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEcho(rpc.Config{})
				_, client, _ := start(t, e.mux)
				got, err := raw(t, client, unhex(t, test.request), test.fin)
				require.NoError(t, err, "the response must come to its orderly end")
				assert.Equal(t, test.runs, e.calls.Load())
				require.True(t, bytes.HasPrefix(got, unhex(t, test.response)), "%x", got)
				if test.runs == 0 {
					assert.Contains(t, string(got), test.text)
					assert.True(t, bytes.HasSuffix(got, unhex(t, notStarted)), "%x", got) // R4
				}
				_, err = say.Call(t.Context(), client, &Text{Text: "hi"})
				require.NoError(t, err, "the session lives on")
			})
		})
	}
}

func TestSlowHeadIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{HeadTimeout: 2 * time.Second})
		_, client, _ := start(t, e.mux)
		begun := time.Now()
		got, err := raw(t, client, unhex(t, headSay[:19]), false)
		require.NoError(t, err)
		assert.Contains(t, string(got), "HEAD did not arrive within 2s")
		assert.InDelta(t, 2*time.Second, time.Since(begun), float64(100*time.Millisecond))
	})
}

func TestSlowMessageHasTheTimeOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		begun := time.Now()
		got, err := raw(t, client, unhex(t, headTimeout), false)
		require.NoError(t, err)
		assert.Contains(t, string(got), "deadline of the call has passed")
		assert.InDelta(t, time.Second, time.Since(begun), float64(100*time.Millisecond))
		assert.Zero(t, e.calls.Load())
	})
}

// What a peer may do instead of answering, and what its caller makes of it.
func TestCallerTellsHowAPeerFailed(t *testing.T) {
	reset := func(code transport.StreamCode) func(s *transport.Stream) {
		return func(s *transport.Stream) { s.CancelWrite(code) }
	}
	write := func(hex string) func(s *transport.Stream) {
		return func(s *transport.Stream) {
			_, _ = s.Write(unhex(t, hex))
			_ = s.Close()
		}
	}
	tests := []struct {
		name string
		peer func(s *transport.Stream)
		code rpc.Code
		x    rpc.Execution
	}{
		{"rejected", reset(transport.StreamRejected), rpc.Unavailable, rpc.NotStarted},
		{
			"rejected after some of a message", func(s *transport.Stream) {
				_, _ = s.Write(unhex(t, dataHi[:7])) // some of a frame
				time.Sleep(time.Second)
				s.CancelWrite(transport.StreamRejected)
			}, rpc.Unavailable, rpc.Maybe,
		},
		{
			"rejected after a message", func(s *transport.Stream) {
				_, _ = s.Write(unhex(t, dataHi))
				time.Sleep(time.Second)
				s.CancelWrite(transport.StreamRejected)
			}, rpc.Unavailable, rpc.Maybe,
		},
		{
			"rejected as STOP_SENDING, which proves nothing", func(s *transport.Stream) {
				s.CancelRead(transport.StreamRejected)
				time.Sleep(time.Second)
				s.CancelWrite(transport.StreamCanceled)
			}, rpc.Canceled, rpc.Maybe,
		},
		{"canceled", reset(transport.StreamCanceled), rpc.Canceled, rpc.Maybe},
		{"deadline", reset(transport.StreamDeadline), rpc.DeadlineExceeded, rpc.Maybe},
		{"too large", reset(transport.StreamTooLarge), rpc.ResourceExhausted, rpc.Maybe},
		{"excessive load", reset(transport.StreamExcessiveLoad), rpc.ResourceExhausted, rpc.Maybe},
		{"unknown type", reset(transport.StreamUnknownType), rpc.Unimplemented, rpc.Maybe},
		{"going away", reset(transport.StreamGoingAway), rpc.Unavailable, rpc.Maybe},
		{"internal", reset(transport.StreamInternal), rpc.Internal, rpc.Maybe},
		{"no error", reset(transport.StreamNoError), rpc.Internal, rpc.Maybe},
		{"unspecified", reset(transport.StreamUnspecified), rpc.Internal, rpc.Maybe},
		{"a code of the future", reset(0x4242), rpc.Internal, rpc.Maybe},
		{"FIN without END", write(dataHi), rpc.Internal, rpc.Maybe},
		{"FIN at once", write(""), rpc.Internal, rpc.Maybe},
		{"truncated message", write(dataHi[:9]), rpc.Internal, rpc.Maybe},
		{"truncated END", write(dataHi + "0503"), rpc.Internal, rpc.Maybe},
		{"END without a message", write(endOK), rpc.Internal, rpc.Ran},
		{"two messages", write(dataHi + dataHi + endOK), rpc.Internal, rpc.Maybe},
		{"message that is no JSON", write("03027b7b" + endOK), rpc.Internal, rpc.Maybe},
		{"message over the limit", write(dataLong), rpc.ResourceExhausted, rpc.Maybe},
		{"END over the limit", write("0580010001"), rpc.ResourceExhausted, rpc.Maybe},
		{"unknown odd frame", write("0700"), rpc.Internal, rpc.Maybe},
		{"malformed END", write("0501ff"), rpc.Internal, rpc.Maybe},
		{"malformed HEAD", write("0101ff"), rpc.Internal, rpc.Maybe},
		{"misplaced HEAD", write(dataHi + "0100"), rpc.Internal, rpc.Maybe},
		{"error", write("0504 0805 2802"), rpc.NotFound, rpc.Ran},
		{"error, not started", write("0504 0808 2801"), rpc.ResourceExhausted, rpc.NotStarted},
		{"error that does not say", write("0502 0808"), rpc.ResourceExhausted, rpc.Maybe},
		{"error of an unknown execution", write("0504 0808 2807"), rpc.ResourceExhausted, rpc.Maybe},
		{"error of an unknown code", write("0504 0863 2802"), rpc.Unknown, rpc.Ran},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
					transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
						if test.name != "rejected as STOP_SENDING, which proves nothing" {
							_, _ = io.ReadAll(s)
						}
						test.peer(s)
					},
				}})
				client := n.Dial(srv, "alice", transport.Config{})
				_, err := say.Call(t.Context(), client, &Text{Text: "hi"})
				e := wantError(t, err, test.code, test.x)
				assert.NotEmpty(t, e.Error())
				require.NoError(t, client.Release(t.Context()), "no stream is left")
			})
		})
	}
}

// An END is the status, whatever comes behind it.
func TestWhatFollowsEndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
				_, _ = io.ReadAll(s)
				_, _ = s.Write(unhex(t, dataHi+endOK+dataHi))
				_ = s.Close()
			},
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		res, err := say.Call(t.Context(), client, &Text{Text: "hi"})
		require.NoError(t, err)
		assert.Equal(t, "hi", res.Text)
	})
}

func TestNotStartedNeverRan(t *testing.T) { // R4
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Authorize: func(_ context.Context, c rpc.Call) error {
			switch v, _ := c.Metadata.Get("who"); v {
			case "nobody":
				return errors.New("secret")
			case "late":
				return rpc.Errorf(rpc.FailedPrecondition, "too late")
			}
			return nil
		}})
		_, client, _ := start(t, e.mux)
		ctx := t.Context()
		over, cancel := context.WithCancel(ctx)
		cancel()
		past, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
		defer cancel()
		with := func(key, value string) rpc.CallOption {
			return rpc.WithMetadata(rpc.Metadata{{Key: key, Value: value}})
		}
		call := func(ctx context.Context, opts ...rpc.CallOption) error {
			_, err := say.Call(ctx, client, &Text{Text: "hi"}, opts...)
			return err
		}

		wantError(t, call(over), rpc.Canceled, rpc.NotStarted)
		wantError(t, call(past), rpc.DeadlineExceeded, rpc.NotStarted)
		wantError(t, call(ctx, rpc.WithCodec("xml")), rpc.InvalidArgument, rpc.NotStarted)
		wantError(t, call(ctx, rpc.WithCodec("proto")), rpc.InvalidArgument, rpc.NotStarted)
		wantError(t, call(ctx, rpc.WithMaxMessage(5)), rpc.ResourceExhausted, rpc.NotStarted)
		wantError(t, call(ctx, with("Upper", "x")), rpc.InvalidArgument, rpc.NotStarted)
		wantError(t, call(ctx, with("trunkline-x", "x")), rpc.InvalidArgument, rpc.NotStarted)
		wantError(t, call(ctx, with("big", strings.Repeat("x", 64<<10))), rpc.ResourceExhausted, rpc.NotStarted)
		refused := wantError(t, call(ctx, with("who", "nobody")), rpc.PermissionDenied, rpc.NotStarted)
		assert.NotContains(t, refused.Message, "secret")
		wantError(t, call(ctx, with("who", "late")), rpc.FailedPrecondition, rpc.NotStarted)
		_, err := rpc.Unary[chan int, Text]("test.Echo/Say").Call(ctx, client, new(chan int))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
		_, err = rpc.Unary[Text, Text]("no slash").Call(ctx, client, &Text{})
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
		_, err = rpc.Unary[Text, Text]("test.Echo/Nope").Call(ctx, client, &Text{})
		nope := wantError(t, err, rpc.Unimplemented, rpc.NotStarted)
		assert.Contains(t, nope.Message, "test.Echo/Nope")
		s, err := chat.Call(ctx, client)
		require.NoError(t, err)
		s.Close() // before anything was sent
		_, err = s.Recv()
		wantError(t, err, rpc.Canceled, rpc.NotStarted)

		ran := e.calls.Load()
		assert.Zero(t, ran)
		require.NoError(t, client.Release(ctx))
		wantError(t, call(ctx), rpc.Unavailable, rpc.NotStarted)
		assert.Zero(t, e.calls.Load())
	})
}

func TestCallWhoseFirstWriteFailsIsNotStarted(t *testing.T) { // R4
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		s, err := chat.Call(t.Context(), client)
		require.NoError(t, err)
		client.Abort(transport.Aborted, "enough")
		wantError(t, s.Send(&Text{}), rpc.Unavailable, rpc.NotStarted)
		_, err = s.Recv()
		wantError(t, err, rpc.Unavailable, rpc.NotStarted)
		assert.Zero(t, e.calls.Load())
	})
}

// Whatever code a peer stops the request with, its response has the status.
func TestSenderLeavesTheStatusToTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
				s.CancelRead(transport.StreamTooLarge)
				time.Sleep(time.Second)
				_, _ = s.Write(unhex(t, "0504 0808 2801"))
				_ = s.Close()
			},
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		s, err := chat.Call(t.Context(), client)
		for err == nil {
			err = s.Send(&Text{Text: "hi"})
			time.Sleep(rtt)
		}
		require.ErrorIs(t, err, io.EOF)
		_, err = s.Recv()
		wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)
	})
}

func TestCallsDuringAReleaseAreNotStarted(t *testing.T) { // R4
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _, _ = hang.Call(ctx, client, &Text{}) }()
		<-e.hung
		released := make(chan error, 1)
		go func() { released <- client.Release(t.Context()) }()
		synctest.Wait()
		_, err := say.Call(t.Context(), client, &Text{})
		wantError(t, err, rpc.Unavailable, rpc.NotStarted)
		require.ErrorIs(t, err, transport.ErrGoingAway)
		cancel()
		require.NoError(t, <-released)
		assert.EqualValues(t, 1, e.calls.Load())
	})
}

func TestHandlerErrorsCrossTheWireAsCodeAndSafeText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		e := newEcho(rpc.Config{Logger: l.logger()})
		goexit := rpc.Unary[Text, Text]("test.Echo/Goexit")
		rpc.Handle(e.mux, goexit, func(context.Context, *Text) (*Text, error) {
			runtime.Goexit()
			return nil, nil
		})
		detailed := rpc.Unary[Text, Text]("test.Echo/Detailed")
		rpc.Handle(e.mux, detailed, func(context.Context, *Text) (*Text, error) {
			detail, err := anypb.New(wrapperspb.String("detail"))
			assert.NoError(t, err)
			e := rpc.Errorf(rpc.DataLoss, "bad \xff %w", errors.New("text"))
			e.Details, e.Execution = []*anypb.Any{detail}, rpc.NotStarted
			return nil, e
		})
		_, client, _ := start(t, e.mux)
		call := func(text string) error {
			_, err := fail.Call(t.Context(), client, &Text{Text: text})
			return err
		}

		err := wantError(t, call("cake"), rpc.NotFound, rpc.Ran)
		assert.Equal(t, "no cake here", err.Message)
		assert.True(t, err.Remote)

		err = wantError(t, call("plain"), rpc.Unknown, rpc.Ran)
		assert.NotContains(t, err.Message, "secret")
		assert.Contains(t, l.String(), "secret")

		err = wantError(t, call("panic"), rpc.Internal, rpc.Ran)
		assert.NotContains(t, err.Message, "secret")
		assert.Contains(t, l.String(), "panic=secret")
		assert.Contains(t, l.String(), "rpc_test.go", "the stack")

		wantError(t, call("nothing"), rpc.Unknown, rpc.Ran)

		_, got := detailed.Call(t.Context(), client, &Text{})
		err = wantError(t, got, rpc.DataLoss, rpc.Ran) // it has run, whatever it says
		assert.Equal(t, "bad \uFFFD text", err.Message)
		require.Len(t, err.Details, 1)
		m, e2 := err.Details[0].UnmarshalNew()
		require.NoError(t, e2)
		assert.Equal(t, "detail", m.(*wrapperspb.StringValue).GetValue())

		_, got = goexit.Call(t.Context(), client, &Text{})
		wantError(t, got, rpc.Internal, rpc.Ran)

		_, got = say.Call(t.Context(), client, &Text{})
		require.NoError(t, got, "others are unharmed")
	})
}

func TestLimitsHoldBothWaysAndTheSessionLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{MaxMessage: 1000, MaxMetadata: 500})
		big := rpc.Unary[rpc.Raw, rpc.Raw]("test.Echo/Big")
		rpc.Handle(e.mux, big, func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
			res := make(rpc.Raw, len(*req)*10)
			return &res, nil
		})
		_, client, _ := start(t, e.mux)
		long, short := make(rpc.Raw, 1<<20), make(rpc.Raw, 1000)

		_, err := octets.Call(t.Context(), client, &long) // more than the window: the peer must stop it
		refused := wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)
		assert.Contains(t, refused.Message, "1048576 bytes, limit is 1000")
		assert.True(t, refused.Remote)
		assert.Zero(t, e.calls.Load())

		_, err = octets.Call(t.Context(), client, &short)
		require.NoError(t, err)
		_, err = big.Call(t.Context(), client, &short) // the handler's answer is over its limit
		wantError(t, err, rpc.ResourceExhausted, rpc.Ran)
		_, err = octets.Call(t.Context(), client, &short, rpc.WithMaxMessage(999))
		wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)
		hundred := short[:100]
		_, err = big.Call(t.Context(), client, &hundred, rpc.WithMaxMessage(999)) // the caller's limit
		wantError(t, err, rpc.ResourceExhausted, rpc.Maybe)

		_, err = say.Call(t.Context(), client, &Text{}, rpc.WithMetadata(rpc.Metadata{{Key: "k", Value: strings.Repeat("x", 500)}}))
		wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)

		s, err := chat.Call(t.Context(), client)
		require.NoError(t, err)
		require.NoError(t, s.Send(&Text{Text: strings.Repeat("x", 1000)}))
		_, err = s.Recv()
		wantError(t, err, rpc.ResourceExhausted, rpc.Ran)

		_, err = say.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
	})
}

// As everywhere, zero is the default and negative none, on either side and with compression.
func TestNegativeLimitsAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := gzip.New()
		n := transporttest.New(t, rtt)
		dial := func(cfg rpc.Config) *transport.Session {
			cfg.Compressors = []rpc.Compressor{z}
			return n.Dial(n.Listen(transport.Config{Handlers: handlers(newEcho(cfg).mux)}), "alice", transport.Config{})
		}
		limited, unlimited := dial(rpc.Config{}), dial(rpc.Config{MaxMessage: -1, HeadTimeout: -1})
		large := make(rpc.Raw, 5<<20)
		for _, opts := range [][]rpc.CallOption{nil, {rpc.WithCompression(z)}} {
			_, err := octets.Call(t.Context(), unlimited, &large, opts...)
			assert.False(t, wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted).Remote, "the caller's default")
			_, err = octets.Call(t.Context(), limited, &large, append(opts, rpc.WithMaxMessage(-1))...)
			assert.True(t, wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted).Remote, "the peer's")
			back, err := octets.Call(t.Context(), unlimited, &large, append(opts, rpc.WithMaxMessage(-1))...)
			require.NoError(t, err)
			require.Len(t, *back, len(large))
		}

		request := transport.AppendFrame(head("test.Echo/Bytes", "raw"), 0x03, []byte("x"))
		str := attack(t, unlimited, request[:1])
		time.Sleep(time.Minute)
		_, err := str.Write(request[1:])
		require.NoError(t, err)
		frames := readFrames(t, str)
		require.Equal(t, "\x05", frames[len(frames)-1], "answered")
	})
}

// M97, for who sends them: what the peer would refuse does not leave.
func TestM97FieldsAndDetailsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, mostDetails = 1024, 256
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, say, func(ctx context.Context, req *Text) (*Text, error) {
			for range most {
				assert.NoError(t, rpc.AddHeader(ctx, "k", ""))
				assert.NoError(t, rpc.AddTrailer(ctx, "k", ""))
			}
			assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(rpc.AddHeader(ctx, "k", "")))
			assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(rpc.AddTrailer(ctx, "k", "")))
			if req.N == 0 {
				return req, nil
			}
			err := rpc.Errorf(rpc.DataLoss, "lost")
			for range req.N {
				err.Details = append(err.Details, new(anypb.Any))
			}
			return nil, err
		})
		_, client, _ := start(t, mux)
		md := make(rpc.Metadata, most+1)
		for i := range md {
			md[i].Key = "k"
		}
		var header, trailer rpc.Metadata
		opts := []rpc.CallOption{rpc.WithHeader(&header), rpc.WithTrailer(&trailer)}
		_, err := say.Call(t.Context(), client, &Text{}, append(opts, rpc.WithMetadata(md[:most]))...)
		require.NoError(t, err)
		assert.Len(t, header, most)
		assert.Len(t, trailer, most)
		_, err = say.Call(t.Context(), client, &Text{}, rpc.WithMetadata(md))
		wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)
		_, err = say.Call(t.Context(), client, &Text{N: mostDetails})
		assert.Len(t, wantError(t, err, rpc.DataLoss, rpc.Ran).Details, mostDetails)
		_, err = say.Call(t.Context(), client, &Text{N: mostDetails + 1}) // they are left out
		assert.Empty(t, wantError(t, err, rpc.DataLoss, rpc.Ran).Details)
	})
}

func TestCallOnAnEndedSessionSaysHowItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			code transport.CloseCode
			want rpc.Code
		}{
			{transport.Aborted, rpc.Unavailable},
			{transport.Protocol, rpc.Internal},
			{transport.Unauthorized, rpc.Unauthenticated},
			{transport.Kicked, rpc.PermissionDenied},
			{transport.Replaced, rpc.Unavailable},
		} {
			e := newEcho(rpc.Config{})
			_, client, server := start(t, e.mux)
			answered := make(chan error, 1)
			go func() {
				_, err := hang.Call(t.Context(), client, &Text{})
				answered <- err
			}()
			<-e.hung
			server.Abort(test.code, "enough")
			err := <-answered
			wantError(t, err, test.want, rpc.Maybe)
			code, ok := transport.CodeOf(err)
			assert.True(t, ok)
			assert.Equal(t, test.code, code)
			_, err = say.Call(t.Context(), client, &Text{})
			wantError(t, err, test.want, rpc.NotStarted)
		}
	})
}

func TestHandleRefusesNamesThatAreInvalidOrTaken(t *testing.T) {
	echo := func(_ context.Context, req *Text) (*Text, error) { return req, nil }
	mux := rpc.NewMux(rpc.Config{})
	for _, name := range []string{"", "a", "/", "a/", "/b", "a/b/c", "a b/c", "ä/b", "a/b\n", strings.Repeat("a", 254) + "/b"} {
		assert.Panics(t, func() { rpc.Handle(mux, rpc.Unary[Text, Text](name), echo) }, "%q", name)
	}
	for _, name := range []string{"b.v1.S_0/M", "a/b", strings.Repeat("a", 253) + "/b"} {
		assert.NotPanics(t, func() { rpc.Handle(mux, rpc.Unary[Text, Text](name), echo) }, "%q", name)
	}
	assert.Panics(t, func() { rpc.Handle(mux, rpc.Unary[Text, Text]("a/b"), echo) })
	assert.Equal(t, []string{"a/b", strings.Repeat("a", 253) + "/b", "b.v1.S_0/M"}, mux.Methods())
}
