package floor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// told is what transitions say, as in "alice granted asked by carol".
func told(d floor.Decision) (lines []string) {
	for _, tr := range d.Transitions {
		line := tr.Who + " " + tr.To.String() + " " + tr.Why.String()
		if tr.By != "" {
			line += " by " + tr.By
		}
		lines = append(lines, line)
	}
	return lines
}

// held returns a floor that alice (session 1) holds.
func held(t *testing.T, settings floor.Settings) *floor.Floor {
	f := floor.New(settings, 1, epoch)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	return f
}

// A record says who has done it, if that is not whose request it is, and an action says which request it was about.
func TestWhoHasDoneItIsSaid(t *testing.T) {
	f := held(t, floor.Settings{})
	assert.EqualValues(t, 1, do(t, f, floor.Renew{By: party("alice", 1), Grant: 1}, epoch).Request)
	assert.Equal(t, []string{"bob accepted asked by carol"}, told(do(t, f, floor.Request{For: party("bob", 2), By: "carol"}, epoch)))
	assert.Equal(t, []string{"dave accepted asked"}, told(do(t, f, floor.Request{For: party("dave", 3), By: "dave"}, epoch)))
	d := do(t, f, floor.Pass{By: "alice", Grant: 1, To: party("dave", 3)}, epoch)
	assert.Equal(t, []string{"alice released passed", "dave granted passed by alice"}, told(d))
	assert.EqualValues(t, 3, d.Request)
	d = do(t, f, floor.Revoke{By: "chair"}, epoch)
	assert.Equal(t, []string{"dave revoked chair by chair", "bob granted turn"}, told(d))
	assert.EqualValues(t, 3, d.Request)
	assert.Equal(t, []string{"bob released asked by carol"}, told(do(t, f, floor.Release{By: "carol", Request: 2}, epoch)))
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	do(t, f, floor.Request{For: party("bob", 2)}, epoch)
	d = do(t, f, floor.Deny{By: "chair", Request: 5}, epoch)
	assert.Equal(t, []string{"bob denied chair by chair"}, told(d))
	assert.EqualValues(t, 5, d.Request)
	assert.Equal(t, []string{"alice released asked"}, told(do(t, f, floor.Release{By: "alice"}, epoch)))
}

// The floor is passed by who holds it, with the grant that they name, to a session that is there, and not to itself.
func TestOnlyTheHolderPassesTheFloor(t *testing.T) {
	f := held(t, floor.Settings{})
	refused(t, f, floor.Pass{By: "bob", To: party("bob", 2)}, floor.Precondition)
	refused(t, f, floor.Pass{By: "alice", Grant: 2, To: party("bob", 2)}, floor.Precondition)
	refused(t, f, floor.Pass{By: "alice", To: party("bob", 0)}, floor.Invalid)
	refused(t, f, floor.Pass{By: "alice", To: party("alice", 1)}, floor.Precondition)
	refused(t, f, floor.Pass{By: "alice", To: party(strings.Repeat("x", floor.MaxName+1), 2)}, floor.Invalid)
	do(t, f, floor.Pass{By: "alice", To: party("alice", 2)}, epoch)
	assert.True(t, f.MayPublish(floor.Session{2}, 2), "another device of one's own is another session")
	refused(t, f, floor.Ask{By: ""}, floor.Invalid)
	refused(t, f, floor.Ask{By: "bob", Text: "\xff"}, floor.Invalid)
	for _, a := range []floor.Action{
		floor.Release{By: "alice", Text: "\xff"}, floor.Pass{By: "alice", To: party("bob", 2), Text: "\xff"}, floor.Revoke{By: "c", Text: "\xff"},
		floor.Accept{Request: 1, Text: "\xff"}, floor.Request{For: party("bob", 3), By: "\xff"},
	} {
		refused(t, f, a, floor.Invalid)
	}
}

