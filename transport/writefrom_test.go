package transport_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// WriteFrom sends what Write does, with room for the stream's type or without, first or later.
func TestWriteFromSendsWhatFollowsTheRoom(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		client := n.Dial(srv, "alice", transport.Config{})
		for _, size := range []int{0, 1, 100, 16 << 10, 40 << 10} {
			for _, start := range []int{0, 1, 16} {
				s, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				message := bytes.Repeat([]byte{7}, size)
				b := append(bytes.Repeat([]byte{9}, start), message...)
				for range 2 {
					m, err := s.WriteFrom(b, start)
					require.NoError(t, err)
					assert.Equal(t, size, m)
					assert.Equal(t, message, b[start:])
				}
				require.NoError(t, s.Close())
				back, err := io.ReadAll(s)
				require.NoError(t, err)
				require.Equal(t, append(message, message...), back, "%d bytes behind %d", size, start)
			}
		}
		s, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		s.Cancel(transport.StreamCanceled)
		_, err = s.WriteFrom(make([]byte, 100), 1)
		var reset *transport.StreamError
		require.ErrorAs(t, err, &reset)
	})
}
