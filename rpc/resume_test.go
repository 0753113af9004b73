package rpc_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// follow answers with the entries of a log, and then waits for more. With N the entry N-1 is the last.
var follow = rpc.ServerStream[Text, Text]("test.Log/Follow", rpc.Resumable())

// A journal is a log that is followed. Its cursors are the numbers of the entries that come next. It outlives its servers.
type journal struct {
	mu      sync.Mutex // guards what follows
	first   int        // entries below have been trimmed
	entries []string
	changed chan struct{}
	begun   []string // with which cursors it has been followed
	fail    func() error
}

func newJournal(n int) *journal {
	j := &journal{changed: make(chan struct{})}
	for i := range n {
		j.entries = append(j.entries, fmt.Sprint("entry ", i))
	}
	return j
}

func (j *journal) add(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, text)
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *journal) trim(first int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.first = first
}

// failNext makes entries fail with what fail returns.
func (j *journal) failNext(fail func() error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail = fail
}

func (j *journal) begunWith() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.begun...)
}

func (j *journal) begin(cursor string) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.begun = append(j.begun, cursor)
	if cursor == "" {
		return j.first, nil
	}
	i, err := strconv.Atoi(cursor)
	if err != nil {
		return 0, rpc.Errorf(rpc.InvalidArgument, "malformed cursor")
	}
	if i < j.first {
		return 0, rpc.Errorf(rpc.DataLoss, "entries up to %d are gone", j.first)
	}
	return i, nil
}

func (j *journal) entry(i int) (text string, ok bool, changed <-chan struct{}, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		if err := j.fail(); err != nil {
			return "", false, nil, err
		}
	}
	if i < len(j.entries) {
		return j.entries[i], true, nil, nil
	}
	return "", false, j.changed, nil
}

// mux serves the log.
func (j *journal) mux() *rpc.Mux {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, follow, func(ctx context.Context, req *Text, out *rpc.Sender[Text]) error {
		i, err := j.begin(rpc.Cursor(ctx))
		if err != nil {
			return err
		}
		for req.N == 0 || i < req.N {
			text, ok, changed, err := j.entry(i)
			if err != nil {
				return err
			}
			if ok {
				i++
				if err := out.SendAt(strconv.Itoa(i), &Text{Text: text, N: i - 1}); err != nil {
					return err
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			case <-rpc.Draining(ctx):
				return rpc.Errorf(rpc.Unavailable, "server goes away")
			}
		}
		return nil
	})
	return mux
}

// wantEntries asserts that in has the entries from to to, and no others, and returns how it ended.
func wantEntries(t *testing.T, in *rpc.Receiver[Text], from, to int, pause func()) error {
	t.Helper()
	for i := from; ; i++ {
		m, err := in.Recv()
		if err != nil {
			assert.Equal(t, to, i, "where the stream ended: %v", err)
			return err
		}
		require.Equal(t, i, m.N, "nothing lost, nothing twice")
		require.Equal(t, fmt.Sprint("entry ", i), m.Text)
		require.Equal(t, strconv.Itoa(i+1), in.Cursor())
		pause()
	}
}

// A disruptor ends connections in every way there is, and starts servers again at the same address.
type disruptor struct {
	n   *transporttest.Network
	cfg transport.Config
	at  *net.UDPAddr

	srv *transport.Server
}

func newDisruptor(t *testing.T, cfg transport.Config) *disruptor {
	t.Helper()
	cfg.StatelessResetKey, cfg.IdleTimeout = &[32]byte{1}, 2*time.Second
	d := &disruptor{n: transporttest.New(t, rtt), cfg: cfg}
	d.srv = d.n.Listen(cfg)
	d.at = d.srv.Addr().(*net.UDPAddr)
	return d
}

func (d *disruptor) dial(cfg transport.Config) *transport.Session {
	cfg.NewPacketConn, cfg.IdleTimeout, cfg.PingAfter, cfg.MaxReconnectBackoff = d.n.NewConn, 2*time.Second, time.Second, time.Second
	return d.n.Dial(d.srv, "alice", cfg)
}

func (d *disruptor) restart() {
	d.cfg.PacketConn = d.n.ConnAt(d.at)
	d.srv = d.n.Listen(d.cfg)
}

func (d *disruptor) abort() {
	for _, s := range d.srv.Sessions() {
		s.Abort(transport.Internal, "")
	}
}

func (d *disruptor) cut(length time.Duration) {
	d.n.Cut()
	time.Sleep(length)
	d.n.Drop(nil)
}

func (d *disruptor) kill() {
	d.n.Kill(d.srv)
	d.restart()
}

func (d *disruptor) drain(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := d.srv.Shutdown(ctx)
	d.restart()
	return err
}

// Over connections that end at any moment, in every way, and servers that start anew, a reader that is slow or
// fast gets every entry once, in order (M86, M87).
func TestM87ResumedStreamLosesNothingAndRepeatsNothing(t *testing.T) {
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { resumeAtRandom(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func resumeAtRandom(t *testing.T, random *rand.Rand) {
	t.Helper()
	const entries, readers = 20_000, 4
	j := newJournal(entries)
	d := newDisruptor(t, transport.Config{Handlers: handlers(j.mux())})
	client := d.dial(transport.Config{})
	done := make(chan struct{})
	var wg sync.WaitGroup
	for reader := range readers {
		random := rand.New(rand.NewPCG(random.Uint64(), 0))
		wg.Go(func() {
			in, err := follow.Call(t.Context(), client, &Text{N: entries})
			if !assert.NoError(t, err) {
				return
			}
			// From one that reads as fast as it comes to one that takes a minute or two.
			err = wantEntries(t, in, 0, entries, func() {
				if reader > 0 && random.IntN(100) == 0 {
					time.Sleep(time.Duration(random.Int64N(int64(reader) * int64(200*time.Millisecond))))
				}
			})
			assert.ErrorIs(t, err, io.EOF)
		})
	}
	go func() {
		wg.Wait()
		close(done)
	}()
	for kills := 0; ; kills++ {
		select {
		case <-done:
			now, _ := client.Status()
			t.Logf("%d kills, %d connections, followed %d times", kills, now.Attempt, len(j.begunWith()))
			assert.Greater(t, now.Attempt, uint64(kills/8), "the kills did not kill")
			return
		case <-time.After(time.Duration(random.Int64N(int64(700 * time.Millisecond)))):
		}
		switch random.IntN(5) {
		case 0:
			d.abort()
		case 1:
			d.cut(time.Duration(random.Int64N(int64(5 * time.Second))))
		case 2:
			d.kill()
		case 3:
			_ = d.drain(time.Duration(random.Int64N(int64(3 * time.Second)))) // some are cut off
		case 4:
			left := random.IntN(200)
			j.failNext(func() error {
				if left--; left != 0 {
					return nil
				}
				return rpc.Errorf(rpc.Unavailable, "not now")
			})
		}
	}
}
