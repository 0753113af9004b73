package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A spy keeps what an interceptor sees.
type spy struct {
	mu    sync.Mutex // guards what follows
	calls []rpc.Call
	got   []int // messages received
	ends  []error
}

func (w *spy) intercept(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
	c.OnReceive(func(m any, _ int) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if text, ok := m.(*Text); ok {
			w.got = append(w.got, text.N)
		}
		return nil
	})
	w.mu.Lock()
	w.calls = append(w.calls, *c)
	w.mu.Unlock()
	err := next(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = append(w.ends, err)
	return err
}

// To an interceptor of the caller's a stream that goes on is one call; one of the handler's sees each.
func TestInterceptorsOfAStreamThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const entries = 60
		var caller, server spy
		j := newJournal(11)
		mux := j.handle(rpc.NewMux(rpc.Config{Interceptors: []rpc.Interceptor{server.intercept}}))
		d := newDisruptor(t, transport.Config{Handlers: handlers(mux)})
		client := d.dial(transport.Config{})
		conn := rpc.NewClient(client, rpc.ClientConfig{Interceptors: []rpc.Interceptor{caller.intercept}})
		in, err := follow.Call(t.Context(), conn, &Text{N: entries}, rpc.WithCursor("10"))
		require.NoError(t, err)
		next := 11
		require.NoError(t, readEntries(in, 10, entries, func() {
			if next == 20 || next == 40 {
				d.abort()
			}
			j.add(fmt.Sprint("entry ", next))
			next++
		}))
		require.Len(t, caller.calls, 1)
		assert.True(t, caller.calls[0].Caller)
		assert.Equal(t, "10", caller.calls[0].Cursor)
		assert.Equal(t, []error{nil}, caller.ends)
		require.Len(t, caller.got, entries-10, "each once")
		for i, n := range caller.got {
			assert.Equal(t, i+10, n)
		}
		require.Len(t, server.calls, 3)
		assert.Equal(t, "10", server.calls[0].Cursor)
		assert.NotEqual(t, "10", server.calls[2].Cursor)
		assert.NoError(t, server.ends[2])
	})
}

// A message that an interceptor keeps back does not count: who goes on from the cursor gets it.
func TestM87MessageThatAnInterceptorKeepsBackDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(5)
		_, client := aLog(t, j)
		conn := rpc.NewClient(client, rpc.ClientConfig{Interceptors: []rpc.Interceptor{
			func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
				c.OnReceive(func(m any, _ int) error {
					if m.(*Text).N == 3 {
						return errors.New("not this one")
					}
					return nil
				})
				return next(ctx)
			},
		}})
		in, err := follow.Call(t.Context(), conn, &Text{N: 5})
		require.NoError(t, err)
		require.ErrorContains(t, readEntries(in, 0, 5, func() {}), "instead of entry 3: Unknown: not this one")
		in, err = follow.Call(t.Context(), client, &Text{N: 5}, rpc.WithCursor(in.Cursor()))
		require.NoError(t, err)
		require.NoError(t, readEntries(in, 3, 5, func() {}))
	})
}

// Interceptors return however a stream is left between two connections, or forgotten (R5).
func TestR5InterceptorsReturnWhenAStreamIsLeft(t *testing.T) {
	leave := map[string]func(in *rpc.Receiver[Text], cancel context.CancelFunc, client *transport.Session){
		"closed":   func(in *rpc.Receiver[Text], _ context.CancelFunc, _ *transport.Session) { in.Close() },
		"canceled": func(_ *rpc.Receiver[Text], cancel context.CancelFunc, _ *transport.Session) { cancel() },
		"no client": func(_ *rpc.Receiver[Text], _ context.CancelFunc, client *transport.Session) {
			client.Abort(transport.Aborted, "")
		},
	}
	for name, leave := range leave {
		for _, reading := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var w spy
					j := newJournal(0)
					d, client := aLog(t, j)
					conn := rpc.NewClient(client, rpc.ClientConfig{Interceptors: []rpc.Interceptor{w.intercept}})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					in, err := follow.Call(ctx, conn, &Text{})
					require.NoError(t, err)
					if reading {
						go func() { _, _ = in.Recv() }()
					}
					d.n.Cut()
					time.Sleep(30 * time.Second)
					w.mu.Lock()
					assert.Empty(t, w.ends, "it would go on")
					w.mu.Unlock()
					leave(in, cancel, client)
					synctest.Wait()
					w.mu.Lock()
					assert.Len(t, w.ends, 1)
					w.mu.Unlock()
					d.n.Drop(nil)
				})
			})
		}
	}
}

// The messages of a stream that goes on are compressed as any, over each of its connections.
func TestStreamThatGoesOnIsCompressed(t *testing.T) {
	forBubbles(t, func(t *testing.T, own, peers *counted) {
		const messages = 9
		long := string(prose(t, 5000))
		mux := rpc.NewMux(rpc.Config{Compressors: []rpc.Compressor{peers}})
		rpc.Handle(mux, follow, func(ctx context.Context, req *Text, out *rpc.Sender[Text]) error {
			assert.Equal(t, long, req.Text)
			from, _ := strconv.Atoi(rpc.Cursor(ctx))
			for i := from; i < messages; i++ {
				if i > from && i%3 == 0 {
					return rpc.Errorf(rpc.Unavailable, "go on")
				}
				if err := out.SendAt(strconv.Itoa(i+1), &Text{Text: long, N: i}); err != nil {
					return err
				}
			}
			return nil
		})
		_, client, _ := start(t, mux)
		in, err := follow.Call(t.Context(), client, &Text{Text: long}, rpc.WithCompression(own))
		require.NoError(t, err)
		n := 0
		for m, err := range in.All() {
			require.NoError(t, err)
			require.Equal(t, Text{Text: long, N: n}, *m)
			n++
		}
		require.Equal(t, messages, n)
		own.want(t, 3, messages)
		peers.want(t, messages, 3)
	})
}

// R5: a hook that panics leaves no stream behind.
func TestR5HookOfAResumableStreamThatPanicsEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, session, server := start(t, newJournal(10).handle(rpc.NewMux(rpc.Config{})))
		client := rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{
			func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
				c.OnReceive(func(any, int) error { panic(enough) })
				return next(ctx)
			},
		}})
		in, err := follow.Call(t.Context(), client, &Text{N: 100})
		require.NoError(t, err)
		require.PanicsWithValue(t, enough, func() { _, _ = in.Recv() })
		require.NoError(t, session.Release(t.Context()), "no stream is left")
		_ = server.Wait(t.Context())
	})
}
