package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/quic-go/quic-go"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport/internal/enrollpb"
)

// ALPNEnroll is the protocol with which somebody who has no certificate yet asks for one.
const ALPNEnroll = "trunkline-enroll/1"

// Frames of the one stream of an enrolment. The bodies are the protobuf messages of
// internal/enrollpb/enroll.proto.
const (
	frameEnroll  FrameType = 0x01 // client → server, then FIN
	frameIssued  FrameType = 0x03 // server → client, then FIN
	frameRefused FrameType = 0x05 // server → client, then FIN
)

const (
	// maxEnroll bounds the body of ENROLL, and of REFUSED, in bytes.
	maxEnroll = 8 << 10
	// maxIssued bounds the body of ISSUED, in bytes: a leaf and a few authorities.
	maxIssued = 64 << 10
	// maxChain is how many certificates it may have.
	maxChain = 8
)

// An EnrollRequest asks for a certificate.
type EnrollRequest struct {
	Secret  [16]byte // of the join token
	Request []byte   // PKCS #10, DER
	Addr    net.Addr // of who asks; a server sets it
}

// Enroll asks the server at addr ("host:port") for a certificate, and returns the chain that it answers with, leaf
// first, which it does not verify. Of cfg it uses the Credentials, whose authority the server has to be of, before
// anything is said to it; Certificate is not presented. The socket and the timeouts count, too.
//
// The error is a [*certs.TokenError] if the token is not good, or an [*Error], as for [Dial]: with the code
// ExcessiveLoad if there were too many attempts. After an [*Error] with the code Lost the request may have been granted: it can be repeated.
func Enroll(ctx context.Context, addr string, cfg *Config, req *EnrollRequest) ([]*x509.Certificate, error) {
	cfg = cfg.withDefaults()
	var verified bool // by the handshake, in this goroutine's time
	conn, closeConn, err := dialEnroll(ctx, addr, cfg, func(chain []*x509.Certificate) error {
		_, err := cfg.Credentials.VerifyServer(chain)
		verified = err == nil
		return err
	})
	if err != nil {
		return nil, err
	}
	defer closeConn()
	if !verified {
		return nil, &Error{Code: Unauthorized, Reason: "the server was not verified"}
	}
	stream, err := conn.OpenStream()
	if err != nil {
		return nil, fromQUIC(err)
	}
	defer stream.CancelRead(quic.StreamErrorCode(StreamCanceled))
	_ = stream.SetDeadline(time.Now().Add(cfg.IdleTimeout))
	defer context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Now()) })()
	frame := appendMessage(nil, frameEnroll, &enrollpb.Enroll{Secret: req.Secret[:], Request: req.Request})
	if _, err := stream.Write(frame); err != nil {
		return nil, enrollError(ctx, err)
	}
	if err := stream.Close(); err != nil {
		return nil, enrollError(ctx, err)
	}
	r := NewFrameReader(stream)
	defer r.free()
	t, body, err := r.ReadFrame(enrolledLimit)
	if err != nil {
		return nil, enrollError(ctx, err)
	}
	return parseEnrolled(t, body)
}

// enrollError says why there was no answer.
func enrollError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Code: Lost, Reason: "no answer", Err: err}
	}
	if errors.Is(err, net.ErrClosed) {
		return fromQUIC(err)
	}
	return &Error{Code: Protocol, Reason: "no answer that can be read", Err: err}
}

func enrollLimit(t FrameType) (uint64, bool) { return maxEnroll, t == frameEnroll }

func enrolledLimit(t FrameType) (uint64, bool) {
	if t == frameIssued {
		return maxIssued, true
	}
	return maxEnroll, t == frameRefused
}

