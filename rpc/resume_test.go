package rpc_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
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
func (j *journal) mux() *rpc.Mux { return j.handle(rpc.NewMux(rpc.Config{})) }

func (j *journal) handle(mux *rpc.Mux) *rpc.Mux {
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

// readEntries reads to the end, and returns nil if in had the entries from to to, and no others, and ended in order.
func readEntries(in *rpc.Receiver[Text], from, to int, pause func()) error {
	i := from
	for m, err := range in.All() {
		if err != nil {
			return fmt.Errorf("instead of entry %d: %w", i, err)
		}
		if want := (Text{Text: fmt.Sprint("entry ", i), N: i}); *m != want || in.Cursor() != strconv.Itoa(i+1) {
			return fmt.Errorf("got %v with cursor %s, want %v: lost, or twice", *m, in.Cursor(), want)
		}
		i++
		pause()
	}
	if i != to {
		return fmt.Errorf("ended at entry %d, want %d", i, to)
	}
	return nil
}

// Over connections that end at any moment, in every way, and servers that start anew, a reader that is slow or
// fast gets every entry once, in order (M86, M87).
func TestM87ResumedStreamLosesNothingAndRepeatsNothing(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { resumeAtRandom(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func resumeAtRandom(t *testing.T, random *rand.Rand) {
	t.Helper()
	const entries, readers = 8000, 3
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
			// From one that reads as fast as it comes to one that takes a quarter of a minute.
			assert.NoError(t, readEntries(in, 0, entries, func() {
				if reader > 0 && random.IntN(100) == 0 {
					time.Sleep(time.Duration(random.Int64N(int64(reader) * int64(200*time.Millisecond))))
				}
			}))
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
			assert.Greater(t, now.Attempt, uint64(1), "the kills did not kill")
			return
		case <-time.After(time.Duration(random.Int64N(int64(700 * time.Millisecond)))):
		}
		switch random.IntN(6) {
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
		case 5: // a network that loses a fifth
			lossy := rand.New(rand.NewPCG(random.Uint64(), 0))
			d.n.Drop(func(transporttest.Packet) bool { return lossy.IntN(5) == 0 })
			time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
			d.n.Drop(nil)
		}
	}
}

// aLog returns a session with a server that serves j.
func aLog(t *testing.T, j *journal) (*disruptor, *transport.Session) {
	t.Helper()
	d := newDisruptor(t, transport.Config{Handlers: handlers(j.mux())})
	client := d.dial(transport.Config{})
	return d, client
}

// The handler that can't go on from a cursor says so, and that is the end of the loop (M86).
func TestM86GoneCursorIsDataLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(10)
		d, client := aLog(t, j)
		in, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		for range 10 {
			_, err := in.Recv()
			require.NoError(t, err)
		}
		d.n.Cut()
		time.Sleep(5 * time.Second)
		for i := 10; i < 20; i++ {
			j.add(fmt.Sprint("entry ", i))
		}
		j.trim(15)
		d.n.Drop(nil)
		_, err = in.Recv()
		e := wantError(t, err, rpc.DataLoss, rpc.Ran)
		assert.Equal(t, "entries up to 15 are gone", e.Message)
		assert.Equal(t, "10", in.Cursor(), "where the loss began")
		_, again := in.Recv()
		assert.Equal(t, err, again)

		in, err = follow.Call(t.Context(), client, &Text{N: 20}, rpc.WithCursor("16"))
		require.NoError(t, err)
		assert.NoError(t, readEntries(in, 16, 20, func() {}))
	})
}

// A program that keeps the cursor goes on from it after a restart of its own.
func TestM87KeptCursorGoesOnInAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(10)
		d, client := aLog(t, j)
		kept := ""
		for i := range 10 {
			in, err := follow.Call(t.Context(), client, &Text{}, rpc.WithCursor(kept))
			require.NoError(t, err)
			require.Equal(t, kept, in.Cursor(), "before the first message")
			m, err := in.Recv()
			require.NoError(t, err)
			require.Equal(t, i, m.N)
			time.Sleep(rtt) // the rest is here by now, and was not handed out
			kept = in.Cursor()
			in.Close()
			require.NoError(t, client.Release(t.Context()))
			client = d.dial(transport.Config{})
		}
	})
}

// A follower that waits for more goes over to the server that comes after a drain, for which it does not let anybody
// wait.
func TestM88FollowerGoesOnAfterADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(3)
		d, client := aLog(t, j)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		in, err := follow.Call(ctx, client, &Text{N: 6})
		require.NoError(t, err)
		got := make(chan error, 1)
		go func() { got <- readEntries(in, 0, 6, func() {}) }()
		for i := 3; i < 6; i++ {
			time.Sleep(time.Second)
			begun := time.Now()
			require.NoError(t, d.drain(10*time.Second), "nobody is cut off")
			assert.Less(t, time.Since(begun), 2*time.Second)
			j.add(fmt.Sprint("entry ", i))
		}
		assert.NoError(t, <-got)
	})
}

