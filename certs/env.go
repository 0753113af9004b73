package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"
)

// KeyType is a kind of key. Both are accepted everywhere; it only says which is
// made.
type KeyType uint8

const (
	// Ed25519 (RFC 8032, RFC 8410) is the default.
	Ed25519 KeyType = iota
	// P256 is ECDSA on NIST P-256, for peers that lack Ed25519.
	P256
)

// Env is where time, randomness and the kind of new keys come from. The zero
// value is the real thing.
type Env struct {
	// Now tells the time at which certificates are issued and verified. The
	// default is [time.Now].
	Now func() time.Time

	// Rand yields trust domains, serial numbers and Ed25519 keys, which are
	// reproducible if it is. The default is [rand.Reader]. It is read from
	// many goroutines when the Home or Authority is used from many. P-256 keys
	// and signatures never come from it: crypto/ecdsa has ignored its reader
	// since Go 1.26, so tests need testing/cryptotest for those.
	Rand io.Reader

	// KeyType is the kind of keys made. The default is Ed25519.
	KeyType KeyType
}

func (e Env) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

func (e Env) rand() io.Reader {
	if e.Rand == nil {
		return rand.Reader
	}
	return e.Rand
}

func (e Env) newKey() (crypto.Signer, error) {
	switch e.KeyType {
	case Ed25519:
		_, key, err := ed25519.GenerateKey(e.rand())
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		return key, nil
	case P256:
		key, err := ecdsa.GenerateKey(elliptic.P256(), e.rand())
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		return key, nil
	default:
		return nil, fmt.Errorf("unknown key type %d", e.KeyType)
	}
}

// newSerial returns 128 random bits. RFC 5280, section 4.1.2.2 wants a serial
// number to be positive and of at most 20 octets.
func (e Env) newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(e.rand(), b[:]); err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	serial := new(big.Int).SetBytes(b[:])
	if serial.Sign() == 0 {
		return nil, errors.New("make serial number: the source of randomness yields zeros")
	}
	return serial, nil
}

// checkPublicKey accepts what newKey can make.
func checkPublicKey(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		if len(pub) == ed25519.PublicKeySize {
			return nil
		}
	case *ecdsa.PublicKey:
		if pub != nil && pub.Curve == elliptic.P256() {
			return nil
		}
	}
	return fmt.Errorf("a key of type %T is neither ed25519 nor ecdsa p-256", pub)
}

// sameKey reports whether two public keys that passed checkPublicKey are one.
func sameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
