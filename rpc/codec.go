package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Raw is a message that is passed on as it is, whatever the codec of the call: nothing is
// encoded or decoded. With it, and [WithCodec], a method can be called whose types are not
// known here: rpc.Unary[rpc.Raw, rpc.Raw](name). A method of Raw messages has the codec "raw".
type Raw []byte

// A Codec encodes the messages of calls. The caller names it with [WithCustomCodec], and a [Mux] has those of
// [Config.Codecs]; "proto", "json" and "raw" are built in, and one of the user's with such a name takes its place. A
// codec is used from many goroutines at once. It never sees [Raw] messages, which are passed on as they are.
type Codec interface {
	// Name is the codec's name on the wire: 1 to 255 bytes of a-z, 0-9, '-', '_' and '.'.
	Name() string

	// AppendEncode appends the encoded form of m to dst. m is a pointer to a message, a *Request of
	// Unary[Request, Response] say. An error fails the call: as InvalidArgument if m is a request, and as
	// Internal if it is an answer.
	AppendEncode(dst []byte, m any) ([]byte, error)

	// Decode sets m, a pointer to a new message, to what b says. It must not keep b, which is used again. b comes from the
	// peer, and is whole, within the limit on messages, and otherwise anything. An error fails the call: as
	// InvalidArgument if m is a request, and as Internal if it is an answer.
	Decode(b []byte, m any) error
}

// A format is the codec of a call.
type format struct {
	name  string
	codec Codec // of that name; nil if it is a built-in one
}

// custom returns the format of a user's codec.
func custom(c Codec) format { return format{c.Name(), c} }

// valid says whether f may be a call's.
func (f format) valid() bool {
	if f.codec != nil {
		return validKey(f.name)
	}
	return f.name == codecProto || f.name == codecJSON || f.name == codecRaw
}

// The built-in codecs, by their names on the wire.
const (
	codecProto = "proto" // binary protobuf: messages whose pointer is a proto.Message
	codecJSON  = "json"  // protojson for those, encoding/json for other Go values
	codecRaw   = "raw"   // bytes: Raw
)

// codecFor returns the codec that serves both messages of a method.
func codecFor(req, res any) string {
	kind := func(m any) string {
		switch m.(type) {
		case proto.Message:
			return codecProto
		case *Raw:
			return codecRaw
		}
		return codecJSON
	}
	if a := kind(req); a == kind(res) {
		return a
	}
	return codecJSON // the only one that has all kinds
}

// encode appends m, a pointer, to b.
func encode(b []byte, f format, m any) ([]byte, error) {
	if raw, ok := m.(*Raw); ok {
		return append(b, *raw...), nil
	}
	if f.codec != nil {
		return f.codec.AppendEncode(b, m)
	}
	switch f.name {
	case codecProto:
		if p, ok := m.(proto.Message); ok {
			return proto.MarshalOptions{}.MarshalAppend(b, p)
		}
	case codecJSON:
		if p, ok := m.(proto.Message); ok {
			return protojson.MarshalOptions{}.MarshalAppend(b, p)
		}
		text, err := json.Marshal(m)
		return append(b, text...), err
	}
	return nil, fmt.Errorf("codec %q does not fit %T", f.name, m)
}

// clearUsed makes m, a pointer, what it was when it was new, unless decoding does so.
func clearUsed(f format, m any) {
	switch p := m.(type) {
	case *Raw:
	case proto.Message:
		if f.codec != nil {
			proto.Reset(p)
		}
	default:
		reflect.ValueOf(m).Elem().SetZero()
	}
}

// decodeInto sets m, a pointer to a message that has been used, to the one in b, an answer. It keeps nothing of b: it copies into
// memory that m has.
func decodeInto(b []byte, f format, m any) error {
	switch p := m.(type) {
	case *Raw:
		*p = append((*p)[:0], b...)
		return nil
	case proto.Message:
		if f.codec == nil && f.name == codecProto && len(b) >= worthKeeping {
			return unmarshalInto(b, p)
		}
	}
	clearUsed(f, m)
	return decode(b, false, f, m, false)
}

// decode sets m, a pointer, to the message in b. It keeps parts of b only if that is m's own. With strict, JSON
// with a field that m does not have is an error: a request with a mistyped name would
// do something else than was meant. In an answer it is one that a newer peer has added.
func decode(b []byte, own bool, f format, m any, strict bool) error {
	if raw, ok := m.(*Raw); ok {
		if !own {
			b = append(make([]byte, 0, len(b)), b...)
		}
		*raw = b
		return nil
	}
	if f.codec != nil {
		return notEOF(f.codec.Decode(b, m))
	}
	switch f.name {
	case codecProto:
		if p, ok := m.(proto.Message); ok {
			if own && len(b) >= worthKeeping {
				return unmarshalOwn(b, p)
			}
			return proto.Unmarshal(b, p)
		}
	case codecJSON:
		if p, ok := m.(proto.Message); ok {
			return protojson.UnmarshalOptions{DiscardUnknown: !strict}.Unmarshal(b, p)
		}
		if !strict {
			return json.Unmarshal(b, m)
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(m); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return errors.New("unexpected end of JSON input")
			}
			return err
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return errors.New("something follows the JSON value")
		}
		return nil
	}
	return fmt.Errorf("codec %q does not fit %T", f.name, m)
}
