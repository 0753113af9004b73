package chat

import (
	"errors"

	"github.com/trunkline-go/trunkline/rpc"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
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
	batch := r.admit()
	if len(batch) > 0 {
		results, err := r.append(batch)
		if err != nil {
			r.fail(batch, err)
		} else {
			r.show(batch, results)
		}
	}
	clear(r.batch)
	clear(r.entries)
	r.batch, r.entries, r.batchBytes = r.batch[:0], r.entries[:0], 0
}

// admit rejects the publishes of those who are not in the room, and returns the others.
func (r *room) admit() []*request {
	batch := r.batch[:0]
	for _, req := range r.batch {
		m := r.members[req.session]
		if m == nil || m.sub == nil || m.sub.conn != req.conn {
			r.reject(req, errNotInRoom())
			req.conn.wake()
			continue
		}
		batch = append(batch, req)
		r.entries = append(r.entries, req.entry)
	}
	return batch
}

// append appends r.entries, and goes after what another server has appended meanwhile.
func (r *room) append(batch []*request) ([]Result, error) {
	for range maxConflicts {
		results, err := r.srv.cfg.Log.Append(r.srv.ctx, r.name, r.head, r.entries)
		if _, ok := errors.AsType[*ConflictError](err); ok {
			if err := r.refresh(); err != nil {
				return nil, r.refusal("refresh", err)
			}
			continue
		}
		if err == nil && len(results) != len(batch) {
			err = errorf(rpc.Internal, "the log answers %d of %d entries", len(results), len(batch))
		}
		return results, err
	}
	return nil, errorf(rpc.Unavailable, "too many servers append to the room")
}

// fail answers a batch that was not appended, or may have been, and goes back to what the
// log says.
func (r *room) fail(batch []*request, err error) {
	answer := r.refusal("append", err)
	_, known := errors.AsType[*Error](err)
	if !known {
		answer = errorf(rpc.Unavailable, "the message may or may not be in the log; it may be sent again with the same id")
		_ = r.refresh() // has logged its failure; the next append finds out
	}
	for _, req := range batch {
		r.reject(req, answer)
		req.conn.wake()
	}
}

func (r *room) reject(req *request, err *Error) {
	rep := rejected(chatpb.Rejected_REQUEST_PUBLISH, r.wire, err)
	rep.id = req.entry.ID
	req.conn.answerPublish(rep, len(req.entry.Body))
}

// show puts appended records on the ring, and acknowledges.
func (r *room) show(batch []*request, results []Result) {
	events := make([]event, 0, len(batch))
	for i, req := range batch {
		if res := &results[i]; res.Err == nil && !res.Duplicate {
			e := r.recordEvent(&Record{Position: res.Position, Entry: req.entry, Time: res.Time})
			e.session = req.session
			events = append(events, e)
		}
	}
	r.mu.Lock()
	for _, e := range events {
		r.pushLocked(e)
	}
	for i, req := range batch {
		res := &results[i]
		if m := r.members[req.session]; res.Err == nil && !res.Duplicate && (m.ownFrom == 0 || m.producer != req.entry.Producer) {
			m.producer, m.ownFrom = req.entry.Producer, res.Seq
		}
	}
	r.mu.Unlock()
	for i, req := range batch {
		res := &results[i]
		if res.Err != nil {
			r.reject(req, res.Err)
			continue
		}
		req.conn.answerPublish(reply{kind: framePubAck, room: r.wire, id: req.entry.ID, pos: res.Position, duplicate: res.Duplicate}, len(req.entry.Body))
	}
	for _, req := range batch {
		req.conn.wake() // first, and also if its credit is used up: the acknowledgement needs none
	}
	if len(events) > 0 {
		r.wakeAll()
	}
}

// recordEvent encodes a record for all who will read it.
func (r *room) recordEvent(rec *Record) event {
	m := recordMessage(r.wire, rec)
	n := bodyLen(m)
	return event{
		frame:    appendMessage(make([]byte, 0, n+maxHeader), frameRecord, m),
		length:   n,
		seq:      rec.Seq,
		record:   true,
		epoch:    rec.Epoch,
		from:     rec.From,
		id:       rec.ID,
		producer: rec.Producer,
	}
}

// pushLocked puts the event of a record on the ring.
func (r *room) pushLocked(e event) {
	if e.seq != r.head+1 {
		// The log has jumped. Whoever reads the log will be told.
		r.ring.clear()
	}
	r.ring.push(e)
	r.head = e.seq
}

// refresh puts on the ring what is in the log and not there.
func (r *room) refresh() error {
	state, err := r.srv.cfg.Log.State(r.srv.ctx, r.name)
	if err == nil {
		err = r.catchUp(state)
	}
	if err != nil {
		_ = r.refusal("refresh", err) // logs it
	}
	return err
}

// catchUp brings the ring up to state. Without subscribers there is nobody to show records to.
func (r *room) catchUp(state State) error {
	if len(r.subs) == 0 || state.First > r.head+1 {
		if state.Head > r.head {
			r.jump(state)
		}
		return nil
	}
	for r.head < state.Head {
		records, err := r.srv.cfg.Log.Read(r.srv.ctx, r.name, r.head+1, refreshBytes)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return errorf(rpc.Internal, "the log has no record %d, but its head is %d", r.head+1, state.Head)
		}
		r.mu.Lock()
		for i := range records {
			r.pushLocked(r.recordEvent(&records[i]))
		}
		r.mu.Unlock()
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
