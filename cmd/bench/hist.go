package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are 1/64 wide at most, as HdrHistogram does with
// two digits, from 1 ns to 4 minutes. Recording allocates nothing. It is not safe for concurrent
// use: everyone who records has one, and they are added up.
type histogram struct {
	counts [histBuckets]uint32
	total  uint64
}

const (
	histSub     = 64 // buckets for each power of two
	histSubBits = 6
	histShifts  = 32
	histBuckets = (histShifts + 1) * histSub
)

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(uint64(max(0, d)))]++
	h.total++
}

func bucketOf(ns uint64) int {
	if ns < histSub {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - histSubBits
	if shift >= histShifts {
		return histBuckets - 1
	}
	return shift*histSub + int(ns>>shift)
}

// bucketMiddle is the inverse of bucketOf, up to half a bucket.
func bucketMiddle(i int) time.Duration {
	if i < 2*histSub {
		return time.Duration(i)
	}
	shift := i/histSub - 1
	low := uint64(i-shift*histSub) << shift
	return time.Duration(low + 1<<shift/2)
}

func (h *histogram) add(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

func (h *histogram) reset() { *h = histogram{} }

// quantile returns the duration that the share q of what was recorded does not exceed; 0 if
// nothing was.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := max(1, uint64(q*float64(h.total)+0.5))
	var seen uint64
	for i, n := range h.counts {
		if seen += uint64(n); seen >= rank {
			return bucketMiddle(i)
		}
	}
	return bucketMiddle(histBuckets - 1)
}
