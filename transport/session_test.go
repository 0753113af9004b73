package transport_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

const rtt = 20 * time.Millisecond

// echo serves streams by sending back what arrives.
func echo(_ context.Context, s *transport.Stream) {
	if _, err := io.Copy(s, s); err == nil {
		_ = s.Close()
	}
}

var echoHandlers = map[transport.StreamType]transport.Handler{transport.StreamRPC: echo}

func TestReleaseDeliversAMegabyteWrittenJustBefore(t *testing.T) { // S2
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, rtt)
		got := make(chan int, 1)
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
				b, err := io.ReadAll(s)
				if assert.NoError(t, err) {
					got <- len(b)
					_ = s.Close()
				}
			},
		}})
		client, server := n.Pair(srv, "alice", transport.Config{})
		str, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		_, err = str.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		require.NoError(t, str.Close())
		go func() { _, _ = io.ReadAll(str) }()
		require.NoError(t, client.Release(t.Context()))
		assert.Equal(t, 1<<20, <-got)
		require.NoError(t, server.Wait(t.Context()))
	})
}
