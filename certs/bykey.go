package certs

import "crypto/x509"

// AuthorityIn returns the self-signed certificate of the authority with that key in the chain that a peer
// presented, or nil. That it is self-signed shows that its limits are the authority's own: anybody can make a
// certificate for a key that is somebody else's.
func AuthorityIn(chain []*x509.Certificate, key Fingerprint) *x509.Certificate {
	for _, cert := range chain {
		if cert != nil && FingerprintOf(cert) == key && selfSigned(cert) {
			return cert
		}
	}
	return nil
}

// AuthorityOf returns the authority that a peer who presented chain claims to be of: the last of the chain, if it
// is self-signed. It says nothing about whether the claim is true. Nil if there is none.
func AuthorityOf(chain []*x509.Certificate) *x509.Certificate {
	if len(chain) < 2 {
		return nil
	}
	last := chain[len(chain)-1]
	return AuthorityIn(chain, FingerprintOf(last))
}

// verifyByKey is verify where the authority is pinned by its key.
func (c *Credentials) verifyByKey(chain []*x509.Certificate, usage x509.ExtKeyUsage, kind idKind) (ID, error) {
	whole := *c
	whole.AuthorityKey, whole.Cross, whole.Former = Fingerprint{}, nil, nil
	whole.Authority = AuthorityIn(chain, c.AuthorityKey)
	if whole.Authority != nil {
		return whole.verify(chain, usage, kind)
	}
	e := &VerifyError{Reason: UnknownAuthority, Expected: c.AuthorityKey}
	if len(chain) == 0 {
		e.Reason = NoCertificate
		return ID{}, e
	}
	e.Peer, e.Got = FingerprintOf(chain[0]), FingerprintOf(chain[len(chain)-1])
	return ID{}, e
}
