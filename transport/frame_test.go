package transport_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"

	"github.com/quic-go/quic-go/quicvarint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
)

// limits knows types 1 to 3 with bodies of up to 1 MiB.
func limits(t transport.FrameType) (uint64, bool) { return 1 << 20, t >= 1 && t <= 3 }

func TestGoldenFrames(t *testing.T) {
	for _, row := range []struct {
		typ  transport.FrameType
		body []byte
		want string
	}{
		{0x01, nil, "0100"},
		{0x01, []byte("hi"), "01026869"},
		{0x3f, []byte{0xff}, "3f01ff"},
		{0x40, nil, "404000"},
		{0x3fff, nil, "7fff00"},
		{0x4000, nil, "8000400000"},
		{1<<62 - 1, nil, "ffffffffffffffff00"},
		{0x02, make([]byte, 64), "024040" + hex.EncodeToString(make([]byte, 64))},
	} {
		assert.Equal(t, row.want, hex.EncodeToString(transport.AppendFrame(nil, row.typ, row.body)))
	}
}

func TestFramesSurviveAnySplitting(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var wire []byte
	var want [][]byte
	for _, n := range []int{0, 1, 63, 64, 2047, 2048, 2049, 16384, 70_000, 200_000} {
		body := make([]byte, n)
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		want = append(want, body)
		wire = transport.AppendFrame(wire, 2, body)
		wire = transport.AppendFrame(wire, 0x40, body) // unknown and even: skipped
	}
	for name, r := range map[string]io.Reader{
		"whole":     bytes.NewReader(wire),
		"by byte":   iotest.OneByteReader(bytes.NewReader(wire)),
		"by half":   iotest.HalfReader(bytes.NewReader(wire)),
		"early EOF": iotest.DataErrReader(bytes.NewReader(wire)),
	} {
		t.Run(name, func(t *testing.T) {
			fr := transport.NewFrameReader(r)
			for _, body := range want {
				typ, got, err := fr.ReadFrame(limits)
				require.NoError(t, err)
				assert.Equal(t, transport.FrameType(2), typ)
				require.True(t, bytes.Equal(body, got), "body of %d bytes", len(body))
			}
			_, _, err := fr.ReadFrame(limits)
			assert.Equal(t, io.EOF, err)
		})
	}
}

func TestTruncatedFrameIsNeverAnOrderlyEnd(t *testing.T) {
	whole := transport.AppendFrame(nil, 2, make([]byte, 5000))
	for n := 1; n < len(whole); n++ {
		_, _, err := transport.NewFrameReader(bytes.NewReader(whole[:n])).ReadFrame(limits)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "after %d bytes", n)
	}
	skipped := transport.AppendFrame(nil, 0x40, make([]byte, 100))
	_, _, err := transport.NewFrameReader(bytes.NewReader(skipped[:50])).ReadFrame(limits)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// The length is judged as declared: the body need not be there, and is not allocated.
func TestOversizedFrameIsRefusedBeforeItIsRead(t *testing.T) {
	wire := transport.AppendFrameHeader(nil, 2, 1<<20+1)
	r := bytes.NewReader(append(wire, "rest"...))
	fr := transport.NewFrameReader(iotest.OneByteReader(r))
	_, _, err := fr.ReadFrame(limits)
	var tooLarge *transport.FrameTooLargeError
	require.ErrorAs(t, err, &tooLarge)
	assert.Equal(t, transport.FrameTooLargeError{Type: 2, Length: 1<<20 + 1, Limit: 1 << 20}, *tooLarge)
	assert.Equal(t, len("rest"), r.Len(), "nothing of the body was read")
}

// A peer that declares much and sends nothing costs little (S5).
func TestDeclaredLengthIsNotAllocatedUpFront(t *testing.T) {
	wire := transport.AppendFrameHeader(nil, 2, 1<<20)
	got := testing.Benchmark(func(b *testing.B) {
		b.Helper()
		b.ReportAllocs()
		for b.Loop() {
			_, _, err := transport.NewFrameReader(bytes.NewReader(wire)).ReadFrame(limits)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				b.Fatal(err)
			}
		}
	})
	assert.Less(t, got.AllocedBytesPerOp(), int64(128<<10))
}

func TestUnknownFrames(t *testing.T) {
	wire := transport.AppendFrame(nil, 0x10, []byte("skip me"))
	wire = transport.AppendFrame(wire, 2, []byte("hi"))
	wire = transport.AppendFrame(wire, 0x11, []byte("understand me"))
	fr := transport.NewFrameReader(bytes.NewReader(wire))
	_, body, err := fr.ReadFrame(limits)
	require.NoError(t, err)
	assert.Equal(t, "hi", string(body))
	_, _, err = fr.ReadFrame(limits)
	var unknown *transport.UnknownFrameError
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, transport.FrameType(0x11), unknown.Type)
}

