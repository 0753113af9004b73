package reflection

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/trunkline-go/trunkline/rpc"
)

// dialect is the value of $schema.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// A schema is an object of keywords, or true, which everything fits, or false, which nothing does.
type schema any

// An object is a JSON object whose members keep their order: a message is read in the order in which it was written down.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.key, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// typed returns the schema of a type, with further keywords in pairs.
func typed(name string, more ...any) object {
	o := object{{"type", name}}
	for i := 0; i < len(more); i += 2 {
		o = append(o, member{more[i].(string), more[i+1]}) //nolint:errcheck // every call has a literal there
	}
	return o
}

// integer is the schema of an integer of so many bits. The bounds are exact, though not every reader of JSON
// can hold them.
func integer(bits int, signed bool) object {
	if !signed {
		return typed("integer", "minimum", 0, "maximum", uint64(math.MaxUint64)>>(64-bits))
	}
	most := int64(math.MaxInt64) >> (64 - bits)
	return typed("integer", "minimum", -most-1, "maximum", most)
}

// base64Text is the schema of bytes.
func base64Text() object { return typed("string", "contentEncoding", "base64") }

// nullable returns the schema of what fits s or is null.
func nullable(s schema) schema {
	o, ok := s.(object)
	if !ok {
		return s
	}
	if len(o) > 0 && o[0].key == "type" {
		name, one := o[0].value.(string)
		if !one { // it is nullable already
			return s
		}
		return append(object{{"type", []string{name, "null"}}}, o[1:]...)
	}
	if len(o) > 0 && o[0].key == "anyOf" { // of which none but nullable's own stands first
		return s
	}
	return object{{"anyOf", []schema{s, typed("null")}}}
}

// definitions are the named types of a schema, each described once, so that types may contain themselves.
type definitions struct {
	root  any            // the type that the whole schema is of
	names map[any]string // of the others, by type
	taken map[string]bool
	list  object
}

func newDefinitions(root any) *definitions {
	return &definitions{root: root, names: map[any]string{}, taken: map[string]bool{}}
}

// ref returns a reference to the type with the name, which describe is asked about the first time.
func (d *definitions) ref(key any, name string, describe func() schema) object {
	if key == d.root {
		return object{{"$ref", "#"}}
	}
	known, ok := d.names[key]
	if !ok {
		known = name
		for i := 2; d.taken[known]; i++ {
			known = name + "_" + strconv.Itoa(i)
		}
		d.names[key], d.taken[known] = known, true
		at := len(d.list)
		d.list = append(d.list, member{key: known}) // in the order in which they are met
		d.list[at].value = describe()
	}
	return object{{"$ref", "#/$defs/" + known}}
}

// document returns the text of the whole schema, whose root is s.
func (d *definitions) document(title string, s schema) (json.RawMessage, error) {
	o, ok := s.(object)
	if !ok {
		return json.Marshal(s)
	}
	head := object{{"$schema", dialect}}
	if title != "" {
		head = append(head, member{"title", title})
	}
	o = append(head, o...)
	if len(d.list) > 0 {
		o = append(o, member{"$defs", d.list})
	}
	return json.Marshal(o)
}

// describeMessage describes the messages of type t of one direction.
func describeMessage(t reflect.Type, response bool) (Message, error) {
	if md := protoOf(t); md != nil {
		text, err := protoSchema(md, response)
		return Message{Proto: string(md.FullName()), Schema: text}, err
	}
	if t == reflect.TypeFor[rpc.Raw]() {
		return Message{Schema: json.RawMessage("true")}, nil
	}
	text, err := goSchema(t, response)
	return Message{Schema: text}, err
}

// protoOf returns the descriptor of t, or nil if t is no protobuf message.
func protoOf(t reflect.Type) protoreflect.MessageDescriptor {
	m, ok := reflect.TypeAssert[proto.Message](reflect.New(t))
	if !ok {
		return nil
	}
	return m.ProtoReflect().Descriptor()
}
