package transport_test

import (
	"context"
	"errors"
	"io"
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

func anyFrame(transport.FrameType) (uint64, bool) { return 1 << 14, true }

// live connects a rawPeer as far as WELCOME, and returns a reader of what follows.
func live(t *testing.T, n *transporttest.Network, srv *transport.Server, fill, attempt byte) (*rawPeer, *transport.FrameReader) {
	t.Helper()
	p := dialRaw(t, n, srv, "alice")
	p.control(hello(fill, attempt))
	r := transport.NewFrameReader(p.ctl)
	typ, _, err := r.ReadFrame(anyFrame)
	require.NoError(t, err)
	require.Equal(t, transport.FrameType(0x03), typ)
	return p, r
}

// A rawServer accepts one connection and says only what a test makes it say.
type rawServer struct {
	conn *quic.Conn
	ctl  *quic.Stream
	r    *transport.FrameReader
}

// dialRawServer connects a client to a server that is the test's, as far as WELCOME.
func dialRawServer(t *testing.T, n *transporttest.Network, cfg transport.Config) (*transport.Session, *rawServer) {
	t.Helper()
	cred, err := n.Authority().IssueServer(nil)
	require.NoError(t, err)
	sc := &transport.Config{Credentials: cred}
	pc := n.Conn()
	tr := &quic.Transport{Conn: pc}
	ln, err := tr.Listen(transport.ServerTLS(sc), transport.QUICConfig(sc))
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close(); _ = tr.Close(); _ = pc.Close() })
	made := make(chan *rawServer, 1)
	go func() {
		conn, err := ln.Accept(context.Background())
		if !assert.NoError(t, err) {
			return
		}
		ctl, err := conn.AcceptStream(context.Background())
		if !assert.NoError(t, err) {
			return
		}
		r := transport.NewFrameReader(ctl)
		_, _ = r.Read(make([]byte, 1))
		_, _, err = r.ReadFrame(anyFrame)
		assert.NoError(t, err)
		id := "spiffe://" + n.Authority().Domain() + "/user/alice"
		_, _ = ctl.Write(transport.AppendFrame(nil, 0x03, append([]byte{0x1a, byte(len(id))}, id...)))
		made <- &rawServer{conn, ctl, r}
	}()
	cfg.Credentials, cfg.PacketConn = n.User("alice"), n.Conn()
	s, err := transport.Dial(t.Context(), pc.LocalAddr().String(), &cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Abort(transport.Aborted, "")
		_ = s.Wait(context.Background())
	})
	return s, <-made
}

// The server answers PING with PONG.
func TestServerAnswersPing(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		p, r := live(t, n, srv, 1, 1)
		p.control(transport.AppendFrame(nil, 0x0d, nil))
		typ, _, err := r.ReadFrame(anyFrame)
		require.NoError(t, err)
		assert.Equal(t, transport.FrameType(0x0f), typ)
	})
}

// The deadline is for the type alone: a stream may then be silent for as long as it likes.
func TestStreamMayBeSilentAfterItsType(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", transport.Config{})
		s, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = s.Write([]byte("a"))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		_, err = s.Write([]byte("b"))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		b, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, "ab", string(b))
	})
}

// Idle timeout after DISCONNECT is a release, too.
func TestLossAfterDisconnectIsReleased(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{IdleTimeout: 2 * time.Second})
		p, _ := live(t, n, srv, 1, 1)
		server := srv.Sessions()[0]
		p.control(transport.AppendFrame(nil, 0x07, []byte{0x08, 0x01}))
		time.Sleep(rtt)
		n.Cut()
		requireEnd(t, server, transport.Released, false)
	})
}

// A draining server says twice what it accepts, the second time finally; what lies beyond is
// reset as rejected, without STOP_SENDING(rejected), and no handler runs (M9, M17).
func TestM17DrainRejectsLateStreams(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var ran atomic.Int64
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) { ran.Add(1); <-ctx.Done() })})
		p, r := live(t, n, srv, 1, 1)
		open := func() *quic.Stream {
			s, err := p.conn.OpenStream()
			require.NoError(t, err)
			_, err = s.Write([]byte{1})
			require.NoError(t, err)
			return s
		}
		open() // id 4
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(ctx) }()
		typ, first, err := r.ReadFrame(anyFrame)
		require.NoError(t, err)
		require.Equal(t, transport.FrameType(0x05), typ)
		require.Equal(t, []byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f}, first[:10], "2^62-1")
		typ, second, err := r.ReadFrame(anyFrame)
		require.NoError(t, err)
		require.Equal(t, transport.FrameType(0x05), typ)
		require.Equal(t, []byte{0x08, 0x04}, second[:2])

		late := open() // id 8
		_, err = late.Read(make([]byte, 1))
		var reset *quic.StreamError
		require.ErrorAs(t, err, &reset)
		assert.Equal(t, quic.StreamErrorCode(transport.StreamRejected), reset.ErrorCode)
		time.Sleep(time.Second)
		_, err = late.Write(make([]byte, 1))
		require.ErrorAs(t, err, &reset)
		assert.NotEqual(t, quic.StreamErrorCode(transport.StreamRejected), reset.ErrorCode, "M9")
		assert.EqualValues(t, 1, ran.Load())
		<-done
	})
}

