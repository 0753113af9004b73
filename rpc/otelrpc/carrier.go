package otelrpc

import (
	"slices"
	"strings"

	"github.com/trunkline-go/trunkline/rpc"
)

// A carrier is metadata as a propagator wants it. Keys of metadata are lower-case, and propagators' are of any case.
type carrier rpc.Metadata

// Get returns the first value of key, or "".
func (c *carrier) Get(key string) string {
	v, _ := rpc.Metadata(*c).Get(strings.ToLower(key))
	return v
}

// Values returns every value of key, in order.
func (c *carrier) Values(key string) []string {
	return slices.Collect(rpc.Metadata(*c).Values(strings.ToLower(key)))
}

// Set sets key to value alone.
func (c *carrier) Set(key, value string) {
	key = strings.ToLower(key)
	kept := make(carrier, 0, len(*c)+1)
	for _, f := range *c {
		if f.Key != key {
			kept = append(kept, f)
		}
	}
	kept = append(kept, rpc.Field{Key: key, Value: value})
	*c = kept
}

// Keys returns every key once.
func (c *carrier) Keys() []string {
	keys := make([]string, 0, len(*c))
	for _, f := range *c {
		if !slices.Contains(keys, f.Key) {
			keys = append(keys, f.Key)
		}
	}
	return keys
}
