package rpc_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/interoppb"
	"github.com/trunkline-go/trunkline/rpc/internal/interoppb/interoppbrpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// The service of gRPC's interop tests, with its names and its messages.
var (
	emptyCall       = interoppbrpc.TestServiceEmptyCall
	unaryCall       = interoppbrpc.TestServiceUnaryCall
	streamingOutput = interoppbrpc.TestServiceStreamingOutputCall
	streamingInput  = interoppbrpc.TestServiceStreamingInputCall
	fullDuplex      = interoppbrpc.TestServiceFullDuplexCall
)

// The metadata that the service sends back: as header, and as trailer.
const (
	echoInitial  = "x-grpc-test-echo-initial"
	echoTrailing = "x-grpc-test-echo-trailing-bin"
)

// interopMux serves grpc.testing.TestService, as gRPC's list describes it.
func interopMux(cfg rpc.Config) *rpc.Mux {
	mux := rpc.NewMux(cfg)
	rpc.Handle(mux, emptyCall, func(context.Context, *interoppb.Empty) (*interoppb.Empty, error) {
		return &interoppb.Empty{}, nil
	})
	rpc.Handle(mux, unaryCall, func(ctx context.Context, req *interoppb.SimpleRequest) (*interoppb.SimpleResponse, error) {
		if err := echoBack(ctx, req.GetResponseStatus()); err != nil {
			return nil, err
		}
		return &interoppb.SimpleResponse{Payload: zeros(req.GetResponseSize())}, nil
	})
	rpc.Handle(mux, streamingOutput, output)
	rpc.Handle(mux, streamingInput, func(_ context.Context, in *rpc.Receiver[interoppb.StreamingInputCallRequest]) (*interoppb.StreamingInputCallResponse, error) {
		var total int
		for req, err := range in.All() {
			if err != nil {
				return nil, err
			}
			total += len(req.GetPayload().GetBody())
		}
		return &interoppb.StreamingInputCallResponse{AggregatedPayloadSize: int32(total)}, nil
	})
	rpc.Handle(mux, fullDuplex, func(ctx context.Context, s *rpc.Stream[interoppb.StreamingOutputCallResponse, interoppb.StreamingOutputCallRequest]) error {
		if err := echoBack(ctx, nil); err != nil {
			return err
		}
		for req, err := range s.All() {
			if err != nil {
				return err
			}
			if err := output(ctx, req, &s.Sender); err != nil {
				return err
			}
		}
		return nil
	})
	return mux
}

// output sends what one request asks for.
func output(ctx context.Context, req *interoppb.StreamingOutputCallRequest, out *rpc.Sender[interoppb.StreamingOutputCallResponse]) error {
	if err := echoStatus(req.GetResponseStatus()); err != nil {
		return err
	}
	for _, p := range req.GetResponseParameters() {
		select {
		case <-time.After(time.Duration(p.GetIntervalUs()) * time.Microsecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		send := out.Send
		if p.GetCompressed() != nil && !p.GetCompressed().GetValue() {
			send = out.SendUncompressed
		}
		if err := send(&interoppb.StreamingOutputCallResponse{Payload: zeros(p.GetSize())}); err != nil {
			return err
		}
	}
	return nil
}

// echoBack sends back the metadata that is meant for that, and returns the status.
func echoBack(ctx context.Context, st *interoppb.EchoStatus) error {
	call, _ := rpc.CallFrom(ctx)
	if v, ok := call.Metadata.Get(echoInitial); ok {
		if err := rpc.AddHeader(ctx, echoInitial, v); err != nil {
			return err
		}
	}
	if v, ok := call.Metadata.Get(echoTrailing); ok {
		if err := rpc.AddTrailer(ctx, echoTrailing, v); err != nil {
			return err
		}
	}
	return echoStatus(st)
}

func echoStatus(st *interoppb.EchoStatus) error {
	if st.GetCode() == 0 {
		return nil
	}
	return rpc.Errorf(rpc.Code(st.GetCode()), "%s", st.GetMessage())
}

// zeros is a payload of n bytes.
func zeros(n int32) *interoppb.Payload { return &interoppb.Payload{Body: make([]byte, n)} }

// The lengths of gRPC's cases, in bytes.
const (
	largeRequest  = 271828
	largeResponse = 314159
)

var (
	requestSizes  = []int32{27182, 8, 1828, 45904}
	responseSizes = []int32{31415, 9, 2653, 58979}
)

func largeUnary() *interoppb.SimpleRequest {
	return &interoppb.SimpleRequest{ResponseSize: largeResponse, Payload: zeros(largeRequest)}
}

// callLarge makes the call of large_unary.
func callLarge(ctx context.Context, conn rpc.Conn, opts ...rpc.CallOption) error {
	res, err := unaryCall.Call(ctx, conn, largeUnary(), opts...)
	if err != nil {
		return err
	}
	if n := len(res.GetPayload().GetBody()); n != largeResponse {
		return errors.New("response of another length")
	}
	return nil
}

// ask is a request for one response each of these sizes.
func ask(payload int32, sizes ...int32) *interoppb.StreamingOutputCallRequest {
	req := &interoppb.StreamingOutputCallRequest{Payload: zeros(payload)}
	for _, n := range sizes {
		req.ResponseParameters = append(req.ResponseParameters, &interoppb.ResponseParameters{Size: n})
	}
	return req
}

// wantSizes receives responses of these sizes, and the end of the stream.
func wantSizes(t *testing.T, recv func() (*interoppb.StreamingOutputCallResponse, error), sizes ...int32) {
	t.Helper()
	for _, want := range sizes {
		res, err := recv()
		require.NoError(t, err)
		require.Len(t, res.GetPayload().GetBody(), int(want))
	}
	_, err := recv()
	require.ErrorIs(t, err, io.EOF)
}

// passOn is an interceptor that leaves a call as it is.
func passOn(ctx context.Context, _ *rpc.Call, next func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return next(ctx)
}

// interopPair returns both sides of a session, each of which serves the service, with these interceptors.
func interopPair(t *testing.T, interceptors ...rpc.Interceptor) (n *transporttest.Network, client, server *transport.Session) {
	t.Helper()
	n = transporttest.New(t, rtt)
	cfg := transport.Config{Handlers: handlers(interopMux(rpc.Config{Interceptors: interceptors}))}
	srv := n.Listen(cfg)
	client, server = n.Pair(srv, "alice", cfg)
	return n, client, server
}

// releaseAtOnce asserts that no call has left a stream on either side: a release waits for nothing.
func releaseAtOnce(t *testing.T, client, server *transport.Session) {
	t.Helper()
	time.Sleep(time.Second) // what a cancel has left behind ends
	begun := time.Now()
	require.NoError(t, client.Release(t.Context()))
	assert.Less(t, time.Since(begun), 5*rtt)
	require.NoError(t, server.Wait(t.Context()))
}
