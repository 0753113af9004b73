package rpc_test

import (
	"context"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// S5: attacks on calls, each of them with somebody else there, who is answered.

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func grown(since uint64) int64 { return int64(heap()) - int64(since) }

// head is the HEAD of a call with a codec.
func head(method, codec string) []byte {
	body := append([]byte{0x0a, byte(len(method))}, method...)
	body = append(body, 0x1a, byte(len(codec)))
	return transport.AppendFrame(nil, 0x01, append(body, codec...))
}

// attack opens a stream and writes b on it.
func attack(t *testing.T, s *transport.Session, b []byte) *transport.Stream {
	t.Helper()
	str, err := s.OpenStream(t.Context(), transport.StreamRPC)
	require.NoError(t, err)
	_, err = str.Write(b)
	require.NoError(t, err)
	return str
}

// readEnd reads the answer to a stream that is no call of package rpc's, and returns its END.
func readEnd(t *testing.T, str *transport.Stream) []byte {
	t.Helper()
	typ, body, err := str.ReadFrame(func(transport.FrameType) (uint64, bool) { return 1 << 20, true })
	require.NoError(t, err)
	require.Equal(t, transport.FrameType(0x05), typ)
	return body
}

// exhausted begins an END with ResourceExhausted.
var exhausted = []byte{0x08, byte(rpc.ResourceExhausted)}

const bodies = 32 << 20

// mallory and bob are two users of a server that holds bodies bytes.
func malloryAndBob(t *testing.T, mux *rpc.Mux) (srv *transport.Server, mallory, bob *transport.Session) {
	t.Helper()
	n := transporttest.New(t, rtt)
	srv = n.Listen(transport.Config{Handlers: handlers(mux), MaxBuffered: bodies})
	return srv, n.Dial(srv, "mallory", transport.Config{}), n.Dial(srv, "bob", transport.Config{})
}

func limited(srv *transport.Server) int { return int(srv.Stats().Dropped[transport.DropBuffered]) }

// Messages that are declared and never come whole take a quarter of what a server holds at most; another's call with a
// large message is answered.
func TestS5MessagesThatNeverComeWholeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, mallory, bob := malloryAndBob(t, newEcho(rpc.Config{}).mux)
		before := heap()
		begun := append(head("test.Echo/Bytes", "raw"), transport.AppendFrameHeader(nil, 0x03, 4<<20)...)
		begun = append(begun, 1, 2, 3)
		var streams []*transport.Stream
		for range 500 {
			streams = append(streams, attack(t, mallory, begun))
		}
		time.Sleep(time.Second)
		require.Positive(t, limited(srv))
		require.Less(t, grown(before), int64(bodies))
		large := rpc.Raw(make([]byte, 2<<20))
		back, err := octets.Call(t.Context(), bob, &large)
		require.NoError(t, err)
		require.Len(t, *back, len(large))
		require.Equal(t, exhausted, readEnd(t, streams[len(streams)-1])[:2])

		for _, s := range streams {
			s.Cancel(transport.StreamCanceled)
		}
		time.Sleep(time.Second) // all that was held is free again: mallory may call, too
		_, err = octets.Call(t.Context(), mallory, &large)
		require.NoError(t, err)
	})
}

// Who is refused for it knows that nothing has run.
func TestS5CallThatIsTooMuchHasNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux), MaxBuffered: 1 << 20})
		alice := n.Dial(srv, "alice", transport.Config{})
		large := rpc.Raw(make([]byte, 1<<20))
		_, err := octets.Call(t.Context(), alice, &large)
		wantError(t, err, rpc.ResourceExhausted, rpc.NotStarted)
		require.Zero(t, e.calls.Load())
		small := rpc.Raw(make([]byte, 64<<10))
		_, err = octets.Call(t.Context(), alice, &small)
		require.NoError(t, err)
	})
}

