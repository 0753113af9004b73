package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
)

// What is typed behind a slash is a name, an end for what may have one, and the rest.
func TestWhatIsTypedBehindASlash(t *testing.T) {
	type asked struct {
		args []string
		end  end
	}
	for text, want := range map[string]*asked{
		"ban bob":                    {[]string{"bob"}, end{}},
		"ban  bob  1h  spam,  again": {[]string{"bob", "spam,  again"}, end{after: time.Hour}},
		"ban bob spam 1h":            {[]string{"bob", "spam 1h"}, end{}},
		"ban bob 1h 2h":              {[]string{"bob", "2h"}, end{after: time.Hour}},
		"ban bob 90m":                {[]string{"bob"}, end{after: 90 * time.Minute}},
		"ban bob -1h":                {[]string{"bob", "-1h"}, end{}},
		"mute bob 30s":               {[]string{"bob"}, end{after: 30 * time.Second}},
		"kick bob 1h":                {[]string{"bob", "1h"}, end{}},
		"kick bob cool down":         {[]string{"bob", "cool down"}, end{}},
		"topic tea, at five":         {[]string{"tea, at five"}, end{}},
		"role bob chair":             {[]string{"bob", "chair"}, end{}},
		"role bob chair now":         nil,
		"role bob king":              nil,
		"role bob":                   nil,
		"default-role none":          {[]string{"none"}, end{}},
		"invite bob":                 {[]string{"bob"}, end{}},
		"invite bob carol":           nil,
		"ban":                        nil,
		"ban 1h":                     {[]string{"1h"}, end{}}, // a name like any other
		"ban B!":                     nil,
		"unmute":                     nil,
		"slow 3/10s":                 {[]string{"3/10s"}, end{}},
		"slow off":                   {[]string{"off"}, end{}},
		"slow 3":                     nil,
		"slow 0/10s":                 nil,
		"slow 3/-10s":                nil,
		"slow 3/1ns":                 nil,
		"topic":                      nil,
	} {
		name, rest, _ := strings.Cut(text, " ")
		o := *orderNamed(name)
		var got *asked
		request := o.request
		o.request = func(room string, args []string, end end) roomCall {
			got = &asked{args, end}
			return request(room, args, end)
		}
		call, err := o.typed("ops", rest)
		assert.Equal(t, want, got, text)
		if want == nil {
			assert.Equal(t, exitUsage, exitCode(err), text)
		} else {
			require.NoError(t, err, text)
			assert.NotNil(t, call, text)
		}
	}
	assert.Nil(t, orderNamed("quit"))
}

func FuzzTyped(f *testing.F) {
	for _, text := range []string{"", "bob", "bob 1h x", "bob  x y", " 1h 2h 3h", "a b c d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, o := range orders() {
			call, err := o.typed("ops", text)
			assert.Equal(t, err == nil, call != nil)
			if err != nil {
				assert.Equal(t, exitUsage, exitCode(err))
			}
		}
	})
}

func TestShellWord(t *testing.T) {
	assert.Equal(t, "@a,spiffe://x/user/b", shellWord("@a,spiffe://x/user/b"))
	assert.Equal(t, `'it'\''s $x'`, shellWord("it's $x"))
}

func TestAShownRoomSaysWhatHolds(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	got := shownRoom(&chat.ShowResponse{Room: "ops", Head: 4, First: 5, Settings: chat.Settings{
		Default: chat.RoleNone,
		Roles:   map[string]chat.Role{"b": chat.RoleOwner, "a": chat.RoleOwner, "c": chat.RoleListener},
		Bans:    map[string]chat.Sanction{"x": {By: "a"}, "y": {By: "a", Until: now}, "z": {By: "a\x1b", Until: now.Add(1), Reason: "spam"}},
		Mutes:   map[string]chat.Sanction{"x": {By: "b", Reason: "loud"}},
	}}, now)
	assert.Equal(t, "ops: no lines after 4\nowner: a, b\nlistener: c\nall others: none\nbanned: x, by a\nbanned: z, by a� until 2030-01-02T03:04:05Z: spam\nmuted: x, by b: loud\n", got)
}

// What a person reads of a change, and what a script does.
func TestLinesOfChanges(t *testing.T) {
	at := time.Date(2000, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	changedBy := func(c chat.Change) event {
		return eventOf(&chat.Changed{Room: "lobby", Position: chat.Position{Seq: 9}, By: "bob", Time: at, Change: c})
	}
	for want, e := range map[string]event{
		"* lobby: bob has created the room":                            changedBy(chat.Change{What: chat.ChangeCreate}),
		"* lobby: bob has created the room: tea":                       changedBy(chat.Change{What: chat.ChangeCreate, Settings: &chat.Settings{Topic: "tea"}}),
		"* lobby: bob has slowed the room, to 3 in 10s":                changedBy(chat.Change{What: chat.ChangeSlow, Slow: &chat.Slow{Messages: 3, PerMs: 10_000}}),
		"* lobby: bob has let everyone speak as fast as they like":     changedBy(chat.Change{What: chat.ChangeSlow}),
		"* lobby: bob has deleted the room":                            changedBy(chat.Change{What: chat.ChangeDelete}),
		"* lobby: bob has made eve chair":                              changedBy(chat.Change{What: chat.ChangeRole, Who: "eve", Role: chat.RoleChair}),
		"* lobby: bob has given eve the default role":                  changedBy(chat.Change{What: chat.ChangeRole, Who: "eve"}),
		"* lobby: bob has made none the default role":                  changedBy(chat.Change{What: chat.ChangeDefaultRole, Role: chat.RoleNone}),
		"* lobby: bob has kicked eve":                                  changedBy(chat.Change{What: chat.ChangeKick, Who: "eve"}),
		"* lobby: bob has banned eve until 2000-01-02T03:04:05Z: spam": changedBy(chat.Change{What: chat.ChangeBan, Who: "eve", Until: at, Reason: "spam"}),
		"* lobby: bob has muted eve: loud":                             changedBy(chat.Change{What: chat.ChangeMute, Who: "eve", Reason: "loud"}),
		"* lobby: bob has taken the ban of eve back":                   changedBy(chat.Change{What: chat.ChangeUnban, Who: "eve"}),
		"* lobby: bob has taken the mute of eve back":                  changedBy(chat.Change{What: chat.ChangeUnmute, Who: "eve"}),
	} {
		got, err := format(e, false)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	got, err := format(changedBy(chat.Change{What: chat.ChangeBan, Who: "eve", Until: at, Reason: "x"}), true)
	require.NoError(t, err)
	want := `{"type":"changed","room":"lobby","seq":9,"by":"bob","time":"2000-01-02T03:04:05.006Z","what":"ban","who":"eve","until":"2000-01-02T03:04:05.006Z","reason":"x"}`
	assert.Equal(t, want, got)
}
