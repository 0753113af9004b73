package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// sweepStep bounds what one transaction of a sweep changes, in records, so that appends do not wait long for it.
const sweepStep = 5000

// trimToSize trims the room's oldest records until it has no more than it may. The newest stays.
func (w *writer) trimToSize(ctx context.Context, r *room, cfg *Config, now time.Time) error {
	first := r.first
	if over := r.head - first + 1 - cfg.MaxRoomRecords; cfg.MaxRoomRecords > 0 && over > 0 {
		first += over
	}
	if cfg.MaxRoomBytes > 0 && r.bytes > cfg.MaxRoomBytes {
		fits, err := w.firstThatFits(ctx, r, r.bytes-cfg.MaxRoomBytes)
		if err != nil {
			return err
		}
		first = max(first, fits)
	}
	return w.trimTo(ctx, r, min(first, r.head), now)
}

// firstThatFits returns the seq before which there are at least so many bytes of texts.
func (w *writer) firstThatFits(ctx context.Context, r *room, bytes int64) (int64, error) {
	rows, err := w.sizes.QueryContext(ctx, r.key(r.first), r.key(r.head))
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	first := r.first
	for bytes > 0 && rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return 0, err
		}
		bytes -= n
		first++
	}
	return first, rows.Err()
}

// trimTo makes first the room's first record. What is before it becomes a mark.
func (w *writer) trimTo(ctx context.Context, r *room, first int64, now time.Time) error {
	if first <= r.first {
		return nil
	}
	var gone int64
	if err := w.sumSizes.QueryRowContext(ctx, r.key(r.first), r.key(first)).Scan(&gone); err != nil {
		return err
	}
	if err := w.exec(ctx, w.trim, now.UnixNano(), r.key(r.first), r.key(first)); err != nil {
		return err
	}
	r.first, r.bytes = first, r.bytes-gone
	return nil
}

// sweep trims some records that are too old, and forgets some marks that are, in one room. It says whether there
// may be more.
func (l *Log) sweep(now time.Time) (more bool) {
	ctx := context.Background()
	err := l.openWriter(ctx)
	if err == nil {
		err = l.w.exec(ctx, l.w.begin)
	}
	if err == nil {
		more, err = l.w.sweep(ctx, now, l.cfg.MaxAge)
	}
	if err == nil {
		err = l.w.exec(ctx, l.w.commit)
	}
	if err != nil {
		_ = l.refusal("trim", err) // logs it; the next tick tries again
		if l.w != nil && !errors.Is(err, errGone) {
			l.fail()
		}
		return false
	}
	return more
}

func (w *writer) sweep(ctx context.Context, now time.Time, maxAge time.Duration) (more bool, err error) {
	if maxAge > 0 {
		r, found, err := w.find(ctx, w.aging, now.Add(-maxAge))
		if err != nil {
			return false, err
		}
		if found {
			first, err := w.until(ctx, &r, r.first, r.head+1, now.Add(-maxAge))
			if err == nil {
				err = w.trimTo(ctx, &r, first, now)
			}
			return true, errors.Join(err, w.exec(ctx, w.setRoom, r.head, r.first, r.oldest, r.bytes, r.id))
		}
	}
	r, found, err := w.find(ctx, w.forgettable, now.Add(-MarksOutlive))
	if err != nil || !found {
		return false, err
	}
	oldest, err := w.until(ctx, &r, r.oldest, r.first, now.Add(-MarksOutlive))
	if err != nil {
		return false, err
	}
	if err := w.exec(ctx, w.forget, r.key(r.oldest), r.key(oldest)); err != nil {
		return false, err
	}
	r.oldest = oldest
	return true, w.exec(ctx, w.setRoom, r.head, r.first, r.oldest, r.bytes, r.id)
}

// find returns the first room for which query finds something that is older than before.
func (w *writer) find(ctx context.Context, query *sql.Stmt, before time.Time) (r room, found bool, err error) {
	err = query.QueryRowContext(ctx, before.UnixNano()).Scan(&r.name)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	if err == nil {
		err = w.room.QueryRowContext(ctx, r.name).Scan(&r.id, &r.head, &r.first, &r.oldest, &r.bytes)
	}
	return r, err == nil, err
}

// until returns the seq, from begin to end, up to which all is older than before, but looks at no more than sweepStep.
func (w *writer) until(ctx context.Context, r *room, begin, end int64, before time.Time) (int64, error) {
	end = min(end, begin+sweepStep)
	var key int64
	err := w.firstYoung.QueryRowContext(ctx, r.key(begin), r.key(end-1), before.UnixNano()).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return end, nil
	}
	return key & (1<<seqBits - 1), err
}
