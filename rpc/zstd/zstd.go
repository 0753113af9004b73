// Package zstd compresses the messages of calls with Zstandard (RFC 8878), by github.com/klauspost/compress.
//
//	mux := rpc.NewMux(rpc.Config{Compressors: []rpc.Compressor{zstd.New()}})
//	res, err := Say.Call(ctx, session, req, rpc.WithCompression(zstd.New()))
package zstd

import (
	"errors"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/trunkline-go/trunkline/rpc"
)

// maxWindow is the largest window of a frame that is decompressed: what RFC 8878 asks every decoder to support and
// RFC 9659 every sender to keep to, where HTTP uses it.
const maxWindow = 8 << 20

// window is how far back the encoder looks, in bytes. It bounds what an encoder keeps; by default that is four times as much.
const window = 1 << 20

// A Compressor is an [rpc.Compressor]. Use one for all calls: it keeps what compressing takes, up to 1.5 MB for each
// processor, and for decompressing the newest message of each.
type Compressor struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// New returns a Compressor with the name "zstd".
func New() *Compressor {
	// Both fail only for options that there are not.
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(window),
		zstd.WithEncoderCRC(false), // QUIC has seen to that
		zstd.WithLowerEncoderMem(true),
	)
	if err != nil {
		panic(err)
	}
	decoder, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0), // as many as there are processors
		zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecodeAllCapLimit(true),
	)
	if err != nil {
		panic(err)
	}
	return &Compressor{encoder, decoder}
}

// Name implements [rpc.Compressor].
func (c *Compressor) Name() string { return "zstd" }

// AppendCompress implements [rpc.Compressor].
func (c *Compressor) AppendCompress(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst), nil
}

// AppendDecompress implements [rpc.Compressor]. As RFC 8878 says, src is one frame or more. It must not have a window
// of more than 8 MiB, nor ask for a dictionary.
func (c *Compressor) AppendDecompress(dst, src []byte, limit int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return nil, err
	}
	if h.HasFCS && h.FrameContentSize > uint64(limit) {
		return nil, rpc.ErrTooLong
	}
	if h.WindowSize > maxWindow { // the decoder refuses it too, but after the memory has been taken
		return nil, zstd.ErrWindowSizeExceeded
	}
	room := limit
	if h.HasFCS {
		room = int(h.FrameContentSize)
	}
	b, err := c.decompress(dst, src, room)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) && room < limit { // the first frame is not all
		b, err = c.decompress(dst, src, limit)
	}
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, rpc.ErrTooLong
	}
	return b, err
}

// decompress is AppendDecompress, but takes room bytes at once.
func (c *Compressor) decompress(dst, src []byte, room int) ([]byte, error) {
	n := len(dst)
	dst = slices.Grow(dst, room)
	b, err := c.decoder.DecodeAll(src, dst[n:n:n+room]) // which goes no further than the capacity
	if err != nil {
		return nil, err
	}
	return append(dst, b...), nil // where it is already
}
