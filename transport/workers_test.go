package transport_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A handler that does not return, or ends its goroutine, holds up no stream that came together with its own (R3), even
// though streams that come together may be served by one worker.
func TestR3NoStreamWaitsForTheHandlerOfAnother(t *testing.T) {
	for _, every := range []byte{1, 2, 7} { // so many streams have one whose handler waits
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			const burst = 200
			var served, waiting atomic.Int64
			release := make(chan struct{})
			srv := n.Listen(transport.Config{Handlers: on(func(_ context.Context, s *transport.Stream) {
				kind := make([]byte, 1)
				_, err := s.Read(kind)
				assert.NoError(t, err)
				served.Add(1)
				switch kind[0] % every {
				case 0:
					waiting.Add(1)
					<-release
				case 1:
					runtime.Goexit()
				}
			})})
			client := n.Dial(srv, "alice", transport.Config{})
			before := 0
			for round := range 3 { // the later ones find workers that rest
				served.Store(0)
				waiting.Store(0)
				for i := range burst {
					s, err := client.OpenStream(t.Context(), transport.StreamRPC)
					require.NoError(t, err)
					t.Cleanup(func() { s.Cancel(transport.StreamCanceled) })
					_, err = s.Write([]byte{byte(i)})
					require.NoError(t, err)
					require.NoError(t, s.Close())
				}
				time.Sleep(5 * rtt)
				assert.EqualValues(t, burst, served.Load(), "round %d", round)
				assert.GreaterOrEqual(t, waiting.Load(), int64(burst/int(every)), "round %d", round)
				for range waiting.Load() {
					release <- struct{}{}
				}
				synctest.Wait()
				if round == 1 {
					continue // at once again, while workers are there
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if before == 0 {
					before = runtime.NumGoroutine()
				}
				assert.InDelta(t, before, runtime.NumGoroutine(), 3, "workers with nothing to do end (R5)") // one that comes to wait late stays
			}
		})
	}
}

// A connection that ends in the midst of a burst has served no stream twice, and leaves no worker, whether those of its
// handlers wait, panic or end their goroutine. The bubble does not end while one does.
func TestR5NoWorkerStaysWhenAConnectionEndsInABurst(t *testing.T) {
	for _, after := range []time.Duration{0, rtt / 2, rtt/2 + time.Millisecond, rtt, 2 * rtt} {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			var mu sync.Mutex
			seen := map[uint64]int{}
			srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, s *transport.Stream) {
				mu.Lock()
				seen[s.ID()]++
				mu.Unlock()
				switch s.ID() / 4 % 4 {
				case 0:
					<-ctx.Done()
				case 1:
					runtime.Goexit()
				case 2:
					panic("bug")
				}
			})})
			client, server := n.Pair(srv, "alice", transport.Config{})
			for range 300 {
				s, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				_, err = s.Write([]byte("x"))
				require.NoError(t, err)
				_ = s.Close()
			}
			time.Sleep(after)
			server.Abort(transport.Kicked, "")
			_ = client.Wait(context.Background())
			time.Sleep(time.Minute)
			mu.Lock()
			defer mu.Unlock()
			for id, times := range seen {
				assert.Equal(t, 1, times, "stream %d", id)
			}
		})
	}
}
