package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// maxChainFile is how many certificates a file with a chain may have.
const maxChainFile = 8

// LoadCredentials reads an identity that is in no home: the certificate, with those that lead to its authority behind
// it if the peer needs them, from one PEM file, and its key from another, PKCS#8 in PEM, which must be its owner's
// alone. They trust nobody: Authority or AuthorityKey is for the caller to set.
func LoadCredentials(certPath, keyPath string, env Env) (*Credentials, error) {
	data, err := readFile(certPath, false)
	if err != nil {
		return nil, err
	}
	chain, err := parseChain(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	if data, err = readFile(keyPath, true); err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if !sameKey(key.Public(), chain[0].PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s", keyPath, certPath)
	}
	c := &Credentials{Certificate: tls.Certificate{PrivateKey: key, Leaf: chain[0]}, Now: env.Now}
	for _, cert := range chain {
		c.Certificate.Certificate = append(c.Certificate.Certificate, cert.Raw)
	}
	return c, nil
}

// parseChain reads certificates in PEM, leaf first. Text around the blocks, which other software writes, is skipped.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	blocks := bytes.Count(data, []byte("-----BEGIN "))
	var chain []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != pemCertificate {
			return nil, fmt.Errorf("a pem block is %s, not %q", quote(block.Type), pemCertificate)
		}
		if len(chain) == maxChainFile {
			return nil, fmt.Errorf("there are more than %d certificates", maxChainFile)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("not a certificate: %w", err)
		}
		chain = append(chain, cert)
	}
	if blocks != len(chain) { // pem.Decode skips a block that it cannot read
		return nil, errors.New("a pem block is damaged")
	}
	if len(chain) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return chain, nil
}
