package rpc_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/transport"
)

// A thousand messages of which none is whole are a quarter of a gigabyte, which is more than one identity has of a server's
// memory (M71) unless the server says so.
func TestInterop_concurrent_large_unary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := interopPair(t, transport.Config{MaxBuffered: 4 << 30})
		req := largeUnary()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				res, err := unaryCall.Call(t.Context(), client, req)
				if assert.NoError(t, err) {
					assert.Len(t, res.GetPayload().GetBody(), largeResponse)
				}
			})
		}
		wg.Wait()
		releaseAtOnce(t, client, server)
	})
}
