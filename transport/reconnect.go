package transport

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/trunkline-go/trunkline/internal/backoff"
)

// How a client's session connects again. While it is detached there is a timer, and nothing else;
// the timer makes one attempt, in a goroutine that ends with it, and a failed attempt sets the next
// timer. So there is one attempt at a time, and none beside a connection that carries the session.
//
// What an attempt does to the session it does under the session's lock, and only while that is
// detached: an attempt that ends after Abort finds the state ended, and closes what it has made.

// A redial is what a client's session connects with.
type redial struct {
	addr   string
	socket net.PacketConn // for the first connection; nil if there is none, or it was used

	// Guarded by the session's lock.
	trying   chan struct{} // closed at the end of the newest attempt's goroutine; nil before the first
	failures int           // attempts, and connections that did not last, in a row
	giveUp   time.Time     // when Config.ReconnectTimeout will have passed; zero without one
}

// resumable says whether a client connects again after an end with this code.
func (c CloseCode) resumable() bool {
	switch c.Next() {
	case StepResumeAfterDelay, StepResumeWithBackoff:
		return true
	case StepDone, StepStop:
	}
	return false
}

// lost begins a series of attempts, after a connection that lasted so long. One that did not last counts as
// a failure: a server that accepts everybody and then aborts is not asked again ten times a second.
func (r *redial) lost(cfg *Config, lasted time.Duration) {
	if lasted >= cfg.MaxReconnectBackoff {
		r.failures = 0
	}
	r.giveUp = time.Time{}
	if cfg.ReconnectTimeout > 0 {
		r.giveUp = time.Now().Add(cfg.ReconnectTimeout)
	}
}

// redialLocked sets the timer for the next attempt, not before after has passed; why is how the session
// ends if there is none.
func (s *Session) redialLocked(why *Error, after time.Duration) {
	r := s.redial
	wait := max(after, backoff.Wait(r.failures, s.cfg.ReconnectBackoff, s.cfg.MaxReconnectBackoff))
	if !r.giveUp.IsZero() && time.Until(r.giveUp) <= wait {
		s.endLocked(why)
		return
	}
	r.failures++
	s.cause = why
	s.timer = time.AfterFunc(wait, s.reconnect)
	s.stateChangedLocked()
	s.cfg.Logger.Info("session detached", "session", s.id, "identity", s.identity, "code", why.Code, "remote", why.Remote, "reason", why.Reason, "next_attempt_in", wait)
}

// reconnect is one attempt.
func (s *Session) reconnect() {
	s.mu.Lock()
	if s.state != StateDetached { // Abort was faster than the timer
		s.mu.Unlock()
		return
	}
	done := make(chan struct{})
	s.redial.trying = done
	giveUp := s.redial.giveUp
	s.mu.Unlock()
	defer close(done)

	ctx := s.ctx // its end closes a connection that has not come to WELCOME
	if !giveUp.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, giveUp, &Error{Code: Lost, Reason: "could not be resumed in time"})
		defer cancel()
	}
	if err := s.connect(ctx); err != nil {
		s.attemptFailed(fromQUIC(err))
	}
}

// attemptFailed makes the session wait for the next attempt, or ends it.
func (s *Session) attemptFailed(why *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != StateDetached: // it was ended meanwhile
	case why.Code.resumable():
		s.redialLocked(why, 0)
	default:
		s.endLocked(why)
	}
}

// takeSocket returns the socket for one connection.
func (s *Session) takeSocket() (net.PacketConn, error) {
	if pc := s.redial.socket; pc != nil {
		s.redial.socket = nil
		return pc, nil
	}
	return s.cfg.newSocket()
}

// newSocket returns a socket that is not Config.PacketConn.
func (c *Config) newSocket() (net.PacketConn, error) {
	if c.NewPacketConn != nil {
		return c.NewPacketConn()
	}
	return net.ListenUDP("udp", nil)
}

// resolve is net.ResolveUDPAddr that ends with ctx. The name is looked up for each connection, because
// a server may have moved.
func resolve(ctx context.Context, addr string) (*net.UDPAddr, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return &net.UDPAddr{Port: port}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("no address for %s", host)
	}
	ip := ips[0].Unmap()
	for _, other := range ips { // IPv4 first, as package net does it
		if other = other.Unmap(); other.Is4() {
			ip = other
			break
		}
	}
	return &net.UDPAddr{IP: net.IP(ip.AsSlice()).To16(), Port: port, Zone: ip.Zone()}, nil
}
