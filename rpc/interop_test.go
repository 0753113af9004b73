package rpc_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/interoppb"
	"github.com/trunkline-go/trunkline/transport"
)

// The cases of gRPC's interop list (grpc/doc/interop-test-descriptions.md), by their names, each called by the client
// and by the server. The compressed ones are with compression, those of HTTP/2 in interop_negative_test.go, and those
// that the list has as to do in interop_todo_test.go. Each is run with interceptors, too. Credentials and caching proxies are not there.
func TestInterop(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, conn rpc.Conn)
	}{
		{"empty_unary", emptyUnary},
		{"large_unary", func(t *testing.T, conn rpc.Conn) { require.NoError(t, callLarge(t.Context(), conn)) }},
		{"client_streaming", clientStreaming},
		{"server_streaming", serverStreaming},
		{"ping_pong", pingPong},
		{"empty_stream", emptyStream},
		{"custom_metadata", customMetadata},
		{"status_code_and_message", func(t *testing.T, conn rpc.Conn) { statusAndMessage(t, conn, "test status message") }},
		{"special_status_message", func(t *testing.T, conn rpc.Conn) {
			statusAndMessage(t, conn, "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n")
		}},
		{"unimplemented_method", unimplemented("grpc.testing.TestService/UnimplementedCall")},
		{"unimplemented_service", unimplemented("grpc.testing.UnimplementedService/UnimplementedCall")},
		{"cancel_after_begin", cancelAfterBegin},
		{"cancel_after_first_response", cancelAfterFirstResponse},
		{"timeout_on_sleeping_server", timeoutOnSleepingServer},
		{"rpc_soak", rpcSoak},
	} {
		for _, from := range []string{"client", "server"} {
			for how, interceptors := range map[string][]rpc.Interceptor{"": nil, ", intercepted": {passOn, passOn}} {
				t.Run(test.name+"/"+from+how, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						_, client, server := interopPair(t, interceptors...)
						conn := client
						if from == "server" {
							conn = server
						}
						test.run(t, rpc.NewClient(conn, rpc.ClientConfig{Interceptors: interceptors}))
						releaseAtOnce(t, client, server)
					})
				})
			}
		}
	}
}

func emptyUnary(t *testing.T, conn rpc.Conn) {
	res, err := emptyCall.Call(t.Context(), conn, &interoppb.Empty{})
	require.NoError(t, err)
	require.NotNil(t, res)
}

func clientStreaming(t *testing.T, conn rpc.Conn) {
	res, err := streamingInput.Call(t.Context(), conn, func(yield func(*interoppb.StreamingInputCallRequest) bool) {
		for _, n := range requestSizes {
			if !yield(&interoppb.StreamingInputCallRequest{Payload: zeros(n)}) {
				return
			}
		}
	})
	require.NoError(t, err)
	require.EqualValues(t, 74922, res.GetAggregatedPayloadSize())
}

func serverStreaming(t *testing.T, conn rpc.Conn) {
	in, err := streamingOutput.Call(t.Context(), conn, ask(0, responseSizes...))
	require.NoError(t, err)
	wantSizes(t, in.Recv, responseSizes...)
}

