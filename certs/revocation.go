package certs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrRevoked is what a [RevokedError] is.
var ErrRevoked = errors.New("revoked")

// RevokedError says that a name or a key is denied. errors.Is finds [ErrRevoked]
// in it.
type RevokedError struct {
	Name string      // the name that was revoked
	Key  Fingerprint // the key, if it is the key that is denied; else zero
}

// Error says which of the two is denied.
func (e *RevokedError) Error() string {
	if e.Key.IsZero() {
		return fmt.Sprintf("user %s is revoked", e.Name)
	}
	return fmt.Sprintf("key %s of user %s is revoked", e.Key, e.Name)
}

// Unwrap returns ErrRevoked.
func (e *RevokedError) Unwrap() error { return ErrRevoked }

// Revoke denies the name, and for ever every key that this home issued under it.
// The name may be of somebody who has no identity yet. When Revoke returns, the
// change is on the disk, and every CheckRevoked that starts after sees it, in any
// process; sessions that are open are for the server to end. To revoke twice is
// no error. The error is [ErrNoAuthority] in a home that cannot sign.
func (h *Home) Revoke(name string) error {
	if err := ValidName(name); err != nil {
		return err
	}
	if !h.HasAuthority() {
		return fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
	}
	return h.update(func() error {
		denied, err := h.loadRevoked()
		if err != nil {
			return err
		}
		before := len(denied.lines)
		denied.add(revokedLine{name: name})
		keys, err := h.loadIssued()
		if err != nil {
			return err
		}
		for _, key := range keys {
			if key.name == name {
				denied.add(revokedLine{name: name, key: key.key})
			}
		}
		// For the case that somebody removed the record: what the folder has
		// under that name is denied as well. If it cannot be read, the name is.
		if cert, err := loadCertificate(h.path(certFile(userStem(name)))); err == nil && cert != nil {
			denied.add(revokedLine{name: name, key: FingerprintOf(cert)})
		}
		if len(denied.lines) == before {
			return nil
		}
		return replace(h.path("revoked"), []byte(denied.String()))
	})
}

// CheckRevoked returns a [*RevokedError] if the name of id, in the trust domain of this home's authority, or the
// key is denied, and nil if neither is. It reads the file each time; if it cannot, that is an
// error as well, and nobody should be let in.
func (h *Home) CheckRevoked(id ID, key Fingerprint) error {
	denied, err := h.loadRevoked()
	if err != nil {
		return err
	}
	return denied.check(id, key)
}

func (h *Home) loadRevoked() (*revoked, error) {
	r := &revoked{}
	err := readLines(h.path("revoked"), func(text string) error {
		line, err := parseRevokedLine(text)
		r.lines = append(r.lines, line)
		return err
	})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(r.lines, func(l revokedLine) bool { return l.key.IsZero() }) {
		// If it can't be read a name is denied in every domain, rather than in none.
		if as, err := h.loadAuthorities(); err == nil && as.current != nil {
			r.domain, _ = authorityDomain(as.current)
		}
	}
	return r, nil
}

// revoked is the content of the file, in its order.
type revoked struct {
	lines  []revokedLine
	domain string // of the users whose names are in it: the authority's. Empty if that is not known, or there are none
}

// revokedLine denies the name if its key is zero, else the key.
type revokedLine struct {
	name string
	key  Fingerprint
}

func (l revokedLine) String() string {
	if l.key.IsZero() {
		return "name " + l.name
	}
	return "key " + issued{key: l.key, name: l.name}.String()
}

// parseRevokedLine refuses what it does not know: to skip it could let somebody
// in.
func parseRevokedLine(text string) (revokedLine, error) {
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case "name":
		return revokedLine{name: rest}, ValidName(rest)
	case "key":
		i, err := parseIssued(rest)
		if err == nil && !i.until.IsZero() {
			err = fmt.Errorf("%s goes on after the name", quote(text))
		}
		return revokedLine{name: i.name, key: i.key}, err
	default:
		return revokedLine{}, fmt.Errorf("%s is neither a name nor a key", quote(text))
	}
}

func (r *revoked) add(line revokedLine) {
	if !slices.Contains(r.lines, line) {
		r.lines = append(r.lines, line)
	}
}

// lift takes the name out, not its keys, and reports whether it was there.
func (r *revoked) lift(name string) bool {
	before := len(r.lines)
	r.lines = slices.DeleteFunc(r.lines, func(l revokedLine) bool { return l == revokedLine{name: name} })
	return len(r.lines) < before
}

func (r *revoked) check(id ID, key Fingerprint) error {
	for _, l := range r.lines {
		if l.key.IsZero() && l.name == id.Name && inDomain(id, r.domain) || !l.key.IsZero() && l.key == key {
			return &RevokedError{Name: l.name, Key: l.key}
		}
	}
	return nil
}

// inDomain says whether id is one of those whom a name in the list means: users of other domains may have the same.
func inDomain(id ID, domain string) bool {
	return id.kind == kindUser && (domain == "" || id.Domain == domain)
}

func (r *revoked) String() string {
	var b strings.Builder
	for _, l := range r.lines {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}
