package certs

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	invitesFile = "invites"

	// DefaultInviteTTL is how long a token is good for, unless told.
	DefaultInviteTTL = 15 * time.Minute
	// MaxInviteTTL is the longest that it can be.
	MaxInviteTTL = 24 * time.Hour

	// inviteMemory is for how long after a token's time its holder is still told what became of it.
	inviteMemory = 24 * time.Hour
	// maxInvites bounds the file: a line has at most 1,100 bytes.
	maxInvites = 500
	// maxRequest bounds a certificate request, in bytes.
	maxRequest = 4 << 10
)

// ErrNameExists says that a user of that name has a key already: another one is for who asks for a
// further device.
var ErrNameExists = errors.New("the name exists")

// ErrRequest says that a certificate request is malformed, or for a key that is not certified.
var ErrRequest = errors.New("bad certificate request")

// InviteOptions are for [Home.Invite]. The zero value invites somebody new, for 15 minutes.
type InviteOptions struct {
	// AddDevice lets a name that exists have one more key.
	AddDevice bool
	// TTL is how long the token is good for, up to MaxInviteTTL. Default: DefaultInviteTTL.
	TTL time.Duration
}

// Invitation is what somebody needs to join.
type Invitation struct {
	Token   Token
	Name    string
	Expires time.Time
}

