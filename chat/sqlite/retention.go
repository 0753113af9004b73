package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// sweepStep bounds what one transaction of a sweep changes, in records, so that appends do not wait long for it: to take one out of
// the index, too, is some 50 µs.
const sweepStep = 500

// trimToSize trims the room's oldest records, to which n have come, until it has no more than it may, or a step nearer to that, if it may
// have less than before. The newest stays.
func (w *writer) trimToSize(ctx context.Context, r *room, n int64, cfg *Config, now time.Time) error {
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
	return w.trimTo(ctx, r, min(first, r.head, r.first+n+sweepStep), now)
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
	if err := w.unindex(ctx, r, r.first, first); err != nil {
		return err
	}
	if err := w.exec(ctx, w.trim, now.UnixNano(), r.key(r.first), r.key(first)); err != nil {
		return err
	}
	r.first, r.bytes = first, r.bytes-gone
	return nil
}

// A pass goes once over the rooms, by their ids, for what has become too old: records, and then marks. A room in which there
// always is something does not keep it from the others, nor without an end.
type pass struct {
	began   time.Time // what was not too old then is the next one's
	after   int64     // id of the room that was done last
	forgets bool      // it has come to the marks
}

// sweep does a step of a pass in one room. It says whether there may be more.
func (l *Log) sweep(p *pass) (more bool) {
	ctx := context.Background()
	err := l.openWriter(ctx)
	if err == nil {
		err = l.w.exec(ctx, l.w.begin)
	}
	if err == nil {
		more, err = l.w.sweep(ctx, p, l.cfg.MaxAge)
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

func (w *writer) sweep(ctx context.Context, p *pass, maxAge time.Duration) (more bool, err error) {
	if !p.forgets && maxAge > 0 {
		before := p.began.Add(-maxAge)
		r, found, err := find(ctx, w.aging, p.after, before)
		if err != nil {
			return false, err
		}
		if found {
			first, err := w.until(ctx, &r, r.first, r.head+1, before)
			if err != nil {
				return false, err
			}
			p.did(&r, first-r.first)
			if err := w.trimTo(ctx, &r, first, time.Now()); err != nil {
				return false, err
			}
			return true, w.save(ctx, &r)
		}
	}
	if !p.forgets {
		p.forgets, p.after = true, 0
	}
	before := p.began.Add(-MarksOutlive)
	r, found, err := find(ctx, w.forgettable, p.after, before)
	if err != nil || !found {
		return false, err
	}
	oldest, err := w.until(ctx, &r, r.oldest, r.first, before)
	if err != nil {
		return false, err
	}
	p.did(&r, oldest-r.oldest)
	if err := w.exec(ctx, w.forget, r.key(r.oldest), r.key(oldest)); err != nil {
		return false, err
	}
	r.oldest = oldest
	return true, w.save(ctx, &r)
}

// did notes that n records of r were looked after.
func (p *pass) did(r *room, n int64) {
	if n < sweepStep {
		p.after = r.id
	}
}

// find returns the first room behind another for which query finds something that is older than before.
func find(ctx context.Context, query *sql.Stmt, after int64, before time.Time) (r room, found bool, err error) {
	err = query.QueryRowContext(ctx, after, before.UnixNano()).Scan(&r.id, &r.name, &r.head, &r.first, &r.oldest, &r.bytes)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
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
	return seqOf(key), err
}
