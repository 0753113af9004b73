package chat_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// An office is a house whose room "desk" has, of each role, somebody of that name, and an administrator, "root".
type office struct {
	*house
	*testing.T
	people map[string]*user // who are in the room, but for none
}

var roles = []string{"none", "listener", "member", "chair", "owner", "root"}

func inOffice(t *testing.T, cfg chat.Config, f func(o *office)) {
	t.Helper()
	cfg.Administrator = administrators("root")
	bubble(t, cfg, func(t *testing.T, h *house) {
		o := &office{h, t, make(map[string]*user)}
		o.people["root"] = h.join("root", "desk")
		o.people["root"].say("desk", "first")
		for _, name := range roles[:5] {
			o.people[name] = h.join(name)
			_, err := chat.SetRole.Call(t.Context(), o.people["root"].session, &chat.SetRoleRequest{Room: "desk", Who: name, Role: chat.Role(name)})
			require.NoError(t, err)
			if name != "none" {
				o.people[name].join("desk", chat.Live())
			}
		}
		f(o)
	})
}

// as calls a method of rooms as somebody, and returns the code of what it answers.
func as[Req, Res any](o *office, name string, m rpc.UnaryMethod[Req, Res], req *Req) rpc.Code {
	o.Helper()
	_, err := m.Call(o.Context(), o.people[name].session, req)
	return rpc.CodeOf(err)
}

func (o *office) ok(err error) {
	o.Helper()
	require.NoError(o, err)
}

// settings returns those of the room, as root sees them.
func (o *office) settings() chat.Settings {
	o.Helper()
	res, err := chat.Show.Call(o.Context(), o.people["root"].session, &chat.ShowRequest{Room: "desk"})
	require.NoError(o, err)
	return res.Settings
}

// M101: every verb, by everybody, as requests of theirs. Who may not see the room is told that there is none.
func TestM101EachRoleDoesWhatItMayAndNothingElse(t *testing.T) {
	const ok, denied, none = rpc.OK, rpc.PermissionDenied, rpc.NotFound
	prey := func(o *office, name string) { // is in the room, and a listener
		o.people[name] = o.join(name, "desk")
		as(o, "root", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: name, Role: chat.RoleListener})
	}
	for what, c := range map[string]struct {
		do   func(o *office, name string) rpc.Code
		want [6]rpc.Code // as roles
	}{
		"join": {func(o *office, name string) rpc.Code {
			twin := o.join(name)
			require.NoError(o, twin.Join(o.Context(), "desk", chat.Live()))
			synctest.Wait()
			time.Sleep(time.Second)
			if r := all[*chat.Rejected](twin); len(r) > 0 {
				return r[0].Code
			}
			require.Len(o, all[*chat.Joined](twin), 1)
			return ok
		}, [6]rpc.Code{denied, ok, ok, ok, ok, ok}},
		"speak": {func(o *office, name string) rpc.Code {
			u := o.people[name]
			id, err := u.Publish(o.Context(), "desk", "hello")
			require.NoError(o, err)
			time.Sleep(time.Second)
			for _, r := range all[*chat.Rejected](u) {
				if r.ID == id {
					return r.Code
				}
			}
			assert.NotEmpty(o, all[*chat.Sent](u))
			return ok
		}, [6]rpc.Code{rpc.FailedPrecondition, denied, ok, ok, ok, ok}},
		"read": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.Show, &chat.ShowRequest{Room: "desk"})
		}, [6]rpc.Code{none, ok, ok, ok, ok, ok}},
		"set the topic": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.SetTopic, &chat.SetTopicRequest{Room: "desk", Topic: "tea"})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"invite": {func(o *office, name string) rpc.Code {
			prey(o, "prey")
			return as(o, name, chat.Invite, &chat.InviteRequest{Room: "desk", Who: "prey"})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"kick": {func(o *office, name string) rpc.Code {
			prey(o, "prey")
			return as(o, name, chat.Kick, &chat.KickRequest{Room: "desk", Who: "prey"})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"ban": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "prey"})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"unban": {func(o *office, name string) rpc.Code {
			require.Equal(o, ok, as(o, "chair", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "prey"}))
			return as(o, name, chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: "prey"})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"mute": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "prey"})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"unmute": {func(o *office, name string) rpc.Code {
			require.Equal(o, ok, as(o, "chair", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "prey"}))
			return as(o, name, chat.Unmute, &chat.UnsanctionRequest{Room: "desk", Who: "prey"})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"give roles": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "prey", Role: chat.RoleListener})
		}, [6]rpc.Code{none, denied, denied, ok, ok, ok}},
		"appoint a chair": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "prey", Role: chat.RoleChair})
		}, [6]rpc.Code{none, denied, denied, denied, ok, ok}},
		"appoint an owner": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "prey", Role: chat.RoleOwner})
		}, [6]rpc.Code{none, denied, denied, denied, ok, ok}},
		"set the default role": {func(o *office, name string) rpc.Code {
			return as(o, name, chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk", Role: chat.RoleListener})
		}, [6]rpc.Code{none, denied, denied, denied, ok, ok}},
		"delete the room": {func(o *office, name string) rpc.Code {
			code := as(o, name, chat.Delete, &chat.DeleteRequest{Room: "desk"})
			if code == ok { // and all is as it was
				require.Equal(o, ok, as(o, "root", chat.Create, &chat.CreateRequest{Room: "desk", Roles: map[string]chat.Role{
					"none": chat.RoleNone, "listener": chat.RoleListener, "chair": chat.RoleChair, "owner": chat.RoleOwner}}))
			}
			return code
		}, [6]rpc.Code{none, denied, denied, denied, ok, ok}},
	} {
		t.Run(what, func(t *testing.T) {
			inOffice(t, chat.Config{}, func(o *office) {
				for i, name := range roles {
					assert.Equal(o, c.want[i], c.do(o, name), "%s as %s", what, name)
				}
			})
		})
	}
}

