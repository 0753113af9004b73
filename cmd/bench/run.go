package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A runner runs the works of a suite.
type runner struct {
	suite   string
	peers   []*peer
	rounds  int // 0: as the work says
	profile string
	keys    map[bool]*keySet // by whether they are P-256
	note    *progress
}

// A turn is what one peer did in one round.
type turn struct {
	measured
	server usageDelta
}

type usageDelta struct {
	CPU     time.Duration
	Mallocs uint64
}

// A pair is the two processes of a peer.
type pair struct {
	server, client *child
	dir            string // of what the server keeps; "" if it keeps nothing
}

func (p *pair) stop() {
	if p.client != nil {
		p.client.stop()
	}
	if p.server != nil {
		p.server.stop()
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // it is in the system's folder of what may go
	}
}

// run runs one work. A peer that fails has no row, and is in the error.
func (r *runner) run(ctx context.Context, w *work) ([]row, error) {
	if r.rounds > 0 {
		w.Rounds = r.rounds
	}
	do := r.interleave
	if w.Kind == kindIdle {
		do = r.idle
	}
	turns := make([][]*turn, len(r.peers))
	errs := make([]error, len(r.peers))
	do(ctx, w, turns, errs)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var rows []row
	var all []error
	for i, p := range r.peers {
		if errs[i] != nil {
			all = append(all, fmt.Errorf("%s %s: %w", w.Name, p.name, errs[i]))
		} else if len(turns[i]) > 0 {
			rows = append(rows, newRow(w, p.name, turns[i]))
		}
	}
	return rows, errors.Join(all...)
}

// interleave gives every peer its turn in each round. All processes are there from the
// beginning, and idle while others have their turn.
func (r *runner) interleave(ctx context.Context, w *work, turns [][]*turn, errs []error) {
	pairs := make([]*pair, len(r.peers))
	defer func() {
		for _, p := range pairs {
			if p != nil {
				p.stop()
			}
		}
	}()
	for i, p := range r.peers {
		if !p.does(w) {
			continue
		}
		r.note.say("%s: starting %s", w.Name, p.name)
		pairs[i], errs[i] = r.start(ctx, p, w)
	}
	for round := range w.Rounds {
		for k := range r.peers {
			i := (k + round) % len(r.peers)
			if pairs[i] == nil || errs[i] != nil || ctx.Err() != nil {
				continue
			}
			r.note.say("%s: round %d of %d, %s", w.Name, round+1, w.Rounds, r.peers[i].name)
			var t *turn
			if t, errs[i] = pairs[i].turn(ctx, w); errs[i] == nil {
				turns[i] = append(turns[i], t)
			} else {
				pairs[i].stop() // it may be stuck, and busy
				pairs[i] = nil
			}
		}
	}
}

// does says whether the peer can do the work.
func (p *peer) does(w *work) bool {
	if w.Kind == kindFsync {
		return p.serveDurable != nil
	}
	return !p.durableOnly && (w.calls() || !p.unaryOnly)
}

// start starts the processes of a peer, with the connections that the work needs.
func (r *runner) start(ctx context.Context, p *peer, w *work) (*pair, error) {
	ro := role{Server: true, Peer: p.name, Suite: r.suite, Keys: r.keys[w.P256], Work: *w}
	if r.profile != "" {
		ro.Profile = filepath.Join(r.profile, w.Name+"."+p.name+".")
	}
	both := new(pair)
	var err error
	if w.Kind == kindFsync {
		if both.dir, err = os.MkdirTemp("", "bench-"); err != nil {
			return nil, err
		}
		ro.Dir = both.dir
	}
	if both.server, err = startChild(ctx, &ro, nil); err != nil {
		both.stop()
		return nil, err
	}
	ro.Server, ro.Addr = false, both.server.ready.Addr
	if both.client, err = startChild(ctx, &ro, both.server); err != nil {
		both.stop()
		return nil, err
	}
	return both, nil
}

