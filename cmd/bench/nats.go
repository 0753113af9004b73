package main

import (
	"errors"
	"io"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsPeer is NATS core, its server embedded in the server process. A room is a subject.
func natsPeer() *peer {
	return &peer{
		name:  "nats",
		serve: serveNATS,
		chat:  func(addr string, keys *keySet) (chatDialer, error) { return &natsChat{addr, keys}, nil },
	}
}

type natsServer struct{ s *natsserver.Server }

func (s natsServer) Addr() string { return s.s.Addr().String() }

func serveNATS(_ string, keys *keySet) (server, error) {
	return serveNATSWith(keys, func(*natsserver.Options) {})
}

// serveNATSWith starts a server whose options change may change.
func serveNATSWith(keys *keySet, change func(o *natsserver.Options)) (server, error) {
	conf, err := keys.serverTLS()
	if err != nil {
		return nil, err
	}
	opts := &natsserver.Options{
		Host:       "127.0.0.1",
		Port:       natsserver.RANDOM_PORT,
		TLS:        true,
		TLSVerify:  true,
		TLSConfig:  conf,
		TLSTimeout: 20, // seconds: a thousand handshakes come at once
		NoLog:      true,
		NoSigs:     true,
	}
	change(opts)
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.Start() // ends with the process
	if !s.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the server does not get ready")
	}
	return natsServer{s}, nil
}

type natsChat struct {
	addr string
	keys *keySet
}

func (d *natsChat) connect(opts ...nats.Option) (*nats.Conn, error) {
	conf, err := d.keys.clientTLS()
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.Secure(conf), nats.NoReconnect(), nats.Timeout(20*time.Second))
	return nats.Connect("tls://"+d.addr, opts...)
}

type natsCloser struct{ *nats.Conn }

func (c natsCloser) Close() error {
	c.Conn.Close()
	return nil
}

func (d *natsChat) subscribe(room string, s *subscriber) (io.Closer, error) {
	nc, err := d.connect(
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.fail(err) }),
		nats.ClosedHandler(func(*nats.Conn) { s.fail(nats.ErrConnectionClosed) }),
	)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Subscribe(room, func(m *nats.Msg) { deliver(s, m.Data) }); err != nil {
		return nil, err
	}
	return natsCloser{nc}, nc.Flush() // the server has the subscription
}

func (d *natsChat) publisher(room string) (publisher, error) {
	nc, err := d.connect()
	if err != nil {
		return nil, err
	}
	return &natsPublisher{natsCloser{nc}, room}, nil
}

type natsPublisher struct {
	natsCloser
	room string
}

func (p *natsPublisher) publish(line []byte) error { return p.Publish(p.room, line) }

func (p *natsPublisher) acknowledged() error { return nil }
