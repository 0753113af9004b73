package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/rpc/zstd"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// counted counts what it has compressed and decompressed.
type counted struct {
	rpc.Compressor
	packed, unpacked atomic.Int64
}

func (c *counted) AppendCompress(dst, src []byte) ([]byte, error) {
	c.packed.Add(1)
	return c.Compressor.AppendCompress(dst, src)
}

func (c *counted) AppendDecompress(dst, src []byte, limit int) ([]byte, error) {
	b, err := c.Compressor.AppendDecompress(dst, src, limit)
	if err == nil {
		c.unpacked.Add(1)
	}
	return b, err
}

// want asserts how many messages have been compressed and decompressed since it was asked last.
func (c *counted) want(t *testing.T, packed, unpacked int64) {
	t.Helper()
	require.Equal(t, packed, c.packed.Swap(0), "compressed")
	require.Equal(t, unpacked, c.unpacked.Swap(0), "decompressed")
}

// forBubbles runs test in a bubble for each compressor, of which both sides have one.
func forBubbles(t *testing.T, test func(t *testing.T, own, peers *counted)) {
	t.Helper()
	for i, c := range compressors() {
		t.Run(c.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, &counted{Compressor: compressors()[i]}, &counted{Compressor: compressors()[i]})
			})
		})
	}
}

func TestEveryKindOfCallIsCompressedBothWays(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{peers}})
		_, client, _ := start(t, e.mux)
		ctx, opt := t.Context(), rpc.WithCompression(own)
		long := string(prose(t, 20_000))

		res, err := say.Call(ctx, client, &Text{Text: long}, opt)
		require.NoError(t, err)
		require.Equal(t, long, res.Text)
		own.want(t, 1, 1)
		peers.want(t, 1, 1)

		wrapped, err := wrap.Call(ctx, client, wrapperspb.String(long), opt)
		require.NoError(t, err)
		require.Equal(t, long, wrapped.GetValue())
		raw := rpc.Raw(long)
		back, err := octets.Call(ctx, client, &raw, opt)
		require.NoError(t, err)
		require.True(t, bytes.Equal(raw, *back))
		own.want(t, 2, 2)
		peers.want(t, 2, 2)

		res, err = sum.Call(ctx, client, func(yield func(*Text) bool) {
			_ = yield(&Text{N: 1, Text: long}) && yield(&Text{N: 2}) && yield(&Text{N: 3, Text: long})
		}, opt)
		require.NoError(t, err)
		require.Equal(t, 6, res.N)
		own.want(t, 2, 0) // one of the three was short, and so is the answer
		peers.want(t, 0, 2)

		in, err := count.Call(ctx, client, &Text{Text: long, N: 5}, opt)
		require.NoError(t, err)
		n := 0
		for m, err := range in.All() {
			require.NoError(t, err)
			require.Equal(t, Text{Text: long, N: n}, *m)
			n++
		}
		require.Equal(t, 5, n)
		own.want(t, 1, 5)
		peers.want(t, 5, 1)

		s, err := chat.Call(ctx, client, opt)
		require.NoError(t, err)
		for _, text := range []string{"short", long, "", long} {
			require.NoError(t, s.Send(&Text{Text: text}))
			_, err := s.Header() // holds the message
			require.NoError(t, err)
			m, err := s.Recv()
			require.NoError(t, err)
			require.Equal(t, text, m.Text)
		}
		require.NoError(t, s.CloseSend())
		_, err = s.Recv()
		require.ErrorIs(t, err, io.EOF)
		own.want(t, 2, 2)
		peers.want(t, 2, 2)
	})
}

