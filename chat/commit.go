package chat

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
)

// maxConflicts is how often an append is tried again because another server was first.
const maxConflicts = 16

// refreshBytes is how much of what another server appended is read at once.
const refreshBytes = 1 << 20

// commit appends the publishes that wait to the log in one call, and after that acknowledges
// and shows them (C2).
func (r *room) commit() {
	if len(r.batch) == 0 {
		return
	}
	r.tickFloor() // a batch may follow another without the actor's looking up
	batch := r.admit(r.batch)
	if len(batch) > 0 {
		began := time.Now()
		var results []Result
		var err error
		batch, results, err = r.append(batch)
		if observe := r.srv.cfg.ObserveCommit; observe != nil {
			observe(CommitStats{Lines: len(r.entries), Duration: time.Since(began), Failed: err != nil})
		}
		if err != nil {
			r.fail(batch, err)
		} else {
			r.show(batch, results)
		}
	}
	clear(r.batch)
	clear(r.entries)
	r.batch, r.entries, r.batchBytes, r.judged = r.batch[:0], r.entries[:0], 0, false
}

// admit rejects what those publish who are not in the room, and what others may not, and returns the rest, whose entries
// are r.entries then.
func (r *room) admit(batch []*request) []*request {
	clear(r.entries)
	r.entries = r.entries[:0]
	admitted := batch[:0]
	for _, req := range batch {
		m := r.members[req.session]
		if m == nil || m.sub == nil || m.sub.conn != req.conn {
			r.rejectAll(req, errNotInRoom())
			continue
		}
		n := len(req.entries)
		if r.sift(req); len(req.entries) > 0 {
			r.siftByFloor(req)
		}
		if len(req.entries) == 0 || req.expect != nil && len(req.entries) < n {
			r.rejectAll(req, errNotWhole()) // what is left
			continue
		}
		admitted = append(admitted, req)
		r.entries = append(r.entries, req.entries...)
		r.judged = r.judged || req.judged
	}
	return admitted
}

// sift rejects the entries of a request that its session may not append.
func (r *room) sift(req *request) {
	var verb Verb // of the entry before, which nearly always is that of all
	var denied *Error
	req.entries = slices.DeleteFunc(req.entries, func(e Entry) bool {
		if v := e.Kind.verb(); v != verb {
			verb, denied = v, r.srv.refuseByTable(r.name, &r.known.Settings, req.session.peer, req.session.who, v)
		}
		refusal := denied
		if refusal == nil && !req.paced {
			refusal = r.refuseHaste(req.session, &e)
		}
		if refusal == nil || r.hasAlready(&e) {
			return false
		}
		req.conn.answer(rejectedPublish(r.wire, e.ID, refusal))
		return true
	})
	req.paced = true
}

// hasAlready says whether the entry's id has been used: then it is the log that answers, for who is told that a message was refused
// must not find it in the log (C3).
func (r *room) hasAlready(e *Entry) bool {
	_, found, err := r.srv.cfg.Log.Find(r.srv.ctx, r.name, []Entry{*e})
	return err == nil && len(found) == 1 && found[0].Known != nil
}

// append appends r.entries, which are batch's, and goes after what another server has appended meanwhile: that may have changed
// who may publish, so it returns what was left of batch.
func (r *room) append(batch []*request) ([]*request, []Result, error) {
	for range maxConflicts {
		results, err := r.appendNow(batch)
		if _, ok := errors.AsType[*ConflictError](err); ok {
			if err := r.refresh(); err != nil {
				return batch, nil, r.refusal("refresh", err)
			}
			if batch = r.admit(batch); len(batch) == 0 {
				return nil, nil, nil
			}
			continue
		}
		return batch, results, err
	}
	return batch, nil, errTooManyServers()
}

