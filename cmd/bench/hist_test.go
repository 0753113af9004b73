package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHistogramQuantilesAreWithinTwoPercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(r.ExpFloat64() * float64(300*time.Microsecond))
		h.record(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))-1]
		assert.InEpsilon(t, want, h.quantile(q), 0.02, "quantile %v", q)
	}
}

func TestHistogramBucketsCoverEveryDuration(t *testing.T) {
	last := -1
	for ns := range uint64(1 << 20) {
		i := bucketOf(ns)
		require.Contains(t, []int{last, last + 1}, i, "bucket of %d ns", ns) // no gap, no step back
		last = i
		require.Less(t, i, histBuckets)
		require.LessOrEqual(t, max(ns, uint64(bucketMiddle(i)))-min(ns, uint64(bucketMiddle(i))), ns/64+1, "%d ns", ns)
	}
	var h histogram
	h.record(-time.Second) // a clock that was set back
	h.record(24 * time.Hour)
	assert.Equal(t, uint64(2), h.total)
	assert.Greater(t, h.quantile(1), 4*time.Minute)
}

func TestHistogramRecordsWithoutAllocating(t *testing.T) {
	var h histogram
	assert.Zero(t, testing.AllocsPerRun(100, func() { h.record(time.Millisecond) }))
}

func TestHistogramsAddUp(t *testing.T) {
	var a, b histogram
	a.record(time.Millisecond)
	b.record(time.Second)
	b.record(time.Second)
	a.add(&b)
	assert.Equal(t, uint64(3), a.total)
	assert.InEpsilon(t, time.Second, a.quantile(0.5), 0.02)
	a.reset()
	assert.Zero(t, a.quantile(0.5))
}
