package certs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// nextStem is where the key of a rotation is, until the certificate is there to which it belongs.
const nextStem = "authority.next"

// ErrNoOverlap says that there is no rotation to finish.
var ErrNoOverlap = errors.New("no rotation of the authority is under way")

// RotateOptions are for [Home.Rotate].
type RotateOptions struct {
	// Compromised makes the new authority stand alone, at once: others may have the key of the one before, so nothing that
	// it has signed, or signs from now on, is worth anything. Every user has to pin the new one, and join, anew.
	Compromised bool
}

// A Rotation is one authority in the place of another.
type Rotation struct {
	Authority Fingerprint
	Former    Fingerprint // zero if it is not trusted any more
	Until     time.Time   // when Former stops to be trusted; zero the same
}

func (a *Authority) rotation() *Rotation {
	r := &Rotation{Authority: FingerprintOf(a.current)}
	if a.former != nil {
		r.Former, r.Until = FingerprintOf(a.former), a.cross.NotAfter
	}
	return r
}

// Rotate gives the home an authority with a new key for the same trust domain, and certifies the users whose
// keys are here under it. The key before is gone; what it has signed is trusted for an overlap, of the 90 days that a certificate lasts: it ends by
// itself, or with [Home.FinishRotation]. A server that runs learns of it by [Home.WatchAuthority].
//
// Whatever Rotate is cut short at, the home works: it has either authority, whole, and with another Rotate the new one.
// The error is [ErrOverlap] while a rotation is under way, which Compromised does not heed, and [ErrNoAuthority] in a home that cannot sign.
func (h *Home) Rotate(opts RotateOptions) (*Rotation, error) {
	if !h.HasAuthority() {
		return nil, fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
	}
	var made *Rotation
	err := h.update(func() error {
		resumed, err := h.settleAuthority()
		if err != nil {
			return err
		}
		if !resumed {
			if err := h.rotate(opts); err != nil {
				return err
			}
		}
		a, err := h.loadAuthority()
		if err != nil {
			return err
		}
		made = a.rotation()
		h.reissueUsers(a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// rotate goes from one authority to the next. Readers take the certificate first, and then whichever key fits it; so
// it is the exchange of the certificate that counts.
func (h *Home) rotate(opts RotateOptions) error {
	a, err := h.loadAuthority()
	if err != nil {
		return err
	}
	if a.former != nil && !opts.Compromised {
		return fmt.Errorf("%w: until %s", ErrOverlap, date(a.cross.NotAfter))
	}
	var p pair
	if p.key, err = h.loadKey(nextStem); err != nil { // of an attempt that came no further
		return err
	}
	if err := h.ensureKey(&p, nextStem); err != nil {
		return err
	}
	if err := h.recordAuthority(FingerprintOf(a.current)); err != nil {
		return err
	}
	var as authorities
	if opts.Compromised {
		as.current, err = selfSign(h.env, p.key, a.domain)
	} else {
		as, err = a.succeed(p.key)
	}
	if err != nil {
		return err
	}
	if err := replace(h.path(certFile(authorityStem)), as.encode()); err != nil {
		return err
	}
	_, err = h.settleAuthority()
	return err
}

// settleAuthority ends a rotation that has come as far as the certificate, and says whether there was one. The update lock
// must be held.
func (h *Home) settleAuthority() (was bool, err error) {
	as, err := h.loadAuthorities()
	if err != nil || as.current == nil {
		return false, err
	}
	next, err := h.loadKey(nextStem)
	if err != nil || next == nil || !sameKey(next.Public(), as.current.PublicKey) {
		return false, err
	}
	if err := rename(h.path(keyFile(nextStem)), h.path(keyFile(authorityStem))); err != nil {
		return false, err
	}
	return true, syncDir(h.dir)
}

// reissueUsers certifies under a the users whose keys are here, and who could do so themselves. Who can't be is left to
// FinishRotation to tell about.
func (h *Home) reissueUsers(a *Authority) {
	names, err := h.userNames()
	if err != nil {
		return
	}
	for _, name := range names {
		id, err := UserID(a.domain, name)
		if err != nil {
			continue
		}
		// Who has no key here, or has expired, is not brought back.
		if p, err := h.loadPair(userStem(name)); err == nil && p.cert != nil && validAt(p.cert, h.env.now()) {
			_ = h.issueUser(a, id)
		}
	}
}

// An UnrenewedError says whose certificates are of the authority before the present one, so that they would be refused if
// that was not trusted any more.
type UnrenewedError struct{ Identities []Identity }

// Error names the users.
func (e *UnrenewedError) Error() string {
	var names []string
	for _, i := range e.Identities {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	return "these users have not renewed their certificates since the rotation: " + strings.Join(slices.Compact(names), ", ")
}

// FinishRotation ends the overlap: the authority before is not trusted any more. While there are users with
// certificates of that alone, which are neither revoked nor expired, it does so only if force is set; else the error is an
// [*UnrenewedError]. It is [ErrNoOverlap] if there is none, and [ErrNoAuthority] in a home that cannot sign.
func (h *Home) FinishRotation(force bool) (*Rotation, error) {
	if !h.HasAuthority() {
		return nil, fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
	}
	var done *Rotation
	err := h.update(func() error {
		if _, err := h.settleAuthority(); err != nil {
			return err
		}
		a, err := h.loadAuthority()
		if err != nil {
			return err
		}
		if a.former == nil {
			return ErrNoOverlap
		}
		h.reissueUsers(a)
		if !force {
			if err := h.checkRenewed(); err != nil {
				return err
			}
		}
		done = &Rotation{Authority: FingerprintOf(a.current)}
		return replace(h.path(certFile(authorityStem)), authorities{current: a.current}.encode())
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// checkRenewed returns an UnrenewedError if there is reason for one.
func (h *Home) checkRenewed() error {
	all, err := h.Identities()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(i Identity) bool { return !i.Former || i.Revoked || h.env.now().After(i.NotAfter) })
	if len(all) > 0 {
		return &UnrenewedError{Identities: all}
	}
	return nil
}
