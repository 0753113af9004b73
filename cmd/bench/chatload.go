package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// lineSize is the length of a chat line in bytes.
const lineSize = 100

// A line is its number and the time at which it was due, 16 hex digits each, and padding. The
// time counts from a base of the client process, which both publishes and receives.
const lineHeader = 32

func appendLine(b []byte, n int64, due time.Duration, padding string) []byte {
	b = appendHex(b, uint64(n))
	b = appendHex(b, uint64(due))
	return append(b, padding...)
}

func appendHex(b []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[v>>shift&15])
	}
	return b
}

func parseHex[T string | []byte](s T) (v uint64, ok bool) {
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

// A fanout is one publisher and its subscribers. The publisher takes a token for every batch of
// lines, and gets it back when every subscriber has all of the batch. So no more than a
// window of lines is on its way, whatever the peer's own flow control is, and whoever loses a
// line stops.
type fanout struct {
	subs    []*subscriber
	pub     publisher
	padding string
	base    time.Time
	batch   int64 // lines
	sent    int64

	tokens chan struct{}
	places []atomic.Int32 // of the batches on their way: how many subscribers have all
	turn   atomic.Int64   // orders what run does between turns before deliveries
	failed chan error
}

// A subscriber checks what one subscriber gets.
type subscriber struct {
	f    *fanout
	next int64
	hist histogram
}

const (
	// fanoutBatch and the windows are in lines. A window of 51 KB for a subscriber is far from
	// any peer's limits. With many subscribers it is smaller, because what is on its way is
	// multiplied by them, and a turn ends when all of that has arrived.
	fanoutBatch  = 32
	fanoutWindow = 512
	crowd        = 500
	crowdWindow  = 128
	// Paced lines are batches of one.
	pacedEvery = 10 * time.Millisecond
	// dialing is how many connections are made at a time.
	dialing = 16
)

// newFanout connects the publisher and all subscribers.
func newFanout(d chatDialer, w *work) (load, error) {
	f := &fanout{
		padding: string(filler(w.Size - lineHeader)),
		base:    time.Now(),
		batch:   fanoutBatch,
		failed:  make(chan error, 1),
	}
	window := int64(fanoutWindow)
	if w.N >= crowd {
		window = crowdWindow
	}
	if w.Kind == kindPaced {
		f.batch = 1
	}
	f.open(window / f.batch)
	room := "bench-" + w.Name
	f.subs = make([]*subscriber, w.N)
	err := inParallel(w.N, dialing, func(i int) error {
		f.subs[i] = &subscriber{f: f}
		_, err := d.subscribe(room, f.subs[i]) // ends with the process
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if w.Stalled {
		st, ok := d.(staller)
		if !ok {
			return nil, errors.New("the peer has no subscriber that stalls")
		}
		if err := st.stall(room); err != nil {
			return nil, fmt.Errorf("stalled subscriber: %w", err)
		}
	}
	if f.pub, err = d.publisher(room); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	return f, nil
}

// open makes the tokens for so many batches.
func (f *fanout) open(batches int64) {
	f.places = make([]atomic.Int32, batches)
	f.tokens = make(chan struct{}, batches)
	for range batches {
		f.tokens <- struct{}{}
	}
}

// inParallel calls do with 0 to n-1, some at a time, until one fails.
func inParallel(n, workers int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[w] = do(i); errs[w] != nil {
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// deliver takes a line that a subscriber has got.
func deliver[T string | []byte](s *subscriber, line T) {
	f := s.f
	f.turn.Load()
	if len(line) != lineHeader+len(f.padding) || string(line[lineHeader:]) != f.padding {
		s.fail(fmt.Errorf("line %d has changed", s.next))
		return
	}
	n, ok1 := parseHex(line[:16])
	due, ok2 := parseHex(line[16:lineHeader])
	if !ok1 || !ok2 || int64(n) != s.next {
		s.fail(fmt.Errorf("line %s where %d was to come", string(line[:16]), s.next))
		return
	}
	s.hist.record(time.Since(f.base) - time.Duration(due))
	s.next++
	if s.next%f.batch != 0 {
		return
	}
	place := &f.places[s.next/f.batch%int64(len(f.places))]
	if int(place.Add(1)) == len(f.subs) {
		place.Store(0)
		f.tokens <- struct{}{} // there is room for all tokens
	}
}

// fail ends the turn: this subscriber gets no more, or got something wrong.
func (s *subscriber) fail(err error) {
	select {
	case s.f.failed <- err:
	default: // one is enough
	}
}

// token waits for leave to publish one batch.
func (f *fanout) token() error {
	select {
	case <-f.tokens:
		return nil
	case err := <-f.failed:
		return fmt.Errorf("subscriber: %w", err)
	}
}

// run publishes for as long as the section lasts, and waits until everyone has everything.
func (f *fanout) run(s *section) error {
	for _, sub := range f.subs {
		sub.hist.reset()
	}
	f.turn.Add(1)
	first := f.sent
	s.begin()
	var err error
	if s.work.Kind == kindPaced {
		err = f.publishPaced(s)
	} else {
		err = f.publishAll(s)
	}
	for range cap(f.tokens) {
		if err == nil {
			err = f.token()
		}
	}
	if err == nil {
		err = f.pub.acknowledged()
	}
	if err != nil {
		return err
	}
	s.end()
	for range cap(f.tokens) {
		f.tokens <- struct{}{}
	}
	for _, sub := range f.subs {
		s.hist.add(&sub.hist)
	}
	s.ops = int64(s.hist.total)
	if want := (f.sent - first) * int64(len(f.subs)); s.ops != want {
		return fmt.Errorf("%d lines were delivered, not %d", s.ops, want)
	}
	return nil
}

// publishAll publishes as fast as it goes.
func (f *fanout) publishAll(s *section) error {
	line := make([]byte, 0, lineSize)
	for deadline := s.deadline(); time.Now().Before(deadline); {
		if err := f.token(); err != nil {
			return err
		}
		for range f.batch {
			line = appendLine(line[:0], f.sent, time.Since(f.base), f.padding)
			if err := f.pub.publish(line); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			f.sent++
		}
	}
	return nil
}

// publishPaced publishes at fixed times, also when it is late: what waits counts.
func (f *fanout) publishPaced(s *section) error {
	line := make([]byte, 0, lineSize)
	for due := s.started; due.Before(s.deadline()); due = due.Add(pacedEvery) {
		time.Sleep(time.Until(due))
		if err := f.token(); err != nil {
			return err
		}
		line = appendLine(line[:0], f.sent, due.Sub(f.base), f.padding)
		if err := f.pub.publish(line); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		f.sent++
	}
	return nil
}