// What an action does, who comes with it is there for: also who was lost, and who has a request.
func TestWhoActsIsThere(t *testing.T) {
	f := held(t, floor.Settings{Lease: -1})
	bob, late := party("bob", 2), epoch.Add(20*time.Second)
	do(t, f, floor.Request{For: bob}, epoch)
	f.Lost(bob.Session, epoch)
	f.Lost(floor.Session{1}, epoch)
	do(t, f, floor.Renew{By: party("alice", 1), Grant: 1}, late)
	assert.False(t, f.Status(late).Holder.Lost)
	d := do(t, f, floor.Pass{By: "alice", To: bob}, late)
	assert.EqualValues(t, 2, d.Request, "the request that it has")
	assert.Empty(t, due(f, epoch.Add(time.Hour)).Transitions)

	f, err := floor.Restart(f.Encode(), floor.Settings{Lease: -1}, 1, epoch)
	require.NoError(t, err)
	_, err = f.Decide(floor.Request{For: party("bob", 9)}, epoch)
	e := &floor.Error{}
	require.ErrorAs(t, err, &e, "it has come back by asking again")
	assert.Equal(t, [2]any{floor.Exists, uint64(2)}, [2]any{e.Code, e.Request})
}

// What ends in an instant has ended in it, and who acts in it is told so.
func TestWhatIsDueComesBeforeAnAction(t *testing.T) {
	f := held(t, floor.Settings{})
	over := epoch.Add(floor.DefaultLease)
	_, err := f.Decide(floor.Renew{By: party("alice", 1), Grant: 1}, over)
	require.ErrorIs(t, err, &floor.Error{Code: floor.Precondition})
	at, ok := f.NextDeadline(epoch)
	assert.Equal(t, [2]any{over, true}, [2]any{at, ok})
	d := do(t, f, floor.Request{For: party("bob", 2)}, over)
	assert.Equal(t, []string{"alice revoked lapsed", "bob granted asked"}, told(d))
}

// Nobody overtakes who is next by asking when the floor has just become free, and who is not there is not given it by asking for them.
func TestNobodyOvertakesTheNext(t *testing.T) {
	f := held(t, floor.Settings{})
	bob := party("bob", 2)
	do(t, f, floor.Request{For: bob}, epoch)
	f.Lost(bob.Session, epoch)
	do(t, f, floor.Release{By: "alice"}, epoch)
	_, ok := f.NextDeadline(epoch)
	require.True(t, ok)
	f.Present(bob)
	at, ok := f.NextDeadline(epoch)
	assert.Equal(t, [2]any{epoch, true}, [2]any{at, ok}, "the floor is free, and the next is there")
	assert.Equal(t, []string{"bob granted turn", "carol accepted asked"}, told(do(t, f, floor.Request{For: party("carol", 3)}, epoch)))
	f.Configure(floor.Settings{Chaired: true}, epoch)
	f.Chair(true, epoch)
	do(t, f, floor.Request{For: party("dave", 4)}, epoch)
	do(t, f, floor.Release{By: "carol"}, epoch)
	do(t, f, floor.Release{By: "bob"}, epoch)
	f.Lost(party("dave", 4).Session, epoch)
	assert.Equal(t, []string{"dave accepted chair by chair"}, told(do(t, f, floor.Accept{By: "chair", Request: 4, Place: 1}, epoch)))
	assert.Equal(t, []string{"dave cancelled lost"}, told(due(f, epoch.Add(floor.DefaultGrace))))
}

// A chair who puts a request behind others does not give it the floor, when they are not there.
func TestAPlaceBehindOthersIsNoGrant(t *testing.T) {
	f := held(t, floor.Settings{Grace: time.Hour})
	bob := party("bob", 2)
	do(t, f, floor.Request{For: bob}, epoch)
	f.Configure(floor.Settings{Chaired: true, Grace: time.Hour}, epoch)
	f.Chair(true, epoch)
	carol := do(t, f, floor.Request{For: party("carol", 3)}, epoch).Request
	f.Lost(bob.Session, epoch)
	do(t, f, floor.Release{By: "alice"}, epoch)
	assert.Equal(t, []string{"carol accepted chair by chair", "carol granted turn"}, told(do(t, f, floor.Accept{By: "chair", Request: carol, Place: 2}, epoch)))
}

