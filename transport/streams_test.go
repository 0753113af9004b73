package transport_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

func TestEitherSideOpensStreams(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", transport.Config{Handlers: on(echo)})
		requireEcho(t, client)
		requireEcho(t, server)
	})
}

func TestHandlerKnowsSessionAndPeer(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, s *transport.Stream) {
			p, ok := transport.PeerFrom(ctx)
			assert.True(t, ok)
			_, _ = fmt.Fprintf(s, "%s %v", p.ID.Name, transport.SessionFrom(ctx) == s.Session())
			_ = s.Close()
		})})
		back, err := say(t.Context(), n.Dial(srv, "alice", transport.Config{}), "")
		require.NoError(t, err)
		assert.Equal(t, "alice true", back)
		_, ok := transport.PeerFrom(t.Context())
		assert.False(t, ok)
	})
}

// The handler's context ends with its stream, and says how.
func TestHandlerLearnsWhyItsStreamEnded(t *testing.T) {
	for name, row := range map[string]struct {
		do   func(n *transporttest.Network, client *transport.Session, s *transport.Stream)
		want error
	}{
		"canceled": {func(_ *transporttest.Network, _ *transport.Session, s *transport.Stream) {
			s.Cancel(transport.StreamCanceled)
		}, &transport.StreamError{Code: transport.StreamCanceled}},
		"deadline": {func(_ *transporttest.Network, _ *transport.Session, s *transport.Stream) {
			s.Cancel(transport.StreamDeadline)
		}, &transport.StreamError{Code: transport.StreamDeadline}},
		"peer aborted": {func(_ *transporttest.Network, c *transport.Session, _ *transport.Stream) {
			c.Abort(transport.Aborted, "")
		}, &transport.Error{Code: transport.Aborted}},
		"lost": {func(n *transporttest.Network, _ *transport.Session, _ *transport.Stream) { n.Cut() }, &transport.Error{Code: transport.Lost}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				cause := make(chan error, 1)
				srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, _ *transport.Stream) {
					<-ctx.Done()
					cause <- context.Cause(ctx)
				})})
				client := n.Dial(srv, "alice", transport.Config{})
				s, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				_, err = s.Write([]byte("x"))
				require.NoError(t, err)
				time.Sleep(time.Second)
				row.do(n, client, s)
				require.ErrorIs(t, <-cause, row.want)
			})
		})
	}
}

func TestUnknownStreamTypesAreResetAndAFloodIsAbuse(t *testing.T) { // S5
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		bob := n.Dial(srv, "bob", transport.Config{})
		client := n.Dial(srv, "alice", transport.Config{})
		try := func(typ transport.StreamType) error {
			s, err := client.OpenStream(t.Context(), typ)
			if err != nil {
				return err
			}
			defer s.Cancel(transport.StreamCanceled)
			if _, err := s.Write([]byte("x")); err != nil {
				return err
			}
			_, err = s.Read(make([]byte, 1))
			return err
		}
		for i := range 3 * transport.MaxUnknownStreams { // reserved: ignored, however many
			require.ErrorIs(t, try(transport.StreamType(0x1f*i+0x21)), &transport.StreamError{Code: transport.StreamNoError})
		}
		for range transport.MaxUnknownStreams {
			require.ErrorIs(t, try(0x20), &transport.StreamError{Code: transport.StreamUnknownType})
		}
		requireEcho(t, client)
		require.Error(t, try(0x20))
		requireEnd(t, client, transport.ExcessiveLoad, true)
		requireEcho(t, bob)
	})
}

// A stream whose type does not come is reset, and holds up nobody.
func TestSlowStreamTypeIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		p := dialRaw(t, n, srv, "alice")
		p.control(hello(1, 1))
		p.readWelcome()
		slow, err := p.conn.OpenStream()
		require.NoError(t, err)
		_, err = slow.Write([]byte{0x40}) // the first of two bytes
		require.NoError(t, err)
		quick, err := p.conn.OpenStream()
		require.NoError(t, err)
		_, err = quick.Write([]byte{0x01, 'h', 'i'})
		require.NoError(t, err)
		require.NoError(t, quick.Close())
		start := time.Now()
		back, err := io.ReadAll(quick)
		require.NoError(t, err)
		assert.Equal(t, "hi", string(back))
		assert.Less(t, time.Since(start), time.Second)
		_, err = slow.Read(make([]byte, 1))
		require.Error(t, err)
		assert.InDelta(t, 5*time.Second, time.Since(start), float64(time.Second))
	})
}

// Streams that nobody reads stall no other (R3), up to the 32 that PROTOCOL.md promises.
func TestR3UnreadStreamsStallNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC:  echo,
			transport.StreamChat: func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() }, // never reads
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		for range 31 { // the control stream has a window, too
			s, err := client.OpenStream(t.Context(), transport.StreamChat)
			require.NoError(t, err)
			go func() { _, _ = s.Write(make([]byte, 1<<20)) }()
		}
		time.Sleep(time.Second)
		requireEcho(t, client)
	})
}

