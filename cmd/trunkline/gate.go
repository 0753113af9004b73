package main

import (
	"context"
	"fmt"
	"math"
	"sync"

	"golang.org/x/time/rate"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A gate applies a policy, which may change, to the sessions of a server, their calls and their chat. It is
// safe for concurrent use.
type gate struct {
	domain string // the server's own

	mu     sync.RWMutex // guards what follows, but for the limiters
	policy *policy
	people map[certs.ID]*person
	prune  int // how many people there are when those who are gone are looked for
}

// A person is an identity that has a session, or had one so lately that its limits still count.
type person struct {
	grants   *grants
	sessions map[*transport.Session]struct{}
	calls    *rate.Limiter // nil: no limit
	lines    *rate.Limiter // the same
}

// minPrune is the least number of people that is looked through for those who are gone.
const minPrune = 64

func newGate(domain string, p *policy) *gate {
	return &gate{domain: domain, policy: p, people: make(map[certs.ID]*person), prune: minPrune}
}

// admit decides whether a session, which has just been registered, may be there. An error is a
// *transport.Error.
func (g *gate) admit(s *transport.Session, who certs.ID) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.people[who]
	if p == nil {
		grants := g.policy.of(who, g.domain)
		if !grants.session {
			return errNoSession()
		}
		p = &person{sessions: make(map[*transport.Session]struct{})}
		p.set(grants)
		g.pruneLocked()
		g.people[who] = p
	}
	if !p.grants.session {
		return errNoSession()
	}
	if _, resumed := p.sessions[s]; resumed {
		return nil
	}
	if limit := p.grants.limits.sessions; limit > 0 && len(p.sessions) >= limit && !p.evict() {
		return &transport.Error{Code: transport.ExcessiveLoad, Reason: fmt.Sprintf("the limit is %d sessions of one identity", limit)}
	}
	p.sessions[s] = struct{}{}
	context.AfterFunc(s.Context(), func() { g.ended(s, who) })
	return nil
}

func errNoSession() error {
	return &transport.Error{Code: transport.Unauthorized, Reason: "the policy allows this identity no session"}
}

// evict ends a session that only waits for its client, so that a new one has its place, and says whether
// there was one.
func (p *person) evict() bool {
	for s := range p.sessions {
		// One that is being opened is detached until it is welcomed, and has had no connection.
		if now, _ := s.Status(); now.State == transport.StateDetached && now.Attempt > 0 {
			delete(p.sessions, s)
			s.Abort(transport.ExcessiveLoad, "another session of the identity took its place")
			return true
		}
	}
	return false
}

// ended follows the end of a session.
func (g *gate) ended(s *transport.Session, who certs.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.people[who]; p != nil {
		delete(p.sessions, s)
		if p.gone() {
			delete(g.people, who)
		}
	}
}

// gone says whether nothing would be lost with p: connecting anew must not fill its limits.
func (p *person) gone() bool {
	full := func(l *rate.Limiter) bool { return l == nil || l.Tokens() >= float64(l.Burst()) }
	return len(p.sessions) == 0 && full(p.calls) && full(p.lines)
}

// pruneLocked forgets those who have gone when there are many people.
func (g *gate) pruneLocked() {
	if len(g.people) < g.prune {
		return
	}
	for who, p := range g.people {
		if p.gone() {
			delete(g.people, who)
		}
	}
	g.prune = 2*len(g.people) + minPrune
}

// set gives p what the policy says. What it has used of its limits counts on.
func (p *person) set(grants *grants) {
	p.grants = grants
	setRate(&p.calls, grants.limits.calls)
	setRate(&p.lines, grants.limits.lines)
}

// setRate limits to so many a second, and as many at once, but at least one. 0 is no limit.
func setRate(l **rate.Limiter, perSecond float64) {
	burst := int(min(max(1, math.Ceil(perSecond)), math.MaxInt32))
	switch {
	case perSecond == 0:
		*l = nil
	case *l == nil:
		*l = rate.NewLimiter(rate.Limit(perSecond), burst)
	default:
		(*l).SetLimit(rate.Limit(perSecond))
		(*l).SetBurst(burst)
	}
}

// apply puts a policy in the place of the one before, and ends the sessions that it does not allow. It
// returns how many. Limits on sessions hold for new ones.
func (g *gate) apply(policy *policy) (ended int) {
	g.mu.Lock()
	g.policy = policy
	var over []*transport.Session
	for who, p := range g.people {
		p.set(policy.of(who, g.domain))
		if !p.grants.session {
			for s := range p.sessions {
				over = append(over, s)
			}
		}
	}
	g.mu.Unlock()
	for _, s := range over {
		s.Abort(transport.Unauthorized, "the policy allows this identity no session any more")
	}
	return len(over)
}

// of returns what the policy grants an identity, and its limits.
func (g *gate) of(who certs.ID) (grants *grants, calls, lines *rate.Limiter) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if p := g.people[who]; p != nil {
		return p.grants, p.calls, p.lines
	}
	return g.policy.of(who, g.domain), nil, nil // its session has just ended
}

// authorizeCall decides about a call of a method that needs the right. An error is an *rpc.Error.
func (g *gate) authorizeCall(who certs.ID, method string, needs right) error {
	grants, calls, _ := g.of(who)
	if !grants.mayCall(method, needs) {
		return rpc.Errorf(rpc.PermissionDenied, "not allowed to call %s", method)
	}
	if calls != nil && !calls.Allow() {
		return rpc.Errorf(rpc.ResourceExhausted, "the limit is %v calls a second", calls.Limit())
	}
	return nil
}

// mayCall says whether an identity may call a method that needs the right, and counts nothing.
func (g *gate) mayCall(who certs.ID, method string, needs right) bool {
	grants, _, _ := g.of(who)
	return grants.mayCall(method, needs)
}

// authorizeRoom is for chat.Config.Authorize.
func (g *gate) authorizeRoom(who certs.ID, room string, verb chat.Verb) error {
	if grants, _, _ := g.of(who); !grants.mayDo(verb, room) {
		return &chat.Error{Code: rpc.PermissionDenied, Reason: fmt.Sprintf("not allowed to %s in this room", verb)}
	}
	return nil
}

// administers is for chat.Config.Administrator.
func (g *gate) administers(who certs.ID) bool {
	grants, _, _ := g.of(who)
	return grants.administrator
}

// allowLines is for chat.Config.AllowLines.
func (g *gate) allowLines(who certs.ID, n int) int {
	_, _, lines := g.of(who)
	if lines == nil {
		return n
	}
	allowed := 0
	for allowed < n && lines.Allow() {
		allowed++
	}
	return allowed
}
