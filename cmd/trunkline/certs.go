package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/certs"
)

const certsHelp = `examples:
  trunkline certs invite bob                          a token for bob, on the server's machine
  trunkline certs join chat.example:4433 TOKEN        bob, on another machine
  trunkline certs revoke bob                          bob is out, at once
  trunkline certs rotate                              a new key for the authority
  trunkline certs show                                what there is in this home, and until when
  trunkline certs pin                                 whose authorities were pinned by hand

"trunkline help certs COMMAND" has more on each.
`

// certsCommands are the commands behind "certs", in the order in which help lists them.
func certsCommands() []*command {
	return []*command{
		{name: "certs show", args: "", line: "show the keys and certificates of this home", help: certsShowHelp, run: (*app).certsShow},
		{name: "certs invite", args: "NAME", line: "make a token with which somebody can join", help: certsInviteHelp, run: (*app).certsInvite},
		{name: "certs join", args: "HOST:PORT TOKEN", line: "get an identity with a token", help: certsJoinHelp, run: (*app).certsJoin},
		{name: "certs list", args: "", line: "list who has an identity, and who is revoked", help: certsListHelp, run: (*app).certsList},
		{name: "certs revoke", args: "NAME", line: "deny a user, and end their sessions", help: certsRevokeHelp, run: (*app).certsRevoke},
		{name: "certs rotate", args: "", line: "give the authority a new key", help: certsRotateHelp, run: (*app).certsRotate},
		{name: "certs renew", args: "", line: "get an identity's certificate for another term", help: certsRenewHelp, run: (*app).certsRenew},
		{name: "certs pin", args: "[HOST:PORT]", line: "keep, list or forget which authority a server has", help: certsPinHelp, run: (*app).certsPin},
	}
}

// certs runs the command behind it.
func (a *app) certs(ctx context.Context, c *command, args []string) error {
	return a.group(ctx, c, certsCommands(), args)
}

const certsShowHelp = `examples:
  trunkline certs show
  trunkline certs show --json      one object, for scripts

Fingerprints are of keys, not of certificates, and so stay the same when a
certificate is renewed. That of the authority is what others pin. After a rotation
there is a line for the former authority for as long as it is trusted, too.
`

// A shownCertificate is one line of certs show.
type shownCertificate struct {
	Kind        string    `json:"kind"` // authority, former, server, user, invited, pin
	Name        string    `json:"name"` // trust domain, identity, or address
	Fingerprint string    `json:"fingerprint,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	Expired     bool      `json:"expired,omitempty"`
	Default     bool      `json:"default,omitempty"` // the user that commands are run as
	Signs       bool      `json:"signs,omitempty"`   // the authority's key is here
}

// certsShow prints what there is in the home.
func (a *app) certsShow(_ context.Context, c *command, args []string) error {
	fs := flagSet(c)
	homeDir := a.homeFlag(fs)
	asJSON := fs.Bool("json", false, "print one JSON object")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("certs show takes no arguments, but there is %q", rest[0])
	}
	home, err := a.openHome(*homeDir)
	if err != nil {
		return err
	}
	contents, err := home.Contents()
	if err != nil {
		return err
	}
	shown := showContents(contents, time.Now())
	if *asJSON {
		line, err := json.Marshal(struct {
			Home         string             `json:"home"`
			Certificates []shownCertificate `json:"certificates"`
		}{home.Dir(), shown})
		if err != nil {
			return err
		}
		return a.print(string(line) + "\n")
	}
	var text strings.Builder
	fmt.Fprintf(&text, "home %s\n", home.Dir())
	for _, s := range shown {
		fmt.Fprintln(&text, s)
	}
	if len(shown) == 0 {
		text.WriteString("nothing yet\n")
	}
	return a.print(text.String())
}

// showContents lists the authority, the server, users, who is invited, and pins.
func showContents(c *certs.Contents, now time.Time) []shownCertificate {
	all := []shownCertificate{}
	add := func(kind string, name string, cert *x509.Certificate) *shownCertificate {
		all = append(all, shownCertificate{
			Kind: kind, Name: name,
			Fingerprint: certs.FingerprintOf(cert).String(),
			NotAfter:    cert.NotAfter,
			Expired:     now.After(cert.NotAfter),
		})
		return &all[len(all)-1]
	}
	if c.Authority != nil {
		add("authority", uriOf(c.Authority), c.Authority).Signs = c.Signs
	}
	if c.Former != nil { // trusted until the overlap is over, which is before it expires
		add("former", uriOf(c.Former), c.Former).NotAfter = c.FormerUntil
	}
	if c.Server != nil {
		add("server", uriOf(c.Server), c.Server)
	}
	for _, u := range c.Users {
		add("user", u.Name, u.Certificate).Default = u.Name == c.Default
	}
	for _, i := range c.Invited {
		all = append(all, shownCertificate{Kind: "invited", Name: i.Name, NotAfter: i.Expires})
	}
	for _, p := range c.Pins {
		all = append(all, shownCertificate{Kind: "pin", Name: p.Addr, Fingerprint: p.Key.String()})
	}
	return all
}

// String is the line for people.
func (s shownCertificate) String() string {
	var notes []string
	switch {
	case s.Expired:
		notes = append(notes, "expired "+s.NotAfter.UTC().Format(time.DateOnly))
	case !s.NotAfter.IsZero():
		layout := time.DateOnly
		if s.Kind == "invited" {
			layout = time.RFC3339
		}
		notes = append(notes, "until "+s.NotAfter.UTC().Format(layout))
	}
	if s.Signs {
		notes = append(notes, "its key is here")
	}
	if s.Default {
		notes = append(notes, "default")
	}
	words := []string{fmt.Sprintf("%-9s %s", s.Kind, s.Name), s.Fingerprint, strings.Join(notes, ", ")}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// uriOf returns the one URI name of a certificate of ours.
func uriOf(cert *x509.Certificate) string {
	if len(cert.URIs) == 0 {
		return cert.Subject.CommonName
	}
	return cert.URIs[0].String()
}

// nameArg returns the argument of a command that takes one name of a user.
func nameArg(c *command, rest []string) (string, error) {
	if len(rest) != 1 {
		return "", withHint(usagef("%s takes one name", c.name), "trunkline %s bob", c.name)
	}
	if err := certs.ValidName(rest[0]); err != nil {
		return "", usagef("%s", err)
	}
	return rest[0], nil
}
