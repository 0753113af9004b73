package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
)

const certsRevokeHelp = `examples:
  trunkline certs revoke bob                         on the machine that holds the authority
  trunkline certs revoke bob --server HOST:PORT      from elsewhere, as an administrator

The name is denied, and every key that was ever signed for it. A server that runs
ends the sessions of that user within a second, with exit code 3 on their side, and
need not be told. Nothing of it is ever renewed. "trunkline certs invite" lets the
name come back, with another key; the old ones stay revoked.
`

// certsRevoke denies a user.
func (a *app) certsRevoke(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	name, err := nameArg(c, rest)
	if err != nil {
		return err
	}
	var revoked *revokeResponse
	if fs.Changed("server") {
		revoked, err = ask(ctx, a, client, certsRevokeMethod, &revokeRequest{Name: name})
	} else {
		revoked, err = a.revokeHere(*client.home, name)
	}
	if err != nil {
		if errors.Is(err, certs.ErrNoAuthority) {
			return withHint(err, elsewhereHint)
		}
		return err
	}
	return a.print(fmt.Sprintf("revoked %s; keys denied for ever: %d\n", name, revoked.Keys))
}

func (a *app) revokeHere(dir, name string) (*revokeResponse, error) {
	home, err := a.openHome(dir)
	if err != nil {
		return nil, err
	}
	return revoke(home, name)
}

// revoke denies the user of that name.
func revoke(home *certs.Home, name string) (*revokeResponse, error) {
	if err := home.Revoke(name); err != nil {
		return nil, err
	}
	denied, err := home.Denied()
	if err != nil {
		return nil, err
	}
	return &revokeResponse{Keys: denied.Keys(name)}, nil
}

// certsRevokeMethod denies a user. It is for administrators.
var certsRevokeMethod = rpc.Unary[revokeRequest, revokeResponse]("trunkline.Certs/Revoke")

type revokeRequest struct {
	Name string `json:"name"`
}

type revokeResponse struct {
	Keys int `json:"keys"` // that are denied for ever
}

// serveRevoke answers certsRevokeMethod from home. Sessions are ended by watchRevoked.
func serveRevoke(home *certs.Home) func(context.Context, *revokeRequest) (*revokeResponse, error) {
	return func(_ context.Context, req *revokeRequest) (*revokeResponse, error) {
		if err := certs.ValidName(req.Name); err != nil {
			return nil, rpc.Errorf(rpc.InvalidArgument, "%s", err)
		}
		return revoke(home, req.Name)
	}
}
