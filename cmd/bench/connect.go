package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"connectrpc.com/connect"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// connectPeer is connect-go with its own protocol, over HTTP/2 of the standard library or over
// HTTP/3 of quic-go. By default it would compress answers; that is off.
func connectPeer(name string) *peer {
	if name == "connect-h3" {
		return &peer{name: name, serve: serveConnect3, rpc: dialConnect3}
	}
	return &peer{name: name, serve: serveConnect2, rpc: dialConnect2}
}

// connectStreams is how many calls one connection takes at once, as for Trunkline; the default
// of both would open a second connection, or wait, for 256 callers.
const connectStreams = 1024

func connectHandler() http.Handler {
	plain := connect.WithCompression("gzip", nil, nil)
	mux := http.NewServeMux()
	mux.Handle("/"+service+"/Echo", connect.NewUnaryHandler("/"+service+"/Echo",
		func(_ context.Context, req *connect.Request[bytesValue]) (*connect.Response[bytesValue], error) {
			return connect.NewResponse(req.Msg), nil
		}, plain))
	mux.Handle("/"+service+"/Stream", connect.NewServerStreamHandler("/"+service+"/Stream",
		func(_ context.Context, req *connect.Request[bytesValue], s *connect.ServerStream[bytesValue]) error {
			r, err := parseStreamRequest(req.Msg.GetValue())
			if err != nil {
				return err
			}
			return r.serve(func(msg []byte) error { return s.Send(&bytesValue{Value: msg}) })
		}, plain))
	mux.Handle("/"+service+"/PingPong", connect.NewBidiStreamHandler("/"+service+"/PingPong",
		func(_ context.Context, s *connect.BidiStream[bytesValue, bytesValue]) error {
			for {
				msg, err := s.Receive()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				if err := s.Send(msg); err != nil {
					return err
				}
			}
		}, plain))
	return mux
}

type connectServer struct{ addr net.Addr }

func (s connectServer) Addr() string { return s.addr.String() }

func serveConnect2(_ string, keys *keySet) (server, error) {
	conf, err := keys.serverTLS("h2")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{
		Handler:   connectHandler(),
		TLSConfig: conf,
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: connectStreams},
	}
	go func() { _ = srv.ServeTLS(l, "", "") }() // ends with the process
	return connectServer{l.Addr()}, nil
}

func serveConnect3(_ string, keys *keySet) (server, error) {
	conf, err := keys.serverTLS(http3.NextProtoH3)
	if err != nil {
		return nil, err
	}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	srv := &http3.Server{
		Handler:    connectHandler(),
		TLSConfig:  conf,
		QUICConfig: &quic.Config{MaxIncomingStreams: connectStreams, MaxIdleTimeout: quietTime},
	}
	go func() { _ = srv.Serve(pc) }() // ends with the process
	return connectServer{pc.LocalAddr()}, nil
}

func dialConnect2(addr string, keys *keySet) (rpcConn, error) {
	conf, err := keys.clientTLS("h2")
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true}
	return newConnectRPC(tr, addr, func() error { tr.CloseIdleConnections(); return nil }), nil
}

func dialConnect3(addr string, keys *keySet) (rpcConn, error) {
	conf, err := keys.clientTLS(http3.NextProtoH3)
	if err != nil {
		return nil, err
	}
	tr := &http3.Transport{TLSClientConfig: conf, QUICConfig: &quic.Config{MaxIdleTimeout: quietTime}, DisableCompression: true}
	return newConnectRPC(tr, addr, tr.Close), nil
}

type connectRPC struct {
	echo     *connect.Client[bytesValue, bytesValue]
	streams  *connect.Client[bytesValue, bytesValue]
	pingPong *connect.Client[bytesValue, bytesValue]
	close    func() error
}

func newConnectRPC(tr http.RoundTripper, addr string, closeConn func() error) *connectRPC {
	client := &http.Client{Transport: tr}
	method := func(name string) *connect.Client[bytesValue, bytesValue] {
		return connect.NewClient[bytesValue, bytesValue](client, "https://"+addr+"/"+service+"/"+name, connect.WithAcceptCompression("gzip", nil, nil))
	}
	return &connectRPC{method("Echo"), method("Stream"), method("PingPong"), closeConn}
}

func (c *connectRPC) Close() error { return c.close() }

func (c *connectRPC) newCaller() func([]byte) ([]byte, error) {
	ctx := context.Background()
	return func(payload []byte) ([]byte, error) {
		res, err := c.echo.CallUnary(ctx, connect.NewRequest(&bytesValue{Value: payload}))
		if err != nil {
			return nil, err
		}
		return res.Msg.GetValue(), nil
	}
}

func (c *connectRPC) stream(ctx context.Context, req streamRequest, each func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.streams.CallServerStream(ctx, connect.NewRequest(&bytesValue{Value: req.encode()}))
	if err != nil {
		return err
	}
	for s.Receive() {
		if err := each(s.Msg().GetValue()); err != nil {
			cancel() // Close would read the rest
			return errors.Join(err, s.Close())
		}
	}
	return errors.Join(s.Err(), s.Close())
}

func (c *connectRPC) exchange() (func([]byte) ([]byte, error), func() error, error) {
	s := c.pingPong.CallBidiStream(context.Background())
	exchange := func(payload []byte) ([]byte, error) {
		if err := s.Send(&bytesValue{Value: payload}); err != nil {
			return nil, err
		}
		msg, err := s.Receive()
		return msg.GetValue(), err
	}
	done := func() error {
		if err := s.CloseRequest(); err != nil {
			return err
		}
		if _, err := s.Receive(); !errors.Is(err, io.EOF) {
			return errors.Join(errors.New("something follows the last answer"), err)
		}
		return s.CloseResponse()
	}
	return exchange, done, nil
}
