package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

// State implements [chat.Log].
func (l *Log) State(ctx context.Context, name string) (chat.State, error) {
	var s chat.State
	err := l.snapshot(ctx, func(tx *sql.Tx) error {
		r, err := roomIn(tx.QueryRowContext(ctx, selectRoom, name), name)
		if err != nil {
			return err
		}
		s, err = stateOf(ctx, tx, &r)
		return err
	})
	return s, err
}

func stateOf(ctx context.Context, tx *sql.Tx, r *room) (chat.State, error) {
	s := chat.State{Head: uint64(r.head), First: uint64(r.first)}
	var err error
	if s.Epochs, err = epochsOf(ctx, tx, r); err != nil || r.id == 0 {
		return s, err
	}
	return s, tx.QueryRowContext(ctx, `SELECT snapshot FROM rooms WHERE id = ?`, r.id).Scan(&s.Snapshot)
}

// Rooms implements [chat.Log].
func (l *Log) Rooms(ctx context.Context, after string, n int) ([]chat.RoomState, error) {
	var found []chat.RoomState
	err := l.snapshot(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT name, head, first, snapshot FROM rooms WHERE name > ? ORDER BY name LIMIT ?`, after, n)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			var head, first int64
			var snapshot []byte
			if err := rows.Scan(&name, &head, &first, &snapshot); err != nil {
				return err
			}
			found = append(found, chat.RoomState{Name: name, Head: uint64(head), First: uint64(first), Snapshot: snapshot})
		}
		return rows.Err()
	})
	return found, err
}

// snapshot calls read with a transaction, in which nothing changes.
func (l *Log) snapshot(ctx context.Context, read func(tx *sql.Tx) error) error {
	return snapshotOf(ctx, l.read, read)
}

func snapshotOf(ctx context.Context, db *sql.DB, read func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	err = read(tx)
	_ = tx.Rollback() // nothing was written
	if _, refused := errors.AsType[*chat.Error](err); err != nil && !refused {
		return fmt.Errorf("sqlite: read: %w", err)
	}
	return err
}

// epochsOf returns the database's epochs, and where in the room each begins.
func epochsOf(ctx context.Context, tx *sql.Tx, r *room) ([]chat.Epoch, error) {
	rows, err := tx.QueryContext(ctx, `SELECT e.number, r.first FROM epochs e LEFT JOIN room_epochs r ON r.number = e.number AND r.room = ? ORDER BY e.number`, r.id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var epochs []chat.Epoch
	for rows.Next() {
		var number int64
		var first sql.NullInt64
		if err := rows.Scan(&number, &first); err != nil {
			return nil, err
		}
		epochs = append(epochs, chat.Epoch{Number: uint64(number), First: uint64(first.Int64)})
	}
	next := uint64(r.head) + 1
	for i := len(epochs) - 1; i >= 0; i-- { // in which nothing was appended, it begins with the next one's
		if epochs[i].First == 0 {
			epochs[i].First = next
		}
		next = epochs[i].First
	}
	return epochs, rows.Err()
}

// Read implements [chat.Log].
func (l *Log) Read(ctx context.Context, name string, seq uint64, maxBytes int) ([]chat.Record, error) {
	return l.readAt(ctx, name, seq, func(tx *sql.Tx, r *room) ([]chat.Record, error) {
		return readRecords(ctx, tx, r, int64(seq), 1, maxBytes, selectRecord+` WHERE key >= ? AND key <= ? ORDER BY key`, r.key(int64(seq)), r.key(r.head))
	})
}

// ReadBack implements [chat.Log].
func (l *Log) ReadBack(ctx context.Context, name string, seq uint64, n, maxBytes int) ([]chat.Record, error) {
	return l.readAt(ctx, name, seq, func(tx *sql.Tx, r *room) ([]chat.Record, error) {
		records, err := readRecords(ctx, tx, r, int64(seq), -1, maxBytes, selectRecord+` WHERE key >= ? AND key <= ? ORDER BY key DESC LIMIT ?`, r.key(r.first), r.key(int64(seq)), n)
		slices.Reverse(records)
		return records, err
	})
}

// readAt calls read with the room that has the record at seq, if there is one.
func (l *Log) readAt(ctx context.Context, name string, seq uint64, read func(tx *sql.Tx, r *room) ([]chat.Record, error)) ([]chat.Record, error) {
	var records []chat.Record
	err := l.snapshot(ctx, func(tx *sql.Tx) error {
		r, err := roomIn(tx.QueryRowContext(ctx, selectRoom, name), name)
		if err != nil || seq > math.MaxInt64 || int64(seq) > r.head {
			return err
		}
		if int64(seq) < r.first {
			return &chat.Error{Code: rpc.OutOfRange, Reason: fmt.Sprintf("record %d has been trimmed, the first left is %d", seq, r.first)}
		}
		records, err = read(tx, &r)
		return err
	})
	return records, err
}

// selectRecord is for readRecords.
const selectRecord = `SELECT key, epoch, time, sender, producer, message, kind, ref, body FROM records`

// readRecords returns the records that query selects, in its order: from seq on, rising or, with step -1, falling.
func readRecords(ctx context.Context, tx *sql.Tx, r *room, seq, step int64, maxBytes int, query string, args ...any) ([]chat.Record, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var records []chat.Record
	for bytes := 0; rows.Next(); seq += step {
		rec, err := scanRecord(rows)
		if err != nil {
			return nil, err
		}
		if rec.Seq != uint64(seq) {
			return nil, fmt.Errorf("the log has no record %d of %q", seq, r.name)
		}
		bytes += len(rec.Body)
		if len(records) == chat.MaxRead || len(records) > 0 && bytes > maxBytes {
			break
		}
		records = append(records, *rec)
	}
	return records, rows.Err()
}

// scanRecord returns the record of a row that has what selectRecord selects.
func scanRecord(rows *sql.Rows) (*chat.Record, error) {
	var key, epoch, nanos, kind, ref int64
	var producer, id sql.RawBytes
	rec := &chat.Record{}
	if err := rows.Scan(&key, &epoch, &nanos, &rec.From, &producer, &id, &kind, &ref, &rec.Body); err != nil {
		return nil, err
	}
	if len(producer) != len(rec.Producer) {
		return nil, fmt.Errorf("record %d is damaged", key)
	}
	rec.Position, rec.Time = position(epoch, seqOf(key)), time.Unix(0, nanos).UTC()
	rec.Producer, rec.ID, rec.Kind, rec.Ref = chat.Producer(producer), string(id), chat.Kind(kind), uint64(ref)
	return rec, nil
}
