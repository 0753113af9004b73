package sqlite

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/query"
	"github.com/trunkline-go/trunkline/rpc"
)

const (
	// searchers is how many searches go on at once; others wait. Their connections are their own, so that readers do not wait for them.
	searchers = 2
	// searchTime is how long one may take, waiting too: a word that nearly all texts have, and a filter that nearly none passes, has the
	// whole room looked through.
	searchTime = 5 * time.Second
)

// Search implements [chat.Searcher].
func (l *Log) Search(ctx context.Context, name string, q *query.Query, first, before uint64, n, maxBytes int) (records []chat.Record, more bool, err error) {
	timeout, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	err = l.untilIndexed(timeout, name, func(tx *sql.Tx, r *room) error {
		records, more, err = search(timeout, tx, r, q, first, before, n, maxBytes)
		return err
	})
	if err != nil && timeout.Err() != nil && ctx.Err() == nil {
		return nil, false, &chat.Error{Code: rpc.ResourceExhausted, Reason: "the search took too long"}
	}
	return records, more, err
}

func search(ctx context.Context, tx *sql.Tx, r *room, q *query.Query, first, before uint64, n, maxBytes int) (records []chat.Record, more bool, err error) {
	from, last := r.first, r.head
	if first > uint64(from) {
		from = int64(min(first, uint64(last)+1))
	}
	if before <= uint64(last) {
		last = int64(before) - 1
	}
	after, until := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.After.IsZero() {
		after = q.After.UnixNano()
	}
	if !q.Before.IsZero() {
		until = q.Before.UnixNano()
	}
	rows, err := tx.QueryContext(ctx, `SELECT r.key, r.epoch, r.time, r.sender, r.producer, r.message, r.kind, r.ref, coalesce((SELECT e.body FROM records e WHERE e.room = r.room AND e.ref = r.key & ((1 << 40) - 1) AND e.ref > 0 AND e.kind = 1 ORDER BY e.key DESC LIMIT 1), r.body)
		FROM texts JOIN records r ON r.key = texts.rowid
		WHERE texts MATCH ? AND texts.rowid >= ? AND texts.rowid <= ? AND r.time >= ? AND r.time < ? AND ? IN ('', r.sender)
		ORDER BY texts.rowid DESC LIMIT ?`, match(q), r.key(from), r.key(last), after, until, q.From, n+1)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = rows.Close() }()
	for bytes := 0; rows.Next(); {
		rec, err := scanRecord(rows)
		if err != nil {
			return nil, false, err
		}
		if bytes += len(rec.Body); len(records) == n || len(records) > 0 && bytes > maxBytes {
			return records, true, nil
		}
		records = append(records, *rec)
	}
	return records, false, rows.Err()
}

// match returns the query of FTS5 for q. Every text of it is a string in quotes, in which nothing has a meaning but words.
func match(q *query.Query) string {
	var b strings.Builder
	texts := func(texts []query.Text, between string) {
		b.WriteByte('(')
		for i, t := range texts {
			if i > 0 {
				b.WriteString(between)
			}
			b.WriteByte('"')
			b.WriteString(strings.ReplaceAll(query.Spaced(t.Words), `"`, `""`))
			b.WriteByte('"')
			if t.Prefix {
				b.WriteString(" *")
			}
		}
		b.WriteByte(')')
	}
	texts(q.All, " AND ")
	if len(q.None) > 0 {
		b.WriteString(" NOT ")
		texts(q.None, " OR ")
	}
	return b.String()
}

var _ chat.Searcher = (*Log)(nil)
