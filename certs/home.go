package certs

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// ErrNoAuthority says that the key of the authority is not in this home, and it
// would have to be: the home is a client's, or nobody has served from it yet.
var ErrNoAuthority = errors.New("no authority in this home")

const (
	authorityStem = "authority"
	serverStem    = "server"
	usersDir      = "users"
)

// Home is the folder of keys and certificates, as the package documentation
// shows it. Every method reads what is there now, so that several processes may
// use one home; it is safe for concurrent use if its Env is.
type Home struct {
	dir string
	env Env
}

// OpenHome returns the home in that folder, which need not exist: nothing is made
// before something is kept. An empty dir is an error.
func OpenHome(dir string, env Env) (*Home, error) {
	if dir == "" {
		return nil, errors.New("no folder given for the home")
	}
	// Absolute, so that the paths in errors can be used from anywhere.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return &Home{dir: abs, env: env}, nil
}

// DefaultHomeDir returns the folder "trunkline" in [os.UserConfigDir].
func DefaultHomeDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "trunkline"), nil
}

// Dir returns the absolute path of the folder.
func (h *Home) Dir() string { return h.dir }

// HasAuthority reports whether this home can sign: key and certificate of the
// authority are there. Whether they can be read is for others to find out.
func (h *Home) HasAuthority() bool {
	for _, name := range []string{keyFile(authorityStem), certFile(authorityStem)} {
		if _, err := os.Stat(h.path(name)); err != nil {
			return false
		}
	}
	return true
}

// Init makes the home one to serve from: an authority, a certificate for the
// server, and an identity for localUser, a valid name that becomes the default.
// What is there is kept, what is missing is made, and so Init is for every start
// of a server; any number may run at once.
//
// The server certificate names this host, localhost, 127.0.0.1, ::1 and hosts. It
// is issued again, for the same key, when one of those is missing, when two thirds
// of its life are over, and when another authority issued it. A default user
// stays the default. A localUser who was revoked is not made, which is no error.
//
// It is an error if the home has the certificate of an authority without the key:
// then it is a client's, and another authority would orphan its identities.
func (h *Home) Init(hosts []string, localUser string) error {
	if err := ValidName(localUser); err != nil {
		return err
	}
	wanted := serverHosts(hosts)
	if _, _, err := splitHosts(wanted); err != nil {
		return err
	}
	return h.update(func() error {
		if _, err := h.settleAuthority(); err != nil {
			return err
		}
		a, err := h.ensureAuthority()
		if err != nil {
			return err
		}
		if err := h.ensureServer(a, wanted); err != nil {
			return err
		}
		return h.ensureDefault(a, localUser)
	})
}

// serverHosts adds to hosts the names that every server has.
func serverHosts(hosts []string) []string {
	wanted := []string{"localhost", "127.0.0.1", "::1"}
	// A host whose own name is no DNS name does without it.
	if name, err := os.Hostname(); err == nil {
		if _, _, err := splitHosts([]string{name}); err == nil {
			wanted = append(wanted, name)
		}
	}
	wanted = append(wanted, hosts...)
	slices.Sort(wanted)
	return slices.Compact(wanted)
}

// ServerCredentials returns what the server presents and trusts. The error is
// [ErrNoAuthority] in a home that cannot sign. The certificate may have expired:
// Init renews it.
func (h *Home) ServerCredentials() (*Credentials, error) {
	if !h.HasAuthority() {
		return nil, fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
	}
	creds, err := h.loadCredentials(serverStem)
	if err != nil {
		return nil, err
	}
	if creds == nil {
		return nil, fmt.Errorf("%w: the server in %s", ErrNoIdentity, h.dir)
	}
	if !creds.ID().IsServer() {
		return nil, fmt.Errorf("%s is not that of a server", h.path(certFile(serverStem)))
	}
	return creds, nil
}

func (h *Home) ensureAuthority() (*Authority, error) {
	keyPath, certPath := h.path(keyFile(authorityStem)), h.path(certFile(authorityStem))
	if exists(certPath) {
		if !exists(keyPath) {
			return nil, fmt.Errorf("%w: %s is without its key, this home is a client's", ErrNoAuthority, certPath)
		}
		return h.loadAuthority()
	}
	p, err := h.loadPair(authorityStem)
	if err != nil {
		return nil, err
	}
	if err := h.ensureKey(&p, authorityStem); err != nil {
		return nil, err
	}
	domain, err := newDomain(h.env)
	if err != nil {
		return nil, err
	}
	cert, err := selfSign(h.env, p.key, domain)
	if err != nil {
		return nil, err
	}
	as := authorities{current: cert}
	if err := writeNew(certPath, as.encode(), openMode); err != nil {
		return nil, err
	}
	return h.openAuthority(as, p.key)
}

func (h *Home) loadAuthority() (*Authority, error) {
	as, err := h.loadAuthorities()
	if err != nil {
		return nil, err
	}
	for {
		// The key of a rotation first: what is not there any more, then, is where the other one was.
		for _, stem := range []string{nextStem, authorityStem} {
			key, err := h.loadKey(stem)
			if err != nil {
				return nil, err
			}
			if as.current != nil && key != nil && sameKey(key.Public(), as.current.PublicKey) {
				return h.openAuthority(as, key)
			}
		}
		if !h.HasAuthority() {
			return nil, fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
		}
		again, err := h.loadAuthorities()
		if err != nil {
			return nil, err
		}
		if again.current != nil && as.current != nil && again.current.Equal(as.current) {
			return nil, fmt.Errorf("%s is not the key of %s", h.path(keyFile(authorityStem)), h.path(certFile(authorityStem)))
		}
		as = again // the authority was rotated after the first look
	}
}

func (h *Home) openAuthority(as authorities, key crypto.Signer) (*Authority, error) {
	a, err := openAuthority(h.env, as, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.path(certFile(authorityStem)), err)
	}
	return a, nil
}

func (h *Home) ensureServer(a *Authority, wanted []string) error {
	p, err := h.loadPair(serverStem)
	if err != nil {
		return err
	}
	id, err := ServerID(a.domain)
	if err != nil {
		return err
	}
	if a.fresh(p.cert, id) && hasHosts(p.cert, wanted) {
		return nil
	}
	if err := h.ensureKey(&p, serverStem); err != nil {
		return err
	}
	cert, err := a.Sign(id, p.key.Public(), wanted)
	if err != nil {
		return err
	}
	return replace(h.path(certFile(serverStem)), encodeCertificate(cert))
}

// fresh reports whether the authority, and not the one before, issued cert to id, and two thirds of its
// life are not over yet.
func (a *Authority) fresh(cert *x509.Certificate, id ID) bool {
	return a.valid(cert, id) && cert.CheckSignatureFrom(a.current) == nil && a.env.now().Before(RenewAt(cert))
}

// valid reports whether the authority, or the one before while that is trusted, issued cert to id for a time that
// includes now.
func (a *Authority) valid(cert *x509.Certificate, id ID) bool {
	if cert == nil || !validAt(cert, a.env.now()) || a.signerOf(cert) == nil {
		return false
	}
	got, err := IDFromCertificate(cert)
	return err == nil && got == id
}

func hasHosts(cert *x509.Certificate, hosts []string) bool {
	names, ips, err := splitHosts(hosts)
	if err != nil {
		return false
	}
	for _, name := range names {
		if !slices.Contains(cert.DNSNames, name) {
			return false
		}
	}
	for _, ip := range ips {
		if !slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}

func (h *Home) path(name string) string { return filepath.Join(h.dir, name) }
