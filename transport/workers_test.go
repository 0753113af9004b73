package transport_test

import (
	"context"
	"runtime"
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
