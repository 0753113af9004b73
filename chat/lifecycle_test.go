package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

// M107: who makes a room owns it, and gives out its roles.
func TestM107WhoCreatesARoomOwnsIt(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		member := o.people["member"]
		res, err := chat.Create.Call(o.Context(), member.session, &chat.CreateRequest{
			Room: "den", Topic: "cards", Mode: chat.HalfDuplex, Default: chat.RoleNone, Roles: map[string]chat.Role{"chair": chat.RoleChair, "member": chat.RoleListener},
		})
		o.ok(err)
		assert.EqualValues(o, 1, res.Seq)
		shown, err := chat.Show.Call(o.Context(), member.session, &chat.ShowRequest{Room: "den"})
		o.ok(err)
		want := chat.Settings{Topic: "cards", Mode: chat.HalfDuplex, Default: chat.RoleNone, Roles: map[string]chat.Role{"chair": chat.RoleChair, "member": chat.RoleOwner}}
		assert.Equal(o, want, shown.Settings)
		o.people["chair"].join("den", chat.Last(1))
		c := expect(o.people["chair"], func(c *chat.Changed) bool { return c.Room == "den" })
		assert.Equal(o, []any{"member", chat.ChangeCreate, &want}, []any{c.By, c.Change.What, c.Change.Settings})

		for _, who := range []string{"member", "listener", "root"} {
			assert.Equal(o, rpc.AlreadyExists, as(o, who, chat.Create, &chat.CreateRequest{Room: "den"}), who)
		}
		for what, req := range map[string]*chat.CreateRequest{
			"no name":     {},
			"two":         {Room: "@listener,member"},
			"a topic":     {Room: "x", Topic: "\x1b"},
			"a mode":      {Room: "x", Mode: "simplex"},
			"all chairs":  {Room: "x", Default: chat.RoleChair},
			"a king":      {Room: "x", Roles: map[string]chat.Role{"bob": "king"}},
			"who is that": {Room: "x", Roles: map[string]chat.Role{"B o b": chat.RoleChair}},
		} {
			assert.Equal(o, rpc.InvalidArgument, as(o, "member", chat.Create, req), what)
		}
	})
}

// M107: a room that people talk in already is nobody's to take, but an administrator's, who leaves in force what holds there.
func TestM107ARoomInUseIsClaimedByAnAdministrator(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		o.join("alice", "lobby").say("lobby", "hello")
		require.Equal(o, rpc.OK, as(o, "root", chat.SetTopic, &chat.SetTopicRequest{Room: "lobby", Topic: "tea"}))
		require.Equal(o, rpc.OK, as(o, "root", chat.Ban, &chat.SanctionRequest{Room: "lobby", Who: "mallory"}))
		assert.Equal(o, rpc.AlreadyExists, as(o, "member", chat.Create, &chat.CreateRequest{Room: "lobby"}))
		require.Equal(o, rpc.OK, as(o, "root", chat.Create, &chat.CreateRequest{Room: "lobby", Roles: map[string]chat.Role{"member": chat.RoleOwner}}))
		shown, err := chat.Show.Call(o.Context(), o.people["member"].session, &chat.ShowRequest{Room: "lobby"})
		o.ok(err)
		assert.Equal(o, "tea", shown.Settings.Topic)
		assert.Contains(o, shown.Settings.Bans, "mallory")
		assert.Equal(o, map[string]chat.Role{"member": chat.RoleOwner, "root": chat.RoleOwner}, shown.Settings.Roles)
		assert.Equal(o, rpc.AlreadyExists, as(o, "root", chat.Create, &chat.CreateRequest{Room: "lobby"}))
	})
}

// M107: with a policy only those make a room who may join it and speak there; nobody learns what there is from it.
func TestM107ThePolicySaysWhoMakesWhichRooms(t *testing.T) {
	var d denials
	inOffice(t, chat.Config{Authorize: d.authorize}, func(o *office) {
		d.set("member: speak den", "member: join desk")
		assert.Equal(o, rpc.PermissionDenied, as(o, "member", chat.Create, &chat.CreateRequest{Room: "den"}))
		assert.Equal(o, rpc.PermissionDenied, as(o, "member", chat.Create, &chat.CreateRequest{Room: "desk"}))
		assert.Equal(o, rpc.OK, as(o, "member", chat.Create, &chat.CreateRequest{Room: "lair"}))
	})
}

