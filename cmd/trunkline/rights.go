package main

import (
	"context"

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

// newMethods returns methods without any, which guard lets be called.
func newMethods(cfg rpc.Config, guard *gate) *methods {
	ms := &methods{rights: make(map[string]right)}
	cfg.Authorize = func(_ context.Context, c rpc.Call) error {
		return guard.authorizeCall(c.Peer.ID, c.Method, ms.rights[c.Method])
	}
	ms.mux = rpc.NewMux(cfg)
	return ms
}

// handle adds method m, served by fn, for those who have the right.
func handle[F any](ms *methods, r right, m rpc.Method[F], fn F) {
	rpc.Handle(ms.mux, m, fn)
	ms.rights[m.Name()] = r
}
