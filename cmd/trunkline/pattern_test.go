package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestPatternsMatchTheWholeAndCountCase(t *testing.T) {
	for _, row := range []struct {
		pattern string
		yes, no []string
	}{
		{"lobby", []string{"lobby"}, []string{"Lobby", "lobby ", "lobb", "the lobby", "", "lobby/"}},
		{"*", []string{"a", "", "ops", "a*b"}, []string{"a/b", "/"}},
		{"**", []string{"a", "", "a/b", "a/b/c", "é/ü"}, nil},
		{"trunkline.Echo/*", []string{"trunkline.Echo/Say", "trunkline.Echo/"}, []string{"trunkline.EchoSay", "trunkline.Echo/A/B", "xtrunkline.Echo/Say", "trunkline.echo/Say"}},
		{"trunkline.**", []string{"trunkline.Echo/Say", "trunkline."}, []string{"trunkline", "other.trunkline.Echo/Say"}},
		{"*/Say", []string{"trunkline.Echo/Say", "/Say"}, []string{"a/b/Say", "Say"}},
		{"**/Say", []string{"a/b/Say", "/Say"}, []string{"Say", "a/Say/b"}},
		{"team-*-ops", []string{"team-a-ops", "team--ops", "team-a-ops-b-ops"}, []string{"team-ops", "team-a/b-ops"}},
		{"team/**/ops", []string{"team/a/ops", "team/a/b/ops", "team//ops"}, []string{"team/ops", "team/a/opsx"}},
		{"a*b**c*d", []string{"abcd", "axb/x/cxd", "aXbcXc/cd"}, []string{"a/bcd", "abc/d", "abc"}},
		{"a**b*c", []string{"abc", "a/b/bc", "ab/bxc"}, []string{"ab/c"}},
		{"ü*", []string{"ü", "übel"}, []string{"\xc3"}},
		{"", []string{""}, []string{"a"}},
	} {
		for _, s := range row.yes {
			assert.True(t, matches(row.pattern, s), "%q matches %q", row.pattern, s)
		}
		for _, s := range row.no {
			assert.False(t, matches(row.pattern, s), "%q does not match %q", row.pattern, s)
		}
	}
}

// Stars cannot make a name that somebody chose cost more than it is long, squared.
func TestPatternsEndAlsoWhenManyStarsAlmostMatch(t *testing.T) {
	assert.False(t, matches(strings.Repeat("**a", 40)+"b", strings.Repeat("a", 128)))
	assert.False(t, matches(strings.Repeat("*a", 60)+"b", strings.Repeat("a", 128)))
}

// regularExpression is what the rules for a pattern mean. It looks at bytes as runes.
func regularExpression(t *testing.T, pattern string) *regexp.Regexp {
	t.Helper()
	re := regexp.QuoteMeta(latin1(pattern))
	re = strings.ReplaceAll(re, `\*\*`, `(?s:.*)`)
	re = strings.ReplaceAll(re, `\*`, `[^/]*`)
	compiled, err := regexp.Compile(`\A` + re + `\z`)
	require.NoError(t, err)
	return compiled
}

// Every pattern of up to six bytes means to every name of up to six what its regular expression does.
func TestPatternsMeanTheirRegularExpressions(t *testing.T) {
	names := words("ab/", 6)
	for _, pattern := range words("a/*", 6) {
		if checkStars(pattern) != nil {
			continue
		}
		re := regularExpression(t, pattern)
		for _, name := range names {
			if want := re.MatchString(name); want != matches(pattern, name) {
				require.Fail(t, "matches", "pattern %q, name %q: it should be %v", pattern, name, want)
			}
		}
	}
}

// words returns all of up to n bytes.
func words(bytes string, n int) []string {
	all := []string{""}
	for last := all; n > 0; n-- {
		var longer []string
		for _, w := range last {
			for _, b := range []byte(bytes) {
				longer = append(longer, w+string(rune(b)))
			}
		}
		all, last = append(all, longer...), longer
	}
	return all
}

func FuzzPatterns(f *testing.F) {
	for _, seed := range []string{"lobby|lobby", "*|a/b", "**a*b|xa/ab", "*a/a*b|xa/a/ab", "a*b**c*d|axb/x/cxd", "**/*a**b|//a/ab"} {
		pattern, s, _ := strings.Cut(seed, "|")
		f.Add(pattern, s)
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) <= 255 && len(s) <= 255 && checkStars(pattern) == nil {
			assert.Equal(t, regularExpression(t, pattern).MatchString(latin1(s)), matches(pattern, s), "%q, %q", pattern, s)
		}
	})
}

// latin1 makes each byte a rune, so that a regular expression looks at bytes.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func TestSubjectsNameIdentities(t *testing.T) {
	user := func(domain, name string) certs.ID {
		id, err := certs.UserID(domain, name)
		require.NoError(t, err)
		return id
	}
	server, err := certs.ServerID("here")
	require.NoError(t, err)
	ann, bob, strange := user("here", "ann"), user("here", "bob"), user("there.example", "ann")
	everyone := []certs.ID{ann, bob, strange, server}
	for _, row := range []struct {
		subject string
		who     []certs.ID
	}{
		{"ann", []certs.ID{ann}},
		{"*", []certs.ID{ann, bob}},
		{"spiffe://here/user/ann", []certs.ID{ann}},
		{"spiffe://there.example/user/ann", []certs.ID{strange}},
		{"spiffe://there.example/**", []certs.ID{strange}},
		{"spiffe://here/**", []certs.ID{ann, bob, server}},
		{"spiffe://ther/**", nil},
		{"carol", nil},
	} {
		u := subject(row.subject)
		require.NoError(t, u.check())
		for _, who := range everyone {
			assert.Equal(t, slices.Contains(row.who, who), u.is(who, "here"), "%s is %v", row.subject, who)
		}
	}
}

func TestRoomPatternsMayBeOfDirectRooms(t *testing.T) {
	for p, good := range map[roomPattern]bool{"@*": true, "@**": true, "@*,bob": true, "@ann,bob": true, "@bob": false, "@": false, "@ *": false} {
		assert.Equal(t, good, p.check() == nil, string(p))
	}
}
