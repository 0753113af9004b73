package rpc_test

import (
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// Large messages that come to a halt before their end hold memory, so what they hold is bounded, of one session and of
// all. A call that finds none is answered before it has run; small ones, and other sessions', go on.
func TestS5LargeMessagesThatAreNeverWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		const most = 16 << 20
		srv := n.Listen(transport.Config{MaxBuffered: most, Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: e.mux.ServeStream}})
		bob := n.Dial(srv, "bob", transport.Config{})
		mallory := n.Dial(srv, "mallory", transport.Config{})
		head := unhex(t, headSay)
		refused := 0
		var held []*transport.Stream
		for range 20 {
			s, err := mallory.OpenStream(t.Context(), transport.StreamRPC)
			require.NoError(t, err)
			_, err = s.Write(transport.AppendFrameHeader(slices.Clip(head), 0x03, 1<<20))
			require.NoError(t, err)
			_, _ = s.Write(make([]byte, 1<<20-1)) // fails on a call that was refused
			time.Sleep(10 * rtt)
			s.SetReadDeadline(time.Now().Add(rtt))
			if answer, err := io.ReadAll(s); err == nil {
				refused++
				assert.Contains(t, string(answer), "too many large ones are under way")
				assert.Contains(t, string(answer), "\x28\x01", "R4: it has not started")
			}
			held = append(held, s)
		}
		st := srv.Stats()
		assert.LessOrEqual(t, st.Buffered, int64(most/2), "a quarter in messages, and as much as it likes in windows")
		assert.Positive(t, refused)
		assert.EqualValues(t, refused, st.Dropped[transport.DropBuffered])
		for _, s := range []*transport.Session{mallory, bob} {
			_, err := say.Call(t.Context(), s, &Text{Text: "small"})
			require.NoError(t, err)
		}
		large := make(rpc.Raw, 1<<20)
		_, err := octets.Call(t.Context(), bob, &large)
		require.NoError(t, err, "another's large call")
		assert.EqualValues(t, 3, e.calls.Load())
		for _, s := range held {
			s.Cancel(transport.StreamCanceled)
		}
		time.Sleep(10 * rtt)
		_, err = octets.Call(t.Context(), mallory, &large)
		require.NoError(t, err, "what is given up is given back")
		mallory.Abort(transport.Aborted, "")
		bob.Abort(transport.Aborted, "")
		time.Sleep(time.Second)
		assert.Zero(t, srv.Stats().Buffered)
	})
}

// A HEAD that drips is cut like one that is late, and nothing waits for it.
func TestS5HeadsThatDrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		s, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		defer s.Cancel(transport.StreamCanceled)
		began := time.Now()
		var drip sync.WaitGroup
		defer drip.Wait()
		drip.Go(func() {
			for _, b := range unhex(t, headSay+dataHi) {
				if _, err := s.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		answer, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Contains(t, string(answer), "HEAD did not arrive within 5s")
		assert.Less(t, time.Since(began), 6*time.Second)
		assert.Zero(t, e.calls.Load())
	})
}
