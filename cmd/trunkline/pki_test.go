package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// makePKI makes what other software would: ca.crt, an authority without trust domain or constraints; server.crt of
// own.example at 127.0.0.1, and moved.crt of the same at chat.example; the users ann.crt of own.example and eve.crt of
// partner.example; each with its .key. other.crt is an authority that signed none of them.
func makePKI(ts *testscript.TestScript, _ bool, _ []string) {
	now := time.Now()
	write := func(name string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		if signer == nil {
			parent, signer = template, key
		}
		template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(240*time.Hour)
		template.SerialNumber = big.NewInt(now.UnixNano())
		template.Subject = pkix.Name{CommonName: name}
		template.BasicConstraintsValid = true
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		ts.Check(err)
		cert, err := x509.ParseCertificate(der)
		ts.Check(err)
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		ts.Check(err)
		for file, block := range map[string]*pem.Block{
			name + ".crt": {Type: "CERTIFICATE", Bytes: der},
			name + ".key": {Type: "PRIVATE KEY", Bytes: pkcs8},
		} {
			ts.Check(os.WriteFile(ts.MkAbs(file), pem.EncodeToMemory(block), 0o600))
		}
		return cert, key
	}
	authority := func() *x509.Certificate {
		return &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	}
	leaf := func(domain, path string, usage x509.ExtKeyUsage) *x509.Certificate {
		return &x509.Certificate{
			URIs:        []*url.URL{{Scheme: "spiffe", Host: domain, Path: path}},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{usage},
		}
	}
	write("other", authority(), nil, nil)
	ca, key := write("ca", authority(), nil, nil)
	server := leaf("own.example", "/server", x509.ExtKeyUsageServerAuth)
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	write("server", server, ca, key)
	moved := leaf("own.example", "/server", x509.ExtKeyUsageServerAuth)
	moved.DNSNames = []string{"chat.example"}
	write("moved", moved, ca, key)
	write("ann", leaf("own.example", "/user/ann", x509.ExtKeyUsageClientAuth), ca, key)
	write("eve", leaf("partner.example", "/user/eve", x509.ExtKeyUsageClientAuth), ca, key)
}
