package certs_test

import (
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestAFingerprintIsTheSHA256OfTheKey(t *testing.T) {
	cert := issueUser(t, newAuthority(t, certs.Env{}), "alice").Certificate.Leaf
	spki, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	require.NoError(t, err)
	assert.Equal(t, certs.Fingerprint(sha256.Sum256(spki)), certs.FingerprintOf(cert))
	assert.True(t, certs.FingerprintOf(nil).IsZero())
}

func TestFingerprintsAreWrittenAsOpenSSHWritesThem(t *testing.T) {
	f := certs.Fingerprint(sha256.Sum256(nil))
	assert.Equal(t, "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", f.String())
	parsed, err := certs.ParseFingerprint(f.String())
	require.NoError(t, err)
	assert.Equal(t, f, parsed)
}

func TestParseFingerprintAcceptsOneSpellingOnly(t *testing.T) {
	const good = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
	for _, s := range []string{
		"",
		"SHA256:",
		strings.TrimPrefix(good, "SHA256:"),
		"sha256:" + strings.TrimPrefix(good, "SHA256:"),
		good + "=",
		good + "\n",
		" " + good,
		good[:len(good)-1],
		good[:len(good)-1] + "V",  // bits beyond the hash
		good[:len(good)-1] + "\n", // skipped by base64
		strings.NewReplacer("+", "-", "/", "_").Replace(good), // the other alphabet
	} {
		f, err := certs.ParseFingerprint(s)
		assert.Error(t, err, "%q", s)
		assert.True(t, f.IsZero())
	}
}
