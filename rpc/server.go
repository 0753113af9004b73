package rpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/transport"
)

const (
	// endGrace is how long the status of a call whose time is up may wait for a peer
	// that does not read. Then the stream is reset.
	endGrace = time.Second
	// maxStatusMessage bounds the text of an error on the wire, in bytes, and maxTrailer the trailers,
	// so that END stays below maxEnvelope. Details that do not fit are left out.
	maxStatusMessage = 8 << 10
	maxTrailer       = 32 << 10
)

var (
	errNoCall  = errors.New("context is not of a call's handler")
	errTooLate = errors.New("the header has been sent")

	errReturned = &Error{code: FailedPrecondition, Message: "handler has returned"}
)

// A serverCall is a call on the side that serves it.
type serverCall struct {
	mux         *Mux
	str         *transport.Stream
	ctx         callContext     // the handler's
	call        *Call           // what the interceptors have; nil if there are none
	within      context.Context // what an interceptor has made of ctx; nil if none has
	method      *served         // nil until HEAD has been read
	format      *format
	timeout     time.Duration // 0: none
	deadline    time.Time     // the zero time: none
	metadata    Metadata
	previous    uint32       // attempts of the caller's
	compression *compression // nil: the caller says nothing of it
	dispatched  bool         // the handler has been called, or is about to be
	out         outbox
	cut         atomic.Bool // the deadline has cut a message in its midst: nothing may follow it
	began       time.Time   // if somebody observes
	in, sent    atomic.Int64
	size        int      // of the newest message of the request, in bytes
	holds       [3]int   // of the request of one message, or the newest compressed one, of the answer, and of the metadata: what the stream holds
	cursors     *cursors // of a resumable method; else nil

	sending, receiving gate // for goroutines of the handler's, which may outlive it

	mu         sync.Mutex // guards what follows
	header     Metadata
	trailer    Metadata
	headerSent bool
}

// run serves the call to its end, which is an answer unless the caller is gone. Also a panic
// of the handler ends here, and its runtime.Goexit passes through.
func (c *serverCall) run(parent context.Context) {
	if c.mux.cfg.Observe != nil {
		c.began = time.Now()
	}
	c.str.BoundBuffers()
	if err := c.readHead(); err != nil {
		c.finish(nil, err)
		return
	}
	c.ctx.call, c.ctx.parent = c, parent
	if c.timeout > 0 {
		c.deadline = time.Now().Add(c.timeout)
		c.str.SetWriteDeadline(c.deadline)
	}
	c.str.SetReadDeadline(c.deadline)

	var buf *buffer
	var err error
	returned := false
	defer func() {
		if !returned {
			buf, err = nil, c.panicked(recover())
		}
		c.sending.close() // nothing follows the status, or keeps it waiting, but a Send that is under way
		c.finish(buf, err)
		c.str.CancelRead(transport.StreamNoError)
		c.receiving.close() // what a Recv reads into will be another stream's
		c.unhold()
		c.ctx.end()
	}()
	buf, err = c.serve()
	returned = true
}

// readHead reads HEAD and finds the method.
func (c *serverCall) readHead() error {
	if most := c.mux.cfg.HeadTimeout; most > 0 {
		c.str.SetReadTimeout(most)
	}
	t, body, err := c.str.ReadFrame(c.limit)
	switch {
	case errors.Is(err, io.EOF):
		return Errorf(InvalidArgument, "request without HEAD")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Errorf(DeadlineExceeded, "HEAD did not arrive within %v", c.mux.cfg.HeadTimeout)
	case err != nil:
		return c.requestError(err)
	case t != frameHead:
		return Errorf(InvalidArgument, "request does not begin with HEAD")
	}
	h, err := decodeHead(body)
	if errors.Is(err, errTooManyFields) {
		return Errorf(ResourceExhausted, "%w", err)
	}
	if err != nil || h.metadata.check() != nil {
		return Errorf(InvalidArgument, "malformed HEAD")
	}
	method := c.mux.lookup(h.method)
	if method == nil {
		if !validMethod(string(h.method)) {
			return Errorf(InvalidArgument, "invalid method name")
		}
		return Errorf(Unimplemented, "unknown method %s", h.method)
	}
	c.method = method
	if c.format = c.mux.formatNamed(h.codec); c.format == nil {
		return Errorf(Unimplemented, "unknown codec %q", clip(string(h.codec)))
	}
	c.timeout, c.metadata, c.previous = fromMicros(h.timeout), h.metadata, h.attempts
	if err := c.agree(&h); err != nil {
		return err
	}
	if err := c.beginAt(&h); err != nil {
		return err
	}
	return c.hold(2, h.metadata.memory())
}

