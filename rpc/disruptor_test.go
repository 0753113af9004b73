package rpc_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A disruptor ends connections in every way there is, and starts servers again at the same address.
type disruptor struct {
	n   *transporttest.Network
	cfg transport.Config
	at  *net.UDPAddr

	srv *transport.Server
}

func newDisruptor(t *testing.T, cfg transport.Config) *disruptor {
	t.Helper()
	cfg.StatelessResetKey, cfg.IdleTimeout = &[32]byte{1}, 2*time.Second
	d := &disruptor{n: transporttest.New(t, rtt), cfg: cfg}
	d.srv = d.n.Listen(cfg)
	d.at = d.srv.Addr().(*net.UDPAddr)
	return d
}

func (d *disruptor) dial(cfg transport.Config) *transport.Session {
	cfg.NewPacketConn, cfg.IdleTimeout, cfg.PingAfter, cfg.MaxReconnectBackoff = d.n.NewConn, 2*time.Second, time.Second, time.Second
	return d.n.Dial(d.srv, "alice", cfg)
}

func (d *disruptor) restart() {
	d.cfg.PacketConn = d.n.ConnAt(d.at)
	d.srv = d.n.Listen(d.cfg)
}

func (d *disruptor) abort() {
	for _, s := range d.srv.Sessions() {
		s.Abort(transport.Internal, "")
	}
}

func (d *disruptor) cut(length time.Duration) {
	d.n.Cut()
	time.Sleep(length)
	d.n.Drop(nil)
}

func (d *disruptor) kill() {
	d.n.Kill(d.srv)
	d.restart()
}

func (d *disruptor) drain(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := d.srv.Shutdown(ctx)
	d.restart()
	return err
}
