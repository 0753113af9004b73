package chat_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// C1, C2, C3, C4: members talk, come and go, while packets are lost and late, addresses change, and the server is killed,
// drained and started again over its log. In the end everyone has seen every line once, in the order of the log, or was told exactly what is
// missing; and every acknowledgement names the place where its line is. A program that breaks a promise is
// made as short as possible, and printed. More of them: go test ./chat -run Links -rapid.checks 10000.
func TestC4WhateverHappensOnTheLinks(t *testing.T) {
	var all outcome
	tries := 1
	rapid.Check(t, func(rt *rapid.T) {
		p := programs().Draw(rt, "program")
		for range tries {
			broken := p.run(t, &all)
			if len(broken) == 0 {
				continue
			}
			tries = 5 // goroutines take turns as they like: a shorter program may break the promise one time, and not another
			for _, fault := range broken {
				rt.Log(fault)
			}
			rt.Fatal("a promise was broken") // the same for all of them, or rapid would take a shorter program for another failure
		}
	})
	t.Logf("%+v", all)
	assert.Positive(t, all.Shown)
	assert.Positive(t, all.Breaks)
}

// An outcome counts what the programs have led to.
type outcome struct{ Programs, Lines, Shown, Breaks, Evictions, Gaps, Missing int }

// A program is what happens in one run.
type program struct {
	members int
	keep    int // how many lines of a room the log keeps; 0: all
	steps   []step
}

// A step is something that happens.
type step struct {
	text string
	do   func(w *world)
}

// GoString is what rapid prints.
func (p program) GoString() string {
	keeps := "all lines"
	if p.keep > 0 {
		keeps = fmt.Sprintf("%d lines of a room", p.keep)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d members, a log that keeps %s\n", p.members, keeps)
	for _, s := range p.steps {
		fmt.Fprintf(&b, "    %s\n", s.text)
	}
	return b.String()
}

var (
	memberNames = []string{"ann", "ann's phone", "bob", "cid"}
	roomNames   = []string{"lobby", "attic"}
	directions  = []string{"to the server", "from the server", "both ways"}
	lineSizes   = []int{10, 1000, 16 << 10}
	joinsFrom   = []string{"live", "the last 3", "the first", "where it was"}
)

// programs makes programs. What is first in a list is what a failure is shrunk to.
func programs() *rapid.Generator[program] {
	return rapid.Custom(func(t *rapid.T) program {
		p := program{members: rapid.IntRange(2, len(memberNames)).Draw(t, "members")}
		if rapid.Bool().Draw(t, "trims") {
			p.keep = rapid.SampledFrom([]int{5, 20, 60}).Draw(t, "keep")
		}
		for range 4 { // of one list of steps rapid makes six on average
			p.steps = append(p.steps, rapid.SliceOfN(steps(p.members), 0, 20).Draw(t, "steps")...)
		}
		return p
	})
}

// milliseconds makes durations up to a number of seconds.
func milliseconds(seconds int) *rapid.Generator[time.Duration] {
	most := seconds * 1000
	// Most of rapid's numbers are small.
	return rapid.Map(rapid.OneOf(rapid.IntRange(0, most), rapid.IntRange(most/4, most), rapid.IntRange(most/2, most)),
		func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond })
}

