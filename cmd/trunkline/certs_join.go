package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

const certsJoinHelp = `examples:
  trunkline certs join chat.example:4433 trunkline1_…    with a token of "trunkline certs invite"
  trunkline certs join chat.example:4433 -               with one that is read from stdin
  trunkline certs join chat.example:4433 TOKEN --home work
  trunkline certs join chat.example:4433 TOKEN --new-authority

It makes a key in this home, and gets a certificate for it. The key never leaves
the machine. The token says which authority the server must have; a server with
another never sees it. If the command is interrupted, run it again with the same
token.

The home then belongs to that authority, and looks for its server at HOST:PORT
unless told otherwise. With --new-authority it may have belonged to another one: for
a server whose authority was rotated while this machine was away, or because others
had its key. Identities that have not joined again are good for nothing then.
`

// certsJoin gets an identity with a token.
func (a *app) certsJoin(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	homeDir := a.homeFlag(fs)
	anew := fs.Bool("new-authority", false, "let the token's authority take the place of the one that this home belongs to")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return withHint(usagef("certs join takes an address and a token"), "trunkline certs join HOST:PORT TOKEN")
	}
	addr, err := certs.PinAddr(rest[0])
	if err != nil {
		if strings.HasPrefix(rest[0], "trunkline1_") { // not to be repeated: it is a secret
			return withHint(usagef("the address comes before the token"), "trunkline certs join HOST:PORT TOKEN")
		}
		return usagef("%s", err)
	}
	text := rest[1]
	if text == "-" {
		line, err := (&pipe{newLines(a.stdin)}).readLine()
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		text = strings.TrimSpace(line)
	}
	token, err := certs.ParseToken(text)
	if err != nil {
		return withHint(usagef("%s", err), "copy the whole line that trunkline certs invite printed")
	}
	home, err := a.openHome(*homeDir)
	if err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	id, err := join(ctx, home, addr, token, *anew)
	if err != nil {
		return joinHint(err, addr)
	}
	return a.print(joined(home, addr, id))
}

// join redeems the token at addr for home, which anew says may belong to another authority.
func join(ctx context.Context, home *certs.Home, addr string, token certs.Token, anew bool) (certs.ID, error) {
	pinned, err := home.Pinned(addr)
	if err != nil {
		return certs.ID{}, err
	}
	if !pinned.IsZero() && pinned != token.Authority {
		return certs.ID{}, &certs.PinError{Addr: addr, Pinned: pinned, Got: token.Authority}
	}
	start := home.StartJoin
	if anew {
		start = home.StartJoinAnew
	}
	j, err := start(token)
	if err != nil {
		return certs.ID{}, err
	}
	request, err := j.Request()
	if err != nil {
		return certs.ID{}, err
	}
	chain, err := transport.Enroll(ctx, addr, &transport.Config{Credentials: j.Credentials()},
		&transport.EnrollRequest{Secret: token.Secret, Request: request})
	if errors.Is(err, certs.ErrToken) {
		return certs.ID{}, errors.Join(err, j.Abandon())
	}
	if err != nil {
		return certs.ID{}, err
	}
	id, err := j.Finish(chain)
	if err != nil {
		return certs.ID{}, err
	}
	return id, home.KeepServer(addr)
}

// joined says what there is now, and the command to go on with.
func joined(home *certs.Home, addr string, id certs.ID) string {
	next := "trunkline chat lobby"
	if server, err := home.Server(); err != nil || server != addr {
		next += " --server " + addr
	}
	if name, err := home.DefaultName(); err != nil || name != id.Name {
		next += " --as " + id.Name
	}
	return fmt.Sprintf("joined as %s; the identity is in %s\nnow: %s\n", id.Name, home.Dir(), next)
}

// joinHint says what can be done about a join that failed.
func joinHint(err error, addr string) error {
	if e, ok := errors.AsType[*certs.TokenError](err); ok {
		switch e.Reason {
		case certs.TokenTaken:
			return withHint(err, "for a further device of the same person: trunkline certs invite NAME --add-device")
		case certs.TokenWrong:
			return withHint(err, "a token is void when its name is invited as new again; ask for another: trunkline certs invite NAME")
		default:
			return withHint(err, "ask for another: trunkline certs invite NAME")
		}
	}
	if errors.Is(err, certs.ErrOtherHome) {
		return withHint(err, "join into a home of its own: --home DIR; or, if it is the same server with a new authority: --new-authority; a home that holds an authority makes identities by itself: --as NAME")
	}
	if e, ok := errors.AsType[*certs.VerifyError](err); ok && e.Reason == certs.UnknownAuthority {
		return withHint(err, "the token is of authority %s, and %s shows %s; the token was not sent. Is the address right?", e.Expected, addr, e.Got)
	}
	if code, _ := transport.CodeOf(err); code == transport.Lost {
		return withHint(err, "is the server running at %s? The same command can be run again", addr)
	}
	return err
}
