package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestProgressIsShownOnceACallIsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := &progress{w: &out, began: time.Now(), done: make(chan struct{})}
		shown := func() string { // since it was asked before
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			defer out.Reset()
			return out.String()
		}
		p.stopped.Go(p.show)
		p.received.Store(3)
		p.receivedBytes.Store(2048)
		time.Sleep(progressAfter - time.Millisecond)
		assert.Empty(t, shown())
		time.Sleep(2 * time.Millisecond)
		assert.Equal(t, "\r\x1b[Kreceived 3 (2.0 KiB), 1.0s", shown())

		p.sent.Store(12)
		p.sentBytes.Store(5 << 20)
		time.Sleep(progressEvery)
		assert.Equal(t, "\r\x1b[Ksent 12 (5.0 MiB), received 3 (2.0 KiB), 1.2s", shown())

		_, err := p.Write([]byte("a line\n"))
		assert.NoError(t, err)
		_, _ = p.Write([]byte("another\n"))
		assert.Equal(t, "\r\x1b[Ka line\nanother\n", shown())
		time.Sleep(progressEvery)
		_ = shown()
		p.stop()
		assert.Equal(t, "\r\x1b[K", shown())
	})
}

// What is piped, or read by a program, has no progress in it.
func TestNoProgressWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		a := &app{stdout: new(strings.Builder), stderr: &out}
		p := a.startProgress()
		time.Sleep(time.Hour)
		p.stop()
		assert.Empty(t, out.String())
	})
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 20: "3.0 MiB", 5 << 30: "5.0 GiB"} {
		assert.Equal(t, want, bytesText(n))
	}
}
