package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// expiryLook is how often a server looks for sessions whose certificates have expired.
const expiryLook = time.Minute

// endExpired ends the sessions of those whose certificate has expired and who have no other, until stop is called
// (M84). judge returns what decides about them at one moment.
func endExpired(ctx context.Context, srv *transport.Server, judge func() (func(*x509.Certificate) error, error), log *slog.Logger) (stop func()) {
	expired := func(cert *x509.Certificate) bool { return time.Now().After(cert.NotAfter) }
	return inBackground(ctx, func(ctx context.Context) {
		for wait(ctx, expiryLook) {
			if !slices.ContainsFunc(srv.Sessions(), func(s *transport.Session) bool { return expired(s.Peer().Certificate) }) {
				continue
			}
			check, err := judge()
			if err != nil {
				log.Error("record of keys can't be read", "reason", err)
				continue
			}
			srv.Recheck(func(p transport.Peer) error {
				if !expired(p.Certificate) {
					return nil
				}
				return outOfDate(check(p.Certificate))
			})
		}
	})
}

// recorded is for endExpired: what counts is whether the home's authority has certified the same key since.
func recorded(home *certs.Home) func() (func(*x509.Certificate) error, error) {
	return func() (func(*x509.Certificate) error, error) {
		known, err := home.Certified()
		if err != nil {
			return nil, err
		}
		return known.Check, nil
	}
}

// expiry is for endExpired with a PKI of one's own, which tells nobody what it has certified.
func expiry() (func(*x509.Certificate) error, error) {
	return func(cert *x509.Certificate) error {
		return &certs.VerifyError{Reason: certs.Expired, Peer: certs.FingerprintOf(cert)}
	}, nil
}

func isExpired(err error) bool {
	v, ok := errors.AsType[*certs.VerifyError](err)
	return ok && v.Reason == certs.Expired
}