// M106: a room that is deleted is gone with all that was said in it, and its positions stay used.
func TestM106ADeletedRoomIsGoneButForItsPositions(t *testing.T) {
	log := newLog()
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		listener, member := o.people["listener"], o.people["member"]
		member.say("desk", "a secret")
		away := o.rover("member", "desk")
		away.cut(false)
		member.say("desk", "another")
		res, err := chat.Delete.Call(o.Context(), o.people["owner"].session, &chat.DeleteRequest{Room: "desk"})
		o.ok(err)
		for _, u := range []*user{listener, member, o.people["root"]} {
			c := expect(u, func(c *chat.Changed) bool { return c.Change.What == chat.ChangeDelete })
			assert.Equal(o, []any{"owner", res.Seq}, []any{c.By, c.Position.Seq})
			e := expect[*chat.Rejected](u, nil)
			assert.Equal(o, chat.Rejected{Room: "desk", Request: chat.RequestJoin, Code: rpc.PermissionDenied, Reason: "the room has been deleted"}, *e)
		}
		for _, who := range roles {
			assert.Equal(o, rpc.NotFound, as(o, who, chat.Show, &chat.ShowRequest{Room: "desk"}), who)
			assert.Equal(o, rpc.NotFound, as(o, who, chat.Delete, &chat.DeleteRequest{Room: "desk"}), who)
			assert.Equal(o, rpc.NotFound, as(o, who, chat.Kick, &chat.KickRequest{Room: "desk", Who: "x"}), who)
			assert.Equal(o, rpc.NotFound, as(o, who, chat.History, &chat.HistoryRequest{Room: "desk"}), who)
			assert.NotContains(o, o.listed(who), "desk")
		}
		s, err := log.State(o.Context(), "desk")
		o.ok(err)
		assert.Equal(o, [2]uint64{res.Seq, res.Seq}, [2]uint64{s.Head, s.First}, "what was said is not in the log")

		// Who was away is told that there is a gap, and is in the room that anybody may now begin anew.
		g := expect[*chat.Gap](away.user, nil)
		assert.Equal(o, rpc.OutOfRange, g.Code)
		guest := o.join("guest", "desk")
		assert.Equal(o, res.Seq+1, guest.say("desk", "is anybody here?").Position.Seq)
		expect(away.user, func(m *chat.Message) bool { return m.Text == "is anybody here?" })
		shown, err := chat.Show.Call(o.Context(), guest.session, &chat.ShowRequest{Room: "desk"})
		o.ok(err)
		assert.Equal(o, chat.Settings{}, shown.Settings)
		assert.Equal(o, rpc.AlreadyExists, as(o, "owner", chat.Create, &chat.CreateRequest{Room: "desk"}), "it is not theirs any more")
	})
}

// C8, M106: who begins a deleted room anew is not told of those who were in it, nor that it was deleted.
func TestC8ADeletedRoomTellsNothingOfWhoWasThere(t *testing.T) {
	inOffice(t, chat.Config{Log: newLog()}, func(o *office) {
		member := o.people["member"]
		at := member.say("desk", "a secret").Position
		_, err := chat.Raise.Call(o.Context(), member.session, &chat.RaiseRequest{Room: "desk", Read: at.Seq})
		o.ok(err)
		require.Contains(o, marksOf(o.T, member.session, "desk"), "member")
		time.Sleep(2 * time.Second) // what is on its way is kept by then
		gone, err := chat.Delete.Call(o.Context(), o.people["owner"].session, &chat.DeleteRequest{Room: "desk"})
		o.ok(err)
		time.Sleep(2 * time.Second)

		o.clients.NoDelivered = true
		guest := o.join("guest")
		guest.join("desk", chat.Last(100))
		said := guest.say("desk", "is anybody here?")
		assert.Equal(o, gone.Seq+1, said.Position.Seq)
		assert.Empty(o, all[*chat.Changed](guest), "what was before")
		assert.Empty(o, marksOf(o.T, guest.session, "desk"))
		listed, err := chat.List.Call(o.Context(), guest.session, &chat.ListRequest{})
		o.ok(err)
		require.Len(o, listed.Rooms, 1)
		assert.Equal(o, gone.Seq+1, listed.Rooms[0].First)
	})
}

