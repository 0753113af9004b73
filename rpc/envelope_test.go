package rpc

import (
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc/internal/callpb"
	"github.com/trunkline-go/trunkline/transport"
)

// Conversions to what the generated code has.

func fieldsOf(md Metadata) []*callpb.Field {
	var out []*callpb.Field
	for _, f := range md {
		out = append(out, &callpb.Field{Key: f.Key, Value: []byte(f.Value)})
	}
	return out
}

func metadataOf(fields []*callpb.Field) Metadata {
	var out Metadata
	for _, f := range fields {
		out = append(out, Field{f.GetKey(), string(f.GetValue())})
	}
	return out
}

func (h *ownHead) generated() *callpb.Head {
	out := &callpb.Head{
		Method: h.method, TimeoutUs: h.timeout, Codec: h.codec, Metadata: fieldsOf(h.metadata), Compression: h.compression,
		PreviousAttempts: h.attempts,
	}
	for _, c := range h.accept {
		out.Accept = append(out.Accept, c.Name())
	}
	if h.resumable {
		out.Cursor = append([]byte{}, h.cursor...) // never nil
	}
	return out
}

// own returns h as this side sends it, with names to accept.
func (h *head) own(accept []string) *ownHead {
	out := &ownHead{
		method: string(h.method), codec: string(h.codec), timeout: h.timeout, metadata: h.metadata, compression: string(h.compression),
		resumable: h.resumable, cursor: string(h.cursor), attempts: h.attempts,
	}
	for _, name := range accept {
		out.accept = append(out.accept, nameOnly{name: name})
	}
	return out
}

// A nameOnly is a Compressor for the HEAD.
type nameOnly struct {
	Compressor
	name string
}

func (n nameOnly) Name() string { return n.name }

func (e end) generated() *callpb.End {
	return &callpb.End{
		Code: uint32(e.code), Message: e.message, Details: e.details,
		Trailers: fieldsOf(e.trailers), Execution: callpb.Execution(e.execution), RetryAfterMs: e.retry,
	}
}

var heads = []struct {
	name   string
	head   head
	accept []string
	hex    string // of the whole frame; never edited once released
}{
	{"empty", head{}, nil, "0100"},
	{"call", head{method: []byte("a.B/C"), codec: []byte("json")}, nil, "010d" + "0a05612e422f43" + "1a046a736f6e"},
	{"compression", head{compression: []byte("zstd")}, []string{"gzip", ""}, "010e" + "2a047a737464" + "3204677a6970" + "3200"},
	{
		"all", head{
			method: []byte("a.B/C"), timeout: 1_500_000, codec: []byte("raw"),
			metadata: Metadata{{"k", "v"}, {"k", "\x00\xff"}, {"empty", ""}},
		}, nil,
		"012a" + "0a05612e422f43" + "10e0c65b" + "1a03726177" + "22060a016b120176" + "22070a016b120200ff" + "22070a05656d707479",
	},
	{
		"resumable", head{method: []byte("a.B/C"), codec: []byte("json"), resumable: true}, nil,
		"010f" + "0a05612e422f43" + "1a046a736f6e" + "3a00",
	},
	{
		"resumed", head{method: []byte("a.B/C"), codec: []byte("json"), resumable: true, cursor: []byte("\x00\xff")}, nil,
		"0111" + "0a05612e422f43" + "1a046a736f6e" + "3a0200ff",
	},
	{"again", head{method: []byte("a.B/C"), codec: []byte("raw"), attempts: 300}, nil, "010f" + "0a05612e422f43" + "1a03726177" + "48ac02"},
}

func TestGoldenHead(t *testing.T) {
	for _, test := range heads {
		t.Run(test.name, func(t *testing.T) {
			h := &test.head
			own := h.own(test.accept)
			body := own.append(nil)
			assert.Equal(t, test.hex, hex.EncodeToString(transport.AppendFrame(nil, frameHead, body)))
			generated, err := proto.MarshalOptions{Deterministic: true}.Marshal(own.generated())
			require.NoError(t, err)
			assert.Equal(t, generated, append([]byte{}, body...), "as the generated code has it")
			assert.GreaterOrEqual(t, own.maxSize(), len(body))
			back, err := decodeHead(body)
			require.NoError(t, err)
			assert.Equal(t, string(h.method), string(back.method))
			assert.Equal(t, string(h.codec), string(back.codec))
			assert.Equal(t, h.timeout, back.timeout)
			assert.Equal(t, h.metadata, back.metadata)
			assert.Equal(t, h.resumable, back.resumable)
			assert.Equal(t, string(h.cursor), string(back.cursor))
			assert.Equal(t, string(h.compression), string(back.compression))
			for _, name := range test.accept {
				assert.True(t, back.accepts(name), name)
			}
			assert.False(t, back.accepts("zip"))
			assert.Equal(t, h.attempts, back.attempts)
		})
	}
}

