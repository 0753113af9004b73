package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ErrNotRenewable says that a certificate is not of a user of the authority's, or has expired.
var ErrNotRenewable = errors.New("the certificate can't be renewed")

// RenewAt is when a certificate should be renewed: when two thirds of its life are over.
func RenewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// Renew certifies the key of cert for another term, under the same name, and returns the new certificate and the
// authority's. That who asks has that key, is for the caller to know: a server has verified its peers. If
// a connection is so old that cert is not good any more, it counts that the key was certified since, as for [Certified.Check]. The error is a [*RevokedError] if the name or the key was revoked, [ErrNotRenewable], or [ErrNoAuthority] in
// a home that cannot sign.
func (h *Home) Renew(cert *x509.Certificate) ([]*x509.Certificate, error) {
	if !h.HasAuthority() {
		return nil, fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
	}
	id, err := IDFromCertificate(cert)
	if err != nil {
		return nil, err
	}
	key, err := fingerprintOfKey(cert.PublicKey)
	if err != nil {
		return nil, err
	}
	return h.certify(func(a *Authority) (*x509.Certificate, error) {
		if id.kind != kindUser || id.Domain != a.domain {
			return nil, fmt.Errorf("%w: %s is not a user of %s", ErrNotRenewable, id, a.domain)
		}
		known, err := h.certified(a.authorities)
		if err != nil {
			return nil, err
		}
		if err := known.Check(cert); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotRenewable, err)
		}
		denied, err := h.loadRevoked()
		if err != nil {
			return nil, err
		}
		if err := denied.check(id, key); err != nil {
			return nil, err
		}
		if err := h.recordIssued(a, id.Name, key); err != nil {
			return nil, err
		}
		return a.Sign(id, cert.PublicKey, nil)
	})
}

// KeepRenewed keeps the certificate that a server answered with, leaf first, if it is for the key that the home has of
// that user, and is good for as long as the one that is there. If it is of an authority that has succeeded the home's, the home
// follows, as with [Home.Follow]. It returns what the home has then. The old one stays if anything fails.
func (h *Home) KeepRenewed(name string, chain []*x509.Certificate) (*Credentials, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	err := h.update(func() error {
		creds, err := h.loadCredentials(userStem(name))
		if err != nil {
			return err
		}
		if creds == nil {
			return fmt.Errorf("%w: %s in %s", ErrNoIdentity, name, h.dir)
		}
		id, err := creds.VerifyClient(chain)
		if err != nil {
			return fmt.Errorf("the server's answer: %w", err)
		}
		there := creds.Certificate.Leaf
		if id != creds.ID() {
			return fmt.Errorf("the server's answer is for %s", id)
		}
		if !sameKey(there.PublicKey, chain[0].PublicKey) {
			return errors.New("the server's answer is for another key")
		}
		if chain[0].NotAfter.Before(there.NotAfter) {
			return nil // another was first
		}
		as, err := h.loadAuthorities()
		if err != nil {
			return err
		}
		as, changed, err := followFrom(as, chain, h.env.now())
		if err != nil {
			return err
		}
		if changed { // before the certificate, which it has signed, as it has the one that is there
			if err := replace(h.path(certFile(authorityStem)), as.encode()); err != nil {
				return err
			}
		}
		return replace(h.path(certFile(userStem(name))), encodeCertificate(chain[0]))
	})
	if err != nil {
		return nil, err
	}
	creds, err := h.loadCredentials(userStem(name))
	if err == nil && creds == nil {
		err = fmt.Errorf("%w: %s in %s", ErrNoIdentity, name, h.dir)
	}
	return creds, err
}
