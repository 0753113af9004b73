package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A thousand streams of a session go on at once, with the next server, and none leaves anything (R5).
func TestR5ThousandStreamsGoOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 1000
		j := newJournal(1)
		d, client := aLog(t, j)
		var before int
		for round := range 2 { // the first one warms up
			var wg, first sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			first.Add(streams)
			for range streams {
				wg.Go(func() {
					in, err := follow.Call(ctx, client, &Text{N: 2*round + 3})
					if !assert.NoError(t, err) {
						first.Done()
						return
					}
					n := 0
					assert.NoError(t, readEntries(in, 0, 2*round+3, func() {
						if n++; n == 2*round+1 {
							first.Done()
						}
					}))
				})
			}
			first.Wait()
			d.kill()
			j.add(fmt.Sprint("entry ", 2*round+1))
			time.Sleep(5 * time.Second)
			assert.Equal(t, streams, d.srv.Stats().Streams)
			require.NoError(t, d.drain(10*time.Second), "nobody is cut off")
			j.add(fmt.Sprint("entry ", 2*round+2))
			wg.Wait()
			cancel()
			time.Sleep(time.Minute) // credit, timers and workers are through
			synctest.Wait()
			assert.Zero(t, d.srv.Stats().Streams)
			if round == 0 {
				before = runtime.NumGoroutine()
			}
		}
		assert.Less(t, runtime.NumGoroutine(), before+100, "a few are the network's, for each new socket")
		assert.GreaterOrEqual(t, len(j.begunWith()), 6*streams)
		require.NoError(t, client.Release(t.Context()))
	})
}

// However a stream is left while no connection carries it, nothing stays (R5).
func TestR5StreamThatIsLeftBetweenTwoConnectionsLeavesNothing(t *testing.T) {
	type leave func(cancel context.CancelFunc, in *rpc.Receiver[Text], client *transport.Session)
	tests := []struct {
		name  string
		leave leave
		code  rpc.Code
		text  string
	}{
		{"closed", func(_ context.CancelFunc, in *rpc.Receiver[Text], _ *transport.Session) { in.Close() }, rpc.Canceled, "call"},
		{"its context is canceled", func(cancel context.CancelFunc, _ *rpc.Receiver[Text], _ *transport.Session) { cancel() }, rpc.Canceled, "call canceled"},
		{
			"its time is up", func(context.CancelFunc, *rpc.Receiver[Text], *transport.Session) { time.Sleep(time.Minute) },
			rpc.DeadlineExceeded, "deadline of the call has passed",
		},
		{
			"its session is aborted", func(_ context.CancelFunc, _ *rpc.Receiver[Text], client *transport.Session) {
				client.Abort(transport.Aborted, "enough")
			}, rpc.Unavailable, "enough",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJournal(1)
				d, client := aLog(t, j)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				in, err := follow.Call(ctx, client, &Text{})
				require.NoError(t, err)
				_, err = in.Recv()
				require.NoError(t, err)
				d.n.Cut()
				got := make(chan error, 1)
				go func() {
					_, err := in.Recv()
					got <- err
				}()
				time.Sleep(30 * time.Second)
				assert.Equal(t, transport.StateDetached, client.State())
				test.leave(cancel, in, client)
				e := wantError(t, <-got, test.code, rpc.Maybe)
				assert.Contains(t, e.Message, test.text)
				_, err = in.Recv()
				assert.Equal(t, error(e), err, "it stays so")
				in.Close()
				d.n.Drop(nil)
				time.Sleep(time.Minute)
				assert.Zero(t, d.srv.Stats().Streams)
				assert.Len(t, j.begunWith(), 1)
			})
		})
	}
}

// A stream that its user has left, or forgotten, does not go on.
func TestR5StreamThatNobodyReadsDoesNotGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(3)
		d, client := aLog(t, j)
		forgotten, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		in, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		for _, err := range in.All() {
			require.NoError(t, err)
			break
		}
		closed, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		closed.Close()
		_, err = closed.Recv()
		wantError(t, err, rpc.Canceled, rpc.Maybe)
		time.Sleep(time.Second)
		assert.Equal(t, 1, d.srv.Stats().Streams)
		d.kill()
		time.Sleep(10 * time.Second)
		assert.Equal(t, transport.StateLive, client.State())
		assert.Zero(t, d.srv.Stats().Streams)
		m, err := forgotten.Recv()
		require.NoError(t, err, "until somebody reads it")
		assert.Zero(t, m.N)
	})
}