// The default is off: it takes both sides.
func TestNothingIsCompressedUnlessBothSidesSaySo(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{peers}})
		plain := newEcho(rpc.Config{})
		n, client, _ := start(t, e.mux)
		other := n.Dial(n.Listen(transport.Config{Handlers: handlers(plain.mux)}), "bob", transport.Config{})
		long := &Text{Text: string(prose(t, 20_000))}
		for _, test := range []struct {
			name            string
			conn            rpc.Conn
			opts            []rpc.CallOption
			packed, answers int64
		}{
			{"the caller says nothing", client, nil, 0, 0},
			{"the caller accepts", client, []rpc.CallOption{rpc.WithAcceptCompression(own)}, 0, 1},
			{"the caller accepts, the server does not", other, []rpc.CallOption{rpc.WithAcceptCompression(own)}, 0, 0},
			{"the caller takes it back", client, []rpc.CallOption{rpc.WithCompression(own), rpc.WithCompression(nil)}, 0, 0},
			{"a default", rpc.NewClient(client, rpc.ClientConfig{Options: []rpc.CallOption{rpc.WithCompression(own)}}), nil, 1, 1},
			{"all are long enough", client, []rpc.CallOption{rpc.WithCompression(own), rpc.WithCompressMin(20_000)}, 1, 1},
			{"too short", client, []rpc.CallOption{rpc.WithCompression(own), rpc.WithCompressMin(30_000)}, 0, 1},
		} {
			t.Log(test.name)
			_, err := say.Call(t.Context(), test.conn, long, test.opts...)
			require.NoError(t, err)
			own.want(t, test.packed, test.answers)
			peers.want(t, test.answers, test.packed)
		}
	})
}

func TestServerTakesTheFirstCompressorThatTheCallerAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, g := &counted{Compressor: zstd.New()}, &counted{Compressor: gzip.New()}
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{z, g}})
		_, client, _ := start(t, e.mux)
		long := &Text{Text: string(prose(t, 20_000))}
		_, err := say.Call(t.Context(), client, long, rpc.WithAcceptCompression(gzip.New(), zstd.New()))
		require.NoError(t, err)
		z.want(t, 1, 0)
		g.want(t, 0, 0)
		_, err = say.Call(t.Context(), client, long, rpc.WithCompression(gzip.New()), rpc.WithAcceptCompression(zstd.New()))
		require.NoError(t, err)
		z.want(t, 1, 0)
		g.want(t, 0, 1)
	})
}

// What compression does not make shorter goes as it is, and costs nothing to read.
func TestIncompressibleMessagesGoAsTheyAre(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{peers}, CompressMin: -1})
		_, client, _ := start(t, e.mux)
		for _, n := range []int{0, 1, 100, 50_000} {
			raw := rpc.Raw(noise(n))
			back, err := octets.Call(t.Context(), client, &raw, rpc.WithCompression(own), rpc.WithCompressMin(-1))
			require.NoError(t, err)
			require.True(t, bytes.Equal(raw, *back))
			own.want(t, 1, 0)
			peers.want(t, 1, 0)
		}
	})
}

// noise returns n bytes that nothing makes shorter.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

