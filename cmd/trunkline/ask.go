package main

import (
	"context"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// elsewhereHint is for what needs the authority, where it is not.
const elsewhereHint = "run it on the machine that holds the authority, or as an administrator with --server HOST:PORT"

// askTimeout bounds what is asked of a server, beside a call that somebody wants.
const askTimeout = 10 * time.Second

// onSession has do ask a server, over a session of its own.
func (a *app) onSession(ctx context.Context, client clientFlags, do func(ctx context.Context, s *transport.Session) error) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	session, err := a.dial(ctx, client, false)
	if err != nil {
		return err
	}
	askCtx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := do(askCtx, session); err != nil {
		_ = release(ctx, session) // says less
		return err
	}
	return release(ctx, session)
}

// ask calls a method of the server's over a session of its own.
func ask[Req, Res any](ctx context.Context, a *app, client clientFlags, method rpc.UnaryMethod[Req, Res], req *Req) (res *Res, err error) {
	err = a.onSession(ctx, client, func(ctx context.Context, s *transport.Session) (err error) {
		res, err = method.Call(ctx, s, req)
		return err
	})
	return res, err
}

// askIn is ask about a room, a field of req, which is as checkRoomArg wants it.
func askIn[Req, Res any](ctx context.Context, a *app, client clientFlags, method rpc.UnaryMethod[Req, Res], req *Req, room *string) (res *Res, err error) {
	arg := *room
	err = a.onSession(ctx, client, func(ctx context.Context, s *transport.Session) (err error) {
		if *room, err = roomOn(s, arg); err == nil {
			res, err = method.Call(ctx, s, req)
		}
		return err
	})
	return res, err
}
