package main

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// An identityFlags says who a client is: a user of the home, or whose certificate is in two files.
type identityFlags struct{ as, cert, key, ca *string }

func identityFlagsOf(fs *pflag.FlagSet) identityFlags {
	return identityFlags{
		as:   fs.String("as", "", "`NAME` of the identity to use (default: the local user's)"),
		cert: fs.String("cert", "", "`FILE` with the certificate of another identity, in PEM; needs --key"),
		key:  fs.String("key", "", "`FILE` with its key, in PEM"),
		ca:   fs.String("ca", "", "`FILE` with the authority of a PKI of your own, in PEM, instead of a pin: the server must have the name that is dialled; needs --cert"),
	}
}

// credentials returns who the client is. Those from files do not say whom to trust, unless there is an authority's, too.
func (f identityFlags) credentials(home *certs.Home) (*certs.Credentials, error) {
	if *f.cert != "" || *f.key != "" {
		switch {
		case *f.cert == "" || *f.key == "":
			return nil, usagef("--cert and --key need each other")
		case *f.as != "":
			return nil, usagef("--as is for identities of the home, not with --cert")
		}
		return loadFiles(*f.cert, *f.key, *f.ca)
	}
	if *f.ca != "" {
		return nil, usagef("--ca needs --cert and --key")
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

// loadFiles returns the credentials in the files of an identity, which trust the authorities in the third, if there is one.
func loadFiles(cert, key, ca string) (*certs.Credentials, error) {
	cred, err := certs.LoadCredentials(cert, key, certs.Env{})
	if err != nil || ca == "" {
		return cred, err
	}
	cred.CAs, err = certs.LoadCAs(ca)
	return cred, err
}