// Where the server calls its client, the client's streams go on when that is back.
func TestM87StreamOfAClientGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(0)
		d := newDisruptor(t, transport.Config{})
		client := d.dial(transport.Config{Handlers: handlers(j.mux())})
		server := d.srv.Sessions()[0]
		in, err := follow.Call(t.Context(), server, &Text{N: 4})
		require.NoError(t, err)
		got := make(chan error, 1)
		go func() { got <- readEntries(in, 0, 4, func() {}) }()
		for i := range 4 {
			j.add(fmt.Sprint("entry ", i))
			time.Sleep(time.Second)
			if i < 3 {
				d.cut(5 * time.Second)
				time.Sleep(time.Second)
			}
		}
		assert.NoError(t, <-got)
		assert.Equal(t, []string{"", "1", "2", "3"}, j.begunWith())
		require.NoError(t, client.Release(t.Context()), "no stream is left")
	})
}

// Who takes no cursors gets a plain stream, that ends with its connection (M85).
func TestM85CallerWithoutCursorsGetsAPlainStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(3)
		d, client := aLog(t, j)
		plain := rpc.ServerStream[Text, Text](follow.Name())
		in, err := plain.Call(t.Context(), client, &Text{N: 4})
		require.NoError(t, err)
		for i := range 3 {
			m, err := in.Recv()
			require.NoError(t, err)
			require.Equal(t, i, m.N)
			require.Empty(t, in.Cursor())
		}
		d.abort()
		_, err = in.Recv()
		wantError(t, err, rpc.Unavailable, rpc.Maybe)

		_, err = plain.Call(t.Context(), client, &Text{}, rpc.WithCursor("1"))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
		_, err = say.Call(t.Context(), client, &Text{}, rpc.WithCursor("1"))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
		_, err = follow.Call(t.Context(), client, &Text{}, rpc.WithCursor(strings.Repeat("1", 1025)))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
	})
}

// A method that is not resumable where it is served refuses to begin anew (M86).
func TestM86MethodThatIsNotResumableIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		for _, method := range []string{count.Name(), say.Name()} {
			in, err := rpc.ServerStream[Text, Text](method, rpc.Resumable()).Call(t.Context(), client, &Text{N: 3})
			require.NoError(t, err)
			_, err = in.Recv()
			wantError(t, err, rpc.Unimplemented, rpc.NotStarted)
		}
		assert.Zero(t, e.calls.Load())
		assert.Panics(t, func() { rpc.Unary[Text, Text]("a.B/C", rpc.Resumable()) })
		assert.Panics(t, func() { rpc.ClientStream[Text, Text]("a.B/C", rpc.Resumable()) })
		assert.Panics(t, func() { rpc.Bidi[Text, Text]("a.B/C", rpc.Resumable()) })
	})
}

// What a handler does wrong with its cursors it is told at once, whoever calls it (M85).
func TestM85HandlerThatSendsNoProperCursorFails(t *testing.T) {
	tests := map[string]func(out *rpc.Sender[Text]) error{
		"none":              func(out *rpc.Sender[Text]) error { return out.Send(&Text{}) },
		"empty":             func(out *rpc.Sender[Text]) error { return out.SendAt("", &Text{}) },
		"too long":          func(out *rpc.Sender[Text]) error { return out.SendAt(strings.Repeat("x", 1025), &Text{}) },
		"the same as first": func(out *rpc.Sender[Text]) error { return out.SendAt("begin", &Text{}) },
		"the same as before": func(out *rpc.Sender[Text]) error {
			if err := out.SendAt(strings.Repeat("x", 1024), &Text{}); err != nil {
				return rpc.Errorf(rpc.Unknown, "%w", err)
			}
			return out.SendAt(strings.Repeat("x", 1024), &Text{})
		},
	}
	for name, send := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mux := rpc.NewMux(rpc.Config{})
				rpc.Handle(mux, follow, func(_ context.Context, _ *Text, out *rpc.Sender[Text]) error { return send(out) })
				rpc.Handle(mux, count, func(_ context.Context, _ *Text, out *rpc.Sender[Text]) error {
					return out.SendAt("1", &Text{})
				})
				_, client, _ := start(t, mux)
				in, err := follow.Call(t.Context(), client, &Text{}, rpc.WithCursor("begin"))
				require.NoError(t, err)
				for err == nil {
					_, err = in.Recv()
				}
				wantError(t, err, rpc.Internal, rpc.Ran)
				in, err = count.Call(t.Context(), client, &Text{})
				require.NoError(t, err)
				_, err = in.Recv()
				wantError(t, err, rpc.Internal, rpc.Ran)
			})
		})
	}
}
