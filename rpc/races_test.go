package rpc_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A Send that the deadline of the call cuts in the midst of a frame: what follows on the wire must
// not be taken for the rest of the message.
func TestEndIsNotWrittenIntoACutMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		sent := make(chan error, 1)
		method := rpc.ServerStream[rpc.Raw, rpc.Raw]("test.Echo/Big")
		rpc.Handle(mux, method, func(_ context.Context, _ *rpc.Raw, out *rpc.Sender[rpc.Raw]) error {
			m := rpc.Raw(strings.Repeat("x", 1<<20))
			err := out.Send(&m)
			sent <- err
			return err
		})
		_, client, _ := start(t, mux)
		s, err := client.OpenStream(t.Context(), transport.StreamRPC)
		require.NoError(t, err)
		defer s.Cancel(transport.StreamCanceled)
		head := append([]byte{0x0a, 13}, "test.Echo/Big"...)
		head = append(head, 0x10, 0xc0, 0x84, 0x3d, 0x1a, 3, 'r', 'a', 'w') // 1 s
		b := transport.AppendFrame(nil, 0x01, head)
		b = transport.AppendFrame(b, 0x03, nil)
		_, err = s.Write(b)
		require.NoError(t, err)
		require.ErrorIs(t, <-sent, context.DeadlineExceeded) // its window is full, and nobody reads
		all := func(transport.FrameType) (uint64, bool) { return 4 << 20, true }
		_, _, err = s.ReadFrame(all)
		var reset *transport.StreamError
		require.ErrorAs(t, err, &reset)
		assert.Equal(t, transport.StreamDeadline, reset.Code)
		time.Sleep(time.Second)
	})
}
