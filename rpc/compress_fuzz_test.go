package rpc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Whatever comes in a compressed frame: it fails its call, with a status that says so, or it is what the compressor
// makes of it; and the session goes on.
func FuzzCompressedFramesInACall(f *testing.F) {
	const limit = 64 << 10
	all := compressors()
	e := newEcho(rpc.Config{Compressors: all, MaxMessage: limit})
	client, _ := startUDP(f, handlers(e.mux))
	short := []byte(`{"text":"hi"}`)
	for zstd := range 2 {
		packed := pack(f, all[zstd], short)
		f.Add(packed, zstd == 1, true, true)
		f.Add(packed[:len(packed)-1], zstd == 1, false, true)
		f.Add(packed, zstd == 0, false, true)
		f.Add(packed, zstd == 1, true, false)
		f.Add(pack(f, all[zstd], make([]byte, limit+1)), zstd == 1, false, true)
		f.Add([]byte{}, zstd == 1, true, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, zstd, stream, announced bool) {
		if len(body) > limit {
			return
		}
		z, method := all[0], octets.Name()
		if zstd {
			z = all[1]
		}
		if stream {
			method = chat.Name()
		}
		name := ""
		if announced {
			name = z.Name()
		}
		request := transport.AppendFrame(compressedHead(method, name, "gzip"), 0x07, body)
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		if _, err := str.Write(request); err == nil { // else the answer came early
			_ = str.Close()
		}
		frames := readFrames(t, str)
		status := []byte(frames[len(frames)-1])
		require.Equal(t, byte(0x05), status[0])
		want, err := z.AppendDecompress(nil, body, limit)
		switch {
		case len(status) == 1:
			require.True(t, announced)
			require.NoError(t, err)
			if !stream { // there the codec has made a message of it
				require.Equal(t, "\x03"+string(want), frames[len(frames)-2])
			}
		case status[2] == byte(rpc.ResourceExhausted):
			require.True(t, announced)
			require.ErrorIs(t, err, rpc.ErrTooLong)
		default:
			require.Equal(t, byte(rpc.InvalidArgument), status[2])
			require.True(t, err != nil || stream || !announced, "it was right")
		}
		raw := rpc.Raw("and now")
		_, err = octets.Call(t.Context(), client, &raw)
		require.NoError(t, err)
	})
}
