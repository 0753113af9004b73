package chat

import (
	"math"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
)

// A From says with which record a room's records begin for who joins. The zero value is
// [Live].
type From struct {
	kind   fromKind
	cursor Position
	last   uint64
}

type fromKind uint8

const (
	fromLive fromKind = iota
	fromCursor
	fromLast
	fromCheckpoint
)

// Live begins with the next record.
func Live() From { return From{} }

// After begins behind a position, that of the last record which the client has; the zero Position
// asks for all. If the log cannot prove that it has everything from there on, the
// JOIN is rejected with [rpc.OutOfRange] or [rpc.DataLoss].
func After(p Position) From { return From{kind: fromCursor, cursor: p} }

// Last begins with the newest n records, or with as many as the log still has.
func Last(n uint64) From { return From{kind: fromLast, last: n} }

// FromCheckpoint begins behind the identity's own checkpoint in the room, see [Client.MarkRead], on whichever client it was said: what
// is to come then, nobody is done with yet. As with [After], the JOIN is rejected with [rpc.OutOfRange] if that is not all there any
// more, or lies before a synchronization point beyond which nobody is taken back: Last(math.MaxUint64) begins with what there is. Without a checkpoint
// nothing is done with, so it begins with the oldest record at once. A server that keeps no checkpoints rejects it with [rpc.Unimplemented].
func FromCheckpoint() From { return From{kind: fromCheckpoint} }

// checkpointFrom returns what [FromCheckpoint] is for who in the room, now.
func (r *room) checkpointFrom(who string, s State) (From, *Error) {
	marker, ok := r.srv.cfg.Log.(Marker)
	if !ok {
		return From{}, errorf(rpc.Unimplemented, "the log of this server keeps no checkpoints")
	}
	m, err := marker.MarkOf(r.srv.ctx, r.name, who)
	if err != nil {
		return From{}, r.refusal("read a mark", err)
	}
	// One that was said, and is kept within the second, counts: another client of the identity may begin where that one has ended.
	r.gatherMarks()
	if said := r.raised[who]; s.has(Position{Epoch: said.epoch, Seq: said.Delivered}) {
		m = m.raised(said.Mark)
	}
	switch {
	case m.Read <= r.known.Gone: // none, or in a room of that name which has been deleted
		return Last(math.MaxUint64), nil
	case m.Read > s.Head: // not DataLoss: that is what a server says which does not know of checkpoints (M155)
		return From{}, errorf(rpc.OutOfRange, "the checkpoint at %d is beyond the head, which is %d", m.Read, s.Head)
	}
	return After(Position{Epoch: s.Epoch(), Seq: m.Read}), nil
}

// refusedCheckpoint returns what a client is told of a JOIN from its checkpoint that was refused with code.
func refusedCheckpoint(e *Rejected) {
	if e.Code == rpc.DataLoss {
		e.Code, e.Reason = rpc.Unimplemented, "this server cannot begin at a checkpoint"
	}
}

// next returns the seq of the first record to deliver.
func (f From) next(s State) (uint64, *Error) {
	switch f.kind {
	case fromCursor:
		return s.After(f.cursor)
	case fromLast:
		n := min(f.last, s.Head+1-s.First)
		return s.Head + 1 - n, nil
	case fromLive, fromCheckpoint: // of the latter there is another in its place
	}
	return s.Head + 1, nil
}

// fromWire returns what a JOIN asks for.
func fromWire(m *chatpb.Join) From {
	if m.GetCheckpoint() {
		return FromCheckpoint()
	}
	switch f := m.GetFrom().(type) {
	case *chatpb.Join_Cursor:
		// Of what is beyond any log, the seq must not wrap to 0.
		return After(Position{Epoch: f.Cursor.GetEpoch(), Seq: min(f.Cursor.GetSeq(), math.MaxUint64-1)})
	case *chatpb.Join_Last:
		return Last(f.Last)
	}
	return Live()
}

func (f From) toWire(m *chatpb.Join) {
	switch f.kind {
	case fromCursor:
		m.From = &chatpb.Join_Cursor{Cursor: &chatpb.Cursor{Epoch: f.cursor.Epoch, Seq: f.cursor.Seq}}
	case fromLast:
		m.From = &chatpb.Join_Last{Last: f.last}
	case fromCheckpoint:
		m.Checkpoint = true
		m.From = &chatpb.Join_Cursor{Cursor: &chatpb.Cursor{Epoch: math.MaxUint64, Seq: math.MaxUint64}}
	case fromLive:
	}
}
