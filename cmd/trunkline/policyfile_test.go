package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
)

// parse returns the policy in a text that is one.
func parse(t *testing.T, text string) *policy {
	t.Helper()
	p, err := parsePolicy("policy.toml", []byte(text))
	require.NoError(t, err)
	return p
}

func userID(t *testing.T, domain, name string) certs.ID {
	t.Helper()
	id, err := certs.UserID(domain, name)
	require.NoError(t, err)
	return id
}

// The example of the help is that of README, and means what its comments say.
func TestTheExampleOfAPolicyMeansWhatItSays(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	assert.Contains(t, string(readme), "```toml\n"+policyExample+"```\n")

	p := parse(t, policyExample)
	of := func(domain, name string) *grants { return p.of(userID(t, domain, name), "here.example") }
	ann, bob, carol := of("here.example", "ann"), of("here.example", "bob"), of("here.example", "carol")
	partner, eve, other := of("partner.example", "dan"), of("other.example", "eve"), of("other.example", "ann")

	assert.True(t, ann.mayCall("trunkline.Admin/Status", forAdministrators))
	assert.True(t, ann.mayDo(chat.VerbSpeak, "secret"))
	for name, g := range map[string]*grants{"bob": bob, "carol": carol} {
		assert.True(t, g.session, name)
		assert.True(t, g.mayCall("trunkline.Echo/Say", forEveryone), name)
		assert.False(t, g.mayCall("trunkline.Admin/Status", forAdministrators), name)
		assert.True(t, g.mayDo(chat.VerbJoin, "help/de/printer"), name)
		assert.True(t, g.mayDo(chat.VerbSpeak, "lobby"), name)
		assert.False(t, g.mayDo(chat.VerbJoin, "secret"), name)
	}
	for name, g := range map[string]*grants{"partner": partner, "eve": eve} {
		assert.True(t, g.session, name)
		assert.False(t, g.mayCall("trunkline.Echo/Say", forEveryone), name)
		assert.True(t, g.mayCall("trunkline.Session/WhoAmI", forSessions), name)
		assert.True(t, g.mayDo(chat.VerbJoin, "lobby"), name)
		assert.False(t, g.mayDo(chat.VerbSpeak, "lobby"), name)
	}
	assert.False(t, other.session)
	assert.False(t, other.mayCall("trunkline.Session/WhoAmI", forSessions))
	limits := func(g *grants) []float64 {
		return []float64{float64(g.limits.sessions), g.limits.calls, g.limits.lines}
	}
	assert.Equal(t, []float64{10, 100, 20}, limits(carol))
	assert.Equal(t, []float64{10, 1000, 20}, limits(bob))
	assert.Equal(t, []float64{10, 100, 20}, limits(partner))
	assert.Equal(t, []float64{0, 0, 0}, limits(eve))
}

func TestTheDefaultPolicyLetsItsDomainInAndOneUserAdminister(t *testing.T) {
	p := defaultPolicy("ann")
	of := func(domain, name string) *grants { return p.of(userID(t, domain, name), "here.example") }
	for _, row := range []struct {
		who                              *grants
		session, everyone, administrator bool
	}{
		{of("here.example", "ann"), true, true, true},
		{of("here.example", "bob"), true, true, false},
		{of("there.example", "ann"), false, false, false},
	} {
		assert.Equal(t, row.session, row.who.session)
		assert.Equal(t, row.session, row.who.mayCall("a.B/C", forSessions))
		assert.Equal(t, row.everyone, row.who.mayCall("a.B/C", forEveryone))
		assert.Equal(t, row.everyone, row.who.mayDo(chat.VerbJoin, "a/room"))
		assert.Equal(t, row.everyone, row.who.mayDo(chat.VerbSpeak, "a/room"))
		assert.Equal(t, row.administrator, row.who.mayCall("a.B/C", forAdministrators))
	}
	assert.Len(t, defaultPolicy("").allow, 1, "nobody's name is no administrator's")
}

// A star does not give what is for administrators; a whole name does.
func TestAMethodForAdministratorsIsGivenByItsNameAlone(t *testing.T) {
	p := parse(t, `
[[allow]]
who = ["bob"]
methods = ["**", "trunkline.Admin/*", "trunkline.Certs/List"]
`)
	bob := p.of(userID(t, "here", "bob"), "here")
	assert.True(t, bob.mayCall("trunkline.Admin/Status", forEveryone))
	assert.False(t, bob.mayCall("trunkline.Admin/Status", forAdministrators))
	assert.True(t, bob.mayCall("trunkline.Certs/List", forAdministrators))
	assert.False(t, bob.mayCall("trunkline.Certs/Revoke", forAdministrators))
}

