package certs_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// trustingCAs returns cred with those authorities instead of the pinned one.
func trustingCAs(cred *certs.Credentials, of ...*certs.Authority) *certs.Credentials {
	c := *cred
	c.CAs = nil
	for _, a := range of {
		c.CAs = append(c.CAs, a.Certificate())
	}
	return &c
}

func TestM58AServerOfAPKIHasTheNameThatIsDialled(t *testing.T) {
	a := newAuthority(t, newClock().Env())
	server, err := a.IssueServer([]string{"chat.example", "192.0.2.1", "2001:db8::1"})
	require.NoError(t, err)
	alice := trustingCAs(issueUser(t, a, "alice"), a)

	for _, host := range []string{"chat.example", "CHAT.example", "192.0.2.1", "2001:db8::1"} {
		id, err := alice.VerifyServerAt(host, chainOf(t, server))
		require.NoError(t, err, host)
		assert.Equal(t, server.ID(), id)
	}
	for _, host := range []string{"", "example", "other.example", "chat.example.org", "192.0.2.2", "2001:db8::2", "server"} {
		id, err := alice.VerifyServerAt(host, chainOf(t, server))
		requireReason(t, certs.WrongHost, id, err)
	}
	id, err := alice.VerifyServer(chainOf(t, server))
	requireReason(t, certs.WrongHost, id, err)

	nameless, err := a.IssueServer(nil)
	require.NoError(t, err)
	id, err = alice.VerifyServerAt("chat.example", chainOf(t, nameless))
	requireReason(t, certs.WrongHost, id, err)

	// Under a pinned authority the name is nobody's business.
	_, err = issueUser(t, a, "alice").VerifyServerAt("other.example", chainOf(t, server))
	assert.NoError(t, err)
}

func TestM58WhoIsOfAnotherAuthorityThanTheCAsIsAStranger(t *testing.T) {
	clk := newClock()
	ours, theirs := newAuthority(t, clk.Env()), newAuthority(t, clk.Env())
	server, err := theirs.IssueServer([]string{"chat.example"})
	require.NoError(t, err)

	// Not even the pinned authority counts beside CAs.
	alice := trustingCAs(issueUser(t, theirs, "alice"), ours)
	id, err := alice.VerifyServerAt("chat.example", chainOf(t, server))
	failure := requireReason(t, certs.UnknownAuthority, id, err)
	assert.True(t, failure.Expected.IsZero())
	assert.NotContains(t, err.Error(), "expected")
	id, err = trustingCAs(server, ours).VerifyClient(chainOf(t, alice))
	requireReason(t, certs.UnknownAuthority, id, err)

	server, err = ours.IssueServer([]string{"chat.example"})
	require.NoError(t, err)
	clk.Advance(91 * day)
	id, err = alice.VerifyServerAt("chat.example", chainOf(t, server))
	requireReason(t, certs.Expired, id, err)
}

func TestM58AUserOfAPKICannotServeNorTheServerCall(t *testing.T) {
	home := newHome(t, certs.Env{})
	authority, key := authorityOf(t, home)
	alice := userCredentials(t, home, "alice")
	alice.CAs = []*x509.Certificate{authority}
	server := serverCredentials(t, home)
	server.CAs = alice.CAs

	id, err := alice.VerifyServerAt("localhost", chainOf(t, userCredentials(t, home, "mallory")))
	requireReason(t, certs.WrongPurpose, id, err)
	id, err = server.VerifyClient(chainOf(t, server))
	requireReason(t, certs.WrongPurpose, id, err)

	// A certificate that is good for both, and has a host name, is still a user's.
	both := leafTemplate(t, authority, "user/mallory", x509.ExtKeyUsageClientAuth)
	both.ExtKeyUsage = append(both.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	both.DNSNames = []string{"localhost"}
	id, err = alice.VerifyServerAt("localhost", []*x509.Certificate{forge(t, both, authority, key)})
	requireReason(t, certs.BadIdentity, id, err)
}

func TestM59AUserOfAPKIMayBeOfAnyDomain(t *testing.T) {
	clk := newClock()
	ours, theirs := newAuthority(t, clk.Env()), newAuthority(t, clk.Env())
	server, eve := trustingCAs(issueServer(t, ours), ours, theirs), issueUser(t, theirs, "eve")
	id, err := server.VerifyClient(chainOf(t, eve))
	require.NoError(t, err)
	assert.Equal(t, eve.ID(), id)
	assert.Equal(t, theirs.Domain(), id.Domain)
}

// The name constraints of an authority bind it here, too.
func TestM59ACAVouchesForNoDomainThatItMayNot(t *testing.T) {
	home := newHome(t, certs.Env{})
	authority, key := authorityOf(t, home)
	server := serverCredentials(t, home)
	server.CAs = []*x509.Certificate{authority}
	foreign := leafTemplate(t, authority, "user/eve", x509.ExtKeyUsageClientAuth)
	foreign.URIs[0].Host = "elsewhere"
	id, err := server.VerifyClient([]*x509.Certificate{forge(t, foreign, authority, key)})
	requireReason(t, certs.WrongDomain, id, err)
}

func TestCAsAreLoadedFromAFile(t *testing.T) {
	a, b := newAuthority(t, certs.Env{}), newAuthority(t, certs.Env{})
	file := filepath.Join(t.TempDir(), "ca.crt")
	store := func(list ...*x509.Certificate) {
		var data []byte
		for _, cert := range list {
			data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		require.NoError(t, os.WriteFile(file, data, 0o600))
	}

	store(a.Certificate(), b.Certificate())
	cas, err := certs.LoadCAs(file)
	require.NoError(t, err)
	require.Len(t, cas, 2)
	assert.True(t, cas[1].Equal(b.Certificate()))

	store(a.Certificate(), issueUser(t, a, "alice").Certificate.Leaf)
	_, err = certs.LoadCAs(file)
	assert.ErrorContains(t, err, "is not an authority")
	store()
	_, err = certs.LoadCAs(file)
	assert.ErrorContains(t, err, "no certificate")
	_, err = certs.LoadCAs(filepath.Join(t.TempDir(), "none"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
