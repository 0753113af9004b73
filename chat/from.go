package chat

import (
	"math"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
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
)

// Live begins with the next record.
func Live() From { return From{} }

// After begins behind a position, that of the last record which the client has; the zero Position
// asks for all. If the log cannot prove that it has everything from there on, the
// JOIN is rejected with [rpc.OutOfRange] or [rpc.DataLoss].
func After(p Position) From { return From{kind: fromCursor, cursor: p} }

// Last begins with the newest n records, or with as many as the log still has.
func Last(n uint64) From { return From{kind: fromLast, last: n} }

// next returns the seq of the first record to deliver.
func (f From) next(s State) (uint64, *Error) {
	switch f.kind {
	case fromCursor:
		return s.After(f.cursor)
	case fromLast:
		n := min(f.last, s.Head+1-s.First)
		return s.Head + 1 - n, nil
	case fromLive:
	}
	return s.Head + 1, nil
}

// fromWire returns what a JOIN asks for.
func fromWire(m *chatpb.Join) From {
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
	case fromLive:
	}
}
