package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport/internal/enrollpb"
)

// How many connections for enrolment a server has at once. Who makes them need not be known to anybody, so one
// address has a part of the places only.
const (
	maxEnrolling     = 64
	maxEnrollingAddr = 8 // from one address, an IPv6 one counting as its /64
)

// An Enroller decides whether who asks gets a certificate, and returns it, leaf first and the
// authority last. A [*certs.TokenError] and [certs.ErrRequest] are told to who asks; of other errors only
// that there was one. ctx ends with the connection.
type Enroller func(ctx context.Context, r *EnrollRequest) ([]*x509.Certificate, error)

// An enrolling is what a server keeps of those who enrol.
type enrolling struct {
	attempts attempts

	mu      sync.Mutex           // guards what follows
	running int                  // connections
	byAddr  map[netip.Prefix]int // the same
}

// enter takes a place for a connection from p, and says whether there was one.
func (e *enrolling) enter(p netip.Prefix) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running >= maxEnrolling || e.byAddr[p] >= maxEnrollingAddr {
		return false
	}
	if e.byAddr == nil {
		e.byAddr = make(map[netip.Prefix]int)
	}
	e.running++
	e.byAddr[p]++
	return true
}

func (e *enrolling) leave(p netip.Prefix) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running--
	if e.byAddr[p]--; e.byAddr[p] == 0 {
		delete(e.byAddr, p)
	}
}

// withEnrolment returns a TLS configuration that is sessions for whoever offers sessions' protocol, and another, which
// asks for no certificate and offers nothing but enrolment, for whoever offers that alone.
func withEnrolment(sessions *tls.Config) *tls.Config {
	enrol := sessions.Clone()
	enrol.NextProtos = []string{ALPNEnroll}
	enrol.ClientAuth = tls.NoClientCert
	enrol.VerifyConnection = nil
	both := sessions.Clone()
	inner := sessions.GetConfigForClient
	both.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, ALPNEnroll) && !slices.Contains(hello.SupportedProtos, ALPN) {
			return enrol, nil
		}
		if inner != nil {
			return inner(hello)
		}
		return nil, nil
	}
	return both
}

// isEnrolment says whether a connection is for enrolment, and so for nothing else.
func isEnrolment(conn *quic.Conn) bool {
	return conn.ConnectionState().TLS.NegotiatedProtocol == ALPNEnroll
}

// serveEnrolment serves one connection: one stream, one request, one answer.
func (srv *Server) serveEnrolment(conn *quic.Conn) {
	defer func() {
		srv.mu.Lock()
		delete(srv.greeting, conn)
		srv.mu.Unlock()
	}()
	e := &Error{Code: Released}
	if err := srv.enrollOne(conn); err != nil {
		if errors.Is(err, net.ErrClosed) {
			e = fromQUIC(err)
		} else {
			e = &Error{Code: Protocol, Reason: err.Error()}
		}
	}
	if !e.Remote && e.Code != Released {
		srv.counters.refuse(e)
		srv.cfg.Logger.Info("enrolment failed", "addr", conn.RemoteAddr(), "code", e.Code, "reason", e)
	}
	e = e.unsaid()
	_ = conn.CloseWithError(quic.ApplicationErrorCode(e.Code), cut(e.Reason))
}

func (srv *Server) enrollOne(conn *quic.Conn) error {
	if srv.cfg.Enroll == nil {
		return &Error{Code: Unauthorized, Reason: "nobody can join here"}
	}
	from := network(conn.RemoteAddr()) // once: a client may move meanwhile
	if !srv.enrolling.enter(from) {
		return &Error{Code: ExcessiveLoad, Reason: "too many are joining"}
	}
	defer srv.enrolling.leave(from)
	ctx, cancel := context.WithTimeoutCause(conn.Context(), srv.cfg.HelloTimeout, &Error{Code: HelloTimeout, Reason: "no ENROLL in time"})
	defer cancel()
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return enrollCause(ctx, err)
	}
	stopWatch := srv.refuseMore(conn)
	defer stopWatch()
	req, err := readEnroll(ctx, stream)
	if err != nil {
		return enrollCause(ctx, err)
	}
	req.Addr = conn.RemoteAddr()
	answer := srv.answerEnroll(conn.Context(), req)
	_ = stream.SetWriteDeadline(time.Now().Add(srv.cfg.HelloTimeout))
	if _, err := stream.Write(answer); err != nil {
		return fromQUIC(err)
	}
	if err := stream.Close(); err != nil {
		return fromQUIC(err)
	}
	// The client closes, for a close from here would throw away what it has not read.
	select {
	case <-conn.Context().Done():
	case <-time.After(srv.cfg.HelloTimeout):
	}
	return nil
}

