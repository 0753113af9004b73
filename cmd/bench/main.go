package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/pflag"
)

// Exit codes.
const (
	exitError       = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const usageText = `usage: bench rpc|chat|session [flags]

Measures Trunkline beside its floor (quic-go alone) and beside what people would use
instead. The works and the columns are described by: go doc .

`

// options are what the command line says.
type options struct {
	suite   string
	quick   bool
	json    bool
	plot    string
	works   []string
	peers   []string
	rounds  int
	profile string
}

var (
	errHelp   = errors.New("help")
	errFailed = errors.New("some peers failed, see above; they have no row")
)

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	var o options
	fs := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.BoolVar(&o.quick, "quick", false, "shorter turns; for a look, not for a table")
	fs.BoolVar(&o.json, "json", false, "print one array of objects instead of a table")
	fs.StringVar(&o.plot, "plot", "", "write a picture to `FILE.svg`")
	fs.StringSliceVar(&o.works, "works", nil, "only works that match one of `GLOB,…`")
	fs.StringSliceVar(&o.peers, "peers", nil, "only the peers `NAME,…`")
	fs.IntVar(&o.rounds, "rounds", 0, "how often each peer has its turn (default 5; idle works with --quick 1)")
	fs.StringVar(&o.profile, "profile", "", "write CPU and allocation profiles of the last turn to `DIR`; figures suffer")
	fs.Usage = func() { fmt.Fprint(stderr, usageText+fs.FlagUsages()) }
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, errHelp
		}
		return nil, err
	}
	if fs.NArg() != 1 {
		return nil, errors.New("one of rpc, chat, session is needed")
	}
	o.suite = fs.Arg(0)
	switch o.suite {
	case suiteRPC, suiteChat, suiteSession:
	default:
		return nil, fmt.Errorf("no suite %q: want rpc, chat or session", o.suite)
	}
	if o.rounds < 0 {
		return nil, errors.New("--rounds must not be negative")
	}
	return &o, nil
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == childCommand {
		os.Exit(runChild())
	}
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, errHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o, os.Stdout, os.Stderr)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(exitInterrupted)
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		os.Exit(exitError)
	}
}

// run runs a suite. What failed is an error, but does not keep the rest from being reported.
func run(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	all, err := selectWorks(works(o.suite, o.quick), o.works)
	if err != nil {
		return err
	}
	peers, err := selectPeers(o.suite, o.peers)
	if err != nil {
		return err
	}
	r := &runner{suite: o.suite, peers: peers, rounds: o.rounds, keys: make(map[bool]*keySet), note: newProgress(stderr)}
	for p256, t := range keyTypes() {
		if r.keys[p256], err = newKeySet(t); err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
	}
	if o.profile != "" {
		if r.profile, err = filepath.Abs(o.profile); err != nil {
			return err
		}
		if err := os.MkdirAll(r.profile, 0o700); err != nil {
			return err
		}
	}
	statement := stdout
	if o.json {
		statement = stderr // stdout is for the array alone
	}
	writeStatement(statement, o, peers)
	var rows []row
	var errs []error
	for i := range all {
		more, err := r.run(ctx, &all[i])
		rows = append(rows, more...)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			r.note.done()
			fmt.Fprintf(stderr, "%v\n", err)
			errs = append(errs, errFailed)
		}
	}
	r.note.done()
	if o.json {
		errs = append(errs, writeJSON(stdout, rows))
	} else {
		writeTable(stdout, rows)
	}
	if o.plot != "" {
		errs = append(errs, writePlot(o.plot, o.suite, rows))
	}
	return errors.Join(slices.Compact(errs)...)
}
