package rpc_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/interoppb"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A thousand messages of which none is whole are a quarter of a gigabyte, which is more than one identity has of a server's
// memory (M71) unless the server says so.
func TestInterop_concurrent_large_unary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		req, res := largeUnary(), &interoppb.SimpleResponse{Payload: zeros(largeResponse)} // one each is enough memory
		rpc.Handle(mux, unaryCall, func(context.Context, *interoppb.SimpleRequest) (*interoppb.SimpleResponse, error) {
			return res, nil
		})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(mux), MaxBuffered: 4 << 30})
		client, server := n.Pair(srv, "alice", transport.Config{})
		calls := 1000
		if raceEnabled { // whose shadow would make 4 GB of it
			calls = 200
		}
		var wg sync.WaitGroup
		for range calls {
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
