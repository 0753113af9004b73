package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// A refusedError is a refusal by this side.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// trustedKey returns the key of the authority that is pinned for addr. At the first contact a person at a
// terminal is asked; elsewhere that is a refusal.
func (a *app) trustedKey(ctx context.Context, home *certs.Home, addr string) (certs.Fingerprint, error) {
	key, err := home.Pinned(addr)
	if err != nil || !key.IsZero() {
		return key, err
	}
	if key, err = shownKey(ctx, addr); err != nil {
		return certs.Fingerprint{}, err
	}
	if err := a.confirm(ctx, addr, key); err != nil {
		return certs.Fingerprint{}, err
	}
	return key, home.Pin(addr, key)
}

// shownKey returns the key of the authority that the server at addr says it is of, and has a certificate of. Whether
// that is whom a person expects is for them to say.
func shownKey(ctx context.Context, addr string) (certs.Fingerprint, error) {
	chain, err := transport.ServerChain(ctx, addr, &transport.Config{})
	if err != nil {
		return certs.Fingerprint{}, err
	}
	authority := certs.AuthorityOf(chain)
	if authority == nil {
		return certs.Fingerprint{}, &refusedError{fmt.Sprintf("%s does not show its authority, so it can't be pinned", addr)}
	}
	key := certs.FingerprintOf(authority)
	if _, err := (&certs.Credentials{AuthorityKey: key}).VerifyServer(chain); err != nil {
		return certs.Fingerprint{}, &transport.Error{Code: transport.Unauthorized, Reason: err.Error(), Err: err}
	}
	return key, nil
}

// confirm asks whether key is that of the authority at addr. Only a person who types yes confirms it.
func (a *app) confirm(ctx context.Context, addr string, key certs.Fingerprint) error {
	stdin, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(stdin.Fd())) {
		return withHint(&refusedError{fmt.Sprintf("the authority of %s is not known here; it shows %s", addr, key)},
			"compare with whoever runs the server (trunkline certs show), then: trunkline certs pin %s --fingerprint SHA256:…", addr)
	}
	_, _ = fmt.Fprintf(a.stderr, "the authority of %s is not known here. Its key is\n  %s\nDoes whoever runs the server see the same (trunkline certs show)? Type yes to trust it: ", addr, key)
	line := make(chan string, 1)
	go func() { // a read of a terminal can't be ended; the process ends soon
		text, err := newLines(a.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			text = ""
		}
		line <- text
	}()
	select {
	case text := <-line:
		if strings.TrimSpace(text) == "yes" {
			return nil
		}
		return &refusedError{"not confirmed; nothing was pinned"}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newLines returns a reader of lines, such as one that holds a token or an answer.
func newLines(r io.Reader) *bufio.Reader { return bufio.NewReader(io.LimitReader(r, 4096)) }

// trusting returns cred with the authority that is pinned for addr instead of its own, and the pin. Without a pin it is
// cred, if that knows an authority, and else the first contact with a server, see trustedKey.
func (a *app) trusting(ctx context.Context, home *certs.Home, cred *certs.Credentials, addr string) (*certs.Credentials, certs.Fingerprint, error) {
	if len(cred.CAs) > 0 {
		return cred, certs.Fingerprint{}, nil // whom --ca trusts, no pin does
	}
	knows := cred.Authority != nil || !cred.AuthorityKey.IsZero()
	addr = numbered(ctx, addr)
	if _, err := certs.PinAddr(addr); err != nil {
		if knows {
			return cred, certs.Fingerprint{}, nil // it can't be pinned, but perhaps connected to
		}
		return nil, certs.Fingerprint{}, usagef("%s", err)
	}
	var key certs.Fingerprint
	var err error
	if knows {
		key, err = home.Pinned(addr)
	} else {
		key, err = a.trustedKey(ctx, home, addr)
	}
	if err != nil || key.IsZero() {
		return cred, key, err
	}
	pinned := *cred
	pinned.Authority, pinned.AuthorityKey = nil, key
	return &pinned, key, nil
}

// numbered returns addr with the number of its port, for a service that this machine knows by name: pins are kept
// under numbers.
func numbered(ctx context.Context, addr string) string {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// changed returns err, or if it says that the server at addr has another authority than the pinned one, with a
// [certs.PinError] in it.
func changed(err error, addr string, pinned certs.Fingerprint) error {
	v, ok := errors.AsType[*certs.VerifyError](err)
	if !ok || v.Reason != certs.UnknownAuthority || pinned.IsZero() {
		return err
	}
	e := &certs.PinError{Addr: addr, Pinned: pinned, Got: v.Got}
	return &transport.Error{Code: transport.Unauthorized, Reason: e.Error(), Err: e}
}

// leftBehind adds to a refusal by the server what can be done if cred is of an authority that is not the home's any more:
// then the server has ended the overlap after a rotation.
func leftBehind(err error, cred *certs.Credentials) error {
	e, ok := errors.AsType[*transport.Error](err)
	if !ok || e.Code != transport.Unauthorized || !e.Remote || cred.Authority == nil || cred.Certificate.Leaf.CheckSignatureFrom(cred.Authority) == nil {
		return err
	}
	return withHint(err, "the server's authority was rotated, and this certificate not renewed in time; %s", anewHint)
}

// anewHint is for who has to pin a server's authority anew.
const anewHint = "if whoever runs the server says that its authority is new, join with a token of theirs (trunkline certs invite NAME --add-device): trunkline certs join HOST:PORT TOKEN --new-authority"