// Streams above a GOAWAY's id are rejected on the client; those below go on.
func TestGoAwayRejectsWhatIsAbove(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		s, srv := dialRawServer(t, n, transport.Config{})
		var streams []*transport.Stream
		for range 2 { // ids 4 and 8
			str, err := s.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = str.Write([]byte("x"))
			require.NoError(t, err)
			streams = append(streams, str)
		}
		_, err := srv.ctl.Write(transport.AppendFrame(nil, 0x05, []byte{0x08, 0x04, 0x18, 0xe0, 0xd4, 0x03}))
		require.NoError(t, err)
		_, err = streams[1].Read(make([]byte, 1))
		assert.Equal(t, &transport.StreamError{Code: transport.StreamRejected, Remote: true}, err)
		_, err = streams[1].Write([]byte("y"))
		assert.Equal(t, &transport.StreamError{Code: transport.StreamRejected, Remote: true}, err)
		_, err = streams[0].Write([]byte("y"))
		assert.NoError(t, err)
	})
}

// M17: what GOAWAY has rejected stays so, though the peer's reset comes before anybody looks: a call that did not start may
// be made again, and a chat goes on.
func TestM17RejectedBeforeThePeersResetStaysRejected(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		s, srv := dialRawServer(t, n, transport.Config{})
		str, err := s.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = str.Write([]byte("x"))
		require.NoError(t, err)
		late, err := srv.conn.AcceptStream(t.Context())
		require.NoError(t, err)
		_, err = srv.ctl.Write(transport.AppendFrame(nil, 0x05, []byte{0x08, 0x00, 0x18, 0xe0, 0xd4, 0x03}))
		require.NoError(t, err)
		time.Sleep(time.Second)
		late.CancelWrite(quic.StreamErrorCode(transport.StreamRejected))
		time.Sleep(time.Second)
		_, err = str.Read(make([]byte, 1))
		assert.Equal(t, &transport.StreamError{Code: transport.StreamRejected, Remote: true}, err)
		_, err = str.Write([]byte("y"))
		assert.Equal(t, &transport.StreamError{Code: transport.StreamRejected, Remote: true}, err)
		assert.Equal(t, &transport.StreamError{Code: transport.StreamRejected, Remote: true}, str.Close())
	})
}

// Three connections for one session: one that was overtaken while the server thought about
// it is refused alone, whatever is thought of it.
func TestS6OvertakenGreetingTouchesNothing(t *testing.T) {
	for name, verdict := range map[string]error{"accepted": nil, "refused": &transport.Error{Code: transport.Revoked}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				gate := make(chan struct{})
				var asked atomic.Int64
				srv := n.Listen(transport.Config{Handlers: on(echo), Authorize: func(context.Context, transport.Peer) error {
					if asked.Add(1) == 2 {
						<-gate
						return verdict
					}
					return nil
				}})
				client, server := n.Pair(srv, "alice", transport.Config{})
				slow := make(chan error, 1)
				go func() { _, err := resume(t, n, srv, client, "alice", 2); slow <- err }()
				time.Sleep(time.Second)
				newest, err := resume(t, n, srv, client, "alice", 3)
				require.NoError(t, err)
				close(gate)
				var e *transport.Error
				require.ErrorAs(t, <-slow, &e)
				if verdict == nil {
					assert.Equal(t, transport.Replaced, e.Code)
				}
				requireEcho(t, newest)
				assert.Equal(t, transport.StateLive, server.State())
				time.Sleep(time.Minute)
				requireEcho(t, newest)
			})
		})
	}
}

// One that fails while a newer one is being greeted leaves the session to that.
func TestS6FailedGreetingLeavesTheNewerAlone(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		gates := []chan struct{}{nil, make(chan struct{}), make(chan struct{})}
		verdicts := []error{nil, &transport.Error{Code: transport.Revoked}, nil}
		var asked atomic.Int64
		srv := n.Listen(transport.Config{Hold: 2 * time.Second, Handlers: on(echo), Authorize: func(context.Context, transport.Peer) error {
			i := asked.Add(1) - 1
			if gates[i] != nil {
				<-gates[i]
			}
			return verdicts[i]
		}})
		client, server := n.Pair(srv, "alice", transport.Config{})
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := resume(t, n, srv, client, "alice", 2); first <- err }()
		time.Sleep(time.Second)
		go func() { _, err := resume(t, n, srv, client, "alice", 3); second <- err }()
		time.Sleep(time.Second)
		close(gates[1])
		require.Error(t, <-first)
		time.Sleep(4 * time.Second) // longer than a hold that should not have begun
		close(gates[2])
		require.NoError(t, <-second)
		assert.Equal(t, transport.StateLive, server.State())
	})
}

