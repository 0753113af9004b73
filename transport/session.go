package transport

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/certs"
)

// A State is where a session is in its life.
type State uint8

// The states. There is no zero value.
const (
	StateLive     State = iota + 1 // a connection carries it
	StateDetached                  // no connection carries it, and it may be resumed
	StateEnded                     // it is over; see Session.Wait for how
)

// String returns "live", "detached" or "ended".
func (s State) String() string {
	switch s {
	case StateLive:
		return "live"
	case StateDetached:
		return "detached"
	case StateEnded:
		return "ended"
	}
	return "unknown"
}

// A SessionID names a session: 128 random bits, chosen by the client. It may be logged.
type SessionID [16]byte

// String returns the id in hex.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }

// LogValue makes loggers of any format write what String returns.
func (id SessionID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// A Peer is the other side of a session, as this side has authenticated it.
type Peer struct {
	ID          certs.ID          // from its certificate
	Fingerprint certs.Fingerprint // of its certificate's key
	Certificate *x509.Certificate // it, verified when the connection was made; not to be changed
	// Chain is, on a client, all that the server presented for that, leaf first, as it came: not every one of it need be good.
	// On a server it is nil.
	Chain    []*x509.Certificate
	Addr     net.Addr // where its packets come from, or came from last; a client's may change (RFC 9000, section 9)
	Software string   // what it calls itself, unverified: "name/version"
}

func newPeer(id certs.ID, leaf *x509.Certificate, addr net.Addr) Peer {
	return Peer{ID: id, Fingerprint: certs.FingerprintOf(leaf), Certificate: leaf, Addr: addr}
}

// A Session is the lasting association of two authenticated peers. It is the same thing on
// both sides, and outlives its connection: it is live, detached, or ended. While it is detached its
// client connects again by itself, unless [Config.NoReconnect] says otherwise. It is safe
// for concurrent use.
type Session struct {
	cfg    *Config
	redial *redial // nil on the server side
	server *Server // nil on the client side
	id     SessionID
	key    [16]byte        // the resume key; never logged
	owner  *owner          // for whom a server made it
	ctx    context.Context // ends with the state ended
	cancel context.CancelCauseFunc
	cred   atomic.Pointer[certs.Credentials] // a client's, for its next connection

	bodies *ownBodies // the owner's; nil on a client

	mu        sync.Mutex // guards what follows
	state     State
	since     time.Time     // of the state
	link      *link         // the connection that carries it; nil unless live
	last      *carried      // of the newest that ever did; not the link itself, whose streams may hold megabytes
	attempt   uint64        // of the newest connection that asked for it
	changed   chan struct{} // closed at the next change of its status; nil until somebody waits for that
	peer      Peer
	identity  certs.ID    // the client's, as the server sees it
	kept      bool        // the server still had the session when its connection was made
	releasing int         // calls of Release that have not been refused: it ends with the connection that carries it
	abort     *Error      // Abort was called: neither keep nor resume it
	cause     *Error      // why it is detached
	outcome   *Error      // set with the state ended
	timer     *time.Timer // while detached: to the end of a server's hold, or a client's next attempt
}

// carried is what a session remembers of a connection.
type carried struct {
	attempt        uint64
	done           <-chan struct{} // the link's
	reconnectAfter time.Duration   // from the peer's GOAWAY; these two are set when the link is closed
	goneAway       bool
}

func newSession(cfg *Config, id SessionID, key [16]byte) *Session {
	s := &Session{
		cfg:   cfg,
		id:    id,
		key:   key,
		state: StateDetached,
	}
	s.cred.Store(cfg.Credentials)
	s.ctx, s.cancel = context.WithCancelCause(context.WithValue(context.Background(), sessionKey{}, s))
	return s
}

type sessionKey struct{}

// SessionFrom returns the session in whose service ctx was made, or nil. The context of
// every [Handler] has one.
func SessionFrom(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}

// PeerFrom returns the authenticated peer in whose service ctx was made, and whether there is one.
func PeerFrom(ctx context.Context) (Peer, bool) {
	s := SessionFrom(ctx)
	if s == nil {
		return Peer{}, false
	}
	return s.Peer(), true
}

// ID returns the session's id, the same on both sides and across connections.
func (s *Session) ID() SessionID { return s.id }

// String returns the id, whatever verb a session is printed with: the resume key must not get
// into a log by way of %+v (M13).
func (s *Session) String() string { return s.id.String() }

// GoString implements [fmt.GoStringer].
func (s *Session) GoString() string { return "transport.Session(" + s.id.String() + ")" }

// LogValue makes loggers of any format write the id.
func (s *Session) LogValue() slog.Value { return s.id.LogValue() }

// Peer returns the other side.
func (s *Session) Peer() Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	peer := s.peer
	if s.link != nil {
		peer.Addr = s.link.addr()
	}
	return peer
}

