package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

const (
	idScheme   = "spiffe://"
	serverPath = "server"
	userPath   = "user/"

	// maxDomain is the longest trust domain of the SPIFFE-ID specification, in
	// bytes.
	maxDomain = 255
)

type idKind uint8

const (
	kindNone idKind = iota
	kindServer
	kindUser
)

// ID is the SPIFFE ID of the server or of a user of a house. It is comparable.
// The zero ID is nobody. Make one with [UserID], [ServerID] or [ParseID]; one
// built as a literal has no kind, and is neither a server nor a user.
type ID struct {
	// Domain is the trust domain: lower-case ASCII letters, digits, '.', '-'
	// and '_'.
	Domain string
	// Name is the name of a user, as in [ValidName]. It is empty for the server.
	Name string

	kind idKind
}

// UserID returns spiffe://DOMAIN/user/NAME. The error says which of the two is
// not valid.
func UserID(domain, name string) (ID, error) {
	if err := validDomain(domain); err != nil {
		return ID{}, err
	}
	if err := ValidName(name); err != nil {
		return ID{}, err
	}
	return ID{Domain: domain, Name: name, kind: kindUser}, nil
}

// ServerID returns spiffe://DOMAIN/server.
func ServerID(domain string) (ID, error) {
	if err := validDomain(domain); err != nil {
		return ID{}, err
	}
	return ID{Domain: domain, kind: kindServer}, nil
}

// ParseID reads what [ID.String] writes, and nothing else: the SPIFFE-ID
// specification lets scheme and domain be of any case, but one spelling for one
// identity leaves nothing to confuse.
func ParseID(uri string) (ID, error) {
	rest, ok := strings.CutPrefix(uri, idScheme)
	if !ok {
		return ID{}, fmt.Errorf("%s does not start with %s", quote(uri), idScheme)
	}
	domain, path, _ := strings.Cut(rest, "/")
	if path == serverPath {
		return ServerID(domain)
	}
	name, ok := strings.CutPrefix(path, userPath)
	if !ok {
		return ID{}, fmt.Errorf("%s names neither a server nor a user", quote(uri))
	}
	return UserID(domain, name)
}

// IDFromCertificate returns the identity in the certificate, which must have
// exactly one URI SAN (X.509-SVID, section 2). It does not verify anything else.
func IDFromCertificate(cert *x509.Certificate) (ID, error) {
	uri, err := onlyURI(cert)
	if err != nil {
		return ID{}, err
	}
	return ParseID(uri)
}

// String returns the URI, or the empty string for an ID of no kind.
func (id ID) String() string {
	switch id.kind {
	case kindServer:
		return idScheme + id.Domain + "/" + serverPath
	case kindUser:
		return idScheme + id.Domain + "/" + userPath + id.Name
	default:
		return ""
	}
}

// LogValue makes loggers of any format write what String returns.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// IsServer reports whether id is that of a server.
func (id ID) IsServer() bool { return id.kind == kindServer }

// IsZero reports whether id is nobody's.
func (id ID) IsZero() bool { return id == ID{} }

func (id ID) url() *url.URL {
	path := "/" + serverPath
	if id.kind == kindUser {
		path = "/" + userPath + id.Name
	}
	return &url.URL{Scheme: "spiffe", Host: id.Domain, Path: path}
}

// authorityDomain returns the trust domain of an authority. Its SPIFFE ID has no
// path (X.509-SVID, section 3.1).
func authorityDomain(cert *x509.Certificate) (string, error) {
	uri, err := onlyURI(cert)
	if err != nil {
		return "", err
	}
	domain, ok := strings.CutPrefix(uri, idScheme)
	if !ok {
		return "", fmt.Errorf("%s is not the id of an authority", quote(uri))
	}
	return domain, validDomain(domain)
}

func onlyURI(cert *x509.Certificate) (string, error) {
	if cert == nil {
		return "", errors.New("no certificate")
	}
	if n := len(cert.URIs); n != 1 {
		return "", fmt.Errorf("certificate has %d uri names, not one", n)
	}
	return cert.URIs[0].String(), nil
}

func validDomain(domain string) error {
	if domain == "" || len(domain) > maxDomain {
		return fmt.Errorf("trust domain %s is not of 1 to %d characters", quote(domain), maxDomain)
	}
	for _, c := range []byte(domain) {
		if !isNameByte(c) {
			return fmt.Errorf("trust domain %s has characters other than a-z 0-9 . - _", quote(domain))
		}
	}
	return nil
}

// quote makes a stranger's text fit for an error: quoted, ASCII, and short.
func quote(s string) string {
	const limit = 100
	if len(s) > limit {
		return fmt.Sprintf("%+q…", s[:limit])
	}
	return fmt.Sprintf("%+q", s)
}
