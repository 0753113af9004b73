package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

// dialFloor makes a connection from a socket of its own.
func dialFloor(ctx context.Context, addr string, conf *tls.Config, idle time.Duration) (*quic.Conn, func(), error) {
	udpAddr, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, nil, err
	}
	pc, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, nil, err
	}
	tr := &quic.Transport{Conn: pc}
	closeSocket := func() {
		_ = tr.Close() // nothing is left on it
		_ = pc.Close()
	}
	conn, err := tr.Dial(ctx, udpAddr, conf, floorConfig(idle))
	if err != nil {
		closeSocket()
		return nil, nil, err
	}
	return conn, closeSocket, nil
}

func dialFloorRPC(addr string, keys *keySet) (rpcConn, error) {
	conf, err := keys.clientTLS(floorALPN)
	if err != nil {
		return nil, err
	}
	conn, closeSocket, err := dialFloor(context.Background(), addr, conf, floorIdle(suiteRPC))
	if err != nil {
		return nil, err
	}
	return &floorRPC{conn, closeSocket}, nil
}

type floorRPC struct {
	conn        *quic.Conn
	closeSocket func()
}

func (c *floorRPC) Close() error {
	defer c.closeSocket()
	return c.conn.CloseWithError(0, "")
}

// newCaller has buffers that one call after the other uses, and no goroutine of its own.
func (c *floorRPC) newCaller() func([]byte) ([]byte, error) {
	ctx := context.Background()
	out := make([]byte, 0, 20<<10)
	in := make([]byte, 20<<10)
	return func(payload []byte) ([]byte, error) {
		str, err := c.conn.OpenStreamSync(ctx)
		if err != nil {
			return nil, err
		}
		out = appendFloorMessage(append(out[:0], floorEcho), payload)
		if err := writeAndClose(str, out); err != nil {
			return nil, err
		}
		res := floorBuffer{b: in}
		return res.message(str, true) // to the end, which frees the stream
	}
}

// floorReads is what the client takes at once from a stream. It holds three messages of bulk.
const floorReads = 256 << 10

func (c *floorRPC) stream(ctx context.Context, req streamRequest, each func([]byte) error) error {
	str, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	defer str.CancelRead(1) // nothing, after the end
	if err := writeAndClose(str, appendFloorMessage([]byte{floorStream}, req.encode())); err != nil {
		return err
	}
	in := floorBuffer{b: make([]byte, floorReads)}
	for {
		msg, err := in.message(str, false)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(msg); err != nil {
			return err
		}
	}
}

func (c *floorRPC) exchange() (func([]byte) ([]byte, error), func() error, error) {
	str, err := c.conn.OpenStreamSync(context.Background())
	if err != nil {
		return nil, nil, err
	}
	out := append(make([]byte, 0, 20<<10), floorPingPong)
	in := &floorBuffer{b: make([]byte, 20<<10)}
	exchange := func(payload []byte) ([]byte, error) {
		out = appendFloorMessage(out, payload)
		if _, err := str.Write(out); err != nil {
			return nil, err
		}
		out = out[:0]
		return in.message(str, false)
	}
	done := func() error {
		if err := str.Close(); err != nil {
			return err
		}
		if _, err := in.message(str, false); !errors.Is(err, io.EOF) {
			return errors.Join(errors.New("something follows the last answer"), err)
		}
		return nil
	}
	return exchange, done, nil
}
