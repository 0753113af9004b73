package rpc_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/callpb"
	"github.com/trunkline-go/trunkline/transport"

	"google.golang.org/protobuf/proto"
)

// numbered is message i of a stream whose messages are of very different lengths.
func numbered(i int) *rpc.Raw {
	sizes := []int{1, 1000, 3, 17 << 10, 1, 1, 16 << 10, 200, 40 << 10, 16<<10 - 3}
	m := make(rpc.Raw, 1+sizes[i%len(sizes)])
	for j := range m {
		m[j] = byte(i)
	}
	return &m
}

// checkNumbered receives n such messages, and the end of the stream behind them.
func checkNumbered(t *testing.T, n int, recv func() (*rpc.Raw, error)) {
	t.Helper()
	for i := range n {
		m, err := recv()
		if !assert.NoError(t, err, "message %d", i) || !assert.Equal(t, numbered(i), m, "message %d", i) {
			return
		}
	}
	_, err := recv()
	assert.ErrorIs(t, err, io.EOF)
}

// What is gathered behind a write goes out whole, in order, and before the end, in either direction.
func TestGatheredMessagesAllArriveInOrder(t *testing.T) {
	const messages = 405 // the last ones are small, and gathered
	synctest.Test(t, func(t *testing.T) {
		both := rpc.Bidi[rpc.Raw, rpc.Raw]("test.Gather/Both")
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, both, func(_ context.Context, s *rpc.Stream[rpc.Raw, rpc.Raw]) error {
			received := make(chan struct{})
			go func() {
				defer close(received)
				checkNumbered(t, messages, s.Recv)
			}()
			for i := range messages {
				if err := s.Send(numbered(i)); err != nil {
					return err
				}
			}
			<-received
			return nil
		})
		_, client, _ := start(t, mux)
		s, err := both.Call(t.Context(), client)
		require.NoError(t, err)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range messages {
				assert.NoError(t, s.Send(numbered(i)))
			}
			assert.NoError(t, s.CloseSend())
		}()
		checkNumbered(t, messages, s.Recv)
		<-sent
	})
}

// A handler whose Sends all succeeded, and who returned nil, has not answered OK when messages could
// not be sent: the caller would take what it has for all there is.
func TestUnsentMessagesAreNotUnderAnOK(t *testing.T) {
	const window = 256 << 10 // for one stream
	tests := []struct {
		name    string
		message int // bytes
		check   func(t *testing.T, answer []byte, err error)
	}{
		{"cut in the midst of one", 1000, func(t *testing.T, _ []byte, err error) {
			t.Helper()
			var reset *transport.StreamError
			require.ErrorAs(t, err, &reset, "half a message, and then an orderly end")
			assert.Equal(t, transport.StreamDeadline, reset.Code)
		}},
		{"between two", 1024 - 3, func(t *testing.T, answer []byte, err error) {
			t.Helper()
			require.NoError(t, err)
			assert.Contains(t, string(answer[window:]), "deadline of the call has passed")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mux := rpc.NewMux(rpc.Config{})
				returned := make(chan error, 1)
				rpc.Handle(mux, flood, func(_ context.Context, _ *Text, out *rpc.Sender[rpc.Raw]) (err error) {
					defer func() { returned <- err }()
					m := make(rpc.Raw, test.message)
					for i := range window/1024 + 10 {
						if i == window/1024 {
							time.Sleep(time.Second) // what follows waits for the window
						}
						if err := out.Send(&m); err != nil {
							return err
						}
					}
					return nil
				})
				_, client, _ := start(t, mux)
				s, err := client.OpenStream(t.Context(), transport.StreamRPC)
				require.NoError(t, err)
				defer s.Cancel(transport.StreamCanceled)
				head, err := proto.Marshal(&callpb.Head{Method: flood.Name(), Codec: "json", TimeoutUs: 2_000_000})
				require.NoError(t, err)
				request := transport.AppendFrame(transport.AppendFrame(nil, 0x01, head), 0x03, []byte("{}"))
				_, err = s.Write(request)
				require.NoError(t, err)
				require.NoError(t, s.Close())
				require.NoError(t, <-returned, "the handler knows of nothing")
				time.Sleep(1500 * time.Millisecond) // and the caller reads only when the call's time is up
				answer, err := io.ReadAll(s)
				test.check(t, answer, err)
			})
		})
	}
}
