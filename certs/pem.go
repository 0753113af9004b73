package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	pemKey         = "PRIVATE KEY" // PKCS#8, RFC 7468 section 10
	pemCertificate = "CERTIFICATE" // RFC 7468 section 5
)

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})
}

func parseKey(data []byte) (crypto.Signer, error) {
	der, err := decodePEM(data, pemKey)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("not a pkcs #8 key: %w", err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T does not sign", parsed)
	}
	if err := checkPublicKey(key.Public()); err != nil {
		return nil, err
	}
	return key, nil
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	der, err := decodePEM(data, pemCertificate)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("not a certificate: %w", err)
	}
	if err := checkPublicKey(cert.PublicKey); err != nil {
		return nil, err
	}
	return cert, nil
}

// decodePEM returns the content of the one block that data consists of. Text
// before or after it is refused, although RFC 7468 allows some: these files are
// written here, and anything else in them is a sign of damage.
func decodePEM(data []byte, kind string) ([]byte, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("not a pem file")
	case !bytes.HasPrefix(data, []byte("-----BEGIN ")):
		return nil, errors.New("there is something before the pem block")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is something after the pem block")
	case bytes.Count(data, []byte("-----BEGIN ")) > 1:
		// pem.Decode skips a block that it cannot read.
		return nil, errors.New("there is more than one pem block")
	case block.Type != kind:
		return nil, fmt.Errorf("the pem block is %s, not %q", quote(block.Type), kind)
	case len(block.Headers) > 0:
		return nil, errors.New("the pem block has headers")
	}
	return block.Bytes, nil
}
