package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func requireReason(t *testing.T, want certs.Reason, id certs.ID, err error) *certs.VerifyError {
	t.Helper()
	var failure *certs.VerifyError
	require.ErrorAs(t, err, &failure)
	require.Equal(t, want, failure.Reason, "%v", err)
	require.True(t, id.IsZero())
	return failure
}

func TestBothSidesKnowEachOther(t *testing.T) {
	a := newAuthority(t, newClock().Env())
	alice, server := issueUser(t, a, "alice"), issueServer(t, a)

	id, err := server.VerifyClient(chainOf(t, alice))
	require.NoError(t, err)
	assert.Equal(t, alice.ID(), id)

	id, err = alice.VerifyServer(chainOf(t, server))
	require.NoError(t, err)
	assert.Equal(t, server.ID(), id)
}

func TestALeafWithoutItsAuthorityIsEnough(t *testing.T) {
	a := newAuthority(t, newClock().Env())
	_, err := issueServer(t, a).VerifyClient(chainOf(t, issueUser(t, a, "alice"))[:1])
	assert.NoError(t, err)
}

func TestAnotherAuthorityIsUnknown(t *testing.T) {
	clk := newClock()
	ours, theirs := newAuthority(t, clk.Env()), newAuthority(t, clk.Env())
	stranger := issueUser(t, theirs, "alice")

	id, err := issueServer(t, ours).VerifyClient(chainOf(t, stranger))
	failure := requireReason(t, certs.UnknownAuthority, id, err)
	assert.Equal(t, failure.Expected, certs.FingerprintOf(ours.Certificate()))
	assert.Equal(t, certs.FingerprintOf(theirs.Certificate()), failure.Got)
	assert.Equal(t, keyOf(stranger), failure.Peer)
	assert.ErrorContains(t, err, failure.Expected.String())
	assert.ErrorContains(t, err, failure.Got.String())

	id, err = issueUser(t, ours, "alice").VerifyServer(chainOf(t, issueServer(t, theirs)))
	requireReason(t, certs.UnknownAuthority, id, err)
}

func TestAnAuthorityWithOurNameIsUnknownAllTheSame(t *testing.T) {
	home, twin := newHome(t, certs.Env{}), newHome(t, certs.Env{})
	genuine, _ := authorityOf(t, home)
	_, twinKey := authorityOf(t, twin)
	// Signed by the twin's key, in the name of the real authority.
	forged := forge(t, leafTemplate(t, genuine, "user/alice", x509.ExtKeyUsageClientAuth),
		&x509.Certificate{Subject: genuine.Subject, SubjectKeyId: genuine.SubjectKeyId, PublicKey: twinKey.Public(), IsCA: true}, twinKey)
	id, err := serverCredentials(t, home).VerifyClient([]*x509.Certificate{forged, genuine})
	requireReason(t, certs.UnknownAuthority, id, err)
}

func TestAUserIsNoAuthority(t *testing.T) {
	home := newHome(t, certs.Env{})
	authority, _ := authorityOf(t, home)
	alice := userCredentials(t, home, "alice")
	signer, err := certs.ParseKey([]byte(read(t, home, "users/alice.key")))
	require.NoError(t, err)
	forged := forge(t, leafTemplate(t, authority, "user/root", x509.ExtKeyUsageClientAuth), alice.Certificate.Leaf, signer)
	id, err := serverCredentials(t, home).VerifyClient(append([]*x509.Certificate{forged}, chainOf(t, alice)...))
	requireReason(t, certs.UnknownAuthority, id, err)
}

func TestACertificateIsGoodForNinetyDays(t *testing.T) {
	clk := newClock()
	a := newAuthority(t, clk.Env())
	alice, server := issueUser(t, a, "alice"), issueServer(t, a)
	verify := func() error {
		_, err := server.VerifyClient(chainOf(t, alice))
		return err
	}

	clk.Advance(90 * day)
	require.NoError(t, verify())
	clk.Advance(time.Second)
	id, err := server.VerifyClient(chainOf(t, alice))
	requireReason(t, certs.Expired, id, err)
	id, err = alice.VerifyServer(chainOf(t, server))
	requireReason(t, certs.Expired, id, err)

	// A clock that is five minutes behind is fine, one that is further is not.
	clk.Advance(-90*day - time.Second - 5*time.Minute)
	require.NoError(t, verify())
	clk.Advance(-time.Second)
	id, err = server.VerifyClient(chainOf(t, alice))
	requireReason(t, certs.Expired, id, err)
}

