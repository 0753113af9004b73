package certs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrNoIdentity says that the home does not have the identity, and cannot make
// it.
var ErrNoIdentity = errors.New("no such identity in this home")

// DefaultName returns the name of the default user, or [ErrNoIdentity].
func (h *Home) DefaultName() (string, error) {
	path := h.path("default")
	var name string
	err := readLines(path, func(line string) error {
		if name != "" {
			return errors.New("there is more than one name")
		}
		name = line
		return ValidName(line)
	})
	if err != nil {
		return "", err
	}
	if name == "" {
		if exists(path) {
			return "", fmt.Errorf("%s is empty", path)
		}
		return "", fmt.Errorf("%w: there is no default in %s", ErrNoIdentity, h.dir)
	}
	return name, nil
}

// UserCredentials returns what the user of that name presents and trusts; an
// empty name is the default user's.
//
// A home with the authority makes an identity that it does not have, and issues
// its certificate again, for the same key, when two thirds of its life are over or
// another authority issued it. It does neither when the name or the key has been
// revoked; the error is then a [*RevokedError]. A certificate that is still valid
// is returned even so, as after any other failure to renew it: whether it is
// refused is for the server to say.
//
// A home without the authority has what it has: the error for anything else is
// [ErrNoIdentity], and a certificate that has expired is returned as it is.
func (h *Home) UserCredentials(name string) (*Credentials, error) {
	if name == "" {
		var err error
		if name, err = h.DefaultName(); err != nil {
			return nil, err
		}
	}
	if err := ValidName(name); err != nil {
		return nil, err
	}
	if h.HasAuthority() {
		a, err := h.loadAuthority()
		if err != nil {
			return nil, err
		}
		if err := h.ensureUser(a, name); err != nil {
			return nil, err
		}
	}
	creds, err := h.loadCredentials(userStem(name))
	if err != nil {
		return nil, err
	}
	if creds == nil {
		return nil, fmt.Errorf("%w: %s in %s", ErrNoIdentity, name, h.dir)
	}
	if id := creds.ID(); id.IsServer() || id.Name != name {
		return nil, fmt.Errorf("%s is not that of %s", h.path(certFile(userStem(name))), name)
	}
	return creds, nil
}

// ensureUser takes the update lock only if there is something to do, and fails
// only if there is nothing valid to fall back on.
func (h *Home) ensureUser(a *Authority, name string) error {
	id, err := UserID(a.domain, name)
	if err != nil {
		return err
	}
	p, err := h.loadPair(userStem(name))
	if err != nil {
		return err
	}
	if a.fresh(p.cert, id) {
		return nil
	}
	err = h.update(func() error {
		now, err := h.loadAuthority() // it may have been rotated
		if err != nil {
			return err
		}
		return h.issueUser(now, id)
	})
	if err != nil && a.valid(p.cert, id) {
		return nil
	}
	return err
}

// issueUser makes what the user lacks. The key is recorded before it is signed,
// so that every certificate out there belongs to a key that Revoke knows. The
// update lock must be held.
func (h *Home) issueUser(a *Authority, id ID) error {
	stem := userStem(id.Name)
	p, err := h.loadPair(stem)
	if err != nil {
		return err
	}
	if a.fresh(p.cert, id) {
		return nil // another was first
	}
	if p.cert != nil {
		// A certificate that names somebody else was put here by hand.
		if got, err := IDFromCertificate(p.cert); err != nil || got.IsServer() || got.Name != id.Name {
			return fmt.Errorf("%s is not that of %s", h.path(certFile(stem)), id.Name)
		}
	}
	denied, err := h.loadRevoked()
	if err != nil {
		return err
	}
	var key Fingerprint
	if p.key != nil {
		if key, err = fingerprintOfKey(p.key.Public()); err != nil {
			return err
		}
	}
	if err := denied.check(id, key); err != nil {
		return err
	}
	if err := h.makeUsersDir(); err != nil {
		return err
	}
	if err := h.ensureKey(&p, stem); err != nil {
		return err
	}
	if key, err = fingerprintOfKey(p.key.Public()); err != nil {
		return err
	}
	if err := h.recordIssued(a, id.Name, key); err != nil {
		return err
	}
	cert, err := a.Sign(id, p.key.Public(), nil)
	if err != nil {
		return err
	}
	return replace(h.path(certFile(stem)), encodeCertificate(cert))
}

