//go:build !race

package rpc_test

// raceEnabled says whether the race detector watches.
const raceEnabled = false
