package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"

	sqlite3 "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

// A writer is the one connection that writes, with its statements.
type writer struct {
	conn  *sql.Conn
	stmts []*sql.Stmt // all of the following

	begin, commit, rollback                *sql.Stmt
	room, countRooms, addRoom, setRoom     *sql.Stmt
	setSnapshot                            *sql.Stmt
	epoch, beginEpoch                      *sql.Stmt
	addRecord, duplicate                   *sql.Stmt
	erasable, eraseBodies                  *sql.Stmt
	sizes, sumSizes, trim                  *sql.Stmt
	aging, firstYoung, forgettable, forget *sql.Stmt
	indexed, setIndexed, indexable, now    *sql.Stmt
	addText, dropText, secure              *sql.Stmt
	countMarks, addMark, raiseMark         *sql.Stmt

	behind map[int64]struct{} // ids of the rooms whose index may be behind their records
}

func newWriter(ctx context.Context, db *sql.DB, cfg *Config) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := boundFile(ctx, conn, cfg.MaxFileBytes); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	w := &writer{conn: conn, behind: make(map[int64]struct{})}
	for _, s := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&w.begin, `BEGIN IMMEDIATE`},
		{&w.commit, `COMMIT`},
		{&w.rollback, `ROLLBACK`},
		{&w.room, selectRoom},
		{&w.countRooms, `SELECT count(*) FROM rooms`},
		{&w.addRoom, `INSERT INTO rooms (name, head, first, oldest, bytes) VALUES (?, 0, 1, 1, 0) RETURNING id`},
		{&w.setRoom, `UPDATE rooms SET head = ?, first = ?, oldest = ?, bytes = ? WHERE id = ?`},
		{&w.setSnapshot, `UPDATE rooms SET snapshot = ? WHERE id = ?`},
		{&w.epoch, `SELECT max(number) FROM epochs`},
		{&w.beginEpoch, `INSERT OR IGNORE INTO room_epochs VALUES (?, ?, ?)`},
		{&w.addRecord, `INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (room, producer, message, sender) DO NOTHING`},
		{&w.duplicate, selectDuplicate},
		{&w.erasable, sumErasable},
		{&w.eraseBodies, eraseBodies},
		{&w.sizes, `SELECT length(body) FROM records WHERE key >= ? AND key < ? ORDER BY key`},
		{&w.sumSizes, `SELECT coalesce(sum(length(body)), 0) FROM records WHERE key >= ? AND key < ?`},
		{&w.trim, `UPDATE records SET body = NULL, time = ? WHERE key >= ? AND key < ?`},
		{&w.aging, `SELECT id, name, head, first, oldest, bytes FROM rooms WHERE id > ? AND first <= head AND (SELECT time FROM records WHERE key = rooms.id << 40 | rooms.first) < ? ORDER BY id LIMIT 1`},
		{&w.firstYoung, `SELECT key FROM records WHERE key >= ? AND key <= ? AND time >= ? ORDER BY key LIMIT 1`},
		{&w.forgettable, `SELECT id, name, head, first, oldest, bytes FROM rooms WHERE id > ? AND oldest < first AND (SELECT time FROM records WHERE key = rooms.id << 40 | rooms.oldest) < ? ORDER BY id LIMIT 1`},
		{&w.indexed, selectIndexed},
		{&w.setIndexed, `INSERT OR REPLACE INTO indexed VALUES (?, ?)`},
		{&w.indexable, `SELECT kind, ref, body FROM records WHERE key >= ? AND key <= ? ORDER BY key LIMIT ?`},
		{&w.now, selectNow},
		{&w.countMarks, `SELECT count(*) FROM marks WHERE room = ?`},
		{&w.addMark, `INSERT INTO marks VALUES (?, ?, ?, ?)`},
		{&w.raiseMark, `UPDATE marks SET read = max(read, ?), delivered = max(delivered, ?) WHERE room = ? AND who = ?`},
		{&w.addText, `INSERT INTO texts (rowid, body) VALUES (?, ?)`},
		{&w.dropText, `INSERT INTO texts (texts, rowid, body) VALUES ('delete', ?, ?)`},
		{&w.secure, `INSERT INTO texts (texts, rank) VALUES ('secure-delete', ?)`},
		{&w.forget, `DELETE FROM records WHERE key >= ? AND key < ?`},
	} {
		if *s.stmt, err = conn.PrepareContext(ctx, s.text); err != nil { //nolint:sqlclosecheck // see close
			return nil, errors.Join(err, w.close())
		}
		w.stmts = append(w.stmts, *s.stmt)
	}
	if err := w.findBehind(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// close gives the connection back.
func (w *writer) close() error { return errors.Join(w.closeStatements(), w.conn.Close()) }

// closeStatements closes the statements, each of which would keep the database open.
func (w *writer) closeStatements() error {
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// boundFile sets how long the database's file may become on this connection; 0 is no bound.
func boundFile(ctx context.Context, conn *sql.Conn, bytes int64) error {
	if bytes <= 0 {
		return nil
	}
	var page int64
	if err := conn.QueryRowContext(ctx, `PRAGMA page_size`).Scan(&page); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, max(1, bytes/page)))
	return err
}

