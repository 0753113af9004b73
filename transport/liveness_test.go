package transport_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

func TestIdleSessionStaysUp(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", transport.Config{})
		time.Sleep(time.Hour)
		requireEcho(t, client)
	})
}

// PING goes out after five seconds of silence, and in a packet that a server without memory of the
// connection would answer with a stateless reset.
func TestPingAfterSilence(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", transport.Config{})
		requireEcho(t, client)
		time.Sleep(time.Minute)
		requireEcho(t, client)

		var first time.Duration
		var size int
		start := time.Now()
		n.Drop(func(p transporttest.Packet) bool {
			if p.To.String() == srv.Addr().String() && first == 0 && time.Since(start) > time.Second {
				first, size = time.Since(start), len(p.Data)
			}
			return false
		})
		time.Sleep(10 * time.Second)
		n.Drop(nil)
		assert.GreaterOrEqual(t, first, 4*time.Second)
		assert.LessOrEqual(t, first, 6*time.Second+rtt)
		assert.GreaterOrEqual(t, size, 43, "bytes of the packet")
	})
}

func TestSilentPeerIsLostAtTheIdleTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		client, server := n.Pair(srv, "alice", transport.Config{})
		time.Sleep(time.Second)
		n.Cut()
		start := time.Now()
		requireEnd(t, client, transport.Lost, false)
		assert.LessOrEqual(t, time.Since(start), 22*time.Second) // QUIC counts from the first unanswered packet
		time.Sleep(2 * time.Second)
		assert.Equal(t, transport.StateDetached, server.State())
	})
}

func TestPingCanBeSwitchedOff(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		client := n.Dial(srv, "alice", transport.Config{PingAfter: -1})
		start := time.Now()
		requireEnd(t, client, transport.Lost, false)
		assert.InDelta(t, 15*time.Second, time.Since(start), float64(time.Second))
	})
	require.Positive(t, transport.PingPadding)
}

// A client that wakes asks at once, because its timers slept too.
func TestSleepIsTold(t *testing.T) {
	require.True(t, transport.Slept(8*time.Hour, time.Second))
	require.False(t, transport.Slept(time.Second, time.Second))
	require.False(t, transport.Slept(time.Second+100*time.Millisecond, time.Second), "the clock is being slewed")
	require.False(t, transport.Slept(-time.Hour, time.Second), "the clock was set back")
}

// Why PING is padded: a server that knows nothing of a connection answers its packets from 43 bytes on, and smaller
// ones, as QUIC's own keepalives are, with nothing.
func TestSmallPacketsDrawNoStatelessReset(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{StatelessResetKey: &[32]byte{1}})
		for size, want := range map[int]bool{25: false, 42: false, 43: true, 1200: true} {
			pc := n.Conn()
			packet := make([]byte, size)
			packet[0] = 0x40 // a short header
			_, err := pc.WriteTo(packet, srv.Addr())
			require.NoError(t, err)
			require.NoError(t, pc.SetReadDeadline(time.Now().Add(time.Second)))
			_, _, err = pc.ReadFrom(make([]byte, 1500))
			assert.Equal(t, want, err == nil, "%d bytes", size)
		}
	})
}
