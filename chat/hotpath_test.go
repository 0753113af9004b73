package chat

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
)

// sink takes what is written and confirms it at once.
type sink struct {
	transport.FrameReader
	conn  *conn
	bytes atomic.Int64
}

func (s *sink) Write(p []byte) (int, error) {
	s.bytes.Add(int64(len(p)))
	s.conn.received.Store(s.conn.announce.Load())
	s.conn.stalled.Store(false)
	return len(p), nil
}
func (s *sink) WriteThrough(p []byte) (int, error) { return s.Write(p) }

func (s *sink) TryWrite(p []byte) bool {
	_, err := s.Write(p)
	return err == nil
}
func (s *sink) Close() error                { return nil }
func (s *sink) Cancel(transport.StreamCode) {}
func (s *sink) ReadFrame(transport.FrameLimit) (transport.FrameType, []byte, error) {
	return 0, nil, io.EOF
}

// BenchmarkHotPath is the fan-out without a network: log, ring, and what each subscriber's writer
// does. One operation is one message that was written to every subscriber.
func BenchmarkHotPath(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("readers=%d", n), func(b *testing.B) {
			srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
			ctx, cancel := context.WithCancel(context.Background())
			defer srv.Close()
			defer cancel()
			var conns []*conn
			for i := range n + 1 {
				s := &session{srv: srv, ctx: ctx, who: "u" + strconv.Itoa(i), rooms: make(map[string]*claim), abort: func(transport.CloseCode, string) {}}
				str := &sink{}
				c := newConn(s, str)
				str.conn, s.conn = c, c
				_ = s.claim("r")
				r, _ := srv.room("r", true)
				_ = c.send(r, &request{kind: requestJoin})
				conns = append(conns, c)
			}
			publisher := conns[n]
			body := []byte("a line of chat, as people write them")
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				cost := len(body) + messageCost
				_ = publisher.waitForLog(ctx, cost)
				_ = publisher.toRoom([]byte("r"), &request{kind: requestPublish, cost: cost, entries: []Entry{{From: "p", ID: strconv.Itoa(i), Body: body}}})
			}
			for _, c := range conns {
				for c.pending.Load() > 0 || c.unansweredNow() > 0 {
					runtime.Gosched()
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

func (c *conn) unansweredNow() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unanswered
}

// Whoever speaks is authorized once in a generation, and after that it costs no allocation.
func TestSpeakingIsAuthorizedWithoutAllocation(t *testing.T) {
	asked := 0
	srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{}), Authorize: func(certs.ID, string, Verb) error {
		asked++
		return nil
	}, AllowLines: func(_ certs.ID, n int) int { return n }})
	defer srv.Close()
	s := &session{srv: srv, rooms: make(map[string]*claim)}
	c := newConn(s, &sink{})
	require.Nil(t, s.claim("r"))
	room := []byte("r")
	req := &request{entries: make([]Entry, 3)}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if s.maySpeak(room) != nil {
			panic("refused")
		}
		c.admit(room, req)
	}))
	assert.Equal(t, 1, asked)
	srv.Reauthorize()
	assert.Nil(t, s.maySpeak(room))
	assert.Equal(t, 2, asked)
}
