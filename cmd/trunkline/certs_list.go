package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
)

const certsListHelp = `examples:
  trunkline certs list                        on the machine that holds the authority
  trunkline certs list --server HOST:PORT     from elsewhere, as an administrator
  trunkline certs list --json                 one object a line, for scripts

Every key that was signed for a user is a line, and every name that was revoked. The
dates are of the newest certificate for the key, wherever that is. One of "former" is
of the authority before the last rotation: it has not been renewed since.
`

// certsList prints who has an identity, and who had.
func (a *app) certsList(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("certs list takes no arguments, but there is %q", rest[0])
	}
	var list *listResponse
	if fs.Changed("server") {
		list, err = ask(ctx, a, client, certsListMethod, &listRequest{})
	} else {
		list, err = a.listHere(*client.home)
	}
	if errors.Is(err, certs.ErrNoAuthority) {
		return withHint(err, elsewhereHint)
	}
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, i := range list.Identities {
		if *asJSON {
			line, err := json.Marshal(i)
			if err != nil {
				return err
			}
			text.Write(append(line, '\n'))
			continue
		}
		fmt.Fprintln(&text, plain(i.String()))
	}
	return a.print(text.String())
}

func (a *app) listHere(dir string) (*listResponse, error) {
	home, err := a.openHome(dir)
	if err != nil {
		return nil, err
	}
	return newListResponse(home)
}

// certsListMethod tells who has an identity. It is for administrators.
var certsListMethod = rpc.Unary[listRequest, listResponse]("trunkline.Certs/List", rpc.Idempotent())

type listRequest struct{}

type listResponse struct {
	Identities []listedIdentity `json:"identities"`
}

// A listedIdentity is one line of certs list.
type listedIdentity struct {
	Name        string    `json:"name"`
	Fingerprint string    `json:"fingerprint,omitempty"` // of a key; none for a name that was revoked before it had one
	NotAfter    time.Time `json:"not_after,omitzero"`
	Default     bool      `json:"default,omitempty"` // the user that commands are run as, in the authority's home
	Former      bool      `json:"former,omitempty"`  // its certificate is of the authority before the last rotation
	Revoked     bool      `json:"revoked"`
}

// String returns the line for people.
func (i listedIdentity) String() string {
	line := i.Name
	if i.Fingerprint != "" {
		line += " " + i.Fingerprint
	}
	if !i.NotAfter.IsZero() {
		line += " until " + i.NotAfter.UTC().Format(time.DateOnly)
	}
	if i.Default {
		line += " default"
	}
	if i.Former {
		line += " former"
	}
	if i.Revoked {
		line += " revoked"
	}
	return line
}

func newListResponse(home *certs.Home) (*listResponse, error) {
	identities, err := home.Identities()
	if err != nil {
		return nil, err
	}
	list := &listResponse{Identities: make([]listedIdentity, 0, len(identities))}
	for _, i := range identities {
		l := listedIdentity{Name: i.Name, NotAfter: i.NotAfter, Default: i.Default, Former: i.Former, Revoked: i.Revoked}
		if !i.Key.IsZero() {
			l.Fingerprint = i.Key.String()
		}
		list.Identities = append(list.Identities, l)
	}
	return list, nil
}

// serveList answers certsListMethod from home.
func serveList(home *certs.Home) func(context.Context, *listRequest) (*listResponse, error) {
	return func(context.Context, *listRequest) (*listResponse, error) { return newListResponse(home) }
}