// M104: nobody acts on who is as high as they are, or higher; owners do.
func TestM104NobodyActsOnWhoIsNotBelowThem(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		o.people["chair2"], o.people["owner2"] = o.join("chair2", "desk"), o.join("owner2", "desk")
		for who, role := range map[string]chat.Role{"chair2": chat.RoleChair, "owner2": chat.RoleOwner} {
			require.Equal(o, rpc.OK, as(o, "root", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: who, Role: role}))
		}
		for _, c := range []struct {
			by, on string
			want   rpc.Code
		}{
			{"chair", "member", rpc.OK},
			{"chair", "chair2", rpc.PermissionDenied},
			{"chair", "owner", rpc.PermissionDenied},
			{"chair", "root", rpc.PermissionDenied},
			{"owner", "chair", rpc.OK},
			{"owner", "owner2", rpc.OK},
			{"owner2", "root", rpc.PermissionDenied},
			{"root", "owner", rpc.OK},
		} {
			what := c.by + " on " + c.on
			for range 2 { // a second time, by who was kicked and came back
				assert.Equal(o, c.want, as(o, c.by, chat.Kick, &chat.KickRequest{Room: "desk", Who: c.on}), "kick: %s", what)
				if c.want == rpc.OK {
					expect(o.people[c.on], func(r *chat.Rejected) bool { return r.Room == "desk" })
					o.people[c.on].join("desk", chat.Live())
				}
			}
			assert.Equal(o, c.want, as(o, c.by, chat.Mute, &chat.SanctionRequest{Room: "desk", Who: c.on}), "mute: %s", what)
			if c.want == rpc.OK {
				assert.Equal(o, c.want, as(o, c.by, chat.Unmute, &chat.UnsanctionRequest{Room: "desk", Who: c.on}), "unmute: %s", what)
			} else if c.on != "root" { // who can't be muted
				require.Equal(o, rpc.OK, as(o, "root", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: c.on}))
				assert.Equal(o, c.want, as(o, c.by, chat.Unmute, &chat.UnsanctionRequest{Room: "desk", Who: c.on}), "unmute: %s", what)
				require.Equal(o, rpc.OK, as(o, "root", chat.Unmute, &chat.UnsanctionRequest{Room: "desk", Who: c.on}))
			}
			if c.on != "root" { // whose role nobody asks for
				now := o.settings()
				before := now.RoleOf(c.on)
				assert.Equal(o, c.want, as(o, c.by, chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: c.on, Role: chat.RoleListener}), "role: %s", what)
				require.Equal(o, rpc.OK, as(o, "root", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: c.on, Role: before}))
			}
			assert.Equal(o, c.want, as(o, c.by, chat.Ban, &chat.SanctionRequest{Room: "desk", Who: c.on}), "ban: %s", what)
			if c.want == rpc.OK {
				require.Equal(o, rpc.OK, as(o, "root", chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: c.on}))
				o.people[c.on].join("desk", chat.Live())
			}
		}
		for _, name := range []string{"chair", "owner"} {
			assert.Equal(o, rpc.InvalidArgument, as(o, name, chat.Kick, &chat.KickRequest{Room: "desk", Who: name}), "oneself")
			assert.Equal(o, rpc.InvalidArgument, as(o, name, chat.Ban, &chat.SanctionRequest{Room: "desk", Who: name}), "oneself")
			assert.Equal(o, rpc.InvalidArgument, as(o, name, chat.Mute, &chat.SanctionRequest{Room: "desk", Who: name}), "oneself")
		}
	})
}