func TestAnExpiredStrangerIsAStranger(t *testing.T) {
	clk := newClock()
	ours, theirs := newAuthority(t, clk.Env()), newAuthority(t, clk.Env())
	stranger := issueUser(t, theirs, "alice")
	clk.Advance(91 * day)
	id, err := issueServer(t, ours).VerifyClient(chainOf(t, stranger))
	requireReason(t, certs.UnknownAuthority, id, err)
}

func TestAUserCannotPlayTheServer(t *testing.T) {
	a := newAuthority(t, newClock().Env())
	alice, mallory := issueUser(t, a, "alice"), issueUser(t, a, "mallory")
	id, err := alice.VerifyServer(chainOf(t, mallory))
	requireReason(t, certs.WrongPurpose, id, err)
}

func TestTheServerCannotPlayAUser(t *testing.T) {
	server := issueServer(t, newAuthority(t, newClock().Env()))
	id, err := server.VerifyClient(chainOf(t, server))
	requireReason(t, certs.WrongPurpose, id, err)
}

// leafTemplate is a valid leaf, to be spoiled.
func leafTemplate(t *testing.T, authority *x509.Certificate, path string, usage x509.ExtKeyUsage) *x509.Certificate {
	t.Helper()
	uri, err := url.Parse(authority.URIs[0].String() + "/" + path)
	require.NoError(t, err)
	return &x509.Certificate{
		SerialNumber: big.NewInt(7),
		Subject:      pkix.Name{CommonName: "forged"},
		URIs:         []*url.URL{uri},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotBefore.Add(day),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
	}
}

func TestWhatTheAuthoritySignedIsCheckedAllTheSame(t *testing.T) {
	clk := newClock()
	home := newHome(t, clk.Env())
	authority, key := authorityOf(t, home)
	server := serverCredentials(t, home)
	foreign := &url.URL{Scheme: "spiffe", Host: "elsewhere", Path: "/user/alice"}
	below := &url.URL{Scheme: "spiffe", Host: "below." + authority.URIs[0].Host, Path: "/user/alice"}

	for name, test := range map[string]struct {
		spoil func(leaf *x509.Certificate)
		want  certs.Reason // 0 if it is fine
	}{
		"nothing":           {func(*x509.Certificate) {}, 0},
		"two identities":    {func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }, certs.BadIdentity},
		"no identity":       {func(c *x509.Certificate) { c.URIs = nil }, certs.BadIdentity},
		"server's identity": {func(c *x509.Certificate) { c.URIs[0].Path = "/server" }, certs.BadIdentity},
		"unknown path":      {func(c *x509.Certificate) { c.URIs[0].Path = "/admin/alice" }, certs.BadIdentity},
		"capital letters":   {func(c *x509.Certificate) { c.URIs[0].Path = "/user/Alice" }, certs.BadIdentity},
		"foreign domain":    {func(c *x509.Certificate) { c.URIs[0] = foreign }, certs.WrongDomain},
		"domain below":      {func(c *x509.Certificate) { c.URIs[0] = below }, certs.WrongDomain},
		"server's purpose":  {func(c *x509.Certificate) { c.ExtKeyUsage[0] = x509.ExtKeyUsageServerAuth }, certs.WrongPurpose},
		"is an authority":   {func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, certs.BadIdentity},
		"may sign": {func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageCertSign
			c.IsCA, c.BasicConstraintsValid = true, true
		}, certs.BadIdentity},
		"expired":             {func(c *x509.Certificate) { c.NotAfter = clk.Now().Add(-time.Minute) }, certs.Expired},
		"not yet valid":       {func(c *x509.Certificate) { c.NotBefore = clk.Now().Add(time.Minute) }, certs.Expired},
		"expired and foreign": {func(c *x509.Certificate) { c.URIs[0] = foreign; c.NotAfter = clk.Now().Add(-time.Minute) }, certs.WrongDomain},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := leafTemplate(t, authority, "user/alice", x509.ExtKeyUsageClientAuth)
			test.spoil(leaf)
			id, err := server.VerifyClient([]*x509.Certificate{forge(t, leaf, authority, key)})
			if test.want == 0 {
				require.NoError(t, err)
				return
			}
			requireReason(t, test.want, id, err)
		})
	}
}

func TestADomainIsCheckedWhereTheAuthorityHasNoNameConstraints(t *testing.T) {
	home := newHome(t, certs.Env{})
	ours, key := authorityOf(t, home)
	loose := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: ours.Subject, URIs: ours.URIs,
		NotBefore: ours.NotBefore, NotAfter: ours.NotAfter,
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(nil, loose, loose, key.Public(), key)
	require.NoError(t, err)
	pinned, err := x509.ParseCertificate(der)
	require.NoError(t, err)

	leaf := leafTemplate(t, pinned, "user/alice", x509.ExtKeyUsageClientAuth)
	leaf.URIs[0] = &url.URL{Scheme: "spiffe", Host: "elsewhere", Path: "/user/alice"}
	server := &certs.Credentials{Authority: pinned}
	id, err := server.VerifyClient([]*x509.Certificate{forge(t, leaf, pinned, key)})
	requireReason(t, certs.WrongDomain, id, err)
}

