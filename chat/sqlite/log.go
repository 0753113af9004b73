package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/watch"
)

const (
	applicationID = 0x74726e6b // "trnk": PRAGMA application_id
	version       = 5          // of the schema: PRAGMA user_version

	// busyTimeout is how long another process may have the database, in milliseconds.
	busyTimeout = 5000
	// readers is how many goroutines may read at once; others wait.
	readers = 4
	// walLimit is to how many bytes the write-ahead log shrinks again, after a long read such as a backup has kept it
	// from beginning anew.
	walLimit = "journal_size_limit(8388608)"
)

// schema has a file N.sql for each version N, which makes it of the one before.
//
//go:embed schema
var schema embed.FS

// A Log is a [chat.Log] in a SQLite database. Make one with [Open]; it is safe for concurrent use, and must be closed.
type Log struct {
	cfg      Config
	path     string
	file     os.FileInfo // of the database, as it was opened
	read     *sql.DB
	write    *sql.DB
	search   *sql.DB
	watchers watch.Watchers

	mail    chan *appending
	closing chan struct{} // closed by Close
	closed  chan struct{} // closed when the writer has ended
	once    sync.Once
	err     error // of Close

	wants chan *want // is for the writer

	// The writer goroutine's.
	w      *writer // nil while there is none
	erased bool    // the write-ahead log may have bodies that were taken since
	wanted []*want // who waits for the index
}

// Open opens the database in the file path, and makes it if there is none; it is readable by its owner alone. The
// error says what is wrong with a file that is not such a database, is damaged, or is of a later version.
func Open(ctx context.Context, path string, cfg Config) (*Log, error) {
	cfg.setDefaults()
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if err := makePrivate(path); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	l := &Log{
		cfg:     cfg,
		path:    path,
		mail:    make(chan *appending, maxWaiting),
		wants:   make(chan *want),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
	}
	if err := vet(ctx, path); err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	synchronous := "FULL"
	if cfg.Durability == OS {
		synchronous = "NORMAL"
	}
	err = l.prepare(ctx)
	if err == nil {
		l.write, err = openDB(path, 1, "journal_mode(WAL)", "synchronous("+synchronous+")", walLimit, "secure_delete(1)")
	}
	if err == nil {
		l.read, err = openDB(path, readers, "query_only(1)")
	}
	if err == nil {
		l.search, err = openDB(path, searchers, "query_only(1)")
	}
	if err == nil {
		l.w, err = newWriter(ctx, l.write, &l.cfg)
	}
	if err == nil {
		l.file, err = os.Stat(path)
	}
	if err != nil {
		_ = l.closeDBs()
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	go l.run() // Close waits for it
	return l, nil
}

// makePrivate makes an empty file that only its owner can read, unless there is a file: what SQLite puts beside it
// has the same mode.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func openDB(path string, conns int, pragmas ...string) (*sql.DB, error) {
	values := url.Values{
		"mode":    {"rw"},                                                                                                                // or one that has been removed would be made again, empty
		"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout), "fullfsync(1)", "checkpoint_fullfsync(1)"}, pragmas...), // else macOS leaves it in the disk's cache
		"_txlock": {"immediate"},                                                                                                         // what reads first and then writes would not wait for another writer
	}
	slashed := filepath.ToSlash(path)
	if slashed[0] != '/' { // a drive
		slashed = "/" + slashed
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: slashed, RawQuery: values.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// prepare does what begin says, on the disk whatever the durability: a mark that a power cut takes with the records would
// not tell of their loss.
func (l *Log) prepare(ctx context.Context) error {
	db, err := openDB(l.path, 1, "journal_mode(WAL)", "synchronous(FULL)")
	if err != nil {
		return err
	}
	return errors.Join(l.begin(ctx, db), db.Close())
}

// begin brings the schema to this version, and begins another epoch if records may have been lost.
func (l *Log) begin(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := migrate(ctx, tx); err != nil {
		return err
	}
	var unsynced, copied bool
	var last sql.NullInt64
	err = tx.QueryRowContext(ctx, `SELECT unsynced, copied, (SELECT max(number) FROM epochs) FROM meta`).Scan(&unsynced, &copied, &last)
	if err != nil {
		return err
	}
	if unsynced || copied || !last.Valid {
		// The time, so that a database which begins anew is not taken for the one before it. By a clock that was set back,
		// chance: one backup may be restored twice.
		epoch := time.Now().UnixMilli()
		if epoch <= last.Int64 {
			epoch = last.Int64 + 1 + rand.Int64N(1<<20) //nolint:gosec // not to be guessed is not what it is for
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO epochs VALUES (?)`, epoch); err != nil {
			return err
		}
		if last.Valid {
			l.cfg.Logger.Warn("chat log begins a new epoch: records may have been lost", "file", l.path, "epoch", epoch, "backup", copied)
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE meta SET unsynced = ?, copied = 0`, l.cfg.Durability != Fsync); err != nil {
		return err
	}
	return tx.Commit()
}

// vet says what is wrong with a file that is not this version's or empty, before anything is written to it.
func vet(ctx context.Context, path string) error {
	db, err := openDB(path, 1, "query_only(1)")
	if err != nil {
		return err
	}
	var id, v, objects int
	err = db.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id, pragma_user_version`).Scan(&id, &v, &objects)
	switch err = errors.Join(err, db.Close()); {
	case err != nil:
		return err
	case id == 0 && objects == 0:
		return nil
	case id != applicationID:
		return errors.New("it is not a chat log")
	case v > version:
		return fmt.Errorf("its schema has version %d, and this program knows none after %d", v, version)
	}
	return nil
}

// migrate brings the schema to this version.
func migrate(ctx context.Context, tx *sql.Tx) error {
	var v int
	if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&v); err != nil || v == version {
		return err
	}
	for v < version {
		v++
		step, err := schema.ReadFile(fmt.Sprintf("schema/%d.sql", v))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(step)); err != nil {
			return fmt.Errorf("version %d of the schema: %w", v, err)
		}
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`, applicationID, version))
	return err
}

// Close waits for what is being appended, and closes the database. What is appended after that is refused.
func (l *Log) Close() error {
	l.once.Do(func() {
		close(l.closing)
		<-l.closed
		l.err = l.closeDBs()
	})
	return l.err
}

func (l *Log) closeDBs() error {
	var errs []error
	for _, db := range []*sql.DB{l.search, l.read, l.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Watch implements [chat.Log]. It tells of what this process appends.
func (l *Log) Watch(room string, moved func(head uint64)) (stop func()) {
	return l.watchers.Add(room, moved)
}

var _ chat.Log = (*Log)(nil)