// The time that a chair who is away has runs once, and begins when they go.
func TestAChairIsAwayOnce(t *testing.T) {
	s := floor.Settings{Chaired: true, Undecided: time.Hour}
	f := floor.New(s, 1, epoch)
	last := epoch.Add(floor.DefaultChairAway - time.Second)
	assert.True(t, f.Chaired(last), "one that has never come has as long")
	f.Chair(false, last)
	assert.False(t, f.Chaired(epoch.Add(floor.DefaultChairAway)), "to say it again gives no more time")
	f.Chair(true, last)
	f.Configure(floor.Settings{}, last)
	f.Configure(s, last)
	do(t, f, floor.Request{For: party("alice", 1)}, last)
	at, _ := f.NextDeadline(last)
	assert.Equal(t, last.Add(time.Hour), at, "who is there decides")
	assert.Equal(t, []string{"alice granted undecided"}, told(due(f, at)))

	f, err := floor.Restart(f.Encode(), s, 1, last)
	require.NoError(t, err)
	assert.False(t, f.Chaired(last.Add(floor.DefaultChairAway)), "after a restart no chair is there")
	f.Configure(floor.Settings{NoChair: floor.DenyAll}, last)
	assert.Equal(t, []string{"bob accepted asked"}, told(do(t, f, floor.Request{For: party("bob", 2)}, last)), "nobody is missed who was not appointed")
}

// The end of a session is when it was lost first, and all zeros is nobody's.
func TestAGraceBeginsOnce(t *testing.T) {
	f := held(t, floor.Settings{Lease: -1})
	f.Lost(floor.Session{1}, epoch)
	f.Lost(floor.Session{1}, epoch.Add(20*time.Second))
	at, _ := f.NextDeadline(epoch)
	assert.Equal(t, epoch.Add(floor.DefaultGrace), at)
	f.Ended(floor.Session{1}, true, epoch.Add(21*time.Second))
	f.Lost(floor.Session{1}, epoch.Add(22*time.Second))
	assert.Equal(t, []string{"alice released left"}, told(due(f, epoch.Add(22*time.Second))))

	f = held(t, floor.Settings{Lease: -1})
	f, err := floor.Restart(f.Encode(), floor.Settings{Lease: -1}, 1, epoch)
	require.NoError(t, err)
	f.Ended(floor.Session{}, true, epoch)
	assert.Empty(t, due(f, epoch).Transitions, "whose it is has not come back yet")
	f.Present(floor.Party{Who: "alice", Producer: party("alice", 1).Producer})
	assert.True(t, f.Status(epoch).Holder.Lost)
}

// After a restart nobody comes back for what was asked for without a producer, not even with none.
func TestNobodyComesBackWithoutAProducer(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	do(t, f, floor.Request{For: floor.Party{Who: "alice", Session: floor.Session{1}}}, epoch)
	f, err := floor.Restart(f.Encode(), floor.Settings{}, 1, epoch)
	require.NoError(t, err)
	f.Present(party("alice", 2))
	f.Present(floor.Party{Who: "alice", Session: floor.Session{3}})
	due(f, epoch) // who takes something over has it with a record
	for n := range byte(4) {
		assert.False(t, f.MayPublish(floor.Session{n}, 1), "session %d", n)
	}
}

// What is cleared goes on where it was; so does what an older epoch reads of a later one.
func TestWhatIsClearedGoesOn(t *testing.T) {
	f := held(t, floor.Settings{})
	do(t, f, floor.Request{For: party("bob", 2)}, epoch)
	do(t, f, floor.Release{By: "alice"}, epoch)
	f, err := floor.Restart(f.Encode(), floor.Settings{}, 7, epoch)
	require.NoError(t, err)
	b, err := floor.Clear(f.Encode())
	require.NoError(t, err)
	newest := f.Status(epoch).Grant
	for _, epochs := range []uint64{7, 6} {
		g, err := floor.Restart(b, floor.Settings{}, epochs, epoch)
		require.NoError(t, err)
		assert.True(t, g.Idle())
		tr := do(t, g, floor.Request{For: party("carol", 3)}, epoch).Transitions[0]
		assert.Equal(t, [2]uint64{3, newest + 1}, [2]uint64{tr.Request, tr.Grant})
	}
}

// What is decided and not committed has asked nobody.
func TestADecisionThatIsForgottenHasAskedNobody(t *testing.T) {
	f := held(t, floor.Settings{})
	do(t, f, floor.Ask{By: "one"}, epoch)
	do(t, f, floor.Ask{By: "two"}, epoch)
	do(t, f, floor.Ask{By: "three"}, epoch)
	d, err := f.Decide(floor.Ask{By: "bob"}, epoch)
	require.NoError(t, err)
	_, err = f.Decide(floor.Ask{By: "carol"}, epoch)
	require.NoError(t, err)
	assert.False(t, f.Newest(&floor.Decision{}))
	f.Bar(func(string) bool { return false }, epoch)
	assert.False(t, f.Newest(&d), "something was said since")
	do(t, f, floor.Ask{By: "bob"}, epoch)
}