func TestASuccessorCrossSignedByThePinnedAuthorityIsAccepted(t *testing.T) {
	home := newHome(t, certs.Env{})
	old, oldKey := authorityOf(t, home)
	_, newKey := authorityOf(t, newHome(t, certs.Env{}))
	cross := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "successor"}, URIs: old.URIs,
		NotBefore: old.NotBefore, NotAfter: old.NotAfter,
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(nil, cross, old, newKey.Public(), oldKey)
	require.NoError(t, err)
	successor, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	leaf := forge(t, leafTemplate(t, old, "user/alice", x509.ExtKeyUsageClientAuth), successor, newKey)

	id, err := serverCredentials(t, home).VerifyClient([]*x509.Certificate{leaf, successor})
	require.NoError(t, err)
	assert.Equal(t, "alice", id.Name)
}

func TestAPeerWithoutCertificate(t *testing.T) {
	server := issueServer(t, newAuthority(t, certs.Env{}))
	for _, chain := range [][]*x509.Certificate{nil, {}} {
		id, err := server.VerifyClient(chain)
		failure := requireReason(t, certs.NoCertificate, id, err)
		assert.True(t, failure.Got.IsZero())
		assert.False(t, failure.Expected.IsZero())
	}
}

func TestZeroCredentialsTrustNobody(t *testing.T) {
	var nobody certs.Credentials
	alice := issueUser(t, newAuthority(t, certs.Env{}), "alice")
	id, err := nobody.VerifyClient(chainOf(t, alice))
	requireReason(t, certs.UnknownAuthority, id, err)
	assert.NotNil(t, nobody.Roots())
	assert.True(t, nobody.Roots().Equal(x509.NewCertPool()))
	assert.True(t, nobody.ID().IsZero())
}

func TestTheIDIsFoundWithoutAParsedLeaf(t *testing.T) {
	alice := issueUser(t, newAuthority(t, certs.Env{}), "alice")
	want := alice.ID()
	alice.Certificate.Leaf = nil
	assert.Equal(t, want, alice.ID())
	assert.False(t, want.IsZero())
}

func TestEveryReasonHasAName(t *testing.T) {
	seen := map[string]bool{}
	for r := certs.NoCertificate; r <= certs.WrongHost; r++ {
		assert.NotContains(t, r.String(), "reason(")
		assert.False(t, seen[r.String()], r)
		seen[r.String()] = true
	}
	assert.Equal(t, "reason(0)", certs.Reason(0).String())
	assert.Equal(t, "reason(8)", certs.Reason(8).String())
}

// The names of a server are checked by nobody here, but the certificates must do
// for a plain TLS stack as well.
func TestCredentialsAreGoodForTLS(t *testing.T) {
	for _, keyType := range []certs.KeyType{certs.Ed25519, certs.P256} {
		clk := newClock()
		a := newAuthority(t, certs.Env{Now: clk.Now, KeyType: keyType})
		alice, server := issueUser(t, a, "alice"), issueServer(t, a)

		left, right := net.Pipe()
		t.Cleanup(func() { _ = left.Close(); _ = right.Close() })
		accepting := tls.Server(right, &tls.Config{
			MinVersion: tls.VersionTLS13, Time: clk.Now,
			Certificates: []tls.Certificate{server.Certificate},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: server.Roots(),
		})
		accepted := make(chan error, 1)
		go func() { accepted <- accepting.Handshake() }()
		dialing := tls.Client(left, &tls.Config{
			MinVersion: tls.VersionTLS13, Time: clk.Now,
			Certificates: []tls.Certificate{alice.Certificate},
			RootCAs:      alice.Roots(), ServerName: "localhost",
		})
		require.NoError(t, dialing.Handshake())
		// Read on, because net.Pipe has no buffer for the session ticket.
		go func() { _, _ = dialing.Read(make([]byte, 1)) }()
		require.NoError(t, <-accepted)

		id, err := server.VerifyClient(accepting.ConnectionState().PeerCertificates)
		require.NoError(t, err)
		assert.Equal(t, alice.ID(), id)
		id, err = alice.VerifyServer(dialing.ConnectionState().PeerCertificates)
		require.NoError(t, err)
		assert.Equal(t, server.ID(), id)
	}
}
