package rpc

import (
	"sync"
	"time"
)

const (
	// budgetReserve is how many retries a Client may make that has made no calls to speak of, and gets back one a second.
	// Without it one who calls once a minute would have none.
	budgetReserve = 10
	// maxBudget is how many retries it may have saved up: what 500 calls earn by default.
	maxBudget = 100
)

// A budget bounds the retries of a Client to a share of its calls, so that many who fail together do not make it worse
// for the server: a token bucket, into which each call puts a part of a token, and from which each retry takes one. So it
// is in Finagle (RetryBudget: a fifth of the calls, and some a second besides). In gRPC's (gRFC A6) only success
// gives tokens back, and there are no defaults; whoever calls seldom then has no retries long after an outage.
type budget struct {
	ratio float64 // what a call puts in; negative: no bound

	mu     sync.Mutex // guards what follows
	tokens float64
	last   time.Time // when the reserve was filled up
}

func newBudget(ratio float64) *budget {
	return &budget{ratio: ratio, tokens: budgetReserve, last: time.Now()}
}

// earn notes a call.
func (b *budget) earn() {
	if b.ratio < 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+b.ratio, maxBudget)
}

// spend takes the token for a retry, and says whether there was one.
func (b *budget) spend() bool {
	if b.ratio < 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.tokens < budgetReserve {
		b.tokens = min(b.tokens+now.Sub(b.last).Seconds(), budgetReserve)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
