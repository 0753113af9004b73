package certs

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// pair is a key and its certificate, of which the home may lack one or both.
type pair struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// loadPair reads both. A certificate without its key is an error, because a new
// key would not fit it; a key without certificate is the trace of a crash.
func (h *Home) loadPair(stem string) (pair, error) {
	keyPath, certPath := h.path(keyFile(stem)), h.path(certFile(stem))
	var p pair
	var err error
	// The certificate is read first: it is written last, so if it is there, so
	// is the key.
	if p.cert, err = loadCertificate(certPath); err != nil {
		return pair{}, err
	}
	if p.key, err = h.loadKey(stem); err != nil {
		return pair{}, err
	}
	if p.cert != nil && p.key == nil {
		return pair{}, fmt.Errorf("%s is missing: put it back, or remove %s", keyPath, certPath)
	}
	if p.cert != nil && !sameKey(p.key.Public(), p.cert.PublicKey) {
		return pair{}, fmt.Errorf("%s is not the key of %s", keyPath, certPath)
	}
	return p, nil
}

// loadKey returns nil for a file that does not exist.
func (h *Home) loadKey(stem string) (crypto.Signer, error) {
	path := h.path(keyFile(stem))
	data, err := readFile(path, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// loadCertificate returns nil for a file that does not exist.
func loadCertificate(path string) (*x509.Certificate, error) {
	data, err := readFile(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// loadCredentials returns nil if key or certificate is missing.
func (h *Home) loadCredentials(stem string) (*Credentials, error) {
	p, err := h.loadPair(stem)
	for {
		if err != nil || p.cert == nil {
			return nil, err
		}
		as, err := h.loadAuthorities()
		if err != nil {
			return nil, err
		}
		if as.current == nil {
			return nil, fmt.Errorf("%s is missing", h.path(certFile(authorityStem)))
		}
		// One that the authority before the present one has issued may have expired with the overlap: that is for the server to say.
		if as.signerOf(p.cert) != nil {
			return newCredentials(p.cert, p.key, as.at(h.env.now()), h.env.Now)
		}
		before := p.cert
		p, err = h.loadPair(stem) // another process may have renewed it, under another authority, after the first look
		if err == nil && p.cert != nil && p.cert.Equal(before) {
			return nil, fmt.Errorf("%s is not issued by %s", h.path(certFile(stem)), h.path(certFile(authorityStem)))
		}
	}
}

// ensureKey makes the key if there is none. The update lock must be held.
func (h *Home) ensureKey(p *pair, stem string) error {
	if p.key != nil {
		return nil
	}
	key, err := h.env.newKey()
	if err != nil {
		return err
	}
	data, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(h.path(keyFile(stem)), data, keyMode); err != nil {
		return err
	}
	p.key = key
	return nil
}

func keyFile(stem string) string { return stem + ".key" }

func certFile(stem string) string { return stem + ".crt" }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
