package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// answerLong answers whatever it is asked with 100 KiB, which fit into a stream's first window.
func answerLong(_ context.Context, s *transport.Stream) {
	_, _ = io.Copy(io.Discard, s)
	_, _ = s.Write(make([]byte, 100<<10))
	_ = s.Close()
}

// ask sends a request, and leaves its answer to be read.
func ask(t *testing.T, client *transport.Session) *transport.Stream {
	t.Helper()
	s, err := client.OpenStream(t.Context(), transport.StreamRPC)
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return s
}

var finishLeave = transport.AppendFrame(nil, 0x07, []byte{0x08, 0x01})

// Lost has no code on the wire: whoever refuses with it aborts, and the server goes on.
func TestRefusalWithLostIsSentAsAnAbort(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Authorize: func(context.Context, transport.Peer) error {
			return &transport.Error{Code: transport.Lost, Reason: "the directory is down"}
		}})
		_, err := n.TryDial(t.Context(), srv, "alice", transport.Config{})
		require.Error(t, err)
	})
}

// A graceful code needs the handshake, so a refusal with one is an abort (M16, S7).
func TestM16RefusalIsNeverGraceful(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Authorize: func(context.Context, transport.Peer) error {
			return &transport.Error{Code: transport.Released}
		}})
		_, err := n.TryDial(t.Context(), srv, "alice", transport.Config{})
		code, _ := transport.CodeOf(err)
		require.NotEqual(t, transport.ClassGraceful, code.Class(), "%v", err)
	})
}

// A reason that does not fit into a packet is cut, or the close would not be sent at all.
func TestLongReasonStillArrives(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Authorize: func(context.Context, transport.Peer) error {
			return &transport.Error{Code: transport.Revoked, Reason: strings.Repeat("x", 3000)}
		}})
		_, err := n.TryDial(t.Context(), srv, "alice", transport.Config{})
		code, _ := transport.CodeOf(err)
		require.Equal(t, transport.Revoked, code, "%v", err)
	})
}

// Whenever ctx ends, Dial either returns its cause or has a session that lives.
func TestDialMayBeCanceledAtAnyTime(t *testing.T) {
	for i := range 60 {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			defer cancel()
			s, err := n.TryDial(ctx, srv, "alice", transport.Config{})
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				return
			}
			time.Sleep(time.Second)
			require.Equal(t, transport.StateLive, s.State(), "%v", context.Cause(s.Context()))
		})
	}
}

// What MayRelease says may hold anything, a room's name say.
func TestRefusalInBrokenUTF8IsSent(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MayRelease: func(*transport.Session) error { return errors.New("room \xff") }})
		s := n.Dial(srv, "alice", transport.Config{})
		err := s.Release(t.Context())
		var e *transport.NotFinishedError
		require.ErrorAs(t, err, &e)
	})
}

// A client that still reads an answer when the second GOAWAY is due gets all of it.
func TestS2DrainWaitsForASlowReader(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(answerLong)})
		client := n.Dial(srv, "alice", transport.Config{})
		str := ask(t, client)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(ctx) }()
		time.Sleep(3 * time.Second) // the reader is busy with what it has
		b, err := io.ReadAll(str)
		assert.NoError(t, err)
		assert.Len(t, b, 100<<10)
		assert.NoError(t, <-done)
		requireEnd(t, client, transport.Drained, false)
	})
}

// A release that returns nil has lost nothing, however long its initiator takes to read.
func TestS2ReleaseWaitsForASlowReader(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(answerLong)})
		client := n.Dial(srv, "alice", transport.Config{})
		str := ask(t, client)
		time.Sleep(time.Second)
		done := make(chan error, 1)
		go func() { done <- client.Release(t.Context()) }()
		time.Sleep(7 * time.Second)
		b, err := io.ReadAll(str)
		rel := <-done
		if rel == nil {
			assert.NoError(t, err)
			assert.Len(t, b, 100<<10)
		}
	})
}

// A PING behind DISCONNECT finds the control stream closed, which is no fault.
func TestPingAfterDisconnectHarmsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(answerLong)})
		client := n.Dial(srv, "alice", transport.Config{PingAfter: time.Second})
		str := ask(t, client)
		time.Sleep(500 * time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- client.Release(t.Context()) }()
		time.Sleep(3 * time.Second)
		b, err := io.ReadAll(str)
		assert.NoError(t, err)
		assert.Len(t, b, 100<<10)
		assert.NoError(t, <-done)
	})
}

