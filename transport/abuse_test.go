package transport_test

import (
	"context"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// S5, one test for each attack: what the server holds stays bounded, and others are served meanwhile.

// initials returns the first packets of that many handshakes, which nobody answers.
func initials(t *testing.T, n *transporttest.Network, srv *transport.Server, count int) [][]byte {
	t.Helper()
	var packets [][]byte
	cfg := &transport.Config{Credentials: n.User("mallory")}
	addr := n.NewAddr()
	n.Drop(func(p transporttest.Packet) bool {
		if p.From.String() != addr.String() {
			return false
		}
		packets = append(packets, append([]byte(nil), p.Data...)) // one at a time, says Drop
		return true
	})
	pc := n.ConnAt(addr)
	tr := &quic.Transport{Conn: pc}
	for range count {
		ctx, cancel := context.WithTimeout(t.Context(), rtt)
		_, err := tr.Dial(ctx, srv.Addr(), transport.ClientTLS(cfg), transport.QUICConfig(cfg))
		cancel()
		require.Error(t, err)
	}
	_ = tr.Close()
	_ = pc.Close()
	n.Drop(nil)
	require.GreaterOrEqual(t, len(packets), count)
	return packets
}

// Handshakes that somebody begins under addresses that are not theirs: from an eighth of the limit on the server keeps
// nothing for who has not answered a Retry, and who has is served.
func TestS5HandshakesFromSpoofedAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), MaxHandshakes: 64})
		bob := n.Dial(srv, "bob", transport.Config{})
		packets := initials(t, n, srv, 1000)
		var spoofed []net.PacketConn
		for range 50 {
			spoofed = append(spoofed, n.Conn())
		}
		before := heap()
		for i, p := range packets {
			_, err := spoofed[i%len(spoofed)].WriteTo(p, srv.Addr())
			require.NoError(t, err)
			if i%100 == 0 {
				requireEcho(t, bob)
				assert.LessOrEqual(t, srv.Stats().Handshakes, 64/8)
			}
		}
		time.Sleep(rtt)
		assert.Equal(t, 64/8, srv.Stats().Handshakes)
		assert.Empty(t, srv.Stats().Dropped, "who is validated has all the other places")
		assert.Less(t, int64(heap())-int64(before), int64(32<<20), "1,000 handshakes in flight are 60 MB")
		requireEcho(t, n.Dial(srv, "carol", transport.Config{})) // by way of a Retry
		time.Sleep(time.Minute)
		assert.Zero(t, srv.Stats().Handshakes)
	})
}

// Handshakes of one who is where the packets say, completed or not, and never a HELLO: there are so many places, for so
// long, and the others are refused without any state.
func TestS5HandshakesThatComeToNothing(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), MaxHandshakes: 8})
		bob := n.Dial(srv, "bob", transport.Config{})
		for range 8 {
			dialRaw(t, n, srv, "mallory")
		}
		require.Equal(t, 8, srv.Stats().Handshakes)
		for range 3 {
			_, err := n.TryDial(t.Context(), srv, "carol", transport.Config{})
			var e *transport.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, transport.Lost, e.Code, "CONNECTION_REFUSED: come again, with backoff")
		}
		requireEcho(t, bob)
		assert.GreaterOrEqual(t, srv.Stats().Dropped[transport.DropHandshakes], uint64(3), "packets, of which each of these has more than one")
		time.Sleep(10 * time.Second) // more than HelloTimeout
		assert.Zero(t, srv.Stats().Handshakes)
		requireEcho(t, n.Dial(srv, "carol", transport.Config{}))
		assert.Zero(t, srv.Stats().Handshakes, "a session is no handshake any more")
	})
}

// Some places are for who is on the server's own machine, and no packet from outside comes from there.
func TestS5LoopbackHasAReserve(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), MaxHandshakes: 4, MaxSessions: 2})
		n.Dial(srv, "mallory", transport.Config{})
		n.Dial(srv, "mallory", transport.Config{})
		for range 4 {
			dialRaw(t, n, srv, "mallory")
		}
		_, err := n.TryDial(t.Context(), srv, "bob", transport.Config{})
		require.Error(t, err)
		admin := n.Dial(srv, "root", transport.Config{PacketConn: n.ConnAt(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})})
		requireEcho(t, admin)
	})
}