// M104: what somebody higher has done to one below, one who is lower does not undo: neither by taking it back nor by something less in its place.
func TestM104ASanctionStandsAgainstThoseBelowWhoMadeIt(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		o.people["chair2"] = o.join("chair2", "desk")
		require.Equal(o, rpc.OK, as(o, "root", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "chair2", Role: chat.RoleChair}))
		undo := &chat.UnsanctionRequest{Room: "desk", Who: "member"}
		for _, c := range []struct {
			by, undoer string
			want       rpc.Code
		}{
			{"owner", "chair", rpc.PermissionDenied},
			{"root", "chair", rpc.PermissionDenied},
			{"root", "owner", rpc.OK},
			{"chair", "chair2", rpc.OK},
			{"chair", "owner", rpc.OK},
		} {
			for _, m := range []struct {
				do   rpc.UnaryMethod[chat.SanctionRequest, chat.ChangeResponse]
				undo rpc.UnaryMethod[chat.UnsanctionRequest, chat.ChangeResponse]
			}{{chat.Ban, chat.Unban}, {chat.Mute, chat.Unmute}} {
				require.Equal(o, rpc.OK, as(o, c.by, m.do, &chat.SanctionRequest{Room: "desk", Who: "member"}))
				less := as(o, c.undoer, m.do, &chat.SanctionRequest{Room: "desk", Who: "member", ForMs: 1})
				assert.Equal(o, c.want, less, "%s does less than %s", c.undoer, c.by)
				if c.want == rpc.OK { // it is over by now
					require.Equal(o, rpc.OK, as(o, c.by, m.do, &chat.SanctionRequest{Room: "desk", Who: "member"}))
				}
				assert.Equal(o, c.want, as(o, c.undoer, m.undo, undo), "%s undoes what %s has done", c.undoer, c.by)
				_ = as(o, "root", m.undo, undo)
			}
		}
		// What is over stands against nobody, nor does what somebody has done who is not above any more.
		require.Equal(o, rpc.OK, as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "member", ForMs: 1000}))
		time.Sleep(time.Second)
		assert.Equal(o, rpc.OK, as(o, "chair", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "member"}))
		require.Equal(o, rpc.OK, as(o, "owner", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "member"}))
		require.Equal(o, rpc.OK, as(o, "root", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "chair2", Role: chat.RoleOwner}))
		require.Equal(o, rpc.OK, as(o, "root", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "owner", Role: chat.RoleMember}))
		assert.Equal(o, rpc.OK, as(o, "chair", chat.Unmute, undo))
	})
}

// M104: a room that has had an owner has one.
func TestM104TheLastOwnerStays(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		step := &chat.SetRoleRequest{Room: "desk", Who: "owner", Role: chat.RoleMember}
		for _, by := range []string{"owner", "root"} {
			_, err := chat.SetRole.Call(o.Context(), o.people[by].session, step)
			assert.Equal(o, rpc.FailedPrecondition, rpc.CodeOf(err))
			assert.ErrorContains(o, err, "owner is the last owner: appoint another one first")
		}
		assert.Equal(o, rpc.FailedPrecondition, as(o, "owner", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "owner"}), "the default is less, too")
		assert.Equal(o, rpc.OK, as(o, "owner", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "owner", Role: chat.RoleOwner}))
		require.Equal(o, rpc.OK, as(o, "owner", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "chair", Role: chat.RoleOwner}))
		assert.Equal(o, rpc.OK, as(o, "owner", chat.SetRole, step))
		assert.Equal(o, rpc.PermissionDenied, as(o, "owner", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk", Role: chat.RoleMember}))
	})
}