// Invite makes a token with which one key is certified for the user of that name, by [Home.Redeem]. What is
// kept of it is its hash. The error is [ErrNameExists] for a name that has a key which is not revoked, unless it is
// to have another; and [ErrNoAuthority] in a home that cannot sign.
//
// A name that was revoked is not any more; its keys stay revoked, and its open invitations are void. So are those of
// a name that is invited as new, for else two could become one user.
func (h *Home) Invite(name string, opts InviteOptions) (*Invitation, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	if opts.TTL == 0 {
		opts.TTL = DefaultInviteTTL
	}
	if opts.TTL < time.Second || opts.TTL > MaxInviteTTL {
		return nil, fmt.Errorf("a token is good for 1s to %s, not for %s", MaxInviteTTL, opts.TTL)
	}
	if !h.HasAuthority() {
		return nil, fmt.Errorf("%w: %s", ErrNoAuthority, h.dir)
	}
	var made *Invitation
	err := h.update(func() error {
		a, err := h.loadAuthority()
		if err != nil {
			return err
		}
		denied, err := h.loadRevoked()
		if err != nil {
			return err
		}
		lifted := denied.lift(name)
		if !opts.AddDevice {
			if err := h.checkFree(denied, name, Fingerprint{}); err != nil {
				return err
			}
		}
		all, err := h.loadInvites()
		if err != nil {
			return err
		}
		now := h.env.now()
		all = all.sweep(now).without(func(i invite) bool {
			return i.name == name && i.cert == nil && (lifted || !opts.AddDevice)
		})
		if len(all) >= maxInvites {
			return fmt.Errorf("there are %d invitations, which is the most", len(all))
		}
		made = &Invitation{Token: Token{Authority: FingerprintOf(a.current)}, Name: name, Expires: now.Add(opts.TTL).UTC().Truncate(time.Second)}
		if _, err := io.ReadFull(h.env.rand(), made.Token.Secret[:]); err != nil {
			return fmt.Errorf("make token: %w", err)
		}
		all = append(all, invite{hash: sha256.Sum256(made.Token.Secret[:]), name: name, expires: made.Expires, addDevice: opts.AddDevice})
		if err := h.writeInvites(all); err != nil {
			return err
		}
		// Last, so that nothing is lifted if the rest fails; a token alone does no harm while the name is revoked.
		if lifted {
			return replace(h.path("revoked"), []byte(denied.String()))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// checkFree returns ErrNameExists if the name has a key that is not revoked, other than mine.
func (h *Home) checkFree(denied *revoked, name string, mine Fingerprint) error {
	keys, err := h.loadIssued()
	if err != nil {
		return err
	}
	for _, i := range keys {
		if i.name == name && i.key != mine && denied.check(ID{}, i.key) == nil {
			return fmt.Errorf("%w: %s has key %s", ErrNameExists, name, i.key)
		}
	}
	// For the case that somebody removed the record.
	cert, err := loadCertificate(h.path(certFile(userStem(name))))
	if err != nil {
		return err
	}
	if cert != nil && denied.check(ID{}, FingerprintOf(cert)) == nil {
		return fmt.Errorf("%w: %s has key %s", ErrNameExists, name, FingerprintOf(cert))
	}
	return nil
}

// Redeem certifies the key of request, a PKCS #10 certification request in DER, for the user whom the token
// with that secret invites, and uses the token up, both or neither. It returns the certificate and the authority's.
// Of the request only the key counts, and that it is signed with it. The same token with the same key gets the same
// certificate again, or another if that is of an authority before the last rotation, for a day after the token's end: the first
// answer may have been lost.
//
// The error is a [*TokenError], of which all but TokenWrong are for who knows the secret; [ErrRequest]; or a
// fault of the home's.
func (h *Home) Redeem(secret [secretSize]byte, request []byte) ([]*x509.Certificate, error) {
	hash := sha256.Sum256(secret[:])
	// Without the lock, so that who guesses holds nobody up.
	all, err := h.loadInvites()
	if err != nil {
		return nil, err
	}
	if all.find(hash) < 0 {
		return nil, &TokenError{Reason: TokenWrong}
	}
	pub, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	return h.certify(func(a *Authority) (*x509.Certificate, error) { return h.redeem(a, hash, pub) })
}

// certify has sign make a certificate, with the update lock held, and returns it with what leads to the authority.
func (h *Home) certify(sign func(a *Authority) (*x509.Certificate, error)) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	err := h.update(func() error {
		a, err := h.loadAuthority()
		if err != nil {
			return err
		}
		cert, err := sign(a)
		if err != nil {
			return err
		}
		chain = a.chain(cert)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// redeem is Redeem with the update lock held.
func (h *Home) redeem(a *Authority, hash [sha256.Size]byte, pub crypto.PublicKey) (*x509.Certificate, error) {
	all, err := h.loadInvites()
	if err != nil {
		return nil, err
	}
	n := all.find(hash)
	if n < 0 {
		return nil, &TokenError{Reason: TokenWrong}
	}
	i := &all[n]
	now := h.env.now()
	switch {
	case i.cert != nil && !sameKey(pub, i.cert.PublicKey):
		return nil, &TokenError{Reason: TokenUsed}
	case i.cert == nil && now.After(i.expires), now.After(i.expires.Add(inviteMemory)):
		return nil, &TokenError{Reason: TokenExpired}
	}
	id, err := UserID(a.domain, i.name)
	if err != nil {
		return nil, err
	}
	key, err := fingerprintOfKey(pub)
	if err != nil {
		return nil, err
	}
	denied, err := h.loadRevoked()
	if err != nil {
		return nil, err
	}
	if denied.check(id, key) != nil {
		return nil, &TokenError{Reason: TokenRevoked}
	}
	// One of an authority that is not trusted any more would do nobody any good.
	if i.cert != nil && a.signerOf(i.cert) != nil {
		return i.cert, nil
	}
	if !i.addDevice {
		err := h.checkFree(denied, i.name, key)
		if errors.Is(err, ErrNameExists) {
			return nil, &TokenError{Reason: TokenTaken}
		}
		if err != nil {
			return nil, err
		}
	}
	// As in issueUser: what is out there is known to Revoke. A crash behind this step leaves the
	// token open, for this key.
	if err := h.recordIssued(a, i.name, key); err != nil {
		return nil, err
	}
	cert, err := a.Sign(id, pub, nil)
	if err != nil {
		return nil, err
	}
	i.cert = cert
	return cert, h.writeInvites(all.sweep(now))
}

// parseRequest returns the key that a certification request is for, and was signed with.
func parseRequest(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxRequest {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrRequest, maxRequest)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := checkPublicKey(request.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: not signed with its key: %w", ErrRequest, err)
	}
	return request.PublicKey, nil
}

// An invite is one line of the file: "HASH NAME EXPIRES KIND CERTIFICATE".
type invite struct {
	hash      [sha256.Size]byte // of the secret
	name      string
	expires   time.Time
	addDevice bool              // a KIND of "device", not "new"
	cert      *x509.Certificate // nil, "-", while the token is open
}

func (i invite) String() string {
	kind, cert := "new", "-"
	if i.addDevice {
		kind = "device"
	}
	if i.cert != nil {
		cert = base64.StdEncoding.EncodeToString(i.cert.Raw)
	}
	return strings.Join([]string{hex.EncodeToString(i.hash[:]), i.name, i.expires.UTC().Format(time.RFC3339), kind, cert}, " ")
}

func parseInvite(line string) (invite, error) {
	fields := strings.Split(line, " ")
	if len(fields) != 5 {
		return invite{}, fmt.Errorf("there are %d fields instead of 5", len(fields))
	}
	var i invite
	hash, err := hex.DecodeString(fields[0])
	if err != nil || len(hash) != len(i.hash) {
		return invite{}, errors.New("the hash is not of 32 bytes in hex")
	}
	copy(i.hash[:], hash)
	i.name = fields[1]
	if err := ValidName(i.name); err != nil {
		return invite{}, err
	}
	if i.expires, err = time.Parse(time.RFC3339, fields[2]); err != nil {
		return invite{}, errors.New("the time is not one of RFC 3339")
	}
	switch fields[3] {
	case "new":
	case "device":
		i.addDevice = true
	default:
		return invite{}, fmt.Errorf("%s is neither new nor device", quote(fields[3]))
	}
	if fields[4] == "-" {
		return i, nil
	}
	der, err := base64.StdEncoding.Strict().DecodeString(fields[4])
	if err != nil {
		return invite{}, errors.New("the certificate is not base64")
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		return invite{}, fmt.Errorf("not a certificate: %w", err)
	}
	return i, nil
}

// invites is the content of the file, in its order.
type invites []invite

// find returns the index of the invitation with that hash, or -1. It takes as long whichever it is.
func (all invites) find(hash [sha256.Size]byte) int {
	found := -1
	for n := range all {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(all[n].hash[:], hash[:]), n, found)
	}
	return found
}

// sweep leaves out what nobody needs to be told about any more.
func (all invites) sweep(now time.Time) invites {
	return all.without(func(i invite) bool { return now.After(i.expires.Add(inviteMemory)) })
}

func (all invites) without(drop func(invite) bool) invites {
	var kept invites
	for _, i := range all {
		if !drop(i) {
			kept = append(kept, i)
		}
	}
	return kept
}

func (h *Home) loadInvites() (invites, error) {
	var all invites
	err := readLines(h.path(invitesFile), func(line string) error {
		i, err := parseInvite(line)
		all = append(all, i)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (h *Home) writeInvites(all invites) error {
	var text strings.Builder
	for _, i := range all {
		fmt.Fprintln(&text, i)
	}
	return replaceMode(h.path(invitesFile), []byte(text.String()), keyMode)
}
