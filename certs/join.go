package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrOtherHome says that somebody can't join into this home, because it belongs to another authority, or
// because it is the authority's own.
var ErrOtherHome = errors.New("this home is not for joining")

const (
	joiningDir = "joining"
	serverFile = "server"
)

// A Joining is an attempt to become a user of a house, with a token, from another machine.
type Joining struct {
	home  *Home
	token Token
	anew  bool   // the home may be of another authority
	stem  string // of the key
	key   crypto.Signer
}

// StartJoin makes the key that the token is to be redeemed with. A second attempt with the same token has the
// same key, so that it gets the same certificate. The error is [ErrOtherHome] if the home has an authority that is
// not the token's, or can sign for it itself.
func (h *Home) StartJoin(t Token) (*Joining, error) { return h.startJoin(t, false) }

// StartJoinAnew is StartJoin for a home that joined another authority, which is given up for the token's when the join
// comes to its end: whoever runs the server has said, with the token, that it has a new one. The identities of the authority before are good for nothing then,
// until they join as well.
func (h *Home) StartJoinAnew(t Token) (*Joining, error) { return h.startJoin(t, true) }

func (h *Home) startJoin(t Token, anew bool) (*Joining, error) {
	sum := sha256.Sum256(t.Secret[:])
	j := &Joining{home: h, token: t, anew: anew, stem: filepath.Join(joiningDir, hex.EncodeToString(sum[:8]))}
	err := h.update(func() error {
		if _, err := j.checkHome(); err != nil {
			return err
		}
		if err := os.MkdirAll(h.path(joiningDir), dirMode); err != nil {
			return err
		}
		p, err := h.loadPair(j.stem)
		if err != nil {
			return err
		}
		err = h.ensureKey(&p, j.stem)
		j.key = p.key
		return err
	})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// checkHome returns the authorities that the home has, and none if those are to be given up.
func (j *Joining) checkHome() (authorities, error) {
	h := j.home
	if exists(h.path(keyFile(authorityStem))) {
		return authorities{}, fmt.Errorf("%w: %s holds an authority", ErrOtherHome, h.dir)
	}
	as, err := h.loadAuthorities()
	if err != nil {
		return authorities{}, err
	}
	for _, there := range []*x509.Certificate{as.current, as.at(h.env.now()).former} {
		if there != nil && FingerprintOf(there) == j.token.Authority {
			return as, nil
		}
	}
	if as.current != nil && !j.anew {
		return authorities{}, fmt.Errorf("%w: %s is of authority %s, the token of %s", ErrOtherHome, h.dir, FingerprintOf(as.current), j.token.Authority)
	}
	return authorities{}, nil
}

// Credentials are for connecting to the server: they trust the token's authority, and present nothing.
func (j *Joining) Credentials() *Credentials {
	return &Credentials{AuthorityKey: j.token.Authority, Now: j.home.env.Now}
}

// Request returns the certification request for the key: PKCS #10 in DER, with no name, for that is in the token.
func (j *Joining) Request() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, j.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// Finish keeps what the server answered, leaf first: the identity, with its key, and the authority. The first identity
// of a home becomes the default. If the home has another key of that name, that key and its certificate are put aside,
// as NAME.key.old and NAME.crt.old.
func (j *Joining) Finish(chain []*x509.Certificate) (ID, error) {
	h := j.home
	id, err := j.Credentials().VerifyClient(chain)
	if err != nil {
		return ID{}, fmt.Errorf("the server's answer: %w", err)
	}
	if !sameKey(j.key.Public(), chain[0].PublicKey) {
		return ID{}, errors.New("the server's answer is for another key")
	}
	err = h.update(func() error {
		as, err := j.checkHome()
		if err != nil {
			return err
		}
		changed := as.current == nil
		if changed {
			as.current = AuthorityIn(chain, j.token.Authority)
		}
		as, followed, err := followFrom(as, chain, h.env.now())
		if err != nil {
			return err
		}
		if changed || followed {
			if err := replace(h.path(certFile(authorityStem)), as.encode()); err != nil {
				return err
			}
		}
		if err := h.makeUsersDir(); err != nil {
			return err
		}
		if err := j.install(id.Name, chain[0]); err != nil {
			return err
		}
		if err := ignoreExist(writeNew(h.path("default"), []byte(id.Name+"\n"), openMode)); err != nil {
			return err
		}
		return j.remove()
	})
	if err != nil {
		return ID{}, err
	}
	return id, nil
}

// install puts key and certificate in the user's place. Whatever it is cut short at, it goes on from there.
func (j *Joining) install(name string, cert *x509.Certificate) error {
	h, stem := j.home, userStem(name)
	keyPath, certPath := h.path(keyFile(stem)), h.path(certFile(stem))
	data, err := encodeKey(j.key)
	if err != nil {
		return err
	}
	there, err := readFile(keyPath, true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if string(there) != string(data) {
		// The certificate first: without it the key is as good as none.
		for _, path := range []string{certPath, keyPath} {
			if err := rename(path, path+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := writeNew(keyPath, data, keyMode); err != nil {
			return err
		}
	}
	return replace(certPath, encodeCertificate(cert))
}

// Abandon removes the key, of which nothing can become any more.
func (j *Joining) Abandon() error { return j.home.update(j.remove) }

func (j *Joining) remove() error {
	err := os.Remove(j.home.path(keyFile(j.stem)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// KeepServer makes "HOST:PORT" the address where this home looks for its server, if it has none.
func (h *Home) KeepServer(addr string) error {
	addr, err := PinAddr(addr)
	if err != nil {
		return err
	}
	return h.update(func() error {
		return ignoreExist(writeNew(h.path(serverFile), []byte(addr+"\n"), openMode))
	})
}

// Server returns the address that KeepServer kept, or "".
func (h *Home) Server() (string, error) {
	path := h.path(serverFile)
	var addr string
	err := readLines(path, func(line string) error {
		if addr != "" {
			return errors.New("there is more than one address")
		}
		addr = strings.TrimSpace(line)
		_, err := PinAddr(addr)
		return err
	})
	if err != nil {
		return "", err
	}
	return addr, nil
}

// ignoreExist is for what is kept when it is there already.
func ignoreExist(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