// A stream that both halves of which have ended here may still be on its way.
func TestS2NoteWithoutAnAnswerArrives(t *testing.T) {
	for _, size := range []int{10, 200 << 10} {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			got := make(chan int, 1)
			srv := n.Listen(transport.Config{Handlers: on(func(_ context.Context, s *transport.Stream) {
				b, _ := io.ReadAll(s)
				got <- len(b)
			})})
			client := n.Dial(srv, "alice", transport.Config{})
			str, err := client.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = str.Write(make([]byte, size))
			require.NoError(t, err)
			require.NoError(t, str.Close())
			str.CancelRead(transport.StreamNoError) // no answer wanted
			require.NoError(t, client.Release(t.Context()))
			time.Sleep(time.Second)
			select {
			case k := <-got:
				assert.Equal(t, size, k)
			default:
				assert.Fail(t, "the stream never arrived", "size %d", size)
			}
		})
	}
}

// The same from the server.
func TestS2NoteOfTheServersArrives(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		got := make(chan int, 1)
		srv := n.Listen(transport.Config{})
		client, server := n.Pair(srv, "alice", transport.Config{Handlers: on(func(_ context.Context, s *transport.Stream) {
			b, _ := io.ReadAll(s)
			got <- len(b)
		})})
		time.Sleep(time.Second)
		str, err := server.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = str.Write(make([]byte, 200<<10))
		require.NoError(t, err)
		require.NoError(t, str.Close())
		str.CancelRead(transport.StreamNoError)
		require.NoError(t, client.Release(t.Context()))
		time.Sleep(time.Second)
		select {
		case k := <-got:
			assert.Equal(t, 200<<10, k)
		default:
			assert.Fail(t, "the stream never arrived")
		}
	})
}

// Two releases at once are one question, and both get its answer.
func TestTwoReleasesAreRefusedTogether(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MayRelease: func(*transport.Session) error { return errors.New("no") }})
		client := n.Dial(srv, "alice", transport.Config{})
		errs := make(chan error, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range 2 {
			go func() { errs <- client.Release(ctx) }()
		}
		start := time.Now()
		var e *transport.NotFinishedError
		require.ErrorAs(t, <-errs, &e)
		require.ErrorAs(t, <-errs, &e)
		require.Less(t, time.Since(start), time.Minute)
	})
}

// A server's release that the client's has overtaken still ends with its context.
func TestOvertakenReleaseKeepsItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })})
		p := dialRaw(t, n, srv, "alice")
		p.control(hello(1, 1))
		p.readWelcome()
		call, err := p.conn.OpenStream()
		require.NoError(t, err)
		_, err = call.Write([]byte{0x01})
		require.NoError(t, err)
		time.Sleep(time.Second)
		server := srv.Sessions()[0]
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Second):
					_, _ = p.ctl.Write(transport.AppendFrame(nil, 0x0d, nil))
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- server.Release(ctx) }()
		p.control(finishLeave)
		select {
		case <-done:
			require.Less(t, time.Since(start), 12*time.Second)
		case <-time.After(10 * time.Minute):
			server.Abort(transport.Kicked, "")
			<-done
			require.Fail(t, "Release(3 s) did not return within ten minutes")
		}
	})
}

// NOT_FINISHED and the GOAWAY of a drain may come in one packet (M18).
func TestDrainBehindARefusalIsAnswered(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			cred, err := n.Authority().IssueServer(nil)
			require.NoError(t, err)
			cfg := &transport.Config{Credentials: cred}
			pc := n.Conn()
			tr := &quic.Transport{Conn: pc}
			ln, err := tr.Listen(transport.ServerTLS(cfg), transport.QUICConfig(cfg))
			require.NoError(t, err)
			t.Cleanup(func() { _ = ln.Close(); _ = tr.Close(); _ = pc.Close() })
			finishes := make(chan byte, 4)
			go func() {
				conn, err := ln.Accept(context.Background())
				if err != nil {
					return
				}
				ctl, _ := conn.AcceptStream(context.Background())
				r := transport.NewFrameReader(ctl)
				_, _ = r.Read(make([]byte, 1))
				all := func(transport.FrameType) (uint64, bool) { return 1 << 14, true }
				_, _, _ = r.ReadFrame(all)
				id := "spiffe://" + n.Authority().Domain() + "/user/alice"
				_, _ = ctl.Write(transport.AppendFrame(nil, 0x03, append([]byte{0x1a, byte(len(id))}, id...)))
				for {
					typ, body, err := r.ReadFrame(all)
					if err != nil {
						return
					}
					if typ == 0x07 {
						finishes <- body[1]
						if body[1] == 1 {
							b := transport.AppendFrame(nil, 0x09, []byte{0x0a, 1, 'n'})
							b = transport.AppendFrame(b, 0x05, []byte{0x08, 0x7f, 0x18, 0xe0, 0xd4, 0x03}) // last 127, time left 60 s
							_, _ = ctl.Write(b)
						}
					}
				}
			}()
			c := &transport.Config{Credentials: n.User("alice"), PacketConn: n.Conn()}
			s, err := transport.Dial(t.Context(), pc.LocalAddr().String(), c)
			require.NoError(t, err)
			defer func() { s.Abort(transport.Aborted, ""); _ = s.Wait(context.Background()) }()
			_ = s.Release(t.Context()) // refused, or overtaken by the drain
			require.Equal(t, byte(1), <-finishes)
			select {
			case m := <-finishes:
				require.Equal(t, byte(2), m)
			case <-time.After(20 * time.Second):
				require.Fail(t, "the client never answered the drain")
			}
		})
	}
}

