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
		p.stopped.Go(p.show)
		p.received.Store(3)
		p.receivedBytes.Store(2048)
		time.Sleep(progressAfter - time.Millisecond)
		assert.Empty(t, out.String())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, "\r\x1b[Kreceived 3 (2.0 KiB), 1.0s", out.String())

		p.sent.Store(12)
		p.sentBytes.Store(5 << 20)
		out.Reset()
		time.Sleep(progressEvery)
		synctest.Wait()
		assert.Equal(t, "\r\x1b[Ksent 12 (5.0 MiB), received 3 (2.0 KiB), 1.2s", out.String())

		out.Reset()
		_, err := p.Write([]byte("a line\n"))
		assert.NoError(t, err)
		_, _ = p.Write([]byte("another\n"))
		assert.Equal(t, "\r\x1b[Ka line\nanother\n", out.String())
		time.Sleep(progressEvery)
		synctest.Wait()
		out.Reset()
		p.stop()
		assert.Equal(t, "\r\x1b[K", out.String())
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