func TestM104AChairMayStepDownAndNotBack(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		assert.Equal(o, rpc.OK, as(o, "chair", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "chair", Role: chat.RoleMember}))
		assert.Equal(o, rpc.PermissionDenied, as(o, "chair", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "chair", Role: chat.RoleChair}))
	})
}

// M102: a mute is checked where a message would be appended, says until when, and is over at that time.
func TestM102AMuteHoldsUntilItIsOver(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		member := o.people["member"]
		member.say("desk", "before")
		until := time.Now().Add(10 * time.Minute).UTC()
		_, err := chat.Mute.Call(o.Context(), o.people["chair"].session, &chat.SanctionRequest{Room: "desk", Who: "member", ForMs: 600_000, Reason: "so loud"})
		o.ok(err)
		c := expect[*chat.Changed](member, func(c *chat.Changed) bool { return c.Change.What == chat.ChangeMute })
		assert.Equal(o, "chair", c.By)
		assert.WithinDuration(o, until, c.Change.Until, time.Second)
		for range 2 {
			_, err = member.Publish(o.Context(), "desk", "psst")
			o.ok(err)
			e := expect[*chat.Rejected](member, nil)
			assert.Equal(o, rpc.PermissionDenied, e.Code)
			assert.Equal(o, "muted by chair until "+c.Change.Until.Format(time.RFC3339)+": so loud", e.Reason)
		}
		time.Sleep(time.Until(c.Change.Until))
		head := member.say("desk", "free again").Position.Seq

		require.Equal(o, rpc.OK, as(o, "chair", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "member"}))
		assert.Len(o, o.settings().Mutes, 1, "what was over is forgotten with the next change")
		_, err = member.Publish(o.Context(), "desk", "psst")
		o.ok(err)
		assert.Equal(o, "muted by chair", expect[*chat.Rejected](member, nil).Reason)
		require.Equal(o, rpc.OK, as(o, "chair", chat.Unmute, &chat.UnsanctionRequest{Room: "desk", Who: "member"}))
		assert.Equal(o, head+3, member.say("desk", "and again").Position.Seq, "a refused message is no record")
	})
}

// M102, M103: who is banned is taken out at once, told why and until when, sees no room, and may come back when it is over.
func TestM103WhoIsBannedIsOutUntilItIsOver(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		member, twin := o.people["member"], o.join("member", "desk")
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		require.Equal(o, rpc.OK, as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "member", Until: until, Reason: "spam"}))
		why := "banned by owner until " + until.Format(time.RFC3339) + ": spam"
		for _, u := range []*user{member, twin} {
			e := expect[*chat.Rejected](u, nil)
			assert.Equal(o, chat.Rejected{Room: "desk", Request: chat.RequestJoin, Code: rpc.PermissionDenied, Reason: why}, *e)
		}
		o.people["listener"].expectPresenceOf("member", chat.PresenceLeft)
		o.ok(member.Join(o.Context(), "desk", chat.Last(9)))
		e := expect[*chat.Rejected](member, nil)
		assert.Equal(o, why, e.Reason)
		assert.Zero(o, e.Head, "nothing of the room")
		assert.Equal(o, rpc.NotFound, as(o, "member", chat.Show, &chat.ShowRequest{Room: "desk"}))
		time.Sleep(time.Until(until))
		member.join("desk", chat.Live())
		member.say("desk", "a second chance")

		require.Equal(o, rpc.OK, as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "member"}))
		assert.Equal(o, "banned by owner", expect[*chat.Rejected](member, nil).Reason)
		require.Equal(o, rpc.OK, as(o, "owner", chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: "member"}))
		member.join("desk", chat.Live())
		assert.Equal(o, rpc.FailedPrecondition, as(o, "owner", chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: "member"}))
	})
}

// M103: a kick ends all memberships of an identity, once; who is not there is not kicked.
func TestM103WhoIsKickedMayComeBack(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		member := o.people["member"]
		require.Equal(o, rpc.OK, as(o, "chair", chat.Kick, &chat.KickRequest{Room: "desk", Who: "member", Reason: "cool down"}))
		e := expect[*chat.Rejected](member, nil)
		assert.Equal(o, chat.Rejected{Room: "desk", Request: chat.RequestJoin, Code: rpc.PermissionDenied, Reason: "kicked by chair: cool down"}, *e)
		c := expect(o.people["listener"], func(c *chat.Changed) bool { return c.Change.What == chat.ChangeKick })
		assert.Equal(o, [3]string{"chair", "member", "cool down"}, [3]string{c.By, c.Change.Who, c.Change.Reason})
		assert.Equal(o, rpc.FailedPrecondition, as(o, "chair", chat.Kick, &chat.KickRequest{Room: "desk", Who: "member"}))
		member.join("desk", chat.Live())
		member.say("desk", "sorry")
	})
}

