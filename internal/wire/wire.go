// Package wire has what the hand-written codecs of protobuf messages share. They exist where a message
// is on a hot path; tests hold each of them against the generated code.
package wire

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed says that bytes are no protobuf message, or have a string that is not UTF-8.
var ErrMalformed = errors.New("malformed protobuf")

// Fields goes over the fields of a message:
//
//	for f := wire.Over(body); f.Next(); {
//		switch {
//		case f.Number == 1 && f.IsBytes: …
//		}
//	}
//
// It is a loop and no callback, because a line of chat has four fields and they are gone over once for each
// subscriber.
type Fields struct {
	Number  protowire.Number // 0 for a field of a type that none of ours has
	IsBytes bool             // length-delimited, with Bytes; else a varint
	Bytes   []byte           // aliases the message
	Varint  uint64
	Err     error // ErrMalformed; set when Next returns false

	rest []byte
}

// Over returns the fields of the message in b.
func Over(b []byte) Fields { return Fields{rest: b} }

// Rest returns how many bytes of the message follow the field.
func (f *Fields) Rest() int { return len(f.rest) }

// Next goes to the next field that one of ours may be. Others are skipped, as the
// protobuf encoding asks.
func (f *Fields) Next() bool {
	b := f.rest
	if len(b) == 0 {
		return false
	}
	// A tag of one byte, and a length of one, are what nearly all fields have.
	var t protowire.Type
	if b[0] < 0x80 {
		f.Number, t = protowire.Number(b[0]>>3), protowire.Type(b[0]&7)
		if f.Number == 0 {
			return f.malformed()
		}
		if t == protowire.BytesType && len(b) > 1 && b[1] < 0x80 && int(b[1]) <= len(b)-2 {
			n := 2 + int(b[1])
			f.IsBytes, f.Bytes, f.rest = true, b[2:n:n], b[n:]
			return true
		}
		b = b[1:]
	} else {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 || n > protowire.MaxValidNumber {
			return f.malformed()
		}
		f.Number, t = n, typ
		b = b[size:]
	}
	var size int
	switch t {
	case protowire.VarintType:
		f.IsBytes, f.Bytes = false, nil
		f.Varint, size = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		f.IsBytes = true
		f.Bytes, size = protowire.ConsumeBytes(b)
	default:
		size = protowire.ConsumeFieldValue(f.Number, t, b)
		f.Number, f.IsBytes, f.Bytes = 0, false, nil
	}
	if size < 0 {
		return f.malformed()
	}
	f.rest = b[size:]
	return true
}

func (f *Fields) malformed() bool {
	f.Err, f.rest = ErrMalformed, nil
	return false
}

// CheckUTF8 returns ErrMalformed unless b may be in a field of type string.
func CheckUTF8(b []byte) error {
	if !utf8.Valid(b) {
		return ErrMalformed
	}
	return nil
}

// AppendBytes appends a field of type bytes or string, unless it is empty, which proto3 leaves out.
func AppendBytes[T string | []byte](dst []byte, n protowire.Number, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	return AppendElement(dst, n, v)
}

// AppendElement appends a field of type bytes, string or message that is repeated or
// optional, and so is there also when it is empty.
func AppendElement[T string | []byte](dst []byte, n protowire.Number, v T) []byte {
	return append(AppendLength(dst, n, len(v)), v...)
}

// AppendLength appends the beginning of a length-delimited field whose n bytes the caller appends next.
func AppendLength(dst []byte, number protowire.Number, n int) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(n))
}

// AppendVarint appends a field of an integer type or bool, unless it is 0, which proto3 leaves out.
func AppendVarint(dst []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, n, protowire.VarintType)
	return protowire.AppendVarint(dst, v)
}

// SizeBytes returns the length of what AppendBytes appends for n bytes, and a field number below 16.
func SizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return SizeElement(n)
}

// SizeElement returns the length of what AppendElement appends for n bytes, and a field number below 16.
func SizeElement(n int) int { return 1 + protowire.SizeBytes(n) }

// SizeVarint returns the length of what AppendVarint appends for a field number below 16.
func SizeVarint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}
