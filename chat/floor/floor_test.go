package floor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// do commits what an action does.
func do(t *testing.T, f *floor.Floor, a floor.Action, now time.Time) floor.Decision {
	t.Helper()
	d, err := f.Decide(a, now)
	require.NoError(t, err)
	f.Commit(d)
	return d
}

func due(f *floor.Floor, now time.Time) floor.Decision {
	d := f.Due(now)
	f.Commit(d)
	return d
}

func refused(t *testing.T, f *floor.Floor, a floor.Action, code floor.Code) {
	t.Helper()
	before := f.Encode()
	_, err := f.Decide(a, epoch)
	require.ErrorIs(t, err, &floor.Error{Code: code})
	assert.Equal(t, before, f.Encode())
}

func numbered(i int) floor.Party {
	p := floor.Party{Who: fmt.Sprint("member", i)}
	p.Session[0], p.Session[1] = 200, byte(i)
	return p
}

func TestGrantNumbersGoOnBeyondThoseThatAnEpochMayHaveLostC5(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	saved := f.Encode()
	// What follows is lost with the records.
	var lost uint64
	for i := range 100 {
		do(t, f, floor.Request{For: numbered(i)}, epoch)
		lost = do(t, f, floor.Release{By: f.Status(epoch).Holder.Who}, epoch).Transitions[1].Grant
	}
	for range 2 { // the second time without a record of the first
		g, err := floor.Restart(saved, floor.Settings{}, 2, epoch)
		require.NoError(t, err)
		g.Present(party("alice", 1))
		d := due(g, epoch)
		require.Len(t, d.Transitions, 1)
		assert.Equal(t, floor.Revoked, d.Transitions[0].To, "somebody may have had the floor since")
		assert.EqualValues(t, 1, d.Transitions[0].Grant)
		d = do(t, g, floor.Request{For: party("bob", 2)}, epoch)
		assert.Greater(t, d.Transitions[0].Grant, lost)
	}
}

func TestTheFenceLetsThroughOneSessionWithOneNumberC5(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	alice, phone, bob := party("alice", 1), party("alice", 2), party("bob", 3)
	do(t, f, floor.Request{For: alice}, epoch)
	do(t, f, floor.Request{For: bob}, epoch)
	assert.True(t, f.MayPublish(alice.Session, 1))
	for _, n := range []uint64{0, 2, 3} {
		assert.False(t, f.MayPublish(alice.Session, n))
	}
	assert.False(t, f.MayPublish(phone.Session, 1), "another device of the same identity")
	assert.False(t, f.MayPublish(floor.Session{}, 1))

	d, err := f.Decide(floor.Release{By: "alice"}, epoch)
	require.NoError(t, err)
	assert.True(t, f.MayPublish(alice.Session, 1), "nothing has been released before the commit")
	assert.False(t, f.MayPublish(bob.Session, 2))
	f.Commit(d)
	assert.False(t, f.MayPublish(alice.Session, 1))
	assert.True(t, f.MayPublish(bob.Session, 2))
}

func TestOnlyTheNewestDecisionIsCommitted(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	first, err := f.Decide(floor.Request{For: party("alice", 1)}, epoch)
	require.NoError(t, err)
	second, err := f.Decide(floor.Request{For: party("bob", 2)}, epoch)
	require.NoError(t, err)
	f.Commit(second)
	assert.Panics(t, func() { f.Commit(first) }, "it does not know of bob's grant")
	assert.Panics(t, func() { floor.New(floor.Settings{}, 1, epoch).Commit(second) })
	third := f.Due(epoch)
	f.Lost(party("bob", 2).Session, epoch)
	assert.Panics(t, func() { f.Commit(third) }, "it does not know that bob is lost")
}

func TestAReleaseIsTheSessionsOwnOrTheIdentitys(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	second := do(t, f, floor.Request{For: party("alice", 2)}, epoch).Request
	refused(t, f, floor.Release{By: "bob"}, floor.NotFound)
	refused(t, f, floor.Release{By: "bob", Request: second}, floor.NotFound)
	refused(t, f, floor.Release{By: "alice", Grant: 2}, floor.Precondition)
	refused(t, f, floor.Release{By: "bob", Grant: 1}, floor.Precondition)
	d := do(t, f, floor.Release{By: "alice", Session: floor.Session{2}}, epoch)
	assert.Equal(t, second, d.Request)
	assert.Equal(t, floor.Cancelled, d.Transitions[0].To)
	d = do(t, f, floor.Release{By: "alice", Session: floor.Session{3}, Grant: 1}, epoch)
	assert.Equal(t, floor.Released, d.Transitions[0].To)
}

func TestARequestOnBehalfOfAnotherIsTheirsAndMayBeGivenUpByBoth(t *testing.T) {
	for _, by := range []string{"alice", "bob"} {
		f := floor.New(floor.Settings{}, 1, epoch)
		do(t, f, floor.Request{For: party("carol", 3)}, epoch)
		id := do(t, f, floor.Request{For: party("bob", 2), By: "alice"}, epoch).Request
		st, ok := f.Request(id)
		require.True(t, ok)
		assert.Equal(t, floor.RequestStatus{Request: id, State: floor.Accepted, Who: "bob", By: "alice", Place: 1}, st)
		d := do(t, f, floor.Release{By: by, Request: id}, epoch)
		assert.Equal(t, "bob", d.Transitions[0].Who)
		_, ok = f.Request(id)
		assert.False(t, ok)
	}
}