func TestSingleMessagesAndWholeAnswersMayGoUncompressed(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		mux := rpc.NewMux(rpc.Config{Compressors: []rpc.Compressor{peers}})
		secret := rpc.Unary[Text, Text]("test.Z/Secret")
		rpc.Handle(mux, secret, func(ctx context.Context, req *Text) (*Text, error) { return req, rpc.Uncompressed(ctx) })
		turns := rpc.Bidi[Text, Text]("test.Z/Turns")
		rpc.Handle(mux, turns, func(ctx context.Context, s *rpc.Stream[Text, Text]) error {
			for m, err := range s.All() {
				if err != nil {
					return err
				}
				if m.N == 1 {
					err = s.SendUncompressed(m)
				} else {
					err = s.Send(m)
				}
				if m.N == 3 {
					err = errors.Join(err, rpc.Uncompressed(ctx))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		_, client, _ := start(t, mux)
		long := string(prose(t, 20_000))
		opt := rpc.WithCompression(own)
		_, err := secret.Call(t.Context(), client, &Text{Text: long}, opt)
		require.NoError(t, err)
		own.want(t, 1, 0)
		peers.want(t, 0, 1)

		s, err := turns.Call(t.Context(), client, opt)
		require.NoError(t, err)
		defer s.Close()
		for i, want := range []struct{ sent, answered int64 }{{1, 1}, {0, 0}, {1, 1}, {0, 1}, {1, 0}} {
			m := &Text{Text: long, N: i}
			if want.sent == 0 {
				require.NoError(t, s.SendUncompressed(m))
			} else {
				require.NoError(t, s.Send(m))
			}
			back, err := s.Recv()
			require.NoError(t, err)
			require.Equal(t, m, back)
			own.want(t, want.sent, want.answered)
			peers.want(t, want.answered, want.sent)
		}
		require.Error(t, rpc.Uncompressed(t.Context()), "no call")
	})
}

// With what it says goes what the callee says of compression on the wire.
func compressedHead(method, compression string, accept ...string) []byte {
	body := protowire.AppendBytes([]byte{0x0a}, []byte(method))
	body = protowire.AppendBytes(append(body, 0x1a), []byte("raw"))
	if compression != "" {
		body = protowire.AppendBytes(append(body, 0x2a), []byte(compression))
	}
	for _, name := range accept {
		body = protowire.AppendBytes(append(body, 0x32), []byte(name))
	}
	return transport.AppendFrame(nil, 0x01, body)
}

// readFrames reads the answer to a stream that is no call of package rpc's.
func readFrames(t *testing.T, str *transport.Stream) (out []string) {
	t.Helper()
	for {
		typ, body, err := str.ReadFrame(func(transport.FrameType) (uint64, bool) { return 8 << 20, true })
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		out = append(out, string(append([]byte{byte(typ)}, body...)))
	}
}

// M41: whoever does not know the compression says so, and what it accepts, before anything runs.
func TestM41UnknownCompressionIsRefusedWithWhatIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{zstd.New(), gzip.New()}})
		none := newEcho(rpc.Config{})
		n, client, _ := start(t, e.mux)
		other := n.Dial(n.Listen(transport.Config{Handlers: handlers(none.mux)}), "bob", transport.Config{})
		raw := rpc.Raw("hi")
		_, err := octets.Call(t.Context(), client, &raw, rpc.WithCompression(&misnamed{"br"}))
		wantError(t, err, rpc.Unimplemented, rpc.NotStarted)
		require.ErrorContains(t, err, `unknown compression "br", accepted: zstd, gzip`)
		_, err = octets.Call(t.Context(), other, &raw, rpc.WithCompression(gzip.New()))
		wantError(t, err, rpc.Unimplemented, rpc.NotStarted)
		require.ErrorContains(t, err, "accepted: none")
		_, err = octets.Call(t.Context(), client, &raw, rpc.WithCompression(&misnamed{"B R"}))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
		require.Zero(t, e.calls.Load()+none.calls.Load())

		frames := readFrames(t, attack(t, client, compressedHead(octets.Name(), "br", "gzip")))
		require.Len(t, frames, 2)
		require.Equal(t, "\x01\x32\x04zstd\x32\x04gzip", frames[0])
		require.Equal(t, []byte{0x05, 0x08, byte(rpc.Unimplemented)}, []byte(frames[1][:3]))
	})
}

// A misnamed compressor has another name.
type misnamed struct{ name string }

func (m *misnamed) Name() string                                   { return m.name }
func (m *misnamed) AppendCompress(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }
func (m *misnamed) AppendDecompress(dst, src []byte, _ int) ([]byte, error) {
	return append(dst, src...), nil
}

func TestNamesOfCompressorsAreValidAndDifferent(t *testing.T) {
	for _, names := range [][]string{{""}, {"UPPER"}, {"a", "b", "a"}} {
		var all []rpc.Compressor
		for _, n := range names {
			all = append(all, &misnamed{n})
		}
		assert.Panics(t, func() { rpc.NewMux(rpc.Config{Compressors: all}) }, "%q", names)
	}
}

