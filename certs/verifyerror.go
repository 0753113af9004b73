package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Reason says why a peer was not accepted. The zero Reason is none.
type Reason uint8

const (
	// NoCertificate: the peer presented none.
	NoCertificate Reason = iota + 1
	// UnknownAuthority: the chain does not lead to the pinned authority, or
	// breaks its rules.
	UnknownAuthority
	// Expired: the pinned authority signed it, but not for this time. It has
	// expired, or is not yet valid, or a clock is wrong.
	Expired
	// WrongPurpose: a client's certificate shown by a server, or the reverse.
	WrongPurpose
	// WrongDomain: the identity is of a trust domain that is not the authority's.
	WrongDomain
	// BadIdentity: not exactly one URI SAN, or not the identity of a user where
	// a client is expected, or of the server where the server is.
	BadIdentity
	// WrongHost: the server does not have the name by which it was dialled. With [Credentials.CAs] alone.
	WrongHost
)

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case NoCertificate:
		return "no certificate"
	case UnknownAuthority:
		return "unknown authority"
	case Expired:
		return "expired or not yet valid"
	case WrongPurpose:
		return "wrong purpose"
	case WrongDomain:
		return "wrong trust domain"
	case BadIdentity:
		return "bad identity"
	case WrongHost:
		return "wrong host name"
	default:
		return fmt.Sprintf("reason(%d)", uint8(r))
	}
}

// VerifyError is why a peer was not accepted.
type VerifyError struct {
	Reason Reason

	// Expected is the key of the pinned authority, zero with [Credentials.CAs].
	Expected Fingerprint
	// Got is the key of the last certificate that the peer presented: that of
	// its authority, if it is one of ours. It is unverified, and zero if there
	// was no certificate.
	Got Fingerprint
	// Peer is the key of the peer itself, zero if there was no certificate.
	Peer Fingerprint

	// Err has the details. It may be nil.
	Err error
}

// Error names the reason and the details, and the fingerprints where it is the
// authority that is wrong.
func (e *VerifyError) Error() string {
	var b strings.Builder
	b.WriteString("verify peer: " + e.Reason.String())
	if e.Reason == UnknownAuthority && !e.Expected.IsZero() {
		fmt.Fprintf(&b, " (expected %s, got %s)", e.Expected, e.Got)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns Err.
func (e *VerifyError) Unwrap() error { return e.Err }

// reasonOf maps what crypto/x509 says about a chain.
func reasonOf(err error) Reason {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok {
		return UnknownAuthority
	}
	switch invalid.Reason {
	case x509.Expired:
		return Expired
	case x509.IncompatibleUsage:
		return WrongPurpose
	case x509.CANotAuthorizedForThisName:
		return WrongDomain
	default:
		return UnknownAuthority
	}
}
