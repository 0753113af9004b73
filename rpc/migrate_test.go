package rpc_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// ticker sends numbers, one every ten milliseconds.
var ticker = rpc.ServerStream[Text, Text]("test.Echo/Tick")

// A client whose NAT forgets it, and that goes from network to network, makes and answers calls all the while, and
// reads a long stream: none fails, none runs twice, nothing is lost or doubled, on one and the same connection.
func TestR4CallsGoOnWhileTheClientWanders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ticks, moves, callers = 2000, 20, 4
		e := newEcho(rpc.Config{})
		rpc.Handle(e.mux, ticker, func(_ context.Context, req *Text, out *rpc.Sender[Text]) error {
			for i := range req.N {
				if err := out.Send(&Text{N: i}); err != nil {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		var newest net.Addr
		client, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(e.mux), NewPacketConn: func() (net.PacketConn, error) {
			pc := n.Conn()
			newest = pc.LocalAddr()
			return pc, nil
		}})
		var packets atomic.Int64
		n.Drop(func(transporttest.Packet) bool { return packets.Add(1)%40 == 0 })

		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var made atomic.Int64
		for _, conn := range []rpc.Conn{client, server} {
			for range callers {
				wg.Go(func() {
					for ctx.Err() == nil {
						made.Add(1)
						res, err := say.Call(t.Context(), conn, &Text{Text: "hi"})
						if !assert.NoError(t, err) {
							return
						}
						assert.Equal(t, "hi", res.Text)
					}
				})
			}
		}
		wg.Go(func() {
			in, err := ticker.Call(t.Context(), client, &Text{N: ticks})
			if !assert.NoError(t, err) {
				return
			}
			next := 0
			for m, err := range in.All() {
				if !assert.NoError(t, err) || !assert.Equal(t, next, m.N) {
					return
				}
				next++
			}
			assert.Equal(t, ticks, next)
			cancel()
		})
		for i := range moves {
			time.Sleep(700 * time.Millisecond)
			if i%3 == 0 {
				require.NoError(t, client.Migrate(t.Context()))
			} else {
				n.Rebind(newest)
			}
		}
		wg.Wait()
		assert.Greater(t, made.Load(), int64(1000))
		assert.Equal(t, made.Load(), e.calls.Load(), "calls that ran")
		now, _ := client.Status()
		assert.EqualValues(t, 1, now.Attempt, "it was the same connection")
		assert.NotEqual(t, newest.String(), server.Peer().Addr.String(), "behind a NAT")
		n.Drop(nil)
		require.NoError(t, client.Release(t.Context()))
	})
}
