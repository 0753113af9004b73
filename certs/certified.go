package certs

import (
	"crypto/x509"
	"time"
)

// Certified is which keys of users the authority had on record at one moment. It does not change.
type Certified struct {
	authorities authorities
	keys        map[certifiedKey]issued
	now         func() time.Time
}

type certifiedKey struct {
	name string
	key  Fingerprint
}

// Certified reads which keys of users are certified now. The error is [ErrNoAuthority] in a home that has no
// authority.
func (h *Home) Certified() (*Certified, error) {
	as, err := h.loadAuthorities()
	if err != nil {
		return nil, err
	}
	if as.current == nil {
		return nil, ErrNoAuthority
	}
	return h.certified(as)
}

func (h *Home) certified(as authorities) (*Certified, error) {
	all, err := h.loadIssued()
	if err != nil {
		return nil, err
	}
	c := &Certified{authorities: as.at(h.env.now()), keys: make(map[certifiedKey]issued), now: h.env.now}
	for _, i := range all {
		c.keys[certifiedKey{i.name, i.key}] = i
	}
	return c, nil
}

// Check says whether who was let in with cert may stay. That is so while cert is good: it is valid, and of an authority that is
// trusted. After that it is so if the authority has since certified the same key for the same user anew: then its holder
// has, or will get, what is good, and its connection is not closed for having been made with what was good then. Otherwise the error is a
// [*VerifyError], for the reason Expired or UnknownAuthority.
func (c *Certified) Check(cert *x509.Certificate) error {
	e := &VerifyError{Reason: UnknownAuthority, Expected: FingerprintOf(c.authorities.current), Peer: FingerprintOf(cert)}
	if c.authorities.signerOf(cert) != nil {
		if validAt(cert, c.now()) {
			return nil
		}
		e.Reason = Expired
	}
	id, err := IDFromCertificate(cert)
	if err != nil || id.kind != kindUser {
		return e
	}
	if i, known := c.keys[certifiedKey{id.Name, e.Peer}]; known && c.now().Before(i.until) && c.trusts(i.authority) {
		return nil
	}
	return e
}

// trusts says whether what that authority has certified is good. A record that does not say whose it is is of a time when there
// had been one authority only.
func (c *Certified) trusts(authority Fingerprint) bool {
	return authority.IsZero() || authority == FingerprintOf(c.authorities.current) ||
		c.authorities.former != nil && authority == FingerprintOf(c.authorities.former)
}
