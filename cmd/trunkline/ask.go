package main

import (
	"context"

	"github.com/trunkline-go/trunkline/rpc"
)

// elsewhereHint is for what needs the authority, where it is not.
const elsewhereHint = "run it on the machine that holds the authority, or as an administrator with --server HOST:PORT"

// ask calls a method of the server's over a session of its own.
func ask[Req, Res any](ctx context.Context, a *app, client clientFlags, method rpc.UnaryMethod[Req, Res], req *Req) (*Res, error) {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	session, err := a.dial(ctx, client, false)
	if err != nil {
		return nil, err
	}
	callCtx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	res, err := method.Call(callCtx, session, req)
	if err != nil {
		_ = release(ctx, session) // says less
		return nil, err
	}
	return res, release(ctx, session)
}