// Identity returns the client's identity as the server sees it; on the server that is
// the peer's.
func (s *Session) Identity() certs.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// Kept says whether the server still had the session when the connection that carries it was
// made; on a first connection it had not. If it had not on a later one, which [Session.Status] tells
// from the first, then the server has restarted, or the session was away for longer than
// [Config.Hold]: what the server knew of it (who it was in a room, a floor that it held) is gone.
func (s *Session) Kept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

// State returns where the session is in its life.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// A Status is what a session is at one moment.
type Status struct {
	State   State
	Attempt uint64 // of the newest connection that has carried it: 1 for the first, and more for each later one
	Kept    bool   // see [Session.Kept]
	Err     *Error // detached: why, or why the newest attempt failed; ended: how, with [Released] in order; else nil
}

// Status returns what the session is now, and a channel that is closed when that has changed. It is how
// a program shows that its connection was lost, and is back:
//
//	for {
//		now, changed := session.Status()
//		show(now)
//		if now.State == transport.StateEnded {
//			break
//		}
//		<-changed
//	}
//
// Who comes late misses what happened in between, and never the newest; a higher Attempt tells that there
// was a loss.
func (s *Session) Status() (now Status, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = Status{State: s.state, Kept: s.kept}
	if s.last != nil {
		now.Attempt = s.last.attempt
	}
	switch s.state {
	case StateDetached:
		now.Err = s.cause
	case StateEnded:
		now.Err = s.outcome
	case StateLive:
	}
	return now, s.changedLocked()
}

// Context returns a context that ends with the session; its cause is then an [*Error].
func (s *Session) Context() context.Context { return s.ctx }

// GoAway returns how long the peer asked this side to wait before it connects again, and
// whether it did.
func (s *Session) GoAway() (reconnectAfter time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link
	if l == nil {
		if s.last == nil {
			return 0, false
		}
		return s.last.reconnectAfter, s.last.goneAway
	}
	l.mu.Lock() // after the session's
	defer l.mu.Unlock()
	return l.reconnectAfter, l.goneAway
}