func (c *serverCall) limit(t transport.FrameType) (uint64, bool) {
	switch t {
	case frameHead:
		return uint64(c.mux.cfg.MaxMetadata), true
	case frameData:
		return uint64(c.mux.cfg.MaxMessage), true
	case frameCompressed:
		return uint64(c.mux.cfg.MaxMessage), c.decompressor() != nil
	}
	return 0, false
}

// serve runs the call, and encodes its answer.
func (c *serverCall) serve() (*buffer, error) {
	if len(c.mux.cfg.Interceptors) > 0 {
		return c.intercept()
	}
	return c.handle(&c.ctx)
}

// handle asks whether the call may run, runs it, and encodes its answer.
func (c *serverCall) handle(ctx context.Context) (*buffer, error) {
	if authorize := c.mux.cfg.Authorize; authorize != nil {
		if err := authorize(ctx, c.describe()); err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				c.log().Info("call refused", "err", err)
				err = Errorf(PermissionDenied, "not allowed to call %s", c.method.name)
			}
			return nil, err
		}
	}
	if q := c.mux.queue; q != nil {
		if err := q.enter(ctx, c.str); err != nil {
			return nil, err
		}
		defer q.leave(c.str.Session())
	}
	res, err := c.method.serve(ctx, c)
	if err != nil || res == nil {
		return nil, err
	}
	var h ownHead
	if c.call == nil { // else an interceptor may add to it still
		h = c.takeHeader()
	}
	buf, err := c.encode(res, "", h, c.compressor())
	if err != nil {
		return nil, err
	}
	if err := c.hold(1, len(buf.bytes())); err != nil {
		buf.free()
		return nil, err
	}
	return buf, nil
}

// hold counts n bytes as held until unhold.
func (c *serverCall) hold(what, n int) error {
	if err := hold(c.str, &c.holds[what], n); err != nil {
		return buffersFull(err)
	}
	return nil
}

func (c *serverCall) unhold() {
	for _, n := range c.holds {
		c.str.Unhold(n)
	}
}

// buffersFull is what transport.ErrBuffersFull means for a call.
func buffersFull(err error) error { return Errorf(ResourceExhausted, "server is busy: %w", err) }

func (c *serverCall) describe() Call {
	return Call{
		Method: c.method.name, Kind: c.method.info.Kind, Codec: c.format.name,
		Peer: c.str.Session().Peer(), Metadata: c.metadata, Cursor: c.cursors.begin(),
		PreviousAttempts: int(c.previous),
	}
}

// request receives the one message of a request, and marks the call as started.
func (c *serverCall) request(m any) error {
	lend := c.method.lends
	switch err := c.recv(m, lend); {
	case errors.Is(err, io.EOF):
		return Errorf(InvalidArgument, "request without a message")
	case err != nil:
		return err
	}
	if !lend || c.holds[0] > 0 { // else the stream has it, and counts it
		if err := c.hold(0, c.size); err != nil { // until the handler has returned
			return err
		}
	}
	// The handler starts on the message, not on the FIN. But what has come together with
	// the message is looked at: a deadline in the past means not to wait.
	c.str.SetReadDeadline(time.Unix(1, 0))
	more, err := true, error(nil)
	if lend {
		more, err = c.str.More()
	}
	if more {
		if lend {
			keepOwn(*c.format, m) // the next frame comes where it is
		}
		_, _, err = c.str.ReadFrame(c.limit)
	}
	switch {
	case err == nil || isFrameError(err):
		return Errorf(InvalidArgument, "request with more than one message")
	case !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded):
		return c.gone(err) // canceled before it began
	}
	c.dispatched = true
	return nil
}

