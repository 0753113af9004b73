package certs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// pinsFile has a line "HOST:PORT FINGERPRINT" for each server whose authority was pinned by hand.
const pinsFile = "known_servers"

// A Pin says which authority stands behind an address. It is of the authority's key, so that it outlives
// every certificate of the server's.
type Pin struct {
	Addr string // as [PinAddr] writes it
	Key  Fingerprint
}

// String returns the line of known_servers.
func (p Pin) String() string { return p.Addr + " " + p.Key.String() }

// ErrPinned is what a [PinError] is.
var ErrPinned = errors.New("another authority is pinned")

// PinError says that an address has another authority than the one that was pinned for it. errors.Is finds
// [ErrPinned] in it.
type PinError struct {
	Addr   string
	Pinned Fingerprint
	Got    Fingerprint
}

// Error shows both keys.
func (e *PinError) Error() string {
	return fmt.Sprintf("the authority of %s is not the pinned one (pinned %s, got %s)", e.Addr, e.Pinned, e.Got)
}

// Unwrap returns ErrPinned.
func (e *PinError) Unwrap() error { return ErrPinned }

// PinAddr returns the one spelling of "HOST:PORT" that pins are kept under: the host in lower case without a
// final dot, an IP address as [netip.Addr] writes it, an IPv4 one that is mapped into IPv6 as the IPv4 one, the port
// a number from 1 to 65535. Names are not looked up.
func PinAddr(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%s is not HOST:PORT", quote(addr))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%s has no port from 1 to 65535", quote(addr))
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if !isZone(ip.Zone()) {
			return "", fmt.Errorf("%s has a zone other than a-z 0-9 . _ -", quote(addr))
		}
		host = ip.Unmap().String() // where a connection goes
	} else if host = strings.ToLower(strings.TrimSuffix(host, ".")); !isDNSName(host) {
		return "", fmt.Errorf("the host of %s is neither a dns name nor an ip address", quote(addr))
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// isZone keeps what would break a line out of the file.
func isZone(zone string) bool {
	return strings.IndexFunc(strings.ToLower(zone), func(r rune) bool { return r > 0x7f || !isNameByte(byte(r)) }) < 0
}

// Pins returns all pins, in the order in which they were made.
func (h *Home) Pins() ([]Pin, error) {
	var all []Pin
	err := readLines(h.path(pinsFile), func(line string) error {
		p, err := parsePin(line)
		all = append(all, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func parsePin(line string) (Pin, error) {
	addr, fingerprint, _ := strings.Cut(line, " ")
	got, err := PinAddr(addr)
	if err != nil {
		return Pin{}, err
	}
	if got != addr {
		return Pin{}, fmt.Errorf("%s should be written %s", quote(addr), got)
	}
	key, err := ParseFingerprint(fingerprint)
	return Pin{Addr: addr, Key: key}, err
}

// Pinned returns the key of the authority that is pinned for "HOST:PORT", or the zero Fingerprint.
func (h *Home) Pinned(addr string) (Fingerprint, error) {
	addr, err := PinAddr(addr)
	if err != nil {
		return Fingerprint{}, err
	}
	all, err := h.Pins()
	if err != nil {
		return Fingerprint{}, err
	}
	return pinned(all, addr), nil
}

func pinned(all []Pin, addr string) Fingerprint {
	for _, p := range all {
		if p.Addr == addr {
			return p.Key
		}
	}
	return Fingerprint{}
}

// Pin keeps key as that of the authority behind "HOST:PORT". To pin the same again is no error; another key
// than the pinned one is a [*PinError], and the pin stays: only [Home.Unpin] takes one away.
func (h *Home) Pin(addr string, key Fingerprint) error {
	addr, err := PinAddr(addr)
	if err != nil {
		return err
	}
	if key.IsZero() {
		return errors.New("the fingerprint is that of no key")
	}
	return h.update(func() error {
		all, err := h.Pins()
		if err != nil {
			return err
		}
		switch old := pinned(all, addr); {
		case old == key:
			return nil
		case !old.IsZero():
			return &PinError{Addr: addr, Pinned: old, Got: key}
		}
		return h.writePins(append(all, Pin{Addr: addr, Key: key}))
	})
}

// Unpin forgets which authority is behind "HOST:PORT", and reports whether that was known.
func (h *Home) Unpin(addr string) (was bool, err error) {
	addr, err = PinAddr(addr)
	if err != nil {
		return false, err
	}
	err = h.update(func() error {
		all, err := h.Pins()
		if err != nil {
			return err
		}
		kept := all[:0]
		for _, p := range all {
			if p.Addr == addr {
				was = true
				continue
			}
			kept = append(kept, p)
		}
		if !was {
			return nil
		}
		return h.writePins(kept)
	})
	return was && err == nil, err
}

func (h *Home) writePins(all []Pin) error {
	var text strings.Builder
	for _, p := range all {
		fmt.Fprintln(&text, p)
	}
	return replace(h.path(pinsFile), []byte(text.String()))
}
