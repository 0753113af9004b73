package main

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// grpcPeer is grpc-go with its own HTTP/2 transport, as it is by default.
func grpcPeer() *peer {
	return &peer{name: "grpc", serve: serveGRPC, rpc: dialGRPC}
}

type grpcServer struct{ l net.Listener }

func (s grpcServer) Addr() string { return s.l.Addr().String() }

// grpcDesc is what protoc would generate for the service.
func grpcDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Echo",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				req := new(bytesValue)
				err := decode(req)
				return req, err
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName:    "Stream",
			ServerStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error {
				req := new(bytesValue)
				if err := s.RecvMsg(req); err != nil {
					return err
				}
				r, err := parseStreamRequest(req.GetValue())
				if err != nil {
					return err
				}
				return r.serve(func(msg []byte) error { return s.SendMsg(&bytesValue{Value: msg}) })
			},
		}, {
			StreamName:    "PingPong",
			ServerStreams: true,
			ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error {
				for {
					msg := new(bytesValue)
					if err := s.RecvMsg(msg); errors.Is(err, io.EOF) {
						return nil
					} else if err != nil {
						return err
					}
					if err := s.SendMsg(msg); err != nil {
						return err
					}
				}
			},
		}},
	}
}

func serveGRPC(_ string, keys *keySet) (server, error) {
	conf, err := keys.serverTLS()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	srv.RegisterService(grpcDesc(), nil)
	go func() { _ = srv.Serve(l) }() // ends with the process
	return grpcServer{l}, nil
}

func dialGRPC(addr string, keys *keySet) (rpcConn, error) {
	conf, err := keys.clientTLS()
	if err != nil {
		return nil, err
	}
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		return nil, err
	}
	return &grpcRPC{cc}, nil
}

type grpcRPC struct{ cc *grpc.ClientConn }

func (c *grpcRPC) Close() error { return c.cc.Close() }

func (c *grpcRPC) newCaller() func([]byte) ([]byte, error) {
	ctx := context.Background()
	return func(payload []byte) ([]byte, error) {
		res := new(bytesValue)
		err := c.cc.Invoke(ctx, "/"+service+"/Echo", &bytesValue{Value: payload}, res)
		return res.GetValue(), err
	}
}

func (c *grpcRPC) stream(ctx context.Context, req streamRequest, each func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+service+"/Stream")
	if err != nil {
		return err
	}
	if err := s.SendMsg(&bytesValue{Value: req.encode()}); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		msg := new(bytesValue)
		if err := s.RecvMsg(msg); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := each(msg.GetValue()); err != nil {
			return err
		}
	}
}

func (c *grpcRPC) exchange() (func([]byte) ([]byte, error), func() error, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := c.cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+service+"/PingPong")
	if err != nil {
		cancel()
		return nil, nil, err
	}
	exchange := func(payload []byte) ([]byte, error) {
		if err := s.SendMsg(&bytesValue{Value: payload}); err != nil {
			return nil, err
		}
		msg := new(bytesValue)
		err := s.RecvMsg(msg)
		return msg.GetValue(), err
	}
	done := func() error {
		defer cancel()
		if err := s.CloseSend(); err != nil {
			return err
		}
		if err := s.RecvMsg(new(bytesValue)); !errors.Is(err, io.EOF) {
			return errors.Join(errors.New("something follows the last answer"), err)
		}
		return nil
	}
	return exchange, done, nil
}
