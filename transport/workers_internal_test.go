package transport

import (
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What waits bounds the memory of a queue that is never empty (S5), and its order is kept.
func TestS5QueueThatIsNeverEmptyDoesNotGrow(t *testing.T) {
	for _, waiting := range []int{1, 5, 1000} {
		var f fifo
		streams := make([]*quic.Stream, 3*waiting+1)
		for i := range streams {
			streams[i] = new(quic.Stream)
		}
		for i := range waiting {
			f.push(streams[i])
		}
		for i := range 20 * waiting {
			f.push(streams[(waiting+i)%len(streams)])
			require.Same(t, streams[i%len(streams)], f.pop())
			require.False(t, f.empty())
		}
		assert.LessOrEqual(t, cap(f.items), 4*waiting+8)
	}
}
