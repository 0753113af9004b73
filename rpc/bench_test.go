package rpc_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// udp returns a socket on the loopback.
func udp(t testing.TB) net.PacketConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	return conn
}

// startUDP returns both sides of a session over real sockets.
func startUDP(t testing.TB, h map[transport.StreamType]transport.Handler) (client, server *transport.Session) {
	t.Helper()
	n := transporttest.New(t, 0)
	srv := n.Listen(transport.Config{Handlers: h, PacketConn: udp(t)})
	return n.Pair(srv, "alice", transport.Config{PacketConn: udp(t)})
}

// benchmark runs call b.N times from so many callers at once.
func benchmark(b *testing.B, callers int, call func() error) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

var sizes = []struct {
	name  string
	bytes int
}{{"64B", 64}, {"16KiB", 16 << 10}}

func BenchmarkUnary(b *testing.B) {
	e := newEcho(rpc.Config{})
	rpc.Handle(e.mux, values, back[wrapperspb.BytesValue], rpc.LendRequest())
	client, _ := startUDP(b, handlers(e.mux))
	ctx := context.Background()
	used := sync.Pool{New: func() any { return new(wrapperspb.BytesValue) }}
	for _, size := range sizes {
		text := strings.Repeat("x", size.bytes)
		raw := rpc.Raw(text)
		kinds := []struct {
			name string
			call func() error
		}{
			{"raw", func() error { _, err := octets.Call(ctx, client, &raw); return err }},
			{"proto", func() error { _, err := wrap.Call(ctx, client, wrapperspb.String(text)); return err }},
			{"into", func() error {
				res := used.Get().(*wrapperspb.BytesValue)
				defer used.Put(res)
				return values.CallInto(ctx, client, wrapperspb.Bytes(raw), res)
			}},
			{"json", func() error { _, err := say.Call(ctx, client, &Text{Text: text}); return err }},
		}
		for _, kind := range kinds {
			for _, callers := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%s/callers=%d", kind.name, size.name, callers), func(b *testing.B) {
					b.SetBytes(int64(size.bytes))
					benchmark(b, callers, kind.call)
				})
			}
		}
	}
	cancelable, cancel := context.WithCancel(ctx)
	defer cancel()
	raw := make(rpc.Raw, 64)
	b.Run("raw/64B/callers=1/cancelable", func(b *testing.B) {
		benchmark(b, 1, func() error { _, err := octets.Call(cancelable, client, &raw); return err })
	})
}

// flood answers with as many messages as it is asked for.
var flood = rpc.ServerStream[Text, rpc.Raw]("test.Bench/Flood")

// floodAt is flood with cursors.
var floodAt = rpc.ServerStream[Text, rpc.Raw]("test.Bench/FloodAt", rpc.Resumable())

// BenchmarkStream is messages of 1 KiB, as fast as one direction goes, and in turns.
func BenchmarkStream(b *testing.B) {
	mux := newPipe()
	message := make(rpc.Raw, 1<<10)
	rpc.Handle(mux, flood, func(_ context.Context, req *Text, out *rpc.Sender[rpc.Raw]) error {
		for range req.N {
			if err := out.Send(&message); err != nil {
				return err
			}
		}
		return nil
	})
	rpc.Handle(mux, floodAt, func(_ context.Context, req *Text, out *rpc.Sender[rpc.Raw]) error {
		for i := range req.N {
			if err := out.SendAt(strconv.Itoa(i+1), &message); err != nil {
				return err
			}
		}
		return nil
	})
	client, _ := startUDP(b, handlers(mux))
	ctx := context.Background()
	for _, oneway := range []struct {
		name   string
		method rpc.ServerStreamMethod[Text, rpc.Raw]
	}{{"oneway", flood}, {"resumable", floodAt}} {
		b.Run(oneway.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(message)))
			in, err := oneway.method.Call(ctx, client, &Text{N: b.N})
			require.NoError(b, err)
			for _, err := range in.All() {
				require.NoError(b, err)
			}
		})
	}
	b.Run("into", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(message)))
		in, err := flood.Call(ctx, client, &Text{N: b.N})
		require.NoError(b, err)
		var m rpc.Raw
		for err == nil {
			err = in.RecvInto(&m)
		}
		require.ErrorIs(b, err, io.EOF)
	})
	b.Run("turns", func(b *testing.B) {
		s, err := pipe.Call(ctx, client)
		require.NoError(b, err)
		defer s.Close()
		b.SetBytes(int64(len(message)))
		benchmark(b, 1, func() error {
			if err := s.Send(&message); err != nil {
				return err
			}
			_, err := s.Recv()
			return err
		})
	})
}

// BenchmarkFloor is the same traffic on bare streams: what rpc adds is the difference.
func BenchmarkFloor(b *testing.B) {
	const frame = transport.FrameType(0x03)
	limit := func(t transport.FrameType) (uint64, bool) { return 1 << 20, t == frame }
	h := map[transport.StreamType]transport.Handler{
		transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
			_, body, err := s.ReadFrame(limit)
			if err != nil {
				return
			}
			buf := floorBuffers.Get().(*[]byte)
			*buf = transport.AppendFrame((*buf)[:0], frame, body)
			if _, err := s.Write(*buf); err == nil {
				_ = s.Close()
			}
			floorBuffers.Put(buf)
		},
	}
	client, _ := startUDP(b, h)
	for _, size := range sizes {
		message := make([]byte, size.bytes)
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", size.name, callers), func(b *testing.B) {
				b.SetBytes(int64(size.bytes))
				benchmark(b, callers, func() error {
					s, err := client.OpenStream(context.Background(), transport.StreamRPC)
					if err != nil {
						return err
					}
					buf := floorBuffers.Get().(*[]byte)
					*buf = transport.AppendFrame((*buf)[:0], frame, message)
					_, err = s.Write(*buf)
					floorBuffers.Put(buf)
					if err != nil {
						return err
					}
					_ = s.Close()
					if _, _, err := s.ReadFrame(limit); err != nil {
						return err
					}
					if _, _, err := s.ReadFrame(limit); err != io.EOF { //nolint:errorlint // exactly that
						return fmt.Errorf("after the answer: %w", err)
					}
					s.Free()
					return nil
				})
			})
		}
	}
}

var floorBuffers = sync.Pool{New: func() any { return new([]byte) }}
