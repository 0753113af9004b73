package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// LoadCAs reads the certificates of authorities, one to eight, from a PEM file, for [Credentials.CAs]. It is
// an error if one of them is not that of an authority.
func LoadCAs(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path, false)
	if err != nil {
		return nil, err
	}
	cas, err := parseChain(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, ca := range cas {
		if !ca.IsCA || !ca.BasicConstraintsValid {
			return nil, fmt.Errorf("%s: %s is not an authority", path, quote(ca.Subject.String()))
		}
	}
	return cas, nil
}

// VerifyServerAt is VerifyServer for the server that was dialled as host, a DNS name or an IP address. host matters with
// CAs alone: then it must be among the names of the leaf, and the trust domain is the one that the leaf names.
func (c *Credentials) VerifyServerAt(host string, chain []*x509.Certificate) (ID, error) {
	if len(c.CAs) == 0 {
		return c.VerifyServer(chain)
	}
	id, err := c.verify(chain, x509.ExtKeyUsageServerAuth, kindServer)
	if err != nil {
		return ID{}, err
	}
	if host == "" { // what has no name can't be looked for
		err = errors.New("no host name to look for")
	} else {
		err = chain[0].VerifyHostname(host)
	}
	if err != nil {
		return ID{}, c.failure(chain, WrongHost, err)
	}
	return id, nil
}
