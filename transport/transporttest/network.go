// Package transporttest gives tests sessions over a network in memory, with delay, loss and
// cuts, whose clock is testing/synctest's when the test runs in a bubble.
package transporttest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// A Packet is a UDP datagram on its way.
type Packet struct {
	From, To net.Addr
	Data     []byte
}

// A Network is one authority, any number of servers and clients, and the links between
// them. It ends with its test. It is safe for concurrent use.
type Network struct {
	t         testing.TB
	rtt       time.Duration
	router    *router
	authority *certs.Authority

	mu    sync.Mutex // guards what follows
	hosts uint16     // how many there are
	users map[string]*certs.Credentials
}

// New makes a network whose round trips take rtt. Certificates are made
// now, which in a bubble is the year 2000.
func New(t testing.TB, rtt time.Duration) *Network {
	t.Helper()
	authority, err := certs.NewAuthority(certs.Env{})
	require.NoError(t, err)
	r := &router{}
	return &Network{
		t:         t,
		rtt:       rtt,
		router:    r,
		authority: authority,
		users:     make(map[string]*certs.Credentials),
	}
}

// Authority returns the one that signs for everyone here.
func (n *Network) Authority() *certs.Authority { return n.authority }

// User returns the credentials of the user called name, the same at each call.
func (n *Network) User(name string) *certs.Credentials {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if c, ok := n.users[name]; ok {
		return c
	}
	c, err := n.authority.IssueUser(name)
	require.NoError(n.t, err)
	n.users[name] = c
	return c
}

// Conn adds a host to the network and returns its socket.
func (n *Network) Conn() net.PacketConn {
	n.t.Helper()
	return n.ConnAt(n.NewAddr())
}

// NewAddr returns the address of a new host, for ConnAt.
func (n *Network) NewAddr() *net.UDPAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts++
	return &net.UDPAddr{IP: net.IPv4(10, 0, byte(n.hosts>>8), byte(n.hosts)), Port: 4433}
}

// ConnAt returns another socket for a host whose socket was closed.
func (n *Network) ConnAt(addr *net.UDPAddr) net.PacketConn {
	n.t.Helper()
	host := &host{router: n.router}
	one := &simnet.Simnet{Router: host} // one each, for they start one by one
	conn := one.NewEndpoint(addr, simnet.NodeBiDiLinkSettings{LatencyFunc: func(p simnet.Packet) time.Duration {
		return n.rtt/2 + n.router.delayed(p) + n.router.queued(p.To)
	}})
	require.NoError(n.t, one.Start())
	n.router.AddNode(addr, host.receiver)
	n.t.Cleanup(func() {
		_ = conn.Close()
		_ = one.Close()
	})
	return conn
}

// Listen starts a server. What cfg leaves open, it fills in. The server is closed with
// the test.
func (n *Network) Listen(cfg transport.Config) *transport.Server {
	n.t.Helper()
	if cfg.Credentials == nil {
		cred, err := n.authority.IssueServer([]string{"localhost"})
		require.NoError(n.t, err)
		cfg.Credentials = cred
	}
	if cfg.PacketConn == nil {
		cfg.PacketConn = n.Conn()
	}
	srv, err := transport.Listen(&cfg)
	require.NoError(n.t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(context.Background()) // ends with Close
	}()
	n.t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return srv
}

// NewConn is Conn for transport.Config.NewPacketConn.
func (n *Network) NewConn() (net.PacketConn, error) { return n.Conn(), nil }

// Dial opens a session of the user called name with srv. It is aborted with the test. It ends with its
// connection, unless cfg says with NewConn where to get a socket for the next.
func (n *Network) Dial(srv *transport.Server, name string, cfg transport.Config) *transport.Session {
	n.t.Helper()
	s, err := n.TryDial(context.Background(), srv, name, cfg)
	require.NoError(n.t, err)
	return s
}

// TryDial is Dial for sessions that may be refused.
func (n *Network) TryDial(ctx context.Context, srv *transport.Server, name string, cfg transport.Config) (*transport.Session, error) {
	n.t.Helper()
	if cfg.Credentials == nil {
		cfg.Credentials = n.User(name)
	}
	if cfg.PacketConn == nil && cfg.NewPacketConn == nil {
		cfg.PacketConn = n.Conn()
	}
	s, err := transport.Dial(ctx, srv.Addr().String(), &cfg)
	if err != nil {
		return nil, err
	}
	n.t.Cleanup(func() {
		s.Abort(transport.Aborted, "test is over")
		_ = s.Wait(context.Background())
	})
	return s, nil
}

// Pair returns both sides of a new session of the user called name.
func (n *Network) Pair(srv *transport.Server, name string, cfg transport.Config) (client, server *transport.Session) {
	n.t.Helper()
	client = n.Dial(srv, name, cfg)
	for _, s := range srv.Sessions() {
		if s.ID() == client.ID() {
			return client, s
		}
	}
	require.FailNow(n.t, "the server does not have the session")
	return nil, nil
}

