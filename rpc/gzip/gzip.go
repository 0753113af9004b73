// Package gzip compresses the messages of calls with gzip (RFC 1952), by the standard library. Package zstd is faster
// and makes them shorter; gzip is what everything has.
//
//	mux := rpc.NewMux(rpc.Config{Compressors: []rpc.Compressor{gzip.New()}})
//	res, err := Say.Call(ctx, session, req, rpc.WithCompression(gzip.New()))
package gzip

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/trunkline-go/trunkline/rpc"
)

// level is the fastest there is. Of 16 KiB of this project's prose it leaves 0.44 in 0.21 ms; the default level leaves 0.39,
// in 0.83 ms.
const level = gzip.BestSpeed

// A Compressor is an [rpc.Compressor]. Use one for all calls: it keeps what compressing takes (1.3 MB) and
// decompressing (50 KB), of either at most as much at once as there are processors.
type Compressor struct {
	writing, reading chan struct{} // who is at it; there is no gain in more than can run
	writers, readers sync.Pool
}

// New returns a Compressor with the name "gzip".
func New() *Compressor {
	n := runtime.GOMAXPROCS(0)
	return &Compressor{writing: make(chan struct{}, n), reading: make(chan struct{}, n)}
}

// Name implements [rpc.Compressor].
func (c *Compressor) Name() string { return "gzip" }

// A writer compresses into out.
type writer struct {
	gzip *gzip.Writer
	out  []byte
}

func (w *writer) Write(p []byte) (int, error) {
	w.out = append(w.out, p...)
	return len(p), nil
}

// AppendCompress implements [rpc.Compressor].
func (c *Compressor) AppendCompress(dst, src []byte) ([]byte, error) {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	w, _ := c.writers.Get().(*writer)
	if w == nil {
		w = new(writer)
		w.gzip, _ = gzip.NewWriterLevel(w, level) // fails only for a level that there is not
	} else {
		w.gzip.Reset(w)
	}
	w.out = dst
	_, err := w.gzip.Write(src)
	err = errors.Join(err, w.gzip.Close())
	dst, w.out = w.out, nil
	c.writers.Put(w)
	return dst, err
}

// A reader decompresses what is in in.
type reader struct {
	in   bytes.Reader
	gzip gzip.Reader
}

// AppendDecompress implements [rpc.Compressor]. As RFC 1952 says, src is one member or more.
func (c *Compressor) AppendDecompress(dst, src []byte, limit int) ([]byte, error) {
	c.reading <- struct{}{}
	defer func() { <-c.reading }()
	r, _ := c.readers.Get().(*reader)
	if r == nil {
		r = new(reader)
	}
	defer func() {
		r.in.Reset(nil)
		c.readers.Put(r)
	}()
	r.in.Reset(src)
	if err := r.gzip.Reset(&r.in); err != nil {
		return nil, err
	}
	start := len(dst)
	// One byte more than the limit tells that there is more, and one more than the length that there is not.
	most := start + limit + 1
	dst = grow(dst, min(declared(src), limit)+1)
	for {
		if len(dst) == cap(dst) {
			dst = grow(dst, min(max(1, len(dst)-start), most-len(dst)))
		}
		n, err := r.gzip.Read(dst[len(dst):min(cap(dst), most)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) == most:
			return nil, rpc.ErrTooLong
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return nil, err
		}
	}
}

// grow makes room for n bytes more, and not, as append does, for some beyond.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	grown := make([]byte, len(b), len(b)+n)
	copy(grown, b)
	return grown
}

// declared returns the length that src ends with, which is right for an honest peer's single member.
func declared(src []byte) int {
	if len(src) < 4 {
		return 0
	}
	return int(min(binary.LittleEndian.Uint32(src[len(src)-4:]), 1<<30))
}
