package transport_test

import (
	"context"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// goroutines counts those that have a function of this package's on their stacks.
func goroutines() int {
	buf := make([]byte, 1<<20)
	n := 0
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "trunkline/transport.(*") {
			n++
		}
	}
	return n
}

// A session that does nothing costs each side the reader of its control stream, and who accepts
// streams; after a call it is the same.
func TestAnIdleSessionHasTwoGoroutines(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		synctest.Wait()
		before := goroutines()
		for range 3 {
			client := n.Dial(srv, "alice", transport.Config{})
			requireEcho(t, client)
		}
		time.Sleep(time.Second)
		require.Equal(t, 3*2*2, goroutines()-before)
	})
}

// A handler that waits for its context finds out how the connection ended, whether it begins to wait
// before or after. The session is held for longer.
func TestHandlersLearnHowTheConnectionEnded(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				cause := make(chan error, 1)
				srv := n.Listen(transport.Config{Handlers: on(func(ctx context.Context, s *transport.Stream) {
					if when == "after" {
						_, _ = io.Copy(io.Discard, s)
					}
					<-ctx.Done()
					cause <- context.Cause(ctx)
				})})
				client := n.Dial(srv, "alice", transport.Config{})
				str, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				_, err = io.WriteString(str, "hello")
				require.NoError(t, err)
				time.Sleep(time.Second)
				client.Abort(transport.Aborted, "")
				aborted := time.Now()
				require.ErrorIs(t, <-cause, &transport.Error{Code: transport.Aborted})
				require.Less(t, time.Since(aborted), time.Second)
			})
		})
	}
}
