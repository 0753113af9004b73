package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 90 * 24 * time.Hour

	// backdate lets a peer whose clock is behind accept a new certificate.
	backdate = 5 * time.Minute
)

// Authority signs the certificates of one trust domain. It is safe for
// concurrent use if its Env is.
type Authority struct {
	authorities // this one, and the one before while that is good

	key    crypto.Signer
	domain string
	env    Env
}

// NewAuthority makes an authority in memory, with a key and a trust domain of
// its own, that is valid for ten years. [Home.Init] makes one that lasts.
func NewAuthority(env Env) (*Authority, error) {
	key, err := env.newKey()
	if err != nil {
		return nil, err
	}
	domain, err := newDomain(env)
	if err != nil {
		return nil, err
	}
	cert, err := selfSign(env, key, domain)
	if err != nil {
		return nil, err
	}
	return openAuthority(env, authorities{current: cert}, key)
}

// newDomain draws a trust domain: 128 random bits in base32, which are 26
// characters that a DNS label could have, so that name constraints apply to it.
func newDomain(env Env) (string, error) {
	var random [16]byte
	if _, err := io.ReadFull(env.rand(), random[:]); err != nil {
		return "", fmt.Errorf("make trust domain: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random[:])), nil
}

// selfSign makes the certificate of an authority.
func selfSign(env Env, key crypto.Signer, domain string) (*x509.Certificate, error) {
	serial, err := env.newSerial()
	if err != nil {
		return nil, err
	}
	now := env.now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Trunkline authority"}, CommonName: domain},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domain}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		// One authority may stand between this one and a leaf: the key that
		// succeeds it, cross-signed. Zero would rule out rotation for ten years,
		// because crypto/x509 counts that certificate like any other.
		MaxPathLen: 1,
		// A critical extension: whoever cannot enforce it must refuse.
		PermittedDNSDomainsCritical: true,
		PermittedURIDomains:         []string{domain},
	}
	return create(template, template, key.Public(), key)
}

// openAuthority checks that certificate and key make an authority.
func openAuthority(env Env, as authorities, key crypto.Signer) (*Authority, error) {
	cert := as.current
	if !cert.IsCA || !cert.BasicConstraintsValid {
		return nil, errors.New("the certificate is not that of an authority")
	}
	domain, err := authorityDomain(cert)
	if err != nil {
		return nil, err
	}
	if !sameKey(key.Public(), cert.PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	return &Authority{authorities: as.at(env.now()), key: key, domain: domain, env: env}, nil
}

// Domain returns the trust domain.
func (a *Authority) Domain() string { return a.domain }

// Certificate returns the certificate that others pin. It must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.current }

// IssueUser makes a key for the user of that name and signs it for 90 days.
// It keeps no record, so that [Home.Revoke] does not know the key; use
// [Home.UserCredentials] for identities that last.
func (a *Authority) IssueUser(name string) (*Credentials, error) {
	id, err := UserID(a.domain, name)
	if err != nil {
		return nil, err
	}
	return a.issue(id, nil)
}

// IssueServer makes a key for the server and signs it for 90 days. hosts are the
// DNS names and IP addresses it is known by; they are for other software to
// look at, and may be none.
func (a *Authority) IssueServer(hosts []string) (*Credentials, error) {
	id, err := ServerID(a.domain)
	if err != nil {
		return nil, err
	}
	return a.issue(id, hosts)
}

func (a *Authority) issue(id ID, hosts []string) (*Credentials, error) {
	key, err := a.env.newKey()
	if err != nil {
		return nil, err
	}
	cert, err := a.Sign(id, key.Public(), hosts)
	if err != nil {
		return nil, err
	}
	return newCredentials(cert, key, a.authorities, a.env.Now)
}

// Sign certifies that pub, an Ed25519 or P-256 key, is the key of id. The
// certificate is valid from five minutes ago, for 90 days or until the authority
// itself expires. A user's is good for clients alone, the server's for servers
// alone. It is an error to ask for another trust domain, for hosts of a user, for
// a host that is neither a DNS name nor an IP address, or of an authority that
// has expired.
func (a *Authority) Sign(id ID, pub crypto.PublicKey, hosts []string) (*x509.Certificate, error) {
	if id.Domain != a.domain {
		return nil, fmt.Errorf("authority of %s does not sign for %s", a.domain, quote(id.Domain))
	}
	if err := checkPublicKey(pub); err != nil {
		return nil, err
	}
	now := a.env.now()
	if !validAt(a.current, now) {
		return nil, fmt.Errorf("authority is valid from %s to %s only", date(a.current.NotBefore), date(a.current.NotAfter))
	}
	serial, err := a.env.newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		URIs:                  []*url.URL{id.url()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              a.until(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	switch id.kind {
	case kindServer:
		template.Subject.CommonName = serverPath
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if template.DNSNames, template.IPAddresses, err = splitHosts(hosts); err != nil {
			return nil, err
		}
	case kindUser:
		if err := ValidName(id.Name); err != nil {
			return nil, err
		}
		template.Subject.CommonName = id.Name
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if len(hosts) > 0 {
			return nil, errors.New("the certificate of a user has no hosts")
		}
	default:
		return nil, errors.New("the id is neither a server's nor a user's")
	}
	return create(template, a.current, pub, a.key)
}

func create(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	// The serial number is set, Ed25519 needs no randomness to sign, and ECDSA
	// takes none from here: the reader is never read.
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// splitHosts sorts hosts into DNS names, in lower case, and IP addresses.
func splitHosts(hosts []string) (names []string, ips []net.IP, err error) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			ips = append(ips, ip)
			continue
		}
		name := strings.ToLower(host)
		if !isDNSName(name) {
			return nil, nil, fmt.Errorf("%s is neither a dns name nor an ip address", quote(host))
		}
		names = append(names, name)
	}
	return names, ips, nil
}

// isDNSName accepts letters, digits and hyphens (RFC 1123, section 2.1), and
// underscores, which host names have in practice.
func isDNSName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isNameByte(c) {
				return false
			}
		}
	}
	return true
}

func validAt(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

// until is when a certificate expires that the authority signs now.
func (a *Authority) until() time.Time {
	until := a.env.now().Add(leafLifetime)
	if until.After(a.current.NotAfter) {
		return a.current.NotAfter
	}
	return until
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
