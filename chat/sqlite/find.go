package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"github.com/trunkline-go/trunkline/chat"
)

// Find implements [chat.Log].
func (l *Log) Find(ctx context.Context, name string, entries []chat.Entry) (chat.State, []chat.Found, error) {
	var s chat.State
	found := make([]chat.Found, len(entries))
	err := l.snapshot(ctx, func(tx *sql.Tx) error {
		r, err := roomIn(tx.QueryRowContext(ctx, selectRoom, name), name)
		if err != nil {
			return err
		}
		if s, err = stateOf(ctx, tx, &r); err != nil || r.id == 0 {
			return err
		}
		f := finder{tx: tx, room: &r, targets: make(map[uint64]*chat.Target)}
		for i := range entries {
			if found[i], err = f.find(ctx, &entries[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return s, found, err
}

// A finder finds what there is for the entries of one call.
type finder struct {
	tx      *sql.Tx
	room    *room
	targets map[uint64]*chat.Target // nil: there is none
}

func (f *finder) find(ctx context.Context, e *chat.Entry) (found chat.Found, err error) {
	res, err := knownAs(f.tx.QueryRowContext(ctx, selectDuplicate, f.room.id, e.Producer[:], []byte(e.ID), e.From), hashOf(e))
	switch {
	case err == nil:
		found.Known = &res
	case !errors.Is(err, sql.ErrNoRows):
		return found, err
	}
	if e.Ref == 0 {
		return found, nil
	}
	t, looked := f.targets[e.Ref]
	if !looked {
		if t, err = f.target(ctx, e.Ref); err != nil {
			return found, err
		}
		f.targets[e.Ref] = t
	}
	found.Target = t
	return found, nil
}

// selectReferences finds the edits, the reactions, and those taken back, of a text.
const selectReferences = `SELECT kind, sender, CASE WHEN kind <> 1 THEN body END FROM records WHERE room = ? AND ref = ? AND ref > 0 AND kind IN (1, 3, 4) ORDER BY key`

// target returns the text at seq, or nil if there is none.
func (f *finder) target(ctx context.Context, seq uint64) (*chat.Target, error) {
	if seq > math.MaxInt64 || int64(seq) < f.room.first || int64(seq) > f.room.head {
		return nil, nil
	}
	t := &chat.Target{}
	err := f.tx.QueryRowContext(ctx, `SELECT sender, length(body) = 0 FROM records WHERE key = ? AND kind = 0`, f.room.key(int64(seq))).Scan(&t.From, &t.Erased)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := f.tx.QueryContext(ctx, selectReferences, f.room.id, int64(seq))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var kind int64
		var ref chat.Reference
		var text sql.RawBytes
		if err := rows.Scan(&kind, &ref.From, &text); err != nil {
			return nil, err
		}
		ref.Kind, ref.Text = chat.Kind(kind), string(text)
		t.Refs = append(t.Refs, ref)
	}
	return t, rows.Err()
}
