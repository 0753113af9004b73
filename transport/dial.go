package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
)

// Dial opens a session with the server at addr ("host:port"). It returns after the server has
// accepted it (S1), and gives up when ctx ends or the server is silent for too long. ctx bounds the
// first connection alone: the session connects again by itself, see [Config.NoReconnect].
//
// The error is an [*Error]: of class refused when either side does not accept the other's
// certificate or the server does not want the session, protocol when it is no Trunkline server, lost when
// nobody answers. What else can go wrong before (a name that does not resolve) is an [*Error] with
// the code Lost, too; only the end of ctx is returned as its cause.
func Dial(ctx context.Context, addr string, cfg *Config) (*Session, error) {
	cfg = cfg.withDefaults()
	s, err := newClientSession(cfg, addr)
	if err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		s.mu.Lock()
		s.endLocked(fromQUIC(err))
		s.mu.Unlock()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return s, nil
}

func newClientSession(cfg *Config, addr string) (*Session, error) {
	var id SessionID
	var key [16]byte
	for _, b := range [][]byte{id[:], key[:]} {
		if _, err := rand.Read(b); err != nil {
			return nil, fmt.Errorf("session id: %w", err)
		}
	}
	s := newSession(cfg, id, key)
	s.redial = &redial{addr: addr, socket: cfg.PacketConn}
	return s, nil
}

// connect makes one connection for the session. ctx bounds it until WELCOME.
func (s *Session) connect(ctx context.Context) error {
	pc, err := s.takeSocket()
	if err != nil {
		return &Error{Code: Lost, Reason: "no socket", Err: err}
	}
	udpAddr, err := resolve(ctx, s.redial.addr)
	if err != nil {
		_ = pc.Close()
		return &Error{Code: Lost, Reason: "no such address: " + s.redial.addr, Err: err}
	}
	first := socketOn(pc)
	host, _, err := net.SplitHostPort(s.redial.addr)
	if err != nil {
		_ = pc.Close()
		return &Error{Code: Lost, Reason: "no such address: " + s.redial.addr, Err: err}
	}
	conf, server := clientTLS(s.cfg, s.cred.Load(), host)
	conn, err := first.tr.Dial(ctx, udpAddr, conf, s.cfg.quicConfig())
	if err != nil {
		first.close()
		if _, silent := errors.AsType[*quic.IdleTimeoutError](err); silent {
			return &Error{Code: Lost, Reason: "no answer", Err: err}
		}
		return fromQUIC(err)
	}
	l := newLink(s.cfg, conn, true)
	l.sess, l.sockets = s, []socket{first}
	before := s.last // whose handlers may not have returned; nobody else makes connections
	if err := s.hello(ctx, l, server); err != nil {
		e := fromQUIC(err)
		if e.Code != Lost {
			e = e.unsaid() // graceful needs the handshake
		}
		l.close(e.Code, e.Reason)
		l.watch(l.closeSockets)
		return e
	}
	if err := s.goLive(l); err != nil {
		l.close(err.Code, err.Reason)
		l.watch(l.closeSockets)
		return err
	}
	l.run(func() {
		l.closeSockets()
		if before != nil {
			<-before.done // so that Wait waits for the handlers of all connections
		}
	})
	if before != nil {
		l.log().Info("session resumed", "attempt", l.attempt, "kept", s.Kept())
	}
	return nil
}

// hello says HELLO on a new connection and waits for WELCOME. v verifies who the server is.
func (s *Session) hello(ctx context.Context, l *link, v *verifier) error {
	cs := l.conn.ConnectionState().TLS
	server, err := v.check(cs)
	if err != nil {
		return err
	}
	if l.control, err = l.conn.OpenStreamSync(ctx); err != nil {
		return fromQUIC(err)
	}
	l.control.SetPriority(int8(UrgencyControl), false)
	s.mu.Lock()
	s.attempt++
	l.attempt = s.attempt
	s.mu.Unlock()
	frames := appendMessage([]byte{byte(StreamControl)}, frameHello, &controlpb.Hello{
		Client:    s.cfg.Name,
		SessionId: s.id[:],
		ResumeKey: s.key[:],
		Attempt:   l.attempt,
	})
	_ = l.control.SetReadDeadline(time.Now().Add(s.cfg.IdleTimeout))
	defer func() { _ = l.control.SetDeadline(time.Time{}) }()
	stop := context.AfterFunc(ctx, func() { _ = l.control.SetDeadline(time.Now()) })
	defer stop()
	if _, err := l.control.Write(frames); err != nil {
		return fromQUIC(err)
	}
	l.messages = NewFrameReader(l.control)
	t, body, err := l.messages.ReadFrame(controlLimit)
	if err != nil {
		return helloError(err)
	}
	var welcome controlpb.Welcome
	if t != frameWelcome {
		return &Error{Code: Protocol, Reason: fmt.Sprintf("control frame %#x instead of WELCOME", uint64(t))}
	}
	if err := unmarshal(t, body, &welcome); err != nil {
		return &Error{Code: Protocol, Reason: err.Error()}
	}
	identity, err := certs.ParseID(welcome.GetIdentity())
	if err != nil {
		return &Error{Code: Protocol, Reason: "WELCOME without an identity", Err: err}
	}
	if !stop() { // else its deadline would hit the control loop
		return fromQUIC(context.Cause(ctx))
	}
	s.mu.Lock()
	l.who = identity
	s.identity, s.kept = identity, welcome.GetKept()
	s.peer = newPeer(server, cs.PeerCertificates[0], l.addr())
	s.peer.Chain = cs.PeerCertificates
	s.peer.Software = printable(welcome.GetServer())
	s.mu.Unlock()
	return nil
}

// helloError says why the first frame did not come: a fault of the peer's, or the end
// of the connection.
func helloError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Code: HelloTimeout, Reason: "no answer on the control stream"}
	}
	if isReset(err) {
		return &Error{Code: ClosedCriticalStream, Reason: "control stream ended before the session"}
	}
	if errors.Is(err, net.ErrClosed) {
		return fromQUIC(err)
	}
	if e, ok := errors.AsType[*FrameTooLargeError](err); ok {
		return &Error{Code: FrameTooLarge, Reason: e.Error()}
	}
	return &Error{Code: Protocol, Reason: err.Error()}
}
