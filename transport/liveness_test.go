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
