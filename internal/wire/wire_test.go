package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Fields and the generated code must agree on every input, in whether it is well-formed; and what Fields says is
// what stands there.
func FuzzFields(f *testing.F) {
	for _, s := range []string{
		"", "\x0a\x01x", "\x0a\x00", "\x08\x01", "\x0a\x81\x00x", "\x0a\x80\x01", "\x0a\x05x", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"\x0b\x0c", "\x0b\x08\x01\x0c\x08\x01", "\x0b", "\x0c", "\x0b\x14", "\x09\x01\x02\x03\x04\x05\x06\x07\x08", "\x0d\x01\x02\x03\x04", "\x0d\x01",
		"\x00\x01", "\x02\x00", "\x0e", "\x0f", "\xf8\x01\x01", "\xf8\xff\xff\xff\x0f\x01", "\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", "\x80",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		whole := true // only what Fields tells of can be put together again
		fields := Over(b)
		for fields.Next() {
			switch {
			case fields.Number == 0:
				whole = false
			case fields.IsBytes:
				again = AppendElement(again, fields.Number, fields.Bytes)
				require.Equal(t, string(fields.Bytes), string(b[len(b)-fields.Rest()-len(fields.Bytes):len(b)-fields.Rest()]))
			default:
				again = protowire.AppendTag(again, fields.Number, protowire.VarintType)
				again = protowire.AppendVarint(again, fields.Varint)
			}
		}
		var want emptypb.Empty
		wantErr := proto.Unmarshal(b, &want)
		require.Equal(t, wantErr == nil, fields.Err == nil, "%v against %v", wantErr, fields.Err)
		if fields.Err == nil && whole {
			back := Over(again)
			for first := Over(b); first.Next(); {
				require.True(t, back.Next())
				require.Equal(t, first.Number, back.Number)
				require.Equal(t, first.Varint, back.Varint)
				require.Equal(t, string(first.Bytes), string(back.Bytes))
			}
			require.False(t, back.Next())
		}
	})
}

func TestSizesAreThoseOfWhatIsAppended(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 1 << 14, 1 << 21} {
		require.Len(t, AppendBytes(nil, 15, make([]byte, n)), SizeBytes(n))
		require.Len(t, AppendElement(nil, 15, make([]byte, n)), SizeElement(n))
		require.Len(t, AppendVarint(nil, 15, uint64(n)), SizeVarint(uint64(n)))
	}
}
