package main

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// defaultServer is where a server listens, and a client looks for it.
const defaultServer = "127.0.0.1:4433"

// homeFlag adds --home.
func (a *app) homeFlag(fs *pflag.FlagSet) *string {
	return fs.String("home", a.getenv("TRUNKLINE_HOME"), "`DIR` of keys and certificates (default $TRUNKLINE_HOME, or the user's config folder)")
}

// openHome opens the home at dir, or the default one.
func (a *app) openHome(dir string) (*certs.Home, error) {
	if dir == "" {
		var err error
		if dir, err = certs.DefaultHomeDir(); err != nil {
			return nil, withHint(err, "name a folder with --home or TRUNKLINE_HOME")
		}
	}
	return certs.OpenHome(dir, certs.Env{})
}

// A clientFlags holds what every client command can be told.
type clientFlags struct {
	server, home *string
	identity     identityFlags
	noRenewal    bool // not a flag: the command renews by itself

	logging logFlags
	trace   traceFlags
}

// clientFlags adds --server, --as, --cert, --key, --ca and --home, and what is for debugging.
func (a *app) clientFlags(fs *pflag.FlagSet) clientFlags {
	return clientFlags{
		server:   fs.String("server", a.getenv("TRUNKLINE_SERVER"), "`HOST:PORT` of the server (default $TRUNKLINE_SERVER, where the home joined, or "+defaultServer+")"),
		identity: identityFlagsOf(fs),
		home:     a.homeFlag(fs),

		logging: a.logFlags(fs, "warn"),
		trace:   a.traceFlags(fs),
	}
}

// dial opens a session with the server, as the identity that the flags choose. Unless reconnect is set, it ends with
// its connection.
func (a *app) dial(ctx context.Context, f clientFlags, reconnect bool) (*transport.Session, error) {
	log, err := f.logging.logger(a.stderr)
	if err != nil {
		return nil, err
	}
	home, err := a.openHome(*f.home)
	if err != nil {
		return nil, err
	}
	if *f.server == "" {
		if *f.server, err = home.Server(); err != nil {
			return nil, err
		}
		*f.server = cmp.Or(*f.server, defaultServer)
	}
	cred, err := f.identity.credentials(home)
	if err != nil {
		return nil, err
	}
	cred, pinned, err := a.trusting(ctx, home, cred, *f.server)
	if err != nil {
		return nil, err
	}
	cfg := &transport.Config{
		Credentials: cred,
		Logger:      log,
		Name:        "trunkline/" + version,
		NoReconnect: !reconnect,
	}
	traces, err := f.trace.apply(a, cfg, log)
	if err != nil {
		return nil, err
	}
	addr := numbered(ctx, *f.server)
	s, err := transport.Dial(ctx, *f.server, cfg)
	if err != nil {
		_ = traces.Close()
		return nil, leftBehind(changed(err, addr, pinned), cred)
	}
	context.AfterFunc(s.Context(), func() { _ = traces.Close() }) // writes to it have not failed
	r := &renewal{session: s, home: home, addr: addr, cred: cred, log: log}
	if *f.identity.cert == "" && !f.noRenewal && cred.ID().Domain == s.Peer().ID.Domain {
		r.keep(ctx)
	} else {
		r.follow() // so does a pin, whoever renews the certificate
	}
	return s, nil
}

// interruptible returns a context that ends with the first signal.
func (a *app) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case s := <-a.signals:
			cancel(errors.New("ended by a signal: " + s.String()))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
