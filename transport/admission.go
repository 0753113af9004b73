package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// Limits of a server on connections that have no session yet. Whoever sends the first packet of a handshake need
// not be where the packet says, so what is held for them is bounded in number, and by address only once the
// address is validated (RFC 9000, section 8): by a Retry, which costs the server nothing to keep and
// the client a round trip, or by the end of the handshake.
const (
	// retryShare is the part of MaxHandshakes from which on addresses are validated first: below it an
	// establishment takes no round trip more.
	retryShare = 8
	// reserved is how many handshakes, and sessions, beyond the limits are for clients on the server's own
	// machine, which no packet from outside can pretend to be: so that its administrator gets in.
	reserved = 16
)

// errNotAdmitted refuses a connection with CONNECTION_REFUSED, for which quic-go keeps no state.
var errNotAdmitted = errors.New("transport: not admitted")

// An admission counts a server's connections, from their first packet to their end.
type admission struct {
	maxHandshakes int // 0: no limit
	maxPerAddress int // 0: no limit
	counters      *counters
	windows       *budget

	mu         sync.Mutex // guards what follows; no other lock is taken with it held
	handshakes int        // connections that have not come to WELCOME
	addresses  map[netip.Prefix]int
}

func newAdmission(cfg *Config, counters *counters, windows *budget) *admission {
	return &admission{
		maxHandshakes: max(0, cfg.MaxHandshakes),
		maxPerAddress: max(0, cfg.MaxPerAddress),
		counters:      counters,
		windows:       windows,
		addresses:     make(map[netip.Prefix]int),
	}
}

// An admitted is what a connection takes of the limits.
type admitted struct {
	of *admission

	window atomic.Int64 // bytes of the server's budget that its receive window has taken
	over   atomic.Bool  // the connection has ended

	// Guarded by the admission's lock.
	welcomed bool         // it is no handshake any more
	address  netip.Prefix // that it counts for; the zero Prefix: none
}

type admittedKey struct{}

// admittedFrom returns what conn takes of the limits.
func admittedFrom(conn *quic.Conn) *admitted {
	a, _ := conn.Context().Value(admittedKey{}).(*admitted)
	return a
}

// needsRetry says whether a client has to show first that it is at its address.
func (a *admission) needsRetry(net.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.maxHandshakes > 0 && a.handshakes >= max(1, a.maxHandshakes/retryShare)
}

// admit decides about a connection with its first packet, before anything is kept for it.
func (a *admission) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	prefix, local := network(info.RemoteAddr), isLocal(info.RemoteAddr)
	a.mu.Lock()
	defer a.mu.Unlock()
	most := a.maxHandshakes
	if local {
		most += reserved
	}
	if a.maxHandshakes > 0 && a.handshakes >= most {
		a.counters.drop(DropHandshakes)
		return nil, errNotAdmitted
	}
	ad := &admitted{of: a}
	if info.AddrVerified && !a.enterLocked(ad, prefix, local) {
		a.counters.drop(DropAddress)
		return nil, errNotAdmitted
	}
	a.handshakes++
	ctx = context.WithValue(ctx, admittedKey{}, ad)
	context.AfterFunc(ctx, ad.end)
	return ctx, nil
}

// enterLocked counts a connection for its validated address, and says whether that may have another.
func (a *admission) enterLocked(ad *admitted, prefix netip.Prefix, local bool) bool {
	if local || a.maxPerAddress == 0 || !prefix.IsValid() || ad.address.IsValid() || ad.over.Load() {
		return true
	}
	if a.addresses[prefix] >= a.maxPerAddress {
		return false
	}
	a.addresses[prefix]++
	ad.address = prefix
	return true
}

// validated is called at the end of the handshake, which validates the address.
func (ad *admitted) validated(addr net.Addr) *Error {
	ad.of.mu.Lock()
	ok := ad.of.enterLocked(ad, network(addr), isLocal(addr))
	ad.of.mu.Unlock()
	if !ok {
		ad.of.counters.drop(DropAddress)
		return &Error{Code: ExcessiveLoad, Reason: "too many connections from this address"}
	}
	return nil
}

// welcome gives the handshake's place back: from here on it is the session that counts.
func (ad *admitted) welcome() {
	ad.of.mu.Lock()
	defer ad.of.mu.Unlock()
	ad.welcomeLocked()
}

func (ad *admitted) welcomeLocked() {
	if !ad.welcomed {
		ad.welcomed = true
		ad.of.handshakes--
	}
}

// end gives back all.
func (ad *admitted) end() {
	a := ad.of
	a.mu.Lock()
	defer a.mu.Unlock()
	ad.over.Store(true)
	a.windows.give(ad.window.Swap(0))
	ad.welcomeLocked()
	if !ad.address.IsValid() {
		return
	}
	if a.addresses[ad.address]--; a.addresses[ad.address] == 0 {
		delete(a.addresses, ad.address)
	}
}

// isLocal says whether an address is of this machine.
func isLocal(addr net.Addr) bool {
	udp, ok := addr.(*net.UDPAddr)
	return ok && udp.IP.IsLoopback()
}

func (a *admission) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.handshakes
}