// A client's GOAWAY with time left is a protocol error, else its silence would be graceful (M20).
func TestS7ClientCannotMakeItsSilenceGraceful(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Hold: -1})
		p := dialRaw(t, n, srv, "alice")
		p.control(hello(1, 1))
		p.readWelcome()
		server := srv.Sessions()[0]
		p.control(transport.AppendFrame(nil, 0x05, []byte{0x18, 0x01}))
		time.Sleep(time.Second)
		n.Cut()
		err := server.Wait(t.Context())
		code, _ := transport.CodeOf(err)
		require.NotEqual(t, transport.ClassGraceful, code.Class(), "%v", err)
	})
}

// A handler that has sent all may still read.
func TestHandlersOwnCloseDoesNotEndItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		got := make(chan error, 1)
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, s *transport.Stream) {
			_ = s.Close()
			time.Sleep(time.Second)
			got <- context.Cause(ctx)
			_, _ = io.Copy(io.Discard, s)
		})})
		client := n.Dial(srv, "alice", transport.Config{})
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, _ = str.Write([]byte("x"))
		defer str.Cancel(transport.StreamCanceled)
		require.NoError(t, <-got)
	})
}

// Whoever is being greeted when Shutdown begins is refused, or let in and drained.
func TestGreetingDuringShutdownIsRefusedOrDrained(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		gate := make(chan struct{})
		srv := n.Listen(transport.Config{
			Handlers: on(echo),
			Authorize: func(_ context.Context, p transport.Peer) error {
				if p.ID.Name == "bob" {
					<-gate
				}
				return nil
			}})
		alice := n.Dial(srv, "alice", transport.Config{})
		str, err := alice.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, _ = str.Write([]byte("x"))
		go func() {
			time.Sleep(5 * time.Second)
			_ = str.Close()
			_, _ = io.Copy(io.Discard, str)
		}()
		bob := make(chan *transport.Session, 1)
		go func() {
			s, err := n.TryDial(t.Context(), srv, "bob", transport.Config{})
			if err != nil {
				assert.ErrorIs(t, err, &transport.Error{Code: transport.DrainTimeout})
			}
			bob <- s
		}()
		time.Sleep(time.Second)
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(t.Context()) }()
		time.Sleep(time.Second)
		close(gate)
		s := <-bob
		require.NoError(t, <-done)
		if s != nil {
			code, _ := transport.CodeOf(s.Wait(t.Context()))
			require.Equal(t, transport.Drained, code, "a session that was let in after Shutdown began was not drained")
		}
	})
}

// Close does not wait for handshakes.
func TestHalfOpenHandshakeDoesNotDelayClose(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		pc := n.Conn()
		me := pc.LocalAddr().String()
		n.Drop(func(p transporttest.Packet) bool { return p.To.String() == me })
		tr := &quic.Transport{Conn: pc}
		cfg := &transport.Config{Credentials: n.User("alice")}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = tr.Dial(ctx, srv.Addr(), transport.ClientTLS(cfg), transport.QUICConfig(cfg))
		}()
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		_ = srv.Close()
		took := time.Since(start)
		cancel()
		<-gone
		_ = tr.Close()
		_ = pc.Close()
		require.Less(t, took, time.Second)
	})
}

// What a dead connection had received is not kept for as long as its session is held.
func TestS5DetachedSessionHoldsNoBuffers(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })})
		for range 4 {
			client := n.Dial(srv, "alice", transport.Config{})
			for range 30 {
				s, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				go func() { _, _ = s.Write(make([]byte, 1<<20)) }()
			}
			time.Sleep(5 * time.Second)
			client.Abort(transport.Aborted, "")
			_ = client.Wait(t.Context())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, s := range srv.Sessions() {
			require.Equal(t, transport.StateDetached, s.State())
		}
		held := heap()
		time.Sleep(time.Minute)
		require.Empty(t, srv.Sessions())
		after := heap()
		require.Less(t, int64(held)-int64(after), int64(4<<20))
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Dial closes Config.PacketConn in every failure.
func TestDialClosesTheSocketItWasGiven(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		pc := n.Conn()
		_, err := transport.Dial(t.Context(), "no port", &transport.Config{Credentials: n.User("alice"), PacketConn: pc})
		require.Error(t, err)
		_, err = pc.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 1})
		require.Error(t, err, "the socket was not closed")
	})
}
