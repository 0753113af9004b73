package transport_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// The megabyte is on its way in both directions when the release begins, and packets are lost (S2).
func TestS2ReleaseDeliversAMegabyteWrittenJustBefore(t *testing.T) {
	for name, who := range map[string]string{"released by the client": "client", "released by the server": "server"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				there, back := make([]byte, 1<<20), make([]byte, 1<<20)
				_, _ = rand.Read(there)
				_, _ = rand.Read(back)
				atServer := make(chan []byte, 1)
				serve := func(_ context.Context, s *transport.Stream) {
					written := make(chan struct{})
					go func() {
						defer close(written)
						_, err := s.Write(back)
						assert.NoError(t, err)
						assert.NoError(t, s.Close())
					}()
					got, err := io.ReadAll(s)
					assert.NoError(t, err)
					atServer <- got
					<-written
				}
				srv := n.Listen(transport.Config{Handlers: on(serve)})
				client, server := n.Pair(srv, "alice", transport.Config{})
				var packets atomic.Int64
				n.Drop(func(transporttest.Packet) bool { return packets.Add(1)%50 == 0 })

				str, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				atClient := make(chan []byte, 1)
				go func() {
					got, err := io.ReadAll(str)
					assert.NoError(t, err)
					atClient <- got
				}()
				_, err = str.Write(there)
				require.NoError(t, err)
				require.NoError(t, str.Close())

				releasing := client
				if who == "server" {
					releasing = server
				}
				require.NoError(t, releasing.Release(t.Context()))
				assert.True(t, bytes.Equal(there, <-atServer))
				assert.True(t, bytes.Equal(back, <-atClient))
				requireEnd(t, client, transport.Released, false)
				requireEnd(t, server, transport.Released, false)
				synctest.Wait()
				assert.Empty(t, srv.Sessions(), "a released session is freed at once")
			})
		})
	}
}

// Each side can tell how it ended (S3).
func TestS3EndingsAreToldApart(t *testing.T) {
	type end struct {
		code   transport.CloseCode
		remote bool
	}
	for name, row := range map[string]struct {
		do             func(t *testing.T, n *transporttest.Network, srv *transport.Server, client, server *transport.Session)
		client, server end
		state          transport.State // of the server's session, shortly after
	}{
		"released by the client": {
			do: func(t *testing.T, _ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
				require.NoError(t, client.Release(t.Context()))
			},
			client: end{transport.Released, false}, server: end{transport.Released, true}, state: transport.StateEnded,
		},
		"released by the server": {
			do: func(t *testing.T, _ *transporttest.Network, _ *transport.Server, _, server *transport.Session) {
				require.NoError(t, server.Release(t.Context()))
			},
			client: end{transport.Released, true}, server: end{transport.Released, false}, state: transport.StateEnded,
		},
		"released by both at once": {
			do: func(t *testing.T, _ *transporttest.Network, _ *transport.Server, client, server *transport.Session) {
				done := make(chan error, 1)
				go func() { done <- server.Release(t.Context()) }()
				require.NoError(t, client.Release(t.Context()))
				require.NoError(t, <-done)
			},
			client: end{transport.Released, false}, server: end{transport.Released, true}, state: transport.StateEnded,
		},
		"aborted by the client": {
			do: func(_ *testing.T, _ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
				client.Abort(transport.Internal, "disk on fire")
			},
			client: end{transport.Internal, false}, server: end{transport.Internal, true}, state: transport.StateDetached,
		},
		"aborted by the server": {
			do: func(_ *testing.T, _ *transporttest.Network, _ *transport.Server, _, server *transport.Session) {
				server.Abort(transport.Kicked, "behave")
			},
			client: end{transport.Kicked, true}, server: end{transport.Kicked, false}, state: transport.StateEnded,
		},
		"a graceful code is no way to abort": {
			do: func(_ *testing.T, _ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
				client.Abort(transport.Released, "")
			},
			client: end{transport.Aborted, false}, server: end{transport.Aborted, true}, state: transport.StateDetached,
		},
		"drained": {
			do: func(t *testing.T, _ *transporttest.Network, srv *transport.Server, client, _ *transport.Session) {
				require.NoError(t, srv.Shutdown(t.Context()))
				after, ok := client.GoAway()
				assert.True(t, ok)
				assert.LessOrEqual(t, after, 5*time.Minute)
			},
			client: end{transport.Drained, false}, server: end{transport.Drained, true}, state: transport.StateEnded,
		},
		"cut link": {
			do: func(_ *testing.T, n *transporttest.Network, _ *transport.Server, _, _ *transport.Session) {
				n.Cut()
				time.Sleep(25 * time.Second)
			},
			client: end{transport.Lost, false}, server: end{transport.Lost, false}, state: transport.StateDetached,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo)})
				client, server := n.Pair(srv, "alice", transport.Config{})
				requireEcho(t, client)
				row.do(t, n, srv, client, server)
				requireEnd(t, client, row.client.code, row.client.remote)
				assert.Equal(t, transport.StateEnded, client.State())
				var e *transport.Error
				require.ErrorAs(t, context.Cause(client.Context()), &e)
				assert.Equal(t, row.client.code, e.Code)

				time.Sleep(time.Second)
				assert.Equal(t, row.state, server.State())
				requireEnd(t, server, row.server.code, row.server.remote) // a detached one after its hold
				synctest.Wait()
				assert.Empty(t, srv.Sessions())
			})
		})
	}
}

