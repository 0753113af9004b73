package transport

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
)

// closeLinger is how long the socket stays open after the last connection was closed, so
// that close packets which were lost can be sent again.
const closeLinger = 100 * time.Millisecond

// A Server accepts sessions. It is safe for concurrent use.
type Server struct {
	cfg      *Config
	pc       net.PacketConn
	tr       *quic.Transport
	listener *quic.Listener
	clients  atomic.Pointer[verifier] // with what the server presents and trusts
	counters *counters

	admission *admission
	windows   budget // that receive windows have grown by
	bodies    bodies

	enrolling enrolling

	wg sync.WaitGroup // greetings, and what follows the end of each connection

	closed atomic.Bool // Shutdown or Close was called; set with mu held

	mu       sync.Mutex // guards what follows; taken before a session's lock
	sessions map[SessionID]*Session
	owners   map[certs.ID]*owner     // who have sessions
	greeting map[*quic.Conn]struct{} // connections that have not said HELLO, or enrol
}

// Listen opens the server's socket. Sessions are accepted by [Server.Serve].
func Listen(cfg *Config) (*Server, error) {
	cfg = cfg.withDefaults()
	pc := cfg.PacketConn
	if pc == nil {
		addr, err := net.ResolveUDPAddr("udp", cfg.Addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", cfg.Addr, err)
		}
		if pc, err = net.ListenUDP("udp", addr); err != nil {
			return nil, err
		}
	}
	srv := &Server{
		cfg:      cfg,
		pc:       pc,
		counters: newCounters(),
		windows:  budget{most: cfg.MaxBuffered},
		sessions: make(map[SessionID]*Session),
		owners:   make(map[certs.ID]*owner),
		greeting: make(map[*quic.Conn]struct{}),
	}
	srv.clients.Store(newClientVerifier(cfg.Credentials))
	conf := serverTLS(cfg, srv.counters, &srv.clients)
	srv.bodies.most, srv.bodies.counters = cfg.MaxBuffered, srv.counters
	srv.admission = newAdmission(cfg, srv.counters, &srv.windows)
	srv.tr = &quic.Transport{
		Conn:                pc,
		StatelessResetKey:   (*quic.StatelessResetKey)(cfg.StatelessResetKey),
		VerifySourceAddress: srv.admission.needsRetry,
		ConnContext:         srv.admission.admit,
	}
	var err error
	quicConf := cfg.quicConfig()
	quicConf.AllowConnectionWindowIncrease = srv.allowWindow
	if srv.listener, err = srv.tr.Listen(withEnrolment(conf), quicConf); err != nil {
		_ = srv.tr.Close()
		_ = pc.Close()
		return nil, fmt.Errorf("listen on %s: %w", pc.LocalAddr(), err)
	}
	return srv, nil
}

// Addr returns the address that the server listens on.
func (srv *Server) Addr() net.Addr { return srv.pc.LocalAddr() }

// Serve accepts sessions until Shutdown or Close is called, and then returns
// [ErrServerClosed] at once; or until ctx ends, and then aborts all sessions, as Close
// does, and returns ctx's cause.
func (srv *Server) Serve(ctx context.Context) error {
	for {
		conn, err := srv.listener.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				_ = srv.Close()
				return context.Cause(ctx)
			}
			if srv.closed.Load() {
				return ErrServerClosed
			}
			return fmt.Errorf("accept: %w", err)
		}
		srv.mu.Lock()
		if srv.closed.Load() {
			srv.mu.Unlock()
			_ = conn.CloseWithError(quic.ApplicationErrorCode(DrainTimeout), "server is shutting down")
			continue
		}
		srv.greeting[conn] = struct{}{}
		srv.wg.Add(1)
		srv.mu.Unlock()
		go srv.serveConn(conn)
	}
}

// Sessions returns the sessions that the server keeps, live and detached, in no order. One that has
// not come to WELCOME is not among them.
func (srv *Server) Sessions() []*Session {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	all := make([]*Session, 0, len(srv.sessions))
	for _, s := range srv.sessions {
		s.mu.Lock()
		if s.last != nil && s.outcome == nil {
			all = append(all, s)
		}
		s.mu.Unlock()
	}
	return all
}

// Shutdown ends in order: no session is accepted any more, every client is asked to go, what is in
// flight comes to its end, and the socket is closed. Clients are asked to come back after a
// delay, spread over up to a second for each hundred of them, and at most five
// minutes. Sessions that are not done when ctx ends are cut off with DrainTimeout, and
// what that was is in the error, a [*CutError], and in the log; handlers that ignore their own context are then left
// behind. It must not be called from one. Shutdown after Shutdown or Close does nothing.
func (srv *Server) Shutdown(ctx context.Context) error {
	if !srv.stopAccepting() {
		return nil
	}
	var cut CutError
	var mu sync.Mutex // guards cut
	var drains sync.WaitGroup
	sessions := srv.Sessions()
	spread := min(time.Duration(len(sessions))*(time.Second/100), maxReconnectAfter)
	for _, s := range sessions {
		s.mu.Lock()
		l := s.link
		s.mu.Unlock()
		if l == nil {
			continue
		}
		drains.Go(func() {
			streams, late := l.drain(ctx, rand.N(spread+1)) //nolint:gosec // G404: spreading a load needs no secrecy
			if !late {
				return
			}
			srv.cfg.Logger.Warn("session cut off", "session", s.id, "identity", s.Identity(), "streams", streams)
			mu.Lock()
			cut.Sessions++
			cut.Streams += streams
			mu.Unlock()
		})
	}
	drains.Wait()
	srv.finish(ctx, "server is shutting down", cut.Sessions > 0)
	if cut.Sessions > 0 {
		return &cut
	}
	return nil
}

