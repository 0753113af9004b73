package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/trunkline-go/trunkline/transport"
)

// A Compressor compresses the messages of calls; packages gzip and zstd have one each. A caller uses it with
// [WithCompression] or [WithAcceptCompression], and a [Mux] has those of [Config.Compressors]. It is used from many
// goroutines at once.
//
// Nothing is compressed unless both sides say so, because the length of what is compressed tells of its contents: who
// sees the packets, and can have text of his own put beside a secret, finds the secret out (CRIME, BREACH). A handler of
// such messages calls [Uncompressed].
type Compressor interface {
	// Name is the compression's name on the wire: 1 to 255 bytes of a-z, 0-9, '-', '_' and '.'.
	Name() string

	// AppendCompress appends the compressed form of src to dst.
	AppendCompress(dst, src []byte) ([]byte, error)

	// AppendDecompress appends to dst what src is the compressed form of. If that is more than limit bytes, the
	// error is [ErrTooLong]; and it is found out without taking more memory for it than so many, whatever src declares.
	// src comes from the peer, and may be anything.
	AppendDecompress(dst, src []byte, limit int) ([]byte, error)
}

// ErrTooLong is what a [Compressor] returns for a message that decompressed is longer than the limit.
var ErrTooLong = errors.New("rpc: decompressed message is longer than the limit")

// defaultCompressMin is the default of [Config.CompressMin] and [WithCompressMin]. Of 1 KiB of prose gzip and zstd leave 0.61, of
// 512 bytes 0.66 (BenchmarkCompress): what is shorter saves a fraction of one packet at most, and takes as long to compress as
// half a call does.
const defaultCompressMin = 1 << 10

// leastOf resolves a user's number: 0 is the default, and a negative one means every message.
func leastOf(n int) int {
	if n == 0 {
		return defaultCompressMin
	}
	return max(n, 0)
}

// compress replaces the message in buf, behind room bytes, by its compressed form if it has at least so many bytes
// and that is shorter. It returns the buffer to go on with, and the type of the frame.
func compress(c Compressor, least int, buf *buffer, room int) (*buffer, transport.FrameType, error) {
	if c == nil || len(buf.b)-room < least {
		return buf, frameData, nil
	}
	out := newBuffer(room)
	b, err := c.AppendCompress(out.b, buf.b[room:])
	if err != nil {
		out.free()
		return buf, frameData, fmt.Errorf("compress with %s: %w", c.Name(), err)
	}
	out.b = b
	if len(b) >= len(buf.b) {
		out.free()
		return buf, frameData, nil
	}
	buf.free()
	return out, frameCompressed, nil
}

// How long a message is shows only when it is decompressed; what it declares is the peer's word. So it is given
// room in steps, each counted before it is taken: first the larger of these two, and then four times as much
// each time, up to the limit. Of text, gzip and zstd make an eighth or more.
const (
	firstRoom  = 4 << 10
	roomFactor = 8
)

// decompress appends to dst the message of at most limit bytes that body is the compressed form of. What it takes is
// held on the stream, also when it fails, and *held says how much.
func decompress(str *transport.Stream, held *int, c Compressor, dst, body []byte, limit int) ([]byte, error) {
	room := limit
	if len(body) < limit/roomFactor {
		room = min(limit, max(firstRoom, roomFactor*len(body)))
	}
	for {
		if err := hold(str, held, room); err != nil {
			return nil, err
		}
		b, err := c.AppendDecompress(dst, body, room)
		switch {
		case err == nil && len(b)-len(dst) <= room:
			return b, hold(str, held, len(b)-len(dst))
		case err != nil && !errors.Is(err, ErrTooLong):
			return nil, fmt.Errorf("decompress with %s: %w", c.Name(), notEOF(err))
		case room == limit:
			return nil, fmt.Errorf("%w of %d bytes", ErrTooLong, limit)
		}
		if room >= limit/4 {
			room = limit
		} else {
			room *= 4
		}
	}
}

// hold makes what the stream holds n bytes, where it has been *held.
func hold(str *transport.Stream, held *int, n int) error {
	str.Unhold(*held)
	*held = 0
	if err := str.Hold(n); err != nil {
		return err
	}
	*held = n
	return nil
}

// decodeCompressed sets m to the message that body is the compressed form of, and returns its length. For what it
// holds see decompress.
func decodeCompressed(str *transport.Stream, held *int, c Compressor, body []byte, limit int, f format, m any, strict bool) (int, error) {
	if keeps(f, m) {
		b, err := decompress(str, held, c, nil, body, limit)
		if err != nil {
			return 0, err
		}
		return len(b), decode(b, true, f, m, strict)
	}
	buf := newBuffer(0)
	defer buf.free()
	b, err := decompress(str, held, c, buf.b, body, limit)
	if err != nil {
		return 0, err
	}
	buf.b = b
	return len(b), decode(b, false, f, m, strict)
}

// notEOF keeps a message that ends too early from looking like the end of a stream of them.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// named returns the Compressor of that name, or nil.
func named(all []Compressor, name []byte) Compressor {
	i := slices.IndexFunc(all, func(c Compressor) bool { return c.Name() == string(name) })
	if i < 0 {
		return nil
	}
	return all[i]
}

// names returns the names as text.
func names(all []Compressor) string {
	var out []string
	for _, c := range all {
		out = append(out, c.Name())
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// A compression is what the caller and the Mux agree on, for the side that serves a call.
type compression struct {
	in      Compressor  // of compressed requests; nil if there may be none
	out     Compressor  // of answers; nil if they are not compressed
	plain   atomic.Bool // the handler wants no more of them compressed
	packed  bool        // the one answer of a call is
	refused bool        // the request's compression is not known, and the caller is told what is
}

// agree looks at what HEAD says of compression.
func (c *serverCall) agree(h *head) error {
	if len(h.compression) == 0 && h.body == nil {
		return nil
	}
	all := c.mux.cfg.Compressors
	z := &compression{in: named(all, h.compression)}
	c.compression = z
	if len(h.compression) > 0 && z.in == nil {
		z.refused = true
		return Errorf(Unimplemented, "unknown compression %q, accepted: %s", clip(string(h.compression)), names(all))
	}
	if i := slices.IndexFunc(all, func(c Compressor) bool { return h.accepts(c.Name()) }); i >= 0 {
		z.out = all[i]
	}
	return nil
}

// compressor returns what an answer is compressed with, or nil.
func (c *serverCall) compressor() Compressor {
	if z := c.compression; z != nil && !z.plain.Load() {
		return z.out
	}
	return nil
}

// decompressor returns what compressed requests are decompressed with, or nil.
func (c *serverCall) decompressor() Compressor {
	if z := c.compression; z != nil {
		return z.in
	}
	return nil
}

// Uncompressed has all that the handler sends from now on go uncompressed, in the call that ctx serves: it has a secret
// beside what others may choose, say. It fails when ctx serves no call. For single messages of a stream there is
// [Sender.SendUncompressed].
func Uncompressed(ctx context.Context) error {
	c := callFrom(ctx)
	if c == nil {
		return errNoCall
	}
	if z := c.compression; z != nil {
		z.plain.Store(true)
	}
	return nil
}