// A peer that closes with a graceful code and has not completed the release counts as an abort,
// and its session is kept (S7).
func TestS7GracefulCodeWithoutHandshakeIsAnAbort(t *testing.T) {
	for _, code := range []quic.ApplicationErrorCode{0x100, 0x101} {
		for name, finish := range map[string][]byte{
			"nothing said": nil,
			"FINISH only":  transport.AppendFrame(nil, 0x07, []byte{0x08, 0x01}),
		} {
			t.Run(fmt.Sprintf("%#x %s", code, name), func(t *testing.T) {
				bubble(t, func(t *testing.T, n *transporttest.Network) {
					hold := make(chan struct{})
					defer close(hold)
					srv := n.Listen(transport.Config{Handlers: on(func(context.Context, *transport.Stream) { <-hold })})
					p := dialRaw(t, n, srv, "alice")
					p.control(hello(1, 1))
					p.readWelcome()
					call, err := p.conn.OpenStream() // keeps the server from DISCONNECT
					require.NoError(t, err)
					_, err = call.Write([]byte{0x01})
					require.NoError(t, err)
					time.Sleep(time.Second)
					p.control(finish)
					time.Sleep(time.Second)
					server := srv.Sessions()[0]
					_ = p.conn.CloseWithError(code, "")
					time.Sleep(time.Second)
					assert.Equal(t, transport.StateDetached, server.State())
				})
			})
		}
	}
}

// The outcome is fixed at DISCONNECT: who then falls silent has been released.
func TestSilenceAfterDisconnectIsReleased(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		p := dialRaw(t, n, srv, "alice")
		p.control(hello(1, 1))
		p.readWelcome()
		server := srv.Sessions()[0]
		start := time.Now()
		p.control(transport.AppendFrame(nil, 0x07, []byte{0x08, 0x01}))
		requireEnd(t, server, transport.Released, false)
		assert.InDelta(t, 10*time.Second+transport.CloseGrace, time.Since(start), float64(time.Second), "the initiator may read for ReleaseTimeout")
	})
}

// A drain lets what is in flight come to its end, and tells its handlers.
func TestDrainLetsCallsFinish(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		slow := func(_ context.Context, s *transport.Stream) {
			<-s.Draining()
			time.Sleep(8 * time.Second)
			echo(context.Background(), s)
		}
		srv := n.Listen(transport.Config{Handlers: on(slow)})
		client, _ := n.Pair(srv, "alice", transport.Config{})
		result := make(chan error, 1)
		go func() {
			back, err := say(t.Context(), client, "finish me")
			if err == nil && back != "finish me" {
				err = errors.New(back)
			}
			result <- err
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		go func() {
			time.Sleep(time.Second)
			_, err := client.OpenStream(ctx, transport.StreamRPC)
			assert.ErrorIs(t, err, transport.ErrGoingAway)
		}()
		require.NoError(t, srv.Shutdown(ctx))
		require.NoError(t, <-result)
		requireEnd(t, client, transport.Drained, false)
	})
}

// Who is not done in time is cut off, and who runs the server learns what that was.
func TestDrainCutsStragglers(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var log bytes.Buffer
		hang := on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })
		srv := n.Listen(transport.Config{Handlers: hang, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		straggler, server := n.Pair(srv, "alice", transport.Config{Handlers: hang})
		idle := n.Dial(srv, "bob", transport.Config{})
		for _, s := range []*transport.Session{straggler, straggler, server} {
			go func() { _, _ = say(t.Context(), s, "never answered") }()
		}
		time.Sleep(time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := srv.Shutdown(ctx)
		var cut *transport.CutError
		require.ErrorAs(t, err, &cut)
		assert.Equal(t, transport.CutError{Sessions: 1, Streams: 3}, *cut)
		assert.EqualError(t, err, "work was not done in time: cut off 1 session with 3 open streams")
		synctest.Wait() // the ends of sessions are logged behind Shutdown's back
		assert.Contains(t, log.String(), `msg="session cut off" session=`+straggler.ID().String()+" identity="+straggler.Identity().String()+" streams=3")
		requireEnd(t, idle, transport.Drained, false)
		requireEnd(t, straggler, transport.DrainTimeout, true)
		requireEnd(t, server, transport.DrainTimeout, false)
	})
}

