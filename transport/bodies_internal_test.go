package transport

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// M71: one identity has a quarter at most, no more than is left to others, and a little in any case.
func TestM71NobodyTakesAllTheMemoryForMessages(t *testing.T) {
	const most = 16 << 20
	all := &bodies{most: most, counters: newCounters()}
	takeAll := func(b *ownBodies) (taken int64) {
		for b.take(64 << 10) {
			taken += 64 << 10
		}
		return taken
	}
	first := &ownBodies{all: all}
	assert.EqualValues(t, most/4, takeAll(first))
	for range 100 {
		got := takeAll(&ownBodies{all: all})
		assert.LessOrEqual(t, got, int64(most/4))
		assert.GreaterOrEqual(t, got, int64(minBodies), "whatever others hold")
	}
	assert.LessOrEqual(t, all.held.Load(), int64(most+100*minBodies))
	assert.Positive(t, all.counters.snapshot().Dropped[DropBuffered])

	first.give(most / 4)
	assert.Zero(t, first.held.Load())
	var nobody *ownBodies
	assert.True(t, nobody.take(1<<40), "a client's own")
	assert.True(t, (&ownBodies{all: &bodies{most: -1}}).take(1<<40), "no limit")
}
