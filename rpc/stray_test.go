package rpc_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/rpc"
)

// A handler that leaves goroutines behind which receive and send: they are told so, and the memory that they read into is
// nobody else's by then.
func TestGoroutinesThatAHandlerLeavesBehindAreHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left sync.WaitGroup
		mux := newEcho(rpc.Config{}).mux
		rpc.Handle(mux, swallow, func(_ context.Context, s *rpc.Stream[Text, Text]) error {
			left.Go(func() {
				for m, err := range s.All() {
					if err != nil {
						return
					}
					assert.Equal(t, kilo, m.Text)
				}
			})
			left.Go(func() {
				for {
					if err := s.Send(&Text{Text: kilo}); err != nil {
						assert.Equal(t, rpc.FailedPrecondition, rpc.CodeOf(s.Send(&Text{})))
						return
					}
				}
			})
			time.Sleep(rtt)
			return nil
		})
		_, client, server := start(t, mux)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 5 {
					s, err := swallow.Call(t.Context(), client)
					if !assert.NoError(t, err) {
						return
					}
					wg.Go(func() {
						var err error
						for err == nil {
							err = s.Send(&Text{Text: kilo})
							time.Sleep(time.Millisecond)
						}
						assert.ErrorIs(t, err, io.EOF)
					})
					for m, err := range s.All() {
						if !assert.NoError(t, err) {
							break
						}
						assert.Equal(t, kilo, m.Text)
					}
					text := strings.Repeat("y", 1500)
					res, err := say.Call(t.Context(), client, &Text{Text: text})
					if assert.NoError(t, err) {
						assert.Equal(t, text, res.Text)
					}
				}
			})
		}
		wg.Wait()
		left.Wait()
		releaseAtOnce(t, client, server)
	})
}
