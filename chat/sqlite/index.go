package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/query"
)

// Texts are indexed when nobody appends, for a line of 16 words takes the index 40 to 60 µs, and the records themselves, in a large batch, 25. So
// the index is behind the records: who searches in a room has the writer catch up there first. What is taken out leaves it in the
// same step as the records.

const (
	// indexAfter is how long nothing must have been appended.
	indexAfter = 20 * time.Millisecond
	// indexRecords and indexBytes bound what one transaction indexes, for which an append has to wait.
	indexRecords = 200
	indexBytes   = 32 << 10
	wipeCost     = 4 << 10 // of an edit, in bytes
)

// A want is for a room's index, up to the record last.
type want struct {
	ctx  context.Context // of who waits
	room int64
	last int64
	done chan error // has place for one
}

// selectIndexed returns a room's head and first, and the seq up to which it is indexed.
const selectIndexed = `SELECT r.head, r.first, coalesce(i.last, 0) FROM rooms r LEFT JOIN indexed i ON i.room = r.id WHERE r.id = ?`

// indexedIn returns the room with that id which row has, and the seq up to which it is indexed.
func indexedIn(row *sql.Row, id int64) (r *room, last int64, err error) {
	r = &room{id: id}
	err = row.Scan(&r.head, &r.first, &last)
	return r, last, err
}

