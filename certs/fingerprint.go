package certs

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
)

const fingerprintPrefix = "SHA256:"

// Fingerprint is the SHA-256 of a SubjectPublicKeyInfo (RFC 5280, section 4.1).
// It names a key, not a certificate, and so outlives every renewal. The zero
// Fingerprint is that of no key.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of the certificate's key, and the zero
// Fingerprint for nil.
func FingerprintOf(cert *x509.Certificate) Fingerprint {
	if cert == nil {
		return Fingerprint{}
	}
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// ParseFingerprint reads what [Fingerprint.String] writes, and nothing else.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	text, ok := strings.CutPrefix(s, fingerprintPrefix)
	if !ok || len(text) != base64.RawStdEncoding.EncodedLen(len(f)) {
		return Fingerprint{}, fmt.Errorf("%s is not a fingerprint: want %s and 43 characters of base64", quote(s), fingerprintPrefix)
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	// The decoder skips line breaks, and then what it decodes is too short.
	if err != nil || len(b) != len(f) {
		return Fingerprint{}, fmt.Errorf("%s is not a fingerprint: the base64 is not valid", quote(s))
	}
	return Fingerprint(b), nil
}

// String returns "SHA256:" and the unpadded base64, as OpenSSH prints keys.
func (f Fingerprint) String() string {
	return fingerprintPrefix + base64.RawStdEncoding.EncodeToString(f[:])
}

// IsZero reports whether f is that of no key.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

func fingerprintOfKey(pub crypto.PublicKey) (Fingerprint, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("encode key: %w", err)
	}
	return sha256.Sum256(der), nil
}