// M40: a compressed message that HEAD has not announced is an error, on either side, and so is one that is malformed.
func TestM40CompressedMessageMustBeAnnounced(t *testing.T) {
	packed := pack(t, gzip.New(), prose(t, 5000))
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{gzip.New()}})
		_, client, _ := start(t, e.mux)
		for name, request := range map[string][]byte{
			"not announced": transport.AppendFrame(compressedHead(octets.Name(), "", "gzip"), 0x07, packed),
			"malformed":     transport.AppendFrame(compressedHead(octets.Name(), "gzip"), 0x07, packed[:100]),
			"empty":         transport.AppendFrame(compressedHead(octets.Name(), "gzip"), 0x07, nil),
			"streamed":      transport.AppendFrame(compressedHead(sum.Name(), "gzip"), 0x07, nil),
		} {
			frames := readFrames(t, attack(t, client, request))
			require.Len(t, frames, 1, name)
			require.Equal(t, []byte{0x05, 0x08, byte(rpc.InvalidArgument)}, []byte(frames[0][:3]), name)
		}
		require.Equal(t, int64(1), e.calls.Load(), "that of the stream, which ran")
		frames := readFrames(t, attack(t, client, transport.AppendFrame(compressedHead(octets.Name(), "gzip"), 0x07, packed)))
		require.Equal(t, []string{"\x03" + string(prose(t, 5000)), "\x05"}, frames, "and the right one")
	})
}

// answering returns a session whose peer answers every call with these bytes.
func answering(t *testing.T, answer []byte) *transport.Session {
	t.Helper()
	n := transporttest.New(t, rtt)
	srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
		transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
			if _, err := s.Write(answer); err == nil {
				_ = s.Close()
			}
		},
	}})
	return n.Dial(srv, "alice", transport.Config{})
}

func TestM40CompressedAnswerMustBeAnnounced(t *testing.T) {
	packed := pack(t, gzip.New(), prose(t, 5000))
	announced := transport.AppendFrame(nil, 0x01, append([]byte{0x2a, 4}, "gzip"...))
	end := transport.AppendFrame(nil, 0x05, nil)
	for name, test := range map[string]struct {
		answer []byte
		code   rpc.Code
	}{
		"right":         {append(transport.AppendFrame(announced, 0x07, packed), end...), rpc.OK},
		"not announced": {append(transport.AppendFrame(nil, 0x07, packed), end...), rpc.Internal},
		"not accepted":  {append(transport.AppendFrame(nil, 0x01, append([]byte{0x2a, 4}, "zstd"...)), end...), rpc.Internal},
		"malformed":     {append(transport.AppendFrame(announced, 0x07, packed[:50]), end...), rpc.Internal},
		"too long":      {append(transport.AppendFrame(announced, 0x07, pack(t, gzip.New(), make([]byte, 5<<20))), end...), rpc.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := answering(t, test.answer)
				raw := rpc.Raw("x")
				res, err := octets.Call(t.Context(), client, &raw, rpc.WithAcceptCompression(gzip.New()))
				if test.code == rpc.OK {
					require.NoError(t, err)
					require.Equal(t, string(prose(t, 5000)), string(*res))
					return
				}
				wantError(t, err, test.code, rpc.Maybe)
			})
		})
	}
}

// bomb is 1 GiB of zeros, in 32 KiB of zstd: blocks of 128 KiB in four bytes.
func bomb() []byte {
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3}
	for i := range 1 << 13 {
		h := uint32(128<<10)<<3 | 1<<1
		if i == 1<<13-1 {
			h |= 1
		}
		out = append(out, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return out
}

// S5, M43: a bomb costs at most the limit on messages, in a request of one message and in a stream, and its call alone.
func TestM43BombIsRefusedWithinTheLimit(t *testing.T) {
	for _, method := range []string{octets.Name(), say.Name(), sum.Name(), chat.Name()} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEcho(rpc.Config{Compressors: []rpc.Compressor{zstd.New()}, MaxMessage: 1 << 20})
				_, mallory, bob := malloryAndBob(t, e.mux)
				request := transport.AppendFrame(compressedHead(method, "zstd"), 0x07, bomb())
				readFrames(t, attack(t, mallory, request)) // what is allocated once, is
				before := heap()
				for range 3 {
					took := allocated(func() {
						frames := readFrames(t, attack(t, mallory, request))
						require.Equal(t, []byte{0x05, 0x08, byte(rpc.ResourceExhausted)}, []byte(frames[len(frames)-1][:3]))
					})
					require.Less(t, took, uint64(8<<20)) // growing to 1 MiB, the bomb itself, and what pools lose
				}
				require.Less(t, grown(before), int64(1<<20))
				_, err := say.Call(t.Context(), bob, &Text{Text: "hi"})
				require.NoError(t, err)
			})
		})
	}
}