// Drop makes every packet for which drop returns true vanish from now on; nil lets all
// pass. drop is called for one packet at a time.
func (n *Network) Drop(drop func(Packet) bool) { n.router.setDrop(drop) }

// Cut makes every packet vanish from now on.
func (n *Network) Cut() { n.Drop(func(Packet) bool { return true }) }

// Kill makes srv vanish without a word, and returns where it was, for ConnAt.
func (n *Network) Kill(srv *transport.Server) *net.UDPAddr {
	n.t.Helper()
	addr, ok := srv.Addr().(*net.UDPAddr)
	require.True(n.t, ok)
	n.Drop(func(p Packet) bool { return p.From.String() == addr.String() })
	_ = srv.Close()
	n.Drop(nil)
	return addr
}

// Delay makes every packet take as much longer as delay returns from now on, so that others may overtake it; nil ends that.
// delay is called for one packet at a time.
func (n *Network) Delay(delay func(Packet) time.Duration) { n.router.setDelay(delay) }

// Rebind makes the host at addr appear at another address from now on, which it returns, as it does behind a NAT that has
// forgotten it. What is sent to the old address is lost.
func (n *Network) Rebind(addr net.Addr) net.Addr {
	outer := n.NewAddr()
	n.router.rebind(addr, outer)
	return outer
}

// Limit makes the way to each host carry at most rate bits per second from now on, with a queue
// of buffer bytes before it; what does not fit is lost. Without it no packet waits for another.
func (n *Network) Limit(rate, buffer int) { n.router.limit(rate, buffer) }

// A host is the router as one link sees it, which is not to receive before it has started: somebody may be sending
// to an address that is used again.
type host struct {
	*router
	receiver simnet.PacketReceiver
}

// AddNode implements simnet.Router.
func (h *host) AddNode(_ net.Addr, receiver simnet.PacketReceiver) { h.receiver = receiver }

// router loses packets on request, and when a queue is full.
type router struct {
	simnet.PerfectRouter

	mu     sync.Mutex // guards what follows
	drop   func(Packet) bool
	delay  func(Packet) time.Duration
	rate   int                  // bits per second; 0: no limit
	buffer int                  // bytes
	free   map[string]time.Time // by destination: when its queue will be empty
	outer  map[string]net.Addr  // by host: the address at which it appears
	inner  map[string]net.Addr  // and back; nil for one that a host has left
}

func (r *router) rebind(host, outer net.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outer == nil {
		r.outer, r.inner = make(map[string]net.Addr), make(map[string]net.Addr)
	}
	r.outer[host.String()] = outer
	r.inner[host.String()], r.inner[outer.String()] = nil, host
}

// translate does to p what a NAT does, and says whether it knows where p goes.
func (r *router) translate(p *simnet.Packet) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if outer, ok := r.outer[p.From.String()]; ok {
		p.From = outer
	}
	inner, ok := r.inner[p.To.String()]
	if ok && inner != nil {
		p.To = inner
	}
	return !ok || inner != nil
}

func (r *router) setDrop(drop func(Packet) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop = drop
}

func (r *router) setDelay(delay func(Packet) time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = delay
}

// delayed returns how much longer than others a packet takes.
func (r *router) delayed(p simnet.Packet) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.delay == nil {
		return 0
	}
	return r.delay(Packet{From: p.From, To: p.To, Data: p.Data})
}

func (r *router) limit(rate, buffer int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rate, r.buffer, r.free = rate, buffer, make(map[string]time.Time)
}

// queued returns how long the packet that was last sent to a host waits for those before it
// and for itself to be put on the wire.
func (r *router) queued(to net.Addr) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rate == 0 {
		return 0
	}
	return time.Until(r.free[to.String()])
}

// lose says whether a packet is lost; if not, it takes its place in the queue.
func (r *router) lose(p simnet.Packet) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drop != nil && r.drop(Packet{From: p.From, To: p.To, Data: p.Data}) {
		return true
	}
	if r.rate == 0 {
		return false
	}
	onWire := func(bytes int) time.Duration { return time.Duration(bytes) * 8 * time.Second / time.Duration(r.rate) }
	now := time.Now()
	free := r.free[p.To.String()]
	if free.Before(now) {
		free = now
	}
	if free.Sub(now) > onWire(r.buffer) {
		return true
	}
	r.free[p.To.String()] = free.Add(onWire(len(p.Data)))
	return false
}

// SendPacket implements simnet.Router.
func (r *router) SendPacket(p simnet.Packet) error {
	if r.translate(&p) && !r.lose(p) {
		_ = r.PerfectRouter.SendPacket(p) // to a host that is gone: lost
	}
	return nil
}