func TestRightsAddUpAndTheLastLimitHolds(t *testing.T) {
	p := parse(t, `
[[limit]]
who = ["*"]
calls_per_second = 0.5
sessions = 2
[[allow]]
who = ["bob"]
rooms = ["a"]
verbs = ["join"]
[[allow]]
who = ["*"]
rooms = ["b"]
verbs = ["join", "speak"]
[[limit]]
who = ["bob"]
calls_per_second = 7
`)
	bob := p.of(userID(t, "here", "bob"), "here")
	assert.True(t, bob.mayDo(chat.VerbJoin, "a"))
	assert.True(t, bob.mayDo(chat.VerbJoin, "b"))
	assert.True(t, bob.mayDo(chat.VerbSpeak, "b"))
	assert.False(t, bob.mayDo(chat.VerbSpeak, "a"), "a verb is for the rooms of its own rule")
	assert.InDelta(t, 7, bob.limits.calls, 0)
	assert.Equal(t, 2, bob.limits.sessions)
	assert.InDelta(t, 0.5, p.of(userID(t, "here", "carol"), "here").limits.calls, 0)
}

func TestAnEmptyPolicyLetsNobodyIn(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "[groups]\nall = [\"*\"]\n", "[[limit]]\nwho = [\"*\"]\nsessions = 1\n"} {
		assert.False(t, parse(t, text).of(userID(t, "here", "ann"), "here").session)
	}
}

// Whatever is wrong is refused with its line, and what it is.
func TestAFaultInAPolicyIsToldWithItsLine(t *testing.T) {
	const good = "[groups]\nops = [\"ann\"]\n\n[[allow]]\nwho = [\"@ops\"]\n"
	parse(t, good)
	for _, row := range []struct{ text, want string }{
		{good + "[[alow]]\nwho = []\n", `policy.toml:6: unknown key "alow`},
		{good + "admin = true\n", `policy.toml:6: unknown key "allow.admin"`},
		{good + "Methods = [\"**\"]\n", `policy.toml:6: unknown key "Methods"`},
		{good + "\n[[allow]]\nwho = [\n  \"bob\",\n  \"@opps\",\n]\n", "policy.toml:10: there is no group @opps"},
		{good + "[[allow]]\nmethods = [\"**\"]\n", "policy.toml:6: it says not who"},
		{good + "[[allow]]\nwho = []\n", "policy.toml:7: it says not who"},
		{good + "[[allow]]\nwho = [\"ann\"]\nverbs = [\"join\"]\n", "policy.toml:6: rooms and verbs need each other"},
		{good + "rooms = [\"lobby\"]\n", "policy.toml:4: rooms and verbs need each other"},
		{good + "rooms = [\"lobby\"]\nverbs = [\"join\",\n\"shout\"]\n", `policy.toml:8: "shout" is no verb`},
		{good + "rooms = [\" lobby\"]\n", `policy.toml:6: " lobby" is not the name of a room: room name begins or ends with a space`},
		{good + "rooms = [\"\"]\n", `policy.toml:6: "" is not the name of a room`},
		{good + "rooms = [\"a***\"]\n", `policy.toml:6: "a***" has more than two stars in a row`},
		{good + "methods = [\"Say\"]\n", `policy.toml:6: "Say" is not a method`},
		{good + "methods = [\"trunkline.*\"]\n", `policy.toml:6: "trunkline.*" matches no method`},
		{good + "methods = [\"a/*/b\"]\n", `policy.toml:6: "a/*/b" matches no method`},
		{good + "methods = [\"trunkline.Écho/*\"]\n", `policy.toml:6: "trunkline.Écho/*" matches no method`},
		{good + "methods = \"**\"\n", "policy.toml:6: "},
		{good + "administrator = 1\n", "policy.toml:6: "},
		{good + "[[allow]]\nwho = [\"Ann\"]\n", `policy.toml:7: "Ann" is neither a user's name, nor`},
		{good + "[[allow]]\nwho = [\"b*\"]\n", `policy.toml:7: "b*" is neither a user's name, nor`},
		{good + "[[allow]]\nwho = [\"spiffe://Other/**\"]\n", "policy.toml:7: trust domain"},
		{good + "[[allow]]\nwho = [\"spiffe://other/*\"]\n", "policy.toml:7: "},
		{good + "[[allow]]\nwho = [\"@\"]\n", `policy.toml:7: "" is not the name of a group`},
		{"[groups]\na = [\"ann\"]\nb = [\n\"@a\"]\n", "policy.toml:4: a group has no groups, but b has @a"},
		{"[groups]\n\"a b\" = [\"ann\"]\n", `policy.toml:2: "a b" is not the name of a group`},
		{good + "[[limit]]\nwho = [\"ann\"]\n", "policy.toml:6: it sets no limit"},
		{good + "[[limit]]\nwho = [\"ann\"]\nsessions = 0\n", "policy.toml:8: sessions is 0, not above 0"},
		{good + "[[limit]]\nwho = [\"ann\"]\ncalls_per_second = -1\n", "policy.toml:8: calls_per_second is -1, not above 0"},
		{good + "[[limit]]\nwho = [\"ann\"]\nlines_per_second = nan\n", "policy.toml:8: lines_per_second is NaN, not above 0"},
		{good + "[[limit]]\nwho = [\"ann\"]\nlines_per_second = inf\n", "policy.toml:8: lines_per_second is +Inf, not above 0"},
		{good + "[[limit]]\nwho = [\"ann\"]\nsessions = 1.5\n", "policy.toml:8: "},
		{good + "[[allow]\n", "policy.toml:6: "},
		{good + "who = [\"bob\"]\n", "policy.toml:6: "},
		{"[groups]\n\"A\" = [\"ann\"]\n", `policy.toml:2: unknown key "A"`},
		{"allow = [{Who = [\"*\"]}]\n", `policy.toml:1: unknown key "Who"`},
		{"allow = [{who = [\"@none\"]}]\n", "policy.toml: there is no group @none"},
		{"\xff", "policy.toml:1: "},
	} {
		p, err := parsePolicy("policy.toml", []byte(row.text))
		assert.Nil(t, p)
		if assert.Error(t, err, row.text) {
			assert.True(t, strings.HasPrefix(err.Error(), row.want), "%s\nis %v\nnot %s", row.text, err, row.want)
			assert.NotContains(t, err.Error(), " toml: ")
		}
	}
}