// M106: a room whose records cannot be trimmed is not deleted.
func TestM106WhatCannotBeTrimmedIsNotDeleted(t *testing.T) {
	log := &untrimmable{Log: newLog()}
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		assert.Equal(o, rpc.Unavailable, as(o, "owner", chat.Delete, &chat.DeleteRequest{Room: "desk"}))
		o.people["member"].say("desk", "still here")
	})
}

type untrimmable struct{ chat.Log }

func (untrimmable) Trim(context.Context, string, uint64) error { return errors.New("a secret") }

// M106: also on another server members are taken out.
func TestM106MembersOnAnotherServerAreTakenOut(t *testing.T) {
	log := newLog()
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		other := &house{t: o.T, net: o.net}
		other.start(chat.Config{Log: log})
		bob := other.join("bob", "desk")
		require.Equal(o, rpc.OK, as(o, "owner", chat.Delete, &chat.DeleteRequest{Room: "desk"}))
		assert.Equal(o, "the room has been deleted", expect[*chat.Rejected](bob, nil).Reason)
	})
}

// listed returns all rooms that somebody is listed, by pages of three.
func (o *office) listed(who string) (names []string) {
	o.Helper()
	for after := ""; ; {
		res, err := chat.List.Call(o.Context(), o.people[who].session, &chat.ListRequest{After: after, Limit: 3})
		o.ok(err)
		assert.LessOrEqual(o, len(res.Rooms), 3)
		for _, r := range res.Rooms {
			names = append(names, r.Room)
		}
		if res.Next == "" {
			return names
		}
		require.Greater(o, res.Next, after)
		require.Equal(o, names[len(names)-1], res.Next, "no name but of what was listed (C8)")
		after = res.Next
	}
}

// M107, C8: a list has what one may see, and nothing that tells of more.
func TestC8AListHasTheRoomsThatOneMaySee(t *testing.T) {
	log := newLog()
	var d denials
	inOffice(t, chat.Config{Log: log, Authorize: d.authorize}, func(o *office) {
		d.set("member: join policed")
		want := map[string][]string{}
		for i := range 600 { // more than are read at once
			name := fmt.Sprintf("hidden-%d", i)
			_, err := log.Append(o.Context(), name, 0, []chat.Entry{{From: "x", ID: "1", Body: []byte("x")}}, []byte(`{"settings":{"default_role":"none"}}`))
			o.ok(err)
			want["root"] = append(want["root"], name)
		}
		for _, name := range []string{"a", "b", "c", "policed", "z", "@listener,member", "@owner,root"} {
			_, err := log.Append(o.Context(), name, 0, []chat.Entry{{From: "x", ID: "1", Body: []byte("x")}}, nil)
			o.ok(err)
		}
		_, err := log.Append(o.Context(), "banned", 0, []chat.Entry{{From: "x", ID: "1", Body: []byte("x")}}, []byte(`{"settings":{"bans":{"member":{"by":"x"}}}}`))
		o.ok(err)
		_, err = log.Append(o.Context(), "broken", 0, []chat.Entry{{From: "x", ID: "1", Body: []byte("x")}}, []byte(`{`))
		o.ok(err)
		o.join("guest", "empty") // where nobody has said anything
		open := []string{"a", "b", "banned", "c", "desk", "policed", "z"}
		want["root"] = append(append(want["root"], open...), "@owner,root")
		want["listener"] = append(slices.Clone(open), "@listener,member")
		want["member"] = []string{"@listener,member", "a", "b", "c", "desk", "z"}
		want["none"] = []string{"a", "b", "banned", "c", "policed", "z"}
		for who, names := range want {
			slices.Sort(names)
			assert.Equal(o, names, o.listed(who), who)
		}
		res, err := chat.List.Call(o.Context(), o.people["chair"].session, &chat.ListRequest{After: "c", Limit: 1})
		o.ok(err)
		assert.Equal(o, []chat.ListedRoom{{Room: "desk", Role: chat.RoleChair, Members: 5, Head: 6, First: 1}}, res.Rooms)
		assert.Equal(o, rpc.InvalidArgument, as(o, "chair", chat.List, &chat.ListRequest{Limit: 501}))
	})
}