// turn has the peer warm up, and measures.
func (p *pair) turn(ctx context.Context, w *work) (*turn, error) {
	if _, err := p.server.do(ctx, doWarm, turnTime); err != nil {
		return nil, err
	}
	if _, err := p.client.do(ctx, doWarm, w.Warm+turnTime); err != nil {
		return nil, err
	}
	before, err := p.server.do(ctx, doSample, turnTime)
	if err != nil {
		return nil, err
	}
	m, err := p.client.do(ctx, doMeasure, w.Measure+turnTime)
	if err != nil {
		return nil, err
	}
	after, err := p.server.do(ctx, doEnd, turnTime)
	if err != nil {
		return nil, err
	}
	return &turn{*m.Measured, usageDelta{
		CPU:     after.Usage.CPU - before.Usage.CPU,
		Mallocs: after.Usage.Mallocs - before.Usage.Mallocs,
	}}, nil
}

// idle measures what a server needs to hold sessions. Memory that was used once stays in a
// process, so each turn has new ones; and they are alone, so that thousands of idle sessions do
// not ping beside the others' measurement.
func (r *runner) idle(ctx context.Context, w *work, turns [][]*turn, errs []error) {
	for round := range w.Rounds {
		for k := range r.peers {
			i := (k + round) % len(r.peers)
			if errs[i] != nil || ctx.Err() != nil {
				continue
			}
			r.note.say("%s: round %d of %d, %s", w.Name, round+1, w.Rounds, r.peers[i].name)
			var t *turn
			if t, errs[i] = r.idleTurn(ctx, r.peers[i], w); errs[i] == nil {
				turns[i] = append(turns[i], t)
			}
		}
	}
}

func (r *runner) idleTurn(ctx context.Context, p *peer, w *work) (*turn, error) {
	both, err := r.start(ctx, p, w)
	if err != nil {
		return nil, err
	}
	defer both.stop()
	// The warm-up is one session, so that what is made once is there.
	if _, err := both.client.do(ctx, doWarm, turnTime); err != nil {
		return nil, err
	}
	before, err := both.server.do(ctx, doSettle, turnTime)
	if err != nil {
		return nil, err
	}
	m, err := both.client.do(ctx, doMeasure, turnTime+time.Duration(w.N)*20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	held, err := both.server.do(ctx, doSettle, turnTime)
	if err != nil {
		return nil, err
	}
	client, err := both.client.do(ctx, doIdle, w.Measure+turnTime)
	if err != nil {
		return nil, err
	}
	after, err := both.server.do(ctx, doEnd, turnTime)
	if err != nil {
		return nil, err
	}
	t := &turn{measured: *m.Measured}
	n := float64(w.N)
	t.Extra = map[string]float64{
		"bytes_per_session":      float64(int64(held.Usage.Resident-before.Usage.Resident)) / n,
		"heap_per_session":       float64(int64(held.Usage.Heap-before.Usage.Heap)) / n,
		"stack_per_session":      float64(int64(held.Usage.Stack-before.Usage.Stack)) / n,
		"goroutines_per_session": float64(held.Usage.Goroutines-before.Usage.Goroutines) / n,
	}
	// An operation is a session held for a second.
	seconds := client.Measured.Elapsed.Seconds()
	aSecond := func(cpu time.Duration, mallocs uint64) usageDelta {
		return usageDelta{time.Duration(float64(cpu) / seconds), uint64(float64(mallocs) / seconds)}
	}
	c := aSecond(client.Measured.CPU, client.Measured.Mallocs)
	t.Ops, t.Elapsed, t.CPU, t.Mallocs = int64(w.N), time.Second, c.CPU, c.Mallocs
	t.server = aSecond(after.Usage.CPU-held.Usage.CPU, after.Usage.Mallocs-held.Usage.Mallocs)
	return t, nil
}
