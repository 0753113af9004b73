package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// checkRevoked refuses who has been revoked. A list that can't be read refuses everyone.
func checkRevoked(home *certs.Home, p transport.Peer) error {
	return revocation(home.CheckRevoked(p.ID, p.Fingerprint))
}

// revocation returns with what a session is refused, for the error of a check against the list.
func revocation(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, certs.ErrRevoked):
		return &transport.Error{Code: transport.Revoked, Reason: "the certificate has been revoked", Err: err}
	default:
		return &transport.Error{Code: transport.Internal, Reason: "the list of revoked certificates can't be read", Err: err}
	}
}

// watchRevoked ends the sessions of those who are revoked while srv runs, until stop is called. While the list
// can't be read, whoever has a session keeps it.
func watchRevoked(ctx context.Context, home *certs.Home, srv *transport.Server, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		home.WatchRevoked(ctx, func(denied *certs.Denied) {
			srv.Recheck(func(p transport.Peer) error { return revocation(denied.Check(p.ID, p.Fingerprint)) })
		}, func(err error) {
			log.Error("list of revoked certificates can't be read", "reason", err)
		})
	}()
	return func() {
		cancel()
		<-done
	}
}
