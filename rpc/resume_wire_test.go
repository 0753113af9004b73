package rpc_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/internal/callpb"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// Frames of a response.
const (
	wireData   = transport.FrameType(0x03)
	wireEnd    = transport.FrameType(0x05)
	wireCursor = transport.FrameType(0x09)
)

// readHead reads HEAD and the message of a request.
func readHead(t *testing.T, s *transport.Stream) *callpb.Head {
	t.Helper()
	limit := func(transport.FrameType) (uint64, bool) { return 1 << 20, true }
	typ, body, err := s.ReadFrame(limit)
	if !assert.NoError(t, err) {
		return nil
	}
	assert.Equal(t, transport.FrameType(0x01), typ)
	var head callpb.Head
	assert.NoError(t, proto.Unmarshal(body, &head))
	typ, _, err = s.ReadFrame(limit)
	assert.NoError(t, err)
	assert.Equal(t, wireData, typ)
	return &head
}

// serveRaw makes serve the handler of streams that calls are made on.
func serveRaw(serve func(s *transport.Stream)) map[transport.StreamType]transport.Handler {
	return map[transport.StreamType]transport.Handler{
		transport.StreamRPC: func(_ context.Context, s *transport.Stream) { serve(s) },
	}
}

// Wherever in the bytes of a response its connection ends, the reader gets every entry once (M86, M87).
func TestM87ConnectionMayEndBehindEveryByte(t *testing.T) {
	const entries = 4
	response := func(from int) (b []byte) {
		for i := from; i < entries; i++ {
			b = transport.AppendFrame(b, wireCursor, strconv.AppendInt(nil, int64(i+1), 10))
			b = transport.AppendFrame(b, wireData, fmt.Appendf(nil, `{"text":"entry %d","n":%d}`, i, i))
		}
		return transport.AppendFrame(b, wireEnd, nil)
	}
	synctest.Test(t, func(t *testing.T) {
		var cut atomic.Int64
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: serveRaw(func(s *transport.Stream) {
			head := readHead(t, s)
			if head == nil || !assert.NotNil(t, head.GetCursor(), "the caller takes cursors") {
				return
			}
			from, _ := strconv.Atoi(string(head.GetCursor()))
			b := response(from)
			at := cut.Swap(-1)
			if at < 0 {
				_, _ = s.Write(b)
				_ = s.Close()
				return
			}
			_, _ = s.Write(b[:at])
			time.Sleep(rtt)
			s.Session().Abort(transport.Internal, "")
		})})
		client := n.Dial(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		for at := range len(response(0)) {
			cut.Store(int64(at))
			in, err := follow.Call(t.Context(), client, &Text{})
			require.NoError(t, err)
			require.NoError(t, readEntries(in, 0, entries, func() {}), "behind %d bytes", at)
			now, _ := client.Status()
			require.EqualValues(t, at+2, now.Attempt, "connections")
		}
		require.NoError(t, client.Release(t.Context()), "no stream is left")
	})
}

