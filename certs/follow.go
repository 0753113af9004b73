package certs

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// successorIn returns the authority that has succeeded the pinned one, as the chain of somebody shows whom it has certified: by a
// cross certificate that the pinned one has signed, and that is good now. There is no other way to another authority that nobody was asked about.
func successorIn(chain []*x509.Certificate, pinned *x509.Certificate, now time.Time) (as authorities, ok bool) {
	if pinned == nil || len(chain) == 0 || slices.Contains(chain, nil) {
		return authorities{}, false
	}
	for _, cross := range chain[1:] {
		current := AuthorityIn(chain, FingerprintOf(cross))
		if current == nil || !validAt(cross, now) || !validAt(current, now) || chain[0].CheckSignatureFrom(current) != nil {
			continue
		}
		as := authorities{current: current, cross: cross, former: pinned}
		if as.check() == nil {
			return as, true
		}
	}
	return authorities{}, false
}

// Follow goes with a server from the authority that is pinned for it to the successor of that, if chain, which it
// presented at addr, shows one: the pinned authority itself has to have signed for it. That is for the pin in
// known_servers, if there is one, and for the authority of a home that cannot sign. It reports whether anything changed.
func (h *Home) Follow(addr string, chain []*x509.Certificate) (followed bool, err error) {
	if len(chain) < 4 {
		return false, nil // which are what there is in an overlap
	}
	err = h.update(func() error {
		if !exists(h.path(keyFile(authorityStem))) {
			as, err := h.loadAuthorities()
			if err != nil {
				return err
			}
			if next, ok := successorIn(chain, as.current, h.env.now()); ok {
				if err := replace(h.path(certFile(authorityStem)), next.encode()); err != nil {
					return err
				}
				followed = true
			}
		}
		moved, err := h.movePin(addr, chain)
		followed = followed || moved
		return err
	})
	return followed, err
}

// movePin is Follow for known_servers. The update lock must be held.
func (h *Home) movePin(addr string, chain []*x509.Certificate) (bool, error) {
	addr, err := PinAddr(addr)
	if err != nil {
		return false, nil //nolint:nilerr // what can't be pinned is not
	}
	all, err := h.Pins()
	if err != nil {
		return false, err
	}
	n := slices.IndexFunc(all, func(p Pin) bool { return p.Addr == addr })
	if n < 0 {
		return false, nil
	}
	next, ok := successorIn(chain, AuthorityIn(chain, all[n].Key), h.env.now())
	if !ok {
		return false, nil
	}
	all[n].Key = FingerprintOf(next.current)
	return true, h.writePins(all)
}

// followFrom returns the authorities that a home with as has when it keeps what a server's answer has certified, and
// whether they are others. The error is that neither is who certified it.
func followFrom(as authorities, chain []*x509.Certificate, now time.Time) (next authorities, changed bool, err error) {
	if next, ok := successorIn(chain, as.current, now); ok {
		return next, true, nil
	}
	if as.signerOf(chain[0]) == nil {
		return authorities{}, false, errors.New("the server's answer lacks the authority that issued it")
	}
	return as, false, nil
}
