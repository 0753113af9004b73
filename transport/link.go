package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/trunkline-go/trunkline/certs"
)

// maxUnknownStreams is how many streams of unknown type a peer may open on one connection
// before that counts as abuse.
const maxUnknownStreams = 64

// noLimit is the stream id of a GOAWAY that turns nothing away yet.
const noLimit = quicvarint.Max

// A link is one connection in the service of a session.
type link struct {
	sess    *Session
	cfg     *Config
	conn    *quic.Conn
	client  bool
	server  net.Addr // on a client
	attempt uint64   // of the HELLO that it began with
	live    bool     // it has carried the session; set before anybody waits for its end
	who     certs.ID // the client, once this side knows; set before others use the link

	control  *quic.Stream
	messages *FrameReader // of the control stream
	writing  sync.Mutex   // one write on the control stream at a time; guards finSent
	finSent  bool         // after DISCONNECT nothing more is said

	wg       sync.WaitGroup // the accept loop, the control loop, every handler
	draining chan struct{}  // closed when a release or drain is under way
	left     chan struct{}  // closed with the peer's DISCONNECT; made with our FINISH
	closed   chan struct{}  // closed when outcome is set
	done     chan struct{}  // closed when every goroutine has ended, too
	outcome  *Error         // how the connection ended
	credit   credit

	mu             sync.Mutex // guards what follows
	opened         map[quic.StreamID]*Stream
	opening        int           // streams that wait for the peer's permission
	serving        int           // accepted streams whose handler has not returned
	unknown        int           // streams of unknown type so far
	lastOpened     quic.StreamID // highest that this side has opened, the control stream apart
	lastSeen       quic.StreamID // highest of the peer's streams that has arrived
	peerOpened     quic.StreamID // highest that there will be, once the peer has said so
	lastAccepted   quic.StreamID // highest of the peer's streams that has been accepted
	limit          quic.StreamID // no higher one is: what the last GOAWAY said
	finishing      mode          // the release under way, if any
	initiator      bool          // of that release
	asked          *question     // our FINISH that has no answer yet, if any
	goingAway      bool          // we drain: our GOAWAY has been sent
	disconnected   bool          // DISCONNECT has been sent or received: the outcome is fixed
	goneAway       bool          // the peer drains: its GOAWAY has arrived
	reconnectAfter time.Duration // from it
	goAwayUntil    time.Time     // when the time left in it has passed
	quiet          chan struct{} // closed when no stream is left; nil unless somebody waits
	workers        workers
	ctx            context.Context // of the handlers: ends with the connection; nil unless somebody waits
	cancel         context.CancelCauseFunc
	pinger         pinger
	sockets        []socket   // a client's: that it was made with, and those that it was to be moved to
	path           *quic.Path // where it was moved to last, if it was
}

func newLink(cfg *Config, conn *quic.Conn, client bool) *link {
	l := &link{
		cfg:          cfg,
		conn:         conn,
		client:       client,
		draining:     make(chan struct{}),
		closed:       make(chan struct{}),
		done:         make(chan struct{}),
		lastAccepted: -1,
		limit:        noLimit,
	}
	l.credit.link = l
	l.workers.init(&l.mu)
	if client {
		l.server = conn.RemoteAddr()
	}
	return l
}

// addr returns where the peer is. A server does not move, and to ask quic-go v0.65 again on a client would race
// with Migrate.
func (l *link) addr() net.Addr {
	if l.client {
		return l.server
	}
	return l.conn.RemoteAddr()
}

// log returns a logger that says whose session and connection it is, as far as that is known. It is made for
// each line, because there are few.
func (l *link) log() *slog.Logger {
	log := l.cfg.Logger.With("addr", l.addr().String())
	if l.who != (certs.ID{}) {
		log = log.With("identity", l.who)
	}
	if l.sess != nil {
		log = log.With("session", l.sess.id)
	}
	return log
}

// watch waits for the end of the connection, and sees to it: it fixes the outcome, tells the session,
// waits for every other goroutine, and then calls after.
func (l *link) watch(after func()) {
	<-l.conn.Context().Done()
	l.end(context.Cause(l.conn.Context()))
	l.wg.Wait()
	after()
	close(l.done)
}

// end fixes the outcome.
func (l *link) end(cause error) {
	l.mu.Lock()
	l.outcome = l.judge(fromQUIC(cause))
	l.pinger.stop()
	l.credit.stopLocked()
	reconnectAfter, goneAway := l.reconnectAfter, l.goneAway
	cancel := l.cancel
	l.mu.Unlock()
	close(l.closed)
	if cancel != nil {
		cancel(l.outcome)
	}
	if l.sess != nil {
		if l.live && l.sess.server != nil {
			l.sess.server.counters.connectionEnded(l.outcome)
		}
		l.sess.linkClosed(l, reconnectAfter, goneAway)
	}
}

