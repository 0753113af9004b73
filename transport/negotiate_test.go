package transport_test

import (
	"context"
	"errors"
	"io"
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

// refusing is a MayRelease that never lets anybody go.
func refusing(*transport.Session) error { return errors.New("you hold the floor") }

// M141, S2: Close is a release that is not refused, and loses nothing that was sent before it.
func TestM141CloseIsNotRefused(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		arrived := make(chan string, 1)
		srv := n.Listen(transport.Config{MayRelease: refusing, Handlers: on(func(_ context.Context, s *transport.Stream) {
			text, _ := io.ReadAll(s)
			arrived <- string(text)
			_ = s.Close()
		})})
		client, server := n.Pair(srv, "alice", lasting(n))
		var refused *transport.NotFinishedError
		require.ErrorAs(t, client.Release(t.Context()), &refused)
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = str.Write([]byte("last words"))
		require.NoError(t, err)
		require.NoError(t, str.Close())
		str.CancelRead(transport.StreamNoError)
		require.NoError(t, client.Close())
		assert.Equal(t, "last words", <-arrived)
		requireEnd(t, client, transport.Released, false)
		requireEnd(t, server, transport.Released, true)
		require.NoError(t, client.Close(), "twice")
	})
}

// Close leaves no session behind: it takes no longer than ReleaseTimeout, and a peer that refuses all the same, because it does not know that
// it may not, is left.
func TestCloseEndsTheSessionInAnyCase(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		hang := on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })
		srv := n.Listen(transport.Config{Handlers: hang})
		client, server := n.Pair(srv, "alice", lasting(n))
		go func() { _, _ = say(t.Context(), client, "never answered") }()
		time.Sleep(time.Second)
		begun := time.Now()
		require.ErrorIs(t, client.Close(), &transport.Error{Code: transport.ReleaseTimeout})
		assert.Equal(t, 10*time.Second, time.Since(begun).Round(100*time.Millisecond))
		requireEnd(t, server, transport.ReleaseTimeout, true)
	})
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		cfg := lasting(n)
		client, peer := dialRawServer(t, n, cfg)
		closed := make(chan error, 1)
		go func() { closed <- client.Close() }()
		time.Sleep(time.Second)
		_, err := peer.ctl.Write(transport.AppendNotFinished("no"))
		require.NoError(t, err)
		require.ErrorIs(t, <-closed, &transport.Error{Code: transport.Aborted})
		assert.Equal(t, transport.StateEnded, client.State())
	})
}

// M141: Close asks anew when another's release is refused, which goes on as that says.
func TestM141CloseBehindARefusedRelease(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MayRelease: func(s *transport.Session) error {
			time.Sleep(time.Second)
			return refusing(s)
		}})
		client, server := n.Pair(srv, "alice", lasting(n))
		released := make(chan error, 1)
		go func() { released <- client.Release(t.Context()) }()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, client.Close())
		var refused *transport.NotFinishedError
		require.ErrorAs(t, <-released, &refused)
		requireEnd(t, server, transport.Released, true)
	})
}

// M142: both sides release at once, whichever is first, and while the server thinks about the client's: nobody is refused by who wants to go
// itself, and nobody waits for an answer that will not come.
func TestM142BothSidesReleaseAtOnce(t *testing.T) {
	for _, later := range []time.Duration{0, rtt / 4, rtt / 2, 3 * rtt / 4, rtt, 2 * rtt} {
		for _, thinks := range []time.Duration{0, rtt} {
			for _, clientFirst := range []bool{true, false} {
				bubble(t, func(t *testing.T, n *transporttest.Network) {
					srv := n.Listen(transport.Config{MayRelease: func(s *transport.Session) error {
						time.Sleep(thinks)
						return refusing(s)
					}})
					client, server := n.Pair(srv, "alice", lasting(n))
					time.Sleep(time.Second)
					first, second := client, server
					if !clientFirst {
						first, second = server, client
					}
					begun := time.Now()
					errs := make(chan error, 2)
					go func() { errs <- first.Release(t.Context()) }()
					time.Sleep(later)
					go func() { errs <- second.Release(t.Context()) }()
					for range 2 {
						if err := <-errs; err != nil {
							var refused *transport.NotFinishedError
							require.ErrorAs(t, err, &refused)
						}
					}
					requireEnd(t, client, transport.Released, true)
					requireEnd(t, server, transport.Released, true)
					assert.Less(t, time.Since(begun), time.Second, "%v %v %v", later, thinks, clientFirst)
				})
			}
		}
	}
}