// A packet lost to one stream holds up no other (R2).
func TestR2LossDelaysNoOtherStream(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", transport.Config{})
		requireEcho(t, client)
		time.Sleep(time.Second)

		// The next packet from the client is lost: it carries the first call.
		lost := false
		n.Drop(func(p transporttest.Packet) bool {
			if lost || p.To.String() != srv.Addr().String() {
				return false
			}
			lost = true
			return true
		})
		start := time.Now()
		took := make(chan time.Duration, 2)
		var wg sync.WaitGroup
		call := func() {
			defer wg.Done()
			_, err := say(t.Context(), client, "hello")
			assert.NoError(t, err)
			took <- time.Since(start)
		}
		wg.Add(2)
		go call()
		time.Sleep(time.Millisecond)
		go call()
		second := <-took
		first := <-took
		wg.Wait()
		assert.True(t, lost)
		assert.Less(t, second, rtt+5*time.Millisecond, "the call that lost nothing")
		assert.Greater(t, first, 2*rtt, "the call whose packet was lost")
	})
}

// Every way to leave gives the stream back: afterwards as many streams as the limit allows can be
// opened at once, and no goroutine is left (R5).
func TestR5TenThousandStreamsLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, s *transport.Stream) {
			kind := make([]byte, 1)
			if _, err := io.ReadFull(s, kind); err != nil {
				return
			}
			switch kind[0] {
			case 0: // answer
				echo(ctx, s)
			case 1: // forget everything
			case 2: // wait for the cancel
				<-ctx.Done()
			case 3: // answer early, and do not read
				_, _ = s.Write(make([]byte, 100))
				_ = s.Close()
			case 4: // refuse
				s.Cancel(transport.StreamInternal)
			}
		})})
		client := n.Dial(srv, "alice", transport.Config{})
		_, err := say(t.Context(), client, "\x00hello")
		require.NoError(t, err)
		time.Sleep(time.Second)
		before := runtime.NumGoroutine()
		var wg sync.WaitGroup
		gate := make(chan struct{}, 200)
		for i := range 10_000 {
			gate <- struct{}{}
			wg.Go(func() {
				defer func() { <-gate }()
				s, err := client.OpenStream(t.Context(), transport.StreamRPC)
				if !assert.NoError(t, err) {
					return
				}
				defer s.Cancel(transport.StreamCanceled)
				kind := byte(i % 5)
				if _, err := s.Write([]byte{kind, 1, 2, 3}); err != nil {
					return
				}
				if kind == 2 {
					return
				}
				_ = s.Close()
				_, _ = io.ReadAll(s)
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		assert.InDelta(t, before, runtime.NumGoroutine(), 3)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 1023 { // the control stream is the 1024th
			s, err := client.OpenStream(ctx, transport.StreamRPC)
			require.NoError(t, err)
			_, err = s.Write([]byte{2})
			require.NoError(t, err)
		}
		_, err = client.OpenStream(ctx, transport.StreamRPC)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// Long-lived streams do not starve new ones of credit, which is given back in batches.
func TestLongLivedStreamsDoNotStarveNewOnes(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC:  echo,
			transport.StreamChat: func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() },
		}})
		client := n.Dial(srv, "alice", transport.Config{})
		for range 980 {
			s, err := client.OpenStream(t.Context(), transport.StreamChat)
			require.NoError(t, err)
			_, err = s.Write([]byte("x"))
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		start := time.Now()
		for range 500 {
			_, err := say(ctx, client, "hello")
			require.NoError(t, err)
		}
		assert.Less(t, time.Since(start), 550*rtt, "a call never waits for credit")
	})
}

func TestOpenStreamWaitsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MaxStreams: 3, Handlers: on(func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() })})
		client := n.Dial(srv, "alice", transport.Config{})
		for range 2 {
			s, err := client.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = s.Write([]byte("x"))
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.OpenStream(ctx, transport.StreamRPC)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		client.Abort(transport.Aborted, "")
		_, err = client.OpenStream(t.Context(), transport.StreamRPC)
		require.ErrorIs(t, err, &transport.Error{Code: transport.Aborted})
	})
}

// A handler that panics, or ends its goroutine, resets its stream and nothing else.
func TestHandlerThatPanicsHarmsNobody(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("bug") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
					transport.StreamRPC:  echo,
					transport.StreamChat: func(context.Context, *transport.Stream) { end() },
				}})
				client := n.Dial(srv, "alice", transport.Config{})
				s, err := client.OpenStream(t.Context(), transport.StreamChat)
				require.NoError(t, err)
				_, err = s.Write([]byte("x"))
				require.NoError(t, err)
				_, err = s.Read(make([]byte, 1))
				require.ErrorIs(t, err, &transport.StreamError{Code: transport.StreamInternal})
				s.Cancel(transport.StreamCanceled)
				requireEcho(t, client)
				require.NoError(t, client.Release(t.Context()))
			})
		})
	}
}
