package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/trunkline-go/trunkline/certs"
)

// A keySet has the certificates of one authority for both sides, as they go to the children.
// All peers use the same ones, with mutual TLS 1.3 and without resumption.
type keySet struct {
	Authority      []byte // DER
	Server, Client keyPair
}

type keyPair struct {
	Chain [][]byte // DER, leaf first
	Key   []byte   // PKCS#8
}

// serverName is in the server's certificate, for the peers whose clients check names.
const serverName = "localhost"

// keyTypes are those that works ask for, by whether they are P-256.
func keyTypes() map[bool]certs.KeyType {
	return map[bool]certs.KeyType{false: certs.Ed25519, true: certs.P256}
}

func newKeySet(t certs.KeyType) (*keySet, error) {
	authority, err := certs.NewAuthority(certs.Env{KeyType: t})
	if err != nil {
		return nil, err
	}
	server, err := authority.IssueServer([]string{serverName, "127.0.0.1"})
	if err != nil {
		return nil, err
	}
	client, err := authority.IssueUser("bench")
	if err != nil {
		return nil, err
	}
	set := &keySet{Authority: authority.Certificate().Raw}
	for _, p := range []struct {
		from *certs.Credentials
		to   *keyPair
	}{{server, &set.Server}, {client, &set.Client}} {
		key, err := x509.MarshalPKCS8PrivateKey(p.from.Certificate.PrivateKey)
		if err != nil {
			return nil, err
		}
		*p.to = keyPair{Chain: p.from.Certificate.Certificate, Key: key}
	}
	return set, nil
}

// credentials returns those of one side as Trunkline takes them.
func (s *keySet) credentials(p keyPair) (*certs.Credentials, error) {
	authority, err := x509.ParseCertificate(s.Authority)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	leaf, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return &certs.Credentials{
		Certificate: tls.Certificate{Certificate: p.Chain, PrivateKey: key, Leaf: leaf},
		Authority:   authority,
	}, nil
}

// serverTLS returns the configuration of a server that is not Trunkline's.
func (s *keySet) serverTLS(alpn ...string) (*tls.Config, error) {
	c, err := s.credentials(s.Server)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{c.Certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              c.Roots(),
		NextProtos:             alpn,
		SessionTicketsDisabled: true,
	}, nil
}

// clientTLS returns the configuration of a client that is not Trunkline's.
func (s *keySet) clientTLS(alpn ...string) (*tls.Config, error) {
	c, err := s.credentials(s.Client)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.Certificate},
		RootCAs:      c.Roots(),
		ServerName:   serverName,
		NextProtos:   alpn,
	}, nil
}