// judge turns what QUIC says of the end into what it means. A graceful end needs the
// handshake (S7), and once that is complete, silence is graceful too.
func (l *link) judge(e *Error) *Error {
	graceful := Released
	if l.finishing == drain {
		graceful = Drained
	}
	settled := l.disconnected && (!l.initiator || !l.busyLocked()) // S2: not while there is something to read
	waited := e.Code == DrainTimeout && !e.Remote                  // for a close that did not come
	switch class := e.Code.Class(); {
	case settled && (class == ClassGraceful || class == ClassLost || waited):
		return &Error{Code: graceful, Remote: e.Remote, Reason: e.Reason}
	case class == ClassGraceful:
		return &Error{Code: Aborted, Remote: e.Remote, Reason: "closed with " + e.Code.String() + " before the release was complete"}
	case (class == ClassLost || e.Code == ReleaseTimeout && !e.Remote) && l.goneAway && !time.Now().Before(l.goAwayUntil):
		return &Error{Code: Drained, Reason: "the server's time was up"}
	}
	return e
}

func (l *link) isClosed() bool {
	select {
	case <-l.closed:
		return true
	case <-l.conn.Context().Done(): // closed follows at once
		return true
	default:
		return false
	}
}

// close closes the connection from this side. It returns at once if it is closed already.
func (l *link) close(code CloseCode, reason string) {
	if code > quicvarint.Max { // Lost: quic-go panics
		code = Aborted
	}
	_ = l.conn.CloseWithError(quic.ApplicationErrorCode(code), cut(reason)) // never fails
}

// run starts the work on a connection whose session is live. It calls after when all is done.
func (l *link) run(after func()) {
	l.traceSession()
	l.wg.Go(l.readControl)
	go func() {
		l.acceptStreams()
		l.watch(after)
	}()
	if l.client {
		l.mu.Lock()
		l.pinger.start(l)
		l.mu.Unlock()
	}
}

// open opens a stream to the peer.
func (l *link) open(ctx context.Context, t StreamType) (*Stream, error) {
	l.mu.Lock()
	if l.closingLocked() {
		l.mu.Unlock()
		return nil, ErrGoingAway
	}
	l.opening++
	l.mu.Unlock()
	str, err := l.openStream(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opening--
	if err != nil {
		l.checkQuietLocked()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if l.closingLocked() {
			return nil, ErrGoingAway
		}
		return nil, l.streamErrorLocked(err)
	}
	l.lastOpened = max(l.lastOpened, str.StreamID())
	s := newStream(l, str, t, true)
	if l.closingLocked() { // meanwhile
		s.ended.Store(sendEnded | recvEnded | counted)
		str.CancelRead(quic.StreamErrorCode(StreamGoingAway))
		str.CancelWrite(quic.StreamErrorCode(StreamGoingAway))
		l.checkQuietLocked()
		return nil, ErrGoingAway
	}
	if l.opened == nil { // a server opens none on most sessions
		l.opened = make(map[quic.StreamID]*Stream)
	}
	l.opened[str.StreamID()] = s
	return s, nil
}

// openStream waits for the peer's permission until ctx ends, or the release of the session begins.
func (l *link) openStream(ctx context.Context) (*quic.Stream, error) {
	str, err := l.conn.OpenStream()
	if _, wait := errors.AsType[*quic.StreamLimitReachedError](err); !wait {
		return str, err
	}
	var watch sync.WaitGroup
	defer watch.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch.Go(func() {
		select {
		case <-l.draining:
			cancel()
		case <-ctx.Done():
		}
	})
	return l.conn.OpenStreamSync(ctx)
}

// streamErrorLocked is fromStream for who holds the lock that the outcome needs.
func (l *link) streamErrorLocked(err error) error {
	l.mu.Unlock()
	defer l.mu.Lock()
	return l.fromStream(err)
}

// forget takes an opened stream off the books after both its halves have ended.
func (l *link) forget(s *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.opened, s.str.StreamID())
	l.checkQuietLocked()
}

