package chat

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A line that is erased on the ring is encoded as the log's record is, without its body: alone, and behind the line before.
func TestM114AnErasedLineIsAsInTheLog(t *testing.T) {
	at := time.Unix(5, 0)
	records := []Record{
		{Position{1, 1}, Entry{From: "a", ID: "1", Body: []byte("one")}, at},
		{Position{1, 2}, Entry{From: "a", ID: "2", Body: make([]byte, 300)}, at},
		{Position{1, 3}, Entry{From: "b", ID: "3", Kind: KindEdit, Ref: 2, Body: make([]byte, 200)}, at},
		{Position{1, 4}, Entry{From: "b", ID: "4", Kind: KindReact, Ref: 2, Body: []byte("+")}, at.Add(1)},
		{Position{1, 5}, Entry{From: "c", ID: "5", Kind: KindEdit, Ref: 1, Body: []byte("uno")}, at.Add(1)},
		{Position{1, 6}, Entry{From: "c", ID: "6", Kind: KindEdit, Ref: 2, Body: []byte("due")}, at.Add(2)},
	}
	encode := func(records []Record) (r *room) {
		r = newRoom(nil, "r")
		for i := range records {
			e := r.recordEvent(&records[i])
			r.pushLocked(&e)
		}
		return r
	}
	r := encode(records)
	before := r.ring.bytes
	r.ring.erase(2)
	erased := slices.Clone(records)
	for _, i := range []int{1, 2, 5} {
		erased[i].Body = nil
	}
	want := encode(erased)
	for i := range records {
		for _, chained := range []bool{false, true} {
			got := r.ring.at(uint64(i)).appendLine(nil, false, chained)
			assert.Equal(t, want.ring.at(uint64(i)).appendLine(nil, false, chained), got, "%d", i+1)
			assert.Len(t, got, r.ring.at(uint64(i)).lineSize(false, chained))
		}
	}
	assert.Equal(t, want.ring.bytes, r.ring.bytes)
	assert.Less(t, r.ring.bytes, before-500)
}