// appendNow is append, if the log's head is the room's; else the error is a [*ConflictError].
func (r *room) appendNow(batch []*request) ([]Result, error) {
	entries := r.entries
	var d *docket
	if r.judged {
		var err error
		if d, err = r.judge(batch); err != nil {
			return nil, err
		}
		entries = d.entries
	}
	results, err := r.srv.cfg.Log.Append(r.srv.ctx, r.name, r.head, entries, nil)
	if err == nil && len(results) != len(entries) {
		err = errorf(rpc.Internal, "the log answers %d of %d entries", len(results), len(entries))
	}
	if err == nil && d != nil {
		results = d.results(results)
	}
	return results, err
}

func errTooManyServers() *Error {
	return errorf(rpc.Unavailable, "too many servers append to the room")
}

// fail answers a batch that was not appended, or may have been, and goes back to what the
// log says.
func (r *room) fail(batch []*request, err error) {
	answer := r.refusal("append", err)
	_, known := errors.AsType[*Error](err)
	if !known {
		answer = errorf(rpc.Unavailable, "the message may or may not be in the log; it may be sent again with the same id")
		r.mu.Lock()
		for _, req := range batch { // should it be there, its stub tells
			r.ownLocked(req.session, req.entries[0].Producer, r.head+1)
		}
		r.mu.Unlock()
		_ = r.refresh() // has logged its failure; the next append finds out
	}
	for _, req := range batch {
		r.rejectAll(req, answer)
	}
}

// rejectAll rejects all entries of a request.
func (r *room) rejectAll(req *request, err *Error) {
	for i := range req.entries {
		req.conn.answer(rejectedPublish(r.wire, req.entries[i].ID, err))
	}
	req.conn.publishAnswered(req.cost)
	req.conn.wake()
}

// show puts appended records on the ring, and acknowledges.
func (r *room) show(batch []*request, results []Result) {
	rest := results
	duplicates := 0
	for _, req := range batch {
		for i := range req.entries {
			res := &rest[i]
			if res.Duplicate {
				duplicates++
			}
			if res.Err == nil && !res.Duplicate {
				e := r.recordEvent(&Record{Position: res.Position, Entry: req.entries[i], Time: res.Time})
				e.session = req.session
				r.events = append(r.events, e)
			}
		}
		rest = rest[len(req.entries):]
	}
	r.srv.counters.published.Add(uint64(len(r.events)))
	r.srv.counters.duplicates.Add(uint64(duplicates))
	r.mu.Lock()
	for i := range r.events {
		e := &r.events[i]
		r.pushLocked(e)
		r.ownLocked(e.session, e.producer, e.seq)
	}
	r.mu.Unlock()
	rest = results
	for _, req := range batch {
		r.acknowledge(req, rest[:len(req.entries)])
		rest = rest[len(req.entries):]
	}
	for _, req := range batch {
		req.conn.wake() // first, and also if its credit is used up: the acknowledgement needs none
	}
	r.shown()
}

// showEvents puts the events of appended records on the ring, and shows them to all.
func (r *room) showEvents() {
	r.mu.Lock()
	for i := range r.events {
		r.pushLocked(&r.events[i])
	}
	r.mu.Unlock()
	r.shown()
}

// shown follows when the ring has r.events.
func (r *room) shown() {
	if len(r.events) > 0 {
		r.deliver()
	}
	clear(r.events)
	r.events = r.events[:0]
}

// ownLocked notes that a member's stream publishes with producer, from seq on.
func (r *room) ownLocked(s *session, producer Producer, seq uint64) {
	if m := r.members[s]; m.own.first == 0 || m.own.producer != producer {
		m.own = ownRecords{producer: producer, first: seq}
	}
}

// acknowledge answers a request's entries: one PUBACK for those at consecutive positions.
func (r *room) acknowledge(req *request, results []Result) {
	ids := make([]string, 0, len(results))
	begin := 0 // of the run, in results; ids has those of the runs before, too
	flush := func(end int) {
		if run := results[begin:end]; len(run) > 0 {
			req.conn.answer(reply{
				kind: framePubAck, room: r.wire, ids: ids[len(ids)-len(run):],
				pos: run[0].Position, duplicate: run[0].Duplicate,
			})
		}
	}
	for i := range results {
		res := &results[i]
		if res.Err != nil {
			flush(i)
			begin = i + 1
			rejection := rejectedPublish(r.wire, req.entries[i].ID, res.Err)
			rejection.epoch, rejection.head = res.Epoch, res.Seq
			req.conn.answer(rejection)
			continue
		}
		if first := &results[begin]; i > begin && (res.Duplicate != first.Duplicate || res.Position != Position{first.Epoch, first.Seq + uint64(i-begin)}) {
			flush(i)
			begin = i
		}
		ids = append(ids, req.entries[i].ID)
	}
	flush(len(results))
	req.conn.publishAnswered(req.cost)
}