// OpenStream opens a stream to the peer. While the session is detached, or the peer allows no
// more streams, it waits for as long as ctx allows; so it does on a client while its server drains, if
// the client will connect again. Nothing is sent before the first write, which
// should follow at once. Errors: [ErrGoingAway] in a release, or in a drain after which this side does not connect
// again, an [*Error] when the session has ended, or ctx's cause. In all of them nothing was sent.
func (s *Session) OpenStream(ctx context.Context, t StreamType) (*Stream, error) {
	for {
		s.mu.Lock()
		l, changed, outcome := s.link, s.changedLocked(), s.outcome
		s.mu.Unlock()
		if outcome != nil {
			return nil, outcome
		}
		if l != nil {
			str, err := l.open(ctx, t)
			switch {
			case err == nil:
				return str, nil
			case errors.Is(err, ErrGoingAway):
				if !s.outlives(l) {
					return nil, err
				}
			case !l.isClosed():
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	}
}

// outlives says whether what is under way on l is a drain, after which the session will go on.
func (s *Session) outlives(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.redial == nil || s.abort != nil || s.releasing > 0 || !s.keep(Drained) {
		return false
	}
	l.mu.Lock() // after the session's
	defer l.mu.Unlock()
	return l.goneAway
}

// Release ends the session in order: nothing new starts, everything that either side has sent
// arrives, what is under way comes to its end; then it returns nil. Each step may take
// [Config.ReleaseTimeout], and all of them as long as ctx allows; after that the session is
// aborted with ReleaseTimeout. The peer may refuse, because something is not finished: that is a [*NotFinishedError], and the session
// goes on as before, so who releases looks at the error; [Session.Close] cannot be refused. Any other end of the session is an [*Error].
//
// A session that is detached ends at once, with Aborted; one that is lost meanwhile ends with
// that, and is not resumed.
//
// Neither Release nor Wait may be called from a [Handler] of the same session, for which they wait.
func (s *Session) Release(ctx context.Context) error {
	if refusal := s.release(ctx, false); refusal != nil {
		return refusal
	}
	return s.Wait(ctx)
}

// beginRelease makes sure that the session does not outlive the connection that it returns. There is
// none if the session was detached, and has ended with that.
func (s *Session) beginRelease() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releasing++
	if s.link == nil {
		s.endLocked(&Error{Code: Aborted, Reason: "released while detached"})
		return nil
	}
	s.stateChangedLocked() // whoever waits for the end of a drain to open a stream
	return s.link
}

// Abort ends the session at once; what is under way is lost. The peer learns code and reason,
// which should be short and safe to show. A graceful code, which needs the handshake of
// [Session.Release], becomes Aborted. On an ended session it does nothing.
func (s *Session) Abort(code CloseCode, reason string) {
	if code.Class() == ClassGraceful || code == Lost {
		code = Aborted
	}
	s.mu.Lock()
	s.abort = &Error{Code: code, Reason: reason}
	l := s.link
	if l == nil {
		s.endLocked(s.abort)
	}
	s.mu.Unlock()
	if l != nil {
		l.close(code, reason)
	}
}

// Wait waits for the end of the session and of its handlers, or of ctx. It returns nil after a
// release, an [*Error] after any other end, and ctx's cause when that ends first.
func (s *Session) Wait(ctx context.Context) error {
	select {
	case <-s.ctx.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	outcome := s.outcome
	var connection, attempt <-chan struct{}
	if s.last != nil {
		connection = s.last.done
	}
	if s.redial != nil && s.redial.trying != nil {
		attempt = s.redial.trying
	}
	s.mu.Unlock()
	for _, done := range []<-chan struct{}{connection, attempt} {
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if outcome.Code == Released {
		return nil
	}
	return outcome
}

// goLive hands the session to l, unless a newer connection asked for it meanwhile.
func (s *Session) goLive(l *link) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcome != nil {
		return s.outcome
	}
	if s.abort != nil {
		return s.abort
	}
	if s.server != nil && s.server.closed.Load() { // Shutdown has not seen this link, and would cut it off
		return &Error{Code: DrainTimeout, Reason: "server is shutting down"}
	}
	if l.attempt != s.attempt {
		return &Error{Code: Replaced, Reason: "overtaken by a newer connection of this session"}
	}
	if s.server != nil {
		s.server.counters.wentLive(s.last == nil, l.attempt)
	}
	l.live = true
	s.link, s.last, s.state, s.since = l, &carried{attempt: l.attempt, done: l.done}, StateLive, time.Now()
	s.stateChangedLocked()
	return nil
}

// linkClosed detaches the session, or ends it, after the connection that carried it is gone.
func (s *Session) linkClosed(l *link, reconnectAfter time.Duration, goneAway bool) {
	if held := s.unlink(l, reconnectAfter, goneAway); held && s.server != nil { // a client says when it tries again
		e := l.outcome
		l.log().Info("session detached", "code", e.Code, "remote", e.Remote, "reason", e.Reason, "held_for", s.cfg.Hold)
	}
}

func (s *Session) unlink(l *link, reconnectAfter time.Duration, goneAway bool) (held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return false // another carries it by now
	}
	s.last.reconnectAfter, s.last.goneAway = reconnectAfter, goneAway
	s.peer.Addr = l.addr()
	s.link = nil
	if s.abort != nil || s.releasing > 0 || !s.keep(l.outcome.Code) {
		s.endLocked(l.outcome)
		return false
	}
	s.detachLocked(l.outcome)
	return true
}

// greetingFailed puts the session back, or away, after a connection that asked for it did not
// come to WELCOME.
func (s *Session) greetingFailed(l *link, why *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempt != l.attempt || s.state != StateDetached {
		return // a newer connection has it, or it is over
	}
	if s.last == nil || !s.keep(Lost) {
		s.endLocked(why)
		return
	}
	s.detachLocked(why)
}

func (s *Session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcome != nil
}

// heldLocked says whether the session waits for its client, and no connection of the client's
// is being greeted.
func (s *Session) heldLocked() bool {
	return s.state == StateDetached && s.last != nil && s.last.attempt == s.attempt
}

// evict ends a held session to make room for another, and says whether it still was held.
func (s *Session) evict() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.heldLocked() {
		return false
	}
	s.endLocked(&Error{Code: ExcessiveLoad, Reason: "made room for a newcomer"})
	return true
}

