package rpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

const rtt = 20 * time.Millisecond

// Text is a plain Go message.
type Text struct {
	Text string `json:"text"`
	N    int    `json:"n,omitempty"`
}

// The methods that the tests call.
var (
	say    = rpc.Unary[Text, Text]("test.Echo/Say")
	wrap   = rpc.Unary[wrapperspb.StringValue, wrapperspb.StringValue]("test.Echo/Wrap")
	octets = rpc.Unary[rpc.Raw, rpc.Raw]("test.Echo/Bytes")
	count  = rpc.ServerStream[Text, Text]("test.Echo/Count")
	sum    = rpc.ClientStream[Text, Text]("test.Echo/Sum")
	chat   = rpc.Bidi[Text, Text]("test.Echo/Chat")
	hang   = rpc.Unary[Text, Text]("test.Echo/Hang")
	fail   = rpc.Unary[Text, Text]("test.Echo/Fail")
)

// echo is a service whose invocations are counted.
type echo struct {
	mux    *rpc.Mux
	calls  atomic.Int64
	causes chan error // why the contexts of hang ended
	hung   chan struct{}
}

func newEcho(cfg rpc.Config) *echo {
	e := &echo{mux: rpc.NewMux(cfg), causes: make(chan error, 2000), hung: make(chan struct{}, 2000)}
	rpc.Handle(e.mux, say, func(_ context.Context, req *Text) (*Text, error) {
		e.calls.Add(1)
		return req, nil
	})
	rpc.Handle(e.mux, wrap, func(_ context.Context, req *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
		e.calls.Add(1)
		return req, nil
	})
	rpc.Handle(e.mux, octets, func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
		e.calls.Add(1)
		return req, nil
	})
	rpc.Handle(e.mux, count, func(_ context.Context, req *Text, out *rpc.Sender[Text]) error {
		e.calls.Add(1)
		for i := range req.N {
			if err := out.Send(&Text{Text: req.Text, N: i}); err != nil {
				return err
			}
		}
		return nil
	})
	rpc.Handle(e.mux, sum, func(_ context.Context, in *rpc.Receiver[Text]) (*Text, error) {
		e.calls.Add(1)
		total := 0
		for m, err := range in.All() {
			if err != nil {
				return nil, err
			}
			total += m.N
		}
		return &Text{N: total}, nil
	})
	rpc.Handle(e.mux, chat, func(_ context.Context, s *rpc.Stream[Text, Text]) error {
		e.calls.Add(1)
		for m, err := range s.All() {
			if err != nil {
				return err
			}
			if err := s.Send(m); err != nil {
				return err
			}
		}
		return nil
	})
	rpc.Handle(e.mux, hang, func(ctx context.Context, _ *Text) (*Text, error) {
		e.calls.Add(1)
		e.hung <- struct{}{}
		<-ctx.Done()
		e.causes <- context.Cause(ctx)
		return nil, ctx.Err()
	})
	rpc.Handle(e.mux, fail, func(_ context.Context, req *Text) (*Text, error) {
		e.calls.Add(1)
		switch req.Text {
		case "panic":
			panic("secret")
		case "plain":
			return nil, errors.New("secret")
		case "nothing":
			return nil, nil
		}
		return nil, rpc.Errorf(rpc.NotFound, "no %s here", req.Text)
	})
	return e
}

// handlers returns mux as a session wants it.
func handlers(mux *rpc.Mux) map[transport.StreamType]transport.Handler {
	return map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}
}

// start returns both sides of a session whose server serves mux.
func start(t *testing.T, mux *rpc.Mux) (n *transporttest.Network, client, server *transport.Session) {
	t.Helper()
	n = transporttest.New(t, rtt)
	srv := n.Listen(transport.Config{Handlers: handlers(mux)})
	client, server = n.Pair(srv, "alice", transport.Config{})
	return n, client, server
}

// wantError asserts code and execution of err.
func wantError(t *testing.T, err error, code rpc.Code, x rpc.Execution) *rpc.Error {
	t.Helper()
	require.Error(t, err)
	e, ok := errors.AsType[*rpc.Error](err)
	require.True(t, ok, "%T: %v", err, err)
	require.Equal(t, code, e.Code(), "%v", err)
	require.Equal(t, x, e.Execution, "%v", err)
	return e
}

// logs collects what is logged.
type logs struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

var _ io.Writer = (*logs)(nil)
