package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/certs"
)

// TLS alerts with which a certificate is refused (RFC 8446, section 6.2).
const (
	tlsBadCertificate tls.AlertError = 42
	tlsExpired        tls.AlertError = 45
	tlsUnknownCA      tls.AlertError = 48
)

// tlsConfig returns the part of the TLS configuration that both sides share: TLS 1.3
// only, mutual, no tickets and so no resumption and no 0-RTT. The chain is
// verified by verify alone, against the pinned authority or CAs: identities and purposes are SPIFFE's, so
// crypto/tls's own check is not enough.
func tlsConfig(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true,
		VerifyConnection:       verify,
	}
}

// serverTLS returns a server's TLS configuration. What it presents and trusts is that of clients, whose
// verifier may be exchanged at any time.
func serverTLS(cfg *Config, counters *counters, clients *atomic.Pointer[verifier]) *tls.Config {
	t := tlsConfig(func(cs tls.ConnectionState) error {
		err := clients.Load().inHandshake(cs)
		if err != nil {
			e := &Error{Code: Unauthorized}
			if v, ok := errors.AsType[*certs.VerifyError](err); ok && v.Reason == certs.Expired {
				e.Code = Expired
			}
			counters.refuse(e)
			cfg.Logger.Warn("client certificate not accepted", "reason", err)
		}
		return withAlert(err)
	})
	t.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &clients.Load().cred.Certificate, nil }
	t.Time = func() time.Time { return clients.Load().now() }
	t.KeyLogWriter = cfg.KeyLog
	t.ClientAuth = tls.RequireAnyClientCert // any that verify accepts
	return t
}

// newClientVerifier returns what verifies a server's clients.
func newClientVerifier(cred *certs.Credentials) *verifier {
	return newVerifier(cred, cred.VerifyClient)
}

// clientTLS returns the TLS configuration of a client with cred, and what verifies the server that is dialled as host.
func clientTLS(cfg *Config, cred *certs.Credentials, host string) (*tls.Config, *verifier) {
	v := newVerifier(cred, func(chain []*x509.Certificate) (certs.ID, error) { return cred.VerifyServerAt(host, chain) })
	t := tlsConfig(func(cs tls.ConnectionState) error { return withAlert(v.inHandshake(cs)) })
	t.Certificates = []tls.Certificate{cred.Certificate}
	t.Time = cred.Now
	t.KeyLogWriter = cfg.KeyLog
	t.InsecureSkipVerify = true //nolint:forbidigo // VerifyConnection verifies the chain, the purpose, the SPIFFE ID, and with CAs the host name
	if len(cred.CAs) > 0 {
		t.ServerName = host // else quic-go names the address that host resolved to
	}
	return t, v
}

// withAlert says with which alert crypto/tls should refuse, so that the peer learns
// whether its certificate has expired. QUIC carries the alert in its close code.
func withAlert(err error) error {
	if err == nil {
		return nil
	}
	alert := tlsBadCertificate
	if v, ok := errors.AsType[*certs.VerifyError](err); ok {
		switch v.Reason {
		case certs.Expired:
			alert = tlsExpired
		case certs.UnknownAuthority:
			alert = tlsUnknownCA
		case certs.NoCertificate, certs.WrongPurpose, certs.WrongDomain, certs.BadIdentity, certs.WrongHost:
		}
	}
	return fmt.Errorf("%w (%w)", err, alert)
}

// A verifier verifies chains, in the handshake and again before a session is made (M3). It remembers
// whose it has just accepted in a handshake, so that the signatures are checked once: that is 110 of the
// 1,800 µs of CPU that an establishment costs either side.
type verifier struct {
	cred      *certs.Credentials // to which verify belongs
	verify    verifyFunc
	authority *x509.Certificate
	now       func() time.Time

	mu       sync.Mutex // guards what follows
	accepted []accepted
	next     int // the oldest, once there are maxAccepted
}

type verifyFunc func(chain []*x509.Certificate) (certs.ID, error)

// An accepted is a leaf that came with a chain that was verified. The pointer tells the handshake: on a
// server each parses its own, and a client, where crypto/tls shares what is parsed, has a verifier for each.
type accepted struct {
	leaf  *x509.Certificate
	until time.Time // when the first of the chain expires, with the authority
	id    certs.ID
}

// maxAccepted is how many handshakes a verifier remembers whose session has not been made yet. More
// are in flight only under a load where one signature more does not matter, or in an attack.
const maxAccepted = 64

// newVerifier returns a verifier with the authority and the clock of cred, to which verify belongs.
func newVerifier(cred *certs.Credentials, verify verifyFunc) *verifier {
	v := &verifier{cred: cred, verify: verify, authority: cred.Authority, now: cred.Now}
	if v.now == nil {
		v.now = time.Now
	}
	return v
}

// inHandshake verifies the chain that the peer presents.
func (v *verifier) inHandshake(cs tls.ConnectionState) error {
	id, err := v.verify(cs.PeerCertificates)
	if err != nil {
		return err
	}
	a := accepted{leaf: cs.PeerCertificates[0], until: cs.PeerCertificates[0].NotAfter, id: id}
	if v.authority != nil && v.authority.NotAfter.Before(a.until) { // which the peer need not send
		a.until = v.authority.NotAfter
	}
	others := v.cred.CAs // one that is not in this chain costs no more than another look
	if v.cred.Cross != nil {
		others = append(slices.Clip(others), v.cred.Cross) // whose end ends trust in the authority before
	}
	for _, other := range others {
		if other.NotAfter.Before(a.until) {
			a.until = other.NotAfter
		}
	}
	for _, cert := range cs.PeerCertificates {
		if cert.NotAfter.Before(a.until) {
			a.until = cert.NotAfter
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.accepted) < maxAccepted {
		v.accepted = append(v.accepted, a)
		return nil
	}
	v.accepted[v.next] = a
	v.next = (v.next + 1) % maxAccepted
	return nil
}

// check looks again, before a session is made, at what the handshake agreed on.
func (v *verifier) check(cs tls.ConnectionState) (certs.ID, error) {
	if cs.NegotiatedProtocol != ALPN {
		return certs.ID{}, &Error{Code: Protocol, Reason: "no common protocol (ALPN)"}
	}
	if id, ok := v.take(cs.PeerCertificates); ok {
		return id, nil
	}
	id, err := v.verify(cs.PeerCertificates)
	if err != nil {
		return certs.ID{}, &Error{Code: Unauthorized, Reason: "certificate not accepted", Err: err}
	}
	return id, nil
}

// take returns, once, whom a handshake has accepted with chain, which is still valid.
func (v *verifier) take(chain []*x509.Certificate) (certs.ID, bool) {
	if len(chain) == 0 {
		return certs.ID{}, false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, a := range v.accepted {
		if a.leaf == chain[0] {
			v.accepted[i] = accepted{}
			return a.id, !v.now().After(a.until)
		}
	}
	return certs.ID{}, false
}
