package main

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// An identityFlags says who a client is: a user of the home, or whose certificate is in two files.
type identityFlags struct{ as, cert, key *string }

func identityFlagsOf(fs *pflag.FlagSet) identityFlags {
	return identityFlags{
		as:   fs.String("as", "", "`NAME` of the identity to use (default: the local user's)"),
		cert: fs.String("cert", "", "`FILE` with the certificate of another identity, in PEM; needs --key"),
		key:  fs.String("key", "", "`FILE` with its key, in PEM"),
	}
}

// credentials returns who the client is. Those from files do not say whom to trust.
func (f identityFlags) credentials(home *certs.Home) (*certs.Credentials, error) {
	if *f.cert != "" || *f.key != "" {
		switch {
		case *f.cert == "" || *f.key == "":
			return nil, usagef("--cert and --key need each other")
		case *f.as != "":
			return nil, usagef("--as is for identities of the home, not with --cert")
		}
		return certs.LoadCredentials(*f.cert, *f.key, certs.Env{})
	}
	if *f.as != "" {
		if err := certs.ValidName(*f.as); err != nil {
			return nil, usagef("--as: %s", err)
		}
	}
	cred, err := home.UserCredentials(*f.as)
	switch {
	case errors.Is(err, certs.ErrNoIdentity):
		return nil, withHint(err, "with a token of whoever runs the server: trunkline certs join HOST:PORT TOKEN; the first run of trunkline serve makes an authority and identities in %s", home.Dir())
	case errors.Is(err, certs.ErrRevoked):
		// The server would say the same.
		return nil, &transport.Error{Code: transport.Revoked, Reason: err.Error(), Err: err}
	}
	return cred, err
}
