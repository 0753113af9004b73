package rpc

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/transport"
)

// A Conn is where calls go to: a [*transport.Session], on either of its sides, or a [*Client]. OpenStream may be called more
// than once for a call, see the package documentation.
type Conn interface {
	OpenStream(ctx context.Context, t transport.StreamType) (*transport.Stream, error)
}

// defaultMaxMessage is the default of [Config.MaxMessage] and [WithMaxMessage].
const defaultMaxMessage = 4 << 20

// limitOf resolves a user's limit in bytes: 0 is the default, and a negative one none.
func limitOf(n, byDefault int) int {
	if n < 0 {
		return math.MaxInt
	}
	return cmp.Or(n, byDefault)
}

// finGrace is how long a caller waits for FIN behind the status, so that nobody has to be asked to stop sending.
const finGrace = time.Second

// A clientCall is a call on the side that makes it.
type clientCall struct {
	ctx    context.Context
	conn   Conn    // not a Client
	client *Client // whose call it is; nil if it was made on a bare conn
	str    *transport.Stream
	call   *Call        // what the interceptors have; nil if there are none
	chain  *streamChain // of a call whose user receives, once it has begun; nil if there are no interceptors
	stop   func() bool  // ends the watch over ctx; nil if there is none
	method string
	opts   callOptions

	into       bool   // the answer goes into a message that has been used; see CallInto
	resumable  bool   // the method is: every message comes with a cursor
	idempotent bool   // the method is
	previous   uint32 // attempts

	closed atomic.Bool // by the user

	// Of the goroutine that receives:
	header  Metadata
	trailer Metadata
	begun   bool // a frame has come
	held    bool // body is the first message, read by Header and not yet received
	own     bool // body is the message's own
	body    []byte
	size    int        // of the newest message, as the codec encodes it
	next    []byte     // the cursor of the message that comes next, or is held; in a call of a resumable method
	z       Compressor // of compressed answers; nil before HEAD has named one
	packed  bool       // body is compressed
	err     error      // set when the call has ended: io.EOF or an *Error

	// writing makes writers take turns. It is held across writes, and so only by those who
	// write: whoever receives just tries it, to send the HEAD.
	writing    sync.Mutex
	sendClosed bool
	out        outbox
	headSent   atomic.Bool // HEAD, or some of it, has been written; set by writers
}

func (c *clientCall) init(ctx context.Context, m *method, conn Conn, opts []CallOption) *Error {
	c.ctx, c.conn, c.method, c.resumable, c.idempotent = ctx, conn, m.name, m.resumable, m.idempotent
	var defaults []CallOption
	if client, ok := conn.(*Client); ok {
		c.client, c.conn, defaults = client, client.conn, client.cfg.Options
	}
	if len(defaults)+len(opts) > 0 {
		c.opts = resolve(defaults, opts)
	}
	c.opts.format.name = cmp.Or(c.opts.format.name, m.codec)
	c.opts.maxMessage = limitOf(c.opts.maxMessage, defaultMaxMessage)
	if !m.valid {
		return Errorf(InvalidArgument, "invalid method name %q", clip(m.name)).notStarted()
	}
	if c.intercepted() {
		return nil // what they make of it is checked
	}
	return c.check()
}

// check says whether the call can be made.
func (c *clientCall) check() *Error {
	if !c.opts.format.valid() {
		return Errorf(InvalidArgument, "unknown codec %q", clip(c.opts.format.name)).notStarted()
	}
	if err := c.opts.metadata.checkOwn(); err != nil {
		return Errorf(InvalidArgument, "%w", err).notStarted()
	}
	for _, z := range c.opts.accept { // the requests' is among them
		if !validKey(z.Name()) {
			return Errorf(InvalidArgument, "invalid name of a compressor: %q", clip(z.Name())).notStarted()
		}
	}
	h := c.head()
	if c.opts.cursor != "" && !c.resumable {
		return Errorf(InvalidArgument, "method %s is not resumable", c.method).notStarted()
	}
	if n := len(c.opts.cursor); n > maxCursor {
		return Errorf(InvalidArgument, "cursor of %d bytes, limit is %d", n, maxCursor).notStarted()
	}
	if n := len(c.opts.metadata); n > maxFields {
		return Errorf(ResourceExhausted, "metadata of %d fields, limit is %d", n, maxFields).notStarted()
	}
	if n := h.maxSize(); n > maxEnvelope {
		return Errorf(ResourceExhausted, "metadata of about %d bytes, limit is %d", n, maxEnvelope).notStarted()
	}
	if c.ctx.Err() != nil {
		return c.contextError().notStarted()
	}
	return nil
}