// CutError reports what a Shutdown had to cut off. The log has a line for each session, with its identity.
type CutError struct {
	Sessions int // whose work was not done
	Streams  int // that were open on them, in either direction: calls, mostly
}

func (e *CutError) Error() string {
	return fmt.Sprintf("work was not done in time: cut off %d %s with %d open %s",
		e.Sessions, plural(e.Sessions, "session"), e.Streams, plural(e.Streams, "stream"))
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// Close aborts all sessions at once, closes the socket, and waits for the handlers, whose
// contexts have ended. So it must not be called from one.
func (srv *Server) Close() error {
	srv.stopAccepting()
	srv.finish(context.Background(), "server closed", false)
	return nil
}

// stopAccepting says whether it was the first to do so.
func (srv *Server) stopAccepting() bool {
	srv.mu.Lock()
	first := srv.closed.CompareAndSwap(false, true)
	srv.mu.Unlock()
	_ = srv.listener.Close() // what is established stays, for we own the transport
	return first
}

// finish ends every session that is left, waits for their handlers until ctx ends and a moment
// longer, and closes the socket. linger says that close packets may be under way already.
func (srv *Server) finish(ctx context.Context, reason string, linger bool) {
	srv.mu.Lock()
	for conn := range srv.greeting {
		go func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(Aborted), reason) }()
	}
	srv.mu.Unlock()
	srv.mu.Lock()
	sessions := slices.Collect(maps.Values(srv.sessions))
	srv.mu.Unlock()
	for _, s := range sessions {
		s.Abort(Aborted, reason)
	}
	done := make(chan struct{})
	go func() {
		srv.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		linger = true
	}
	if linger || len(sessions) > 0 {
		time.Sleep(closeLinger)
	}
	_ = srv.tr.Close()
	_ = srv.pc.Close()
}

// serveConn brings one connection to WELCOME, or to its end. What serves it from then on are
// goroutines that begin with small stacks: this one's has grown, and would be held as long as the session.
func (srv *Server) serveConn(conn *quic.Conn) {
	defer srv.wg.Done()
	overcrowded := admittedFrom(conn).validated(conn.RemoteAddr())
	if overcrowded == nil && isEnrolment(conn) {
		srv.serveEnrolment(conn)
		return
	}
	l := newLink(srv.cfg, conn, false)
	err := srv.greet(l, overcrowded)
	if err == nil {
		srv.wg.Add(1)
		l.run(srv.wg.Done)
		return
	}
	if l.sess != nil {
		l.sess.greetingFailed(l, fromQUIC(err))
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Code: Internal}
	}
	e = e.unsaid()
	if !l.live {
		srv.counters.refuse(e)
	}
	l.log().Warn("session refused", "code", e.Code, "reason", err)
	l.close(e.Code, e.Reason)
	l.watch(func() {})
}

// greet takes a connection from the end of its handshake to WELCOME.
func (srv *Server) greet(l *link, overcrowded *Error) error {
	ctx, cancel := context.WithTimeoutCause(l.conn.Context(), srv.cfg.HelloTimeout, &Error{Code: HelloTimeout, Reason: "no HELLO in time"})
	defer cancel()
	defer func() {
		srv.mu.Lock()
		delete(srv.greeting, l.conn)
		srv.mu.Unlock()
	}()
	if overcrowded != nil {
		return overcrowded
	}
	peer, err := srv.authenticate(l.conn)
	if err != nil {
		return err
	}
	l.who = peer.ID
	hello, err := l.readHello(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return fromQUIC(cause)
		}
		return err
	}
	peer.Software = printable(hello.GetClient())
	s, kept, why, err := srv.register(l, peer, hello)
	if err != nil {
		return err
	}
	// First registered, then checked: whoever is revoked now is found by one or the other.
	if err := srv.authorize(l, s, peer); err != nil {
		return err
	}
	welcome := &controlpb.Welcome{
		Kept:          kept,
		NotKeptReason: why,
		Identity:      peer.ID.String(),
		Limits:        &controlpb.Limits{HoldMs: uint64(max(0, srv.cfg.Hold).Milliseconds())},
		Server:        srv.cfg.Name,
	}
	if err := l.welcome(welcome); err != nil {
		return err
	}
	admittedFrom(l.conn).welcome()
	l.log().Info("session live", "software", peer.Software, "attempt", l.attempt, "kept", kept)
	return nil
}