// enrollCause prefers what ended ctx to what that did to err.
func enrollCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fromQUIC(cause)
	}
	return err
}

// refuseMore closes the connection when a second stream comes: there is nothing else to do here.
func (srv *Server) refuseMore(conn *quic.Conn) (stop func()) {
	ctx, cancel := context.WithCancel(conn.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := conn.AcceptStream(ctx); err == nil {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(Protocol), "an enrolment has one stream")
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// readEnroll reads the request, and that nothing follows it.
func readEnroll(ctx context.Context, stream *quic.Stream) (*EnrollRequest, error) {
	stop := context.AfterFunc(ctx, func() { _ = stream.SetReadDeadline(time.Now()) })
	defer stop()
	r := NewFrameReader(stream)
	defer r.free()
	req, err := parseEnroll(r)
	if err != nil {
		if e, ok := errors.AsType[*FrameTooLargeError](err); ok {
			return nil, &Error{Code: FrameTooLarge, Reason: e.Error()}
		}
		return nil, err
	}
	return req, nil
}

// parseEnroll reads ENROLL and the end of the stream.
func parseEnroll(r *FrameReader) (*EnrollRequest, error) {
	_, body, err := r.ReadFrame(enrollLimit)
	if err != nil {
		return nil, err
	}
	var m enrollpb.Enroll
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, errors.New("malformed ENROLL")
	}
	req := &EnrollRequest{Request: m.GetRequest()}
	if copy(req.Secret[:], m.GetSecret()) != len(req.Secret) || len(m.GetSecret()) != len(req.Secret) {
		return nil, errors.New("the secret of ENROLL is not of 16 bytes")
	}
	if _, _, err := r.ReadFrame(enrollLimit); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows ENROLL")
	}
	return req, nil
}

// answerEnroll returns the frame to answer with.
func (srv *Server) answerEnroll(ctx context.Context, req *EnrollRequest) []byte {
	if !srv.enrolling.attempts.take(req.Addr, time.Now()) {
		srv.counters.refuse(&Error{Code: ExcessiveLoad})
		return appendMessage(nil, frameRefused, &enrollpb.Refused{Why: enrollpb.Refused_WHY_BUSY})
	}
	chain, err := srv.certify(ctx, req)
	if err != nil {
		why := refusalOf(err)
		srv.cfg.Logger.Warn("enrolment refused", "addr", req.Addr, "why", why, "reason", err)
		return appendMessage(nil, frameRefused, &enrollpb.Refused{Why: why})
	}
	m := &enrollpb.Issued{}
	for _, cert := range chain {
		m.Chain = append(m.Chain, cert.Raw)
	}
	srv.cfg.Logger.Info("enrolled", "addr", req.Addr, "subject", chain[0].Subject.CommonName, "fingerprint", certs.FingerprintOf(chain[0]))
	return appendMessage(nil, frameIssued, m)
}

// certify asks the Enroller.
func (srv *Server) certify(ctx context.Context, req *EnrollRequest) (chain []*x509.Certificate, err error) {
	defer func() {
		// What a stranger asks for must not end everybody's process.
		if p := recover(); p != nil {
			chain, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	chain, err = srv.cfg.Enroll(ctx, req)
	if err == nil && len(chain) == 0 {
		err = errors.New("no certificate")
	}
	return chain, err
}

// refusalOf is what is said of an Enroller's error.
func refusalOf(err error) enrollpb.Refused_Why {
	if e, ok := errors.AsType[*certs.TokenError](err); ok {
		switch e.Reason {
		case certs.TokenWrong:
			return enrollpb.Refused_WHY_WRONG
		case certs.TokenUsed:
			return enrollpb.Refused_WHY_USED
		case certs.TokenExpired:
			return enrollpb.Refused_WHY_EXPIRED
		case certs.TokenTaken:
			return enrollpb.Refused_WHY_TAKEN
		case certs.TokenRevoked:
			return enrollpb.Refused_WHY_REVOKED
		}
	}
	if errors.Is(err, certs.ErrRequest) {
		return enrollpb.Refused_WHY_BAD_REQUEST
	}
	return enrollpb.Refused_WHY_INTERNAL
}
