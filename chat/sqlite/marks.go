package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/trunkline-go/trunkline/chat"
)

// maxMarks is how many identities have marks in one room; those of others are not kept.
const maxMarks = 10_000

// Mark implements [chat.Marker]. Marks are committed together with what is appended meanwhile.
func (l *Log) Mark(ctx context.Context, room string, marks []chat.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	return l.hand(ctx, &appending{room: room, marks: marks})
}

// Marks implements [chat.Marker].
func (l *Log) Marks(ctx context.Context, name string) ([]chat.Mark, error) {
	var marks []chat.Mark
	err := l.snapshot(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT m.who, m.read, m.delivered FROM marks m JOIN rooms r ON r.id = m.room WHERE r.name = ? ORDER BY m.who`, name)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var m chat.Mark
			var read, delivered int64
			if err := rows.Scan(&m.Who, &read, &delivered); err != nil {
				return err
			}
			m.Read, m.Delivered = uint64(read), uint64(delivered)
			marks = append(marks, m)
		}
		return rows.Err()
	})
	return marks, err
}

// MarkOf implements [chat.Marker].
func (l *Log) MarkOf(ctx context.Context, name, who string) (chat.Mark, error) {
	m := chat.Mark{Who: who}
	err := l.snapshot(ctx, func(tx *sql.Tx) error {
		var read, delivered int64
		err := tx.QueryRowContext(ctx, `SELECT m.read, m.delivered FROM marks m JOIN rooms r ON r.id = m.room WHERE r.name = ? AND m.who = ?`, name, who).Scan(&read, &delivered)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		m.Read, m.Delivered = uint64(read), uint64(delivered)
		return err
	})
	return m, err
}

// mark raises marks of a room.
func (w *writer) mark(ctx context.Context, name string, marks []chat.Mark) error {
	r, err := roomIn(w.room.QueryRowContext(ctx, name), name)
	if err != nil || r.id == 0 {
		return err
	}
	var n int
	if err := w.countMarks.QueryRowContext(ctx, r.id).Scan(&n); err != nil {
		return err
	}
	for _, m := range marks {
		res, err := w.raiseMark.ExecContext(ctx, int64(m.Read), int64(m.Delivered), r.id, m.Who)
		if err != nil {
			return err
		}
		raised, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if raised > 0 || n >= maxMarks {
			continue
		}
		n++
		if err := w.exec(ctx, w.addMark, r.id, m.Who, int64(m.Read), int64(m.Delivered)); err != nil {
			return err
		}
	}
	return nil
}

var _ chat.Marker = (*Log)(nil)