// head returns the HEAD of the request, without its timeout.
func (c *clientCall) head() ownHead {
	h := ownHead{
		method: c.method, codec: c.opts.format.name, metadata: c.opts.metadata, accept: c.opts.accept,
		resumable: c.resumable, cursor: c.opts.cursor, attempts: c.previous,
	}
	if z := c.opts.compressor; z != nil {
		h.compression = z.Name()
	}
	return h
}

// open opens the stream. From here on the end of ctx ends it.
func (c *clientCall) open() *Error {
	str, err := c.conn.OpenStream(c.ctx, transport.StreamRPC)
	if err != nil {
		return c.openError(err).notStarted()
	}
	c.str = str
	str.BoundBuffers()
	if ctx := c.ctx; ctx.Done() != nil {
		c.stop = context.AfterFunc(ctx, func() { str.Cancel(codeForContext(ctx)) })
	}
	return nil
}

// codeForContext returns why a stream is reset whose call's context has ended.
func codeForContext(ctx context.Context) transport.StreamCode {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return transport.StreamDeadline
	}
	return transport.StreamCanceled
}

// encode puts the frame of message m, with plain uncompressed, into a buffer, with room for the HEAD before it.
func (c *clientCall) encode(m any, plain bool) (*buffer, *Error) {
	room := transport.MaxFrameHeader
	if !c.headSent.Load() {
		h := c.head()
		room += transport.MaxFrameHeader + h.maxSize()
	}
	buf := newBuffer(room)
	b, err := encode(buf.b, c.opts.format, m)
	if err != nil {
		buf.free()
		return nil, Errorf(InvalidArgument, "encode request: %w", err)
	}
	buf.b = b
	if n := len(b) - room; n > c.opts.maxMessage {
		buf.free()
		return nil, Errorf(ResourceExhausted, "request of %d bytes, limit is %d", n, c.opts.maxMessage)
	}
	if err := c.call.sees(m, len(b)-room, false); err != nil {
		buf.free()
		return nil, hookError(err)
	}
	t := frameData
	if z := c.opts.compressor; z != nil && !plain && (c.opts.plain == nil || !c.opts.plain(m)) {
		buf, t, err = compress(z, leastOf(c.opts.compressMin), buf, room)
		if err != nil {
			buf.free()
			return nil, Errorf(Internal, "request: %w", err)
		}
	}
	buf.prepend(t)
	return buf, nil
}

// write sends what is in buf, behind the HEAD if that has not gone out, and frees buf. The
// lock is held.
func (c *clientCall) write(buf *buffer) error {
	first := !c.headSent.Load()
	if first {
		if c.ctx.Err() != nil { // the stream is being reset, and some might have left before
			buf.free()
			return c.contextError().notStarted()
		}
		h := c.head()
		if deadline, ok := c.ctx.Deadline(); ok {
			h.timeout = toMicros(time.Until(deadline))
		}
		buf.prependHead(&h)
		c.headSent.Store(true)
	}
	n, err := c.out.write(c.str, buf)
	buf.free()
	if first && n == 0 && err != nil {
		c.headSent.Store(false) // nothing of the call has left
	}
	return c.written(err)
}

