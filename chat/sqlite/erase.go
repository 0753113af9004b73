package sqlite

import (
	"context"
	"fmt"
)

// A delete leaves nothing of a text in the database: secure_delete writes zeros over what becomes free. Until the next checkpoint
// the file, and until it is written over the write-ahead log, still have the pages as they were before; see wipe.

// What a delete takes: the text with a key, and its edits by the room and the text's seq.
const (
	erasable    = `key IN (SELECT key FROM records WHERE key = ? AND kind = 0 UNION ALL SELECT key FROM records WHERE room = ? AND ref = ? AND ref > 0 AND kind = 1)`
	sumErasable = `SELECT coalesce(sum(length(body)), 0) FROM records WHERE ` + erasable
	eraseBodies = `UPDATE records SET body = x'' WHERE ` + erasable + ` AND length(body) > 0`
)

// erase takes the bodies of the text seq and of its edits. The rows stay, and so do their hashes.
func (w *writer) erase(ctx context.Context, r *room, seq uint64) error {
	if seq > uint64(r.head) { // the text may be trimmed; then there is nothing to take
		return nil
	}
	var bytes int64
	if err := w.erasable.QueryRowContext(ctx, r.key(int64(seq)), r.id, int64(seq)).Scan(&bytes); err != nil {
		return err
	}
	drop := func() error { return w.unindex(ctx, r, int64(seq), int64(seq)+1) }
	if err := w.wiping(ctx, drop); err != nil {
		return err
	}
	r.bytes -= bytes
	return w.exec(ctx, w.eraseBodies, r.key(int64(seq)), r.id, int64(seq))
}

// wipe has the database and its write-ahead log written over, if bodies were taken since it last did. While somebody still
// reads what was there before it does nothing, and the next call tries again.
func (l *Log) wipe() {
	if !l.erased || l.w == nil {
		return
	}
	ctx := context.Background()
	busy, err := l.w.truncate(ctx)
	if err != nil {
		l.fail()
		_ = l.refusal("erase", err) // logs it; the next tick tries again
		return
	}
	l.erased = busy
}

// truncate brings the database up to its write-ahead log, and that to nothing. If it would have to wait for somebody it is busy.
func (w *writer) truncate(ctx context.Context) (busy bool, err error) {
	if _, err := w.conn.ExecContext(ctx, `PRAGMA busy_timeout = 0`); err != nil { // appends wait meanwhile
		return false, err
	}
	var frames, done int
	if err := w.conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &done); err != nil {
		return false, err
	}
	_, err = w.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA busy_timeout = %d`, busyTimeout))
	return busy, err
}
