package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// TestMain lets the processes that a run starts be this test binary.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childCommand {
		os.Exit(runChild())
	}
	os.Exit(m.Run())
}

// shorten makes works that take no time, and runs them.
func shorten(t *testing.T, suite string, change func(w *work)) []row {
	t.Helper()
	keys := make(map[bool]*keySet)
	for p256, kt := range keyTypes() {
		var err error
		keys[p256], err = newKeySet(kt)
		require.NoError(t, err)
	}
	chosen, err := selectPeers(suite, nil)
	require.NoError(t, err)
	r := &runner{suite: suite, peers: chosen, rounds: 2, keys: keys, note: newProgress(io.Discard)}
	var rows []row
	for _, w := range works(suite, true) {
		w.Warm, w.Measure = 10*time.Millisecond, 40*time.Millisecond
		change(&w)
		more, err := r.run(t.Context(), &w)
		require.NoError(t, err)
		rows = append(rows, more...)
	}
	for i := range rows {
		assert.Positive(t, rows[i].PerSecond, "%+v", rows[i])
		assert.Equal(t, 2, rows[i].Rounds)
	}
	return rows
}

func TestEveryPeerDoesEveryRPCWork(t *testing.T) {
	rows := shorten(t, suiteRPC, func(w *work) { w.N, w.Goal = min(w.N, 8), 4<<20 })
	assert.Len(t, rows, 8*6+4*5) // net/rpc has no streams
}

func TestEveryPeerDoesEveryChatWork(t *testing.T) {
	rows := shorten(t, suiteChat, func(w *work) { w.N = min(w.N, 5) })
	assert.Len(t, rows, 4*3+2*2) // of those with lines on the disk there are two
}

func TestEveryPeerDoesEverySessionWork(t *testing.T) {
	rows := shorten(t, suiteSession, func(w *work) { w.N = min(w.N, 5) })
	assert.Len(t, rows, 9*2)
}

func TestChildrenEndWithTheirParent(t *testing.T) {
	keys, err := newKeySet(certs.Ed25519)
	require.NoError(t, err)
	c, err := startChild(t.Context(), &role{Server: true, Peer: "floor", Suite: suiteRPC, Keys: keys}, nil)
	require.NoError(t, err)
	defer c.stop()
	require.NoError(t, c.cmd.Process.Signal(os.Interrupt)) // Ctrl-C alone does not end it: the parent says when
	_, err = c.do(t.Context(), doSample, 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, c.stdin.Close())
	select {
	case <-c.gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the child goes on")
	}
}

func TestChildThatFailsIsAnError(t *testing.T) {
	keys, err := newKeySet(certs.Ed25519)
	require.NoError(t, err)
	_, err = startChild(t.Context(), &role{Server: true, Peer: "nobody", Keys: keys}, nil)
	require.ErrorContains(t, err, "nobody")

	// A client whose server is gone does not wait for it.
	w := works(suiteRPC, true)[0]
	w.Warm = time.Minute
	r := &runner{suite: suiteRPC, keys: map[bool]*keySet{false: keys}}
	p, err := r.start(t.Context(), peerNamed("floor"), &w)
	require.NoError(t, err)
	time.AfterFunc(100*time.Millisecond, func() { _ = p.server.cmd.Process.Kill() })
	_, err = p.turn(t.Context(), &w)
	require.ErrorContains(t, err, "server has ended")
	p.stop()
}

func TestInterruptedRunLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(500*time.Millisecond, func() { cancel(errors.New("enough")) })
	var out, progress strings.Builder
	began := time.Now()
	err := run(ctx, &options{suite: suiteRPC, works: []string{"unary-*"}, peers: []string{"floor", "trunkline"}}, &out, &progress)
	require.NoError(t, err)
	assert.Less(t, time.Since(began), 15*time.Second)
	children, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children")
	if err == nil { // where the system tells
		assert.Empty(t, strings.TrimSpace(string(children)))
	}
}
