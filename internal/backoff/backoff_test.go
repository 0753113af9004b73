package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/internal/backoff"
)

// Of many waits all are below the bound, and they are spread over the whole of it.
func TestWaitIsSpreadBelowABoundThatDoubles(t *testing.T) {
	for failures, ms := range []int{100, 200, 400, 800, 1000, 1000} {
		bound := time.Duration(ms) * time.Millisecond
		least, most, sum := bound, time.Duration(0), time.Duration(0)
		const n = 10_000
		for range n {
			wait := backoff.Wait(failures, 100*time.Millisecond, time.Second)
			least, most, sum = min(least, wait), max(most, wait), sum+wait
		}
		assert.Less(t, most, bound)
		assert.Greater(t, most, bound*99/100)
		assert.Less(t, least, bound/100)
		assert.GreaterOrEqual(t, least, time.Duration(0))
		assert.InEpsilon(t, bound/2, sum/n, 0.05)
	}
}

func TestWaitWithoutABoundIsNone(t *testing.T) {
	assert.Zero(t, backoff.Wait(3, -1, time.Second))
	assert.Zero(t, backoff.Wait(3, time.Second, -1))
	assert.Zero(t, backoff.Wait(0, 0, 0))
	assert.LessOrEqual(t, backoff.Wait(math.MaxInt, 1, math.MaxInt64), time.Duration(math.MaxInt64), "ends, and does not overflow")
	assert.GreaterOrEqual(t, backoff.Wait(math.MaxInt, 1, math.MaxInt64), time.Duration(0))
}