func TestM43LimitHoldsExactlyAfterDecompression(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		const limit = 1 << 20
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{peers}, MaxMessage: limit})
		_, client, _ := start(t, e.mux)
		for name, message := range map[string][]byte{"prose": prose(t, limit+1), "zeros": make([]byte, limit+1)} {
			raw := rpc.Raw(message)
			_, err := octets.Call(t.Context(), client, &raw, rpc.WithCompression(own))
			wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)
			raw = raw[:limit]
			back, err := octets.Call(t.Context(), client, &raw, rpc.WithCompression(own), rpc.WithMaxMessage(limit))
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(raw, *back))
			_, err = octets.Call(t.Context(), client, &rpc.Raw{}, rpc.WithAcceptCompression(own), rpc.WithMaxMessage(limit))
			require.NoError(t, err)
		}
	})
}

// A boundless compressor does not keep to the limit.
type boundless struct{ misnamed }

func (*boundless) AppendDecompress(dst, _ []byte, _ int) ([]byte, error) {
	return append(dst, make([]byte, 1<<20+1)...), nil
}

func TestM43CompressorThatIgnoresTheLimitIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{&boundless{misnamed{"b"}}}, MaxMessage: 1 << 20})
		_, client, _ := start(t, e.mux)
		frames := readFrames(t, attack(t, client, transport.AppendFrame(compressedHead(octets.Name(), "b"), 0x07, []byte("x"))))
		require.Equal(t, []byte{0x05, 0x08, byte(rpc.ResourceExhausted)}, []byte(frames[0][:3]))
		require.Zero(t, e.calls.Load())
	})
}

// The same of an answer, to a client that has its own limit.
func TestM43BombInAnAnswerIsRefusedWithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := transport.AppendFrame(nil, 0x01, append([]byte{0x2a, 4}, "zstd"...))
		answer = transport.AppendFrame(answer, 0x07, bomb())
		client := answering(t, answer)
		opts := []rpc.CallOption{rpc.WithAcceptCompression(zstd.New()), rpc.WithMaxMessage(1 << 20)}
		raw := rpc.Raw("x")
		for range 3 {
			took := allocated(func() {
				_, err := octets.Call(t.Context(), client, &raw, opts...)
				wantError(t, err, rpc.ResourceExhausted, rpc.Maybe)
			})
			require.Less(t, took, uint64(16<<20))
		}
		in, err := count.Call(t.Context(), client, &Text{}, opts...)
		require.NoError(t, err)
		_, err = in.Recv()
		wantError(t, err, rpc.ResourceExhausted, rpc.Maybe)
	})
}