// ensureDefault makes the user and then the default, so that a default always has
// its identity. The update lock must be held.
func (h *Home) ensureDefault(a *Authority, name string) error {
	_, err := h.DefaultName()
	if !errors.Is(err, ErrNoIdentity) {
		return err
	}
	id, err := UserID(a.domain, name)
	if err != nil {
		return err
	}
	if err := h.issueUser(a, id); err != nil {
		// Whom the house has shut out must not keep it from opening.
		if errors.Is(err, ErrRevoked) {
			return nil
		}
		return err
	}
	return writeNew(h.path("default"), []byte(name+"\n"), openMode)
}

func (h *Home) makeUsersDir() error {
	if err := os.MkdirAll(h.path(usersDir), dirMode); err != nil {
		return err
	}
	return syncDir(h.dir)
}

func userStem(name string) string { return filepath.Join(usersDir, name) }

// issued is one line of the record of keys.
type issued struct {
	key   Fingerprint
	name  string
	until time.Time // when the newest certificate expires, or would if it was issued; zero if that is not on record

	authority Fingerprint // whose that is; zero if that is not on record, as for what was issued before the first rotation
}

func (i issued) String() string {
	line := i.key.String() + " " + i.name
	if !i.until.IsZero() {
		line += " " + i.until.UTC().Format(time.RFC3339)
	}
	if !i.authority.IsZero() {
		line += " " + i.authority.String()
	}
	return line
}

func parseIssued(text string) (issued, error) {
	fingerprint, rest, _ := strings.Cut(text, " ")
	name, rest, dated := strings.Cut(rest, " ")
	until, authority, signed := strings.Cut(rest, " ")
	i := issued{name: name}
	var err error
	if i.key, err = ParseFingerprint(fingerprint); err != nil {
		return issued{}, err
	}
	if dated {
		if i.until, err = time.Parse(time.RFC3339, until); err != nil {
			return issued{}, errors.New("the time is not one of RFC 3339")
		}
	}
	if signed {
		if i.authority, err = ParseFingerprint(authority); err != nil {
			return issued{}, err
		}
	}
	return i, ValidName(name)
}

func (h *Home) loadIssued() ([]issued, error) {
	var all []issued
	err := readLines(h.path("issued"), func(line string) error {
		i, err := parseIssued(line)
		all = append(all, i)
		return err
	})
	return all, err
}

// recordIssued is for before a certifies key for the user of that name. The update lock must be held.
func (h *Home) recordIssued(a *Authority, name string, key Fingerprint) error {
	all, err := h.loadIssued()
	if err != nil {
		return err
	}
	now := issued{key: key, name: name, until: a.until(), authority: FingerprintOf(a.current)}
	n := slices.IndexFunc(all, func(i issued) bool { return i.key == key && i.name == name })
	switch {
	case n < 0:
		all = append(all, now)
	case all[n].String() == now.String():
		return nil
	default:
		all[n] = now
	}
	return h.writeIssued(all)
}

// recordAuthority writes down, where that is not on record, which authority has certified every key until now. The update lock
// must be held.
func (h *Home) recordAuthority(authority Fingerprint) error {
	all, err := h.loadIssued()
	if err != nil {
		return err
	}
	changed := false
	for n, i := range all {
		if i.authority.IsZero() && !i.until.IsZero() {
			all[n].authority, changed = authority, true
		}
	}
	if !changed {
		return nil
	}
	return h.writeIssued(all)
}

func (h *Home) writeIssued(all []issued) error {
	var text strings.Builder
	for _, i := range all {
		fmt.Fprintln(&text, i)
	}
	return replace(h.path("issued"), []byte(text.String()))
}
