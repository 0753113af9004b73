package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
)

const certsInviteHelp = `examples:
  trunkline certs invite bob                         on the machine that holds the authority
  trunkline certs invite bob --add-device            bob is there already, and gets another machine
  trunkline certs invite bob --server HOST:PORT      from elsewhere, as an administrator
  trunkline certs invite bob | ssh laptop trunkline certs join chat.example:4433 -

The token is printed on stdout. Whoever has it becomes that user, once, so give it
to nobody else. A server that runs need not be told; it must run when the token is
used. Inviting a name again voids its open token. A name that was revoked may come
back; its old keys stay revoked.
`

// certsInvite prints a token with which somebody can join.
func (a *app) certsInvite(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	addDevice := fs.Bool("add-device", false, "for a further device of a user who exists")
	ttl := fs.Duration("ttl", certs.DefaultInviteTTL, "how long the token is good for, up to "+certs.MaxInviteTTL.String())
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	name, err := nameArg(c, rest)
	if err != nil {
		return err
	}
	if *ttl < time.Second || *ttl > certs.MaxInviteTTL {
		return usagef("--ttl %s: want 1s to %s", *ttl, certs.MaxInviteTTL)
	}
	var invited *inviteResponse
	if fs.Changed("server") {
		req := &inviteRequest{Name: name, AddDevice: *addDevice, TTLSeconds: int(*ttl / time.Second)}
		invited, err = ask(ctx, a, client, certsInviteMethod, req)
		if err == nil {
			_, err = invited.token() // whether it is one
		}
	} else {
		invited, err = a.inviteHere(*client.home, name, certs.InviteOptions{AddDevice: *addDevice, TTL: *ttl})
	}
	if err != nil {
		return inviteHint(err, name)
	}
	_, _ = fmt.Fprintf(a.stderr, "for %s, to be used once, until %s:\n  trunkline certs join HOST:PORT TOKEN\nwhere HOST:PORT is the server's address, and the token is\n",
		name, invited.Expires.Local().Format("15:04:05 on 2006-01-02"))
	return a.print(invited.Token + "\n")
}

func (a *app) inviteHere(dir, name string, opts certs.InviteOptions) (*inviteResponse, error) {
	home, err := a.openHome(dir)
	if err != nil {
		return nil, err
	}
	inv, err := home.Invite(name, opts)
	if err != nil {
		return nil, err
	}
	return newInviteResponse(inv), nil
}

// inviteHint says what can be done when somebody can't be invited.
func inviteHint(err error, name string) error {
	remote, answered := errors.AsType[*rpc.Error](err)
	switch {
	case errors.Is(err, certs.ErrNameExists), answered && remote.Code() == rpc.AlreadyExists:
		return withHint(err, "if it is the same person, with another machine: trunkline certs invite %s --add-device", name)
	case errors.Is(err, certs.ErrNoAuthority):
		return withHint(err, elsewhereHint)
	}
	return err
}

// certsInviteMethod makes a join token. It is for administrators.
var certsInviteMethod = rpc.Unary[inviteRequest, inviteResponse]("trunkline.Certs/Invite")

type inviteRequest struct {
	Name       string `json:"name"`
	AddDevice  bool   `json:"add_device,omitempty"`
	TTLSeconds int    `json:"ttl_seconds,omitempty"` // 0: 15 minutes
}

type inviteResponse struct {
	Token   string    `json:"token"`
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
}

// token parses the token, so that nothing else is printed as one.
func (r *inviteResponse) token() (certs.Token, error) {
	t, err := certs.ParseToken(r.Token)
	if err != nil {
		return certs.Token{}, fmt.Errorf("the server's answer: %w", err)
	}
	return t, nil
}

func newInviteResponse(inv *certs.Invitation) *inviteResponse {
	return &inviteResponse{Token: inv.Token.Text(), Name: inv.Name, Expires: inv.Expires}
}

// serveInvite answers certsInviteMethod from home.
func serveInvite(home *certs.Home) func(context.Context, *inviteRequest) (*inviteResponse, error) {
	return func(_ context.Context, req *inviteRequest) (*inviteResponse, error) {
		if err := certs.ValidName(req.Name); err != nil {
			return nil, rpc.Errorf(rpc.InvalidArgument, "%s", err)
		}
		most := int(certs.MaxInviteTTL / time.Second)
		if req.TTLSeconds < 0 || req.TTLSeconds > most {
			return nil, rpc.Errorf(rpc.InvalidArgument, "ttl_seconds is %d: want 1 to %d", req.TTLSeconds, most)
		}
		inv, err := home.Invite(req.Name, certs.InviteOptions{AddDevice: req.AddDevice, TTL: time.Duration(req.TTLSeconds) * time.Second})
		if errors.Is(err, certs.ErrNameExists) {
			return nil, rpc.Errorf(rpc.AlreadyExists, "%s", err)
		}
		if err != nil {
			return nil, err
		}
		return newInviteResponse(inv), nil
	}
}
