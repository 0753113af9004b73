package main

import (
	"slices"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
)

// A policy says who may do what. It does not change; the zero policy allows nobody anything.
type policy struct {
	allow []allowRule
	limit []limitRule
}

// An allowRule gives rights to subjects. What several rules give adds up, in whatever order; no rule takes
// anything away.
type allowRule struct {
	who           []subject // no groups any more
	administrator bool
	methods       []methodPattern
	rooms         []roomPattern
	verbs         []verb // in the rooms
}

// A limitRule limits subjects, each identity by itself. Of several rules that set the same limit for an
// identity, the last holds. Zero: it does not set that limit.
type limitRule struct {
	who          []subject
	sessions     int     // at once, those that are held included
	calls, lines float64 // a second
}

// grants is all that a policy says of one identity.
type grants struct {
	session       bool // it may have one: some rule names it
	administrator bool
	rules         []*allowRule
	limits        limitRule
}

// of returns what the policy says of an identity, on a server of that domain.
func (p *policy) of(who certs.ID, domain string) *grants {
	is := func(u subject) bool { return u.is(who, domain) }
	g := &grants{}
	for i := range p.allow {
		rule := &p.allow[i]
		if slices.ContainsFunc(rule.who, is) {
			g.session = true
			g.administrator = g.administrator || rule.administrator
			g.rules = append(g.rules, rule)
		}
	}
	for i := range p.limit {
		rule := &p.limit[i]
		if !slices.ContainsFunc(rule.who, is) {
			continue
		}
		if rule.sessions > 0 {
			g.limits.sessions = rule.sessions
		}
		if rule.calls > 0 {
			g.limits.calls = rule.calls
		}
		if rule.lines > 0 {
			g.limits.lines = rule.lines
		}
	}
	return g
}

// mayCall says whether a method that needs the right may be called. One for administrators is given by its
// whole name alone: "**" is not to hand out what comes with the next version.
func (g *grants) mayCall(method string, needs right) bool {
	if g.administrator || g.session && needs == forSessions {
		return true
	}
	for _, rule := range g.rules {
		for _, p := range rule.methods {
			if (needs == forEveryone || !p.wild()) && matches(string(p), method) {
				return true
			}
		}
	}
	return false
}

// mayDo says whether the identity may do v in a room.
func (g *grants) mayDo(v chat.Verb, room string) bool {
	if g.administrator {
		return true
	}
	for _, rule := range g.rules {
		if !slices.Contains(rule.verbs, verb(v.String())) {
			continue
		}
		for _, p := range rule.rooms {
			if matches(string(p), room) {
				return true
			}
		}
	}
	return false
}
