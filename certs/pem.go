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
	return parseCertificateDER(der)
}

func parseCertificateDER(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("not a certificate: %w", err)
	}
	if err := checkPublicKey(cert.PublicKey); err != nil {
		return nil, err
	}
	return cert, nil
}

// decodePEM returns the content of the one block that data consists of.
func decodePEM(data []byte, kind string) ([]byte, error) {
	blocks, err := decodePEMs(data, kind, 1)
	if err != nil {
		return nil, err
	}
	return blocks[0], nil
}

// decodePEMs returns the contents of the blocks that data consists of, from one to most. Text
// before, between or after them is refused, although RFC 7468 allows some: these files are
// written here, and anything else in them is a sign of damage.
func decodePEMs(data []byte, kind string, most int) ([][]byte, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	begin := []byte("-----BEGIN ")
	var blocks [][]byte
	for len(data) > 0 {
		block, rest := pem.Decode(data)
		switch {
		case !bytes.HasPrefix(data, begin) && len(blocks) == 0:
			return nil, errors.New("there is something before the pem block")
		case !bytes.HasPrefix(data, begin):
			return nil, errors.New("there is something after the pem block")
		case len(blocks) == most:
			return nil, fmt.Errorf("there are more than %d pem blocks", most)
		case block == nil, bytes.Count(data[:len(data)-len(rest)], begin) > 1: // pem.Decode skips a block that it cannot read
			return nil, errors.New("a pem block is damaged")
		case block.Type != kind:
			return nil, fmt.Errorf("the pem block is %s, not %q", quote(block.Type), kind)
		case len(block.Headers) > 0:
			return nil, errors.New("the pem block has headers")
		}
		blocks, data = append(blocks, block.Bytes), bytes.TrimSpace(rest)
	}
	return blocks, nil
}