func pingPong(t *testing.T, conn rpc.Conn) {
	s, err := fullDuplex.Call(t.Context(), conn)
	require.NoError(t, err)
	for i, n := range requestSizes {
		require.NoError(t, s.Send(ask(n, responseSizes[i])))
		res, err := s.Recv()
		require.NoError(t, err)
		require.Len(t, res.GetPayload().GetBody(), int(responseSizes[i]))
	}
	require.NoError(t, s.CloseSend())
	_, err = s.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func emptyStream(t *testing.T, conn rpc.Conn) {
	s, err := fullDuplex.Call(t.Context(), conn)
	require.NoError(t, err)
	require.NoError(t, s.CloseSend())
	_, err = s.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func customMetadata(t *testing.T, conn rpc.Conn) {
	const initial, trailing = "test_initial_metadata_value", "\xab\xab\xab"
	var header, trailer rpc.Metadata
	sent := rpc.WithMetadata(rpc.Metadata{{Key: echoInitial, Value: initial}, {Key: echoTrailing, Value: trailing}})
	check := func() {
		require.Equal(t, rpc.Metadata{{Key: echoInitial, Value: initial}}, header)
		require.Equal(t, rpc.Metadata{{Key: echoTrailing, Value: trailing}}, trailer)
	}
	require.NoError(t, callLarge(t.Context(), conn, sent, rpc.WithHeader(&header), rpc.WithTrailer(&trailer)))
	check()

	s, err := fullDuplex.Call(t.Context(), conn, sent)
	require.NoError(t, err)
	require.NoError(t, s.Send(ask(largeRequest, largeResponse)))
	require.NoError(t, s.CloseSend())
	header, err = s.Header()
	require.NoError(t, err)
	wantSizes(t, s.Recv, largeResponse)
	trailer = s.Trailer()
	check()
}

func statusAndMessage(t *testing.T, conn rpc.Conn, message string) {
	t.Helper()
	st := &interoppb.EchoStatus{Code: 2, Message: message}
	_, err := unaryCall.Call(t.Context(), conn, &interoppb.SimpleRequest{ResponseStatus: st})
	require.Equal(t, message, wantError(t, err, rpc.Unknown, rpc.Ran).Message)

	s, err := fullDuplex.Call(t.Context(), conn)
	require.NoError(t, err)
	require.NoError(t, s.Send(&interoppb.StreamingOutputCallRequest{ResponseStatus: st}))
	require.NoError(t, s.CloseSend())
	_, err = s.Recv()
	require.Equal(t, message, wantError(t, err, rpc.Unknown, rpc.Ran).Message)
}

func unimplemented(method string) func(t *testing.T, conn rpc.Conn) {
	return func(t *testing.T, conn rpc.Conn) {
		_, err := rpc.Unary[interoppb.Empty, interoppb.Empty](method).Call(t.Context(), conn, &interoppb.Empty{})
		wantError(t, err, rpc.Unimplemented, rpc.NotStarted)
	}
}

// Where requests are a sequence, HEAD goes out with the first of them: a call that is canceled before it has not started. A
// Bidi's Recv sends HEAD alone, and then it may have run.
func cancelAfterBegin(t *testing.T, conn rpc.Conn) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := streamingInput.Call(ctx, conn, func(func(*interoppb.StreamingInputCallRequest) bool) { cancel() })
	wantError(t, err, rpc.Canceled, rpc.NotStarted)

	ctx, cancel = context.WithCancel(t.Context())
	s, err := fullDuplex.Call(ctx, conn)
	require.NoError(t, err)
	go func() {
		time.Sleep(rtt) // HEAD is there by now
		cancel()
	}()
	_, err = s.Recv()
	wantError(t, err, rpc.Canceled, rpc.Maybe)
}

func cancelAfterFirstResponse(t *testing.T, conn rpc.Conn) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := fullDuplex.Call(ctx, conn)
	require.NoError(t, err)
	require.NoError(t, s.Send(ask(requestSizes[0], responseSizes[0])))
	res, err := s.Recv()
	require.NoError(t, err)
	require.Len(t, res.GetPayload().GetBody(), int(responseSizes[0]))
	cancel()
	_, err = s.Recv()
	wantError(t, err, rpc.Canceled, rpc.Maybe)
}

func timeoutOnSleepingServer(t *testing.T, conn rpc.Conn) {
	for _, timeout := range []time.Duration{time.Millisecond, time.Second} { // less than the way there, and more
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		begun := time.Now()
		s, err := fullDuplex.Call(ctx, conn)
		require.NoError(t, err)
		if err = s.Send(ask(requestSizes[0])); err == nil {
			_, err = s.Recv()
		}
		require.Equal(t, rpc.DeadlineExceeded, rpc.CodeOf(err), "%v", err)
		require.Equal(t, timeout, time.Since(begun))
		cancel()
	}
}

// No call of many on one session fails, or takes longer than what it has to send takes.
func rpcSoak(t *testing.T, conn rpc.Conn) {
	for range 3 { // the windows open meanwhile
		require.NoError(t, callLarge(t.Context(), conn))
	}
	for range 100 {
		begun := time.Now()
		require.NoError(t, callLarge(t.Context(), conn))
		require.Less(t, time.Since(begun), 12*rtt)
	}
}

func TestInterop_channel_soak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client, server := interopPair(t)
		releaseAtOnce(t, client, server)
		srv := n.Listen(transport.Config{Handlers: handlers(interopMux(rpc.Config{}))})
		time.Sleep(time.Second)
		synctest.Wait()
		before := len(goroutines())
		for range 50 { // a session for each call
			client, server := n.Pair(srv, "alice", transport.Config{})
			require.NoError(t, callLarge(t.Context(), client))
			releaseAtOnce(t, client, server)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		after := goroutines()
		require.Len(t, after, before, "goroutines: %s", strings.Join(after, "\n\n"))
	})
}