// A release is not held up by a follower, whose stream ends with it, behind everything that was sent (S2).
func TestM88ReleaseEndsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(50)
		d, client := aLog(t, j)
		in, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		_, err = in.Recv()
		require.NoError(t, err)
		released := make(chan error, 1)
		go func() { released <- client.Release(t.Context()) }()
		time.Sleep(time.Second)
		err = readEntries(in, 1, 50, func() {})
		require.ErrorContains(t, err, "instead of entry 50: ")
		wantError(t, errors.Unwrap(err), rpc.Unavailable, rpc.Maybe)
		require.NoError(t, <-released)
		assert.Zero(t, d.srv.Stats().Streams)
	})
}

// A session that ends for good, because the peer refuses it, ends the stream with that.
func TestM88RefusedSessionEndsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(1)
		d, client := aLog(t, j)
		in, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		_, err = in.Recv()
		require.NoError(t, err)
		for _, s := range d.srv.Sessions() {
			s.Abort(transport.Kicked, "out")
		}
		_, err = in.Recv()
		wantError(t, err, rpc.PermissionDenied, rpc.Maybe)
	})
}

// A peer that answers Unavailable is asked again, ever more seldom, until a message comes; and for no longer than the
// call has time (M88, M89).
func TestM89UnavailablePeerIsNotPressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(0)
		_, client := aLog(t, j)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		in, err := follow.Call(ctx, client, &Text{})
		require.NoError(t, err)
		down := func() error { return rpc.Errorf(rpc.Unavailable, "not now") }
		for i := 0; ; i += 2 {
			time.Sleep(time.Second)
			before := len(j.begunWith())
			begun := time.Now()
			j.failNext(down)
			j.add(fmt.Sprint("entry ", i))
			if i == 4 {
				break
			}
			time.AfterFunc(2*time.Minute, func() { j.failNext(nil) })
			m, err := in.Recv()
			require.NoError(t, err)
			require.Equal(t, i, m.N)
			assert.InDelta(t, 125*time.Second, time.Since(begun), float64(6*time.Second))
			// 100 ms, 200 ms … 10 s, and half of each on average: 7 in the first 6 s, and then one each 5 s.
			again := len(j.begunWith()) - before
			assert.Greater(t, again, 15)
			assert.Less(t, again, 70)

			time.Sleep(time.Second)
			j.failNext(func() error {
				j.fail = nil
				return down()
			})
			j.add(fmt.Sprint("entry ", i+1))
			begun = time.Now()
			m, err = in.Recv()
			require.NoError(t, err)
			require.Equal(t, i+1, m.N)
			assert.Less(t, time.Since(begun), 100*time.Millisecond+2*rtt, "a message has come since then")
		}
		_, err = in.Recv()
		wantError(t, err, rpc.DeadlineExceeded, rpc.Maybe)
	})
}

// Who comes back to a server that is full waits for its place. Who is new is turned away.
func TestM88FullServerTurnsAwayWhoIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		j := newJournal(1)
		cfg := rpc.Config{Authorize: func(context.Context, rpc.Call) error {
			if full.Load() {
				return rpc.Errorf(rpc.ResourceExhausted, "full")
			}
			return nil
		}}
		d := newDisruptor(t, transport.Config{Handlers: handlers(j.handle(rpc.NewMux(cfg)))})
		client := d.dial(transport.Config{})
		in, err := follow.Call(t.Context(), client, &Text{N: 2})
		require.NoError(t, err)
		_, err = in.Recv()
		require.NoError(t, err)
		full.Store(true)
		d.abort()
		time.Sleep(rtt)
		time.AfterFunc(10*time.Second, func() {
			full.Store(false)
			j.add("entry 1")
		})
		other, err := follow.Call(t.Context(), client, &Text{N: 2})
		require.NoError(t, err)
		_, err = other.Recv()
		wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)
		require.NoError(t, readEntries(in, 1, 2, func() {}))
	})
}

// The end of its session is not waited for.
func TestM89WaitEndsWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(0)
		_, client := aLog(t, j)
		j.failNext(func() error { return rpc.Errorf(rpc.Unavailable, "not now") })
		in, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		var ended time.Time
		time.AfterFunc(2*time.Minute, func() {
			ended = time.Now()
			client.Abort(transport.Aborted, "enough")
		})
		_, err = in.Recv()
		wantError(t, err, rpc.Unavailable, rpc.Maybe)
		assert.Equal(t, ended, time.Now())
	})
}

