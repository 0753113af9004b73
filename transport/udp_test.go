package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// overUDP starts a server on loopback and returns a way to connect to it.
func overUDP(tb testing.TB, cfg transport.Config) (*transport.Server, func(name string) *transport.Session) {
	tb.Helper()
	authority, err := certs.NewAuthority(certs.Env{})
	require.NoError(tb, err)
	cfg.Credentials, err = authority.IssueServer([]string{"localhost"})
	require.NoError(tb, err)
	cfg.Addr = "127.0.0.1:0"
	srv, err := transport.Listen(&cfg)
	require.NoError(tb, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(context.Background())
	}()
	tb.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return srv, func(name string) *transport.Session {
		cred, err := authority.IssueUser(name)
		require.NoError(tb, err)
		s, err := transport.Dial(context.Background(), srv.Addr().String(), &transport.Config{Credentials: cred, NoReconnect: true})
		require.NoError(tb, err)
		return s
	}
}

func TestOverUDP(t *testing.T) {
	srv, dial := overUDP(t, transport.Config{Handlers: on(echo)})
	alice, bob, carol := dial("alice"), dial("bob"), dial("carol")
	var wg sync.WaitGroup
	for i := range 100 {
		for _, s := range []*transport.Session{alice, bob, carol} {
			wg.Go(func() {
				text := fmt.Sprint(i)
				back, err := say(t.Context(), s, text)
				assert.NoError(t, err)
				assert.Equal(t, text, back)
			})
		}
	}
	wg.Wait()
	require.NoError(t, alice.Release(t.Context()))
	bob.Abort(transport.Aborted, "")
	requireEnd(t, bob, transport.Aborted, false)
	require.NoError(t, srv.Shutdown(t.Context()))
	requireEnd(t, carol, transport.Drained, false)
}

// A server's process is killed, and another takes its place: the client knows with its next packet, and is back. The
// idle timeout, which is longer than the test may take, plays no part.
func TestRestartOverUDP(t *testing.T) {
	authority, err := certs.NewAuthority(certs.Env{})
	require.NoError(t, err)
	server, err := authority.IssueServer([]string{"localhost"})
	require.NoError(t, err)
	user, err := authority.IssueUser("alice")
	require.NoError(t, err)
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	listen := func() (kill func()) {
		pc, err := net.ListenUDP("udp", at)
		require.NoError(t, err)
		at = pc.LocalAddr().(*net.UDPAddr)
		srv, err := transport.Listen(&transport.Config{
			Credentials: server, PacketConn: pc, StatelessResetKey: &[32]byte{1}, IdleTimeout: time.Hour, Handlers: on(echo),
		})
		require.NoError(t, err)
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = srv.Serve(context.Background())
		}()
		return func() {
			_ = pc.Close() // first: nothing can be said any more
			_ = srv.Close()
			<-served
		}
	}
	kill := listen()
	client, err := transport.Dial(t.Context(), at.String(), &transport.Config{Credentials: user, IdleTimeout: time.Hour, PingAfter: -1})
	require.NoError(t, err)
	for i := range uint64(3) {
		requireEcho(t, client)
		kill()
		kill = listen()
		_, err = say(t.Context(), client, "more than 43 bytes, of which the next packet to the server will have")
		require.ErrorIs(t, err, &transport.Error{Code: transport.Lost})
		assert.False(t, awaitResume(t, client, i+2).Kept)
	}
	requireEcho(t, client)
	require.NoError(t, client.Migrate(t.Context()), "over UDP, too")
	requireEcho(t, client)
	require.NoError(t, client.Release(t.Context()))
	kill()
}

func TestListenSaysWhy(t *testing.T) {
	srv, _ := overUDP(t, transport.Config{})
	cred := &certs.Credentials{}
	_, err := transport.Listen(&transport.Config{Credentials: cred, Addr: srv.Addr().String()})
	require.ErrorContains(t, err, "address already in use")
	_, err = transport.Listen(&transport.Config{Credentials: cred, Addr: "no port"})
	require.ErrorContains(t, err, "no port")
	_, err = transport.Dial(t.Context(), "no port", &transport.Config{Credentials: cred})
	require.ErrorContains(t, err, "no port")
}

// A stream for each call, 64 bytes there and back: what the floors above build on.
func BenchmarkStream(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("64B-%d", callers), func(b *testing.B) {
			_, dial := overUDP(b, transport.Config{Handlers: on(func(_ context.Context, s *transport.Stream) {
				var buf [64]byte
				if _, err := io.ReadFull(s, buf[:]); err != nil {
					return
				}
				if _, err := s.Write(buf[:]); err == nil {
					_ = s.Close()
				}
			})})
			client := dial("alice")
			b.ReportAllocs()
			b.SetParallelism(max(1, callers/2))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				var buf [64]byte
				for pb.Next() {
					s, err := client.OpenStream(context.Background(), transport.StreamRPC)
					if err != nil {
						b.Error(err)
						return
					}
					_, err = s.Write(buf[:])
					_ = s.Close()
					if err == nil {
						_, err = io.ReadFull(s, buf[:])
					}
					if err == nil {
						_, err = s.Read(buf[:1]) // to the end, which frees the stream
					}
					if !errors.Is(err, io.EOF) {
						b.Error(err)
						return
					}
					s.Free()
				}
			})
		})
	}
}

// Frames of 1 KiB to and fro on one stream, whose readers wait before each.
func BenchmarkPingPong(b *testing.B) {
	limit := func(transport.FrameType) (uint64, bool) { return 1 << 20, true }
	_, dial := overUDP(b, transport.Config{Handlers: on(func(_ context.Context, s *transport.Stream) {
		for {
			t, body, err := s.ReadFrame(limit)
			if err != nil {
				return
			}
			if _, err := s.Write(transport.AppendFrame(nil, t, body)); err != nil {
				return
			}
		}
	})})
	s, err := dial("alice").OpenStream(context.Background(), transport.StreamRPC)
	require.NoError(b, err)
	frame := transport.AppendFrame(nil, 1, make([]byte, 1<<10))
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Write(frame)
		require.NoError(b, err)
		_, _, err = s.ReadFrame(limit)
		require.NoError(b, err)
	}
}