func TestShutdownRefusesNewSessions(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		hold := make(chan struct{})
		srv := n.Listen(transport.Config{Handlers: on(func(_ context.Context, s *transport.Stream) {
			<-hold
			_ = s.Close()
		})})
		alice := n.Dial(srv, "alice", transport.Config{})
		go func() { _, _ = say(t.Context(), alice, "") }()
		time.Sleep(time.Second)
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(t.Context()) }()
		time.Sleep(time.Second)
		_, err := n.TryDial(t.Context(), srv, "bob", transport.Config{})
		code, _ := transport.CodeOf(err)
		assert.Equal(t, transport.Lost, code)
		close(hold)
		require.NoError(t, <-done)
		requireEnd(t, alice, transport.Drained, false)
		require.NoError(t, srv.Shutdown(t.Context()), "twice does nothing")
	})
}

// Negotiated release: a refusal changes nothing, and the next try may succeed.
func TestRefusedReleaseGoesOnAsBefore(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var busy atomic.Bool
		busy.Store(true)
		srv := n.Listen(transport.Config{Handlers: on(echo), MayRelease: func(*transport.Session) error {
			if busy.Load() {
				return errors.New("you hold the floor")
			}
			return nil
		}})
		client, server := n.Pair(srv, "alice", transport.Config{Handlers: on(echo)})
		err := client.Release(t.Context())
		var refused *transport.NotFinishedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "you hold the floor", refused.Reason)
		requireEcho(t, client)
		requireEcho(t, server)
		busy.Store(false)
		require.NoError(t, client.Release(t.Context()))
		requireEnd(t, server, transport.Released, true)
	})
}

// A release that the peer does not bring to its end is an abort, with a name of its own.
func TestReleaseHasADeadline(t *testing.T) {
	for name, limit := range map[string]time.Duration{"the configured one": 0, "the context's": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })})
				client, server := n.Pair(srv, "alice", transport.Config{})
				go func() { _, _ = say(t.Context(), client, "never answered") }()
				time.Sleep(time.Second)
				ctx, cancel, want := t.Context(), func() {}, 10*time.Second
				if limit > 0 {
					ctx, cancel = context.WithTimeout(ctx, limit)
					want = limit
				}
				defer cancel()
				start := time.Now()
				err := client.Release(ctx)
				require.Error(t, err)
				assert.InDelta(t, want, time.Since(start), float64(time.Second))
				requireEnd(t, client, transport.ReleaseTimeout, false)
				requireEnd(t, server, transport.ReleaseTimeout, true)
			})
		})
	}
}

func TestServeEndsAsNetHTTPs(t *testing.T) {
	for name, end := range map[string]func(srv *transport.Server, cancel context.CancelFunc) error{
		"Shutdown": func(srv *transport.Server, _ context.CancelFunc) error { return srv.Shutdown(context.Background()) },
		"Close":    func(srv *transport.Server, _ context.CancelFunc) error { return srv.Close() },
		"context":  func(_ *transport.Server, cancel context.CancelFunc) error { cancel(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				cred, err := n.Authority().IssueServer(nil)
				require.NoError(t, err)
				srv, err := transport.Listen(&transport.Config{Credentials: cred, PacketConn: n.Conn()})
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				served := make(chan error, 1)
				go func() { served <- srv.Serve(ctx) }()
				client := n.Dial(srv, "alice", transport.Config{})
				require.NoError(t, end(srv, cancel))
				want := transport.ErrServerClosed
				if name == "context" {
					want = context.Canceled
				}
				require.ErrorIs(t, <-served, want)
				code := transport.Aborted
				remote := true
				if name == "Shutdown" {
					code, remote = transport.Drained, false
				}
				requireEnd(t, client, code, remote)
			})
		})
	}
}

// Whoever learns of a drain and then releases the session does not turn it into something else.
func TestReleaseDuringADrainIsTheDrain(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", transport.Config{})
		s, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		go func() {
			<-s.Draining()
			_ = s.Close()
			_, _ = io.ReadAll(s)
			var e *transport.Error
			assert.ErrorAs(t, client.Release(t.Context()), &e)
			assert.Equal(t, transport.Drained, e.Code)
		}()
		time.Sleep(time.Second)
		require.NoError(t, srv.Shutdown(t.Context()))
		requireEnd(t, client, transport.Drained, false)
		requireEnd(t, server, transport.Drained, true)
	})
}