var ends = []struct {
	name string
	end  end
	hex  string
}{
	{"success", end{}, "0500"},
	{"trailer", end{trailers: Metadata{{"k", "v"}}}, "0508" + "22060a016b120176"},
	{"error", end{code: NotFound, message: "no", execution: wireRan}, "0508" + "0805" + "12026e6f" + "2802"},
	{"not started", end{code: Unimplemented, execution: wireNotStarted}, "0504" + "080c" + "2801"},
	{"later", end{code: Unavailable, execution: wireNotStarted, retry: 1500}, "0507" + "080e" + "2801" + "30b817"},
	{"never", end{code: Unavailable, execution: wireRan, retry: -1}, "0506" + "080e" + "2802" + "3001"},
	{
		"details", end{code: Unauthenticated, details: []*anypb.Any{{TypeUrl: "t", Value: []byte{7}}, {}}},
		"050c" + "0810" + "1a060a0174120107" + "1a00",
	},
}

func TestGoldenEnd(t *testing.T) {
	for _, test := range ends {
		t.Run(test.name, func(t *testing.T) {
			body, err := encodeEnd(&test.end)
			require.NoError(t, err)
			assert.Equal(t, test.hex, hex.EncodeToString(transport.AppendFrame(nil, frameEnd, body)))
			generated, err := proto.MarshalOptions{Deterministic: true}.Marshal(test.end.generated())
			require.NoError(t, err)
			assert.Equal(t, generated, append([]byte{}, body...), "as the generated code has it")
			back, err := decodeEnd(body)
			require.NoError(t, err)
			assert.True(t, proto.Equal(test.end.generated(), back.generated()))
		})
	}
}

func TestTimeoutsAreMicrosecondsAndZeroMeansNone(t *testing.T) {
	assert.Equal(t, uint64(1500), toMicros(1500*time.Microsecond))
	assert.Equal(t, uint64(1), toMicros(time.Nanosecond), "what is nearly over is not without limit")
	assert.Equal(t, uint64(1), toMicros(-time.Second))
	assert.Equal(t, time.Duration(0), fromMicros(0))
	assert.Equal(t, 1500*time.Microsecond, fromMicros(1500))
	assert.Equal(t, time.Duration(math.MaxInt64), fromMicros(math.MaxUint64))
}

func TestHeadGoesRightBeforeTheMessage(t *testing.T) {
	for _, timeout := range []uint64{0, 1, math.MaxUint64} {
		for _, md := range []Metadata{nil, {{"k", strings.Repeat("v", 300)}}} {
			h := &ownHead{method: "a.B/C", codec: "raw", timeout: timeout, metadata: md}
			buf := newBuffer(2*transport.MaxFrameHeader + h.maxSize())
			buf.b = append(buf.b, "message"...)
			buf.prepend(frameData)
			buf.prependHead(h)
			want := transport.AppendFrame(nil, frameHead, h.append(nil))
			want = transport.AppendFrame(want, frameData, []byte("message"))
			assert.Equal(t, want, buf.bytes())
			buf.free()
		}
	}
}