// recv receives one message, or io.EOF. With lend m may share memory with the stream until the next recv,
// and has been used before.
func (c *serverCall) recv(m any, lend bool) error {
	if !c.receiving.enter() {
		return errReturned
	}
	defer c.receiving.leave()
	if lend {
		clearUsed(*c.format, m)
	}
	var t transport.FrameType
	var body []byte
	var own bool
	var err error
	if c.holds[0] > 0 { // of a compressed message
		_ = c.hold(0, 0)
	}
	if !lend && c.decompressor() == nil {
		t, body, own, err = c.str.ReadOwnFrame(c.limit, func() bool { return keeps(*c.format, m) })
	} else {
		t, body, err = c.str.ReadFrame(c.limit)
	}
	if err != nil {
		return c.requestError(err)
	}
	switch t {
	case frameData:
		c.size = len(body)
		err = decode(body, own || lend, *c.format, m, true)
	case frameCompressed:
		c.size, err = decodeCompressed(c.str, &c.holds[0], c.decompressor(), body, c.mux.cfg.MaxMessage, *c.format, m, true)
	default:
		return Errorf(InvalidArgument, "misplaced HEAD")
	}
	c.out.received()
	c.in.Add(int64(c.size))
	switch {
	case errors.Is(err, ErrTooLong):
		return Errorf(ResourceExhausted, "request: %w", err)
	case errors.Is(err, transport.ErrBuffersFull):
		return buffersFull(err)
	case err != nil:
		return Errorf(InvalidArgument, "malformed request: %w", err)
	}
	return c.call.sees(m, c.size, true)
}

// requestError says why the request could not be read.
func (c *serverCall) requestError(err error) error {
	if e, ok := errors.AsType[*transport.FrameTooLargeError](err); ok {
		return Errorf(ResourceExhausted, "request: %w", e)
	}
	if isFrameError(err) {
		return Errorf(InvalidArgument, "malformed request: %w", err)
	}
	if errors.Is(err, transport.ErrBuffersFull) {
		return buffersFull(err)
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return c.gone(err)
}

// isFrameError says whether the caller broke the rules of frames.
func isFrameError(err error) bool {
	_, unknown := errors.AsType[*transport.UnknownFrameError](err)
	_, tooLarge := errors.AsType[*transport.FrameTooLargeError](err)
	return unknown || tooLarge || errors.Is(err, io.ErrUnexpectedEOF)
}

// gone says why reading or writing failed.
func (c *serverCall) gone(err error) error {
	if cause := c.ctx.cause(); cause != nil {
		return cause
	}
	if c.within != nil && c.within.Err() != nil {
		return context.Cause(c.within)
	}
	if e, ok := errors.AsType[*transport.StreamError](err); ok && !e.Remote {
		return Errorf(FailedPrecondition, "receive after Close")
	}
	return canceled(err)
}

// encode puts the frame of message m, compressed with z unless that is nil, behind h if that says anything, which has
// been taken, and behind cursor if there is one, into a buffer.
func (c *serverCall) encode(m any, cursor string, h ownHead, z Compressor) (_ *buffer, err error) {
	room := transport.MaxFrameHeader
	if cursor != "" {
		room += transport.MaxFrameHeader + len(cursor)
	}
	if !h.empty() {
		room += transport.MaxFrameHeader + h.maxSize()
	}
	buf := newBuffer(room)
	defer func() {
		if err != nil {
			c.untakeHeader(h)
			buf.free()
		}
	}()
	b, err := encode(buf.b, *c.format, m)
	if err != nil {
		c.log().Error("response cannot be encoded", "codec", c.format.name, "err", err)
		return nil, &Error{code: Internal, Message: "response cannot be encoded", Err: err}
	}
	buf.b = b
	if n := len(b) - room; n > c.mux.cfg.MaxMessage {
		return nil, Errorf(ResourceExhausted, "response of %d bytes, limit is %d", n, c.mux.cfg.MaxMessage)
	}
	if err := c.call.sees(m, len(b)-room, false); err != nil {
		return nil, err
	}
	buf, t, err := compress(z, c.mux.cfg.CompressMin, buf, room)
	if err != nil {
		c.log().Error("response cannot be compressed", "err", err)
		return nil, &Error{code: Internal, Message: "response cannot be compressed", Err: err}
	}
	c.sent.Add(int64(len(b) - room))
	buf.prepend(t)
	if cursor != "" {
		buf.prependFrame(frameCursor, cursor)
	}
	if c.method.info.answersOnce() {
		if t == frameCompressed {
			c.compression.packed = true
		} else {
			h.compression = "" // nothing is
		}
	}
	if !h.empty() {
		buf.prependHead(&h)
	}
	return buf, nil
}

// send sends one message, with plain uncompressed.
func (c *serverCall) send(m any, plain bool) error {
	if c.cursors != nil {
		return Errorf(Internal, "message of a resumable stream without a cursor")
	}
	return c.write(m, "", plain)
}

// write sends one message, with its cursor if there is one.
func (c *serverCall) write(m any, cursor string, plain bool) error {
	if !c.sending.enter() {
		return errReturned
	}
	defer c.sending.leave()
	z := c.compressor()
	if plain {
		z = nil
	}
	buf, err := c.encode(m, cursor, c.takeHeader(), z)
	if err != nil {
		return err
	}
	size := len(buf.bytes())
	if err := c.str.Hold(size); err != nil { // while the peer lets it wait
		buf.free()
		return buffersFull(err)
	}
	n, err := c.out.write(c.str, buf)
	c.str.Unhold(size)
	buf.free()
	return c.written(n, err)
}

// written turns an error of the stream, which had taken n bytes, into that of the call.
func (c *serverCall) written(n int, err error) error {
	if err == nil {
		return nil
	}
	if n > 0 {
		c.cut.Store(true)
	}
	return c.gone(err)
}

// finish sends the status, in one write with the frames in buf if there are any.
func (c *serverCall) finish(buf *buffer, err error) {
	// What is still being written must not be missing under a status that says OK.
	if unsent := c.written(c.out.wait()); err == nil {
		err = unsent
	}
	if c.cut.Load() { // the caller would take END for the rest of the message
		if buf != nil {
			buf.free()
		}
		c.str.Cancel(transport.StreamDeadline)
		code := Canceled
		if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
			code = DeadlineExceeded
		}
		c.observe(code)
		return
	}
	h := c.takeHeader()
	if z := c.compression; z != nil {
		if buf == nil || !z.packed {
			h.compression = "" // no compressed message follows
		}
		if z.refused {
			h.accept = c.mux.cfg.Compressors
		}
	}
	if buf == nil || !h.empty() {
		answer := buf
		buf = newBuffer(transport.MaxFrameHeader + h.maxSize())
		if !h.empty() {
			buf.prependHead(&h)
		}
		if answer != nil {
			buf.b = append(buf.b, answer.bytes()...)
			answer.free()
		}
	}
	status := c.status(err)
	body, encodeErr := encodeEnd(&status)
	if encodeErr != nil || len(body) > maxEnvelope {
		c.log().Error("details of an error cannot be sent", "bytes", len(body), "err", encodeErr)
		status.details = nil
		body, _ = encodeEnd(&status) // only details can fail
	}
	buf.b = transport.AppendFrame(buf.b, frameEnd, body)
	if !c.deadline.IsZero() {
		c.str.SetWriteDeadline(time.Now().Add(endGrace))
	}
	_, err = c.str.Write(buf.bytes())
	buf.free()
	if err != nil { // nobody is there to be told
		code := transport.StreamCanceled
		if errors.Is(err, os.ErrDeadlineExceeded) {
			code = transport.StreamDeadline
		}
		c.str.Cancel(code)
		c.observe(CodeOf(canceled(err)))
		return
	}
	_ = c.str.Close() // fails only on a half that has been reset
	c.observe(status.code)
}

