package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// serverCredentials are what a server presents and trusts, which is issued anew while it runs.
type serverCredentials struct {
	srv   *transport.Server
	issue func() (*certs.Credentials, error)

	mu   sync.Mutex // guards cred; held while it is issued, so that the newest is the one in use
	cred *certs.Credentials
}

// current returns what is in use.
func (c *serverCredentials) current() *certs.Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cred
}

// reissue puts what is issued now into use, for the connections that are made from now on.
func (c *serverCredentials) reissue() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cred, err := c.issue()
	if err != nil {
		return err
	}
	c.cred = cred
	c.srv.SetCredentials(cred)
	return nil
}

// keepServerRenewed renews the server's own certificate when it is time, until stop is called.
func keepServerRenewed(ctx context.Context, c *serverCredentials, log *slog.Logger) (stop func()) {
	return inBackground(ctx, func(ctx context.Context) {
		for wait(ctx, untilServerDue(c.current())) {
			before := c.current()
			if !due(before) {
				continue
			}
			if err := c.reissue(); err != nil {
				log.Error("server certificate not renewed", "until", before.Certificate.Leaf.NotAfter, "reason", err)
				continue
			}
			log.Info("server certificate renewed", "until", c.current().Certificate.Leaf.NotAfter)
		}
	})
}

// untilServerDue is how long to wait before the next look: renewAgain at most, and if a renewal is due, because it has failed.
func untilServerDue(cred *certs.Credentials) time.Duration {
	left := time.Until(certs.RenewAt(cred.Certificate.Leaf))
	if left <= 0 || left > renewAgain {
		return renewAgain
	}
	return left
}

// A standing says who may stay after an authority is not trusted any more. Until there has been a change it lets everyone
// stay. It is safe for concurrent use.
type standing struct {
	home  *certs.Home
	known atomic.Pointer[certs.Certified]
}

// check is for sessions that are about to be opened, whose handshake may have been before the change (M82).
func (s *standing) check(p transport.Peer) error {
	known := s.known.Load()
	if known == nil || known.Check(p.Certificate) == nil {
		return nil
	}
	// What is known may be behind: the client can be on an authority that this server has not noticed yet.
	known, err := s.home.Certified()
	if err != nil {
		return &transport.Error{Code: transport.Internal, Reason: "the record of keys can't be read", Err: err}
	}
	return outOfDate(known.Check(p.Certificate))
}

// outOfDate returns with what a session is ended, for the error of a check against the record.
func outOfDate(err error) error {
	if err == nil {
		return nil
	}
	if isExpired(err) {
		return &transport.Error{Code: transport.Expired, Reason: "the certificate has expired", Err: err}
	}
	return &transport.Error{Code: transport.Unauthorized, Reason: "the authority of the certificate is not trusted any more", Err: err}
}

// watchAuthority takes what a rotation, by another process, has changed into use, until stop is called: sessions go on, but for
// those whose certificate is of an authority that is not trusted any more (M82).
func watchAuthority(ctx context.Context, c *serverCredentials, s *standing, log *slog.Logger) (stop func()) {
	var before certs.Fingerprint
	var overlapped bool
	return inBackground(ctx, func(ctx context.Context) {
		s.home.WatchAuthority(ctx, func() error {
			if err := c.reissue(); err != nil {
				return err
			}
			cred := c.current()
			now := certs.FingerprintOf(cred.Authority)
			if before.IsZero() || now == before && overlapped == (cred.Former != nil) {
				before, overlapped = now, cred.Former != nil
				return nil
			}
			known, err := s.home.Certified()
			if err != nil {
				return err
			}
			before, overlapped = now, cred.Former != nil
			s.known.Store(known)
			c.srv.Recheck(func(p transport.Peer) error { return outOfDate(known.Check(p.Certificate)) })
			if cred.Former != nil {
				log.Info("authority rotated", "authority", now, "former", certs.FingerprintOf(cred.Former), "until", cred.Cross.NotAfter)
			} else {
				log.Info("no former authority is trusted", "authority", now)
			}
			return nil
		}, func(err error) {
			log.Error("authority can't be taken into use", "reason", err)
		})
	})
}

// inBackground runs fn until stop is called, which waits for it.
func inBackground(ctx context.Context, fn func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
