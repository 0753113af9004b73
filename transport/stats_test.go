package transport_test

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

type endings = map[transport.Ending]uint64

// Every kind of ending is counted once, under its code and its side, and the sessions that were made are those
// that have ended and those that there are (S3).
func TestS3EveryEndingIsCounted(t *testing.T) {
	const hold = 5 * time.Second
	lost := transport.Ending{Code: transport.Lost}
	for _, test := range []struct {
		name string
		end  func(t *testing.T, n *transporttest.Network, srv *transport.Server, client, server *transport.Session)
		// of the connection, while the session may still be held, and of the session after the hold
		connection, session endings
	}{
		{"released by the client", func(t *testing.T, _ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
			t.Helper()
			require.NoError(t, client.Release(t.Context()))
		}, endings{{transport.Released, true}: 1}, endings{{transport.Released, true}: 1}},
		{"released by the server", func(t *testing.T, _ *transporttest.Network, _ *transport.Server, _, server *transport.Session) {
			t.Helper()
			require.NoError(t, server.Release(t.Context()))
		}, endings{{transport.Released, false}: 1}, endings{{transport.Released, false}: 1}},
		{"kicked by the server", func(_ *testing.T, _ *transporttest.Network, _ *transport.Server, _, server *transport.Session) {
			server.Abort(transport.Kicked, "")
		}, endings{{transport.Kicked, false}: 1}, endings{{transport.Kicked, false}: 1}},
		{"aborted by the client, and not resumed", func(_ *testing.T, _ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
			client.Abort(transport.Aborted, "")
		}, endings{{transport.Aborted, true}: 1}, endings{{transport.Aborted, true}: 1}},
		{"a code that nobody knows", func(_ *testing.T, _ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
			client.Abort(0x4ab, "")
		}, endings{{transport.Unauthorized, true}: 1}, endings{{transport.Unauthorized, true}: 1}},
		{"lost, and not resumed", func(_ *testing.T, n *transporttest.Network, _ *transport.Server, _, _ *transport.Session) {
			n.Cut()
			time.Sleep(16 * time.Second)
		}, endings{lost: 1}, endings{lost: 1}},
		{"drained", func(t *testing.T, _ *transporttest.Network, srv *transport.Server, _, _ *transport.Session) {
			t.Helper()
			require.NoError(t, srv.Shutdown(t.Context()))
		}, endings{{transport.Drained, true}: 1}, endings{{transport.Drained, true}: 1}},
		{"cut off by a drain", func(t *testing.T, _ *transporttest.Network, srv *transport.Server, client, _ *transport.Session) {
			t.Helper()
			str, err := client.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = str.Write([]byte("never ends"))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			require.ErrorAs(t, srv.Shutdown(ctx), new(*transport.CutError))
		}, endings{{transport.DrainTimeout, false}: 1}, endings{{transport.DrainTimeout, false}: 1}},
		{"not released in time", func(t *testing.T, _ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
			t.Helper()
			str, err := client.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = str.Write([]byte("never ends"))
			require.NoError(t, err)
			require.ErrorIs(t, client.Release(t.Context()), &transport.Error{Code: transport.ReleaseTimeout})
		}, endings{{transport.ReleaseTimeout, true}: 1}, endings{{transport.ReleaseTimeout, true}: 1}},
		{"closed with the server", func(t *testing.T, _ *transporttest.Network, srv *transport.Server, _, _ *transport.Session) {
			t.Helper()
			require.NoError(t, srv.Close())
		}, endings{{transport.Aborted, false}: 1}, endings{{transport.Aborted, false}: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Hold: hold, Handlers: on(echo)})
				client, server := n.Pair(srv, "alice", transport.Config{})
				require.Equal(t, 1, srv.Stats().Live)
				test.end(t, n, srv, client, server)
				time.Sleep(2 * rtt)
				synctest.Wait()
				st := srv.Stats()
				require.Equal(t, test.connection, st.Connections)
				require.Zero(t, st.Live)
				require.Equal(t, 1, st.Detached+int(total(st.Endings)), "%+v", st)
				time.Sleep(hold)
				synctest.Wait()
				st = srv.Stats()
				require.Equal(t, test.connection, st.Connections)
				require.Equal(t, test.session, st.Endings)
				require.Equal(t, uint64(1), st.Established)
				require.Zero(t, st.Detached)
				require.Empty(t, st.Refused)
			})
		})
	}
}

func total(e endings) (n uint64) {
	for count := range maps.Values(e) {
		n += count
	}
	return n
}