// status turns what the handler returned, or why it was not called, into END.
func (c *serverCall) status(err error) end {
	c.mu.Lock()
	trailer := c.trailer
	c.mu.Unlock()
	if err == nil {
		return end{trailers: trailer}
	}
	execution := uint64(wireNotStarted)
	if c.dispatched {
		execution = wireRan
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		switch code := CodeOf(err); code {
		case Canceled:
			e = Errorf(code, "call canceled")
		case DeadlineExceeded:
			e = Errorf(code, "deadline of the call has passed")
		default:
			c.log().Error("handler failed", "err", err)
			e = Errorf(Unknown, "unknown error")
		}
	}
	return end{
		code:      e.Code(),
		message:   safeText(e.Message),
		details:   e.Details,
		trailers:  trailer,
		execution: execution,
		retry:     toMillis(e.RetryAfter),
	}
}

// safeText makes text fit for END.
func safeText(s string) string {
	if len(s) > maxStatusMessage {
		s = s[:maxStatusMessage]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// log returns a logger that says whose call it is. It is made for each line, because there are few.
func (c *serverCall) log() *slog.Logger {
	s := c.str.Session()
	return c.mux.log.With("session", s.ID(), "identity", s.Identity(), "method", c.name())
}

func (c *serverCall) name() string {
	if c.method == nil {
		return ""
	}
	return c.method.name
}

// What follows is the rest of endpoint.

func (c *serverCall) closeSend() error              { return nil }
func (c *serverCall) readHeader() (Metadata, error) { return c.metadata, nil }
func (c *serverCall) readTrailer() Metadata         { return nil }
func (c *serverCall) close()                        { c.str.CancelRead(transport.StreamNoError) }
