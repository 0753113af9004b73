package certs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Identity is one key of a user's, as the home of the authority has it on record.
type Identity struct {
	Name string
	// Key is zero for a name that was revoked before it had one.
	Key Fingerprint
	// NotAfter is until when the key is certified, to the second. It is zero if there is no key.
	NotAfter time.Time
	// Default says that the name is the default user's of this home.
	Default bool
	// Former says that the newest certificate for the key is of the authority before the present one, see [Home.Rotate].
	Former bool
	// Revoked says that the name or the key is denied.
	Revoked bool
}

// Identities returns every key that was signed for a user, and every name that is denied, by name, and of one
// name in the order in which the keys came. The error is [ErrNoAuthority] in a home that cannot sign.
func (h *Home) Identities() ([]Identity, error) {
	if !h.HasAuthority() {
		return nil, fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
	}
	denied, err := h.Denied()
	if err != nil {
		return nil, err
	}
	usual, err := h.DefaultName()
	if err != nil && !errors.Is(err, ErrNoIdentity) {
		return nil, err
	}
	as, err := h.loadAuthorities()
	if err != nil {
		return nil, err
	}
	current := FingerprintOf(as.current)
	keys, err := h.loadIssued()
	if err != nil {
		return nil, err
	}
	all := make([]Identity, 0, len(keys))
	named := make(map[string]struct{})
	add := func(i issued) {
		_, nameDenied := denied.names[i.name]
		_, keyDenied := denied.keys[i.key]
		all = append(all, Identity{
			Name: i.name, Key: i.key, NotAfter: i.until,
			Default: i.name == usual,
			Former:  !i.authority.IsZero() && i.authority != current,
			Revoked: nameDenied || keyDenied,
		})
		named[i.name] = struct{}{}
	}
	for _, i := range keys {
		add(i)
	}
	for name := range denied.names {
		if _, ok := named[name]; !ok {
			add(issued{name: name})
		}
	}
	slices.SortStableFunc(all, func(a, b Identity) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
