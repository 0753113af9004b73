package chat

import (
	"errors"

	"github.com/trunkline-go/trunkline/rpc"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
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
	lost    bool // the log no longer has next; the actor knows
	need    int  // of credit, for the record next, if that was refused; else 0

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
	for !s.lost {
		if s.lagging {
			var p progress
			if dst, p = s.catchUp(dst); p != caughtUp {
				return dst
			}
		}
		var p progress
		if dst, p = s.fromRing(dst); p != behind {
			return dst
		}
		s.lagging = true
		s.seen = max(s.seen, s.cursor) // these have been delivered
	}
	return dst
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
	for ; s.cursor < end; s.cursor++ {
		e := r.ring.at(s.cursor)
		if !e.record && s.cursor < s.seen || e.record && e.seq < s.next {
			continue
		}
		if e.record && e.seq > s.next {
			return dst, behind
		}
		if !s.conn.fits(dst, len(e.frame)) || !s.conn.mayAppend(e.length) {
			return dst, full
		}
		if !e.record {
			dst = append(dst, e.frame...)
			s.conn.charge(e.length)
			continue
		}
		s.next = e.seq + 1
		if e.session != nil && e.session != s.conn.session || !s.ownLocked(e.from, e.producer, e.seq) {
			dst = append(dst, e.frame...)
			s.conn.charge(e.length)
			continue
		}
		own := ownMessage(r.wire, Position{e.epoch, e.seq}, e.id)
		dst = appendMessage(dst, frameOwn, own)
		s.conn.charge(bodyLen(own))
	}
	return dst, caughtUp
}

// ownLocked says whether the session itself has published a record.
func (s *subscription) ownLocked(from string, producer Producer, seq uint64) bool {
	m := s.member
	return m.ownFrom > 0 && seq >= m.ownFrom && producer == m.producer && from == s.who
}

// catchUp appends what the log has, or goes back to the ring once that has what comes next.
func (s *subscription) catchUp(dst []byte) ([]byte, progress) {
	for {
		if !s.conn.fits(dst, 1) || !s.conn.mayAppend(max(1, s.need)) {
			return dst, full
		}
		back, p := s.rejoin(&dst)
		if back {
			return dst, p
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
		for i := range records {
			var more bool
			if dst, more = s.appendRecord(dst, &records[i]); !more {
				return dst, full
			}
		}
	}
}

// rejoin goes back to the ring if that has all that follows. If presence events have been
// skipped, MEMBERS stands in for them.
func (s *subscription) rejoin(dst *[]byte) (back bool, p progress) {
	r := s.room
	r.mu.RLock()
	if s.over && s.next > s.lastSeq {
		// Owed is nothing more but, perhaps, presence, which does not matter to who leaves.
		s.cursor = max(s.cursor, s.lastIndex)
		r.mu.RUnlock()
		s.lagging = false
		return true, caughtUp
	}
	index, ok := r.ring.find(s.next, r.head)
	skipped := r.ring.skipped > s.seen
	start := r.ring.start // now: gather takes what is before the cursor for delivered
	r.mu.RUnlock()
	if !ok {
		return false, 0
	}
	if skipped {
		names, seen := r.presentNames()
		m := &chatpb.Members{Room: r.wire, Members: names}
		n := bodyLen(m)
		if !s.conn.mayAppend(n) {
			return true, full
		}
		*dst = appendMessage(*dst, frameMembers, m)
		s.conn.charge(n)
		s.seen = seen
	}
	// Presence that came before the record, but after what is accounted for, is still
	// to be delivered.
	s.cursor = min(index, max(s.seen, start))
	s.lagging = false
	return true, caughtUp
}

// appendRecord appends a record that was read from the log, if the credit allows it.
func (s *subscription) appendRecord(dst []byte, rec *Record) ([]byte, bool) {
	r := s.room
	r.mu.RLock()
	over := s.over && rec.Seq > s.lastSeq
	own := s.ownLocked(rec.From, rec.Producer, rec.Seq)
	r.mu.RUnlock()
	if over {
		return dst, false
	}
	var m proto.Message = recordMessage(r.wire, rec)
	t := frameRecord
	if own {
		m, t = ownMessage(r.wire, rec.Position, rec.ID), frameOwn
	}
	n := bodyLen(m)
	if !s.conn.fits(dst, n+maxHeader) || !s.conn.mayAppend(n) {
		s.need = n
		return dst, false
	}
	s.need = 0
	s.conn.charge(n)
	s.next = rec.Seq + 1
	return appendMessage(dst, t, m), true
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
