package zstd_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	kp "github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/zstd"
)

// The rest of the tests, which hold for every compressor, are in package rpc.

// stream compresses the parts with a frame each, which do not say how long they are.
func stream(t testing.TB, parts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts {
		w, err := kp.NewWriter(&out, kp.WithEncoderCRC(true))
		require.NoError(t, err)
		_, err = w.Write([]byte(part[:len(part)/2]))
		require.NoError(t, err)
		require.NoError(t, w.Flush())
		_, err = w.Write([]byte(part[len(part)/2:]))
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	return out.Bytes()
}

func pack(t testing.TB, c rpc.Compressor, text string) []byte {
	t.Helper()
	out, err := c.AppendCompress(nil, []byte(text))
	require.NoError(t, err)
	return out
}

func TestWhatOthersSendIsUnderstood(t *testing.T) {
	c := zstd.New()
	one, two := strings.Repeat("one ", 100), strings.Repeat("two ", 200)
	skipped := append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "skp"...) // RFC 8878, section 3.1.2
	for name, src := range map[string][]byte{
		"lengths unknown": stream(t, one, two),
		"lengths known":   append(pack(t, c, one), pack(t, c, two)...),
		"both":            append(pack(t, c, one), stream(t, two)...),
		"skippable":       append(bytes.Clone(skipped), append(pack(t, c, one), append(skipped, pack(t, c, two)...)...)...),
	} {
		for _, dst := range [][]byte{nil, []byte("before"), make([]byte, 1, 10<<10)} {
			back, err := c.AppendDecompress(dst, src, len(one)+len(two))
			require.NoError(t, err, name)
			require.Equal(t, string(dst)+one+two, string(back), name)
			_, err = c.AppendDecompress(dst, src, len(one)+len(two)-1)
			require.ErrorIs(t, err, rpc.ErrTooLong, name)
		}
	}
}

// header begins a frame with a window of 2^log bytes, and of unknown length.
func header(log byte) []byte { return []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3} }

// rle is a block of 128 KiB of zeros, in four bytes.
func rle(last bool) []byte {
	h := uint32(128<<10)<<3 | 1<<1
	if last {
		h |= 1
	}
	return append(binary.LittleEndian.AppendUint32(nil, h)[:3], 0)
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// M43: what a frame declares, as its window or its length, takes no memory.
func TestM43FrameThatDeclaresMuchIsRefused(t *testing.T) {
	c := zstd.New()
	_, err := c.AppendDecompress(nil, append(header(23), rle(true)...), 128<<10)
	require.NoError(t, err, "8 MiB")
	_, err = c.AppendDecompress(nil, append(header(24), rle(true)...), 128<<10)
	require.ErrorContains(t, err, "window")

	long := []byte{0x28, 0xb5, 0x2f, 0xfd, 0b11_1_00000} // one segment, length in 8 bytes
	long = binary.LittleEndian.AppendUint64(long, 1<<40)
	assert.Less(t, allocated(func() {
		for range 100 {
			_, err := c.AppendDecompress(nil, append(header(31), rle(true)...), 1<<20)
			assert.ErrorContains(t, err, "window")
			_, err = c.AppendDecompress(nil, append(long, rle(true)...), 1<<20)
			assert.ErrorIs(t, err, rpc.ErrTooLong)
		}
	}), uint64(1<<20))
}

// M43: 1 GiB in 32 KiB.
func TestM43BombOfRunsTakesNoMoreMemoryThanTheLimit(t *testing.T) {
	c := zstd.New()
	bomb := header(20)
	for range 1<<30>>17 - 1 {
		bomb = append(bomb, rle(false)...)
	}
	bomb = append(bomb, rle(true)...)
	require.Less(t, len(bomb), 33<<10)
	const limit = 1 << 20
	assert.Less(t, allocated(func() {
		_, err := c.AppendDecompress(nil, bomb, limit)
		assert.ErrorIs(t, err, rpc.ErrTooLong)
	}), uint64(4*limit))
}

func TestDictionariesAreRefused(t *testing.T) {
	w, err := kp.NewWriter(nil, kp.WithEncoderDictRaw(7, []byte(strings.Repeat("dictionary", 10))))
	require.NoError(t, err)
	_, err = zstd.New().AppendDecompress(nil, w.EncodeAll([]byte("dictionary dictionary"), nil), 1<<20)
	require.Error(t, err)
}

// Whatever comes: no panic, never more than the limit, and what the library makes of it without one.
func FuzzDecompress(f *testing.F) {
	c := zstd.New()
	text := strings.Repeat("some text, ", 20)
	f.Add(pack(f, c, text), uint16(1000))
	f.Add(pack(f, c, text), uint16(20))
	f.Add(stream(f, text, text), uint16(1000))
	f.Add(append(pack(f, c, text), stream(f, text)...), uint16(1000))
	f.Add(append(header(20), rle(true)...), uint16(1000))
	f.Add(append(header(31), rle(true)...), uint16(1000))
	f.Add([]byte{}, uint16(0))
	free, err := kp.NewReader(nil, kp.WithDecoderMaxWindow(8<<20), kp.WithDecoderConcurrency(1))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, src []byte, limit uint16) {
		back, err := c.AppendDecompress([]byte("x"), src, int(limit))
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(back)-1, int(limit))
		want, err := free.DecodeAll(src, nil)
		require.NoError(t, err)
		require.Equal(t, "x"+string(want), string(back))
	})
}