// M103: with another default role the room is closed to those who have none of their own, and open again to who is invited.
func TestM103ARoomForTheInvited(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		guest := o.join("guest", "desk")
		o.people["guest"] = guest
		require.Equal(o, rpc.OK, as(o, "owner", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk", Role: chat.RoleListener}))
		_, err := guest.Publish(o.Context(), "desk", "psst")
		o.ok(err)
		assert.Equal(o, "not allowed to speak in this room", expect[*chat.Rejected](guest, nil).Reason)
		require.Equal(o, rpc.OK, as(o, "owner", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk", Role: chat.RoleNone}))
		e := expect[*chat.Rejected](guest, nil)
		assert.Equal(o, chat.Rejected{Room: "desk", Request: chat.RequestJoin, Code: rpc.PermissionDenied, Reason: "not allowed to join in this room"}, *e)
		o.people["member"].say("desk", "he is gone")
		assert.Equal(o, rpc.NotFound, as(o, "guest", chat.Show, &chat.ShowRequest{Room: "desk"}))
		require.Equal(o, rpc.OK, as(o, "chair", chat.Invite, &chat.InviteRequest{Room: "desk", Who: "guest"}))
		guest.join("desk", chat.Live())
		guest.say("desk", "thanks")
		assert.Equal(o, rpc.FailedPrecondition, as(o, "chair", chat.Invite, &chat.InviteRequest{Room: "desk", Who: "guest"}))
		require.Equal(o, rpc.OK, as(o, "chair", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "guest", Role: chat.RoleNone}))
		expect[*chat.Rejected](guest, nil)
	})
}

// M101: the policy is asked first, and what it allows the room may refuse; what it refuses nobody may, not even an owner.
func TestM101ThePolicyStandsBeforeTheRoom(t *testing.T) {
	var d denials
	inOffice(t, chat.Config{Authorize: d.authorize}, func(o *office) {
		d.set("owner: speak desk", "chair: join desk")
		o.chat.Reauthorize()
		assert.Equal(o, rpc.PermissionDenied, as(o, "owner", chat.SetTopic, &chat.SetTopicRequest{Room: "desk"}), "a topic is speech")
		assert.Equal(o, rpc.OK, as(o, "owner", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk", Role: chat.RoleMember}))
		expect[*chat.Rejected](o.people["chair"], nil)
		assert.Equal(o, rpc.NotFound, as(o, "chair", chat.SetTopic, &chat.SetTopicRequest{Room: "desk"}))
		d.set()
		o.chat.Reauthorize()
		o.people["chair"].join("desk", chat.Live())
		_, err := o.people["listener"].Publish(o.Context(), "desk", "psst")
		o.ok(err)
		assert.Equal(o, rpc.PermissionDenied, expect[*chat.Rejected](o.people["listener"], nil).Code)
	})
}

// C1: what another server on the same log has changed holds here, before anything else is appended.
func TestC1ServersFollowEachOthersOrder(t *testing.T) {
	log := newLog()
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		other := &house{t: o.T, net: o.net}
		other.start(chat.Config{Log: log, Administrator: administrators("root")})
		root := other.join("root", "desk")
		bob, carol, dave := other.join("bob", "desk"), other.join("carol", "desk"), other.join("dave", "desk")
		// Here, of members there: the mute is checked where the line would be appended.
		require.Equal(o, rpc.OK, as(o, "root", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "bob"}))
		_, err := bob.Publish(o.Context(), "desk", "psst")
		o.ok(err)
		assert.Equal(o, "muted by root", expect[*chat.Rejected](bob, nil).Reason)
		require.Equal(o, rpc.OK, as(o, "root", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "carol"}))
		assert.Equal(o, "banned by root", expect[*chat.Rejected](carol, nil).Reason)
		expect(root, func(c *chat.Changed) bool { return c.Change.What == chat.ChangeBan })
		// A kick is no state, but a record.
		_, err = chat.Kick.Call(o.Context(), root.session, &chat.KickRequest{Room: "desk", Who: "dave"})
		o.ok(err)
		assert.Equal(o, "kicked by root", expect[*chat.Rejected](dave, nil).Reason)
		_, err = chat.Kick.Call(o.Context(), o.people["root"].session, &chat.KickRequest{Room: "desk", Who: "member"})
		o.ok(err)
		expect[*chat.Rejected](o.people["member"], nil)
		o.people["member"].join("desk", chat.Live())
		twin := other.join("member", "desk")
		_, err = chat.Kick.Call(o.Context(), o.people["root"].session, &chat.KickRequest{Room: "desk", Who: "member"})
		o.ok(err)
		expect[*chat.Rejected](twin, nil)
	})
}