func FuzzFrameReader(f *testing.F) {
	f.Add([]byte{}, 7)
	f.Add(transport.AppendFrame(nil, 1, []byte("hello")), 1)
	f.Add(transport.AppendFrame(transport.AppendFrame(nil, 0x10, make([]byte, 100)), 2, make([]byte, 3000)), 100)
	f.Add(transport.AppendFrameHeader(nil, 2, 1<<40), 3)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 2)
	f.Fuzz(func(t *testing.T, wire []byte, step int) {
		if step < 1 {
			step = 1
		}
		fr := transport.NewFrameReader(&chunks{wire, step})
		rest := wire
		for {
			typ, body, err := fr.ReadFrame(limits)
			if err != nil {
				return
			}
			// What was read is what a plain parser finds, skipped frames apart.
			for {
				gotType, gotBody, after := parseFrame(t, rest)
				rest = after
				if gotType == typ {
					require.True(t, bytes.Equal(gotBody, body))
					break
				}
				require.True(t, gotType.Ignorable())
			}
		}
	})
}

func parseFrame(t *testing.T, b []byte) (transport.FrameType, []byte, []byte) {
	typ, n, err := quicvarint.Parse(b)
	require.NoError(t, err)
	b = b[n:]
	length, n, err := quicvarint.Parse(b)
	require.NoError(t, err)
	b = b[n:]
	require.LessOrEqual(t, length, uint64(len(b)))
	return transport.FrameType(typ), b[:length], b[length:]
}

// chunks hands out step bytes at a time.
type chunks struct {
	b    []byte
	step int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(len(c.b), c.step)])
	c.b = c.b[n:]
	return n, nil
}

func BenchmarkReadFrame(b *testing.B) {
	wire := transport.AppendFrame(nil, 2, make([]byte, 64))
	r := bytes.NewReader(wire)
	fr := transport.NewFrameReader(r)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(wire)
		if _, _, err := fr.ReadFrame(limits); err != nil {
			b.Fatal(err)
		}
	}
}

// A deadline may pass anywhere inside a frame: the next call goes on where that one ended.
func TestReadingGoesOnAfterADeadline(t *testing.T) {
	var wire []byte
	for _, n := range []int{0, 10, 100_000} {
		wire = transport.AppendFrame(wire, 2, bytes.Repeat([]byte{byte(n)}, n))
		wire = transport.AppendFrame(wire, 0x40, make([]byte, 5000)) // skipped
	}
	for _, step := range []int{1, 2, 3, 7, 1000, 3000} {
		fr := transport.NewFrameReader(&impatient{chunks{wire, step}, false})
		for _, n := range []int{0, 10, 100_000} {
			body, err := []byte(nil), os.ErrDeadlineExceeded
			for errors.Is(err, os.ErrDeadlineExceeded) {
				_, body, err = fr.ReadFrame(limits)
			}
			require.NoError(t, err)
			require.Len(t, body, n)
			require.Equal(t, n, bytes.Count(body, []byte{byte(n)}))
		}
	}
}

// impatient runs into its deadline before every chunk.
type impatient struct {
	chunks
	ready bool
}

func (i *impatient) Read(p []byte) (int, error) {
	i.ready = !i.ready
	if i.ready {
		return 0, os.ErrDeadlineExceeded
	}
	return i.chunks.Read(p)
}

// Streams that live long are silent most of the time: a reader that waits for a frame holds no buffer,
// neither after a short frame nor after a long one.
func TestAnIdleReaderHoldsNoBuffer(t *testing.T) {
	var wire []byte
	lengths := []int{10, 100_000, 0, 3000, 2000}
	for _, n := range lengths {
		wire = transport.AppendFrame(wire, 2, bytes.Repeat([]byte{byte(n)}, n))
	}
	for _, step := range []int{1, 7, 1000, len(wire)} {
		s := &silent{chunks: chunks{wire, step}}
		fr := transport.NewFrameReader(s)
		s.waits = func() {
			require.False(t, transport.HoldsBuffer(fr))
		}
		for _, n := range lengths {
			_, body, err := fr.ReadFrame(limits)
			require.NoError(t, err)
			require.Len(t, body, n)
			require.Equal(t, n, bytes.Count(body, []byte{byte(n)}))
		}
		_, _, err := fr.ReadFrame(limits)
		require.ErrorIs(t, err, io.EOF)
		require.Positive(t, s.peeked)
	}
}

// silent is a stream on which a reader can wait.
type silent struct {
	chunks
	waits  func()
	peeked int
}

func (s *silent) Peek(p []byte) (int, error) {
	s.waits()
	s.peeked++
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	return copy(p, s.b), nil
}

// ReadOwnFrame's body is the caller's where it says so, and is never more
// memory than the declared length.
func TestAnOwnBodyIsNotUsedAgain(t *testing.T) {
	limit := func(transport.FrameType) (uint64, bool) { return 1 << 20, true }
	var stream []byte
	sizes := []int{2 << 10, 2<<10 + 1, 16 << 10, 200 << 10, 16 << 10}
	for i, n := range sizes {
		stream = transport.AppendFrame(stream, 3, bytes.Repeat([]byte{byte(i + 1)}, n))
	}
	r := transport.NewFrameReader(bytes.NewReader(stream))
	var kept [][]byte
	for i, n := range sizes {
		_, body, own, err := r.ReadOwnFrame(limit, func() bool { return true })
		require.NoError(t, err)
		assert.Equal(t, n > 2<<10, own, "frame %d", i)
		if own {
			assert.Equal(t, n, cap(body))
			kept = append(kept, body)
		}
	}
	for i, body := range kept {
		assert.Equal(t, bytes.Repeat([]byte{byte(i + 2)}, sizes[i+1]), body)
	}
}