// The longest detached goes first, and who is just being greeted for the first time never.
func TestRoomIsMadeByTheLongestDetached(t *testing.T) { // S5
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		gate := make(chan struct{})
		srv := n.Listen(transport.Config{MaxSessions: 3, Authorize: func(_ context.Context, p transport.Peer) error {
			if p.ID.Name == "slow" {
				<-gate
			}
			return nil
		}})
		first, atServer := n.Pair(srv, "first", transport.Config{})
		second, second2 := n.Pair(srv, "second", transport.Config{})
		first.Abort(transport.Aborted, "")
		time.Sleep(time.Second)
		second.Abort(transport.Aborted, "")
		time.Sleep(time.Second)
		slow := make(chan error, 1)
		go func() { _, err := n.TryDial(t.Context(), srv, "slow", transport.Config{}); slow <- err }()
		time.Sleep(time.Second)
		n.Dial(srv, "third", transport.Config{})
		assert.Equal(t, transport.StateEnded, atServer.State())
		assert.Equal(t, transport.StateDetached, second2.State())
		n.Dial(srv, "fourth", transport.Config{})
		assert.Equal(t, transport.StateEnded, second2.State())
		_, err := n.TryDial(t.Context(), srv, "fifth", transport.Config{})
		assert.ErrorIs(t, err, &transport.Error{Code: transport.ExcessiveLoad})
		close(gate)
		require.NoError(t, <-slow)
	})
}

// An OpenStream that waits for the peer's permission when a release begins comes back with
// ErrGoingAway, and the release with nil.
func TestReleaseMeetsABlockedOpenStream(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var ran atomic.Int64
		srv := n.Listen(transport.Config{MaxStreams: 2, Handlers: on(func(_ context.Context, s *transport.Stream) {
			ran.Add(1)
			<-s.Draining()
			_ = s.Close()
		})})
		client := n.Dial(srv, "alice", transport.Config{})
		go func() { _, _ = say(t.Context(), client, "x") }()
		time.Sleep(time.Second)
		opened := make(chan error, 1)
		go func() {
			_, err := client.OpenStream(t.Context(), transport.StreamRPC)
			opened <- err
		}()
		time.Sleep(time.Second)
		require.NoError(t, client.Release(t.Context()))
		assert.ErrorIs(t, <-opened, transport.ErrGoingAway)
		assert.EqualValues(t, 1, ran.Load())
	})
}

// M18: a server that drains refuses nothing.
func TestM18DrainIsNotRefused(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MayRelease: func(*transport.Session) error { return errors.New("no") }})
		client := n.Dial(srv, "alice", transport.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		requireEnd(t, client, transport.Drained, false)
	})
}

// Credit comes back in batches: a lone caller costs about one packet each way for a call.
func TestCreditComesBackInBatches(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", transport.Config{})
		requireEcho(t, client)
		time.Sleep(time.Second)
		var packets atomic.Int64
		n.Drop(func(p transporttest.Packet) bool { packets.Add(1); return false })
		for range 256 {
			requireEcho(t, client)
		}
		// 650 to 700, by which goroutine runs first; with credit for one stream at a time 1,020.
		assert.Less(t, packets.Load(), int64(850))
	})
}

// The drain's Draining reaches the client's handlers and streams.
func TestDrainingReachesBothSides(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		told := make(chan string, 3)
		wait := func(who string) transport.Handler {
			return func(_ context.Context, s *transport.Stream) {
				<-s.Draining()
				told <- who
				_ = s.Close()
			}
		}
		srv := n.Listen(transport.Config{Handlers: on(wait("server's handler"))})
		client, server := n.Pair(srv, "alice", transport.Config{Handlers: on(wait("client's handler"))})
		go func() { _, _ = say(t.Context(), client, "x") }()
		go func() { _, _ = say(t.Context(), server, "x") }()
		time.Sleep(time.Second)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		assert.ElementsMatch(t, []string{"server's handler", "client's handler"}, []string{<-told, <-told})
	})
}

