package main

import (
	"context"
	"slices"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/health"
	"github.com/trunkline-go/trunkline/rpc/reflection"
	"github.com/trunkline-go/trunkline/transport"
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
	guard  *gate
	rights map[string]right // complete before the first call, and not changed after it
}

// newMethods returns methods without any, which guard lets be called.
func newMethods(cfg rpc.Config, guard *gate) *methods {
	ms := &methods{guard: guard, rights: make(map[string]right)}
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

// describe adds the methods that list and describe those that the caller may call.
func (ms *methods) describe() {
	r := reflection.New(ms.mux, reflection.Config{Visible: func(ctx context.Context, method string) bool {
		p, ok := transport.PeerFrom(ctx)
		return ok && ms.guard.mayCall(p.ID, method, ms.rights[method])
	}})
	handle(ms, forSessions, reflection.List, r.List)
	handle(ms, forSessions, reflection.Describe, r.Describe)
}

// serveRooms adds the methods of rooms, which ask of each room who may do what in it.
func (ms *methods) serveRooms(rooms *chat.Server) {
	before := ms.mux.Methods()
	chat.Register(ms.mux, rooms)
	for _, name := range ms.mux.Methods() {
		if !slices.Contains(before, name) {
			ms.rights[name] = forEveryone
		}
	}
}

// reportHealth adds the methods that say how h does: the server as a whole, and each service of which a
// method is not for administrators alone.
func (ms *methods) reportHealth(h *health.Server) {
	handle(ms, forSessions, health.Check, h.Check)
	handle(ms, forSessions, health.Watch, h.Watch)
	for name, r := range ms.rights {
		if r != forAdministrators {
			service, _, _ := strings.Cut(name, "/")
			h.Set(service, health.Serving)
		}
	}
}
