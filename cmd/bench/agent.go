package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// An agent is a child's own side.
type agent struct {
	role    role
	out     *json.Encoder
	profile *os.File // of the CPU, while it is being written
}

// runChild is main of a child.
func runChild() int {
	// Ctrl-C goes to the whole group; the parent tells what to do about it.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	lines := make(chan json.RawMessage)
	go func() {
		in := json.NewDecoder(bufio.NewReader(os.Stdin))
		for {
			var line json.RawMessage
			if in.Decode(&line) != nil {
				os.Exit(0) // the parent is done, or gone
			}
			lines <- line
		}
	}()
	a := &agent{out: json.NewEncoder(os.Stdout)}
	if err := json.Unmarshal(<-lines, &a.role); err != nil {
		a.fail(err)
		return exitError
	}
	do, ready, err := a.start()
	if err != nil {
		a.fail(err)
		return exitError
	}
	a.say(ready)
	for line := range lines {
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			a.fail(err)
			continue
		}
		reply, err := do(c.Do)
		if err != nil {
			a.fail(err)
			continue
		}
		a.say(reply)
	}
	return 0
}

func (a *agent) say(reply answer) { _ = a.out.Encode(reply) } // fails when the parent is gone: stdin ends too

func (a *agent) fail(err error) { a.say(answer{Error: err.Error()}) }

// start takes up the role. It returns what carries out commands.
func (a *agent) start() (do func(what string) (answer, error), ready answer, err error) {
	p := peerNamed(a.role.Peer)
	if p == nil {
		return nil, answer{}, fmt.Errorf("no peer %q", a.role.Peer)
	}
	if a.role.Server {
		serve := func() (server, error) { return p.serve(a.role.Suite, a.role.Keys) }
		if a.role.Dir != "" {
			serve = func() (server, error) { return p.serveDurable(a.role.Dir, a.role.Keys) }
		}
		srv, err := serve()
		if err != nil {
			return nil, answer{}, err
		}
		return a.serve, answer{Addr: srv.Addr()}, nil
	}
	l, err := newLoad(p, &a.role)
	if err != nil {
		return nil, answer{}, err
	}
	return func(what string) (answer, error) { return a.load(l, what) }, answer{}, nil
}

// serve does a server's part.
func (a *agent) serve(what string) (answer, error) {
	switch what {
	case doWarm:
		runtime.GC()
		return answer{}, nil
	case doSample:
		u := sample(false)
		return answer{Usage: u}, a.startProfile("server")
	case doSettle:
		return answer{Usage: sample(true)}, nil
	case doEnd:
		u := sample(false)
		return answer{Usage: u}, a.endProfile("server")
	}
	return answer{}, fmt.Errorf("a server does not %q", what)
}

// load does a client's part.
func (a *agent) load(l load, what string) (answer, error) {
	w := &a.role.Work
	switch what {
	case doWarm:
		runtime.GC()
		return answer{}, l.run(&section{work: w, duration: w.Warm, warm: true})
	case doIdle:
		s := &section{work: w, ops: 1}
		s.begin()
		time.Sleep(w.Measure)
		s.end()
		m, err := s.measured()
		return answer{Measured: m}, err
	case doMeasure:
		if err := a.startProfile("client"); err != nil {
			return answer{}, err
		}
		s := &section{work: w, duration: w.Measure}
		err := l.run(s)
		if err := errors.Join(err, a.endProfile("client")); err != nil {
			return answer{}, err
		}
		m, err := s.measured()
		return answer{Measured: m}, err
	}
	return answer{}, fmt.Errorf("a client does not %q", what)
}

func (a *agent) startProfile(side string) error {
	if a.role.Profile == "" {
		return nil
	}
	f, err := os.Create(a.role.Profile + side + ".cpu.pprof")
	if err != nil {
		return err
	}
	a.profile = f
	return pprof.StartCPUProfile(f)
}

// endProfile writes the profile of the CPU in this turn, and of allocations since the start.
func (a *agent) endProfile(side string) error {
	if a.profile == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := a.profile.Close()
	a.profile = nil
	f, createErr := os.Create(a.role.Profile + side + ".allocs.pprof")
	if createErr != nil {
		return errors.Join(err, createErr)
	}
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

// A load does the work of a client. Its connections are there.
type load interface {
	run(s *section) error
}

// newLoad connects what the work needs. The connections end with the process.
func newLoad(p *peer, r *role) (load, error) {
	switch r.Suite {
	case suiteRPC:
		conn, err := p.rpc(r.Addr, r.Keys)
		if err != nil {
			return nil, err
		}
		return newRPCLoad(conn, &r.Work)
	case suiteChat:
		d, err := p.chat(r.Addr, r.Keys)
		if err != nil {
			return nil, err
		}
		return newFanout(d, &r.Work)
	case suiteSession:
		if r.Work.Kind == kindRestart || r.Work.Kind == kindPathChange {
			return newSurviveLoad(p, r)
		}
		d, err := p.session(r.Addr, r.Keys)
		if err != nil {
			return nil, err
		}
		return newSessionLoad(d, &r.Work)
	}
	return nil, fmt.Errorf("no suite %q", r.Suite)
}

// A section is one turn of a load. What it counts lies between begin and end.
type section struct {
	work     *work
	duration time.Duration
	warm     bool // what is measured is thrown away

	ops   int64
	hist  histogram
	extra map[string]float64

	started time.Time
	elapsed time.Duration
	before  *usage
	after   *usage
}

func (s *section) begin() {
	s.before = sample(false)
	s.started = time.Now()
}

// deadline is when the section should end.
func (s *section) deadline() time.Time { return s.started.Add(s.duration) }

func (s *section) end() {
	s.elapsed = time.Since(s.started)
	s.after = sample(false)
}

// set sets a figure that only some works have.
func (s *section) set(name string, value float64) {
	if s.extra == nil {
		s.extra = make(map[string]float64)
	}
	s.extra[name] = value
}

func (s *section) measured() (*measured, error) {
	if s.ops == 0 || s.elapsed <= 0 {
		return nil, errors.New("nothing was done")
	}
	return &measured{
		Ops:     s.ops,
		Elapsed: s.elapsed,
		P50:     s.hist.quantile(0.50),
		P99:     s.hist.quantile(0.99),
		CPU:     s.after.CPU - s.before.CPU,
		Mallocs: s.after.Mallocs - s.before.Mallocs,
		Extra:   s.extra,
	}, nil
}
