package main

import (
	"fmt"
	"path"
	"slices"
	"time"
)

// The suites.
const (
	suiteRPC     = "rpc"
	suiteChat    = "chat"
	suiteSession = "session"
)

// A kind says how a work is done.
type kind string

const (
	kindUnary     kind = "unary"
	kindStream    kind = "stream"
	kindPingPong  kind = "pingpong"
	kindBulk      kind = "bulk"
	kindBeside    kind = "beside"
	kindFanout    kind = "fanout"
	kindPaced     kind = "paced"
	kindFsync     kind = "fsync"
	kindEstablish kind = "establish"
	kindIdle      kind = "idle"
	kindReconnect kind = "reconnect"

	kindRestart    kind = "restart"
	kindPathChange kind = "path-change"
)

// A work is one row of the table for each peer. It goes to the children as it is.
type work struct {
	Name string
	Kind kind
	N    int   // callers, subscribers or sessions
	Size int   // of a payload, in bytes
	Room bool  // idle: with a joined room
	Goal int64 // bulk: how many bytes

	Stalled bool // fsync: there is one more subscriber, which reads nothing

	// Warm and Measure are how long a turn takes. Bulk takes what it takes.
	Warm, Measure time.Duration

	// Rounds is how many there are, unless --rounds says otherwise.
	Rounds int

	P256 bool // the keys of all certificates; else Ed25519
}

// calls says whether the work can be done without streams.
func (w *work) calls() bool { return w.Kind == kindUnary }

// works returns those of a suite, in the order of the table.
func works(suite string, quick bool) []work {
	warm, measure := 500*time.Millisecond, 2*time.Second
	if quick {
		warm, measure = 80*time.Millisecond, 250*time.Millisecond
	}
	all := worksOf(suite, quick)
	for i := range all {
		w := &all[i]
		if w.Warm == 0 {
			w.Warm = warm
		}
		if w.Measure == 0 {
			w.Measure = measure
		}
		if w.Rounds == 0 {
			w.Rounds = 5
		}
	}
	return all
}

func worksOf(suite string, quick bool) []work {
	pick := func(full, short int) int {
		if quick {
			return short
		}
		return full
	}
	seconds := func(full, short float64) time.Duration {
		if quick {
			full = short
		}
		return time.Duration(full * float64(time.Second))
	}
	var all []work
	switch suite {
	case suiteRPC:
		for _, size := range []struct {
			name  string
			bytes int
		}{{"64B", 64}, {"16K", 16 << 10}} {
			for _, n := range []int{1, 16, 64, 256} {
				all = append(all, work{Name: fmt.Sprintf("unary-%s-%d", size.name, n), Kind: kindUnary, N: n, Size: size.bytes})
			}
		}
		all = append(all,
			work{Name: "stream-1K", Kind: kindStream, Size: 1 << 10},
			work{Name: "pingpong-1K", Kind: kindPingPong, Size: 1 << 10},
			work{Name: "bulk", Kind: kindBulk, Size: bulkMessage, Goal: int64(pick(1<<30, 96<<20))},
			work{Name: "beside-bulk", Kind: kindBeside, N: 1, Size: 64})
	case suiteChat:
		for _, n := range []int{1, 100, 1000} {
			all = append(all, work{Name: fmt.Sprintf("fanout-%d", n), Kind: kindFanout, N: n, Size: lineSize, Measure: seconds(3, 0.5)})
		}
		all = append(all, work{Name: "fanout-100-paced", Kind: kindPaced, N: 100, Size: lineSize, Warm: seconds(1, 0.2), Measure: seconds(5, 1)})
		all = append(all, work{Name: "fanout-100-fsync", Kind: kindFsync, N: 100, Size: lineSize, Measure: seconds(3, 0.5)})
		all = append(all, work{Name: "fanout-100-stalled", Kind: kindFsync, N: 100, Size: lineSize, Stalled: true, Measure: seconds(3, 0.5)})
	case suiteSession:
		all = append(all,
			work{Name: "establish-p256", Kind: kindEstablish, N: 8, P256: true, Measure: seconds(4, 0.8)},
			work{Name: "establish-ed25519", Kind: kindEstablish, N: 8, Measure: seconds(4, 0.8)})
		for _, n := range []int{1000, 3000} {
			idle := work{Name: fmt.Sprintf("idle-%d", n), Kind: kindIdle, N: n, Room: true, Measure: seconds(20, 3), Rounds: pick(5, 1)}
			all = append(all, idle)
			idle.Name += "-noroom"
			idle.Room = false
			all = append(all, idle)
		}
		all = append(all,
			work{Name: "reconnect", Kind: kindReconnect, Size: lineSize},
			work{Name: "restart-first-call", Kind: kindRestart},
			work{Name: "path-change-first-call", Kind: kindPathChange})
	}
	return all
}

// selectWorks keeps those whose name matches one of the globs; without globs, all.
func selectWorks(all []work, globs []string) ([]work, error) {
	if len(globs) == 0 {
		return all, nil
	}
	var out []work
	for _, w := range all {
		for _, g := range globs {
			ok, err := path.Match(g, w.Name)
			if err != nil {
				return nil, fmt.Errorf("--works %q: %w", g, err)
			}
			if ok {
				out = append(out, w)
				break
			}
		}
	}
	if len(out) == 0 {
		names := make([]string, len(all))
		for i, w := range all {
			names[i] = w.Name
		}
		return nil, fmt.Errorf("--works matches none of %v", names)
	}
	return out, nil
}

// selectPeers keeps those of the suite with one of the names; without names, all of the suite.
func selectPeers(suite string, names []string) ([]*peer, error) {
	for _, name := range names {
		if p := peerNamed(name); p == nil || !p.has(suite) {
			return nil, fmt.Errorf("--peers: no %q in the suite %s", name, suite)
		}
	}
	return slices.DeleteFunc(peers(), func(p *peer) bool {
		return !p.has(suite) || len(names) > 0 && !slices.Contains(names, p.name)
	}), nil
}
