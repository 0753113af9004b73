package transport

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// How often somebody may try to enrol. A secret of 128 bits is not guessed at any rate; this bounds what
// those who try cost the server, and its disk.
const (
	attemptBurst    = 10 // from one address, an IPv6 one counting as its /64
	attemptEvery    = 6 * time.Second
	attemptBurstAll = 100 // from all of them
	attemptEveryAll = 100 * time.Millisecond

	// maxAttemptAddrs is how many addresses are told apart; those beyond share one allowance.
	maxAttemptAddrs = 1024
)

// attempts limits how often somebody may try. The addresses have been validated by a handshake.
type attempts struct {
	mu     sync.Mutex // guards what follows
	all    bucket
	byAddr map[netip.Prefix]*bucket
}

// A bucket has what is left of an allowance, and gets one more each time. The zero bucket is full.
type bucket struct {
	level float64
	at    time.Time // of level; zero at first
}

// take counts an attempt from addr, and reports whether it may be made. One that may not counts for nothing.
func (a *attempts) take(addr net.Addr, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.bucketLocked(network(addr), now)
	one.fill(now, attemptBurst, attemptEvery)
	a.all.fill(now, attemptBurstAll, attemptEveryAll)
	if one.level < 1 || a.all.level < 1 {
		return false
	}
	one.level--
	a.all.level--
	return true
}

// bucketLocked returns the bucket of a network. Those that are full again are dropped when there are too many.
func (a *attempts) bucketLocked(p netip.Prefix, now time.Time) *bucket {
	if b, ok := a.byAddr[p]; ok {
		return b
	}
	if len(a.byAddr) >= maxAttemptAddrs {
		for q, b := range a.byAddr {
			if b.fill(now, attemptBurst, attemptEvery); b.level >= attemptBurst {
				delete(a.byAddr, q)
			}
		}
	}
	if len(a.byAddr) >= maxAttemptAddrs {
		p = netip.Prefix{}
		if b, ok := a.byAddr[p]; ok {
			return b
		}
	}
	if a.byAddr == nil {
		a.byAddr = make(map[netip.Prefix]*bucket)
	}
	b := &bucket{}
	a.byAddr[p] = b
	return b
}

// take takes one from the bucket, and says whether there was one.
func (b *bucket) take(now time.Time, burst float64, every time.Duration) bool {
	b.fill(now, burst, every)
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

func (b *bucket) fill(now time.Time, burst float64, every time.Duration) {
	if b.at.IsZero() {
		b.level = burst
	} else {
		b.level = min(burst, b.level+float64(now.Sub(b.at))/float64(every))
	}
	b.at = now
}

// network returns what counts as one address; the zero Prefix for what is no IP address.
func network(addr net.Addr) netip.Prefix {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := udp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