// A deafLog tells nobody that it has moved.
type deafLog struct{ chat.Log }

func (deafLog) Watch(string, func(uint64)) func() { return func() {} }

// M102: also a server that has not heard of a mute finds out before it appends.
func TestM102AMuteByAnotherServerIsMetByTheAppend(t *testing.T) {
	log := newLog()
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		deaf := &house{t: o.T, net: o.net}
		deaf.start(chat.Config{Log: deafLog{log}})
		member, twin := deaf.join("member", "desk"), deaf.join("owner", "desk")
		require.Equal(o, rpc.OK, as(o, "root", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "member"}))
		_, err := member.Publish(o.Context(), "desk", "psst")
		o.ok(err)
		_, err = twin.Publish(o.Context(), "desk", "hear, hear")
		o.ok(err)
		assert.Equal(o, "muted by root", expect[*chat.Rejected](member, nil).Reason)
		expect(o.people["listener"], func(m *chat.Message) bool {
			require.NotEqual(o, "psst", m.Text)
			return m.Text == "hear, hear"
		})
	})
}

// C7: what another server appends between two looks at the log, at its state and at its records, is not taken for known: the change
// that comes next would undo it, and who was muted would speak on.
func TestC7AChangeDuringTheLookIsNotLost(t *testing.T) {
	log := newLog()
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		torn := &faultyLog{Log: log, watch: deaf}
		deaf := &house{t: o.T, net: o.net}
		deaf.start(chat.Config{Log: torn})
		owner, member := deaf.join("owner", "desk"), deaf.join("member", "desk")
		muteAtRead := func() {
			o.people["root"].say("desk", "so that there is something to read")
			var once sync.Once
			torn.set(nil, nil, func() error {
				once.Do(func() {
					assert.Equal(o, rpc.OK, as(o, "root", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "member"}))
				})
				return nil
			})
		}
		muteAtRead()
		_, err := chat.SetTopic.Call(o.Context(), owner.session, &chat.SetTopicRequest{Room: "desk", Topic: "two"})
		o.ok(err)
		assert.Equal(o, "two", o.settings().Topic)
		assert.Contains(o, o.settings().Mutes, "member")

		require.Equal(o, rpc.OK, as(o, "root", chat.Unmute, &chat.UnsanctionRequest{Room: "desk", Who: "member"}))
		muteAtRead()
		assert.Equal(o, rpc.PermissionDenied, member.refused(member.Publish(o.Context(), "desk", "psst")))
	})
}

// C7: the settings and every change that follows make the settings of now.
func TestC7SettingsFollowFromTheirChanges(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		watcher := o.people["listener"]
		folded := o.settings()
		from, err := chat.Show.Call(o.Context(), watcher.session, &chat.ShowRequest{Room: "desk"})
		o.ok(err)
		for _, code := range []rpc.Code{
			as(o, "chair", chat.SetTopic, &chat.SetTopicRequest{Room: "desk", Topic: "tea"}),
			as(o, "chair", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "x", ForMs: 90_061_001, Reason: "y"}),
			as(o, "chair", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "z"}),
			as(o, "chair", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "x"}),
			as(o, "chair", chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: "z"}),
			as(o, "chair", chat.Kick, &chat.KickRequest{Room: "desk", Who: "member"}),
			as(o, "owner", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "member"}),
			as(o, "owner", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "x", Role: chat.RoleChair}),
			as(o, "owner", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk", Role: chat.RoleListener}),
		} {
			require.Equal(o, rpc.OK, code)
		}
		for {
			c := expect[*chat.Changed](watcher, nil)
			if c.Position.Seq <= from.Head {
				continue
			}
			folded.Apply(c.By, &c.Change)
			if c.Change.What == chat.ChangeDefaultRole {
				break
			}
		}
		assert.Equal(o, o.settings(), folded)
	})
}