// A call whose HEAD would be too long with a cursor is not begun.
func TestM87ThereIsRoomForAnyCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, follow, func(ctx context.Context, _ *Text, out *rpc.Sender[Text]) error {
			if rpc.Cursor(ctx) != "" {
				return nil
			}
			if err := out.SendAt(strings.Repeat("x", 1024), &Text{}); err != nil {
				return err
			}
			return rpc.Errorf(rpc.Unavailable, "go on")
		})
		_, client, _ := start(t, mux)
		call := func(metadata int) error {
			in, err := follow.Call(t.Context(), client, &Text{}, rpc.WithMetadata(rpc.Metadata{{Key: "k", Value: strings.Repeat("v", metadata)}}))
			if err != nil {
				return err
			}
			for _, e := range in.All() {
				err = e
			}
			return err
		}
		require.NoError(t, call(64<<10-1200))
		wantError(t, call(64<<10-1000), rpc.ResourceExhausted, rpc.NotStarted)
	})
}

// What a handler sees each time: the same request and metadata, the cursor, and what is left of the call's time.
func TestM88CallIsMadeAgainAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []rpc.Call
		var deadlines []time.Time
		mux := rpc.NewMux(rpc.Config{Authorize: func(_ context.Context, c rpc.Call) error {
			calls = append(calls, c)
			return nil
		}})
		rpc.Handle(mux, follow, func(ctx context.Context, req *Text, out *rpc.Sender[Text]) error {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			deadlines = append(deadlines, deadline)
			assert.Equal(t, "hi", req.Text)
			n := len(calls)
			assert.NoError(t, rpc.AddHeader(ctx, "n", fmt.Sprint(n)))
			assert.NoError(t, rpc.AddTrailer(ctx, "n", fmt.Sprint(n)))
			if n == 2 {
				return rpc.Errorf(rpc.Unavailable, "with no message at all")
			}
			if err := out.SendAt(fmt.Sprintf("\x00\xff%d", n), &Text{N: n}); err != nil || n == 3 {
				return err
			}
			return rpc.Errorf(rpc.Unavailable, "later")
		})
		_, client, _ := start(t, mux)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req := &Text{Text: "hi"}
		in, err := follow.Call(ctx, client, req, rpc.WithMetadata(rpc.Metadata{{Key: "k", Value: "v"}}))
		require.NoError(t, err)
		req.Text = "changed, which is its user's right"
		for _, want := range []int{1, 3} {
			m, err := in.Recv()
			require.NoError(t, err)
			require.Equal(t, want, m.N)
			header, err := in.Header()
			require.NoError(t, err)
			require.Equal(t, rpc.Metadata{{Key: "n", Value: fmt.Sprint(want)}}, header)
		}
		_, err = in.Recv()
		require.ErrorContains(t, err, "EOF")
		assert.Equal(t, rpc.Metadata{{Key: "n", Value: "3"}}, in.Trailer())
		require.Len(t, calls, 3)
		for i, c := range calls {
			assert.Equal(t, rpc.Metadata{{Key: "k", Value: "v"}}, c.Metadata)
			assert.Equal(t, []string{"", "\x00\xff1", "\x00\xff1"}[i], c.Cursor)
			assert.WithinDuration(t, deadlines[0], deadlines[i], 2*rtt)
		}
	})
}

// A header that was waited for is that of the call which brings the first message, whatever befell the ones before.
func TestHeaderOfAStreamThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, follow, func(ctx context.Context, _ *Text, out *rpc.Sender[Text]) error {
			if calls++; calls < 4 {
				return rpc.Errorf(rpc.Unavailable, "later")
			}
			assert.NoError(t, rpc.AddHeader(ctx, "n", fmt.Sprint(calls)))
			return out.SendAt("1", &Text{Text: strings.Repeat("x", 5000)})
		})
		_, client, server := start(t, mux)
		in, err := follow.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		header, err := in.Header()
		require.NoError(t, err)
		assert.Equal(t, rpc.Metadata{{Key: "n", Value: "4"}}, header)
		assert.Empty(t, in.Cursor(), "nobody has the message yet")
		server.Abort(transport.Kicked, "")
		time.Sleep(rtt)
		m, err := in.Recv()
		require.NoError(t, err, "what was received is handed out")
		assert.Len(t, m.Text, 5000)
		assert.Equal(t, "1", in.Cursor())
	})
}