// parseEnrolled reads the server's answer.
func parseEnrolled(t FrameType, body []byte) ([]*x509.Certificate, error) {
	if t == frameRefused {
		var m enrollpb.Refused
		if err := proto.Unmarshal(body, &m); err != nil {
			return nil, &Error{Code: Protocol, Reason: "malformed REFUSED"}
		}
		return nil, refusedError(&m)
	}
	var m enrollpb.Issued
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, &Error{Code: Protocol, Reason: "malformed ISSUED"}
	}
	if n := len(m.GetChain()); n == 0 || n > maxChain {
		return nil, &Error{Code: Protocol, Reason: fmt.Sprintf("ISSUED has %d certificates", n)}
	}
	var chain []*x509.Certificate
	for _, der := range m.GetChain() {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, &Error{Code: Protocol, Reason: "ISSUED has what is no certificate", Err: err}
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// refusedError returns the error for a refusal, refusal the reverse.
func refusedError(m *enrollpb.Refused) error {
	switch m.GetWhy() {
	case enrollpb.Refused_WHY_WRONG, enrollpb.Refused_WHY_USED, enrollpb.Refused_WHY_EXPIRED,
		enrollpb.Refused_WHY_TAKEN, enrollpb.Refused_WHY_REVOKED:
		return &certs.TokenError{Reason: certs.TokenReason(m.GetWhy())}
	case enrollpb.Refused_WHY_BUSY:
		return &Error{Code: ExcessiveLoad, Remote: true, Reason: "too many attempts to join; try again in a minute"}
	case enrollpb.Refused_WHY_BAD_REQUEST:
		return &Error{Code: Protocol, Remote: true, Reason: "the server did not accept the certificate request"}
	default:
		return &Error{Code: Internal, Remote: true, Reason: "the server could not issue a certificate"}
	}
}

// ServerChain returns the certificates that the server at addr ("host:port") presents, leaf first, of which it
// verifies nothing but that the server has the leaf's key: it is for showing a person whom they are
// about to trust. Nothing is said to the server. Of cfg it uses the socket and the timeouts. The error is an
// [*Error], as for [Dial].
func ServerChain(ctx context.Context, addr string, cfg *Config) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	_, closeConn, err := dialEnroll(ctx, addr, cfg.withDefaults(), func(presented []*x509.Certificate) error {
		chain = presented
		return nil
	})
	if err != nil {
		return nil, err
	}
	closeConn()
	return chain, nil
}

// dialEnroll makes a connection for an enrolment. verify is given what the server presents, in the handshake.
func dialEnroll(ctx context.Context, addr string, cfg *Config, verify func([]*x509.Certificate) error) (conn *quic.Conn, closeConn func(), err error) {
	pc := cfg.PacketConn
	if pc == nil {
		pc, err = cfg.newSocket()
	}
	if err != nil {
		return nil, nil, &Error{Code: Lost, Reason: "no socket", Err: err}
	}
	tr := &quic.Transport{Conn: pc}
	closeTransport := func() {
		_ = tr.Close() // nothing is left on it
		_ = pc.Close()
	}
	udpAddr, err := resolve(ctx, addr)
	if err != nil {
		closeTransport()
		return nil, nil, &Error{Code: Lost, Reason: "no such address: " + addr, Err: err}
	}
	conf := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPNEnroll},
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, //nolint:gosec // G402: VerifyConnection verifies, and where it does not, nothing is sent
		VerifyConnection:       func(cs tls.ConnectionState) error { return withAlert(verify(cs.PeerCertificates)) },
	}
	if cfg.Credentials != nil {
		conf.Time = cfg.Credentials.Now
	}
	quicConf := cfg.quicConfig()
	quicConf.MaxIncomingStreams = -1
	conn, err = tr.Dial(ctx, udpAddr, conf, quicConf)
	if err != nil {
		closeTransport()
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if _, silent := errors.AsType[*quic.IdleTimeoutError](err); silent {
			return nil, nil, &Error{Code: Lost, Reason: "no answer", Err: err}
		}
		return nil, nil, fromQUIC(err)
	}
	closeConn = func() {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(Released), "")
		closeTransport()
	}
	if conn.ConnectionState().TLS.NegotiatedProtocol != ALPNEnroll {
		closeConn()
		return nil, nil, &Error{Code: Protocol, Reason: "no common protocol (ALPN)"}
	}
	return conn, closeConn, nil
}
