package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

const (
	// maxWaiting is how many appends may wait for the commit before; who has another one waits outside.
	maxWaiting = 256
	// maxEntries bounds one transaction, in entries, so that the first of a batch does not wait for all too long.
	maxEntries = 4096
	// seqBits are those of a record's key that are its seq.
	seqBits = 40
)

// An appending is a call of Append or Mark, or a step of Trim, on its way through the writer.
type appending struct {
	room     string
	head     uint64
	entries  []chat.Entry
	snapshot []byte
	trim     uint64      // not 0: nothing is appended, and what is before it is trimmed
	marks    []chat.Mark // not nil: nothing is appended, and they are raised

	results []chat.Result
	moved   uint64 // the room's new head, if it has one
	erased  bool   // bodies were taken
	err     error
	done    chan struct{} // closed when results or err are there
}

// Append implements [chat.Log]. ctx bounds the wait for a place behind the commit under way, and nothing after that.
func (l *Log) Append(ctx context.Context, room string, head uint64, entries []chat.Entry, snapshot []byte) ([]chat.Result, error) {
	a := &appending{room: room, head: head, entries: entries, snapshot: snapshot}
	err := l.hand(ctx, a)
	return a.results, err
}

// Trim implements [chat.Log]. ctx bounds it as it does Append.
func (l *Log) Trim(ctx context.Context, room string, first uint64) error {
	s, err := l.State(ctx, room)
	if err != nil {
		return err
	}
	first = min(first, s.Head+1)
	for next := s.First; next < first; { // in steps, for which appends do not wait long
		next = min(next+sweepStep, first)
		if err := l.hand(ctx, &appending{room: room, trim: next}); err != nil {
			return err
		}
	}
	return nil
}

// hand gives a to the writer and waits for its answer.
func (l *Log) hand(ctx context.Context, a *appending) error {
	a.done = make(chan struct{})
	select {
	case <-l.closing:
		return closedError()
	default:
	}
	select {
	case l.mail <- a:
	case <-l.closing:
		return closedError()
	case <-ctx.Done():
		return &chat.Error{Code: rpc.Unavailable, Reason: "the log is busy"}
	}
	select {
	case <-a.done:
	case <-l.closed: // it may have come too late for the writer, or just in time
		select {
		case <-a.done:
		default:
			return closedError()
		}
	}
	return a.err
}

// closedError is what an append is refused with once the log is closed.
func closedError() error { return &chat.Error{Code: rpc.Unavailable, Reason: "the log is closed"} }

// run is the writer: it commits what waits, all together, and between that looks for what has become too old, and what is to be indexed.
func (l *Log) run() {
	defer close(l.closed)
	defer l.closeWriter()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	quiet := time.NewTimer(indexAfter)
	defer quiet.Stop()
	sweeping := &pass{began: time.Now()} // nil: until the next tick
	indexing := false                    // all that is behind, since it is quiet
	for {
		if sweeping != nil || indexing || len(l.wanted) > 0 {
			select {
			case a := <-l.mail:
				l.commit(l.collect(a))
				indexing = false
				quiet.Reset(indexAfter)
				if len(l.wanted) > 0 { // or who searches would wait for ever
					l.index()
				}
			case w := <-l.wants:
				l.wanted = append(l.wanted, w)
			case <-l.closing:
				l.drain()
				return
			default:
				if sweeping == nil {
					indexing = l.index() && indexing
				} else if !l.sweep(sweeping) {
					sweeping = nil
					quiet.Reset(indexAfter)
				}
			}
			continue
		}
		select {
		case a := <-l.mail:
			l.commit(l.collect(a))
			quiet.Reset(indexAfter)
		case w := <-l.wants:
			l.wanted = append(l.wanted, w)
		case <-quiet.C:
			indexing = true
		case <-tick.C:
			l.wipe()
			sweeping = &pass{began: time.Now()}
		case <-l.closing:
			l.drain()
			return
		}
	}
}

// drain commits what waits when the log is closed.
func (l *Log) drain() {
	for {
		select {
		case a := <-l.mail:
			l.commit(l.collect(a))
		default:
			return
		}
	}
}

