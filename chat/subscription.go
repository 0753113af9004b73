package chat

import (
	"errors"

	"github.com/trunkline-go/trunkline/rpc"
)

// A subscription is one stream's place in one room: a cursor, and no queue. While the ring has
// what comes next it reads the ring; when it has fallen behind it is lagging, and reads the log
// in pieces, at its own pace, until the ring has what comes next. So a slow reader
// costs the same as a fast one, and nobody waits for it.
type subscription struct {
	room   *room
	conn   *conn
	member *member
	who    string
	place  int // in room.subs; the actor's

	// Set by the actor before JOINED is queued, and then the writer's.
	next    uint64 // seq of the next record
	cursor  uint64 // index in the ring of the next event, unless lagging
	seen    uint64 // presence events before this index are accounted for
	lagging bool
	stale   bool     // marks have been skipped, and it is not told yet
	lost    bool     // the log no longer has next; the actor knows
	need    int      // of credit, for the record next, if that was refused; else 0
	behind  bool     // counted in room.behind
	stalled bool     // counted in room.stalled
	unshown bool     // that who is there, as it has been told, is not yet shown, or it has left since
	list    []string // what is left of the members that it is to be sent in MEMBERS, before all else of the room

	// Set when the room has stopped serving it; guarded by room.mu. What came before is owed.
	over      bool
	lastSeq   uint64
	lastIndex uint64
}

// A progress says how a look for events ended.
type progress uint8

const (
	caughtUp progress = iota + 1 // all is read that there is
	full                         // the buffer is, or the credit is used up
	behind                       // the ring does not have what comes next
)

// gather appends events to dst, up to writeSize in all.
func (s *subscription) gather(dst []byte) []byte {
	dst, p := s.look(dst)
	stalled := p == full && s.conn.stalled.Load()
	s.setBehind(s.lagging || stalled, stalled)
	return dst
}

func (s *subscription) look(dst []byte) ([]byte, progress) {
	for !s.lost {
		var p progress
		var ok bool
		if dst, ok = s.appendList(dst); !ok {
			return dst, full
		}
		if dst, ok = s.appendStale(dst); !ok {
			return dst, full
		}
		if s.lagging {
			if dst, p = s.catchUp(dst); p != caughtUp {
				return dst, p
			}
			continue // perhaps with a list
		}
		if dst, p = s.fromRing(dst); p != behind {
			return dst, p
		}
		s.lagging = true
		s.room.srv.counters.catchUps.Add(1)
		s.seen = max(s.seen, s.cursor) // these have been delivered
	}
	return dst, behind
}

// fromRing appends what the ring has.
func (s *subscription) fromRing(dst []byte) ([]byte, progress) {
	r := s.room
	r.mu.RLock()
	defer r.mu.RUnlock()
	end := r.ring.end()
	if s.over {
		end = min(end, s.lastIndex)
	}
	if s.cursor < r.ring.start && s.cursor < end {
		return dst, behind
	}
	for s.cursor < end {
		e := r.ring.at(s.cursor)
		switch {
		case !e.record && s.cursor < s.seen || e.record && e.seq < s.next:
			s.cursor++ // it has been delivered
		case e.record && e.seq > s.next:
			return dst, behind
		case e.record:
			var ok bool
			if dst, ok = s.appendRun(dst, end); !ok {
				return dst, full
			}
		default:
			var ok bool
			if dst, ok = s.appendPresence(dst, e); !ok {
				return dst, full
			}
			s.cursor++
		}
	}
	return dst, caughtUp
}

// appendRun appends one RECORD with the record at the cursor and those that follow it in the ring: as
// many as are of one epoch, with nothing between them, and as the write and the credit have place for.
func (s *subscription) appendRun(dst []byte, end uint64) ([]byte, bool) {
	r := s.room
	e := r.ring.at(s.cursor)
	first := Position{e.epoch, e.seq}
	own := s.isOwn(e)
	length := sizeItemsHeader(r.wire, first) + e.lineSize(own, false)
	if !s.conn.fits(dst, length+maxHeader) || !s.conn.mayAppend(length) {
		return dst, false
	}
	most := s.conn.frameRoom(dst)
	chained := !own
	stop := s.cursor + 1
	for ; stop < end; stop++ {
		e := r.ring.at(stop)
		if !e.record || e.epoch != first.Epoch || e.seq != s.next+stop-s.cursor {
			break
		}
		own := s.isOwn(e)
		n := e.lineSize(own, chained)
		if length+n > most {
			break
		}
		length += n
		chained = !own
	}
	dst = appendRecordHeader(dst, r.wire, first, length)
	chained = false
	for ; s.cursor < stop; s.cursor++ {
		e := r.ring.at(s.cursor)
		own := s.isOwn(e)
		dst = e.appendLine(dst, own, chained)
		chained = !own
		s.next++
	}
	s.conn.lines += int(s.next - first.Seq)
	s.conn.charge(length)
	return dst, true
}

// isOwn says whether the session itself has published the record of an event, or its client knows of it.
func (s *subscription) isOwn(e *event) bool {
	own := &s.member.own
	return (own.known || e.session == nil || e.session == s.conn.session) && own.has(e.producer, e.seq) && e.from == s.who
}