func TestS5ConnectionsOfOneAddress(t *testing.T) {
	for name, addr := range map[string]struct{ same, other string }{
		"IPv4":       {"192.0.2.1", "192.0.2.2"},
		"a /64":      {"2001:db8::1", "2001:db8:0:1::1"},
		"v4 as a v6": {"::ffff:192.0.2.1", "192.0.2.2"},
		"link-local": {"fe80::1", "2001:db8::1"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo), MaxPerAddress: 2})
				dial := func(ip string, port int) (*transport.Session, error) {
					pc := n.ConnAt(&net.UDPAddr{IP: net.ParseIP(ip), Port: port})
					return n.TryDial(t.Context(), srv, "alice", transport.Config{PacketConn: pc})
				}
				first, err := dial(addr.same, 1)
				require.NoError(t, err)
				_, err = dial(addr.same, 2)
				require.NoError(t, err)
				_, err = dial(addr.same, 3)
				code, _ := transport.CodeOf(err)
				assert.Equal(t, transport.ExcessiveLoad, code, "%v", err)
				assert.ErrorContains(t, err, "too many connections from this address")
				_, err = dial(addr.other, 4)
				require.NoError(t, err)
				assert.EqualValues(t, 1, srv.Stats().Dropped[transport.DropAddress])
				require.NoError(t, first.Release(t.Context()))
				time.Sleep(time.Second)
				_, err = dial(addr.same, 5)
				require.NoError(t, err, "a place that was given back")
			})
		})
	}
}

// One identity that opens session after session, by HELLOs with ever new ids: its own held sessions make room, nobody
// else's do, and what it has at once is bounded.
func TestS5SessionsOfOneIdentity(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), MaxIdentitySessions: 3})
		bob := n.Dial(srv, "bob", transport.Config{})
		held := n.Dial(srv, "dave", transport.Config{})
		_ = transport.Conn(held).CloseWithError(0, "")
		time.Sleep(rtt)
		for range 50 { // each leaves a held session behind
			s := n.Dial(srv, "mallory", transport.Config{})
			_ = transport.Conn(s).CloseWithError(0, "")
			time.Sleep(rtt)
		}
		st := srv.Stats()
		assert.Equal(t, 1+3, st.Detached, "dave's is held, though for longest")
		assert.EqualValues(t, 47, st.Dropped[transport.DropIdentity])
		for range 3 {
			n.Dial(srv, "mallory", transport.Config{})
		}
		_, err := n.TryDial(t.Context(), srv, "mallory", transport.Config{})
		assert.ErrorContains(t, err, "too many sessions of this identity")
		requireEcho(t, bob)
		requireEcho(t, n.Dial(srv, "carol", transport.Config{}))
		time.Sleep(time.Minute)
		assert.Equal(t, 5, srv.Stats().Live)
	})
}

// Streams that are opened and reset at once, without end (rapid reset): what runs stays bounded, because a stream's credit
// comes back when its handler has returned.
func TestS5RapidReset(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var running, most atomic.Int64
		gate := make(chan struct{})
		srv := n.Listen(transport.Config{MaxStreams: 64, Handlers: on(func(ctx context.Context, s *transport.Stream) {
			if transport.SessionFrom(ctx).Peer().ID.Name != "mallory" {
				echo(ctx, s)
				return
			}
			for now := running.Add(1); ; {
				old := most.Load()
				if now <= old || most.CompareAndSwap(old, now) {
					break
				}
			}
			defer running.Add(-1)
			<-gate // a handler that does not look at its context
		})})
		bob := n.Dial(srv, "bob", transport.Config{})
		mallory := n.Dial(srv, "mallory", transport.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var flood sync.WaitGroup
		flood.Go(func() {
			for i := range 20_000 {
				s, err := mallory.OpenStream(ctx, transport.StreamRPC)
				if err != nil {
					return
				}
				_, _ = s.WriteThrough([]byte("x"))
				reset := func() { s.Cancel(transport.StreamCanceled) }
				if i%10 == 0 {
					time.AfterFunc(rtt, reset) // the handler has begun
				} else {
					reset()
				}
			}
		})
		for range 10 {
			requireEcho(t, bob)
			assert.LessOrEqual(t, srv.Stats().Streams, 64)
			time.Sleep(time.Second)
		}
		flood.Wait()
		assert.EqualValues(t, 63, most.Load(), "all but the control stream: a handler that runs keeps its stream's credit, reset or not")
		close(gate)
	})
}

// A stream's type that drips, a byte a second, is cut after HelloTimeout: the time is for all of it.
func TestS5StreamTypesThatDrip(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		bob := n.Dial(srv, "bob", transport.Config{})
		p, _ := live(t, n, srv, 1, 1)
		began := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			s, err := p.conn.OpenStream()
			require.NoError(t, err)
			wg.Go(func() {
				for _, b := range []byte{0xc0, 0, 0, 0, 0, 0, 0, 1} { // type 1, in eight bytes
					_, _ = s.Write([]byte{b})
					time.Sleep(time.Second)
				}
			})
			wg.Go(func() {
				_, err := s.Read(make([]byte, 1))
				var reset *quic.StreamError
				if assert.ErrorAs(t, err, &reset) {
					assert.Equal(t, quic.StreamErrorCode(transport.StreamDeadline), reset.ErrorCode)
				}
				assert.Less(t, time.Since(began), 6*time.Second)
			})
		}
		requireEcho(t, bob)
		wg.Wait()
		assert.Zero(t, srv.Stats().Streams)
	})
}