// Answers that nobody reads are bounded, too, and those of streams.
func TestS5ClientThatNeverReadsIsBounded(t *testing.T) {
	for _, method := range []string{"test.Big/Once", "test.Big/Stream"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEcho(rpc.Config{})
				big := func() *rpc.Raw { b := rpc.Raw(make([]byte, 1<<20)); return &b }
				rpc.Handle(e.mux, rpc.Unary[rpc.Raw, rpc.Raw]("test.Big/Once"), func(context.Context, *rpc.Raw) (*rpc.Raw, error) {
					return big(), nil
				})
				rpc.Handle(e.mux, rpc.ServerStream[rpc.Raw, rpc.Raw]("test.Big/Stream"), func(_ context.Context, _ *rpc.Raw, out *rpc.Sender[rpc.Raw]) error {
					for {
						if err := out.Send(big()); err != nil {
							return err
						}
					}
				})
				srv, mallory, bob := malloryAndBob(t, e.mux)
				before := heap()
				request := transport.AppendFrame(head(method, "raw"), 0x03, []byte("x"))
				var streams []*transport.Stream
				for range 500 {
					streams = append(streams, attack(t, mallory, request))
				}
				time.Sleep(5 * time.Second)
				require.Positive(t, limited(srv))
				require.Less(t, grown(before), int64(2*bodies)) // with what the client has received
				large := rpc.Raw(make([]byte, 2<<20))
				_, err := octets.Call(t.Context(), bob, &large)
				require.NoError(t, err)
				for _, s := range streams {
					s.Cancel(transport.StreamCanceled)
				}
				time.Sleep(time.Second)
				_, err = octets.Call(t.Context(), mallory, &large)
				require.NoError(t, err)
			})
		})
	}
}

// The time for HEAD is for the whole of it.
func TestM23HeadThatDripsIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, mallory, bob := malloryAndBob(t, newEcho(rpc.Config{}).mux)
		began := time.Now()
		h := head("test.Echo/Bytes", "raw")
		str := attack(t, mallory, h[:1])
		for i := 1; i < len(h); i++ {
			if _, err := str.Write(h[i : i+1]); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		require.Less(t, time.Since(began), 7*time.Second)
		require.Equal(t, []byte{0x08, byte(rpc.DeadlineExceeded)}, readEnd(t, str)[:2])
		_, err := say.Call(t.Context(), bob, &Text{Text: "hi"})
		require.NoError(t, err)
	})
}

// M7: what declares more than its limit is refused as declared, and costs nothing.
func TestM7OversizedDeclarationsAreRefused(t *testing.T) {
	data := head("test.Echo/Bytes", "raw")
	for name, b := range map[string][]byte{
		"HEAD": transport.AppendFrameHeader(nil, 0x01, 1<<40),
		"DATA": append(data, transport.AppendFrameHeader(nil, 0x03, 1<<40)...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, mallory, bob := malloryAndBob(t, newEcho(rpc.Config{}).mux)
				before := heap()
				for range 100 {
					str := attack(t, mallory, b)
					require.Equal(t, exhausted, readEnd(t, str)[:2])
					_, err := str.Read(make([]byte, 1))
					require.ErrorIs(t, err, io.EOF)
				}
				assert.Less(t, grown(before), int64(4<<20))
				_, err := say.Call(t.Context(), bob, &Text{Text: "hi"})
				require.NoError(t, err)
			})
		})
	}
}

// M71: what a server asks its clients for is counted as long as it has it, whether or not who asked comes back for the rest.
func TestM71CallsThatAServerLeavesHoldNothing(t *testing.T) {
	for name, leave := range map[string]func(in *rpc.Receiver[Text], cancel func()){
		"closed":                  func(in *rpc.Receiver[Text], _ func()) { in.Close() },
		"canceled, and forgotten": func(_ *rpc.Receiver[Text], cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{})
				_, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(newEcho(rpc.Config{}).mux)})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				in, err := count.Call(ctx, server, &Text{Text: string(make([]byte, 10_000)), N: 100})
				require.NoError(t, err)
				_, err = in.Recv()
				require.NoError(t, err)
				require.Positive(t, srv.Stats().Buffered)
				leave(in, cancel)
				time.Sleep(time.Second)
				require.Zero(t, srv.Stats().Buffered)
			})
		})
	}
}