// written turns an error of the stream into that of the call.
func (c *clientCall) written(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*transport.StreamError](err); ok {
		if e.Remote || e.Code == transport.StreamNoError {
			return io.EOF // the call has ended, and its response tells how
		}
	}
	return c.fail(err)
}

// flush sends the HEAD alone, if it has not gone out with a message. The lock is held.
func (c *clientCall) flush() error {
	if c.headSent.Load() {
		return nil
	}
	h := c.head()
	return c.write(newBuffer(transport.MaxFrameHeader + h.maxSize()))
}

// send sends one message, with plain uncompressed.
func (c *clientCall) send(m any, plain bool) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.sendClosed {
		return Errorf(FailedPrecondition, "send after CloseSend")
	}
	buf, err := c.encode(m, plain)
	if err != nil {
		return err
	}
	return c.write(buf)
}

// closeSend ends the request.
func (c *clientCall) closeSend() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.sendClosed {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.sendClosed = true
	if _, err := c.out.wait(); err != nil {
		return c.written(err)
	}
	_ = c.str.Close() // fails only on a half that has been reset, and then receiving tells why
	return nil
}

// encodeOnce encodes a request that several calls like c will be made with, shows it to hooks, and has WithUncompressed
// decide, which would know nothing of its bytes.
func (c *clientCall) encodeOnce(req any, hooks *Call) (Raw, *Error) {
	msg, err := encode(nil, c.opts.format, req)
	if err != nil {
		return nil, Errorf(InvalidArgument, "encode request: %w", err).notStarted()
	}
	if err := hooks.sees(req, len(msg), false); err != nil {
		return nil, hookError(err).notStarted()
	}
	if plain := c.opts.plain; plain != nil && plain(req) {
		c.opts.compressor = nil
	}
	c.opts.plain = nil
	return msg, nil
}

// reset makes c a call that has not begun. Its stream is over, and stays until there is another.
func (c *clientCall) reset() { *c = c.again() }

// again returns a call like c that has not begun.
func (c *clientCall) again() clientCall {
	return clientCall{
		ctx: c.ctx, conn: c.conn, client: c.client, call: c.call, str: c.str, method: c.method, opts: c.opts,
		into: c.into, resumable: c.resumable, idempotent: c.idempotent, previous: c.previous,
	}
}

// resend calls send, which sends the first of an open call, and does so again on the next connection as long as
// this one has ended before anything left.
func (c *clientCall) resend(send func() error) error {
	for {
		err := send()
		if !again(err) {
			return err
		}
		_ = c.finish(err, transport.StreamCanceled)
		c.reset()
		if e := c.open(); e != nil {
			return e
		}
	}
}

// sendOnly sends a request of one message, on the next connection if this one ends before anything left.
// The message is then encoded again: what was encoded is kept for no longer than a write takes.
func (c *clientCall) sendOnly(m any) *Error {
	for {
		e := c.sendOnce(m)
		if e == nil || !e.again {
			return e
		}
		c.reset()
	}
}