// M108, C8: a direct room is of its two; to all others, an administrator too, there is none.
func TestM108ADirectRoomIsOfItsTwo(t *testing.T) {
	log := &watchedLog{Log: newLog()}
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		room := chat.DirectRoom("member", "listener")
		assert.Equal(o, "@listener,member", room)
		outside := func() {
			for _, who := range []string{"root", "owner", "none"} {
				u := o.people[who]
				o.ok(u.Join(o.Context(), room, chat.Last(1)))
				e := expect(u, func(r *chat.Rejected) bool { return r.Room == room })
				assert.Equal(o, chat.Rejected{Room: room, Request: chat.RequestJoin, Code: rpc.PermissionDenied, Reason: "not allowed to join in this room"}, *e)
				_, err := u.Publish(o.Context(), room, "knock, knock")
				o.ok(err)
				assert.Equal(o, rpc.FailedPrecondition, expect(u, func(r *chat.Rejected) bool { return r.Room == room }).Code)
				assert.Equal(o, rpc.NotFound, as(o, who, chat.Show, &chat.ShowRequest{Room: room}))
				assert.Equal(o, rpc.NotFound, as(o, who, chat.History, &chat.HistoryRequest{Room: room}))
				assert.Equal(o, rpc.NotFound, as(o, who, chat.SetTopic, &chat.SetTopicRequest{Room: room}))
				assert.Equal(o, rpc.NotFound, as(o, who, chat.Delete, &chat.DeleteRequest{Room: room}))
				assert.NotContains(o, o.listed(who), room)
			}
		}
		outside()
		_, made := log.rooms.Load(room)
		assert.False(o, made, "an attempt makes none")
		listener, member := o.people["listener"], o.people["member"]
		listener.join(room, chat.Live())
		member.join(room, chat.Live())
		listener.say(room, "just us")
		expect(member, func(m *chat.Message) bool { return m.Room == room && m.Text == "just us" })
		outside()
		assert.Contains(o, o.listed("member"), room)
		assert.Equal(o, rpc.OK, as(o, "member", chat.Show, &chat.ShowRequest{Room: room}))
		for what, code := range map[string]rpc.Code{
			"topic":   as(o, "member", chat.SetTopic, &chat.SetTopicRequest{Room: room, Topic: "x"}),
			"role":    as(o, "member", chat.SetRole, &chat.SetRoleRequest{Room: room, Who: "owner", Role: chat.RoleMember}),
			"invite":  as(o, "member", chat.Invite, &chat.InviteRequest{Room: room, Who: "owner"}),
			"ban":     as(o, "member", chat.Ban, &chat.SanctionRequest{Room: room, Who: "listener"}),
			"kick":    as(o, "member", chat.Kick, &chat.KickRequest{Room: room, Who: "listener"}),
			"default": as(o, "member", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: room, Role: chat.RoleNone}),
			"delete":  as(o, "member", chat.Delete, &chat.DeleteRequest{Room: room}),
		} {
			assert.Equal(o, rpc.PermissionDenied, code, what)
		}
		o.ok(member.Join(o.Context(), "@listener,nobody", chat.Live()))
		assert.Equal(o, rpc.PermissionDenied, expect(member, func(r *chat.Rejected) bool { return r.Room == "@listener,nobody" }).Code)
		assert.ErrorIs(o, member.Join(o.Context(), "@member,listener", chat.Live()), &chat.Error{Code: rpc.InvalidArgument})
		time.Sleep(time.Second)
	})
}

// M61, M108: the policy stands before the room of two, too.
func TestM108ThePolicyStandsBeforeADirectRoom(t *testing.T) {
	var d denials
	inOffice(t, chat.Config{Authorize: d.authorize}, func(o *office) {
		d.set("member: join @member,owner")
		o.ok(o.people["member"].Join(o.Context(), "@member,owner", chat.Live()))
		assert.Equal(o, rpc.PermissionDenied, expect(o.people["member"], func(r *chat.Rejected) bool { return r.Room == "@member,owner" }).Code)
	})
}