// M105: a room's settings are bounded, and what makes them less is never refused.
func TestM105SettingsAreBounded(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		ban := func(who string) rpc.Code {
			return as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: who, Reason: strings.Repeat("r", 256)})
		}
		n := 0
		for ; n < 1000; n++ {
			if code := ban(strings.Repeat("x", 40) + string(rune('a'+n%26)) + string(rune('a'+n/26%26)) + string(rune('a'+n/676))); code != rpc.OK {
				assert.Equal(o, rpc.ResourceExhausted, code)
				break
			}
		}
		assert.Greater(o, n, 100)
		assert.Less(o, n, 250)
		assert.Equal(o, rpc.OK, as(o, "owner", chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: strings.Repeat("x", 40) + "aaa"}))
		assert.Equal(o, rpc.OK, ban("one-more"))
	})
}

func TestOrderIsAskedForProperly(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		for what, code := range map[string]rpc.Code{
			"nobody":           as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk"}),
			"no name":          as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "Bob Smith"}),
			"no id":            as(o, "owner", chat.Kick, &chat.KickRequest{Room: "desk", Who: "spiffe://x/y"}),
			"a reason":         as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "x", Reason: strings.Repeat("r", 257)}),
			"an escape":        as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "x", Reason: "\x1b[2J"}),
			"an escape, topic": as(o, "owner", chat.SetTopic, &chat.SetTopicRequest{Room: "desk", Topic: "a\x1b]0;b\a"}),
			"a long topic":     as(o, "owner", chat.SetTopic, &chat.SetTopicRequest{Room: "desk", Topic: strings.Repeat("r", 1025)}),
			"the past":         as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "x", Until: time.Now().Add(-1)}),
			"two ends":         as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "x", Until: time.Now().Add(time.Hour), ForMs: 1}),
			"for ages":         as(o, "owner", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "x", ForMs: 1 << 62}),
			"backwards":        as(o, "owner", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "x", ForMs: -1}),
			"no role":          as(o, "owner", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "x", Role: "king"}),
			"all are chairs":   as(o, "owner", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk", Role: chat.RoleChair}),
			"no default":       as(o, "owner", chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: "desk"}),
		} {
			assert.Equal(o, rpc.InvalidArgument, code, what)
		}
		full := "spiffe://" + o.net.Authority().Domain() + "/user/member"
		require.Equal(o, rpc.OK, as(o, "owner", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: full}))
		assert.Contains(o, o.settings().Bans, "member", "one identity has one name")
	})
}

// Joins, lines, kicks, bans and policies at once: nobody breaks the protocol, and nothing is left over.
func TestM103OrderRacesEverything(t *testing.T) {
	var d denials
	inOffice(t, chat.Config{Authorize: d.authorize}, func(o *office) {
		member := o.people["member"]
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() { _ = member.Join(context.Background(), "desk", chat.Last(3)) })
			wg.Go(func() { _, _ = member.Publish(context.Background(), "desk", "on and on") })
			wg.Go(func() {
				switch i % 6 {
				case 0:
					as(o, "chair", chat.Kick, &chat.KickRequest{Room: "desk", Who: "member"})
				case 1:
					as(o, "chair", chat.Ban, &chat.SanctionRequest{Room: "desk", Who: "member", ForMs: 3})
				case 2:
					as(o, "chair", chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: "member"})
				case 3:
					as(o, "chair", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "member", ForMs: 2})
				case 4:
					d.set("member: join desk")
					o.chat.Reauthorize()
				case 5:
					d.set()
					o.chat.Reauthorize()
				}
			})
			if i%7 == 0 {
				wg.Go(func() { _ = member.Leave(context.Background(), "desk") })
			}
			time.Sleep(time.Duration(i%5) * time.Millisecond)
		}
		wg.Wait()
		d.set()
		o.chat.Reauthorize()
		as(o, "chair", chat.Unban, &chat.UnsanctionRequest{Room: "desk", Who: "member"})
		time.Sleep(time.Second)
		o.ok(member.Join(o.Context(), "desk", chat.Live()))
		time.Sleep(time.Second)
		member.say("desk", "the end")
		expect(o.people["listener"], func(m *chat.Message) bool { return m.Text == "the end" })
		for _, u := range o.people {
			u.session.Abort(transport.Aborted, "done")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		st := o.chat.Stats()
		assert.Equal(o, [2]int{0, 0}, [2]int{st.Rooms, st.Members}, "a room that was left has no actor")
	})
}
