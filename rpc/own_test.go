package rpc

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What is decoded from memory of its own is what proto.Unmarshal makes of it.
func FuzzUnmarshalOwn(f *testing.F) {
	large := bytes.Repeat([]byte{7}, 100)
	field := func(b []byte, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	f.Add(field(nil, 2, large))
	f.Add(field(field(nil, 1, []byte("type")), 2, large))
	f.Add(field(field(nil, 2, large), 1, []byte("type")))
	f.Add(field(field(nil, 2, []byte("twice")), 2, large)) // the last one counts
	f.Add(field(field(nil, 2, large), 2, []byte("twice")))
	f.Add(field(field(nil, 1, large), 2, []byte("a large string")))
	f.Add(field(field(nil, 9, large), 2, []byte("a large unknown")))
	f.Add(append(field(nil, 2, large), 0xff))
	f.Add(field(field(nil, 1, []byte{0xff}), 2, large)) // no UTF-8
	f.Fuzz(func(t *testing.T, b []byte) {
		var want, got anypb.Any
		wantErr := proto.Unmarshal(b, &want)
		err := unmarshalOwn(bytes.Clone(b), &got)
		require.Equal(t, wantErr == nil, err == nil, "%v, not %v", err, wantErr)
		if err == nil {
			assert.True(t, proto.Equal(&want, &got), "%v, not %v", &got, &want)
		}
		used := anypb.Any{TypeUrl: "used", Value: make([]byte, 50)}
		from := bytes.Clone(b)
		err = unmarshalInto(from, &used)
		require.Equal(t, wantErr == nil, err == nil, "%v, not %v", err, wantErr)
		clear(from) // nothing of it is kept
		if err == nil {
			assert.True(t, proto.Equal(&want, &used), "%v, not %v", &used, &want)
		}
	})
}

func TestBytesOfALargeMessageAreNotCopied(t *testing.T) {
	b, err := proto.Marshal(wrapperspb.Bytes(make([]byte, 16<<10)))
	require.NoError(t, err)
	var m wrapperspb.BytesValue
	require.NoError(t, unmarshalOwn(b, &m))
	require.Len(t, m.GetValue(), 16<<10)
	assert.Same(t, &b[len(b)-16<<10], &m.GetValue()[0])
	assert.Equal(t, len(m.GetValue()), cap(m.GetValue()), "whoever appends writes into nothing else")
}

func TestMessageKeepsNothingOfWhatItWasDecodedFrom(t *testing.T) {
	want := bytes.Repeat([]byte{7}, 1000)
	encoded, err := proto.Marshal(wrapperspb.Bytes(want))
	require.NoError(t, err)
	var value wrapperspb.BytesValue
	require.NoError(t, decode(encoded, true, format{name: codecProto}, &value, true))
	raw := bytes.Clone(want)
	m := Raw(raw)
	keepOwn(format{name: codecProto}, &value)
	keepOwn(format{name: codecRaw}, &m)
	clear(encoded)
	clear(raw)
	assert.Equal(t, want, value.GetValue())
	assert.Equal(t, Raw(want), m)
}
