package transport_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A nomad is a client whose sockets the test knows.
type nomad struct {
	*transport.Session
	server  *transport.Session
	mu      sync.Mutex // guards what follows
	sockets []net.PacketConn
}

func newNomad(n *transporttest.Network, srv *transport.Server) *nomad {
	m := &nomad{}
	cfg := lasting(n)
	cfg.NewPacketConn = func() (net.PacketConn, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		pc := n.Conn()
		m.sockets = append(m.sockets, pc)
		return pc, nil
	}
	m.Session, m.server = n.Pair(srv, "alice", cfg)
	return m
}

// at returns the address of the newest socket.
func (m *nomad) at() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sockets[len(m.sockets)-1].LocalAddr().String()
}

func attempts(s *transport.Session) uint64 {
	now, _ := s.Status()
	return now.Attempt
}

// A client moves its connection from socket to socket: it stays the same connection, the server sends where the
// client is, and what was under way goes on.
func TestMigrate(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := newNomad(n, srv)
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		for range 5 {
			old := client.at()
			require.NoError(t, client.Migrate(t.Context()))
			require.NotEqual(t, old, client.at())
			time.Sleep(2 * rtt)
			assert.Equal(t, client.at(), client.server.Peer().Addr.String(), "the server has followed without being asked anything")
			assert.Equal(t, srv.Addr().String(), client.Peer().Addr.String())
			used := 0
			n.Drop(func(p transporttest.Packet) bool {
				if p.From.String() == old || p.To.String() == old {
					used++
				}
				return false
			})
			_, err := io.WriteString(str, "ping")
			require.NoError(t, err)
			_, err = io.ReadFull(str, make([]byte, 4))
			require.NoError(t, err)
			requireEcho(t, client.Session)
			requireEcho(t, client.server)
			time.Sleep(time.Minute)
			n.Drop(nil)
			assert.Zero(t, used, "packets on the old path")
		}
		assert.EqualValues(t, 1, attempts(client.Session))
		str.Cancel(transport.StreamNoError)
		require.NoError(t, client.Release(t.Context()))
		requireEnd(t, client.server, transport.Released, true)
		for _, pc := range client.sockets {
			_, err := pc.WriteTo([]byte("x"), srv.Addr())
			require.Error(t, err, "every socket is closed at the end")
		}
	})
}

// A path that leads nowhere is not taken, and the old one goes on.
func TestMigrateToADeadPath(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := newNomad(n, srv)
		before := client.at()
		n.Drop(func(p transporttest.Packet) bool {
			return p.From.String() != srv.Addr().String() && p.From.String() != before
		})
		for range 3 { // more than there are connection ids
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			require.ErrorIs(t, client.Migrate(ctx), context.DeadlineExceeded)
			cancel()
			requireEcho(t, client.Session)
			requireEcho(t, client.server)
			assert.Equal(t, before, client.server.Peer().Addr.String())
		}
		time.Sleep(time.Minute)
		requireEcho(t, client.Session)
		n.Drop(nil)
		require.NoError(t, client.Migrate(t.Context()), "one that leads somewhere is taken")
		requireEcho(t, client.Session)
		assert.EqualValues(t, 1, attempts(client.Session))
	})
}

// A client that can be reached on the new path alone goes there before the connection is lost.
func TestMigrateFromADeadPath(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := newNomad(n, srv)
		old := client.at()
		n.Drop(func(p transporttest.Packet) bool { return p.From.String() == old || p.To.String() == old })
		back := make(chan error, 1)
		go func() { _, err := say(t.Context(), client.Session, "on its way when the network went"); back <- err }()
		time.Sleep(5 * time.Second)
		require.NoError(t, client.Migrate(t.Context()))
		require.NoError(t, <-back)
		assert.EqualValues(t, 1, attempts(client.Session))
	})
}

func TestMigrateSaysWhyItCannot(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := newNomad(n, srv)
		require.ErrorContains(t, client.server.Migrate(t.Context()), "only a client")

		// The connection ends while the new path is being probed.
		n.Cut()
		require.ErrorIs(t, client.Migrate(t.Context()), &transport.Error{Code: transport.Lost})
		awaitDetached(t, client.Session)
		require.ErrorIs(t, client.Migrate(t.Context()), &transport.Error{Code: transport.Lost})
		n.Drop(nil)
		awaitResume(t, client.Session, 2)
		for range 15 {
			require.NoError(t, client.Migrate(t.Context()))
		}
		require.ErrorContains(t, client.Migrate(t.Context()), "16 sockets")
		requireEcho(t, client.Session)
		client.Abort(transport.Aborted, "")
		require.ErrorIs(t, client.Migrate(t.Context()), &transport.Error{Code: transport.Aborted})
	})
}

// The end of a session and a migration may come together in any order.
func TestMigrateWhileTheSessionEnds(t *testing.T) {
	for at := range 50 {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{Handlers: on(echo)})
			client := newNomad(n, srv)
			moved := make(chan error, 1)
			go func() { moved <- client.Migrate(t.Context()) }()
			time.Sleep(time.Duration(at) * time.Millisecond)
			if at%2 == 0 {
				require.NoError(t, client.Release(t.Context()))
			} else {
				client.Abort(transport.Aborted, "")
			}
			if err := <-moved; err != nil {
				require.ErrorIs(t, err, net.ErrClosed)
			}
			_ = client.Wait(t.Context())
			synctest.Wait()
			for _, pc := range client.sockets {
				_, err := pc.WriteTo([]byte("x"), srv.Addr())
				require.Error(t, err)
			}
		})
	}
}

// A server that has restarted is noticed after a migration, too: by its silence.
func TestRestartAfterAMigration(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		cfg := transport.Config{StatelessResetKey: &[32]byte{1}, Handlers: on(echo)}
		srv := n.Listen(cfg)
		client := newNomad(n, srv)
		require.NoError(t, client.Migrate(t.Context()))
		time.Sleep(time.Minute)
		cfg.PacketConn = n.ConnAt(n.Kill(srv))
		n.Listen(cfg)
		begun := time.Now()
		awaitResume(t, client.Session, 2)
		t.Log(time.Since(begun))
		assert.Less(t, time.Since(begun), 22*time.Second)
		requireEcho(t, client.Session)
	})
}