// acceptStreams accepts and spawns, nothing else: whatever waited here would hold up
// every other stream.
func (l *link) acceptStreams() {
	for {
		str, err := l.conn.AcceptStream(context.Background()) // ends with the connection
		if err != nil {
			l.endWorkers()
			return
		}
		l.mu.Lock()
		id := str.StreamID()
		l.lastSeen = max(l.lastSeen, id)
		over := id > l.limit // one lock for this and for what GOAWAY says
		if !over {
			l.lastAccepted = max(l.lastAccepted, id)
			l.serving++
		}
		l.checkQuietLocked()
		l.credit.beganLocked()
		if !over {
			l.queueLocked(str)
		}
		l.mu.Unlock()
		if l.sess.server != nil {
			l.sess.server.counters.accepted.Add(1)
		}
		if over {
			str.CancelWrite(quic.StreamErrorCode(StreamRejected))
			str.CancelRead(quic.StreamErrorCode(StreamNoError))
			l.mu.Lock()
			batch := l.credit.releaseLocked(str)
			l.mu.Unlock()
			giveBack(batch)
		}
	}
}

// handlersContext returns the context of which those of the handlers are made. It is made when the first
// of them wants it, because on an idle session none does.
func (l *link) handlersContext() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		l.ctx, l.cancel = context.WithCancelCause(l.sess.ctx)
		if l.outcome != nil {
			l.cancel(l.outcome) // end has been here
		}
	}
	return l.ctx
}

// serve runs the handler of one stream that the peer opened.
func (l *link) serve(str *quic.Stream) {
	served := new(servedStream)
	s := &served.Stream
	s.init(l, str, 0, false)
	defer func() { // also when the handler ends its goroutine
		s.CancelRead(StreamNoError)
		s.CancelWrite(StreamInternal) // nothing if the handler has closed it
		s.free()
		l.mu.Lock()
		batch := l.credit.releaseLocked(str)
		l.serving--
		l.checkQuietLocked()
		l.mu.Unlock()
		giveBack(batch)
	}()
	l.dispatch(s, &served.ctx)
}

// A servedStream is what a stream that the peer has opened takes here, in one allocation.
type servedStream struct {
	Stream

	ctx handlerContext
}

func (l *link) dispatch(s *Stream, ctx *handlerContext) {
	s.SetReadTimeout(l.cfg.HelloTimeout)
	t, err := s.readVarint(true)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.Cancel(StreamDeadline)
		return
	case err != nil:
		s.Cancel(StreamUnknownType)
		return
	}
	s.SetReadDeadline(time.Time{})
	s.typ = StreamType(t)
	handler := l.cfg.Handlers[s.typ]
	if handler == nil {
		l.refuseType(s)
		return
	}
	ctx.link, ctx.str = l, s.str
	defer func() {
		ctx.finish()
		// One peer's stream must not end everybody's process.
		if p := recover(); p != nil {
			l.log().Error("stream handler panicked", "type", uint64(s.typ), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	handler(ctx, s)
}

// refuseType resets a stream of a type that has no handler.
func (l *link) refuseType(s *Stream) {
	if s.typ.reserved() {
		s.Cancel(StreamNoError)
		return
	}
	s.Cancel(StreamUnknownType)
	l.mu.Lock()
	l.unknown++
	n := l.unknown
	l.mu.Unlock()
	l.log().Debug("stream of unknown type", "type", uint64(s.typ), "so_far", n)
	if n > maxUnknownStreams {
		l.close(ExcessiveLoad, "too many streams of unknown type")
	}
}

// closingLocked says whether nothing new may be opened.
func (l *link) closingLocked() bool { return l.finishing != 0 || l.goneAway || l.goingAway }

// quietChan returns a channel that is closed when no stream is left, in either direction, and
// none of those is on its way that the peer says it has opened.
func (l *link) quietChan() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quietLocked()
}

func (l *link) quietLocked() <-chan struct{} {
	if l.quiet == nil {
		l.quiet = make(chan struct{})
		l.checkQuietLocked()
	}
	return l.quiet
}

// busyLocked says, after quietChan was asked for, whether it has not come yet.
func (l *link) busyLocked() bool {
	select {
	case <-l.quiet:
		return false
	default:
		return true
	}
}

func (l *link) checkQuietLocked() {
	if l.quiet == nil || len(l.opened)+l.opening+l.serving > 0 || l.lastSeen < l.peerOpened {
		return
	}
	select {
	case <-l.quiet:
	default:
		close(l.quiet)
	}
}

// rejectAbove gives up the opened streams that the peer's GOAWAY says it will not serve.
func (l *link) rejectAbove(last uint64) {
	l.mu.Lock()
	var above []*Stream
	for id, s := range l.opened {
		if uint64(id) > last {
			above = append(above, s)
		}
	}
	l.mu.Unlock()
	for _, s := range above {
		s.rejected.Store(true)
		s.CancelWrite(StreamGoingAway) // first, so that who has read the end cannot write any more
		s.CancelRead(StreamGoingAway)
	}
}
