package rpc_test

import (
	"bytes"
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/callpb"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// fields is n times the field of HEAD or END with this number and body.
func fields(n int, number protowire.Number, body []byte) []byte {
	one := protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
	return bytes.Repeat(one, n)
}

// tinyField is metadata with a key of one byte and no value.
var tinyField = []byte{0x0a, 1, 'k'}

// headWith is a HEAD for test.Echo/Chat whose body goes on with more.
func headWith(more []byte) []byte {
	body, err := proto.Marshal(&callpb.Head{Method: chat.Name(), Codec: "json"})
	if err != nil {
		panic(err)
	}
	return transport.AppendFrame(nil, 0x01, append(body, more...))
}

// S5: a caller that has many streams, each in the same bad way, costs little, and others are answered. When it
// gives up, all of them are free again.
func TestS5HostileCallers(t *testing.T) {
	even := transport.AppendFrame(nil, 0x02, make([]byte, 1000))
	timeout := protowire.AppendVarint([]byte{0x10}, math.MaxUint64)
	for name, request := range map[string][]byte{
		"half a HEAD":                       headWith(nil)[:9],
		"the length of a HEAD, and no more": {0x01},
		"HEAD, and never a message":         headWith(nil),
		"HEAD with no end in time":          headWith(timeout),
		"HEAD with 60 KiB of one value":     headWith(fields(1, 4, protowire.AppendBytes([]byte{0x0a, 1, 'k', 0x12}, make([]byte, 60<<10)))),
		"HEAD with 1,000 fields":            headWith(fields(1000, 4, tinyField)),
		"HEAD with 13,000 fields":           headWith(fields(13_000, 4, tinyField)),
		"HEAD with 32,000 empty fields":     headWith(fields(32_000, 4, nil)),
		"unknown frames before HEAD":        bytes.Repeat(even, 10),
		"unknown frames for a message":      append(headWith(nil), bytes.Repeat(even, 10)...),
		"garbage":                           bytes.Repeat([]byte{0xff}, 1000),
		"a type and nothing":                {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, mallory, bob := malloryAndBob(t, newEcho(rpc.Config{}).mux)
				before := heap()
				answered := func() {
					begun := time.Now()
					_, err := say.Call(t.Context(), bob, &Text{Text: "hi"})
					require.NoError(t, err)
					require.Less(t, time.Since(begun), 2*rtt)
				}
				var streams []*transport.Stream
				for range 500 {
					s, err := mallory.OpenStream(t.Context(), transport.StreamRPC)
					require.NoError(t, err)
					_, _ = s.Write(request)
					streams = append(streams, s)
				}
				answered()
				time.Sleep(3 * time.Second)
				require.Less(t, grown(before), int64(bodies*3/4)) // of both sides, whose buffers come and go
				answered()
				for _, s := range streams {
					s.Cancel(transport.StreamCanceled)
				}
				time.Sleep(time.Second)
				allStreamsAreFree(t, mallory)
			})
		})
	}
}

// allStreamsAreFree has as many calls run at once as the peer allows: 1024 streams, of which control is one. Under the race detector, where
// that is what these tests mostly would do, it has a part of them.
func allStreamsAreFree(t *testing.T, conn rpc.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var begun, wg sync.WaitGroup
	calls := 1023
	if raceEnabled {
		calls = 100
	}
	for range calls {
		begun.Add(1)
		wg.Go(func() {
			s, err := chat.Call(ctx, conn)
			if assert.NoError(t, err) {
				assert.NoError(t, s.Send(&Text{}))
				_, err = s.Recv()
				assert.NoError(t, err)
			}
			begun.Done()
			<-ctx.Done()
		})
	}
	begun.Wait()
	cancel()
	wg.Wait()
	time.Sleep(time.Second)
}

// Streams that are opened and reset at once cost the server no more than it gives credit for.
func TestS5ThousandsOfResetsBeforeHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, mallory, bob := malloryAndBob(t, newEcho(rpc.Config{}).mux)
		before, stacks := heap(), len(goroutines())
		for i := range 10_000 {
			s, err := mallory.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, _ = s.Write(headWith(nil)[:i%10])
			if i%2 == 0 {
				time.Sleep(time.Microsecond) // some of them get there before their reset
			}
			s.Cancel(transport.StreamCanceled)
			if i%1000 == 0 {
				_, err := say.Call(t.Context(), bob, &Text{Text: "hi"})
				require.NoError(t, err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Less(t, grown(before), int64(4<<20))
		require.LessOrEqual(t, len(goroutines()), stacks)
		allStreamsAreFree(t, mallory)
	})
}

