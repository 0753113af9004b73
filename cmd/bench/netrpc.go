package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/rpc"
)

// netrpcPeer is net/rpc with gob over TLS. It has no streams.
func netrpcPeer() *peer {
	return &peer{name: "netrpc", unaryOnly: true, serve: serveNetRPC, rpc: dialNetRPC}
}

type netrpcServer struct{ l net.Listener }

func (s netrpcServer) Addr() string { return s.l.Addr().String() }

type netrpcEcho struct{}

// Echo answers with what it was sent.
func (netrpcEcho) Echo(req []byte, res *[]byte) error {
	*res = req
	return nil
}

func serveNetRPC(_ string, keys *keySet) (server, error) {
	conf, err := keys.serverTLS()
	if err != nil {
		return nil, err
	}
	srv := rpc.NewServer()
	if err := srv.RegisterName("Echo", netrpcEcho{}); err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		return nil, err
	}
	go srv.Accept(l) // ends with the process
	return netrpcServer{l}, nil
}

func dialNetRPC(addr string, keys *keySet) (rpcConn, error) {
	conf, err := keys.clientTLS()
	if err != nil {
		return nil, err
	}
	conn, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return nil, err
	}
	return &netrpcRPC{rpc.NewClient(conn)}, nil
}

type netrpcRPC struct{ c *rpc.Client }

func (c *netrpcRPC) Close() error { return c.c.Close() }

func (c *netrpcRPC) newCaller() func([]byte) ([]byte, error) {
	return func(payload []byte) ([]byte, error) {
		var res []byte
		err := c.c.Call("Echo.Echo", payload, &res)
		return res, err
	}
}

var errNoStreams = errors.New("net/rpc has no streams")

func (c *netrpcRPC) stream(context.Context, streamRequest, func([]byte) error) error {
	return errNoStreams
}

func (c *netrpcRPC) exchange() (func([]byte) ([]byte, error), func() error, error) {
	return nil, nil, errNoStreams
}
