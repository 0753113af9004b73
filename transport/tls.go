package transport

import (
	"crypto/tls"
	"errors"
	"fmt"

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
// verified by verify alone, against the pinned authority: names and purposes are SPIFFE's, not
// DNS's, so crypto/tls's own check does not apply.
func tlsConfig(cred *certs.Credentials, verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{cred.Certificate},
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true,
		Time:                   cred.Now,
		VerifyConnection:       verify,
	}
}

func serverTLS(cfg *Config) *tls.Config {
	t := tlsConfig(cfg.Credentials, func(cs tls.ConnectionState) error {
		_, err := cfg.Credentials.VerifyClient(cs.PeerCertificates)
		if err != nil {
			cfg.Logger.Warn("client certificate not accepted", "reason", err)
		}
		return withAlert(err)
	})
	t.ClientAuth = tls.RequireAnyClientCert // any that verify accepts
	return t
}

func clientTLS(cfg *Config) *tls.Config {
	t := tlsConfig(cfg.Credentials, func(cs tls.ConnectionState) error {
		_, err := cfg.Credentials.VerifyServer(cs.PeerCertificates)
		return withAlert(err)
	})
	t.InsecureSkipVerify = true //nolint:forbidigo // VerifyConnection verifies the chain, the purpose and the SPIFFE ID
	return t
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
		case certs.NoCertificate, certs.WrongPurpose, certs.WrongDomain, certs.BadIdentity:
		}
	}
	return fmt.Errorf("%w (%w)", err, alert)
}

// checkTLS looks again, before a session is made, at what the handshake agreed on.
func checkTLS(cs tls.ConnectionState, verify func(tls.ConnectionState) (certs.ID, error)) (certs.ID, error) {
	if cs.NegotiatedProtocol != ALPN {
		return certs.ID{}, &Error{Code: Protocol, Reason: "no common protocol (ALPN)"}
	}
	id, err := verify(cs)
	if err != nil {
		return certs.ID{}, &Error{Code: Unauthorized, Reason: "certificate not accepted", Err: err}
	}
	return id, nil
}