// collect returns a and what waits behind it.
func (l *Log) collect(a *appending) []*appending {
	batch := []*appending{a}
	for n := len(a.entries); n < maxEntries; {
		select {
		case a := <-l.mail:
			batch = append(batch, a)
			n += len(a.entries)
		default:
			return batch
		}
	}
	return batch
}

// commit appends a batch in one transaction, answers, and tells who watches.
func (l *Log) commit(batch []*appending) {
	if err := l.appendAll(batch); err != nil {
		for _, a := range batch {
			a.results, a.moved = nil, 0
			if _, conflict := errors.AsType[*chat.ConflictError](a.err); !conflict {
				a.err = err
			}
		}
	}
	for _, a := range batch {
		if a.moved > 0 {
			l.watchers.Moved(a.room, a.moved)
		}
		close(a.done)
	}
}

// appendAll is commit up to its answers. An error is that of all of the batch, as Append returns it.
func (l *Log) appendAll(batch []*appending) error {
	ctx := context.Background() // another would make each statement wait for it, in a goroutine of its own
	if err := l.openWriter(ctx); err != nil {
		return l.refusal("open", err)
	}
	if err := l.w.exec(ctx, l.w.begin); err != nil {
		l.fail()
		return l.refusal("begin", err)
	}
	now := time.Now().UTC()
	changed := false
	for _, a := range batch {
		if err := l.w.append(ctx, a, now, &l.cfg); err != nil {
			l.fail()
			return l.refusal("append", err)
		}
		changed = changed || a.moved > 0 || a.trim > 0 || a.marks != nil
		l.erased = l.erased || a.erased
	}
	if !changed {
		if err := l.w.exec(ctx, l.w.rollback); err != nil {
			l.fail()
		}
		return nil
	}
	if err := l.w.exec(ctx, l.w.commit); err != nil {
		l.fail()
		if codeOf(err) == lib.SQLITE_FULL {
			return l.refusal("commit", err) // what was written has no commit mark, which is at its very end
		}
		// All of it may be on the disk, and be taken for committed after a crash.
		l.cfg.Logger.Error("chat log failed", "file", l.path, "doing", "commit", "err", err)
		return fmt.Errorf("sqlite: commit: %w", err)
	}
	return nil
}

// append appends the entries of a. Its error is the database's, and fails the transaction; a's own is in a.
func (w *writer) append(ctx context.Context, a *appending, now time.Time, cfg *Config) error {
	if a.marks != nil {
		return w.mark(ctx, a.room, a.marks)
	}
	r, err := roomIn(w.room.QueryRowContext(ctx, a.room), a.room)
	if err != nil {
		return err
	}
	if a.trim > 0 {
		if r.id == 0 {
			return nil
		}
		if err := w.trimTo(ctx, &r, int64(a.trim), now); err != nil {
			return err
		}
		a.erased = true // it was asked for
		return w.save(ctx, &r)
	}
	if uint64(r.head) != a.head {
		a.err = &chat.ConflictError{Head: uint64(r.head)}
		return nil
	}
	if len(a.entries) == 0 {
		return nil
	}
	if r.id == 0 {
		var rooms int
		if err := w.countRooms.QueryRowContext(ctx).Scan(&rooms); err != nil {
			return err
		}
		if cfg.MaxRooms > 0 && rooms >= cfg.MaxRooms {
			a.err = &chat.Error{Code: rpc.ResourceExhausted, Reason: "the log has no place for another room"}
			return nil
		}
		if err := w.addRoom.QueryRowContext(ctx, a.room).Scan(&r.id); err != nil {
			return err
		}
	}
	var epoch int64
	if err := w.epoch.QueryRowContext(ctx).Scan(&epoch); err != nil {
		return err
	}
	a.results = make([]chat.Result, len(a.entries))
	begin := r.head + 1
	for i := range a.entries {
		if a.results[i], err = w.appendEntry(ctx, &r, &a.entries[i], epoch, now); err != nil {
			return err
		}
		a.erased = a.erased || a.entries[i].Kind == chat.KindDelete
	}
	if r.head < begin {
		return nil
	}
	a.moved = uint64(r.head)
	w.behind[r.id] = struct{}{}
	if err := w.exec(ctx, w.beginEpoch, r.id, epoch, begin); err != nil {
		return err
	}
	if a.snapshot != nil {
		if err := w.exec(ctx, w.setSnapshot, a.snapshot, r.id); err != nil {
			return err
		}
	}
	if err := w.trimToSize(ctx, &r, r.head+1-begin, cfg, now); err != nil {
		return err
	}
	return w.save(ctx, &r)
}