func (w *writer) exec(ctx context.Context, s *sql.Stmt, args ...any) error {
	_, err := s.ExecContext(ctx, args...)
	return err
}

// errGone says that what is written now would not be there after a restart.
var errGone = errors.New("the file has been moved, removed or replaced")

// openWriter opens the connection anew if it was given up. The file must still be the one that was opened.
func (l *Log) openWriter(ctx context.Context) error {
	if now, err := os.Stat(l.path); err != nil || !os.SameFile(now, l.file) {
		return errors.Join(errGone, err)
	}
	if l.w != nil {
		return nil
	}
	w, err := newWriter(ctx, l.write, &l.cfg)
	if err == nil {
		l.w = w
		l.cfg.Logger.Info("chat log opened anew", "file", l.path)
	}
	return err
}

// fail gives the connection up after an error: whatever it was in the midst of is rolled back with it.
func (l *Log) fail() {
	w := l.w
	l.w = nil
	_ = w.closeStatements()
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn }) // has the pool drop it
	_ = w.conn.Close()                                           // says that it has
}

// closeWriter ends the writer in order. All is on the disk then, whatever the durability.
func (l *Log) closeWriter() {
	if l.w == nil {
		return
	}
	if l.cfg.Durability != Fsync {
		for _, s := range []string{`PRAGMA synchronous = FULL`, `PRAGMA wal_checkpoint(TRUNCATE)`, `UPDATE meta SET unsynced = 0`} {
			if _, err := l.w.conn.ExecContext(context.Background(), s); err != nil {
				_ = l.refusal("close", err) // logs it, and the next one to open it begins a new epoch
				break
			}
		}
	}
	_ = l.w.close() // what fails here has been committed
}

// refusal turns an error of the database, which has taken nothing, into what publishers may know.
func (l *Log) refusal(doing string, err error) error {
	l.cfg.Logger.Error("chat log failed", "file", l.path, "doing", doing, "err", err)
	if errors.Is(err, errGone) {
		return &chat.Error{Code: rpc.Unavailable, Reason: "the log's file is gone"}
	}
	switch codeOf(err) {
	case lib.SQLITE_FULL:
		return &chat.Error{Code: rpc.ResourceExhausted, Reason: "the disk of the log is full"}
	case lib.SQLITE_READONLY:
		return &chat.Error{Code: rpc.Unavailable, Reason: "the log cannot be written"}
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return &chat.Error{Code: rpc.Unavailable, Reason: "the log is damaged"}
	}
	return &chat.Error{Code: rpc.Unavailable, Reason: "the log does not answer"}
}

// codeOf returns SQLite's primary result code; SQLITE_OK if err has none.
func codeOf(err error) int {
	if e, ok := errors.AsType[*sqlite3.Error](err); ok {
		return e.Code() & 0xff
	}
	return lib.SQLITE_OK
}