// S5, on the side that calls: a peer that answers in a bad way costs its callers little, and they are done with it in time.
func TestS5HostileServers(t *testing.T) {
	write := func(frames ...[]byte) func(ctx context.Context, s *transport.Stream) {
		return func(_ context.Context, s *transport.Stream) {
			_, _ = s.Write(bytes.Join(frames, nil))
			_ = s.Close()
		}
	}
	open := func(frames ...[]byte) func(ctx context.Context, s *transport.Stream) {
		return func(ctx context.Context, s *transport.Stream) {
			_, _ = s.Write(bytes.Join(frames, nil))
			<-ctx.Done() // its caller gives up
		}
	}
	forever := func(frames ...[]byte) func(ctx context.Context, s *transport.Stream) {
		return func(_ context.Context, s *transport.Stream) {
			for _, err := s.Write(bytes.Join(frames, nil)); err == nil; time.Sleep(100 * time.Millisecond) {
				_, err = s.Write(frames[len(frames)-1])
			}
		}
	}
	frame := transport.AppendFrame
	data, end, even := frame(nil, 0x03, []byte("{}")), frame(nil, 0x05, nil), frame(nil, 0x02, make([]byte, 1000))
	detail := protowire.AppendBytes([]byte{0x0a}, []byte("t"))
	for name, test := range map[string]struct {
		serve func(ctx context.Context, s *transport.Stream)
		code  rpc.Code
		most  time.Duration // that a call may take
	}{
		"HEADs for ever":            {forever(frame(nil, 0x01, nil)), rpc.Internal, time.Second},
		"messages for ever":         {forever(data), rpc.Internal, time.Second},
		"unknown frames for ever":   {forever(even), rpc.DeadlineExceeded, 10 * time.Second},
		"unknown frames behind END": {forever(data, end, even), rpc.OK, 2 * time.Second},
		"nothing behind END":        {open(data, end), rpc.OK, 2 * time.Second},
		"half a frame behind END":   {open(data, end, []byte{0x03, 0x50}), rpc.OK, 2 * time.Second},
		"HEAD with 13,000 fields":   {write(frame(nil, 0x01, fields(13_000, 4, tinyField)), data, end), rpc.ResourceExhausted, time.Second},
		"END with 13,000 trailers":  {write(data, frame(nil, 0x05, fields(13_000, 4, tinyField))), rpc.ResourceExhausted, time.Second},
		"END with 32,000 details":   {write(frame(nil, 0x05, append([]byte{0x08, 5}, fields(32_000, 3, nil)...))), rpc.ResourceExhausted, time.Second},
		"END with 10,000 details":   {write(frame(nil, 0x05, append([]byte{0x08, 5}, fields(10_000, 3, detail)...))), rpc.ResourceExhausted, time.Second},
		"END of 64 KiB text":        {write(frame(nil, 0x05, append([]byte{0x08, 5}, fields(1, 2, []byte(strings.Repeat("\x1b", 60_000)))...))), rpc.NotFound, time.Second},
		"4 GiB declared":            {open(transport.AppendFrameHeader(nil, 0x03, 4<<30)), rpc.ResourceExhausted, time.Second},
		"4 MiB declared, 1 sent":    {open(transport.AppendFrameHeader(nil, 0x03, 4<<20), []byte{1}), rpc.DeadlineExceeded, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
					transport.StreamRPC: test.serve,
				}})
				client := n.Dial(srv, "alice", transport.Config{})
				before := heap()
				const calls = 100
				errs := make([]error, calls) // kept, with all that is in them
				var wg sync.WaitGroup
				for i := range calls {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						defer cancel()
						begun := time.Now()
						_, errs[i] = say.Call(ctx, client, &Text{})
						assert.LessOrEqual(t, time.Since(begun), test.most)
						assert.Equal(t, test.code, rpc.CodeOf(errs[i]), "%v", errs[i])
					})
				}
				wg.Wait()
				assert.Less(t, grown(before), int64(16<<20))
				for _, err := range errs {
					if err != nil {
						assert.NotContains(t, err.Error(), "\x1b")
					}
				}
			})
		})
	}
}