func TestWhatWaitsIsBoundedS5(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	for i := range 1 + floor.MaxOfOne {
		p := party("alice", byte(i+1))
		if i == floor.MaxOfOne {
			refused(t, f, floor.Request{For: p}, floor.Full)
			break
		}
		do(t, f, floor.Request{For: p}, epoch)
	}
	for i := range floor.MaxWaiting - floor.MaxOfOne + 1 {
		do(t, f, floor.Request{For: numbered(i)}, epoch)
	}
	refused(t, f, floor.Request{For: numbered(200)}, floor.Full)
	for i := range floor.MaxWaiting {
		do(t, f, floor.Ask{By: fmt.Sprint("asker", i)}, epoch)
	}
	refused(t, f, floor.Ask{By: "one more"}, floor.Full)

	long := strings.Repeat("x", floor.MaxName+1)
	free := floor.New(floor.Settings{}, 1, epoch)
	refused(t, free, floor.Request{For: party(long, 1)}, floor.Invalid)
	refused(t, free, floor.Request{For: party("", 1)}, floor.Invalid)
	refused(t, free, floor.Request{For: party("a\xff", 1)}, floor.Invalid)
	refused(t, free, floor.Request{For: party("alice", 0)}, floor.Invalid)
	refused(t, free, floor.Request{For: party("alice", 1), By: long}, floor.Invalid)
	refused(t, free, floor.Request{For: party("alice", 1), Priority: floor.Highest + 1}, floor.Invalid)
	refused(t, free, floor.Request{For: party("alice", 1), Text: long}, floor.Invalid)

	_, err := floor.Restart(f.Encode(), floor.Settings{}, 1, epoch)
	assert.NoError(t, err, "a full one is decoded")
}

func TestTheHolderIsAskedOnceByEachAndForEachGrant(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	refused(t, f, floor.Ask{By: "bob"}, floor.Precondition)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	d := do(t, f, floor.Ask{By: "bob", Text: "a word"}, epoch)
	assert.Equal(t, []floor.Transition{{
		To: floor.Please, Why: floor.Asked, Who: "bob", Priority: floor.Normal, Text: "a word", Grant: 1, Holder: "alice", Number: 1,
	}}, d.Transitions)
	refused(t, f, floor.Ask{By: "bob"}, floor.Precondition)
	refused(t, f, floor.Ask{By: "alice"}, floor.Precondition)
	do(t, f, floor.Pass{By: "alice", To: party("carol", 3)}, epoch)
	do(t, f, floor.Ask{By: "bob"}, epoch)
}

func TestWhoTheChairKeptWaitingIsServedInOrderOfPriority(t *testing.T) {
	settings := floor.Settings{Chaired: true}
	f := floor.New(settings, 1, epoch)
	f.Chair(true, epoch)
	for i, p := range []floor.Priority{floor.Low, floor.Highest, floor.Normal, floor.Highest} {
		do(t, f, floor.Request{For: numbered(i), Priority: p}, epoch)
	}
	f.Configure(floor.Settings{}, epoch) // the chair is dismissed
	d := due(f, epoch)
	last := d.Transitions[3]
	assert.Equal(t, "member1", last.Holder)
	assert.Equal(t, []string{"member3", "member2", "member0"}, last.Queue)
	assert.Equal(t, floor.NotChaired, last.Why)
}

func TestAChairWhoIsAppointedHasTimeToCome(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	late := epoch.Add(time.Hour)
	assert.False(t, f.Chaired(late))
	f.Configure(floor.Settings{Chaired: true}, late)
	assert.True(t, f.Chaired(late))
	f.Configure(floor.Settings{Chaired: true}, late.Add(time.Second))
	assert.False(t, f.Chaired(late.Add(floor.DefaultChairAway)), "to configure it again gives no more time")
	f.Configure(floor.Settings{Chaired: true, NoChair: floor.DenyAll}, late.Add(time.Second))
	_, err := f.Decide(floor.Request{For: party("alice", 1)}, late.Add(floor.DefaultChairAway))
	assert.ErrorIs(t, err, &floor.Error{Code: floor.Precondition})
}

func TestAChairReordersTheQueue(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	for i := range 5 {
		do(t, f, floor.Request{For: numbered(i), Priority: floor.Normal}, epoch)
	}
	d := do(t, f, floor.Accept{By: "chair", Request: 5, Place: 2}, epoch)
	require.Len(t, d.Transitions, 1)
	assert.Equal(t, []string{"member1", "member4", "member2", "member3"}, d.Transitions[0].Queue)
	d = do(t, f, floor.Accept{By: "chair", Request: 2, Place: 99}, epoch)
	assert.Equal(t, []string{"member4", "member2", "member3", "member1"}, d.Transitions[0].Queue)
	assert.Equal(t, 4, d.Transitions[0].Place)
	d = do(t, f, floor.Grant{By: "chair", Request: 4}, epoch)
	assert.Equal(t, []string{"member3", "member4", "member2", "member1"}, d.Transitions[0].Queue)
	d = do(t, f, floor.Revoke{By: "chair"}, epoch)
	assert.Equal(t, "member3", d.Transitions[1].Holder)
	refused(t, f, floor.Revoke{By: "chair", Grant: 1}, floor.Precondition)
}