// A response that is not as M85 says is malformed, and that is not tried again (M88).
func TestM85MalformedResponses(t *testing.T) {
	const (
		cursor1 = "090131"
		cursor2 = "090132"
		entry0  = "0308 7b226e223a30207d"
	)
	tests := []struct {
		name, response string
		method         rpc.ServerStreamMethod[Text, Text]
		code           rpc.Code
		good           int // messages before it
	}{
		{"as it should be", cursor1 + entry0 + cursor2 + entry0 + endOK, follow, rpc.OK, 2},
		{"nothing", endOK, follow, rpc.OK, 0},
		{"a message without a cursor", cursor1 + entry0 + entry0 + endOK, follow, rpc.Internal, 1},
		{"two cursors", cursor1 + cursor2 + entry0 + endOK, follow, rpc.Internal, 0},
		{"a cursor without a message", cursor1 + entry0 + cursor2 + endOK, follow, rpc.Internal, 1},
		{"an empty cursor", "0900" + entry0 + endOK, follow, rpc.Internal, 0},
		{"a cursor over its limit", "094401", follow, rpc.ResourceExhausted, 0},
		{"HEAD behind a cursor", cursor1 + "0100" + entry0 + endOK, follow, rpc.Internal, 0},
		{"a cursor that was not asked for", cursor1 + entry0 + endOK, count, rpc.Internal, 0},
		{"truncated", cursor1 + entry0, follow, rpc.Internal, 1},
		{"an unknown even frame between", cursor1 + unknownEven + entry0 + endOK, follow, rpc.OK, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{Handlers: serveRaw(func(s *transport.Stream) {
					calls++
					readHead(t, s)
					_, _ = s.Write(unhex(t, test.response))
					_ = s.Close()
				})})
				client := n.Dial(srv, "alice", transport.Config{})
				in, err := test.method.Call(t.Context(), client, &Text{})
				require.NoError(t, err)
				good := 0
				for _, e := range in.All() {
					if err = e; err == nil {
						good++
					}
				}
				assert.Equal(t, test.code, rpc.CodeOf(err), "%v", err)
				assert.Equal(t, test.good, good)
				assert.Equal(t, 1, calls)
				require.NoError(t, client.Release(t.Context()), "no stream is left")
			})
		})
	}
}

// No response makes the caller hand out a message without its cursor, or panic, or leave a stream.
func FuzzResumableResponse(f *testing.F) {
	for _, seed := range []string{
		"\x09\x011\x03\x02{}\x09\x012\x03\x02{}\x05\x00",
		"\x01\x00\x09\x011\x03\x02{}\x05\x02\x08\x0f", // a header, and DataLoss
		"\x09\x011\x09\x012\x03\x02{}", "\x03\x02{}", "\x09\x00", "\x09\x44\x01", "\x09\x011\x05\x00", "\x09\x011\x03\x01",
		"\x09\x011\x03\x02{}\x05\x02\x08\x0e", // Unavailable
	} {
		f.Add([]byte(seed))
	}
	var response atomic.Pointer[[]byte] // of the next call; nil: of one that is made again
	client, _ := startUDP(f, map[transport.StreamType]transport.Handler{
		transport.StreamRPC: func(_ context.Context, s *transport.Stream) {
			b := []byte("\x05\x02\x08\x0f") // DataLoss
			if first := response.Swap(nil); first != nil {
				b = *first
			}
			_, _ = s.Write(b)
			_ = s.Close()
		},
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		want := cursorsIn(b)
		response.Store(&b)
		in, err := rpc.ServerStream[rpc.Raw, rpc.Raw]("a.B/C", rpc.Resumable()).Call(t.Context(), client, new(rpc.Raw))
		require.NoError(t, err)
		var got []string
		for {
			if _, err = in.Recv(); err != nil {
				break
			}
			got = append(got, in.Cursor())
		}
		require.Equal(t, want, got)
		in.Close()
	})
}

var metadataKey = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)

// cursorsIn returns the cursors of the messages at the beginning of a response that are as they should be.
func cursorsIn(b []byte) (cursors []string) {
	r := transport.NewFrameReader(bytes.NewReader(b))
	cursor := ""
	for first := true; ; first = false {
		typ, body, err := r.ReadFrame(func(t transport.FrameType) (uint64, bool) {
			most, ok := map[transport.FrameType]uint64{0x01: 64 << 10, wireData: 4 << 20, wireEnd: 64 << 10, wireCursor: 1 << 10}[t]
			return most, ok
		})
		switch {
		case err != nil:
			return cursors
		case typ == wireCursor && cursor == "" && len(body) > 0:
			cursor = string(body)
		case typ == wireData && cursor != "":
			cursors, cursor = append(cursors, cursor), ""
		case typ == 0x01 && first:
			var head callpb.Head
			if proto.Unmarshal(body, &head) != nil {
				return cursors
			}
			for _, field := range head.GetMetadata() {
				if !metadataKey.MatchString(field.GetKey()) {
					return cursors
				}
			}
		default:
			return cursors
		}
	}
}
