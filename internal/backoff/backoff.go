// Package backoff says how long to wait before trying again.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Wait returns how long to wait after so many failures in a row, 0 after the first: a random time up to a bound that is first,
// and doubles with each, up to most ("full jitter"), so that those who failed together do not come back together. Without a bound
// above 0 there is no wait.
func Wait(failures int, first, most time.Duration) time.Duration {
	bound := min(first, most)
	if bound <= 0 {
		return 0
	}
	for range failures {
		if bound > most/2 { // before it could overflow
			bound = most
			break
		}
		bound *= 2
	}
	return rand.N(bound) //nolint:gosec // G404: spreading a load needs no secrecy
}
