package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// Credentials is what one side of a session presents and what it trusts. It is
// safe for concurrent use as long as nobody changes it. The zero value presents
// nothing and trusts nobody.
type Credentials struct {
	// Certificate is the own chain and key. The chain ends in the authority, so
	// that a peer who pinned another one can say which it was shown.
	Certificate tls.Certificate

	// Authority is pinned: whom it did not sign is a stranger.
	Authority *x509.Certificate

	// Former is trusted beside Authority, which has succeeded it, for as long as Cross is good: Authority's certificate that
	// Former signed. Both are nil but in the overlap after a rotation, see [Home.Rotate].
	Cross, Former *x509.Certificate

	// AuthorityKey pins the authority by its key alone, if Authority is nil: the peer's chain must have the
	// self-signed certificate of that key. It is what a join token and known_servers know.
	AuthorityKey Fingerprint

	// CAs, if there are any, are trusted instead of Authority and AuthorityKey, as in the Web PKI: the peer may be of
	// any trust domain, and a server must have the name by which it was dialled, see [Credentials.VerifyServerAt]. Each
	// vouches for every domain, unless its name constraints say otherwise. The default is none.
	CAs []*x509.Certificate

	// Now is the clock for verification. The default is [time.Now]. TLS has a
	// clock of its own, tls.Config.Time.
	Now func() time.Time
}

func newCredentials(leaf *x509.Certificate, key crypto.Signer, as authorities, now func() time.Time) (*Credentials, error) {
	if !sameKey(key.Public(), leaf.PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	return &Credentials{
		Certificate: tls.Certificate{
			Certificate: rawOf(as.chain(leaf)),
			PrivateKey:  key,
			Leaf:        leaf,
		},
		Authority: as.current,
		Cross:     as.cross,
		Former:    as.former,
		Now:       now,
	}, nil
}

// ID returns the own identity, or the zero ID if there is no certificate or none
// with a valid identity.
func (c *Credentials) ID() ID {
	leaf := c.Certificate.Leaf
	if leaf == nil && len(c.Certificate.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(c.Certificate.Certificate[0])
	}
	id, _ := IDFromCertificate(leaf)
	return id
}

// Roots returns a new pool with the pinned authority, and the one before it while that is trusted, or with the CAs. It is
// never nil, which crypto/tls and crypto/x509 would take for the roots of the system.
func (c *Credentials) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, ca := range c.trusted() {
		pool.AddCert(ca)
	}
	return pool
}

// trusted returns whose signatures count now.
func (c *Credentials) trusted() []*x509.Certificate {
	switch {
	case len(c.CAs) > 0:
		return c.CAs
	case c.Authority == nil:
		return nil
	case c.Former == nil || c.Cross == nil || !validAt(c.Cross, c.now()):
		return []*x509.Certificate{c.Authority}
	default:
		return []*x509.Certificate{c.Authority, c.Former}
	}
}

func (c *Credentials) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// VerifyClient returns the identity of a client that presented chain, the
// PeerCertificates of a tls.ConnectionState: leaf first. The chain must lead to
// the pinned authority, be valid now, and be for clients; the leaf must name, in
// its one URI SAN, a user of the authority's domain (X.509-SVID, section 5.2), or with CAs of any.
// The error is a [*VerifyError]. Whether the peer holds the key is for TLS to
// check, and whether it was revoked for [Home.CheckRevoked].
func (c *Credentials) VerifyClient(chain []*x509.Certificate) (ID, error) {
	return c.verify(chain, x509.ExtKeyUsageClientAuth, kindUser)
}

// VerifyServer is VerifyClient for the other side: the chain must be for servers,
// and the leaf must name the server of the authority's domain. The host name is
// not checked, because the server is whoever the pinned authority says it is,
// under any address. With CAs nobody is accepted: that needs [Credentials.VerifyServerAt].
func (c *Credentials) VerifyServer(chain []*x509.Certificate) (ID, error) {
	if len(c.CAs) > 0 {
		return c.VerifyServerAt("", chain)
	}
	return c.verify(chain, x509.ExtKeyUsageServerAuth, kindServer)
}

func (c *Credentials) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage, kind idKind) (ID, error) {
	own := len(c.CAs) > 0
	if !own && c.Authority == nil && !c.AuthorityKey.IsZero() {
		return c.verifyByKey(chain, usage, kind)
	}
	fail := func(reason Reason, err error) (ID, error) {
		return ID{}, c.failure(chain, reason, err)
	}

	if !own && c.Authority == nil {
		return fail(UnknownAuthority, errors.New("no authority is pinned"))
	}
	if len(chain) == 0 || slices.Contains(chain, nil) {
		return fail(NoCertificate, nil)
	}
	if err := c.verifyChain(chain, usage); err != nil {
		return fail(reasonOf(err), err)
	}

	leaf := chain[0]
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return fail(BadIdentity, errors.New("an authority is not a peer"))
	}
	id, err := IDFromCertificate(leaf)
	if err != nil {
		return fail(BadIdentity, err)
	}
	if !own {
		domain, err := authorityDomain(c.Authority)
		if err != nil {
			return fail(WrongDomain, err)
		}
		if id.Domain != domain {
			return fail(WrongDomain, errors.New(id.String()+" is not of "+domain))
		}
	}
	if id.kind != kind {
		return fail(BadIdentity, errors.New(id.String()+" is not for this side of a session"))
	}
	return id, nil
}

// failure says why whoever presented chain is not accepted.
func (c *Credentials) failure(chain []*x509.Certificate, reason Reason, err error) *VerifyError {
	e := &VerifyError{Reason: reason, Err: err}
	if len(c.CAs) == 0 {
		e.Expected = FingerprintOf(c.Authority)
	}
	if len(chain) > 0 {
		e.Peer = FingerprintOf(chain[0])
		e.Got = FingerprintOf(chain[len(chain)-1])
	}
	return e
}

func (c *Credentials) verifyChain(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	opts := x509.VerifyOptions{
		Roots:       c.Roots(),
		CurrentTime: c.now(),
		KeyUsages:   []x509.ExtKeyUsage{usage},
	}
	trusted := c.trusted()
	for _, cert := range chain[1:] {
		// Peers send the authority, too, and in an overlap the one before. Tried as an intermediate beside the root that it is, it leads
		// nowhere, but each signature under it is checked twice: 220 µs instead of 112 (BenchmarkVerifyClient).
		if slices.ContainsFunc(trusted, cert.Equal) {
			continue
		}
		if opts.Intermediates == nil {
			opts.Intermediates = x509.NewCertPool()
		}
		opts.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(opts)
	if err == nil || reasonOf(err) != Expired {
		return err
	}
	// crypto/x509 looks at the dates of the leaf before anything else, but a
	// stranger's expired certificate is a stranger's first of all.
	opts.CurrentTime = chain[0].NotAfter
	if _, other := chain[0].Verify(opts); other != nil && reasonOf(other) != Expired {
		return other
	}
	return err
}
