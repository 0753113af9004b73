package rpc

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// spendAll returns how many retries b allows at once.
func spendAll(b *budget) (n int) {
	for b.spend() {
		n++
	}
	return n
}

func TestBudgetIsAShareOfTheCallsAndASmallReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(0.25)
		assert.Equal(t, budgetReserve, spendAll(b))
		for range 40 {
			b.earn()
		}
		assert.Equal(t, 10, spendAll(b))

		time.Sleep(3 * time.Second)
		assert.Equal(t, 3, spendAll(b))
		time.Sleep(time.Hour)
		assert.Equal(t, budgetReserve, spendAll(b), "time alone saves up no more than the reserve")

		for range 100_000 {
			b.earn()
		}
		time.Sleep(time.Hour)
		assert.Equal(t, maxBudget, spendAll(b))
	})
}

func TestBudgetWithoutBound(t *testing.T) {
	b := newBudget(-1)
	for range 10_000 {
		assert.True(t, b.spend())
	}
}

func TestRetryAfterIsMilliseconds(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		ms   int64
		back time.Duration
	}{
		{0, 0, 0},
		{1500 * time.Millisecond, 1500, 1500 * time.Millisecond},
		{time.Nanosecond, 1, time.Millisecond},
		{-time.Hour, -1, -time.Millisecond},
	} {
		assert.Equal(t, test.ms, toMillis(test.d))
		assert.Equal(t, test.back, fromMillis(test.ms))
	}
	assert.Equal(t, -time.Millisecond, fromMillis(-1<<63))
	assert.Equal(t, time.Duration(1<<63-1), fromMillis(1<<63-1))
}