// A HELLO that drips likewise.
func TestS5HelloThatDrips(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		p := dialRaw(t, n, srv, "alice")
		began := time.Now()
		for _, b := range hello(1, 1)[:20] {
			if p.conn.Context().Err() != nil {
				break
			}
			p.control([]byte{b})
			time.Sleep(time.Second)
		}
		p.requireClosed(transport.HelloTimeout)
		assert.Less(t, time.Since(began), 7*time.Second)
	})
}

// A flood of PINGs from a client that does not read the PONGs: it blocks its own control stream, and is closed.
func TestS5PingsWithoutEnd(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		bob := n.Dial(srv, "bob", transport.Config{})
		pc := n.Conn()
		tr := &quic.Transport{Conn: pc}
		t.Cleanup(func() { _ = tr.Close(); _ = pc.Close() })
		cfg := &transport.Config{Credentials: n.User("mallory")}
		qc := transport.QUICConfig(cfg)
		qc.InitialStreamReceiveWindow, qc.MaxStreamReceiveWindow = 1<<10, 1<<10
		conn, err := tr.Dial(t.Context(), srv.Addr(), transport.ClientTLS(cfg), qc)
		require.NoError(t, err)
		p := &rawPeer{t: t, conn: conn}
		p.control(hello(1, 1))
		p.readWelcome()
		pings := make([]byte, 0, 1<<16)
		for len(pings) < 1<<16 {
			pings = transport.AppendFrame(pings, 0x0d, nil)
		}
		go func() {
			for {
				if _, err := p.ctl.Write(pings); err != nil {
					return
				}
			}
		}()
		for p.conn.Context().Err() == nil {
			requireEcho(t, bob)
			time.Sleep(time.Second)
		}
		p.requireClosed(transport.ExcessiveLoad)
		requireEcho(t, bob)
	})
}

// M72: control frames without end close the connection, whoever reads the answers; as many as a session needs do not.
func TestM72FloodOfControlFramesIsAbuse(t *testing.T) {
	for name, frame := range map[string][]byte{
		"PING":   transport.AppendPing(0),
		"PONG":   transport.AppendPong(),
		"GOAWAY": transport.AppendGoAway(0, 0, 0, ""),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo)})
				bob := n.Dial(srv, "bob", transport.Config{})
				p, r := live(t, n, srv, 1, 1)
				go func() {
					for {
						if _, _, err := r.ReadFrame(anyFrame); err != nil {
							return
						}
					}
				}()
				for range 10 * transport.ControlBurst { // for as long as it takes, at a rate that is allowed
					p.control(frame)
					time.Sleep(60 * time.Millisecond)
				}
				require.NoError(t, context.Cause(p.conn.Context()))
				var flood []byte
				for range 3 * transport.ControlBurst {
					flood = append(flood, frame...)
				}
				_, _ = p.ctl.Write(flood)
				p.requireClosed(transport.ExcessiveLoad)
				assert.EqualValues(t, 1, srv.Stats().Dropped[transport.DropControl])
				requireEcho(t, bob)
			})
		})
	}
}

// Lengths that are declared and never come cost nothing, and those over the limit are refused before that.
func TestS5OversizedDeclarationsOnControl(t *testing.T) {
	for _, declared := range []int{transport.MaxControlFrame + 1, 1 << 40, math.MaxInt64 >> 2} {
		for typ := transport.FrameType(0x01); typ <= 0x0f; typ += 2 {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo)})
				bob := n.Dial(srv, "bob", transport.Config{})
				p, _ := live(t, n, srv, 1, 1)
				p.control(transport.AppendFrameHeader(nil, typ, declared))
				p.requireClosed(transport.FrameTooLarge)
				requireEcho(t, bob)
			})
		}
	}
}

// Clients that fill their receive windows and those that make them grow share one budget: without it each connection may
// grow to 16 MiB.
func TestS5ReceiveWindowsGrowUnderOneBudget(t *testing.T) {
	grown := func(most int64) (taken int64, dropped uint64) {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{MaxBuffered: most, Handlers: on(func(_ context.Context, s *transport.Stream) {
				buf := make([]byte, 64<<10)
				for {
					if _, err := s.Read(buf); err != nil {
						return
					}
				}
			})})
			for range 2 {
				s := n.Dial(srv, "mallory", transport.Config{})
				str, err := s.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				for range 512 {
					_, err := str.Write(make([]byte, 64<<10))
					require.NoError(t, err)
				}
			}
			st := srv.Stats()
			taken, dropped = st.Buffered, st.Dropped[transport.DropWindow]
			for _, s := range srv.Sessions() {
				s.Abort(transport.Kicked, "")
			}
			time.Sleep(time.Second)
			assert.Zero(t, srv.Stats().Buffered, "given back with the connection")
		})
		return taken, dropped
	}
	taken, dropped := grown(1 << 30)
	assert.Positive(t, taken, "the test makes windows grow")
	assert.Zero(t, dropped)
	taken, dropped = grown(1)
	assert.Zero(t, taken)
	assert.Positive(t, dropped)
}
