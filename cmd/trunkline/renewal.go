package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A renewal keeps good what a client presents and trusts, for as long as its session lasts.
type renewal struct {
	session *transport.Session
	home    *certs.Home
	addr    string // of the server, as pins have it
	log     *slog.Logger

	cred      *certs.Credentials // in use; they are of home
	authority *x509.Certificate  // of home, which a pin may be before in cred
	tried     time.Time          // when a renewal was tried last
	asked     time.Time          // when the server was asked for its authority last
}

// keep looks at once whether there is something to do, and does it before it returns, and again from then on. A failure is
// logged, and is no harm yet: a third of the certificate's life is left, or most of an overlap.
func (r *renewal) keep(ctx context.Context) {
	r.asked = time.Now() // the handshake has shown it
	r.follow()
	r.reload()
	r.renewIfDue(ctx)
	go func() {
		ctx := r.session.Context()
		for wait(ctx, min(renewLook, r.untilDue())) {
			r.follow()
			r.reload()
			r.askAuthority(ctx)
			r.renewIfDue(ctx)
		}
	}()
}

// untilDue is how long it is until a renewal is due, or, if it is, renewLook.
func (r *renewal) untilDue() time.Duration {
	if left := time.Until(certs.RenewAt(r.cred.Certificate.Leaf)); left > 0 {
		return left
	}
	return renewLook
}

// follow goes with the server to the authority that has succeeded the one which is trusted here (M81).
func (r *renewal) follow() {
	followed, err := r.home.Follow(r.addr, r.session.Peer().Chain)
	if err != nil {
		r.log.Warn("the server's new authority was not kept", "reason", err)
	}
	if !followed {
		return
	}
	r.log.Info("the server's authority was rotated, and the one before has signed for the new one")
	if r.cred.AuthorityKey.IsZero() {
		return // what the home has is taken by reload
	}
	if key, err := r.home.Pinned(r.addr); err == nil && !key.IsZero() {
		next := *r.cred
		next.AuthorityKey = key
		r.use(&next)
	}
}

// reload takes what the home has, if that is something else: it has followed the server, or another process has renewed.
func (r *renewal) reload() {
	there, err := r.home.UserCredentials(r.cred.ID().Name)
	if err != nil {
		return // what is in use may be good for long
	}
	r.take(there)
}

// take presents, and unless a pin says otherwise trusts, what the home has.
func (r *renewal) take(there *certs.Credentials) {
	r.authority = there.Authority
	next := *r.cred
	next.Certificate = there.Certificate
	if next.AuthorityKey.IsZero() {
		next.Authority, next.Cross, next.Former = there.Authority, there.Cross, there.Former
	}
	r.use(&next)
}

func (r *renewal) use(cred *certs.Credentials) {
	r.cred = cred
	r.session.SetCredentials(cred)
}

// renewIfDue renews if it is time, or the certificate is of the authority before the one that the home has by now (M83), and
// no attempt has just failed.
func (r *renewal) renewIfDue(ctx context.Context) {
	former := r.authority != nil && r.cred.Certificate.Leaf.CheckSignatureFrom(r.authority) != nil
	if (former || due(r.cred)) && (r.tried.IsZero() || time.Since(r.tried) >= renewAgain) {
		r.renew(ctx)
	}
}

func (r *renewal) renew(ctx context.Context) {
	r.tried = time.Now()
	renewed, err := renewOnce(ctx, r.session, r.home, r.cred.ID().Name)
	if err != nil {
		r.log.Warn("certificate not renewed", "until", r.cred.Certificate.Leaf.NotAfter, "reason", err)
		return
	}
	r.take(renewed)
	r.log.Info("certificate renewed", "until", r.cred.Certificate.Leaf.NotAfter)
}

// askAuthority renews if the authority has been rotated since the connection was made, which is up for months perhaps.
func (r *renewal) askAuthority(ctx context.Context) {
	if time.Since(r.asked) < renewAgain {
		return
	}
	r.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	answer, err := certsAuthorityMethod.Call(ctx, r.session, &authorityRequest{})
	if err != nil {
		r.log.Debug("the server did not say its authority", "reason", err) // one with a PKI of its own has no such method
		return
	}
	if answer.Fingerprint != certs.FingerprintOf(r.authority).String() {
		r.renew(ctx)
	}
}

// certsAuthorityMethod says which authority certifies now. It is for everyone who has a session.
var certsAuthorityMethod = rpc.Unary[authorityRequest, authorityResponse]("trunkline.Certs/Authority", rpc.Idempotent())

type authorityRequest struct{}

type authorityResponse struct {
	Fingerprint string `json:"fingerprint"` // of its key
}

// serveAuthority answers certsAuthorityMethod from home.
func serveAuthority(home *certs.Home) func(context.Context, *authorityRequest) (*authorityResponse, error) {
	return func(context.Context, *authorityRequest) (*authorityResponse, error) {
		c, err := home.Contents()
		if err != nil {
			return nil, err
		}
		return &authorityResponse{Fingerprint: certs.FingerprintOf(c.Authority).String()}, nil
	}
}
