package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// benchRoom is where the sessions of this suite meet.
const benchRoom = "bench"

// newSessionLoad returns the load of a work of the suite session.
func newSessionLoad(d sessionDialer, w *work) (load, error) {
	switch w.Kind {
	case kindEstablish:
		return &establishLoad{d}, nil
	case kindIdle:
		return &idleLoad{d: d}, nil
	case kindReconnect:
		return newReconnectLoad(d)
	default:
		return nil, fmt.Errorf("no session work %q", w.Kind)
	}
}

// An establishLoad is a closed loop of clients: each establishes a session, releases it,
// and begins again.
type establishLoad struct{ d sessionDialer }

func (l *establishLoad) run(s *section) error {
	n := s.work.N
	whole, dial := make([]histogram, n), make([]histogram, n)
	errs := make([]error, n)
	var failed atomic.Bool
	var clients sync.WaitGroup
	ctx := context.Background()
	s.begin()
	deadline := s.deadline()
	for i := range n {
		clients.Go(func() {
			for now := time.Now(); now.Before(deadline) && !failed.Load(); {
				sess, err := l.d.dial(ctx)
				there := time.Now()
				if err == nil {
					err = sess.release(ctx)
				}
				if err != nil {
					errs[i] = err
					failed.Store(true)
					return
				}
				end := time.Now()
				dial[i].record(there.Sub(now))
				whole[i].record(end.Sub(now))
				now = end
			}
		})
	}
	clients.Wait()
	s.end()
	var dials histogram
	for i := range n {
		s.hist.add(&whole[i])
		dials.add(&dial[i])
	}
	s.ops = int64(s.hist.total)
	s.set("dial_p50_us", micros(dials.quantile(0.50)))
	s.set("dial_p99_us", micros(dials.quantile(0.99)))
	return errors.Join(errs...)
}

// An idleLoad opens sessions that do nothing then.
type idleLoad struct {
	d    sessionDialer
	held []session // so that they are not collected
}

func (l *idleLoad) run(s *section) error {
	ctx := context.Background()
	n := s.work.N
	if s.warm {
		n = 1
	}
	first := len(l.held)
	l.held = append(l.held, make([]session, n)...)
	var mu sync.Mutex // guards s.hist
	s.begin()
	err := inParallel(n, dialing, func(i int) error {
		began := time.Now()
		sess, err := l.d.dial(ctx)
		if err != nil {
			return err
		}
		took := time.Since(began)
		mu.Lock()
		s.hist.record(took)
		mu.Unlock()
		l.held[first+i] = sess
		if s.work.Room {
			return sess.join(ctx, benchRoom)
		}
		return nil
	})
	if !s.warm && err == nil {
		time.Sleep(time.Second) // what follows a handshake is over
	}
	s.end()
	s.ops = int64(s.hist.total)
	return err
}

// A reconnectLoad comes again and again to a room that has one line.
type reconnectLoad struct {
	d    sessionDialer
	line string
}

func newReconnectLoad(d sessionDialer) (load, error) {
	ctx := context.Background()
	l := &reconnectLoad{d: d, line: string(filler(lineSize))}
	sess, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := sess.join(ctx, benchRoom); err != nil {
		return nil, err
	}
	if err := sess.publish(ctx, benchRoom, l.line); err != nil {
		return nil, err
	}
	return l, sess.release(ctx)
}

func (l *reconnectLoad) run(s *section) error {
	ctx := context.Background()
	s.begin()
	for deadline := s.deadline(); time.Now().Before(deadline); {
		began := time.Now()
		sess, err := l.d.dial(ctx)
		if err != nil {
			return err
		}
		line, err := sess.joinLast(ctx, benchRoom)
		if err != nil {
			return err
		}
		s.hist.record(time.Since(began))
		if line != l.line {
			return errors.New("the line is not the one that was published")
		}
		if err := sess.release(ctx); err != nil {
			return err
		}
	}
	s.end()
	s.ops = int64(s.hist.total)
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
