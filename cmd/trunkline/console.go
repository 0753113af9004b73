package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// maxLine bounds a line of input, in bytes. It is above what any room takes, so that the
// room's own limit is what people meet.
const maxLine = 1 << 20

var errLineTooLong = fmt.Errorf("the line is longer than %d bytes", maxLine)

// A lineReader reads what is typed, a line at a time, without its end.
type lineReader interface {
	readLine() (string, error)
}

// A printer prints events, a line each. It is safe for concurrent use.
type printer struct {
	asJSON bool
	stderr io.Writer

	mu      sync.Mutex // guards what follows
	out     io.Writer
	failure error // the first
}

// print prints one event.
func (p *printer) print(e event) {
	line, err := format(e, p.asJSON)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		_, err = io.WriteString(p.out, line+"\n")
	}
	if p.failure == nil {
		p.failure = err
	}
}

// complain says what is wrong with something that was typed.
func (p *printer) complain(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.stderr
	if _, ok := p.out.(*term.Terminal); ok {
		w = p.out // which keeps the line being typed whole
	}
	_, _ = fmt.Fprintf(w, "trunkline: error: %s\n", plain(text))
}

// list tells a person several lines that are no event.
func (p *printer) list(text string) {
	for line := range strings.Lines(text) {
		p.note(strings.TrimRight(line, "\n"))
	}
}

// note tells a person something that is no event.
func (p *printer) note(text string) {
	if p.asJSON {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, "* "+plain(text)+"\n") // an event that can't be printed is a failure
}

// err returns the first failure to print.
func (p *printer) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// console returns where lines come from and events go to: the terminal, if both are one, in a mode
// that keeps the line being typed whole while events are printed; else stdin and
// stdout as they are. restore puts the terminal back: no line is typed any more, and Ctrl-C is a signal again.
func (a *app) console(name string, asJSON bool) (in lineReader, out *printer, restore func(), err error) {
	out = &printer{asJSON: asJSON, stderr: a.stderr, out: a.stdout}
	stdin, inFile := a.stdin.(*os.File)
	stdout, outFile := a.stdout.(*os.File)
	if !inFile || !outFile || !term.IsTerminal(int(stdin.Fd())) || !term.IsTerminal(int(stdout.Fd())) {
		return &pipe{bufio.NewReader(a.stdin)}, out, func() {}, nil
	}
	state, err := term.MakeRaw(int(stdin.Fd()))
	if err != nil {
		return nil, nil, nil, err
	}
	k := &keyboard{stdin: stdin, prompt: name + "> "}
	k.t = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{k, stdout}, k.prompt)
	k.resize = func() {
		if width, height, err := term.GetSize(int(stdout.Fd())); err == nil {
			_ = k.t.SetSize(width, height) // it goes on with the old size
		}
	}
	out.out = k.t
	return k, out, func() {
		k.end()
		_ = term.Restore(int(stdin.Fd()), state)
	}, nil
}

// errInterrupted says that Ctrl-C was typed.
var errInterrupted = errors.New("interrupted")

// A keyboard is a terminal as a source of lines.
type keyboard struct {
	t           *term.Terminal
	stdin       io.Reader
	resize      func()
	interrupted bool

	mu     sync.Mutex // guards what follows
	prompt string
	ended  bool // no line is typed any more
}

// setPrompt has the line being typed stand behind another prompt.
func (k *keyboard) setPrompt(prompt string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended || k.prompt == prompt {
		return
	}
	k.prompt = prompt
	k.t.SetPrompt(prompt)
	_, _ = k.t.Write(nil) // draws the line again; what is printed next fails, too
}

// end has no prompt drawn any more.
func (k *keyboard) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	k.t.SetPrompt("")
}

// Read looks for Ctrl-C, which is no signal in raw mode, and which the terminal takes for the end of the input.
func (k *keyboard) Read(p []byte) (int, error) {
	const ctrlC = 3
	n, err := k.stdin.Read(p)
	k.interrupted = k.interrupted || bytes.IndexByte(p[:n], ctrlC) >= 0
	return n, err
}

func (k *keyboard) readLine() (string, error) {
	k.resize()
	line, err := k.t.ReadLine()
	if errors.Is(err, io.EOF) && k.interrupted {
		err = errInterrupted
	}
	if errors.Is(err, term.ErrPasteIndicator) { // it was pasted, which is as good as typed
		err = nil
	}
	return line, err
}

// A pipe is any other source of lines.
type pipe struct{ r *bufio.Reader }

// readLine returns the next line. One that is too long is skipped to its end, and is an
// errLineTooLong; the next call goes on behind it.
func (p *pipe) readLine() (string, error) {
	var line []byte
	tooLong := false
	for {
		part, err := p.r.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(part) > maxLine; !tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)):
			if tooLong && errors.Is(err, io.EOF) {
				return "", errLineTooLong
			}
			return "", err
		case tooLong:
			return "", errLineTooLong
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}
