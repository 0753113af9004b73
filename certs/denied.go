package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// watchEvery is how often a watch looks. Together with the closing of sessions it has to stay below a
// second.
const watchEvery = 250 * time.Millisecond

// Denied is who was denied at one moment. It does not change.
type Denied struct {
	domain string // of names; empty if it is not known
	names  map[string]struct{}
	keys   map[Fingerprint]string // to the name
}

// Denied reads who is denied now.
func (h *Home) Denied() (*Denied, error) {
	r, err := h.loadRevoked()
	if err != nil {
		return nil, err
	}
	d := &Denied{domain: r.domain, names: make(map[string]struct{}), keys: make(map[Fingerprint]string)}
	for _, l := range r.lines {
		if l.key.IsZero() {
			d.names[l.name] = struct{}{}
		} else {
			d.keys[l.key] = l.name
		}
	}
	return d, nil
}

// Check is [Home.CheckRevoked] as of the moment of d.
func (d *Denied) Check(id ID, key Fingerprint) error {
	if _, ok := d.names[id.Name]; ok && inDomain(id, d.domain) {
		return &RevokedError{Name: id.Name}
	}
	if name, ok := d.keys[key]; ok {
		return &RevokedError{Name: name, Key: key}
	}
	return nil
}

// Keys returns how many keys of the user of that name are denied.
func (d *Denied) Keys(name string) int {
	n := 0
	for _, of := range d.keys {
		if of == name {
			n++
		}
	}
	return n
}

// WatchRevoked calls changed with who is denied, at once and within 250 ms of each change, until ctx
// ends: whoever ends the sessions of the denied learns of a revocation by another process like that. While
// the list can't be read, failed gets the error, once for as long as it stays the same, and what changed was
// told last goes on. Neither function is called while the other runs.
func (h *Home) WatchRevoked(ctx context.Context, changed func(*Denied), failed func(error)) {
	h.watch(ctx, "revoked", func() bool { return false }, func() error {
		d, err := h.Denied()
		if err != nil {
			return err
		}
		changed(d)
		return nil
	}, failed)
}

// WatchAuthority calls changed at once, within 250 ms of each change of the authority, by a rotation and its end
// say, and when an overlap has ended by itself, until ctx ends. While changed fails it is called again, and failed gets the error,
// once for as long as it stays the same. Neither function is called while the other runs.
func (h *Home) WatchAuthority(ctx context.Context, changed func() error, failed func(error)) {
	var until time.Time // the end of the overlap; zero without one
	h.watch(ctx, certFile(authorityStem), func() bool {
		return !until.IsZero() && h.env.now().After(until)
	}, func() error {
		as, err := h.loadAuthorities()
		if err != nil {
			return err
		}
		if as.current == nil { // or a server would make another one, which nobody trusts, while it runs
			return fmt.Errorf("%w: %s is missing", ErrNoAuthority, h.path(certFile(authorityStem)))
		}
		if err := changed(); err != nil {
			return err
		}
		until = time.Time{}
		if as = as.at(h.env.now()); as.cross != nil {
			until = as.cross.NotAfter
		}
		return nil
	}, failed)
}

// watch calls read at once, when the file of that name has changed, when due says so, and again while it fails.
func (h *Home) watch(ctx context.Context, name string, due func() bool, read func() error, failed func(error)) {
	path := h.path(name)
	var seen fs.FileInfo // of the file as it was last read; nil if there was none
	done := false        // it was, at all
	var said string      // the error that failed was told last
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		now, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			now, err = nil, nil
		}
		// The file is looked at before it is read: a change in between is read twice, rather than never.
		if err == nil && (!done || due() || !sameFile(seen, now)) {
			if err = read(); err == nil {
				seen, done, said = now, true, ""
			}
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sameFile reports whether a file that is exchanged, never written to, is the one it was.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
