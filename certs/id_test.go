package certs_test

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestIDsRoundTripThroughTheirURI(t *testing.T) {
	alice, err := certs.UserID("abc", "alice")
	require.NoError(t, err)
	server, err := certs.ServerID("abc")
	require.NoError(t, err)

	assert.Equal(t, "spiffe://abc/user/alice", alice.String())
	assert.Equal(t, "spiffe://abc/server", server.String())
	assert.False(t, alice.IsServer())
	assert.True(t, server.IsServer())
	for _, id := range []certs.ID{alice, server} {
		parsed, err := certs.ParseID(id.String())
		require.NoError(t, err)
		assert.Equal(t, id, parsed)
		assert.False(t, id.IsZero())
	}
}

func TestAUserCalledServerIsNotTheServer(t *testing.T) {
	user, err := certs.UserID("abc", "server")
	require.NoError(t, err)
	server, err := certs.ServerID("abc")
	require.NoError(t, err)
	assert.False(t, user.IsServer())
	assert.NotEqual(t, server, user)
	assert.NotEqual(t, server.String(), user.String())
}

func TestAnIDThatNobodyMadeIsNobody(t *testing.T) {
	assert.True(t, certs.ID{}.IsZero())
	literal := certs.ID{Domain: "abc"}
	assert.False(t, literal.IsServer())
	assert.Empty(t, literal.String())
}

func TestParseIDAcceptsOneSpellingOnly(t *testing.T) {
	for _, uri := range []string{
		"",
		"abc",
		"spiffe://",
		"spiffe://abc",
		"spiffe://abc/",
		"spiffe:///server",
		"spiffe:///user/alice",
		"SPIFFE://abc/server",
		"https://abc/server",
		"spiffe://ABC/server",
		"spiffe://abc/server/",
		"spiffe://abc//server",
		"spiffe://abc/Server",
		"spiffe://abc:1/server",
		"spiffe://me@abc/server",
		"spiffe://abc/server?a",
		"spiffe://abc/server#a",
		"spiffe://abc/user",
		"spiffe://abc/user/",
		"spiffe://abc/user/Alice",
		"spiffe://abc/user/alice/",
		"spiffe://abc/user/alice/phone",
		"spiffe://abc/user/%61lice",
		"spiffe://abc/user/..",
		"spiffe://abc/user/älice",
		"spiffe://abc/group/alice",
		"spiffe://abc/user/alice\n",
		"spiffe://" + strings.Repeat("a", 256) + "/server",
	} {
		id, err := certs.ParseID(uri)
		assert.Error(t, err, uri)
		assert.True(t, id.IsZero(), uri)
	}
}

func TestErrorsShowAStrangersTextShortAndInASCII(t *testing.T) {
	_, err := certs.ParseID("\x1b[2J" + strings.Repeat("ä", 10_000))
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 1000)
	assert.NotContains(t, err.Error(), "\x1b")
}

func TestACertificateHasExactlyOneIdentity(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		require.NoError(t, err)
		return u
	}
	alice, bob := uri("spiffe://abc/user/alice"), uri("spiffe://abc/user/bob")

	id, err := certs.IDFromCertificate(&x509.Certificate{URIs: []*url.URL{alice}})
	require.NoError(t, err)
	assert.Equal(t, "alice", id.Name)

	for _, uris := range [][]*url.URL{nil, {alice, bob}, {alice, alice}, {uri("spiffe://abc/user/%61lice")}, {uri("https://abc/server")}} {
		_, err := certs.IDFromCertificate(&x509.Certificate{URIs: uris})
		assert.Error(t, err, "%v", uris)
	}
	_, err = certs.IDFromCertificate(nil)
	assert.Error(t, err)
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "7", "alice", "a.b_c-d", "bot-", "console", "com", "com10", strings.Repeat("x", 64)} {
		assert.NoError(t, certs.ValidName(name), name)
	}
	for _, name := range []string{
		"", ".", "..", ".ssh", "-rf", "_a", "Alice", "a b", "a/b", `a\b`, "a:b", "ä", "a\x00", "a\n", "alice.",
		"con", "nul", "aux.txt", "com1", "lpt9.tar.gz", strings.Repeat("x", 65),
	} {
		assert.Error(t, certs.ValidName(name), name)
	}
}

func TestNameFromWhatAnOperatingSystemSays(t *testing.T) {
	for given, want := range map[string]string{
		"alice":                        "alice",
		"Alice":                        "alice",
		`CORP\Alice.Smith`:             "alice.smith",
		"alice@corp.example":           "alice",
		"Jörg Müßig":                   "joerg-muessig",
		"JÖRG":                         "joerg",
		"Zoë":                          "zoe",
		"Zoe\u0308":                    "zoe",
		"Ærøskøbing":                   "aeroeskoebing",
		"root":                         "root",
		"_www":                         "www",
		"svc$":                         "svc",
		"alice.":                       "alice",
		"../../etc/passwd":             "etcpasswd",
		"":                             "user",
		`CORP\`:                        "user",
		"@":                            "user",
		"山田":                           "user",
		"CON":                          "user",
		strings.Repeat("x", 100):       strings.Repeat("x", 64),
		strings.Repeat("x", 63) + "..": strings.Repeat("x", 63),
	} {
		assert.Equal(t, want, certs.NameFrom(given), "%q", given)
	}
}
