package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

const overview = `trunkline is chat and RPC over QUIC.

try it, on one machine:
  trunkline serve                                       in one terminal
  trunkline chat lobby                                  in a second one
  trunkline chat lobby --as bob                         in a third, as somebody else
  trunkline call trunkline.Echo/Say '{"text":"hi"}'     a procedure of the server's
  trunkline methods                                     and which there are

commands:
`

const afterwards = `
"trunkline help COMMAND" has examples and flags; "trunkline version" says which this is.

environment:
  TRUNKLINE_HOME     folder of keys and certificates (default: trunkline in the user's config folder)
  TRUNKLINE_SERVER   HOST:PORT of the server (default 127.0.0.1:4433)

exit codes:
  0 released or drained        4 the session was aborted
  1 another error              5 the server was lost, or never reached
  2 usage                      6 the call was answered with an error status,
  3 refused                      or its time was up
`

// errHelped ends a command that was asked for its help and has printed it.
var errHelped = errors.New("help was printed")

// help prints the help on the command that args name, or the overview.
func (a *app) help(w io.Writer, args []string) error {
	if len(args) > 0 {
		return a.dispatch(context.Background(), append(slices.Clone(args), "--help"))
	}
	var b strings.Builder
	b.WriteString(overview)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-26s %s\n", strings.TrimSpace(c.name+" "+c.args), c.line)
	}
	b.WriteString(afterwards)
	_, err := io.WriteString(w, b.String())
	return err
}

// flagSet returns an empty set of flags for c.
func flagSet(c *command) *pflag.FlagSet {
	fs := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	return fs
}

// parse reads c's flags from args and returns what is left. Asked for help, it prints that and
// returns errHelped.
func (a *app) parse(c *command, fs *pflag.FlagSet, args []string) ([]string, error) {
	err := fs.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		usage, flags := "trunkline "+c.name+" ", fs.FlagUsages()
		if flags != "" {
			usage, flags = usage+"[flags] ", "\nflags:\n"+flags
		}
		if err := a.print(c.line + "\n\nusage: " + strings.TrimSpace(usage+c.args) + "\n\n" + c.help + flags); err != nil {
			return nil, err
		}
		return nil, errHelped
	case err != nil:
		return nil, withHint(usagef("%s", err), "trunkline help %s", c.name)
	}
	return fs.Args(), nil
}

// group runs the one of the commands behind c that args name.
func (a *app) group(ctx context.Context, c *command, commands []*command, args []string) error {
	if len(args) > 0 {
		for _, sub := range commands {
			if sub.name == c.name+" "+args[0] {
				return sub.run(a, ctx, sub, args[1:])
			}
		}
	}
	fs := flagSet(c)
	var list strings.Builder
	list.WriteString(c.help + "\ncommands:\n")
	for _, sub := range commands {
		fmt.Fprintf(&list, "  %-40s %s\n", strings.TrimSpace(sub.name+" "+sub.args), sub.line)
	}
	withList := *c
	withList.help = list.String()
	rest, err := a.parse(&withList, fs, args)
	if err != nil {
		return err
	}
	hint := "trunkline help " + c.name + " lists the commands"
	if len(rest) == 0 {
		return withHint(usagef("%s needs a command", c.name), "%s", hint)
	}
	return withHint(usagef("unknown command %q", c.name+" "+rest[0]), "%s", hint)
}