// M71: what a server holds counts as it is decompressed: short requests whose messages are long take no more than
// the sender's share, and another's call is answered.
func TestM71DecompressedMessagesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{zstd.New()}})
		stuck := make(chan struct{})
		park := rpc.Unary[rpc.Raw, rpc.Raw]("test.Z/Park")
		var parked atomic.Int64
		rpc.Handle(e.mux, park, func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
			parked.Add(1)
			<-stuck
			return &rpc.Raw{}, nil
		})
		read := rpc.ClientStream[rpc.Raw, rpc.Raw]("test.Z/Read")
		rpc.Handle(e.mux, read, func(_ context.Context, in *rpc.Receiver[rpc.Raw]) (*rpc.Raw, error) {
			req, err := in.Recv()
			if err != nil {
				return nil, err
			}
			parked.Add(1)
			<-stuck
			return &rpc.Raw{byte(len(*req))}, nil
		})
		srv, mallory, bob := malloryAndBob(t, e.mux)
		packed := pack(t, zstd.New(), make([]byte, 1<<20))
		require.Less(t, len(packed), 2000)
		for _, method := range []string{park.Name(), read.Name()} {
			parked.Store(0)
			limitedBefore := limited(srv)
			before := heap()
			var streams []*transport.Stream
			for range 100 {
				streams = append(streams, attack(t, mallory, transport.AppendFrame(compressedHead(method, "zstd"), 0x07, packed)))
			}
			time.Sleep(time.Second)
			assert.Equal(t, int64(bodies/4>>20), parked.Load(), "those that fit into a quarter")
			assert.Equal(t, limitedBefore+100-bodies/4>>20, limited(srv))
			assert.Less(t, grown(before), int64(bodies/2))
			_, err := say.Call(t.Context(), bob, &Text{Text: "hi"})
			require.NoError(t, err)
			for range parked.Load() {
				stuck <- struct{}{}
			}
			refused := 0
			for _, s := range streams {
				frames := readFrames(t, s)
				if last := frames[len(frames)-1]; len(last) > 2 && last[2] == byte(rpc.ResourceExhausted) {
					refused++
				}
			}
			assert.Equal(t, 100-bodies/4>>20, refused)
			large := rpc.Raw(make([]byte, 2<<20)) // all that was held is free again
			_, err = octets.Call(t.Context(), mallory, &large)
			require.NoError(t, err)
		}
	})
}

// R5: a call whose compressed messages nobody reads leaves nothing behind.
func TestR5CompressedCallsLeaveNothingHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zstd.New()
		e := newEcho(rpc.Config{Compressors: []rpc.Compressor{z}})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux), MaxBuffered: bodies})
		alice, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(e.mux)})
		long := &Text{Text: string(prose(t, 100_000))}
		for range 20 {
			s, err := chat.Call(t.Context(), alice, rpc.WithCompression(z))
			require.NoError(t, err)
			require.NoError(t, s.Send(long))
			_, err = s.Recv()
			require.NoError(t, err)
			s.Close()
			for _, conn := range []rpc.Conn{alice, server} { // what a server asks for counts as well
				_, err = say.Call(t.Context(), conn, long, rpc.WithCompression(z))
				require.NoError(t, err)
			}
		}
		time.Sleep(time.Second)
		require.Zero(t, srv.Stats().Buffered)
	})
}

// What goes uncompressed is asked of the request as its caller has it, also where that is kept in encoded form.
func TestRequestOfAResumableStreamMayGoUncompressed(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		mux := rpc.NewMux(rpc.Config{Compressors: []rpc.Compressor{peers}})
		rpc.Handle(mux, follow, func(_ context.Context, req *Text, out *rpc.Sender[Text]) error { return out.SendAt("1", req) })
		_, client, _ := start(t, mux)
		long := &Text{Text: string(prose(t, 20_000))}
		for plain, requests := range map[bool]int64{false: 1, true: 0} {
			in, err := follow.Call(t.Context(), client, long, rpc.WithCompression(own), rpc.WithUncompressed(func(m any) bool { return plain && m == long }))
			require.NoError(t, err)
			m, err := in.Recv()
			require.NoError(t, err)
			require.Equal(t, long, m)
			_, err = in.Recv()
			require.ErrorIs(t, err, io.EOF)
			own.want(t, requests, 1)
			peers.want(t, 1, requests)
		}
	})
}

// The same of a call that is made more than once at a time.
func TestRequestOfAHedgedCallMayGoUncompressed(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		s := newStore(rpc.Config{Compressors: []rpc.Compressor{peers}}, func(_ context.Context, req *Text) (*Text, error) { return req, nil })
		_, session, _ := start(t, s.mux)
		client := rpc.NewClient(session, rpc.ClientConfig{Options: []rpc.CallOption{rpc.WithHedging(time.Second, 2)}})
		long := &Text{Text: string(prose(t, 20_000))}
		for plain, requests := range map[bool]int64{false: 1, true: 0} {
			_, err := get.Call(t.Context(), client, long, rpc.WithCompression(own), rpc.WithUncompressed(func(m any) bool { return plain && m == long }))
			require.NoError(t, err)
			own.want(t, requests, 1)
			peers.want(t, 1, requests)
		}
	})
}