// sendOnce sends HEAD, message and FIN together.
func (c *clientCall) sendOnce(m any) *Error {
	buf, e := c.encode(m, false)
	if e != nil {
		return e.notStarted()
	}
	if e := c.open(); e != nil {
		buf.free()
		return e
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.sendClosed = true
	if err := c.write(buf); err == nil {
		_ = c.str.Close()
	} else if !errors.Is(err, io.EOF) {
		e, _ = errors.AsType[*Error](err)
		_ = c.finish(e, transport.StreamCanceled)
		return e
	}
	return nil
}

// invoke makes a call of one message each way. It makes it on the next connection if the peer has rejected
// it because it goes away.
func (c *clientCall) invoke(req, res any) error {
	for {
		if err := c.sendOnly(req); err != nil {
			return err
		}
		if err := c.receiveOnly(res); !again(err) {
			return err
		}
		c.reset()
	}
}

// receiveOnly receives a response of one message.
func (c *clientCall) receiveOnly(res any) error {
	err := c.recv(res, false)
	answered := err == nil
	if answered {
		err = c.recv(nil, false)
	}
	if c.opts.header != nil {
		*c.opts.header = c.header
	}
	if c.opts.trailer != nil {
		*c.opts.trailer = c.trailer
	}
	switch {
	case !answered && errors.Is(err, io.EOF):
		return &Error{code: Internal, Message: "peer answered without a message", Execution: Ran, Remote: true}
	case err == nil:
		return c.finish(Errorf(Internal, "peer answered with more than one message"), transport.StreamCanceled)
	case errors.Is(err, io.EOF):
		return nil
	}
	return c.err
}

// recv receives the next message into m, unless m is nil. It returns io.EOF at the end of
// a call that succeeded, and an *Error at any other end. With lend m may share memory with the stream until the
// next recv, and has been used before.
func (c *clientCall) recv(m any, lend bool) error {
	if lend {
		clearUsed(c.opts.format, m)
	}
	keeper := m
	if lend || c.into {
		keeper = nil
	}
	if err := c.advance(keeper); err != nil {
		return err
	}
	c.held = false
	if m == nil {
		return nil
	}
	returned := false
	defer func() {
		if !returned { // the message's own code has panicked
			c.close()
		}
	}()
	err := c.decodeHeld(m, lend)
	returned = true
	return err
}

// decodeHeld decodes the message that is held into m.
func (c *clientCall) decodeHeld(m any, lend bool) error {
	c.size = len(c.body)
	var err error
	switch {
	case c.packed:
		if c.into {
			clearUsed(c.opts.format, m)
		}
		held := 0
		defer func() { c.str.Unhold(held) }()
		c.size, err = decodeCompressed(c.str, &held, c.z, c.body, c.opts.maxMessage, c.opts.format, m, false)
	case c.into:
		err = decodeInto(c.body, c.opts.format, m)
	default:
		err = decode(c.body, c.own || lend, c.opts.format, m, false)
	}
	switch {
	case errors.Is(err, ErrTooLong):
		return c.finish(Errorf(ResourceExhausted, "response: %w", err), transport.StreamTooLarge)
	case errors.Is(err, transport.ErrBuffersFull):
		return c.receiveError(err)
	case err != nil:
		return c.finish(Errorf(Internal, "decode response: %w", err), transport.StreamCanceled)
	}
	if err := c.call.sees(m, c.size, true); err != nil {
		return c.finish(hookError(err), transport.StreamCanceled)
	}
	return nil
}

// advance reads up to the next message, and holds it, in memory of its own where keeper, which it is for, may keep that; nil
// keeps nothing.
func (c *clientCall) advance(keeper any) error {
	if c.err != nil {
		return c.err
	}
	if c.closed.Load() { // what is buffered is not wanted any more
		c.release(transport.StreamCanceled) // first: whoever sends at the same time must not after it was NotStarted
		return c.finish(c.fail(errClosed), transport.StreamCanceled)
	}
	if c.held {
		return nil
	}
	if !c.headSent.Load() && c.writing.TryLock() { // whoever has it sends the HEAD
		err := c.flush()
		c.writing.Unlock()
		if err != nil && !errors.Is(err, io.EOF) {
			return c.finish(err, transport.StreamCanceled)
		}
	}
	for {
		t, body, own, err := c.readFrame(keeper)
		if err != nil {
			return c.receiveError(err)
		}
		begun := c.begun
		c.begun = true
		switch t {
		case frameHead:
			h, err := decodeHead(body)
			if err = cmp.Or(err, h.metadata.check()); err != nil || begun {
				return c.malformed("malformed or misplaced HEAD", err)
			}
			c.header = h.metadata
			if len(h.compression) > 0 {
				if c.z = named(c.opts.accept, h.compression); c.z == nil {
					return c.finish(Errorf(Internal, "peer compresses with %q, which was not accepted", clip(string(h.compression))), transport.StreamCanceled)
				}
			}
		case frameCursor:
			if len(body) == 0 || len(c.next) > 0 {
				return c.finish(Errorf(Internal, "peer sent a malformed or misplaced CURSOR"), transport.StreamCanceled)
			}
			c.next = append(c.next, body...)
		case frameData, frameCompressed:
			if c.resumable && len(c.next) == 0 {
				return c.finish(Errorf(Internal, "peer sent a message without a cursor"), transport.StreamCanceled)
			}
			c.held, c.body, c.own, c.packed = true, body, own, t == frameCompressed
			c.out.received()
			return nil
		case frameEnd:
			if len(c.next) > 0 {
				return c.finish(Errorf(Internal, "peer sent a CURSOR without a message"), transport.StreamCanceled)
			}
			return c.end(body)
		}
	}
}

func (c *clientCall) readFrame(keeper any) (t transport.FrameType, body []byte, own bool, err error) {
	if keeper != nil && c.z == nil {
		return c.str.ReadOwnFrame(c.limit, func() bool { return keeps(c.opts.format, keeper) })
	}
	t, body, err = c.str.ReadFrame(c.limit)
	return t, body, false, err
}

func (c *clientCall) limit(t transport.FrameType) (uint64, bool) {
	switch t {
	case frameData:
		return uint64(c.opts.maxMessage), true
	case frameCompressed:
		return uint64(c.opts.maxMessage), c.z != nil
	case frameHead, frameEnd:
		return maxEnvelope, true
	case frameCursor:
		return maxCursor, c.resumable
	}
	return 0, false
}

// end ends the call with what END says.
func (c *clientCall) end(body []byte) error {
	var e end
	if len(body) > 0 { // as it is for plain success
		var err error
		e, err = decodeEnd(body)
		if err = cmp.Or(err, e.trailers.check()); err != nil {
			return c.malformed("malformed END", err)
		}
		c.trailer = e.trailers
	}
	// The slot is free once the FIN has been read, which mostly came with END. Should something else come, or
	// nothing, it changes nothing, because END is the status.
	c.str.SetReadTimeout(finGrace)
	_, _, _ = c.str.ReadFrame(noFrames)
	if e.code == OK {
		return c.finish(io.EOF, transport.StreamNoError)
	}
	status := &Error{code: e.code.failure(), Message: e.message, Details: e.details, Remote: true}
	switch e.execution {
	case wireNotStarted:
		status.Execution = NotStarted
	case wireRan:
		status.Execution = Ran
	}
	status.RetryAfter = fromMillis(e.retry)
	return c.finish(status, transport.StreamNoError)
}

// malformed ends the call after a frame that breaks the rules, in what way err says, or where it came.
func (c *clientCall) malformed(frame string, err error) error {
	if errors.Is(err, errTooManyFields) || errors.Is(err, errTooManyDetails) {
		return c.finish(Errorf(ResourceExhausted, "response: %w", err), transport.StreamTooLarge)
	}
	return c.finish(Errorf(Internal, "peer sent a %s", frame), transport.StreamCanceled)
}

func noFrames(transport.FrameType) (uint64, bool) { return 0, false }

// finish ends the call with err, and frees what it has. The halves of the stream that have
// not come to their end are reset with code. It is for the goroutine that receives.
func (c *clientCall) finish(err error, code transport.StreamCode) error {
	c.release(code)
	c.str.Free()
	if c.chain != nil {
		err = c.chain.settle(err, c.header, c.trailer)
	}
	c.err = err
	return err
}

// close gives the call up. It may be called from anywhere.
func (c *clientCall) close() {
	c.closed.Store(true)
	c.release(transport.StreamCanceled)
	if c.chain != nil {
		c.chain.end(c.fail(errClosed), nil, nil, false)
	}
}

// release ends the stream and the watch over ctx.
func (c *clientCall) release(code transport.StreamCode) {
	if c.stop != nil {
		c.stop()
	}
	c.str.Cancel(code)
}