func steps(members int) *rapid.Generator[step] {
	who := rapid.IntRange(0, members-1)
	room := rapid.SampledFrom(roomNames)
	way := rapid.SampledFrom(directions)
	custom := rapid.Custom[step]
	wait := custom(func(t *rapid.T) step {
		d := milliseconds(20).Draw(t, "time")
		return step{fmt.Sprint("wait ", d), func(*world) { time.Sleep(d) }}
	})
	say := custom(func(t *rapid.T) step {
		i, room, n, size := who.Draw(t, "who"), room.Draw(t, "room"), rapid.SampledFrom([]int{1, 5, 30}).Draw(t, "lines"), rapid.SampledFrom(lineSizes).Draw(t, "size")
		return step{fmt.Sprintf("%s says %d lines of %d B in %s", memberNames[i], n, size, room), func(w *world) { w.members[i].say(room, n, size) }}
	})
	return rapid.OneOf(wait, say, wait, say,
		custom(func(t *rapid.T) step {
			i, room := who.Draw(t, "who"), room.Draw(t, "room")
			return step{fmt.Sprintf("%s says its last line in %s again", memberNames[i], room), func(w *world) { w.members[i].sayAgain(room) }}
		}),
		custom(func(t *rapid.T) step {
			i, room, n := who.Draw(t, "who"), room.Draw(t, "room"), rapid.IntRange(1, 5).Draw(t, "times")
			return step{fmt.Sprintf("%s reacts to the last text in %s, in %d ways", memberNames[i], room, n), func(w *world) { w.members[i].react(room, n) }}
		}),
		custom(func(t *rapid.T) step {
			i, room := who.Draw(t, "who"), room.Draw(t, "room")
			return step{fmt.Sprintf("%s leaves %s", memberNames[i], room), func(w *world) { w.members[i].leave(room) }}
		}),
		custom(func(t *rapid.T) step {
			i, room, from := who.Draw(t, "who"), room.Draw(t, "room"), rapid.SampledFrom(joinsFrom).Draw(t, "from")
			return step{fmt.Sprintf("%s joins %s, from %s", memberNames[i], room, from), func(w *world) { w.members[i].join(room, from) }}
		}),
		custom(func(t *rapid.T) step {
			i, d := who.Draw(t, "who"), milliseconds(60).Draw(t, "time")
			return step{fmt.Sprintf("%s reads nothing for %v", memberNames[i], d), func(w *world) { w.members[i].stall(d) }}
		}),
		custom(func(t *rapid.T) step {
			i, way, skip, n := who.Draw(t, "who"), way.Draw(t, "way"), rapid.IntRange(0, 20).Draw(t, "skip"), rapid.IntRange(1, 20).Draw(t, "packets")
			return step{fmt.Sprintf("of %s's packets %s, %d are lost behind the next %d", memberNames[i], way, n, skip), func(w *world) { w.weather.lose(i, way, skip, n) }}
		}),
		custom(func(t *rapid.T) step {
			i, by, d := who.Draw(t, "who"), milliseconds(2).Draw(t, "by"), milliseconds(10).Draw(t, "time")
			return step{fmt.Sprintf("every other of %s's packets is late by %v, for %v", memberNames[i], by, d), func(w *world) { w.weather.slow(i, by, d) }}
		}),
		custom(func(t *rapid.T) step {
			share, d := rapid.IntRange(1, 40).Draw(t, "share"), milliseconds(20).Draw(t, "time")
			return step{fmt.Sprintf("%d %% of all packets are lost, for %v", share, d), func(w *world) { w.weather.thin(share, d) }}
		}),
		custom(func(t *rapid.T) step {
			i := who.Draw(t, "who")
			return step{memberNames[i] + " gets another address", func(w *world) { w.members[i].rebind() }}
		}),
		custom(func(t *rapid.T) step {
			i, way, d := who.Draw(t, "who"), way.Draw(t, "way"), milliseconds(60).Draw(t, "time")
			return step{fmt.Sprintf("%s is cut off %s for %v", memberNames[i], way, d), func(w *world) { w.weather.cut(i, way, d) }}
		}),
		custom(func(t *rapid.T) step {
			i, way := who.Draw(t, "who"), way.Draw(t, "way")
			return step{fmt.Sprintf("%s's connection is cut %s, and the next is well", memberNames[i], way), func(w *world) { w.members[i].cutConnection(way) }}
		}),
		custom(func(t *rapid.T) step {
			grace, d := milliseconds(3).Draw(t, "grace"), milliseconds(40).Draw(t, "time")
			return step{fmt.Sprintf("the server drains for %v, and is back after %v", grace, d), func(w *world) { w.drain(grace, d) }}
		}),
		custom(func(t *rapid.T) step {
			d := milliseconds(40).Draw(t, "time")
			return step{fmt.Sprintf("the server is killed, and is back after %v", d), func(w *world) { w.kill(d) }}
		}),
	)
}

// run runs the program on a fake clock, and returns which promises were broken, and how.
func (p program) run(t *testing.T, all *outcome) (broken []string) {
	synctest.Test(t, func(t *testing.T) {
		// A bubble begins in 2000. quic-go counts from the start of the process, has 0 for never, and would wait for
		// a packet's loss for ever that it takes for sent later than now.
		time.Sleep(50 * 365 * 24 * time.Hour)
		r := &recorder{TB: t, began: time.Now()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			play(r, p, all) //nolint:testifylint // a check that fails is to end this goroutine, and not the test
		}()
		<-done
		broken = r.broken()
	})
	return broken
}

func play(r *recorder, p program, all *outcome) {
	w := newWorld(r, p)
	defer w.stop()
	for _, s := range p.steps {
		s.do(w)
	}
	w.check()
	w.count(all)
}

// A recorder notes what a test would fail with: rapid is to decide what that means.
type recorder struct {
	testing.TB
	began time.Time

	mu     sync.Mutex // guards what follows
	faults []string
}

// fault notes that a promise was broken.
func (r *recorder) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) < 20 {
		r.faults = append(r.faults, fmt.Sprintf("%8v: %s", time.Since(r.began).Round(time.Millisecond), fmt.Sprintf(format, args...)))
	}
}

func (r *recorder) broken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

func (r *recorder) Errorf(format string, args ...any) { r.fault(format, args...) }

func (r *recorder) FailNow() { runtime.Goexit() }
