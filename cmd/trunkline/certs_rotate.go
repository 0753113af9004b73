package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-go/trunkline/certs"
)

const certsRotateHelp = `examples:
  trunkline certs rotate                  a new key; the one before is trusted for 90 days more
  trunkline certs list                    whose certificates are of the one before: "former"
  trunkline certs rotate --finish         the one before is trusted no more
  trunkline certs rotate --compromised    others have the key: it is trusted no more, at once

It is for the machine that holds the authority. A server that runs notices within a
second, and every session goes on. Who connects within the 90 days gets a certificate
of the new authority without noticing, and pins that instead of the one before, which
has signed for it; who is connected does so within an hour.

--finish refuses while there are users who have not, and says who; with --force they
are shut out, and so are the sessions that they have.

After a compromise nobody can be told by what the old key signs whom to trust, so
each pins anew: whoever runs the server tells them the new fingerprint, over another
way than the one to the server ("trunkline certs show" prints it), or gives them a
token, which has it:
  trunkline certs invite NAME --add-device                        here
  trunkline certs join HOST:PORT TOKEN --new-authority            there
  trunkline certs pin HOST:PORT --forget                          for what was pinned by hand,
  trunkline certs pin HOST:PORT --fingerprint SHA256:…            and then the new one
The same is for who was away for all of the 90 days.
`

// certsRotate gives the authority of the home a new key, or ends the overlap after that.
func (a *app) certsRotate(_ context.Context, c *command, args []string) error {
	fs := flagSet(c)
	homeDir := a.homeFlag(fs)
	finish := fs.Bool("finish", false, "trust the authority before the last rotation no more")
	force := fs.Bool("force", false, "with --finish: shut out who has not renewed")
	compromised := fs.Bool("compromised", false, "trust the authority before no more, from now on")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) > 0:
		return usagef("certs rotate takes no arguments, but there is %q", rest[0])
	case *finish && *compromised:
		return usagef("--finish and --compromised exclude each other")
	case *force && !*finish:
		return usagef("--force is for --finish")
	}
	home, err := a.openHome(*homeDir)
	if err != nil {
		return err
	}
	var r *certs.Rotation
	if *finish {
		r, err = home.FinishRotation(*force)
	} else {
		r, err = home.Rotate(certs.RotateOptions{Compromised: *compromised})
	}
	if err != nil {
		return rotateHint(err)
	}
	text := fmt.Sprintf("the authority is %s\n", r.Authority)
	if r.Former.IsZero() {
		text += "no other is trusted\n"
	} else {
		text += fmt.Sprintf("until %s the former one is trusted, too: %s\n", r.Until.UTC().Format(time.DateOnly), r.Former)
	}
	return a.print(text)
}

// rotateHint says what can be done about a rotation that is refused.
func rotateHint(err error) error {
	_, unrenewed := errors.AsType[*certs.UnrenewedError](err)
	switch {
	case unrenewed:
		return withHint(err, "each renews by connecting (trunkline certs list shows who is former); to shut them out: trunkline certs rotate --finish --force")
	case errors.Is(err, certs.ErrOverlap):
		return withHint(err, "end that first: trunkline certs rotate --finish")
	case errors.Is(err, certs.ErrNoAuthority):
		return withHint(err, "run it on the machine that holds the authority")
	}
	return err
}
