package rpc

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/transport"
)

// A queue bounds how many calls of one session run at once. Calls above that wait for their turn, in the order in which
// they came, up to a number; whoever has to wait and goes leaves its place to others.
type queue struct {
	running, waiting int // limits

	mu       sync.Mutex // guards what follows
	sessions map[*transport.Session]*turns
}

// turns are the calls of one session. It is there while one runs, and so while one waits.
type turns struct {
	running int
	waiting []chan struct{} // each closed when it is that call's turn
}

// newQueue returns nil if there is no limit.
func newQueue(cfg *Config) *queue {
	if cfg.MaxConcurrent <= 0 {
		return nil
	}
	waiting := cfg.MaxQueued
	if waiting == 0 {
		waiting = defaultMaxQueued
	}
	return &queue{running: cfg.MaxConcurrent, waiting: max(0, waiting), sessions: make(map[*transport.Session]*turns)}
}

const (
	defaultMaxQueued = 128
	// waitWhenFull is how long who finds no place is asked to wait: at once there is none either.
	waitWhenFull = 100 * time.Millisecond
)

// enter waits for the turn of a call, until ctx or its connection ends. Without an error leave must follow.
func (q *queue) enter(ctx context.Context, str *transport.Stream) error {
	s := str.Session()
	turn, err := q.line(s)
	if err != nil || turn == nil {
		return err
	}
	select {
	case <-turn:
	case <-ctx.Done():
	}
	// With the connection the calls that run end, too, and leave, perhaps before ctx has ended.
	cause, connection := context.Cause(ctx), str.Connection()
	switch {
	case cause != nil:
	case connection.Err() != nil:
		cause = canceled(context.Cause(connection))
	default:
		return nil
	}
	if !q.give(s, turn) { // it has had its turn meanwhile
		q.leave(s)
	}
	return Errorf(CodeOf(cause), "call waited for others of its session: %w", cause)
}

// line takes a place in s's queue, and returns what is closed when it is that call's turn. That is nil if it is now.
func (q *queue) line(s *transport.Session) (turn chan struct{}, _ error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.sessions[s]
	switch {
	case t == nil:
		q.sessions[s] = &turns{running: 1}
	case t.running < q.running:
		t.running++
	case len(t.waiting) >= q.waiting:
		err := Errorf(ResourceExhausted, "%d calls of the session run, and %d wait", t.running, len(t.waiting))
		err.RetryAfter = waitWhenFull
		return nil, err
	default:
		turn = make(chan struct{})
		t.waiting = append(t.waiting, turn)
	}
	return turn, nil
}

// give gives a place up, and says whether it was one still.
func (q *queue) give(s *transport.Session, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.sessions[s] // it waits, or it has had its turn and so counts as running
	i := slices.Index(t.waiting, turn)
	if i < 0 {
		return false
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	return true
}

// leave says that a call has ended that ran.
func (q *queue) leave(s *transport.Session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.sessions[s]
	if len(t.waiting) > 0 {
		close(t.waiting[0])
		t.waiting = slices.Delete(t.waiting, 0, 1)
		return
	}
	if t.running--; t.running == 0 {
		delete(q.sessions, s)
	}
}