// M144: a refusal, and a loss right behind it: the session either has gone on as before, and is resumed, or it was lost in its release. It is
// never both, and nobody waits.
func TestM144RefusalRacesWithALoss(t *testing.T) {
	for _, after := range []time.Duration{0, 1, rtt} { // the loss comes before the refusal, or behind it
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{Handlers: on(echo), MayRelease: func(s *transport.Session) error {
				time.AfterFunc(after, func() { closeConn(t, s, transport.Internal) })
				return refusing(s)
			}})
			client := n.Dial(srv, "alice", lasting(n))
			err := client.Release(t.Context())
			if _, refused := errors.AsType[*transport.NotFinishedError](err); !refused {
				require.Zero(t, after)
				require.ErrorIs(t, err, &transport.Error{Code: transport.Internal})
				assert.Equal(t, transport.StateEnded, client.State())
				return
			}
			awaitResume(t, client, 2)
			requireEcho(t, client)
		})
	}
}

// M144: who learns of a refusal finds a session that outlives a loss, whoever else has asked and not taken note yet.
func TestM144RefusalIsForAllWhoAsk(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), MayRelease: refusing})
		client := n.Dial(srv, "alice", lasting(n))
		const callers = 500
		errs := make(chan error, callers)
		var lost sync.Once
		for range callers {
			go func() {
				err := client.Release(t.Context())
				lost.Do(func() { _ = transport.Conn(client).CloseWithError(quic.ApplicationErrorCode(transport.Internal), "") })
				errs <- err
			}()
		}
		for range callers {
			var refused *transport.NotFinishedError
			require.ErrorAs(t, <-errs, &refused)
		}
		awaitResume(t, client, 2)
		requireEcho(t, client)
	})
}

// M143: what a session holds is given back after all that was sent has arrived, and before the other side learns that the release is
// complete; once, whoever releases and whether it is forced. Nothing is when the release is refused, in a drain, or when the connection is lost.
func TestM143BeforeReleaseIsBeforeItsEnd(t *testing.T) {
	type ending struct {
		end   func(client, server *transport.Session, srv *transport.Server) error
		given int32
		code  transport.CloseCode
	}
	for name, e := range map[string]ending{
		"release":            {func(c, _ *transport.Session, _ *transport.Server) error { return c.Release(context.Background()) }, 1, transport.Released},
		"close":              {func(c, _ *transport.Session, _ *transport.Server) error { return c.Close() }, 1, transport.Released},
		"the server's close": {func(_, s *transport.Session, _ *transport.Server) error { return s.Close() }, 1, transport.Released},
		"drain":              {func(_, _ *transport.Session, srv *transport.Server) error { return srv.Shutdown(context.Background()) }, 0, transport.Drained},
		"abort": {func(c, _ *transport.Session, _ *transport.Server) error {
			c.Abort(transport.Aborted, "")
			return nil
		}, 0, transport.Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				var given, serving atomic.Int32
				srv := n.Listen(transport.Config{
					Hold: -1,
					Handlers: on(func(ctx context.Context, s *transport.Stream) {
						serving.Add(1)
						select {
						case <-s.Draining():
							time.Sleep(time.Second)
						case <-ctx.Done():
						}
						_ = s.Close()
						serving.Add(-1)
					}),
					BeforeRelease: func(ctx context.Context, _ *transport.Session) {
						assert.Zero(t, serving.Load(), "S2: what was sent before has not arrived")
						time.Sleep(3 * time.Second)
						assert.NoError(t, ctx.Err())
						given.Add(1)
					},
				})
				client, server := n.Pair(srv, "alice", transport.Config{})
				go func() { _, _ = say(t.Context(), client, "x") }()
				time.Sleep(time.Second)
				require.NoError(t, e.end(client, server, srv))
				requireEnd(t, client, e.code, name == "the server's close")
				assert.Equal(t, e.given, given.Load())
				time.Sleep(time.Minute)
				assert.Equal(t, e.given, given.Load())
			})
		})
	}
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MayRelease: refusing, BeforeRelease: func(context.Context, *transport.Session) { assert.Fail(t, "it was refused") }})
		client := n.Dial(srv, "alice", transport.Config{})
		require.Error(t, client.Release(t.Context()))
		client.Abort(transport.Aborted, "")
	})
}
