package rpc_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/transport"
)

// R4 and R5 where all that makes, surrounds, delays and refuses calls comes together, and connections end meanwhile: what is said
// to be not started has not run, what is not idempotent has run once at most, and nothing is left.
func TestR4R5HoldForEverythingTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ran, ends := make(map[int]int), make(map[int]error) // by the number of the call, which is odd if it is not idempotent
		handle := func(ctx context.Context, req *Text) (*Text, error) {
			mu.Lock()
			ran[req.N]++
			mu.Unlock()
			select {
			case <-time.After(time.Duration(rand.Int64N(int64(2 * rtt)))):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if rand.N(8) == 0 {
				return nil, rpc.Errorf(rpc.Unavailable, "not now")
			}
			return req, nil
		}
		through := func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
			c.OnSend(func(any, int) error { return nil })
			if rand.N(20) == 0 {
				return rpc.Errorf(rpc.Unavailable, "refused")
			}
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return next(ctx)
		}
		z := gzip.New()
		cfg := rpc.Config{MaxConcurrent: 4, MaxQueued: 4, Compressors: []rpc.Compressor{z}, Interceptors: []rpc.Interceptor{through}}
		s := newStore(cfg, handle)
		j := newJournal(50)
		j.handle(s.mux)
		d := newDisruptor(t, transport.Config{Handlers: handlers(s.mux)})
		session := d.dial(transport.Config{})
		client := rpc.NewClient(session, rpc.ClientConfig{
			Interceptors: []rpc.Interceptor{through},
			Options:      []rpc.CallOption{rpc.WithCompression(z), rpc.WithHedging(rtt, 3)},
			Retry:        rpc.Retry{Codes: []rpc.Code{rpc.Unavailable, rpc.ResourceExhausted}, Budget: -1},
		})
		text := string(prose(t, 3_000))
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				for k := range 40 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(30*rtt))))
					n := i*1000 + k
					method := []rpc.UnaryMethod[Text, Text]{get, put}[k%2]
					_, err := method.Call(ctx, client, &Text{N: n, Text: text})
					cancel()
					mu.Lock()
					ends[n] = err
					mu.Unlock()
				}
			})
		}
		for range 4 {
			wg.Go(func() {
				for range 10 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(50*rtt))))
					in, err := follow.Call(ctx, client, &Text{N: 50})
					for err == nil {
						_, err = in.Recv()
						if rand.N(30) == 0 {
							in.Close()
						}
					}
					if !errors.Is(err, io.EOF) {
						assert.NotEqual(t, rpc.Internal, rpc.CodeOf(err), "%v", err)
					}
					cancel()
				}
			})
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			wg.Wait()
		}()
		for running := true; running; {
			select {
			case <-over:
				running = false
			case <-time.After(time.Duration(rand.Int64N(int64(20 * rtt)))):
				if rand.N(3) == 0 {
					_ = d.drain(rtt)
				} else {
					d.abort()
				}
			}
		}
		time.Sleep(5 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		assert.Greater(t, len(ran), 100)
		for n, err := range ends {
			if e, ok := errors.AsType[*rpc.Error](err); ok && e.Execution == rpc.NotStarted {
				assert.Zero(t, ran[n], "%v", err)
			}
			if err == nil {
				assert.Positive(t, ran[n])
			}
			if n%2 == 1 {
				assert.LessOrEqual(t, ran[n], 1)
			}
		}
		require.NoError(t, session.Release(t.Context()), "no stream is left")
	})
}
