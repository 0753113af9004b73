package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/certs"
)

// A pkiFlags says which files serve takes instead of the home's own authority and server certificate.
type pkiFlags struct{ ca, cert, key *string }

func pkiFlagsOf(fs *pflag.FlagSet) pkiFlags {
	return pkiFlags{
		ca:   fs.String("ca", "", "`FILE` with the authority of a PKI of your own, in PEM, instead of the home's; needs --cert and --key"),
		cert: fs.String("cert", "", "`FILE` with the server's certificate of that, in PEM"),
		key:  fs.String("key", "", "`FILE` with its key, in PEM"),
	}
}

// own says whether the home's authority is not used. It is an error to give one of the files, and not all.
func (f pkiFlags) own() (bool, error) {
	if *f.ca == "" && *f.cert == "" && *f.key == "" {
		return false, nil
	}
	if *f.ca == "" || *f.cert == "" || *f.key == "" {
		return false, usagef("--ca, --cert and --key need each other")
	}
	return true, nil
}

// credentials returns what the server presents, and whom it trusts.
func (f pkiFlags) credentials() (*certs.Credentials, error) {
	cred, err := loadFiles(*f.cert, *f.key, *f.ca)
	if err != nil {
		return nil, err
	}
	if !cred.ID().IsServer() {
		return nil, withHint(errors.New(*f.cert+" is not a server's certificate"), "it needs one uri name, spiffe://DOMAIN/server, and a dns name or an address")
	}
	return cred, nil
}

// replaced returns what reads the files again. That the certificate is no later one than before is an error.
func (f pkiFlags) replaced(cred *certs.Credentials) func() (*certs.Credentials, error) {
	until := cred.Certificate.Leaf.NotAfter
	return func() (*certs.Credentials, error) {
		next, err := f.credentials()
		if err != nil {
			return nil, err
		}
		if !next.Certificate.Leaf.NotAfter.After(until) {
			return nil, fmt.Errorf("%s has not been replaced", *f.cert)
		}
		if next.ID() != cred.ID() {
			return nil, fmt.Errorf("%s is now of %s", *f.cert, next.ID())
		}
		until = next.Certificate.Leaf.NotAfter
		return next, nil
	}
}
