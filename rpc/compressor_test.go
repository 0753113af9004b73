package rpc_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/rpc/zstd"
)

// compressors returns those that there are. In a bubble they must be its own.
func compressors() []rpc.Compressor { return []rpc.Compressor{gzip.New(), zstd.New()} }

// forCompressors runs test for each.
func forCompressors(t *testing.T, test func(t *testing.T, c rpc.Compressor)) {
	t.Helper()
	for _, c := range compressors() {
		t.Run(c.Name(), func(t *testing.T) { test(t, c) })
	}
}

// prose returns n bytes of this project's own.
func prose(t testing.TB, n int) []byte {
	t.Helper()
	b, err := os.ReadFile("../PROTOCOL.md")
	require.NoError(t, err)
	for len(b) < n {
		b = append(b, b...)
	}
	return b[:n]
}

func pack(t testing.TB, c rpc.Compressor, b []byte) []byte {
	t.Helper()
	out, err := c.AppendCompress(nil, b)
	require.NoError(t, err)
	return out
}

func TestCompressorsGoThereAndBack(t *testing.T) {
	forCompressors(t, func(t *testing.T, c rpc.Compressor) {
		for _, n := range []int{1, 1000, 100_000, 5 << 20} {
			src := prose(t, n)
			packed, err := c.AppendCompress([]byte("head"), src)
			require.NoError(t, err)
			require.Equal(t, "head", string(packed[:4]))
			back, err := c.AppendDecompress([]byte("before"), packed[4:], n)
			require.NoError(t, err)
			require.Equal(t, "before", string(back[:6]))
			require.True(t, bytes.Equal(src, back[6:]))
		}
	})
}

func TestLimitOfDecompressionIsExact(t *testing.T) {
	forCompressors(t, func(t *testing.T, c rpc.Compressor) {
		for _, n := range []int{1, 100, 10_000, 200_000} {
			src := prose(t, n)
			packed := pack(t, c, src)
			for _, dst := range [][]byte{nil, make([]byte, 3, 10), make([]byte, 3, 1<<20)} {
				back, err := c.AppendDecompress(dst, packed, n)
				require.NoError(t, err)
				require.True(t, bytes.Equal(src, back[len(dst):]))
				back, err = c.AppendDecompress(dst, packed, n+1)
				require.NoError(t, err)
				require.Len(t, back, len(dst)+n)
				_, err = c.AppendDecompress(dst, packed, n-1)
				require.ErrorIs(t, err, rpc.ErrTooLong)
			}
		}
	})
}

func TestMalformedCompressionIsAnError(t *testing.T) {
	forCompressors(t, func(t *testing.T, c rpc.Compressor) {
		packed := pack(t, c, prose(t, 10_000))
		for name, src := range map[string][]byte{
			"empty": nil, "something else": prose(t, 100), "truncated": packed[:len(packed)-9], "something behind": append(bytes.Clone(packed), 1),
		} {
			_, err := c.AppendDecompress(nil, src, 1<<20)
			assert.Error(t, err, name)
			assert.NotErrorIs(t, err, rpc.ErrTooLong, name)
		}
		back, err := c.AppendDecompress(nil, packed, 1<<20)
		require.NoError(t, err, "what failed leaves nothing behind")
		require.Len(t, back, 10_000)
	})
}

func TestCompressorsServeManyAtOnce(t *testing.T) {
	forCompressors(t, func(t *testing.T, c rpc.Compressor) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				src := bytes.Repeat([]byte{byte(i)}, 5000+i)
				packed, err := c.AppendCompress(nil, src)
				assert.NoError(t, err)
				back, err := c.AppendDecompress(nil, packed, len(src))
				assert.NoError(t, err)
				assert.Equal(t, src, back)
			})
		}
		wg.Wait()
	})
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// M43: a bomb costs the limit, with what growing up to it leaves behind.
func TestM43BombTakesNoMoreMemoryThanTheLimit(t *testing.T) {
	forCompressors(t, func(t *testing.T, c rpc.Compressor) {
		const limit = 1 << 20
		bomb := pack(t, c, make([]byte, 64<<20))
		assert.Less(t, allocated(func() {
			_, err := c.AppendDecompress(nil, bomb, limit)
			assert.ErrorIs(t, err, rpc.ErrTooLong)
		}), uint64(4*limit))
	})
}

func BenchmarkCompress(b *testing.B) {
	for _, c := range compressors() {
		for _, n := range []int{512, 1 << 10, 4 << 10, 16 << 10} { // what Config.CompressMin is about
			b.Run(fmt.Sprintf("%s/%dB", c.Name(), n), func(b *testing.B) {
				src := prose(b, n)
				b.SetBytes(int64(len(src)))
				b.ReportAllocs()
				var packed []byte
				for b.Loop() {
					packed, _ = c.AppendCompress(packed[:0], src)
				}
				b.ReportMetric(float64(len(packed))/float64(len(src)), "ratio")
			})
		}
	}
}

func BenchmarkDecompress(b *testing.B) {
	for _, c := range compressors() {
		b.Run(c.Name(), func(b *testing.B) {
			const n = 16 << 10
			packed := pack(b, c, prose(b, n))
			b.SetBytes(n)
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				out, _ = c.AppendDecompress(out[:0], packed, n)
			}
		})
	}
}

// BenchmarkUnaryCompressed is calls of 16 KiB of prose each way, as text in JSON, on the loopback: what compression takes
// shows here, what it gives does not.
func BenchmarkUnaryCompressed(b *testing.B) {
	e := newEcho(rpc.Config{Compressors: compressors()})
	client, _ := startUDP(b, handlers(e.mux))
	message := &Text{Text: string(prose(b, sizes[1].bytes))}
	for _, c := range append([]rpc.Compressor{nil}, compressors()...) {
		name := "plain"
		if c != nil {
			name = c.Name()
		}
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				b.SetBytes(int64(len(message.Text)))
				benchmark(b, callers, func() error {
					_, err := say.Call(context.Background(), client, message, rpc.WithCompression(c))
					return err
				})
			})
		}
	}
}
