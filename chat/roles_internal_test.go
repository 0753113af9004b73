package chat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// M101: who may do what, written out: an x is a role that may.
const whoMayWhat = `
                                 none  listener  member  chair  owner  muted  asks
join                             -     x         x       x      x      x      join
speak                            -     -         x       x      x      -      speak
read                             -     x         x       x      x      x      join
react                            -     -         x       x      x      -      speak
edit                             -     -         x       x      x      -      speak
delete                           -     x         x       x      x      x      join
delete_what_others_said          -     -         -       x      x      x      join
set_the_topic                    -     -         -       x      x      -      speak
invite                           -     -         -       x      x      x      join
kick                             -     -         -       x      x      x      join
ban                              -     -         -       x      x      x      join
mute                             -     -         -       x      x      x      join
give_roles                       -     -         -       x      x      x      join
set_the_mode                     -     -         -       x      x      x      join
chair_the_floor                  -     -         -       x      x      x      join
set_a_synchronization_point      -     -         -       x      x      x      join
slow_people_down                 -     -         -       x      x      x      join
set_the_default_role             -     -         -       -      x      x      join
delete_the_room                  -     -         -       -      x      x      join
unknown                          -     -         -       -      -      -      -
`

func TestM101TheTableOfWhoMayDoWhat(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(whoMayWhat), "\n")
	roles := strings.Fields(lines[0])[:5]
	now := func() time.Time { return time.Unix(1000, 0) }
	seen := 0
	for v := VerbJoin; ; v++ {
		seen++
		row := strings.Fields(lines[seen])
		require.Equal(t, strings.ReplaceAll(row[0], "_", " "), v.String(), "every verb has a row, in any case one that nobody may")
		if v.String() == "unknown" {
			assert.Len(t, lines, seen+1)
			break
		}
		for i, role := range roles {
			s := &Settings{Roles: map[string]Role{"bob": Role(role)}}
			assert.Equal(t, row[i+1] == "x", s.refuse("bob", v, now) == nil, "%s as %s", v, role)
			s.Roles = nil
			s.Default = Role(role)
			assert.Equal(t, row[i+1] == "x", s.refuse("bob", v, now) == nil, "%s as %s by default", v, role)
			s.Bans = map[string]Sanction{"bob": {By: "alice"}}
			assert.Error(t, s.refuse("bob", v, now), "who is banned may do nothing")
			s.Bans = map[string]Sanction{"bob": {By: "alice", Until: now()}}
			assert.Equal(t, row[i+1] == "x", s.refuse("bob", v, now) == nil, "a ban is over at its end")
		}
		s := &Settings{Roles: map[string]Role{"bob": RoleOwner}, Mutes: map[string]Sanction{"bob": {By: "alice", Until: now().Add(1)}}}
		assert.Equal(t, row[6] == "x", s.refuse("bob", v, now) == nil, "%s when muted", v)
		s.Mutes["bob"] = Sanction{By: "alice", Until: now()}
		assert.NoError(t, toError(s.refuse("bob", v, now)), "a mute is over at its end")
		assert.Equal(t, row[7], v.rule().fence.String())
		for _, role := range []Role{"", "king"} {
			assert.False(t, role.may(v), "%s as %q", v, role)
		}
	}
	for kind, verb := range map[Kind]Verb{KindText: VerbSpeak, KindEdit: verbEdit, KindDelete: verbDeleteOwn, KindReact: verbReact, KindUnreact: verbReact, 99: VerbSpeak} {
		assert.Equal(t, verb, kind.verb(), fmt.Sprint(kind))
	}
	assert.Equal(t, RoleMember, (&Settings{}).RoleOf("bob"))
}

func toError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}
