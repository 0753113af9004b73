package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

const certsRenewHelp = `examples:
  trunkline certs renew                for the default identity
  trunkline certs renew --as bob

Every command that connects renews the certificate of its identity when two thirds of
its life are over, or the server's authority has been rotated, and a chat that goes on
for longer does so by itself, so this is only needed before a long time without a
server. The key stays the same.
`

const (
	// renewTimeout is how long a renewal may hold up the command that it is a part of.
	renewTimeout = 5 * time.Second
	// renewAgain is after how long a renewal that failed is tried again, and how often a client asks whether
	// the authority has been rotated.
	renewAgain = time.Hour
	// renewLook is how often a process that goes on for long looks at the clock, which a timer does not heed that was set before
	// its machine slept, and at its home, where another process may have renewed.
	renewLook = time.Minute
	// maxRenewed is how many certificates a renewed chain may have.
	maxRenewed = 8
)

// certsRenew gets the certificate anew that a user of this home has.
func (a *app) certsRenew(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("certs renew takes no arguments, but there is %q", rest[0])
	}
	if *client.identity.cert != "" {
		return usagef("certs renew is for identities of the home, not with --cert")
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	client.noRenewal = true // twice
	session, err := a.dial(ctx, client, false)
	if err != nil {
		return err
	}
	home, err := a.openHome(*client.home)
	if err != nil {
		return err
	}
	name := session.Identity().Name
	cred, err := renewOnce(ctx, session, home, name)
	if err := errors.Join(err, release(ctx, session)); err != nil {
		return err
	}
	return a.print(fmt.Sprintf("%s until %s\n", name, cred.Certificate.Leaf.NotAfter.UTC().Format(time.DateOnly)))
}

// renewOnce asks the server for a certificate for the key that name has in home, and keeps it.
func renewOnce(ctx context.Context, s *transport.Session, home *certs.Home, name string) (*certs.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	answer, err := certsRenewMethod.Call(ctx, s, &renewRequest{})
	if err != nil {
		return nil, err
	}
	chain, err := answer.certificates()
	if err != nil {
		return nil, err
	}
	return home.KeepRenewed(name, chain)
}

// due says whether it is time to renew.
func due(cred *certs.Credentials) bool {
	return !time.Now().Before(certs.RenewAt(cred.Certificate.Leaf))
}

// wait waits for d, and says whether ctx has not ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// certsRenewMethod certifies the key of the caller's certificate for another term. It is for everyone who has a
// session.
var certsRenewMethod = rpc.Unary[renewRequest, renewResponse]("trunkline.Certs/Renew")

type renewRequest struct{}

type renewResponse struct {
	Chain [][]byte `json:"chain"` // X.509, DER in base64: leaf first, the authority's last
}

// certificates parses the chain.
func (r *renewResponse) certificates() ([]*x509.Certificate, error) {
	if len(r.Chain) > maxRenewed {
		return nil, fmt.Errorf("the server's answer has %d certificates", len(r.Chain))
	}
	var chain []*x509.Certificate
	for _, der := range r.Chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("the server's answer: %w", err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// serveRenew answers certsRenewMethod from home.
func serveRenew(home *certs.Home) func(context.Context, *renewRequest) (*renewResponse, error) {
	return func(ctx context.Context, _ *renewRequest) (*renewResponse, error) {
		chain, err := home.Renew(transport.SessionFrom(ctx).Peer().Certificate)
		if errors.Is(err, certs.ErrRevoked) || errors.Is(err, certs.ErrNotRenewable) {
			return nil, rpc.Errorf(rpc.PermissionDenied, "%s", err)
		}
		if err != nil {
			return nil, err
		}
		answer := &renewResponse{}
		for _, cert := range chain {
			answer.Chain = append(answer.Chain, cert.Raw)
		}
		return answer, nil
	}
}