// The two decoders must agree on every input: in whether it is well-formed, and what it says.
func FuzzHeadAsGenerated(f *testing.F) {
	for _, test := range heads {
		f.Add(test.head.own(test.accept).append(nil))
	}
	f.Add([]byte("\x0a\x01\xff"))             // not UTF-8
	f.Add([]byte("\x0b\x0c\x08\x01\x10\x80")) // groups, wrong types, truncation
	f.Add([]byte("\x22\x02\x0a\x00\x22\x00\x0a\x01a\x0a\x01b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeHead(b)
		if errors.Is(err, errTooManyFields) {
			return
		}
		var want callpb.Head
		wantErr := proto.Unmarshal(b, &want)
		require.Equal(t, wantErr == nil, err == nil, "%v against %v", wantErr, err)
		if err != nil {
			return
		}
		require.Equal(t, want.GetMethod(), string(got.method))
		require.Equal(t, want.GetCodec(), string(got.codec))
		require.Equal(t, want.GetTimeoutUs(), got.timeout)
		require.Equal(t, metadataOf(want.GetMetadata()), got.metadata)
		require.Equal(t, want.Cursor != nil, got.resumable)
		require.Equal(t, string(want.GetCursor()), string(got.cursor))
		require.Equal(t, want.GetPreviousAttempts(), got.attempts)
		require.Equal(t, want.GetCompression(), string(got.compression))
		for _, name := range want.GetAccept() {
			require.True(t, got.accepts(name))
		}
		require.Equal(t, slices.Contains(want.GetAccept(), "gzip"), got.accepts("gzip"))
		own := got.own(want.GetAccept())
		again, err := decodeHead(own.append(nil))
		require.NoError(t, err)
		require.Equal(t, got.metadata, again.metadata)
		require.True(t, proto.Equal(own.generated(), again.own(want.GetAccept()).generated()))
	})
}

func FuzzEndAsGenerated(f *testing.F) {
	for _, test := range ends {
		b, err := encodeEnd(&test.end)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte("\x08\x85\x80\x80\x80\x10\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")) // more than 32 bits
	f.Add([]byte("\x1a\x03\x0a\x01\xff"))                                                 // a type URL that is not UTF-8
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeEnd(b)
		if errors.Is(err, errTooManyFields) || errors.Is(err, errTooManyDetails) {
			return
		}
		var want callpb.End
		wantErr := proto.Unmarshal(b, &want)
		require.Equal(t, wantErr == nil, err == nil, "%v against %v", wantErr, err)
		if err != nil {
			return
		}
		require.Equal(t, want.GetCode(), uint32(got.code))
		require.Equal(t, want.GetMessage(), got.message)
		require.Equal(t, metadataOf(want.GetTrailers()), got.trailers)
		require.Equal(t, uint32(want.GetExecution()), uint32(got.execution))
		require.Equal(t, want.GetRetryAfterMs(), got.retry)
		require.Len(t, got.details, len(want.GetDetails()))
		for i, d := range want.GetDetails() {
			require.True(t, proto.Equal(d, got.details[i]))
		}
	})
}

// No input makes a decoder of messages panic, and what it accepts, it can say again.
func FuzzDecodeMessage(f *testing.F) {
	for _, text := range []string{`{"text":"hi","n":1}`, `{"text":"hi"}x`, `{"no":1}`, `"hi"`, "", "null", "\x0a\x02hi", "[[[[["} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	type plain struct {
		Text string         `json:"text"`
		N    int            `json:"n"`
		Map  map[string]any `json:"map"`
	}
	f.Fuzz(func(t *testing.T, b []byte, strict bool) {
		for _, name := range []string{codecProto, codecJSON, codecRaw} {
			codec := format{name: name}
			for _, m := range []any{new(plain), new(wrapperspb.StringValue), new(anypb.Any), new(Raw)} {
				if decode(b, false, codec, m, strict) != nil {
					continue
				}
				if _, ok := m.(*anypb.Any); ok {
					continue // its JSON needs a type that is linked in
				}
				out, err := encode(nil, codec, m)
				require.NoError(t, err)
				require.NoError(t, decode(out, false, codec, m, strict))
			}
		}
	})
}

// BenchmarkEnvelope compares the hand-written codec of HEAD with the generated one, there
// and back, as every call has it.
func BenchmarkEnvelope(b *testing.B) {
	const method, codec, timeout = "trunkline.Echo/Say", "json", 5_000_000
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			h := ownHead{method: method, codec: codec, timeout: timeout}
			buf = h.append(buf[:0])
			if h, err := decodeHead(buf); err != nil || h.timeout != timeout {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			var err error
			buf, err = proto.MarshalOptions{}.MarshalAppend(buf[:0], &callpb.Head{Method: method, TimeoutUs: timeout, Codec: codec})
			if err != nil {
				b.Fatal(err)
			}
			var h callpb.Head
			if err := proto.Unmarshal(buf, &h); err != nil || h.GetTimeoutUs() != timeout {
				b.Fatal(err)
			}
		}
	})
}
