package gzip_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/binary"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
)

// The rest of the tests, which hold for every compressor, are in package rpc.

func TestWhatOthersSendIsUnderstood(t *testing.T) {
	c := gzip.New()
	var two bytes.Buffer
	for _, part := range []string{"one ", "two"} { // RFC 1952, section 2.2: members follow each other
		w, err := stdgzip.NewWriterLevel(&two, stdgzip.BestCompression)
		require.NoError(t, err)
		w.Name = "name"
		_, err = w.Write([]byte(part))
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	back, err := c.AppendDecompress(nil, two.Bytes(), 7)
	require.NoError(t, err)
	require.Equal(t, "one two", string(back))
	_, err = c.AppendDecompress(nil, two.Bytes(), 6)
	require.ErrorIs(t, err, rpc.ErrTooLong)
}

// M43: the length that a message declares is not believed, whether it says too little or too much.
func TestM43DeclaredLengthIsNotBelieved(t *testing.T) {
	c := gzip.New()
	packed, err := c.AppendCompress(nil, make([]byte, 64<<20))
	require.NoError(t, err)
	const limit = 1 << 20
	for declared, want := range map[uint32]error{1: rpc.ErrTooLong, 1<<32 - 1: rpc.ErrTooLong} {
		binary.LittleEndian.PutUint32(packed[len(packed)-4:], declared)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.AppendDecompress(nil, packed, limit)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, want)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4*limit))
	}
}

// Whatever comes: no panic, never more than the limit, and what the standard library makes of it.
func FuzzDecompress(f *testing.F) {
	c := gzip.New()
	packed, err := c.AppendCompress(nil, []byte(strings.Repeat("some text, ", 20)))
	require.NoError(f, err)
	f.Add(packed, uint16(1000))
	f.Add(packed, uint16(20))
	f.Add(append(bytes.Clone(packed), packed...), uint16(1000))
	f.Add(packed[:20], uint16(1000))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, src []byte, limit uint16) {
		back, err := c.AppendDecompress([]byte("x"), src, int(limit))
		var want []byte
		r, wantErr := stdgzip.NewReader(bytes.NewReader(src))
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(r, int64(limit)+1))
		}
		switch {
		case wantErr != nil:
			require.Error(t, err, "%v", wantErr)
		case len(want) > int(limit):
			require.ErrorIs(t, err, rpc.ErrTooLong)
		default:
			require.NoError(t, err)
			require.Equal(t, "x"+string(want), string(back))
		}
	})
}
