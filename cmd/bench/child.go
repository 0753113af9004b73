package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// The processes that do the work are this program with the argument childCommand. They read a
// role, then one command at a time, from stdin, and answer each with one line on stdout; all
// lines are JSON. A child ends when its stdin does, whatever it is doing, so that none is left
// when the parent is killed.
const childCommand = "__child"

// A role is the first line that a child reads. It answers when it is ready.
type role struct {
	Server  bool
	Peer    string
	Suite   string
	Addr    string // of the server, for clients
	Keys    *keySet
	Work    work
	Dir     string // of what a server is to keep
	Profile string // path and beginning of the names of profiles; none if empty
}

// The commands.
const (
	doWarm    = "warm"    // client: the work, without measuring; then collect garbage. Server: the latter
	doMeasure = "measure" // client: the work
	doIdle    = "idle"    // client: nothing for as long as a turn takes
	doSample  = "sample"  // server: what has been used; profiles begin
	doSettle  = "settle"  // server: the same after collecting garbage
	doEnd     = "end"     // server: sample, and write the profiles
)

type command struct{ Do string }

type answer struct {
	Error    string    `json:",omitempty"`
	Addr     string    `json:",omitempty"`
	Usage    *usage    `json:",omitempty"`
	Measured *measured `json:",omitempty"`
}

// measured is what a client says of one turn.
type measured struct {
	Ops      int64
	Elapsed  time.Duration
	P50, P99 time.Duration
	CPU      time.Duration
	Mallocs  uint64
	Extra    map[string]float64 `json:",omitempty"`
}

// A child is a process as its parent sees it. It is not safe for concurrent use.
type child struct {
	name    string // for errors: "server" or "client"
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers chan answer   // closed when the process says no more
	gone    chan struct{} // the same, for others
	server  *child        // without which a client has nobody to talk to; may be nil
	ready   answer
}

const (
	// startTime bounds the start of a child, with all the connections that its work needs.
	startTime = 90 * time.Second
	// turnTime bounds a turn beyond what it is meant to take.
	turnTime = 60 * time.Second
	// stopTime is how long a child may take to end by itself.
	stopTime = 3 * time.Second
)

// startChild starts a process and waits until it is ready. It ends with ctx at the latest.
func startChild(ctx context.Context, r *role, server *child) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, childCommand)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = stopTime
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{name: "client", cmd: cmd, stdin: stdin, answers: make(chan answer), gone: make(chan struct{}), server: server}
	if r.Server {
		c.name = "server"
	}
	go c.read(stdout) // ends with the process, which stop waits for
	c.ready, err = c.ask(ctx, r, startTime)
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *child) read(stdout io.Reader) {
	defer close(c.answers)
	defer close(c.gone)
	lines := json.NewDecoder(bufio.NewReader(stdout))
	for {
		var a answer
		if lines.Decode(&a) != nil {
			return
		}
		c.answers <- a
	}
}

// ask sends one line and waits for the answer. An error says whose it is.
func (c *child) ask(ctx context.Context, line any, patience time.Duration) (answer, error) {
	a, err := c.exchange(ctx, line, patience)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", c.name, err)
	}
	return a, nil
}

func (c *child) exchange(ctx context.Context, line any, patience time.Duration) (answer, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if err := json.NewEncoder(c.stdin).Encode(line); err != nil {
		return answer{}, fmt.Errorf("child is gone: %w", err)
	}
	var serverGone chan struct{} // blocks for ever
	if c.server != nil {
		serverGone = c.server.gone
	}
	select {
	case <-serverGone:
		return answer{}, errors.New("the server has ended; its stderr says why")
	case a, ok := <-c.answers:
		if !ok {
			return answer{}, errors.New("child has ended; its stderr says why")
		}
		if a.Error != "" {
			return answer{}, errors.New(a.Error)
		}
		return a, nil
	case <-timer.C:
		return answer{}, fmt.Errorf("no answer within %v", patience)
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

func (c *child) do(ctx context.Context, what string, patience time.Duration) (answer, error) {
	return c.ask(ctx, command{what}, patience)
}

// stop ends the process and waits for that.
func (c *child) stop() {
	_ = c.stdin.Close() // tells it
	timer := time.AfterFunc(stopTime, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	for range c.answers { // until its stdout ends: Wait must not come before
	}
	_ = c.cmd.Wait() // how it ended matters no more
}
