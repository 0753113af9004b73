package transport_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// S5: after a restart all clients come back, though many times more at once than there are places for handshakes. Who
// is refused comes again with backoff, which is at most MaxReconnectBackoff.
func TestS5AllComeBackAfterARestart(t *testing.T) {
	const clients = 200
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		cfg := transport.Config{Handlers: on(echo), MaxHandshakes: 8}
		cred, err := n.Authority().IssueServer([]string{"localhost"})
		require.NoError(t, err)
		cfg.Credentials = cred
		srv := n.Listen(cfg)
		var sessions []*transport.Session
		for i := range clients {
			sessions = append(sessions, n.Dial(srv, fmt.Sprintf("user%d", i), transport.Config{NewPacketConn: n.NewConn}))
		}
		cfg.PacketConn = n.ConnAt(n.Kill(srv))
		srv = n.Listen(cfg)
		for _, s := range sessions { // so that all notice at the same time, with their idle timeout
			str, err := s.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, _ = str.Write([]byte("x"))
		}
		began := time.Now()
		for srv.Stats().Live < clients && time.Since(began) < 5*time.Minute {
			time.Sleep(5 * time.Millisecond)
		}
		took := time.Since(began)
		t.Logf("%d clients were back after %v; refused %v", srv.Stats().Live, took, srv.Stats().Dropped)
		assert.Less(t, took, time.Minute)
		assert.Positive(t, srv.Stats().Dropped[transport.DropHandshakes], "the test is a storm")
		time.Sleep(time.Second)
		for _, s := range sessions {
			require.Equal(t, transport.StateLive, s.State())
		}
		assert.Zero(t, srv.Stats().Handshakes, "every place was given back")
	})
}

// A negative MaxSessions is no limit, as it is of the others.
func TestNegativeLimitsAreNone(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), MaxSessions: -1, MaxIdentitySessions: -1, MaxPerAddress: -1, MaxHandshakes: -1, MaxBuffered: -1})
		requireEcho(t, n.Dial(srv, "bob", transport.Config{}))
		time.Sleep(time.Second)
		assert.Zero(t, srv.Stats().Handshakes)
	})
}
