package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
	"github.com/trunkline-go/trunkline/transport/internal/enrollpb"
)

// What the tests reach for beyond the public API.

const (
	PingPadding       = pingPadding
	MaxUnknownStreams = maxUnknownStreams
	CloseGrace        = closeGrace
	MaxControlFrame   = maxControlFrame
	ControlBurst      = controlBurst
)

// CloseCodeRows returns the registry as text, for the test of the table.
func CloseCodeRows() (codes []CloseCode, names []string, classes []Class, next []NextStep) {
	for _, row := range closeCodes {
		codes, names, classes, next = append(codes, row.code), append(names, row.name), append(classes, row.class), append(next, row.next)
	}
	return codes, names, classes, next
}

// AppendHello, and what follows it, append control frames as they go out.
func AppendHello(client string, id, key [16]byte, attempt uint64) []byte {
	return appendMessage(nil, frameHello, &controlpb.Hello{Client: client, SessionId: id[:], ResumeKey: key[:], Attempt: attempt})
}

func AppendWelcome(kept bool, why, identity, server string, holdMs uint64) []byte {
	return appendMessage(nil, frameWelcome, &controlpb.Welcome{
		Kept: kept, NotKeptReason: why, Identity: identity, Limits: &controlpb.Limits{HoldMs: holdMs}, Server: server,
	})
}

func AppendGoAway(last, afterMs, leftMs uint64, reason string) []byte {
	return appendMessage(nil, frameGoAway, &controlpb.GoAway{LastStream: last, ReconnectAfterMs: afterMs, TimeLeftMs: leftMs, Reason: reason})
}

func AppendFinish(mode int32, lastOpened uint64) []byte {
	return appendMessage(nil, frameFinish, &controlpb.Finish{Mode: controlpb.Finish_Mode(mode), LastOpened: lastOpened})
}

func AppendForcedFinish() []byte {
	return appendMessage(nil, frameFinish, &controlpb.Finish{Mode: controlpb.Finish_MODE_LEAVE, Force: true})
}

func AppendNotFinished(reason string) []byte {
	return appendMessage(nil, frameNotFinished, &controlpb.NotFinished{Reason: reason})
}

func AppendDisconnect(lastOpened uint64) []byte {
	return appendMessage(nil, frameDisconnect, &controlpb.Disconnect{LastOpened: lastOpened})
}

func AppendPing(padding int) []byte {
	return appendMessage(nil, framePing, &controlpb.Ping{Padding: make([]byte, padding)})
}

func AppendPong() []byte { return appendMessage(nil, framePong, &controlpb.Pong{}) }

// ClientTLS returns the TLS configuration of a client.
func ClientTLS(cfg *Config) *tls.Config {
	conf, _ := clientTLS(cfg, cfg.Credentials, "")
	return conf
}

// ServerTLS returns the TLS configuration of a server.
func ServerTLS(cfg *Config) *tls.Config {
	var clients atomic.Pointer[verifier]
	clients.Store(newClientVerifier(cfg.Credentials))
	return serverTLS(cfg.withDefaults(), newCounters(), &clients)
}

// A Verifier verifies clients, in the handshake and again.
type Verifier struct{ v *verifier }

// NewVerifier returns one, and what counts how often it has verified a chain.
func NewVerifier(cred *certs.Credentials) (v Verifier, verified *int) {
	verified = new(int)
	return Verifier{newVerifier(cred, func(chain []*x509.Certificate) (certs.ID, error) {
		*verified++
		return cred.VerifyClient(chain)
	})}, verified
}

func (v Verifier) InHandshake(cs tls.ConnectionState) error { return v.v.inHandshake(cs) }

func (v Verifier) Check(cs tls.ConnectionState) (certs.ID, error) { return v.v.check(cs) }

const MaxAccepted = maxAccepted

// HoldsBuffer says whether a reader holds memory that others could use.
func HoldsBuffer(f *FrameReader) bool { return f.buf != nil || f.large != nil }

// Running returns how many streams of the peer's the credit of s counts as running.
func Running(s *Session) int {
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.credit.running
}

// QUICConfig returns the QUIC configuration of either side.
func QUICConfig(cfg *Config) *quic.Config { return cfg.withDefaults().quicConfig() }

// Resume makes a new connection for s's session, with its id and key and this attempt, as another
// process would that has them.
func Resume(ctx context.Context, s *Session, addr string, attempt uint64, cfg *Config) (*Session, error) {
	return ResumeWithKey(ctx, s, s.key, addr, attempt, cfg)
}

// ResumeWithKey is Resume with another key.
func ResumeWithKey(ctx context.Context, s *Session, key [16]byte, addr string, attempt uint64, cfg *Config) (*Session, error) {
	again := newSession(cfg.withDefaults(), s.id, key)
	again.redial = &redial{addr: addr, socket: cfg.PacketConn}
	again.attempt = attempt - 1
	if err := again.connect(ctx); err != nil {
		return nil, err
	}
	return again, nil
}

// Slept is slept.
func Slept(wall, monotonic time.Duration) bool { return slept(wall, monotonic) }

// Conn returns the connection that carries s.
func Conn(s *Session) *quic.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link.conn
}

// CloseConn closes the connection that carries s, if there is one, without a word to s.
func CloseConn(s *Session, code CloseCode) {
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l != nil {
		_ = l.conn.CloseWithError(quic.ApplicationErrorCode(code), "closed by the test")
	}
}

// Drain drains one session of a server's, which goes on.
func Drain(ctx context.Context, s *Session, reconnectAfter time.Duration) {
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	l.drain(ctx, reconnectAfter)
}

// ResumeKey returns the secret of s.
func ResumeKey(s *Session) [16]byte { return s.key }

const MaxEnrolling = maxEnrolling

// AppendEnroll appends ENROLL as it goes out.
func AppendEnroll(secret, request []byte) []byte {
	return appendMessage(nil, frameEnroll, &enrollpb.Enroll{Secret: secret, Request: request})
}