func TestTheFloorIsNotGivenToWhoIsNotThere(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	for i := range 3 {
		do(t, f, floor.Request{For: numbered(i)}, epoch)
	}
	f.Lost(numbered(1).Session, epoch)
	d := do(t, f, floor.Release{By: "member0"}, epoch)
	assert.Equal(t, "member2", d.Transitions[1].Holder)
	f.Present(numbered(1))
	d = do(t, f, floor.Release{By: "member2"}, epoch)
	assert.Equal(t, "member1", d.Transitions[1].Holder, "it has kept its place")
}

func TestAnEndedSessionDoesNotComeBack(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	f.Ended(floor.Session{1}, true, epoch)
	f.Lost(floor.Session{1}, epoch)        // told late
	f.Ended(floor.Session{1}, true, epoch) // and twice
	f.Present(party("alice", 1))
	d := due(f, epoch)
	require.Len(t, d.Transitions, 1)
	assert.Equal(t, floor.Released, d.Transitions[0].To)
}

func TestAGrantHasItsLongestHoldAlsoOverRestarts(t *testing.T) {
	settings := floor.Settings{Lease: -1, Longest: time.Minute, Grace: time.Hour}
	f := floor.New(settings, 1, epoch)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	f, err := floor.Restart(f.Encode(), settings, 1, epoch.Add(50*time.Second))
	require.NoError(t, err)
	at, ok := f.NextDeadline(epoch.Add(50 * time.Second))
	assert.True(t, ok)
	assert.Equal(t, epoch.Add(time.Minute), at)
	// A clock that was set back gives no more than the whole of it.
	f, err = floor.Restart(f.Encode(), settings, 1, epoch.Add(-time.Hour))
	require.NoError(t, err)
	at, _ = f.NextDeadline(epoch.Add(-time.Hour))
	assert.Equal(t, epoch.Add(-time.Hour+time.Minute), at)
}

func TestAfterARestartWhoHasAnotherProducerIsSomebodyElse(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	alice := party("alice", 1)
	do(t, f, floor.Request{For: alice}, epoch)
	f, err := floor.Restart(f.Encode(), floor.Settings{}, 1, epoch)
	require.NoError(t, err)
	for _, p := range []floor.Party{
		{Who: "alice", Session: floor.Session{1}, Producer: floor.Producer{9}},
		{Who: "mallory", Session: floor.Session{1}, Producer: alice.Producer},
		{Who: "alice", Producer: alice.Producer},
	} {
		f.Present(p)
		assert.False(t, f.MayPublish(p.Session, 1), "%+v", p)
	}
	f.Present(party("alice", 4))
	f.Present(party("alice", 5))
	assert.False(t, f.MayPublish(floor.Session{4}, 1), "before it is in the log, another server may have it")
	d := due(f, epoch)
	require.Len(t, d.Transitions, 1)
	assert.Equal(t, floor.Here, d.Transitions[0].To)
	assert.True(t, f.MayPublish(floor.Session{4}, 1), "the first that comes")
	assert.False(t, f.MayPublish(floor.Session{5}, 1))
}

func TestARecordThatDoesNotFollowIsNotReplayed(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	do(t, f, floor.Request{For: party("bob", 2)}, epoch)
	good := do(t, f, floor.Release{By: "alice"}, epoch).Transitions
	for name, tr := range map[string]floor.Transition{
		"again":              good[0],
		"again, granted":     good[1],
		"an older grant":     {Request: 9, To: floor.Granted, Why: floor.Turn, Who: "x", Grant: 1},
		"no such request":    {Request: 9, To: floor.Released, Why: floor.Turn, Who: "x", Grant: 2},
		"another identity":   {Request: 2, To: floor.Released, Why: floor.Asked, Who: "alice", Grant: 2},
		"another grant":      {Request: 2, To: floor.Released, Why: floor.Asked, Who: "bob", Grant: 1},
		"not what it was":    {Request: 2, To: floor.Denied, Why: floor.ByChair, Who: "bob"},
		"no place":           {Request: 9, To: floor.Accepted, Why: floor.Asked, Who: "x", Place: 2, Holder: "bob", Number: 2, Queue: []string{"x"}},
		"another floor":      {Request: 9, To: floor.Accepted, Why: floor.Asked, Who: "x", Place: 1, Holder: "bob", Number: 2},
		"asked for no grant": {To: floor.Please, Why: floor.Asked, Who: "x", Grant: 1, Holder: "bob", Number: 2},
	} {
		before := f.Encode()
		require.ErrorIs(t, f.Replay(tr, epoch), &floor.Error{Code: floor.Malformed}, name)
		assert.Equal(t, before, f.Encode(), name)
	}
}
