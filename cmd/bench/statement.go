package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// caveats go before every table.
const caveats = `caveats
  Loopback: no loss, no delay, packets of any rate. What QUIC is for, streams that do not wait for
    each other's lost packets, cannot be seen here.
  Client and server share the cores. A peer that uses less CPU leaves more to the other side, so
    operations a second and latency follow CPU per operation.
  grpc, connect-h2, netrpc and nats run on the kernel's TCP with 64 KiB segments on the loopback;
    trunkline, floor and connect-h3 on QUIC, whose every packet of at most 1,452 bytes is made,
    encrypted, acknowledged and scheduled in user space. Bulk bytes are TCP's ground here.
  The floor does less: no authorization, limits, status, cancellation, log, acknowledgement or
    presence. Peers have their default configuration, but for stream limits that fit 256 callers,
    timeouts of connections that wait for their turn, and connect's compression, which is off.
  All use TLS 1.3 with the same client and server certificates and no resumption.
  In fan-outs trunkline keeps a log in memory and acknowledges each line; floor and nats do neither. In those
    with fsync or a stalled subscriber, it and jetstream have each line on the disk before it is acknowledged and shown.
  The subscribers of trunkline and floor use the memory of a line again (ReuseMessages); nats has no such thing.
    So do their callers and handlers that of a message (CallInto, LendRequest, RecvInto); grpc's and connect's
    make a new one each time.
  Figures are medians over the rounds. Where (min – max) is wide, something else ran on the machine.
`

// writeStatement says what was measured where.
func writeStatement(w io.Writer, o *options, peers []*peer) {
	fmt.Fprintf(w, "suite    %s", o.suite)
	if o.quick {
		fmt.Fprint(w, ", quick: turns are short, so tails and small differences mean little")
	}
	if o.profile != "" {
		fmt.Fprint(w, ", with profiling, which costs")
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "machine  %s, %d cores in use, %s\n", cpuModel(), runtime.GOMAXPROCS(0), loadAverage())
	fmt.Fprintf(w, "system   %s/%s %s, %s\n", runtime.GOOS, runtime.GOARCH, kernel(), runtime.Version())
	fmt.Fprintf(w, "peers    %s\n\n", strings.Join(versions(peers), ", "))
	fmt.Fprint(w, caveats, "\n")
}

// versions names the peers with the versions of the modules that they are made of.
func versions(peers []*peer) []string {
	modules := map[string][]string{
		"trunkline":  {"github.com/quic-go/quic-go"},
		"floor":      {"github.com/quic-go/quic-go"},
		"grpc":       {"google.golang.org/grpc"},
		"connect-h2": {"connectrpc.com/connect"},
		"connect-h3": {"connectrpc.com/connect", "github.com/quic-go/quic-go"},
		"nats":       {"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go"},
	}
	info, _ := debug.ReadBuildInfo()
	version := func(path string) string {
		if info == nil {
			return path
		}
		i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == path })
		if i < 0 {
			return path
		}
		return strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], "/v2") + " " + info.Deps[i].Version
	}
	var out []string
	for _, p := range peers {
		paths := modules[p.name]
		if len(paths) == 0 {
			out = append(out, p.name+" (standard library)")
			continue
		}
		named := make([]string, len(paths))
		for i, path := range paths {
			named[i] = version(path)
		}
		out = append(out, p.name+" ("+strings.Join(named, ", ")+")")
	}
	return out
}

// cpuModel reads /proc/cpuinfo, where there is one.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

func kernel() string { return firstLine("/proc/sys/kernel/osrelease", "") }

func loadAverage() string { return "load before: " + firstLine("/proc/loadavg", "unknown") }

func firstLine(path, otherwise string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return otherwise
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