// What a peer says of itself or of an end is fit for a terminal.
func TestPeersTextIsPrintable(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Name: "s\x1b[2J"})
		client, server := n.Pair(srv, "alice", transport.Config{Name: "c\x1b[2J"})
		assert.NotContains(t, server.Peer().Software, "\x1b")
		assert.NotContains(t, client.Peer().Software, "\x1b")
		server.Abort(transport.Kicked, "k\x1b[2J")
		var e *transport.Error
		require.ErrorAs(t, client.Wait(t.Context()), &e)
		assert.NotContains(t, e.Reason, "\x1b")
	})
}

// Abort is for good, whatever its code: the session is not held.
func TestAbortedByTheServerIsNotHeld(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		client, server := n.Pair(srv, "alice", transport.Config{})
		server.Abort(transport.Internal, "")
		requireEnd(t, client, transport.Internal, true)
		assert.Equal(t, transport.StateEnded, server.State())
	})
}

// Who breaks the protocol is not held either.
func TestProtocolErrorFreesTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		p, _ := live(t, n, srv, 1, 1)
		p.control(transport.AppendFrame(nil, 0x0b, nil))
		p.requireClosed(transport.Protocol)
		synctest.Wait()
		assert.Empty(t, srv.Sessions())
	})
}

// FINISH twice is answered once, and the release goes on.
func TestFinishTwice(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		p, r := live(t, n, srv, 1, 1)
		finish := transport.AppendFrame(nil, 0x07, []byte{0x08, 0x01})
		p.control(append(finish, finish...))
		var types []transport.FrameType
		for {
			typ, _, err := r.ReadFrame(anyFrame)
			if err != nil {
				assert.ErrorIs(t, err, io.EOF)
				break
			}
			types = append(types, typ)
		}
		assert.Equal(t, []transport.FrameType{0x05, 0x0b}, types)
	})
}

// DISCONNECT twice, with a stream still open, is a protocol error and nothing worse.
func TestDisconnectTwice(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		s, srv := dialRawServer(t, n, transport.Config{})
		str, err := s.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = str.Write([]byte("x"))
		require.NoError(t, err)
		released := make(chan error, 1)
		go func() { released <- s.Release(t.Context()) }()
		_, _, err = srv.r.ReadFrame(anyFrame) // FINISH
		require.NoError(t, err)
		b := transport.AppendFrame(nil, 0x05, []byte{0x08, 0x7f})
		b = transport.AppendFrame(b, 0x0b, nil)
		_, err = srv.ctl.Write(transport.AppendFrame(b, 0x0b, nil))
		require.NoError(t, err)
		require.ErrorIs(t, <-released, &transport.Error{Code: transport.Protocol})
	})
}

// What GOAWAY asks for is capped.
func TestReconnectAfterIsCapped(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		s, srv := dialRawServer(t, n, transport.Config{})
		_, err := srv.ctl.Write(transport.AppendFrame(nil, 0x05, []byte{0x08, 0x7f, 0x10, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x18, 0xe0, 0xd4, 0x03}))
		require.NoError(t, err)
		time.Sleep(time.Second)
		after, ok := s.GoAway()
		assert.True(t, ok)
		assert.Equal(t, 5*time.Minute, after)
	})
}

// Clients are asked to come back at different times.
func TestReconnectsAreSpread(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		var all []*transport.Session
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			all = append(all, n.Dial(srv, name, transport.Config{}))
		}
		require.NoError(t, srv.Shutdown(t.Context()))
		seen := map[time.Duration]bool{}
		for _, s := range all {
			after, _ := s.GoAway()
			assert.LessOrEqual(t, after, 80*time.Millisecond)
			seen[after] = true
		}
		assert.Greater(t, len(seen), 1)
	})
}

// Close on a stream on which nothing was written still opens it at the peer.
func TestEmptyStreamArrives(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		back, err := say(t.Context(), n.Dial(srv, "alice", transport.Config{}), "")
		require.NoError(t, err)
		assert.Empty(t, back)
		s, err := n.Dial(srv, "bob", transport.Config{}).OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = io.ReadAll(s)
		require.NoError(t, err)
	})
}

// A peer that does not read the control stream is cut off (S5).
func TestS5ControlStreamMustBeRead(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		p, _ := live(t, n, srv, 1, 1)
		ping := transport.AppendFrame(nil, 0x0d, nil)
		flood := make([]byte, 0, 64<<10)
		for len(flood) < 60<<10 {
			flood = append(flood, ping...)
		}
		for range 20 {
			if _, err := p.ctl.Write(flood); err != nil {
				break
			}
		}
		time.Sleep(8 * time.Second) // the idle timeout is not what ends it
		select {
		case <-p.conn.Context().Done():
		default:
			require.Fail(t, "still connected")
		}
		p.requireClosed(transport.ExcessiveLoad)
	})
}