// welcome makes the session live and tells the client, who believes it (S1): so it is decided before it
// is said, and nothing else is said in between.
func (l *link) welcome(m *controlpb.Welcome) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.sess.goLive(l); err != nil {
		return err
	}
	if err := l.sendLocked(appendMessage(nil, frameWelcome, m)); err != nil {
		return fromQUIC(err)
	}
	return nil
}

// authenticate returns who the handshake says is there.
func (srv *Server) authenticate(conn *quic.Conn) (Peer, error) {
	cs := conn.ConnectionState().TLS
	id, err := srv.clients.Load().check(cs)
	if err != nil {
		return Peer{}, err
	}
	return newPeer(id, cs.PeerCertificates[0], conn.RemoteAddr()), nil
}

// readHello accepts the control stream and reads its first frame.
func (l *link) readHello(ctx context.Context) (*controlpb.Hello, error) {
	var err error
	if l.control, err = l.conn.AcceptStream(ctx); err != nil {
		return nil, fromQUIC(err)
	}
	l.control.SetPriority(int8(UrgencyControl), false)
	stop := context.AfterFunc(ctx, func() { _ = l.control.SetReadDeadline(time.Now()) })
	defer stop()
	l.messages = NewFrameReader(l.control)
	typ, err := l.messages.readVarint(true)
	if err != nil {
		return nil, helloError(err)
	}
	if StreamType(typ) != StreamControl {
		return nil, &Error{Code: Protocol, Reason: fmt.Sprintf("first stream has type %#x", typ)}
	}
	t, body, err := l.messages.ReadFrame(controlLimit)
	if err != nil {
		return nil, helloError(err)
	}
	if t != frameHello {
		return nil, &Error{Code: Protocol, Reason: fmt.Sprintf("control frame %#x instead of HELLO", uint64(t))}
	}
	hello := new(controlpb.Hello)
	if err := unmarshal(t, body, hello); err != nil {
		return nil, &Error{Code: Protocol, Reason: err.Error()}
	}
	if len(hello.GetSessionId()) != 16 || len(hello.GetResumeKey()) != 16 || hello.GetAttempt() == 0 {
		return nil, &Error{Code: Protocol, Reason: "HELLO needs a session id and a resume key of 16 bytes each, and an attempt above 0"}
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return hello, nil
}

// register finds or makes the session that HELLO asks for, and takes it away from the
// connection that carries it.
func (srv *Server) register(l *link, peer Peer, hello *controlpb.Hello) (s *Session, kept bool, why string, err error) {
	id, key := SessionID(hello.GetSessionId()), [16]byte(hello.GetResumeKey())
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.closed.Load() {
		return nil, false, "", &Error{Code: DrainTimeout, Reason: "server is shutting down"}
	}
	if s = srv.sessions[id]; s != nil && s.hasEnded() {
		s = nil // and is about to be forgotten
	}
	if s == nil {
		if err := srv.makeRoomLocked(peer); err != nil {
			return nil, false, "", err
		}
		s = newSession(srv.cfg, id, key)
		s.server = srv
		srv.addLocked(s, peer.ID)
		if hello.GetAttempt() > 1 {
			why = "the server does not know the session (any more)"
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempt > 0 { // it has been here before
		switch {
		case s.peer.ID != peer.ID || subtle.ConstantTimeCompare(s.key[:], key[:]) != 1:
			return nil, false, "", &Error{Code: Unauthorized, Reason: "the session is another's"}
		case hello.GetAttempt() <= s.attempt:
			return nil, false, "", &Error{Code: Replaced, Reason: "overtaken by a newer connection of this session"}
		case s.outcome != nil:
			return nil, false, "", s.outcome.unsaid()
		case s.abort != nil: // its link is being closed
			return nil, false, "", s.abort
		case s.releasing > 0: // who comes back later has a new one
			return nil, false, "", &Error{Code: Aborted, Reason: "the session is being released"}
		}
		kept = true
	}
	old := s.link
	if old != nil {
		s.link, s.state = nil, StateDetached
		s.stateChangedLocked()
		l.wg.Go(func() { old.close(Replaced, "a newer connection carries this session") })
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.attempt, s.kept, s.peer, s.identity, s.since = hello.GetAttempt(), kept, peer, peer.ID, time.Now()
	l.sess, l.attempt = s, hello.GetAttempt()
	return s, kept, why, nil
}

// authorize asks the configuration. A session that it refuses is no more.
func (srv *Server) authorize(l *link, s *Session, peer Peer) error {
	if srv.cfg.Authorize == nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.conn.Context(), func() { cancel(fromQUIC(context.Cause(l.conn.Context()))) })()
	err := srv.cfg.Authorize(ctx, peer)
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcome != nil { // which may be why Authorize gave up
		return s.outcome
	}
	e := refusal(err)
	if s.attempt == l.attempt {
		s.endLocked(e)
	}
	return e
}

// forget drops an ended session.
func (srv *Server) forget(s *Session, identity certs.ID, outcome *Error) {
	srv.mu.Lock()
	if srv.sessions[s.id] == s {
		srv.dropLocked(s)
	}
	srv.mu.Unlock()
	s.logEnd(identity, outcome)
}