// recordEvent encodes a record for all who will read it. It goes on the ring behind the one that was
// encoded before.
func (r *room) recordEvent(rec *Record) event {
	from, time := validUTF8(rec.From), rec.Time.UnixNano()
	newFrom, newTime := from != r.lastFrom, time != r.lastTime
	r.lastFrom, r.lastTime = from, time
	rest := sizeLineRest(&rec.Entry)
	n := sizeLine(from, time, true, true, 0) + sizeLine(from, time, newFrom, newTime, rest)
	b := make([]byte, 0, n+binary.MaxVarintLen64) // start has the length of the whole line, which may be longer
	b = appendLineStart(b, from, time, true, true, rest)
	start := len(b)
	b = appendLineStart(b, from, time, newFrom, newTime, rest)
	chained := len(b)
	b = appendLineRest(b, &rec.Entry)
	return event{
		start:    b[:start:start],
		chained:  b[start:],
		rest:     chained - start,
		seq:      rec.Seq,
		record:   true,
		epoch:    rec.Epoch,
		from:     rec.From,
		id:       rec.ID,
		producer: rec.Producer,
		kind:     rec.Kind,
		ref:      rec.Ref,
	}
}

// pushLocked puts the event of a record on the ring. What it deletes is not shown any more: to whom was not sent it by now,
// it is as it is in the log.
func (r *room) pushLocked(e *event) {
	if e.seq != r.head+1 {
		// The log has jumped. Whoever reads the log will be told.
		r.ring.clear()
	}
	r.ring.push(*e)
	r.head = e.seq
	if e.kind == KindDelete {
		r.ring.erase(e.ref)
	}
}

// refresh puts on the ring what is in the log and not there.
func (r *room) refresh() error {
	_, err := r.look()
	if err != nil {
		_ = r.refusal("refresh", err) // logs it
	}
	return err
}

// look takes in what the log has of the room, as another server may have made it.
func (r *room) look() (State, error) {
	state, err := r.srv.cfg.Log.State(r.srv.ctx, r.name)
	if err == nil {
		err = r.know(&state)
	}
	if err == nil {
		err = r.catchUp(state)
	}
	if err == nil && r.unruly {
		r.enforce()
	}
	return state, err
}

// catchUp brings the ring up to state. Without subscribers there is nobody to show records to.
func (r *room) catchUp(state State) error {
	if len(r.subs) == 0 || state.First > r.head+1 {
		if state.Head > r.head {
			r.jump(state)
		}
		return nil
	}
	if r.head >= state.Head {
		return nil // and nobody is woken: every JOIN comes here
	}
	for r.head < state.Head {
		records, err := r.srv.cfg.Log.Read(r.srv.ctx, r.name, r.head+1, refreshBytes)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return errorf(rpc.Internal, "the log has no record %d, but its head is %d", r.head+1, state.Head)
		}
		// No further than state: r.known is as of that, and a change of it that was appended since would pass for known.
		records = records[:min(uint64(len(records)), state.Head-r.head)]
		r.mu.Lock()
		for i := range records {
			e := r.recordEvent(&records[i])
			r.pushLocked(&e)
		}
		r.mu.Unlock()
		for i := range records {
			r.follow(&records[i])
		}
	}
	r.wakeAll()
	return nil
}

// jump goes to the head of state without showing what is before it: subscribers find it
// in the log.
func (r *room) jump(state State) {
	r.mu.Lock()
	r.ring.clear()
	r.head = state.Head
	r.mu.Unlock()
	r.wakeAll()
}
