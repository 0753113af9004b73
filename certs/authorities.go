package certs

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// authorities is what authority.crt holds: one certificate, or three while an authority that was rotated and the one before
// it are both good. RFC 4210, section 4.4, calls the three NewWithNew, NewWithOld and OldWithOld.
type authorities struct {
	current *x509.Certificate // self-signed; nil if there is none
	cross   *x509.Certificate // for the key of current, signed by former; it ends the overlap. nil without one
	former  *x509.Certificate // self-signed; nil without an overlap
}

// at leaves out what is no longer good.
func (as authorities) at(now time.Time) authorities {
	if as.cross != nil && !validAt(as.cross, now) {
		return authorities{current: as.current}
	}
	return as
}

// signerOf returns which of them signed leaf, or nil.
func (as authorities) signerOf(leaf *x509.Certificate) *x509.Certificate {
	for _, a := range []*x509.Certificate{as.current, as.former} {
		if a != nil && leaf.CheckSignatureFrom(a) == nil {
			return a
		}
	}
	return nil
}

// chain returns what is presented with leaf, which one of them signed: all that leads from it to whichever of them the peer has
// pinned, and the authority last, for that is who it is shown as.
func (as authorities) chain(leaf *x509.Certificate) []*x509.Certificate {
	switch {
	case as.former == nil:
		return []*x509.Certificate{leaf, as.current}
	case leaf.CheckSignatureFrom(as.current) != nil:
		return []*x509.Certificate{leaf, as.former}
	default:
		return []*x509.Certificate{leaf, as.cross, as.former, as.current}
	}
}

func (as authorities) encode() []byte {
	var data []byte
	for _, cert := range []*x509.Certificate{as.current, as.cross, as.former} {
		if cert != nil {
			data = append(data, encodeCertificate(cert)...)
		}
	}
	return data
}

// parseAuthorities reads what encode writes, and nothing else.
func parseAuthorities(data []byte) (authorities, error) {
	ders, err := decodePEMs(data, pemCertificate, 3)
	if err != nil {
		return authorities{}, err
	}
	var all []*x509.Certificate
	for _, der := range ders {
		cert, err := parseCertificateDER(der)
		if err != nil {
			return authorities{}, err
		}
		all = append(all, cert)
	}
	switch len(all) {
	case 1:
		return authorities{current: all[0]}, nil
	case 3:
		as := authorities{current: all[0], cross: all[1], former: all[2]}
		return as, as.check()
	default:
		return authorities{}, fmt.Errorf("there are %d certificates instead of 1 or 3", len(all))
	}
}

// check verifies that one authority has succeeded the other. Dates do not matter.
func (as authorities) check() error {
	domain, err := authorityDomain(as.current)
	if err != nil {
		return err
	}
	for _, cert := range []*x509.Certificate{as.cross, as.former} {
		if d, err := authorityDomain(cert); err != nil || d != domain {
			return errors.New("the authorities are not of one trust domain")
		}
	}
	switch {
	case !selfSigned(as.current) || !selfSigned(as.former):
		return errors.New("an authority has not signed itself")
	case sameKey(as.current.PublicKey, as.former.PublicKey):
		return errors.New("the authority and the one before it have one key")
	case !sameKey(as.cross.PublicKey, as.current.PublicKey):
		return errors.New("the cross certificate is for another key than the authority's")
	case !as.cross.IsCA || !as.cross.BasicConstraintsValid || as.cross.CheckSignatureFrom(as.former) != nil:
		return errors.New("the authority before did not sign the cross certificate")
	}
	return nil
}

// selfSigned says whether cert is that of an authority, signed with its own key.
func selfSigned(cert *x509.Certificate) bool {
	return cert.BasicConstraintsValid && cert.IsCA && cert.CheckSignatureFrom(cert) == nil
}

// loadAuthorities returns none for a home that has none.
func (h *Home) loadAuthorities() (authorities, error) {
	path := h.path(certFile(authorityStem))
	data, err := readFile(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return authorities{}, nil
	}
	if err != nil {
		return authorities{}, err
	}
	as, err := parseAuthorities(data)
	if err != nil {
		return authorities{}, fmt.Errorf("%s: %w", path, err)
	}
	return as, nil
}

// Successor makes an authority for the same trust domain, with a key of its own, that whoever trusts this one
// has reason to trust: until a leaf that is issued now expires, what it issues comes with a certificate of this one's for its
// key, and what this one has issued is good, too. This one should sign nothing any more. [Home.Rotate] makes one that lasts. An
// authority that has a predecessor can't have a successor before that overlap is over.
func (a *Authority) Successor() (*Authority, error) {
	key, err := a.env.newKey()
	if err != nil {
		return nil, err
	}
	as, err := a.succeed(key)
	if err != nil {
		return nil, err
	}
	return openAuthority(a.env, as, key)
}

// succeed makes the certificates of an authority with that key that succeeds this one.
func (a *Authority) succeed(key crypto.Signer) (authorities, error) {
	if a.at(a.env.now()).former != nil {
		// Who pinned the first would need a chain over two cross certificates, which its path length forbids.
		return authorities{}, ErrOverlap
	}
	current, err := selfSign(a.env, key, a.domain)
	if err != nil {
		return authorities{}, err
	}
	serial, err := a.env.newSerial()
	if err != nil {
		return authorities{}, err
	}
	template := &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     current.Subject,
		URIs:                        current.URIs,
		NotBefore:                   current.NotBefore,
		NotAfter:                    a.until(),
		KeyUsage:                    current.KeyUsage,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLenZero:              true,
		PermittedDNSDomainsCritical: true,
		PermittedURIDomains:         current.PermittedURIDomains,
		SubjectKeyId:                current.SubjectKeyId,
		// Issuer and subject have one name, so that crypto/x509 would take the certificate for a self-signed one, and
		// leave out who signed it.
		AuthorityKeyId: a.current.SubjectKeyId,
	}
	cross, err := create(template, a.current, key.Public(), a.key)
	if err != nil {
		return authorities{}, err
	}
	return authorities{current: current, cross: cross, former: a.current}, nil
}

// ErrOverlap says that an authority and the one before it are both good still.
var ErrOverlap = errors.New("the authority has been rotated, and the one before it is trusted still")

func rawOf(chain []*x509.Certificate) [][]byte {
	return slices.Collect(func(yield func([]byte) bool) {
		for _, cert := range chain {
			if !yield(cert.Raw) {
				return
			}
		}
	})
}