// A session that is resumed has not ended: its first connection has.
func TestResumesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		client := n.Dial(srv, "alice", transport.Config{})
		again, err := transport.Resume(t.Context(), client, srv.Addr().String(), 2, &transport.Config{Credentials: n.User("alice"), PacketConn: n.Conn()})
		require.NoError(t, err)
		time.Sleep(2 * rtt)
		synctest.Wait()
		st := srv.Stats()
		require.Equal(t, 1, st.Live)
		require.Equal(t, [3]uint64{1, 1, 0}, [3]uint64{st.Established, st.Resumed, st.NotKept})
		require.Equal(t, endings{{transport.Replaced, false}: 1}, st.Connections)
		require.Empty(t, st.Endings)

		// The server has never heard of this one's first connection.
		other := n.Listen(transport.Config{})
		elsewhere, err := transport.Resume(t.Context(), client, other.Addr().String(), 2, &transport.Config{Credentials: n.User("alice"), PacketConn: n.Conn()})
		require.NoError(t, err)
		st = other.Stats()
		require.Equal(t, [3]uint64{1, 0, 1}, [3]uint64{st.Established, st.Resumed, st.NotKept})
		require.NoError(t, again.Release(t.Context()))
		require.NoError(t, elsewhere.Release(t.Context()))
	})
}

// Who is refused never had a session, and is counted by what it was told.
func TestRefusalsAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Authorize: func(_ context.Context, p transport.Peer) error {
			if p.ID.Name == "mallory" {
				return &transport.Error{Code: transport.Banned}
			}
			return nil
		}})
		_, err := n.TryDial(t.Context(), srv, "mallory", transport.Config{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.Banned})
		silent := dialRaw(t, n, srv, "alice")
		synctest.Wait()
		time.Sleep(rtt)
		require.Equal(t, 1, srv.Stats().Greeting)
		silent.requireClosed(transport.HelloTimeout)
		synctest.Wait()
		st := srv.Stats()
		require.Equal(t, uint64(1), st.Refused[transport.Ending{Code: transport.Banned}], "%+v", st)
		require.Equal(t, uint64(1), st.Refused[transport.Ending{Code: transport.HelloTimeout}], "%+v", st)
		require.Zero(t, st.Established)
		require.Zero(t, st.Greeting)
		require.Empty(t, st.Endings)
		require.Empty(t, st.Connections)
	})
}

// A certificate that is refused in the handshake is a refusal, though there never was a connection.
func TestRefusedCertificatesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		cred := *n.User("alice")
		cred.Certificate = transporttest.New(t, rtt).User("alice").Certificate // of another authority
		refused := dialRawConfig(t, n, srv, &transport.Config{Credentials: &cred})
		<-refused.conn.Context().Done()
		synctest.Wait()
		require.Equal(t, endings{{Code: transport.Unauthorized}: 1}, srv.Stats().Refused)
	})
}

// A session's own numbers are those of its connection and of the streams that are open now.
func TestSessionStats(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		began := time.Now()
		client, server := n.Pair(srv, "alice", transport.Config{})
		requireEcho(t, client)
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = str.Write([]byte("x"))
		require.NoError(t, err)
		time.Sleep(rtt)
		synctest.Wait()
		for _, s := range []*transport.Session{client, server} {
			st := s.Stats()
			require.Equal(t, transport.StateLive, st.State)
			require.Equal(t, 1, st.Streams)
			require.Equal(t, uint64(1), st.Attempt)
			require.WithinDuration(t, began, st.Since, time.Second)
			require.InDelta(t, rtt, st.RTT, float64(rtt))
			require.Positive(t, st.RTT)
			require.Positive(t, st.Sent)
			require.Positive(t, st.Received)
		}
		require.Equal(t, 1, srv.Stats().Streams)
		require.Equal(t, uint64(2), srv.Stats().Accepted)
		str.Cancel(transport.StreamCanceled)
		time.Sleep(rtt)
		synctest.Wait()
		require.Zero(t, client.Stats().Streams)
		require.Zero(t, srv.Stats().Streams)
	})
}

// A client that breaks the protocol ends its session, and is counted for it; one that is held and makes room for
// another is, too.
func TestSessionsThatTheServerEndsAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MaxSessions: 1})
		rude := dialRaw(t, n, srv, "mallory")
		rude.control(hello(1, 1))
		rude.readWelcome()
		rude.control(transport.AppendFinish(2, 0)) // a drain, of which nobody has spoken (M20)
		rude.requireClosed(transport.Protocol)
		synctest.Wait()
		require.Equal(t, endings{{Code: transport.Protocol}: 1}, srv.Stats().Endings)

		n.Dial(srv, "alice", transport.Config{}).Abort(transport.Aborted, "")
		time.Sleep(rtt)
		synctest.Wait()
		require.Equal(t, 1, srv.Stats().Detached)
		bob := n.Dial(srv, "bob", transport.Config{})
		_, err := n.TryDial(t.Context(), srv, "carol", transport.Config{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.ExcessiveLoad})
		synctest.Wait()
		st := srv.Stats()
		require.Equal(t, endings{{Code: transport.Protocol}: 1, {Code: transport.ExcessiveLoad}: 1}, st.Endings)
		require.Equal(t, endings{{Code: transport.ExcessiveLoad}: 1}, st.Refused)
		require.Equal(t, [3]int{1, 0, 3}, [3]int{st.Live, st.Detached, int(st.Established)})
		require.NoError(t, bob.Release(t.Context()))
	})
}