// untilIndexed calls read with a room, if there is one, once the index has all that the room has now.
func (l *Log) untilIndexed(ctx context.Context, name string, read func(tx *sql.Tx, r *room) error) error {
	target := int64(-1)
	for {
		var missing *want
		err := snapshotOf(ctx, l.search, func(tx *sql.Tx) error {
			r, err := roomIn(tx.QueryRowContext(ctx, selectRoom, name), name)
			if err != nil || r.id == 0 {
				return err
			}
			_, last, err := indexedIn(tx.QueryRowContext(ctx, selectIndexed, r.id), r.id)
			if err != nil {
				return err
			}
			if target < 0 { // what comes after that is not waited for, or it might never end
				target = r.head
			}
			if last < target {
				missing = &want{ctx: ctx, room: r.id, last: target, done: make(chan error, 1)}
				return nil
			}
			return read(tx, &r)
		})
		if err != nil || missing == nil {
			return err
		}
		select {
		case l.wants <- missing:
		case <-l.closing:
			return closedError()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case err = <-missing.done:
		case <-l.closed:
			err = closedError()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// findBehind finds the rooms whose index is behind.
func (w *writer) findBehind(ctx context.Context) error {
	rows, err := w.conn.QueryContext(ctx, `SELECT r.id FROM rooms r LEFT JOIN indexed i ON i.room = r.id WHERE coalesce(i.last, 0) < r.head`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		w.behind[id] = struct{}{}
	}
	return rows.Err()
}

// index does a step for a room that is behind, a wanted one first, and answers who has waited for that. It says whether there may be
// more to do.
func (l *Log) index() (more bool) {
	ctx := context.Background()
	l.wanted = slices.DeleteFunc(l.wanted, func(w *want) bool { return w.ctx.Err() != nil })
	err := l.openWriter(ctx)
	if err == nil {
		id := int64(0)
		if len(l.wanted) > 0 {
			id = l.wanted[0].room
		} else {
			for id = range maps.Keys(l.w.behind) {
				break
			}
			if id == 0 {
				return false
			}
		}
		var last int64
		if last, err = l.w.catchUp(ctx, id); err == nil {
			l.answer(func(w *want) bool { return w.room == id && w.last <= last }, nil)
			return len(l.w.behind) > 0
		}
	}
	// The next append, or search, tries again.
	refusal := l.refusal("index", err)
	if l.w != nil && !errors.Is(err, errGone) {
		l.fail()
	}
	l.answer(func(*want) bool { return true }, refusal)
	return false
}

// answer answers those who want what about says.
func (l *Log) answer(about func(w *want) bool, err error) {
	l.wanted = slices.DeleteFunc(l.wanted, func(w *want) bool {
		if !about(w) {
			return false
		}
		w.done <- err
		return true
	})
}

// catchUp brings a room's index nearer to its records, and returns the seq up to which it is.
func (w *writer) catchUp(ctx context.Context, id int64) (last int64, err error) {
	if err := w.exec(ctx, w.begin); err != nil {
		return 0, err
	}
	r, last, err := indexedIn(w.indexed.QueryRowContext(ctx, id), id)
	if err != nil {
		return 0, err
	}
	if last, err = w.indexRecords(ctx, r, max(last, r.first-1)); err != nil {
		return 0, err
	}
	if err := w.exec(ctx, w.setIndexed, id, last); err != nil {
		return 0, err
	}
	if err := w.exec(ctx, w.commit); err != nil {
		return 0, err
	}
	if last == r.head {
		delete(w.behind, id)
	}
	return last, nil
}

// indexRecords indexes some of r's records behind last, and returns the new one.
func (w *writer) indexRecords(ctx context.Context, r *room, last int64) (int64, error) {
	rows, err := w.indexable.QueryContext(ctx, r.key(last+1), r.key(r.head), indexRecords)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	for bytes := 0; bytes < indexBytes && rows.Next(); last++ {
		var kind, ref int64
		var body sql.RawBytes
		if err := rows.Scan(&kind, &ref, &body); err != nil {
			return 0, err
		}
		bytes += len(body)
		if len(body) == 0 { // it has been deleted
			continue
		}
		seq := last + 1
		switch chat.Kind(kind) {
		case chat.KindText:
		case chat.KindEdit: // what was said there is this now
			if seq = ref; seq < r.first || seq > last {
				continue
			}
			drop := func() error { return w.dropFrom(ctx, r, seq, seq+1, last) }
			if err := w.wiping(ctx, drop); err != nil {
				return 0, err
			}
			bytes += wipeCost
		default:
			continue
		}
		if err := w.exec(ctx, w.addText, r.key(seq), query.Spaced(string(body))); err != nil {
			return 0, err
		}
	}
	return last, rows.Err()
}

// selectNow returns the texts with keys from one to before another of a room, as they are after its
// edits up to a key; none that have been deleted, or trimmed.
const selectNow = `SELECT t.key, coalesce((SELECT e.body FROM records e WHERE e.room = t.room AND e.ref = t.key & ((1 << 40) - 1) AND e.ref > 0 AND e.kind = 1 AND e.key <= ? ORDER BY e.key DESC LIMIT 1), t.body)
	FROM records t WHERE t.key >= ? AND t.key < ? AND t.kind = 0 AND length(t.body) > 0`

// unindex takes the words of r's texts with seqs from begin to before end out of the index, as far as they are there. The texts must
// be in records still.
func (w *writer) unindex(ctx context.Context, r *room, begin, end int64) error {
	_, last, err := indexedIn(w.indexed.QueryRowContext(ctx, r.id), r.id)
	if err != nil {
		return err
	}
	return w.dropFrom(ctx, r, begin, min(end, last+1), last)
}

// dropFrom is unindex where the index has all up to the seq last.
func (w *writer) dropFrom(ctx context.Context, r *room, begin, end, last int64) error {
	if begin >= end {
		return nil
	}
	rows, err := w.now.QueryContext(ctx, r.key(last), r.key(begin), r.key(end))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key int64
		var body sql.RawBytes
		if err := rows.Scan(&key, &body); err != nil {
			return err
		}
		if err := w.exec(ctx, w.dropText, key, query.Spaced(string(body))); err != nil {
			return err
		}
	}
	return rows.Err()
}

// wiping has drop leave nothing in the index of what it takes out. It takes milliseconds for each text, where otherwise FTS5 writes that
// the words count no more, and leaves them there until it merges.
func (w *writer) wiping(ctx context.Context, drop func() error) error {
	if err := w.exec(ctx, w.secure, 1); err != nil {
		return err
	}
	if err := drop(); err != nil {
		return err
	}
	return w.exec(ctx, w.secure, 0) // which writes what was dropped before
}
