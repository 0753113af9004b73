package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/trunkline-go/trunkline/certs"
)

const certsPinHelp = `examples:
  trunkline certs pin                                             list the pins
  trunkline certs pin chat.example:4433                           show its authority, and ask
  trunkline certs pin chat.example:4433 --fingerprint SHA256:…    pin this authority
  trunkline certs pin chat.example:4433 --forget                  forget it

A pin says which authority stands behind an address. It is of the authority's key,
so that it outlives every certificate of the server's. Ask whoever runs the server
for the fingerprint, over another way than the one to the server:
"trunkline certs show" prints it there. Without --fingerprint the server is asked,
and you are: type yes to pin what it shows.

A home that has joined needs no pin: it knows its authority. A pin for an address
goes before that.

A server whose authority is not the pinned one is always refused, with exit code 3.
`

// certsPin keeps, lists and forgets pins.
func (a *app) certsPin(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	homeDir := a.homeFlag(fs)
	fingerprint := fs.String("fingerprint", "", "`SHA256:…` of the authority's key")
	forget := fs.Bool("forget", false, "forget the pin")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 1 {
		return usagef("certs pin takes one address, but there is also %q", rest[1])
	}
	home, err := a.openHome(*homeDir)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		if *forget || *fingerprint != "" {
			return usagef("certs pin needs HOST:PORT for that")
		}
		return a.listPins(home)
	}
	addr, err := certs.PinAddr(rest[0])
	if err != nil {
		return usagef("%s", err)
	}
	switch {
	case *forget && *fingerprint != "":
		return usagef("--forget and --fingerprint exclude each other")
	case *forget:
		was, err := home.Unpin(addr)
		if err == nil && !was {
			err = fmt.Errorf("%s is not pinned", addr)
		}
		return err
	case *fingerprint != "":
		key, err := certs.ParseFingerprint(*fingerprint)
		if err != nil {
			return usagef("--fingerprint: %s", err)
		}
		return home.Pin(addr, key)
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	return a.pinShown(ctx, home, addr)
}

// pinShown pins, if a person says so, what the server shows. What is pinned already has to be what it shows.
func (a *app) pinShown(ctx context.Context, home *certs.Home, addr string) error {
	pinned, err := home.Pinned(addr)
	if err != nil {
		return err
	}
	if pinned.IsZero() {
		key, err := a.trustedKey(ctx, home, addr)
		if err != nil {
			return err
		}
		return a.print(fmt.Sprintf("pinned %s %s\n", addr, key))
	}
	shown, err := shownKey(ctx, addr)
	if err != nil {
		return err
	}
	if shown != pinned {
		return &certs.PinError{Addr: addr, Pinned: pinned, Got: shown}
	}
	return a.print(fmt.Sprintf("pinned %s %s\n", addr, pinned))
}

func (a *app) listPins(home *certs.Home) error {
	pins, err := home.Pins()
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, p := range pins {
		fmt.Fprintln(&text, p)
	}
	return a.print(text.String())
}

// forgetHint says how to accept that a server has another authority than before.
func forgetHint(e *certs.PinError) string {
	return fmt.Sprintf("if whoever runs %s says that the authority is new, forget the old one: trunkline certs pin %s --forget", e.Addr, e.Addr)
}
