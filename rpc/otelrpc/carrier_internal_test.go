package otelrpc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
)

// Metadata's keys are lower-case, whatever a propagator's are; a key that is set has one value, and the rest stays.
func TestACarrierIsMetadata(t *testing.T) {
	md := rpc.Metadata{{Key: "x-b3-traceid", Value: "1"}, {Key: "mine", Value: "2"}, {Key: "x-b3-traceid", Value: "3"}}
	before := append(rpc.Metadata(nil), md...)
	shared := md
	c := (*carrier)(&md)
	require.Equal(t, "1", c.Get("X-B3-TraceId"))
	require.Equal(t, []string{"1", "3"}, c.Values("X-B3-TraceId"))
	require.Equal(t, []string{"x-b3-traceid", "mine"}, c.Keys())
	c.Set("X-B3-TraceId", "4")
	require.Equal(t, rpc.Metadata{{Key: "mine", Value: "2"}, {Key: "x-b3-traceid", Value: "4"}}, md)
	require.Equal(t, before, shared, "others may have the old one")
	require.Empty(t, c.Get("none"))
}