// A rule of a few bytes may name a group of many: that is bounded before it takes memory.
func TestWhatTheRulesNameIsBounded(t *testing.T) {
	group := "[groups]\nall = [" + strings.Repeat(`"ann",`, maxSubjects/4) + "]\n"
	rule := "[[allow]]\nwho = [\"@all\"]\n"
	assert.Len(t, parse(t, group+strings.Repeat(rule, 4)).allow, 4)
	for _, text := range []string{
		group + strings.Repeat(rule, 4) + "[[limit]]\nwho = [\"bob\"]\nsessions = 1\n",
		group + strings.Repeat("\n", 7) + "[[allow]]\nwho = [\n" + strings.Repeat("\"@all\",", 4) + "\"bob\"]\n",
	} {
		_, err := parsePolicy("policy.toml", []byte(text))
		assert.ErrorContains(t, err, "policy.toml:12: the rules up to here name more than 100000 identities")
	}
}

func TestAPolicyFileThatIsTooLongIsNotRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.toml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("#", maxPolicyFile+1)), 0o600))
	_, err := readPolicy(file)
	assert.ErrorContains(t, err, "policy.toml: more than 262144 bytes")
}

// Whatever is in a file, it is a policy or refused.
func FuzzPolicy(f *testing.F) {
	f.Add(policyExample)
	f.Add("[groups]\na = [\"ann\"]\nb = [\"@a\"]\n")
	f.Add("allow = [{who = [\"@none\"]}]\n")
	f.Add("[[allow]]\nwho = ['*']\nrooms = [\"\"\"\na\"\"\"]\nverbs = [\"join\"]\n")
	f.Add("limit = 1\n[[limit]]\n")
	who, err := certs.UserID("here", "ann")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePolicy("p", []byte(text))
		if err != nil {
			assert.Nil(t, p)
			assert.True(t, strings.HasPrefix(err.Error(), "p:"), err.Error())
			return
		}
		g := p.of(who, "here")
		for _, rule := range p.allow {
			assert.NotEmpty(t, rule.who)
			for _, u := range rule.who {
				assert.Empty(t, u.group())
			}
		}
		if g.mayDo(chat.VerbSpeak, "lobby") || g.mayCall("a.B/C", forSessions) {
			assert.True(t, g.session)
		}
	})
}