// catchUp appends what the log has, or goes back to the ring once that has what comes next.
func (s *subscription) catchUp(dst []byte) ([]byte, progress) {
	for {
		if !s.conn.fits(dst, 1) || !s.conn.mayAppend(max(1, s.need)) {
			return dst, full
		}
		if s.rejoin() {
			return dst, caughtUp
		}
		size := max(1, min(writeSize-len(dst), s.conn.credit()))
		records, err := s.room.srv.cfg.Log.Read(s.room.srv.ctx, s.room.name, s.next, size)
		if err != nil {
			s.failed(err)
			return dst, full
		}
		if len(records) == 0 {
			s.conn.wakeAfter(retryAfter) // its head is known, so this is only a log that is late
			return dst, full
		}
		for len(records) > 0 {
			var n int
			if dst, n = s.appendRecords(dst, records); n == 0 {
				return dst, full
			}
			records = records[n:]
		}
	}
}

// rejoin goes back to the ring if that has all that follows. If presence events have been
// skipped, MEMBERS stands in for them.
func (s *subscription) rejoin() (back bool) {
	r := s.room
	r.mu.RLock()
	if s.over && s.next > s.lastSeq {
		// Owed is nothing more but, perhaps, presence, which does not matter to who leaves.
		s.cursor = max(s.cursor, s.lastIndex)
		r.mu.RUnlock()
		s.lagging = false
		return true
	}
	index, ok := r.ring.find(s.next, r.head)
	skipped := r.ring.skipped > s.seen
	s.stale = s.stale || skipped || r.ring.marksSkipped > s.seen // with the list, marks are skipped, too
	start := r.ring.start                                        // now: gather takes what is before the cursor for delivered
	r.mu.RUnlock()
	if !ok {
		return false
	}
	if skipped {
		s.list = s.members()
		r.srv.counters.presenceSkipped.Add(1)
	}
	// Presence that came before the record, but after what is accounted for, is still
	// to be delivered.
	s.cursor = min(index, max(s.seen, start))
	s.lagging = false
	return true
}

// appendRecords appends one RECORD with as many of the records, which were read from the log, as the
// write and the credit have place for. It returns how many.
func (s *subscription) appendRecords(dst []byte, records []Record) ([]byte, int) {
	r := s.room
	r.mu.RLock()
	over, lastSeq, published := s.over, s.lastSeq, s.member.own
	r.mu.RUnlock()
	first := records[0].Position
	length, most := sizeItemsHeader(r.wire, first), 0
	var before *Record // the line before that is not own, if there is one
	n := 0
	for ; n < len(records); n++ {
		rec := &records[n]
		if over && rec.Seq > lastSeq || rec.Position != (Position{first.Epoch, first.Seq + uint64(n)}) {
			break
		}
		var size int
		if published.has(rec.Producer, rec.Seq) && rec.From == s.who {
			size = sizeOwn(rec.ID)
		} else {
			withFrom, withTime := rec.differs(before)
			size = sizeLine(validUTF8(rec.From), rec.Time.UnixNano(), withFrom, withTime, sizeLineRest(&rec.Entry))
			before = rec
		}
		if n == 0 {
			if !s.conn.fits(dst, length+size+maxHeader) || !s.conn.mayAppend(length+size) {
				s.need = length + size
				return dst, 0
			}
			most = s.conn.frameRoom(dst)
		} else if length+size > most {
			break
		}
		length += size
	}
	if n == 0 {
		return dst, 0
	}
	s.need = 0
	dst = appendRecordHeader(dst, r.wire, first, length)
	before = nil
	for i := range records[:n] {
		rec := &records[i]
		if published.has(rec.Producer, rec.Seq) && rec.From == s.who {
			dst = appendOwn(dst, rec.ID)
			continue
		}
		withFrom, withTime := rec.differs(before)
		dst = appendLineStart(dst, validUTF8(rec.From), rec.Time.UnixNano(), withFrom, withTime, sizeLineRest(&rec.Entry))
		dst = appendLineRest(dst, &rec.Entry)
		before = rec
	}
	s.next = first.Seq + uint64(n)
	s.conn.lines += n
	s.conn.charge(length)
	return dst, n
}

// differs says what a line must say that follows the one of before, if there is one.
func (rec *Record) differs(before *Record) (from, time bool) {
	return before == nil || before.From != rec.From, before == nil || !before.Time.Equal(rec.Time)
}

// failed follows a log that did not give what it was asked for.
func (s *subscription) failed(err error) {
	r := s.room
	if e, ok := errors.AsType[*Error](err); ok && e.Code == rpc.OutOfRange {
		// The reader was so slow that the log has trimmed what it is owed. The
		// actor rejects it; until then it is sent nothing.
		s.lost = true
		if owner, _ := r.srv.room(r.name, false); owner != nil {
			owner.send(&request{kind: requestLost, session: s.conn.session, conn: s.conn, sub: s})
		}
		return
	}
	_ = r.refusal("read", err) // logs it
	s.conn.wakeAfter(retryAfter)
}
