package certs

import (
	"crypto/x509"
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
	// NotAfter is until when the key is certified, by the newest certificate that is in this home. It is zero
	// if there is none: a certificate that was issued to another machine is not kept here for long.
	NotAfter time.Time
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
	until, err := h.certifiedUntil()
	if err != nil {
		return nil, err
	}
	keys, err := h.loadIssued()
	if err != nil {
		return nil, err
	}
	all := make([]Identity, 0, len(keys))
	named := make(map[string]struct{})
	add := func(name string, key Fingerprint) {
		_, nameDenied := denied.names[name]
		_, keyDenied := denied.keys[key]
		all = append(all, Identity{Name: name, Key: key, NotAfter: until[key], Revoked: nameDenied || keyDenied})
		named[name] = struct{}{}
	}
	for _, i := range keys {
		add(i.name, i.key)
	}
	for name := range denied.names {
		if _, ok := named[name]; !ok {
			add(name, Fingerprint{})
		}
	}
	slices.SortStableFunc(all, func(a, b Identity) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// certifiedUntil returns when the certificates expire that are in the home, by key.
func (h *Home) certifiedUntil() (map[Fingerprint]time.Time, error) {
	until := make(map[Fingerprint]time.Time)
	note := func(cert *x509.Certificate) {
		if key := FingerprintOf(cert); cert != nil && cert.NotAfter.After(until[key]) {
			until[key] = cert.NotAfter
		}
	}
	names, err := h.userNames()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		cert, err := loadCertificate(h.path(certFile(userStem(name))))
		if err != nil {
			return nil, err
		}
		note(cert)
	}
	invites, err := h.loadInvites()
	if err != nil {
		return nil, err
	}
	for _, i := range invites {
		note(i.cert)
	}
	return until, nil
}
