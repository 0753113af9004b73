package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A progress is one line on a terminal that is written again and again; elsewhere, a line for
// each work, so that a log stays short.
type progress struct {
	w        io.Writer
	terminal bool
	last     string
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		return
	}
	if work, _, _ := strings.Cut(text, ":"); work != p.last {
		p.last = work
		fmt.Fprintln(p.w, work)
	}
}

// done takes the line away.
func (p *progress) done() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
