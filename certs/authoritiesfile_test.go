package certs_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// blocksOf returns what authority.crt has, block by block.
func blocksOf(a *certs.Authority) []string {
	return strings.SplitAfter(strings.TrimSuffix(string(certs.WriteAuthorities(a)), "\n"), "-----END CERTIFICATE-----\n")
}

func TestAuthoritiesThatDoNotBelongTogetherAreRefused(t *testing.T) {
	o, other := newOverlap(t, certs.Ed25519), newOverlap(t, certs.Ed25519)
	sibling, err := o.old.Successor()
	require.NoError(t, err)
	good, strange, second := blocksOf(o.current), blocksOf(other.current), blocksOf(sibling)
	require.Len(t, good, 3)
	for i := range good {
		good[i], strange[i], second[i] = strings.TrimSpace(good[i])+"\n", strings.TrimSpace(strange[i])+"\n", strings.TrimSpace(second[i])+"\n"
	}
	for name, test := range map[string]struct {
		blocks []string
		want   string // "" if it is fine
	}{
		"an overlap":                   {good, ""},
		"no overlap":                   {good[:1], ""},
		"two":                          {good[:2], "there are 2 certificates instead of 1 or 3"},
		"four":                         {append(good[:3:3], good[0]), "more than 3 pem blocks"},
		"text between":                 {[]string{good[0], "and\n", good[1], good[2]}, "something after the pem block"},
		"one that is damaged":          {[]string{good[0], good[1][:len(good[1])/2] + "\n", good[2]}, "a pem block is damaged"},
		"the wrong way round":          {[]string{good[2], good[1], good[0]}, "for another key than the authority's"},
		"another domain":               {[]string{good[0], good[1], strange[2]}, "not of one trust domain"},
		"no cross certificate":         {[]string{good[0], good[0], good[2]}, "did not sign the cross certificate"},
		"a cross certificate in front": {[]string{good[1], good[0], good[2]}, "has not signed itself"},
		"another one's":                {[]string{good[0], second[1], good[2]}, "for another key than the authority's"},
		"one authority twice":          {[]string{good[0], good[1], good[0]}, "have one key"},
	} {
		t.Run(name, func(t *testing.T) {
			data := strings.Join(test.blocks, "")
			again, err := certs.ReadAuthorities([]byte(data))
			if test.want == "" {
				require.NoError(t, err)
				assert.Equal(t, data, string(again))
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func FuzzAuthorities(f *testing.F) {
	o := newOverlap(f, certs.Ed25519)
	for _, a := range []*certs.Authority{o.old, o.current} {
		data := certs.WriteAuthorities(a)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(append(bytes.Clone(data), data...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := certs.ReadAuthorities(data)
		if err != nil {
			return
		}
		third, err := certs.ReadAuthorities(again)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("came back as %q, error %v", third, err)
		}
	})
}
