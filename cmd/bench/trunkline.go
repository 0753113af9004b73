package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// trunklinePeer is this project, as a user gets it: default configuration but for timeouts, and for how
// many sessions one identity may have, because one has them all.
func trunklinePeer() *peer {
	return &peer{
		name:  "trunkline",
		serve: serveTrunkline,
		rpc: func(addr string, keys *keySet) (rpcConn, error) {
			cred, err := keys.credentials(keys.Client)
			if err != nil {
				return nil, err
			}
			s, err := dialTrunkline(context.Background(), addr, cred, false)
			if err != nil {
				return nil, err
			}
			return &trunklineRPC{s}, nil
		},
		chat: func(addr string, keys *keySet) (chatDialer, error) {
			return &trunklineChat{addr, keys}, nil
		},
		session: newTrunklineDialer,
		serveOn: serveTrunklineOn,
		survive: surviveTrunkline,

		serveDurable: serveTrunklineDurable,
	}
}

// quietTime is the idle timeout of connections that wait for their turn without a keepalive.
const quietTime = 10 * time.Minute

// The methods, for all peers whose codec is protobuf.
type bytesValue = wrapperspb.BytesValue

const service = "bench.Echo"

var (
	methodEcho     = rpc.Unary[bytesValue, bytesValue](service + "/Echo")
	methodStream   = rpc.ServerStream[bytesValue, bytesValue](service + "/Stream")
	methodPingPong = rpc.Bidi[bytesValue, bytesValue](service + "/PingPong")
)

type trunklineServer struct{ srv *transport.Server }

func (s *trunklineServer) Addr() string { return s.srv.Addr().String() }

func serveTrunkline(suite string, keys *keySet) (server, error) {
	return newTrunklineServer(suite, keys, chat.NewMemoryLog(chat.MemoryLogConfig{}), func(*transport.Config) {})
}

func serveTrunklineDurable(dir string, keys *keySet) (server, error) {
	log, err := sqlite.Open(context.Background(), filepath.Join(dir, "rooms.db"), sqlite.Config{}) // ends with the process
	if err != nil {
		return nil, err
	}
	return newTrunklineServer(suiteChat, keys, log, func(*transport.Config) {})
}

// newTrunklineServer starts a server whose configuration change may change.
func newTrunklineServer(suite string, keys *keySet, log chat.Log, change func(cfg *transport.Config)) (*trunklineServer, error) {
	cred, err := keys.credentials(keys.Server)
	if err != nil {
		return nil, err
	}
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, methodEcho, func(_ context.Context, req *bytesValue) (*bytesValue, error) { return req, nil }, rpc.LendRequest())
	rpc.Handle(mux, methodStream, func(_ context.Context, req *bytesValue, out *rpc.Sender[bytesValue]) error {
		r, err := parseStreamRequest(req.GetValue())
		if err != nil {
			return err
		}
		var m bytesValue
		return r.serve(func(msg []byte) error {
			m.Value = msg
			return out.Send(&m)
		})
	})
	rpc.Handle(mux, methodPingPong, func(_ context.Context, s *rpc.Stream[bytesValue, bytesValue]) error {
		for msg, err := range s.All() {
			if err != nil {
				return err
			}
			if err := s.Send(msg); err != nil {
				return err
			}
		}
		return nil
	})
	rooms := chat.NewServer(chat.Config{Log: log, Domain: cred.ID().Domain})
	cfg := &transport.Config{
		Credentials: cred,
		Addr:        "127.0.0.1:0",
		IdleTimeout: idleTimeout(suite == suiteChat),

		MaxIdentitySessions: 10_000,

		Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC:  mux.ServeStream,
			transport.StreamChat: rooms.ServeStream,
		},
	}
	change(cfg)
	srv, err := transport.Listen(cfg)
	if err != nil {
		return nil, err
	}
	go func() { _ = srv.Serve(context.Background()) }() // ends with the process
	return &trunklineServer{srv}, nil
}

// idleTimeout returns the default, unless connections wait for their turn without pings.
func idleTimeout(quiet bool) time.Duration {
	if quiet {
		return quietTime
	}
	return 15 * time.Second
}

func dialTrunkline(ctx context.Context, addr string, cred *certs.Credentials, quiet bool) (*transport.Session, error) {
	cfg := &transport.Config{Credentials: cred, IdleTimeout: idleTimeout(quiet), NoReconnect: true} // a loss must show
	if quiet {
		cfg.PingAfter = -1
	}
	return transport.Dial(ctx, addr, cfg)
}

type trunklineRPC struct{ s *transport.Session }

func (c *trunklineRPC) Close() error { return c.s.Release(context.Background()) }

func (c *trunklineRPC) newCaller() func([]byte) ([]byte, error) {
	ctx := context.Background()
	var req, res bytesValue
	return func(payload []byte) ([]byte, error) {
		req.Value = payload
		err := methodEcho.CallInto(ctx, c.s, &req, &res)
		return res.GetValue(), err
	}
}

func (c *trunklineRPC) stream(ctx context.Context, req streamRequest, each func([]byte) error) error {
	in, err := methodStream.Call(ctx, c.s, &bytesValue{Value: req.encode()})
	if err != nil {
		return err
	}
	defer in.Close()
	var msg bytesValue
	for {
		err := in.RecvInto(&msg)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(msg.GetValue()); err != nil {
			return err
		}
	}
}

func (c *trunklineRPC) exchange() (func([]byte) ([]byte, error), func() error, error) {
	s, err := methodPingPong.Call(context.Background(), c.s)
	if err != nil {
		return nil, nil, err
	}
	exchange := func(payload []byte) ([]byte, error) {
		if err := s.Send(&bytesValue{Value: payload}); err != nil {
			return nil, err
		}
		res, err := s.Recv()
		return res.GetValue(), err
	}
	done := func() error {
		if err := s.CloseSend(); err != nil {
			return err
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("after the end: %w", err)
		}
		return nil
	}
	return exchange, done, nil
}
