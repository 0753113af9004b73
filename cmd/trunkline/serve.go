package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/user"
	"syscall"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/health"
	"github.com/trunkline-go/trunkline/transport"
)

const serveHelp = `examples:
  trunkline serve                                    on 127.0.0.1:4433
  trunkline serve --listen :4433 --san chat.example  for other machines too
  TRUNKLINE_HOME=/srv/trunkline trunkline serve      with another home
  trunkline serve --policy policy.toml               who may do what: trunkline help policy
  trunkline serve --ca ca.crt --cert server.crt --key server.key   with a PKI of your own
  trunkline serve --metrics :9464                    for Prometheus, at http://127.0.0.1:9464/metrics
  trunkline serve --retain-age 720h                  forget lines after 30 days

Rooms are kept in rooms.db in the home; a line is acknowledged when it is on the disk.

The first run makes an authority, a server certificate and an identity for the
local user in the home. When the server is ready it prints a line on stdout,
"listening on ADDR", and before that, if asked for, "metrics at URL"; its log
goes to stderr. SIGINT or SIGTERM drains: clients are told, calls in flight
finish. A second signal aborts. SIGHUP reads the policy again, if there is one.
`

// serve runs a server until a signal drains it.
func (a *app) serve(ctx context.Context, c *command, args []string) (ended error) {
	fs := flagSet(c)
	listen := fs.String("listen", defaultServer, "`HOST:PORT` to listen on")
	homeDir := a.homeFlag(fs)
	sans := fs.StringSlice("san", nil, "further host `NAME` or address for the server certificate")
	drain := fs.Duration("drain-timeout", 10*time.Second, "how long a drain waits for work in flight")
	metricsAddr := fs.String("metrics", "", "`HOST:PORT` to answer Prometheus at, over HTTP, for whoever can reach it; without a host on loopback")
	storage := a.storageFlags(fs)
	limits := a.limitFlags(fs)
	policyFile := fs.String("policy", "", "`FILE` that says who may do what (see trunkline help policy); SIGHUP reads it again")
	pki := pkiFlagsOf(fs)
	logging, trace := a.logFlags(fs, "info"), a.traceFlags(fs)
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("serve takes no arguments, but there is %q", rest[0])
	}
	ownPKI, err := pki.own()
	if err != nil {
		return err
	}
	if ownPKI && len(*sans) > 0 {
		return usagef("--san is for the home's own server certificate, not with --cert")
	}
	log, err := logging.logger(a.stderr)
	if err != nil {
		return err
	}

	home, err := a.openHome(*homeDir)
	if err != nil {
		return err
	}
	lock, err := home.Lock()
	if err != nil {
		if errors.Is(err, certs.ErrLocked) {
			return withHint(err, "one server runs on a home; give this one another with --home")
		}
		return err
	}
	defer func() { _ = lock.Unlock() }() // the system frees it in any case
	issue := func() (*certs.Credentials, error) {
		if err := home.Init(*sans, localUser()); errors.Is(err, certs.ErrNoAuthority) {
			return nil, withHint(err, "a server needs a home of its own: --home DIR")
		} else if err != nil {
			return nil, err
		}
		return home.ServerCredentials()
	}
	if ownPKI {
		issue = pki.credentials
	}
	cred, err := issue()
	if err != nil {
		return err
	}

	resetKey, err := home.ResetKey()
	if err != nil {
		return err
	}

	var admin string
	if !ownPKI { // whose names say nothing about the home's
		admin, err = home.DefaultName()
		if err != nil && !errors.Is(err, certs.ErrNoIdentity) { // whoever was revoked is no default
			return err
		}
	}
	policy := defaultPolicy(admin)
	hangups := make(chan os.Signal, 1)
	if *policyFile != "" {
		if policy, err = readPolicy(*policyFile); err != nil {
			return err
		}
		a.notify(hangups, syscall.SIGHUP) // which otherwise ends the process
	}
	guard := newGate(cred.ID().Domain, policy)
	lasting := standing{home: home}

	records, closeRecords, err := storage.open(ctx, home.Dir(), log)
	if err != nil {
		return err
	}
	defer func() { ended = errors.Join(ended, closeRecords()) }()
	calls := rpc.Config{Logger: log, Compressors: compressors()}
	chats := chat.Config{
		Log:    records,
		Domain: cred.ID().Domain,
		Logger: log,

		Authorize:     guard.authorizeRoom,
		Administrator: guard.administers,
		AllowLines:    guard.allowLines,

		TrimToSyncPoints: *storage.syncPoint,
	}
	var seen *metrics
	if *metricsAddr != "" {
		seen = newMetrics()
		calls.Observe, chats.ObserveCommit = seen.observeCall, seen.observeCommit
	}
	own := builtins(calls, guard)
	rooms := chat.NewServer(chats)
	defer rooms.Close()
	own.serveRooms(rooms)
	cfg := &transport.Config{
		Credentials:       cred,
		Addr:              *listen,
		Name:              "trunkline/" + version,
		Logger:            log,
		StatelessResetKey: &resetKey,
		Authorize: func(ctx context.Context, p transport.Peer) error {
			if err := checkRevoked(home, p); err != nil {
				return err
			}
			if err := lasting.check(p); err != nil {
				return err
			}
			return guard.admit(transport.SessionFrom(ctx), p.ID)
		},
		Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC:  own.mux.ServeStream,
			transport.StreamChat: rooms.ServeStream,
		},
		MayRelease:    rooms.MayRelease,
		BeforeRelease: rooms.BeforeRelease,
	}
	if !ownPKI {
		cfg.Enroll = func(_ context.Context, r *transport.EnrollRequest) ([]*x509.Certificate, error) {
			return home.Redeem(r.Secret, r.Request)
		}
	}
	if err := limits.apply(cfg); err != nil {
		return err
	}
	traces, err := trace.apply(a, cfg, log)
	if err != nil {
		return err
	}
	defer func() { _ = traces.Close() }()
	srv, err := transport.Listen(cfg)
	if err != nil {
		return withHint(err, "--listen wants an address that nobody listens on, such as 127.0.0.1:4433")
	}
	report := &reporter{srv: srv, rooms: rooms, domain: cred.ID().Domain, started: time.Now()}
	handle(own, forAdministrators, adminStatus, report.status)
	if !ownPKI {
		handle(own, forAdministrators, certsInviteMethod, serveInvite(home))
		handle(own, forAdministrators, certsRevokeMethod, serveRevoke(home))
		handle(own, forAdministrators, certsListMethod, serveList(home))
		handle(own, forSessions, certsRenewMethod, serveRenew(home))
		handle(own, forSessions, certsAuthorityMethod, serveAuthority(home))
	}
	own.describe()
	healthy := health.NewServer()
	own.reportHealth(healthy)
	if seen != nil {
		seen.collect(srv.Stats, rooms.Stats)
		endpoint, err := serveMetrics(*metricsAddr, seen, log)
		if err == nil {
			defer endpoint.close()
			err = a.print("metrics at " + endpoint.url() + "\n")
		}
		if err != nil {
			return errors.Join(err, srv.Close())
		}
	}
	defer watchRevoked(ctx, home, srv, log)()
	if ownPKI {
		issue = pki.replaced(cred)
	}
	presented := &serverCredentials{srv: srv, issue: issue, cred: cred}
	defer keepServerRenewed(ctx, presented, log)()
	if ownPKI {
		defer endExpired(ctx, srv, expiry, log)()
	} else {
		defer watchAuthority(ctx, presented, &lasting, log)()
		defer endExpired(ctx, srv, recorded(home), log)()
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	if err := a.print(fmt.Sprintf("listening on %s\n", srv.Addr())); err != nil {
		return errors.Join(err, srv.Close())
	}
	for {
		select {
		case err := <-served:
			return err
		case <-hangups:
			reloadPolicy(*policyFile, guard, rooms, log)
		case s := <-a.signals:
			healthy.Shutdown()
			log.Info("draining", "signal", s.String(), "timeout", *drain)
			rooms.Drain()
			return a.drain(ctx, srv, *drain)
		}
	}
}

// drain shuts srv down in order, and at once at the next signal.
func (a *app) drain(ctx context.Context, srv *transport.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	select {
	case err := <-done:
		return err
	case s := <-a.signals:
		return errors.Join(fmt.Errorf("aborted by a second signal (%s)", s), srv.Close())
	}
}

// localUser returns a name for the identity of whoever runs this process.
func localUser() string {
	u, err := user.Current()
	if err != nil {
		return certs.NameFrom("")
	}
	return certs.NameFrom(u.Username)
}
