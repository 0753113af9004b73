package rpc_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// M22: a response is truncated when the peer has cut it off, and not when this side has given it up in the moment in
// which the peer did, as happens when both clocks say that the time is up.
func TestM22WhatIsGivenUpIsNotTruncated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls, takes = 500, 100 * time.Millisecond
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, count, func(ctx context.Context, m *Text, out *rpc.Sender[Text]) error {
			_ = out.Send(m)
			<-ctx.Done()
			return ctx.Err()
		})
		n := transporttest.New(t, 0)
		srv := n.Listen(transport.Config{Handlers: handlers(mux)})
		client := n.Dial(srv, "alice", transport.Config{})
		ends := make(chan error, calls)
		for range calls {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), takes)
				defer cancel()
				stream, err := count.Call(ctx, client, &Text{})
				for err == nil {
					_, err = stream.Recv()
				}
				ends <- err
			}()
		}
		seen := map[rpc.Code]int{}
		for range calls {
			seen[rpc.CodeOf(<-ends)]++
		}
		assert.Equal(t, map[rpc.Code]int{rpc.DeadlineExceeded: calls}, seen)
	})
}
