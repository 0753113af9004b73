package floor_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// Who may not have the floor any more loses all that they have of it, with all sessions, also such as are lost or have ended, or have not
// come back since a restart, and the next has it at once.
func TestWhoIsBarredHasNothingOfTheFloor(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	for i, who := range []string{"alice", "bob", "alice", "carol"} {
		do(t, f, floor.Request{For: party(who, byte(i+1))}, epoch)
	}
	f.Configure(floor.Settings{Chaired: true}, epoch)
	do(t, f, floor.Request{For: party("alice", 9)}, epoch)
	f, err := floor.Restart(f.Encode(), floor.Settings{Chaired: true}, 1, epoch)
	require.NoError(t, err)
	f.Present(party("bob", 2))
	f.Lost(party("alice", 3).Session, epoch)
	f.Bar(func(who string) bool { return who == "alice" }, epoch)
	f.Ended(party("alice", 9).Session, true, epoch) // is no more than that
	assert.Equal(t, []string{"alice", "bob", "alice", "carol"}, append([]string{f.Status(epoch).Holder.Who}, queue(f)...), "a fact, and not yet what follows")
	var got []string
	for _, tr := range due(f, epoch).Transitions {
		got = append(got, tr.Who+" "+tr.To.String()+" "+tr.Why.String()+" "+tr.By)
	}
	assert.Equal(t, []string{"bob here asked ", "alice revoked barred ", "alice denied barred ", "alice denied barred ", "bob granted turn "}, got)
	do(t, f, floor.Request{For: party("alice", 10)}, epoch) // whoever may is asked before
}

func queue(f *floor.Floor) (names []string) {
	for _, q := range f.Status(epoch).Queue {
		names = append(names, q.Who)
	}
	return names
}

// Who gives back without a number gives back their own: what they have asked for others, as a chair, they give back by its number.
func TestAReleaseWithoutANumberIsOfTheIdentitysOwn(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	forBob := do(t, f, floor.Request{For: party("bob", 2), By: "alice"}, epoch).Request
	refused(t, f, floor.Release{By: "alice"}, floor.NotFound)
	own := do(t, f, floor.Request{For: party("alice", 1)}, epoch).Request
	assert.Equal(t, own, do(t, f, floor.Release{By: "alice", Session: floor.Session{7}}, epoch).Request)

	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	refused(t, f, floor.Release{By: "alice", Session: floor.Session{7}, Only: true}, floor.NotFound)
	refused(t, f, floor.Release{By: "alice", Only: true}, floor.NotFound)
	do(t, f, floor.Release{By: "alice", Session: floor.Session{1}, Only: true}, epoch)
	do(t, f, floor.Release{By: "alice", Request: forBob}, epoch)
}

// A grant is given back by its number from any session, also one that waits for another.
func TestAGrantIsGivenBackByItsNumber(t *testing.T) {
	f := floor.New(floor.Settings{}, 1, epoch)
	do(t, f, floor.Request{For: party("alice", 1)}, epoch)
	do(t, f, floor.Request{For: party("alice", 2)}, epoch)
	refused(t, f, floor.Release{By: "alice", Session: floor.Session{2}, Grant: 2}, floor.Precondition)
	d := do(t, f, floor.Release{By: "alice", Session: floor.Session{2}, Grant: 1}, epoch)
	assert.Equal(t, floor.Released, d.Transitions[0].To)
}

// Numbers that a log never had are no state: the next would go round to 0.
func TestNumbersDoNotGoRound(t *testing.T) {
	for _, b := range [][]byte{state(math.MaxUint64, 1), state(1, math.MaxUint64), state(1, math.MaxUint64-5)} {
		_, err := floor.Restart(b, floor.Settings{}, 2, epoch)
		assert.ErrorIs(t, err, &floor.Error{Code: floor.Malformed})
	}
	f, err := floor.Restart(state(1<<62, 1<<62), floor.Settings{}, 2, epoch)
	require.NoError(t, err)
	assert.Greater(t, do(t, f, floor.Request{For: party("alice", 1)}, epoch).Transitions[0].Grant, uint64(1<<62))
}

// state returns an encoded state of epoch 1 in which so many requests and grants have been.
func state(requests, grants uint64) []byte {
	b := binary.AppendUvarint([]byte{0x08, 1, 0x10, 1, 0x18}, requests)
	return binary.AppendUvarint(append(b, 0x20), grants)
}
