package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/transport"
)

// A limitFlags holds what serve can be told of its limits.
type limitFlags struct {
	hold                              *time.Duration
	sessions, perIdentity, perAddress *int
}

// limitFlags adds --hold and the --max flags.
func (a *app) limitFlags(fs *pflag.FlagSet) limitFlags {
	return limitFlags{
		hold:        fs.Duration("hold", 30*time.Second, "how long a lost session is kept for its client; 0: not at all"),
		sessions:    fs.Int("max-sessions", 10_000, "how many sessions there may be, held ones included"),
		perIdentity: fs.Int("max-per-identity", 100, "how many of them one identity may have; 0: as many as all"),
		perAddress:  fs.Int("max-per-address", 256, "how many connections one address, or IPv6 /64, may have; 0: any number"),
	}
}

// apply sets the limits in cfg.
func (l limitFlags) apply(cfg *transport.Config) error {
	switch {
	case *l.hold < 0:
		return usagef("--hold can't be negative")
	case *l.sessions < 1:
		return usagef("--max-sessions must be at least 1")
	case *l.perIdentity < 0:
		return usagef("--max-per-identity can't be negative")
	case *l.perAddress < 0:
		return usagef("--max-per-address can't be negative")
	}
	cfg.MaxSessions = *l.sessions
	cfg.Hold, cfg.MaxIdentitySessions, cfg.MaxPerAddress = orNone(*l.hold), orNone(*l.perIdentity), orNone(*l.perAddress)
	return nil
}

// orNone turns the 0 of a flag, which is none, into a configuration's, where 0 is the default.
func orNone[T int | int64 | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}
