package main

import (
	"context"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
)

// A right is what a method of the server's own asks of who calls it.
type right uint8

const (
	// forAdministrators is what a method needs that declares nothing.
	forAdministrators right = iota
	// forEveryone is for whom the policy allows the method; the default policy allows it to every
	// identity of the server's own authority.
	forEveryone
	// forSessions is for everyone who may have a session, and needs no mention in a policy: what a
	// client must be able to call to keep its session.
	forSessions
)

// methods are the server's own, each with the right that it needs.
type methods struct {
	mux    *rpc.Mux
	rights map[string]right // complete before the first call, and not changed after it
}

// newMethods returns methods without any, which authorizer guards.
func newMethods(cfg rpc.Config, auth authorizer) *methods {
	ms := &methods{rights: make(map[string]right)}
	cfg.Authorize = func(_ context.Context, c rpc.Call) error {
		return auth.authorizeCall(c.Peer.ID, c.Method, ms.rights[c.Method])
	}
	ms.mux = rpc.NewMux(cfg)
	return ms
}

// handle adds method m, served by fn, for those who have the right.
func handle[F any](ms *methods, r right, m rpc.Method[F], fn F) {
	rpc.Handle(ms.mux, m, fn)
	ms.rights[m.Name()] = r
}

// An authorizer decides who may do what.
type authorizer interface {
	// authorizeCall returns nil, or an *rpc.Error that says why who may not call a method that
	// needs the right.
	authorizeCall(who certs.ID, method string, needs right) error
}

// defaultPolicy is what holds when there is no other: every identity of the domain may call what is for
// everyone, and one user administers.
type defaultPolicy struct {
	domain        string
	administrator string // a user's name; "": nobody
}

func (p defaultPolicy) authorizeCall(who certs.ID, method string, needs right) error {
	if needs == forSessions || who.Domain == p.domain && (needs == forEveryone || who.Name != "" && who.Name == p.administrator) {
		return nil
	}
	return rpc.Errorf(rpc.PermissionDenied, "not allowed to call %s", method)
}
