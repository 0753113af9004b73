package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

const (
	// progressAfter is how long a call may take before it is shown how far it is.
	progressAfter = time.Second
	// progressEvery is how often.
	progressEvery = 250 * time.Millisecond
)

// A progress counts the messages of a call and shows, on one line of a terminal that it writes anew, how far the call is. Others
// write to that terminal through it.
type progress struct {
	w     io.Writer
	began time.Time

	sent, sentBytes, received, receivedBytes atomic.Int64

	done    chan struct{}
	stopped sync.WaitGroup

	mu    sync.Mutex // guards what follows, and takes turns in writing
	shown bool       // there is a line that is to be overwritten
}

// startProgress returns a progress of a call that begins now. It shows nothing unless stderr is a terminal and stdout is none, where it would
// stand between the replies.
func (a *app) startProgress() *progress {
	p := &progress{w: a.stderr, began: time.Now(), done: make(chan struct{})}
	if isTerminal(a.stderr) && !isTerminal(a.stdout) {
		p.stopped.Go(p.show)
	}
	return p
}

// isTerminal says whether one of the process's streams is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// show shows how far the call is, until stop.
func (p *progress) show() {
	after := time.NewTimer(progressAfter)
	defer after.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-after.C:
		}
		p.draw(time.Now())
		after.Reset(progressEvery)
	}
}

func (p *progress) draw(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	_, _ = io.WriteString(p.w, clearLine+p.line(now))
}

// clearLine goes to the begin of the line, and clears it.
const clearLine = "\r\x1b[K"

// line returns how far the call is.
func (p *progress) line(now time.Time) string {
	parts := make([]string, 0, 3)
	if n := p.sent.Load(); n > 1 { // one request is no stream
		parts = append(parts, fmt.Sprintf("sent %d (%s)", n, bytesText(p.sentBytes.Load())))
	}
	parts = append(parts, fmt.Sprintf("received %d (%s)", p.received.Load(), bytesText(p.receivedBytes.Load())),
		elapsed(now.Sub(p.began)))
	return strings.Join(parts, ", ")
}

// elapsed returns a time whose text does not jump: to a tenth of a second, and to a second when there are minutes.
func elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// Write writes lines to the terminal, in the place of what is shown.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		p.shown = false
		_, _ = io.WriteString(p.w, clearLine)
	}
	return p.w.Write(b)
}

// stop ends the showing, and clears what is shown.
func (p *progress) stop() {
	close(p.done)
	p.stopped.Wait()
	_, _ = p.Write(nil)
}

// bytesText returns n bytes in the unit that suits.
func bytesText(n int64) string {
	const k = 1024
	switch {
	case n < k:
		return fmt.Sprintf("%d B", n)
	case n < k*k:
		return fmt.Sprintf("%.1f KiB", float64(n)/k)
	case n < k*k*k:
		return fmt.Sprintf("%.1f MiB", float64(n)/(k*k))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(k*k*k))
}