// appendEntry appends e to r, whose row is brought up to date later.
func (w *writer) appendEntry(ctx context.Context, r *room, e *chat.Entry, epoch int64, now time.Time) (chat.Result, error) {
	body := e.Body
	if body == nil {
		body = []byte{} // NULL would say that it has been trimmed
	}
	if r.head+1 >= 1<<seqBits {
		return chat.Result{}, errors.New("the room has as many records as there can be")
	}
	hash := hashOf(e)
	res, err := w.addRecord.ExecContext(ctx, r.key(r.head+1), r.id, epoch, now.UnixNano(), e.From, e.Producer[:], []byte(e.ID), hash, body, int64(e.Kind), int64(e.Ref))
	if err != nil {
		return chat.Result{}, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return chat.Result{}, err
	}
	if n == 1 {
		r.head++
		r.bytes += int64(len(e.Body))
		if e.Kind == chat.KindDelete {
			if err := w.erase(ctx, r, e.Ref); err != nil {
				return chat.Result{}, err
			}
		}
		return chat.Result{Position: position(epoch, r.head), Time: now}, nil
	}
	return knownAs(w.duplicate.QueryRowContext(ctx, r.id, e.Producer[:], []byte(e.ID), e.From), hash)
}

// selectDuplicate is for knownAs.
const selectDuplicate = `SELECT key, epoch, hash FROM records WHERE room = ? AND producer = ? AND message = ? AND sender = ?`

// knownAs answers an entry, with its hash, whose id row says was used before.
func knownAs(row *sql.Row, hash int64) (chat.Result, error) {
	var key, epoch, had int64
	if err := row.Scan(&key, &epoch, &had); err != nil {
		return chat.Result{}, err
	}
	if had != hash {
		return chat.Result{Err: &chat.Error{Code: rpc.AlreadyExists, Reason: "the message id was used before, for something else"}}, nil
	}
	return chat.Result{Position: position(epoch, seqOf(key)), Duplicate: true}, nil
}

// hashOf tells entries apart that one sender gave one id. SHA-256 and not something faster, since it is kept for good.
func hashOf(e *chat.Entry) int64 {
	sum := sha256.Sum256(e.Body)
	if e.Kind != chat.KindText || e.Ref != 0 {
		sum = sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(sum[:], uint64(e.Kind)), e.Ref))
	}
	return int64(binary.BigEndian.Uint64(sum[:]))
}

func position(epoch, seq int64) chat.Position {
	return chat.Position{Epoch: uint64(epoch), Seq: uint64(seq)}
}

// A room is a row of rooms.
type room struct {
	id                         int64 // 0: there is none, and it is empty
	name                       string
	head, first, oldest, bytes int64
}

// selectRoom is for roomIn.
const selectRoom = `SELECT id, head, first, oldest, bytes FROM rooms WHERE name = ?`

// roomIn returns the room of that name which row has, or an empty one.
func roomIn(row *sql.Row, name string) (room, error) {
	r := room{name: name, first: 1, oldest: 1}
	err := row.Scan(&r.id, &r.head, &r.first, &r.oldest, &r.bytes)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return r, err
}

// save brings r's row up to date.
func (w *writer) save(ctx context.Context, r *room) error {
	return w.exec(ctx, w.setRoom, r.head, r.first, r.oldest, r.bytes, r.id)
}

// key returns the key of the room's record seq.
func (r *room) key(seq int64) int64 { return r.id<<seqBits | seq }

// seqOf returns the seq of the record that has the key.
func seqOf(key int64) int64 { return key & (1<<seqBits - 1) }
