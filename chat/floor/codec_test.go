package floor_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// whole has every field.
var whole = floor.Transition{
	Request: 300, To: floor.Granted, Why: floor.ByChair, Who: "alice", By: "bob", Priority: floor.High, Producer: floor.Producer{1},
	Text: "why", Place: 5, Grant: 9, Time: 1_900_000_000_000_000_000, Holder: "alice", Number: 9, Queue: []string{"carol", "dave"},
}

// golden are the bytes of whole, which never change.
const golden = "08ac02100318032205616c6963652a03626f6230033a10010000000000000000000000000000004203776879" +
	"48055009588080f889effd89af1a6205616c696365680972056361726f6c720464617665"

// goldenState is that of fullFloor.
const goldenState = "08011001180320012801308080d4aeb386baa31a3a1c0801120466617361221066617361000000000000000000000000" +
	"2802421b0802120372657922107265790000000000000000000000000028034a220803120373757a1a0372657922107375" +
	"7a0000000000000000000000000032026f6b"

func fullFloor(t *testing.T) *floor.Floor {
	f := floor.New(floor.Settings{}, 1, epoch)
	do(t, f, floor.Request{For: party("fasa", 1), Priority: floor.Normal}, epoch)
	do(t, f, floor.Request{For: party("rey", 2), Priority: floor.High}, epoch)
	f.Configure(floor.Settings{Chaired: true}, epoch)
	do(t, f, floor.Request{For: party("suz", 3), By: "rey", Text: "ok"}, epoch)
	return f
}

func TestTheEncodingsStayAsTheyAre(t *testing.T) {
	assert.Equal(t, golden, hex.EncodeToString(whole.Encode()))
	assert.Equal(t, goldenState, hex.EncodeToString(fullFloor(t).Encode()))
}

func TestATransitionIsDecodedAsItWasEncoded(t *testing.T) {
	for _, tr := range []floor.Transition{whole, {To: floor.Please, Why: floor.Asked, Who: "a"}} {
		got, err := floor.DecodeTransition(tr.Encode())
		require.NoError(t, err)
		assert.Equal(t, tr, got)
	}
	// A field of a later version: number 100, in each type.
	later := append(whole.Encode(), 0xa0, 0x06, 0x01, 0xa2, 0x06, 0x01, 'x', 0xa5, 0x06, 1, 2, 3, 4, 0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8)
	got, err := floor.DecodeTransition(later)
	require.NoError(t, err)
	assert.Equal(t, whole, got)
}

func TestWhatIsNoTransitionIsRefused(t *testing.T) {
	for name, change := range map[string]func(*floor.Transition){
		"no state":       func(tr *floor.Transition) { tr.To = 0 },
		"unknown state":  func(tr *floor.Transition) { tr.To = 9 },
		"no reason":      func(tr *floor.Transition) { tr.Why = 0 },
		"no identity":    func(tr *floor.Transition) { tr.Who = "" },
		"long identity":  func(tr *floor.Transition) { tr.Who = strings.Repeat("x", floor.MaxName+1) },
		"not UTF-8":      func(tr *floor.Transition) { tr.Who = "\xff" },
		"long text":      func(tr *floor.Transition) { tr.Text = strings.Repeat("x", floor.MaxText+1) },
		"priority":       func(tr *floor.Transition) { tr.Priority = floor.Highest + 1 },
		"place":          func(tr *floor.Transition) { tr.Place = floor.MaxWaiting + 1 },
		"queue":          func(tr *floor.Transition) { tr.Queue = make([]string, floor.MaxWaiting+1) },
		"name in queue":  func(tr *floor.Transition) { tr.Queue = []string{"\xff"} },
		"name of holder": func(tr *floor.Transition) { tr.Holder = "\xff" },
	} {
		tr := whole
		change(&tr)
		_, err := floor.DecodeTransition(tr.Encode())
		assert.ErrorIs(t, err, &floor.Error{Code: floor.Malformed}, name)
	}
	b := whole.Encode()
	refused := 0
	for n := range b { // cut off between two fields it may be another transition
		if _, err := floor.DecodeTransition(b[:n]); err != nil {
			refused++
		}
	}
	assert.Greater(t, refused, len(b)/2)
}

func TestAStateThatCannotBeIsRefused(t *testing.T) {
	good := fullFloor(t).Encode()
	_, err := floor.Restart(good, floor.Settings{}, 1, epoch)
	require.NoError(t, err)
	for name, hexed := range map[string]string{
		"empty":                    "",
		"no version":               "1001",
		"a later version":          "08021001",
		"an unknown field":         "08011001" + "7801",
		"no epoch":                 "0801",
		"a grant without a holder": "08011001" + "18012001" + "2801",
		"a holder without a grant": "08011001" + "1801" + "3a05" + "0801120161",
		"held beyond the newest":   "08011001" + "18012001" + "2802" + "3a05" + "0801120161",
		"a request beyond last":    "08011001" + "1801" + "4205" + "0802120161",
		"a request twice":          "08011001" + "1801" + "4205" + "0801120161" + "4a05" + "0801120161",
		"a request of nobody":      "08011001" + "1801" + "4202" + "0801",
		"a number for a request":   "08011001" + "4001",
		"a field of a request":     "08011001" + "1801" + "4207" + "08011201617801",
		"missed twice":             "08011001" + "1801" + "4207" + "08011201613802",
	} {
		b, err := hex.DecodeString(hexed)
		require.NoError(t, err)
		_, err = floor.Restart(b, floor.Settings{}, 1, epoch)
		assert.ErrorIs(t, err, &floor.Error{Code: floor.Malformed}, name)
	}
	many := append([]byte{}, good...)
	for i := range floor.MaxWaiting {
		many = append(many, 0x42, 0x05, 0x08, byte(i+4), 0x12, 0x01, 'a')
	}
	_, err = floor.Restart(many, floor.Settings{}, 1, epoch)
	assert.ErrorContains(t, err, "waiting")
}

func FuzzDecodeTransition(f *testing.F) {
	f.Add(whole.Encode())
	f.Add([]byte{})
	f.Add([]byte{0x10, 0x10, 0x18, 0x01, 0x22, 0x01, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := floor.DecodeTransition(b)
		if err != nil {
			require.ErrorIs(t, err, &floor.Error{Code: floor.Malformed})
			return
		}
		again, err := floor.DecodeTransition(tr.Encode())
		require.NoError(t, err)
		require.Equal(t, tr, again)
		_ = floor.New(floor.Settings{}, 1, epoch).Replay(tr, epoch) // must not panic
	})
}

func FuzzRestart(f *testing.F) {
	good, err := hex.DecodeString(goldenState)
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte{0x08, 0x01, 0x10, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		fl, err := floor.Restart(b, floor.Settings{}, 2, epoch) // of which the state may know nothing, or of a later one
		if err != nil {
			require.ErrorIs(t, err, &floor.Error{Code: floor.Malformed})
			return
		}
		encoded := fl.Encode()
		again, err := floor.Restart(encoded, floor.Settings{}, 2, epoch)
		require.NoError(t, err)
		require.Equal(t, encoded, again.Encode())
		// Whatever it is, with time it comes to its end.
		now := epoch
		for range 1000 {
			at, ok := fl.NextDeadline(now)
			if !ok {
				break
			}
			if at.After(now) {
				now = at
			}
			fl.Commit(fl.Due(now))
		}
		require.True(t, fl.Idle())
		do(t, fl, floor.Request{For: party("alice", 1)}, now) // and somebody else may have it
	})
}
