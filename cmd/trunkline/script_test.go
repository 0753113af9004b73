package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"trunkline": main})
}

// The scripts in testdata/script run the real program, each command a process of its own. In
// addition to testscript's commands there are
//
//	ready                     waits until a server answers at $TRUNKLINE_SERVER
//	start NAME PROGRAM ARG…   runs a program in the background, with pipes
//	say NAME TEXT             writes a line to its stdin
//	eof NAME                  closes its stdin
//	stdin-of NAME FILE        writes the file to its stdin, and closes that
//	expect NAME REGEXP        reads lines of its stdout until one matches; at most 10 s
//	signal NAME SIGNAL        sends a signal
//	status NAME CODE          waits for its end, and checks the exit code
//	fetch URL                 gets URL; its text is stdout
//	pki                       makes a PKI in the current folder, see pki_test.go
//	complained NAME REGEXP    waits until its stderr matches; at most 10 s
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("TRUNKLINE_HOME", filepath.Join(env.WorkDir, "home"))
			addr, err := freeAddr()
			if err != nil {
				return err
			}
			env.Setenv("TRUNKLINE_SERVER", addr)
			if addr, err = freeTCPAddr(); err != nil {
				return err
			}
			env.Setenv("METRICS", addr)
			running := make(map[string]*process)
			env.Values[processesKey{}] = running
			env.Defer(func() {
				for _, p := range running {
					_ = p.cmd.Process.Kill()
					<-p.ended
				}
			})
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ready": ready, "start": start, "say": say, "eof": eof, "stdin-of": stdinOf,
			"expect": expect, "signal": sendSignal, "status": status, "fetch": fetch, "complained": complained, "pki": makePKI,
		},
	})
}

// freeAddr returns a UDP address on loopback that nobody uses just now.
func freeAddr() (string, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.LocalAddr().String(), nil
}

// freeTCPAddr is freeAddr for TCP.
func freeTCPAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func fetch(ts *testscript.TestScript, neg bool, args []string) {
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get(args[0])
	if (err != nil) != neg {
		ts.Fatalf("fetch %s: %v", args[0], err)
	}
	if err != nil {
		return
	}
	defer res.Body.Close()
	_, err = io.Copy(ts.Stdout(), res.Body)
	ts.Check(err)
}

type processesKey struct{}

// processes returns those of a script, by name.
func processes(ts *testscript.TestScript) map[string]*process {
	m, _ := ts.Value(processesKey{}).(map[string]*process)
	return m
}

// A process runs in the background of a script.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string   // of stdout
	ended chan struct{} // closed when err is set
	err   error

	mu     sync.Mutex // guards stderr
	stderr strings.Builder
}

// Write collects stderr.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

func (p *process) errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

func get(ts *testscript.TestScript, name string) *process {
	p, ok := processes(ts)[name]
	if !ok {
		ts.Fatalf("no process %s", name)
	}
	return p
}

func start(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARG…")
	}
	path, err := exec.LookPath(args[1])
	if err != nil { // the script's PATH, which has the program under test, is not ours
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if path, err = exec.LookPath(filepath.Join(dir, args[1])); err == nil {
				break
			}
		}
	}
	ts.Check(err)
	p := &process{cmd: exec.Command(path, args[2:]...), lines: make(chan string, 10_000), ended: make(chan struct{})}
	p.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"TRUNKLINE_HOME", "TRUNKLINE_SERVER", "HOME", "PATH"} {
		p.cmd.Env = append(p.cmd.Env, name+"="+ts.Getenv(name))
	}
	p.stdin, err = p.cmd.StdinPipe()
	ts.Check(err)
	stdout, err := p.cmd.StdoutPipe()
	ts.Check(err)
	p.cmd.Stderr = p
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.lines <- lines.Text()
		}
		close(p.lines)
		p.err = p.cmd.Wait()
	}()
	processes(ts)[args[0]] = p
}

func say(ts *testscript.TestScript, _ bool, args []string) {
	_, err := fmt.Fprintln(get(ts, args[0]).stdin, strings.Join(args[1:], " "))
	ts.Check(err)
}

func eof(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(get(ts, args[0]).stdin.Close())
}

func stdinOf(ts *testscript.TestScript, _ bool, args []string) {
	_, err := io.WriteString(get(ts, args[0]).stdin, ts.ReadFile(args[1]))
	ts.Check(err)
	ts.Check(get(ts, args[0]).stdin.Close())
}

func expect(ts *testscript.TestScript, _ bool, args []string) {
	p := get(ts, args[0])
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	var seen strings.Builder
	timeout := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				ts.Fatalf("%s ended without a line that matches %s\nit printed:\n%s%s", args[0], want, seen.String(), p.errors())
			}
			ts.Logf("[%s] %s", args[0], line)
			if want.MatchString(line) {
				return
			}
			seen.WriteString(line + "\n")
		case <-timeout:
			ts.Fatalf("%s printed no line that matches %s, but:\n%s%s", args[0], want, seen.String(), p.errors())
		}
	}
}

func status(ts *testscript.TestScript, _ bool, args []string) {
	p := get(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		ts.Fatalf("%s does not end\n%s", args[0], p.errors())
	}
	if got := fmt.Sprint(p.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ended with %s, not %s\n%s", args[0], got, args[1], p.errors())
	}
	ts.Logf("[%s stderr] %s", args[0], p.errors())
}

func complained(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	p := get(ts, args[0])
	for range 200 {
		if want.MatchString(p.errors()) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s did not say %s, but:\n%s", args[0], want, p.errors())
}

var signals = map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill, "HUP": syscall.SIGHUP}

func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	s, ok := signals[args[1]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(get(ts, args[0]).cmd.Process.Signal(s))
}

// ready calls a method until it is answered.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	for range 100 {
		if ts.Exec("trunkline", "call", "trunkline.Session/WhoAmI") == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("no server at %s", ts.Getenv("TRUNKLINE_SERVER"))
}
