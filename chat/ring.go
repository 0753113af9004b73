package chat

import "sort"

// A ring has the newest events of one room, records and presence in the order in which they
// happened, each encoded once. Events are numbered from 0 for as long as the room has members;
// that number, the index, is what subscribers hold. A ring's owner guards it.
type ring struct {
	events fifo[event]
	start  uint64 // index of the oldest event
	bytes  int    // of all events, encoded
	// skipped is the index after the newest presence event that is no longer here: who has
	// not come so far has missed one.
	skipped uint64
	// marksSkipped is the same for marks.
	marksSkipped uint64
}

// Bounds of a ring. A reader that has fallen further behind reads the log. The bytes are
// more than the credit, so a reader that confirms in time stays in the ring.
const (
	ringEvents = 1024
	ringBytes  = 256 << 10
)

// An event is what the members of a room are to be sent.
type event struct {
	seq    uint64 // of the record; of a presence event, of the record that follows it
	record bool
	marks  bool   // it is MARKS
	frame  []byte // MARKS, or PRESENCE, whole, but for who is told without itself
	length int    // of its body

	// The Line of a record. Behind the line before, as in most frames, it is chained, which leaves out
	// what is equal there; elsewhere it is start and chained[rest:]. Encoded once, for all.
	start, chained []byte
	rest           int

	// Of a record: who has it replaced by its stub.
	epoch    uint64
	from, id string
	producer Producer
	kind     Kind
	ref      uint64
	session  *session // who published it, if that is known
}

// size returns how many bytes the event has in memory, encoded.
func (e *event) size() int { return len(e.frame) + len(e.start) + len(e.chained) }

// lineSize returns the length of a record's line.
func (e *event) lineSize(own, chained bool) int {
	switch {
	case own:
		return sizeOwn(e.id)
	case chained:
		return len(e.chained)
	}
	return len(e.start) + len(e.chained) - e.rest
}

// appendLine appends a record's line.
func (e *event) appendLine(dst []byte, own, chained bool) []byte {
	switch {
	case own:
		return appendOwn(dst, e.id)
	case chained:
		return append(dst, e.chained...)
	}
	dst = append(dst, e.start...)
	return append(dst, e.chained[e.rest:]...)
}

// end returns the index that the next event will have.
func (r *ring) end() uint64 { return r.start + uint64(r.events.len()) }

// at returns the event with an index from start to end-1.
func (r *ring) at(index uint64) *event { return r.events.at(int(index - r.start)) }

func (r *ring) push(e event) {
	r.events.push(e)
	r.bytes += e.size()
	for r.events.len() > ringEvents || r.bytes > ringBytes && r.events.len() > 1 {
		gone := r.events.pop()
		r.bytes -= gone.size()
		r.start++
		switch {
		case gone.marks:
			r.marksSkipped = r.start
		case !gone.record:
			r.skipped = r.start
		}
	}
}

// clear forgets all events, because records are missing between them and what comes next.
func (r *ring) clear() {
	*r = ring{start: r.end(), skipped: r.end(), marksSkipped: r.end()}
}

// find returns the index at which a reader goes on that wants the record seq next, and
// whether the ring has all records from there on. head is the room's newest.
func (r *ring) find(seq, head uint64) (index uint64, ok bool) {
	if seq > head {
		return r.end(), true
	}
	n := sort.Search(r.events.len(), func(i int) bool { return r.events.at(i).seq >= seq })
	if n == r.events.len() || r.events.at(n).seq > seq {
		return 0, false
	}
	return r.start + uint64(n), true
}
