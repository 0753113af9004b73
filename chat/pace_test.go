package chat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// M109: in a slow room each identity says so much in so long, and is told when it may speak again; chairs are not slowed.
func TestM109ASlowRoomSlowsThoseWhoAreNoChairs(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		member, twin := o.people["member"], o.join("member", "desk")
		require.Equal(o, rpc.OK, as(o, "chair", chat.SetSlow, &chat.SetSlowRequest{Room: "desk", Messages: 2, PerMs: 10_000}))
		refused := func(u *user, want string) {
			o.Helper()
			_, err := u.Publish(o.Context(), "desk", "too fast")
			o.ok(err)
			e := expect[*chat.Rejected](u, nil)
			assert.Equal(o, rpc.ResourceExhausted, e.Code)
			assert.Equal(o, "this room is slow, 2 in 10s: you may speak again in "+want, e.Reason)
		}
		member.say("desk", "one")
		twin.say("desk", "two")
		refused(member, "5s")
		time.Sleep(4500 * time.Millisecond)
		refused(twin, "1s")
		time.Sleep(time.Second)
		member.say("desk", "three")
		refused(member, "5s")
		for _, who := range []string{"chair", "owner", "root"} {
			for i := range 5 {
				o.people[who].say("desk", fmt.Sprint(i))
			}
		}
		assert.Equal(o, &chat.Slow{Messages: 2, PerMs: 10_000}, o.settings().Slow)
		assert.Equal(o, rpc.PermissionDenied, as(o, "member", chat.SetSlow, &chat.SetSlowRequest{Room: "desk"}))
		require.Equal(o, rpc.OK, as(o, "chair", chat.SetSlow, &chat.SetSlowRequest{Room: "desk"}))
		for i := range 5 {
			member.say("desk", fmt.Sprint(i))
		}
		assert.Nil(o, o.settings().Slow)
		for _, req := range []*chat.SetSlowRequest{{Messages: 1}, {PerMs: 1}, {Messages: -1, PerMs: 1}, {Messages: 1001, PerMs: 1}, {Messages: 1, PerMs: 86_400_001}} {
			req.Room = "desk"
			assert.Equal(o, rpc.InvalidArgument, as(o, "chair", chat.SetSlow, req))
		}
	})
}

// M109: what all are shown counts, whatever its kind, or who may speak once would speak on by edits; but what was said can be taken back.
func TestM109EditsAndReactionsCountInASlowRoom(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		ctx, member := o.Context(), o.people["member"]
		require.Equal(o, rpc.OK, as(o, "chair", chat.SetSlow, &chat.SetSlowRequest{Room: "desk", Messages: 1, PerMs: 10_000}))
		reason := func(id string, err error) string {
			o.Helper()
			o.ok(err)
			e := expect(member, func(e *chat.Rejected) bool { return e.ID == id })
			assert.Equal(o, rpc.ResourceExhausted, e.Code)
			return e.Reason
		}
		seq := member.say("desk", "one").Position.Seq
		assert.Equal(o, "this room is slow, 1 in 10s: you may edit again in 10s", reason(member.Edit(ctx, "desk", seq, "two")))
		member.done(member.React(ctx, "desk", seq, "👍"))
		assert.Equal(o, "this room is slow, 1 in 10s: you may react again in 10s", reason(member.React(ctx, "desk", seq, "👎")))
		reason(member.Unreact(ctx, "desk", seq, "👍"))
		time.Sleep(10 * time.Second)
		member.done(member.Edit(ctx, "desk", seq, "two"))
		assert.Equal(o, "this room is slow, 1 in 10s: you may speak again in 10s", reason(member.Publish(ctx, "desk", "three")))
		member.done(member.Unreact(ctx, "desk", seq, "👍"))
		member.done(member.Delete(ctx, "desk", seq))
	})
}

// C3: who sends a message again that is in the log is told so, whatever they may do by now.
func TestC3WhatIsInTheLogIsNotRefused(t *testing.T) {
	inOffice(t, chat.Config{}, func(o *office) {
		require.Equal(o, rpc.OK, as(o, "chair", chat.SetSlow, &chat.SetSlowRequest{Room: "desk", Messages: 1, PerMs: 60_000}))
		member := o.people["member"]
		o.ok(member.PublishAs(o.Context(), "desk", "i", "one"))
		first := expect[*chat.Sent](member, nil)
		again := func() {
			o.Helper()
			o.ok(member.PublishAs(o.Context(), "desk", "i", "one"))
			e := expect[*chat.Sent](member, nil)
			assert.Equal(o, []any{first.Position, true}, []any{e.Position, e.Duplicate})
			o.ok(member.PublishAs(o.Context(), "desk", "j", "two"))
			expect[*chat.Rejected](member, nil)
		}
		again()
		require.Equal(o, rpc.OK, as(o, "chair", chat.Mute, &chat.SanctionRequest{Room: "desk", Who: "member"}))
		again()
		require.Equal(o, rpc.OK, as(o, "chair", chat.SetRole, &chat.SetRoleRequest{Room: "desk", Who: "member", Role: chat.RoleListener}))
		again()
	})
}

// M109: a message counts once, however often its append is tried.
func TestM109AMessageCountsOnce(t *testing.T) {
	log := newLog()
	inOffice(t, chat.Config{Log: log}, func(o *office) {
		deaf := &house{t: o.T, net: o.net}
		deaf.start(chat.Config{Log: deafLog{log}})
		require.Equal(o, rpc.OK, as(o, "chair", chat.SetSlow, &chat.SetSlowRequest{Room: "desk", Messages: 1, PerMs: 60_000}))
		member := deaf.join("member", "desk")
		o.people["owner"].say("desk", "of which the other server has not heard")
		member.say("desk", "my one message")
		member.session.Abort(transport.Aborted, "done")
	})
}
