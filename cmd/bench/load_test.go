package main

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// send returns the messages of a stream.
func send(t *testing.T, req streamRequest) [][]byte {
	t.Helper()
	parsed, err := parseStreamRequest(req.encode())
	require.NoError(t, err)
	require.Equal(t, req, parsed)
	var out [][]byte
	require.NoError(t, parsed.serve(func(msg []byte) error {
		out = append(out, append([]byte(nil), msg...))
		return nil
	}))
	return out
}

func TestStreamCheckerTakesWhatWasSent(t *testing.T) {
	var h histogram
	c := newStreamChecker(64, &h)
	for _, msg := range send(t, streamRequest{Size: 64, Count: 10}) {
		require.NoError(t, c.take(msg))
	}
	require.NoError(t, c.end(nil))
	assert.Equal(t, int64(10), c.next)
	assert.Equal(t, uint64(10), h.total)
}

func TestNobodyIsFastByLosingMessages(t *testing.T) {
	messages := func() [][]byte { return send(t, streamRequest{Size: 64, Count: 4}) }
	for name, spoil := range map[string]func(m [][]byte) [][]byte{
		"a message is missing":  func(m [][]byte) [][]byte { return append(m[:1], m[2:]...) },
		"a message comes twice": func(m [][]byte) [][]byte { return append(m[:2], m[1:]...) },
		"two are swapped":       func(m [][]byte) [][]byte { m[0], m[1] = m[1], m[0]; return m },
		"a byte has changed":    func(m [][]byte) [][]byte { m[2][63]++; return m },
		"one is short":          func(m [][]byte) [][]byte { m[2] = m[2][:63]; return m },
		"the end is missing":    func(m [][]byte) [][]byte { return m[:4] },
		"something follows":     func(m [][]byte) [][]byte { return append(m, m[4]) },
	} {
		t.Run(name, func(t *testing.T) {
			var h histogram
			c := newStreamChecker(64, &h)
			var err error
			for _, msg := range spoil(messages()) {
				err = errors.Join(err, c.take(msg))
			}
			assert.Error(t, errors.Join(err, c.end(nil)))
		})
	}
	assert.ErrorIs(t, newStreamChecker(64, new(histogram)).end(nil), io.ErrUnexpectedEOF)
}

func TestStreamRequestsAreChecked(t *testing.T) {
	_, err := parseStreamRequest([]byte("short"))
	require.Error(t, err)
	_, err = parseStreamRequest(streamRequest{Size: 1}.encode())
	require.Error(t, err)
	_, err = parseStreamRequest(streamRequest{Size: 1 << 30}.encode())
	assert.Error(t, err)
}

// testFanout has n subscribers, and a publisher that delivers through spoil.
func testFanout(n int, batch int64, spoil func(sub int, line []byte) [][]byte) *fanout {
	f := &fanout{padding: strings.Repeat("x", lineSize-lineHeader), base: time.Now(), batch: batch, failed: make(chan error, 1)}
	f.open(4)
	for range n {
		f.subs = append(f.subs, &subscriber{f: f})
	}
	f.pub = publisherFunc(func(line []byte) error {
		for i, s := range f.subs {
			for _, l := range spoil(i, append([]byte(nil), line...)) {
				deliver(s, l)
			}
		}
		return nil
	})
	return f
}

type publisherFunc func(line []byte) error

func (f publisherFunc) publish(line []byte) error { return f(line) }
func (f publisherFunc) Close() error              { return nil }
func (f publisherFunc) acknowledged() error       { return nil }

func TestFanoutCountsEveryDelivery(t *testing.T) {
	f := testFanout(3, 8, func(_ int, line []byte) [][]byte { return [][]byte{line} })
	for range 2 { // turns follow each other
		s := &section{work: &work{Kind: kindFanout}, duration: 20 * time.Millisecond}
		require.NoError(t, f.run(s))
		assert.Positive(t, s.ops)
		assert.Zero(t, s.ops%(3*8))
		assert.Equal(t, uint64(s.ops), s.hist.total)
	}
}

func TestPacedLinesCountFromWhenTheyWereDue(t *testing.T) {
	f := testFanout(2, 1, func(_ int, line []byte) [][]byte {
		time.Sleep(15 * time.Millisecond) // too slow for the pace: lateness adds up
		return [][]byte{line}
	})
	s := &section{work: &work{Kind: kindPaced}, duration: 100 * time.Millisecond}
	require.NoError(t, f.run(s))
	assert.Equal(t, int64(2*10), s.ops)
	assert.Greater(t, s.hist.quantile(0.99), 100*time.Millisecond)
}

func TestNobodyIsFastByLosingLines(t *testing.T) {
	for name, spoil := range map[string]func(line []byte) [][]byte{
		"a line comes twice":  func(l []byte) [][]byte { return [][]byte{l, l} },
		"a byte has changed":  func(l []byte) [][]byte { l[lineSize-1]++; return [][]byte{l} },
		"a line is short":     func(l []byte) [][]byte { return [][]byte{l[:lineSize-1]} },
		"the number is wrong": func(l []byte) [][]byte { l[15] = '0'; return [][]byte{l} },
	} {
		t.Run(name, func(t *testing.T) {
			f := testFanout(2, 4, func(sub int, line []byte) [][]byte {
				if n, _ := parseHex(line[:16]); sub == 1 && n == 5 {
					return spoil(line)
				}
				return [][]byte{line}
			})
			assert.Error(t, f.run(&section{work: &work{Kind: kindFanout}, duration: time.Second}))
		})
	}
}

func TestLinesOfTextAndBytesAreTheSame(t *testing.T) {
	line := appendLine(nil, 0xabc, 12345, strings.Repeat("x", 68))
	require.Len(t, line, lineSize)
	a, ok := parseHex(line[:16])
	require.True(t, ok)
	b, ok := parseHex(string(line[:16]))
	require.True(t, ok)
	assert.Equal(t, uint64(0xabc), a)
	assert.Equal(t, a, b)
	_, ok = parseHex("12G")
	assert.False(t, ok)
}

func TestUnaryLoadFindsAWrongEcho(t *testing.T) {
	echo := func(payload []byte) ([]byte, error) { return payload, nil }
	other := func(payload []byte) ([]byte, error) {
		wrong := append([]byte(nil), payload...)
		binary.BigEndian.PutUint32(wrong, 99)
		return wrong, nil
	}
	run := func(calls ...func([]byte) ([]byte, error)) (*section, error) {
		l := &unaryLoad{callers: calls, hists: make([]histogram, len(calls)), size: 64}
		s := &section{work: &work{}, duration: 5 * time.Millisecond}
		return s, l.run(s)
	}
	s, err := run(echo)
	require.NoError(t, err)
	assert.Positive(t, s.ops)
	_, err = run(echo, other)
	assert.ErrorContains(t, err, "not what was sent")
}