// keep says whether a session outlives its connection's end by code. A client's does if it
// connects again; a server's does unless the client is gone for good.
func (s *Session) keep(code CloseCode) bool {
	if s.redial != nil {
		return !s.cfg.NoReconnect && code.resumable()
	}
	if s.cfg.Hold < 0 || s.server.closed.Load() {
		return false
	}
	switch code.Class() {
	case ClassAbort, ClassLost:
		return true
	case ClassGraceful:
		return code != Released
	case ClassProtocol, ClassRefused:
	}
	return false
}

// detachLocked holds the session for Config.Hold on a server, and on a client until it is resumed; why
// is how it ends if it is not.
func (s *Session) detachLocked(why *Error) {
	lasted := time.Since(s.since)
	s.state, s.since, s.cause = StateDetached, time.Now(), why
	s.stateChangedLocked()
	if s.redial != nil {
		s.redial.lost(s.cfg, lasted)
		s.redialLocked(why, s.last.reconnectAfter)
		return
	}
	attempt := s.attempt
	s.timer = time.AfterFunc(s.cfg.Hold, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state == StateDetached && s.attempt == attempt {
			s.endLocked(why)
		}
	})
}

// endLocked ends the session, once.
func (s *Session) endLocked(outcome *Error) {
	if s.state == StateEnded {
		return
	}
	s.state, s.outcome, s.link = StateEnded, outcome, nil
	if s.timer != nil {
		s.timer.Stop()
	}
	s.stateChangedLocked()
	s.cancel(outcome)
	if s.server != nil {
		if s.last != nil { // else it was refused
			s.server.counters.sessionEnded(outcome)
		}
		go s.server.forget(s, s.identity, outcome) // takes the server's lock, which comes before ours
		return
	}
	s.logEnd(s.identity, outcome)
}

// logEnd says how the session ended.
func (s *Session) logEnd(identity certs.ID, outcome *Error) {
	s.cfg.Logger.Info("session ended", "session", s.id, "identity", identity, "code", outcome.Code, "remote", outcome.Remote, "reason", outcome.Reason)
}

// changedLocked returns a channel that is closed at the next change.
func (s *Session) changedLocked() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *Session) stateChangedLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
