package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Contents is what there is in a home, as its files say; nothing of it is verified.
type Contents struct {
	// Authority is the pinned or own authority, nil if there is none.
	Authority *x509.Certificate
	// Former is the authority before, and FormerUntil how long it is trusted, in the overlap of a rotation; else nil.
	Former      *x509.Certificate
	FormerUntil time.Time
	// Signs says that the authority's key is here, too.
	Signs bool
	// Server is the server's certificate, nil if there is none.
	Server *x509.Certificate
	// Users are the certificates of users, in the order of their names.
	Users []UserCertificate
	// Default is the name of the default user, empty if there is none.
	Default string
	// Pins are the authorities that were pinned for addresses.
	Pins []Pin
	// Invited are those whose tokens are open now, in the order in which they were invited.
	Invited []Invited
}

// Invited is somebody whose token has not been used, and has not expired.
type Invited struct {
	Name      string
	AddDevice bool
	Expires   time.Time
}

// UserCertificate is the certificate in the file that is called after a user.
type UserCertificate struct {
	Name        string
	Certificate *x509.Certificate
}

// Contents reads the home. A file that cannot be understood is an error, and one that is missing is not.
func (h *Home) Contents() (*Contents, error) {
	c := &Contents{Signs: h.HasAuthority()}
	var err error
	as, err := h.loadAuthorities()
	if err != nil {
		return nil, err
	}
	as = as.at(h.env.now())
	if c.Authority, c.Former = as.current, as.former; as.former != nil {
		c.FormerUntil = as.cross.NotAfter
	}
	if c.Server, err = loadCertificate(h.path(certFile(serverStem))); err != nil {
		return nil, err
	}
	if c.Default, err = h.DefaultName(); err != nil && !errors.Is(err, ErrNoIdentity) {
		return nil, err
	}
	if c.Pins, err = h.Pins(); err != nil {
		return nil, err
	}
	invites, err := h.loadInvites()
	if err != nil {
		return nil, err
	}
	for _, i := range invites {
		if i.cert == nil && !h.env.now().After(i.expires) {
			c.Invited = append(c.Invited, Invited{Name: i.name, AddDevice: i.addDevice, Expires: i.expires})
		}
	}
	names, err := h.userNames()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		cert, err := loadCertificate(h.path(certFile(userStem(name))))
		if err != nil {
			return nil, err
		}
		if cert != nil {
			c.Users = append(c.Users, UserCertificate{Name: name, Certificate: cert})
		}
	}
	return c, nil
}

// userNames returns whose certificates there are. Files with other names are somebody else's.
func (h *Home) userNames() ([]string, error) {
	entries, err := os.ReadDir(h.path(usersDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), certFile("")); ok && ValidName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
