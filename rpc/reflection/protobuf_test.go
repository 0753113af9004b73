package reflection_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/anypb" // imported by everythingFile, as those that follow
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// everythingFile is a file with a message that has a field of every kind.
const everythingFile = `
name: "test/everything.proto" package: "test" syntax: "proto2"
dependency: ["google/protobuf/timestamp.proto", "google/protobuf/duration.proto", "google/protobuf/wrappers.proto", "google/protobuf/struct.proto", "google/protobuf/any.proto", "google/protobuf/field_mask.proto"]
message_type {
  name: "Everything"
  field { name: "a_bool" number: 1 type: TYPE_BOOL label: LABEL_REQUIRED }
  field { name: "a_string" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "a_bytes" number: 3 type: TYPE_BYTES label: LABEL_OPTIONAL }
  field { name: "i32" number: 4 type: TYPE_SINT32 label: LABEL_OPTIONAL }
  field { name: "u32" number: 5 type: TYPE_FIXED32 label: LABEL_OPTIONAL }
  field { name: "i64" number: 6 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "u64" number: 7 type: TYPE_UINT64 label: LABEL_OPTIONAL }
  field { name: "f32" number: 8 type: TYPE_FLOAT label: LABEL_OPTIONAL }
  field { name: "f64s" number: 9 type: TYPE_DOUBLE label: LABEL_REPEATED }
  field { name: "color" number: 10 type: TYPE_ENUM type_name: ".test.Color" label: LABEL_OPTIONAL }
  field { name: "renamed" json_name: "other" number: 11 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "self" number: 12 type: TYPE_MESSAGE type_name: ".test.Everything" label: LABEL_OPTIONAL }
  field { name: "inner" number: 13 type: TYPE_MESSAGE type_name: ".test.Everything.Inner" label: LABEL_REPEATED }
  field { name: "by_name" number: 14 type: TYPE_MESSAGE type_name: ".test.Everything.ByNameEntry" label: LABEL_REPEATED }
  field { name: "by_flag" number: 15 type: TYPE_MESSAGE type_name: ".test.Everything.ByFlagEntry" label: LABEL_REPEATED }
  field { name: "by_number" number: 16 type: TYPE_MESSAGE type_name: ".test.Everything.ByNumberEntry" label: LABEL_REPEATED }
  field { name: "one" number: 17 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "two" number: 18 type: TYPE_INT32 label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "at" number: 19 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL }
  field { name: "takes" number: 20 type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" label: LABEL_OPTIONAL }
  field { name: "wrapped" number: 21 type: TYPE_MESSAGE type_name: ".google.protobuf.UInt64Value" label: LABEL_OPTIONAL }
  field { name: "struct" number: 22 type: TYPE_MESSAGE type_name: ".google.protobuf.Struct" label: LABEL_OPTIONAL }
  field { name: "value" number: 23 type: TYPE_MESSAGE type_name: ".google.protobuf.Value" label: LABEL_OPTIONAL }
  field { name: "list" number: 24 type: TYPE_MESSAGE type_name: ".google.protobuf.ListValue" label: LABEL_OPTIONAL }
  field { name: "null" number: 25 type: TYPE_ENUM type_name: ".google.protobuf.NullValue" label: LABEL_OPTIONAL }
  field { name: "any" number: 26 type: TYPE_MESSAGE type_name: ".google.protobuf.Any" label: LABEL_OPTIONAL }
  field { name: "mask" number: 27 type: TYPE_MESSAGE type_name: ".google.protobuf.FieldMask" label: LABEL_OPTIONAL }
  oneof_decl { name: "choice" }
  extension_range { start: 100 end: 200 }
  nested_type { name: "Inner" field { name: "back" number: 1 type: TYPE_MESSAGE type_name: ".test.Everything" label: LABEL_OPTIONAL } }
  nested_type { name: "ByNameEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".test.Everything.Inner" label: LABEL_OPTIONAL } }
  nested_type { name: "ByFlagEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_ENUM type_name: ".test.Color" label: LABEL_OPTIONAL } }
  nested_type { name: "ByNumberEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_SINT64 label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL } }
}
enum_type { name: "Color" value { name: "RED" number: 0 } value { name: "BLUE" number: 1 } }
`

// everythingType is of the message in everythingFile.
var everythingType = func() protoreflect.MessageDescriptor {
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(everythingFile), &file); err != nil {
		panic(err)
	}
	fd, err := protodesc.NewFile(&file, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	return fd.Messages().Get(0)
}()

// everything is that message, as a Go type.
type everything struct{ message *dynamicpb.Message }

func (m *everything) ProtoReflect() protoreflect.Message {
	if m.message == nil {
		m.message = dynamicpb.NewMessage(everythingType)
	}
	return m.message
}

// protojson's forms, as they are written, fit the schema of a response, and all but what has a field twice that of a request.
func TestEveryFormOfProtojsonFits(t *testing.T) {
	d := describe[everything, everything](t)
	assert.Equal(t, "test.Everything", d.Request.Proto)
	assert.Equal(t, []string{"proto", "json"}, d.Codecs)
	for text, ok := range map[string]bool{
		`{"aBool":true}`: true,
		`{}`:             false, // a_bool is required
		`{"aBool":true,"aString":"x","aBytes":"AQI=","i32":-1,"u32":4294967295,"i64":"-9223372036854775808","u64":"18446744073709551615"}`: true,
		`{"aBool":true,"u32":-1}`:                                                           false,
		`{"aBool":true,"f32":1.5,"f64s":["NaN","-Infinity",2]}`:                             true,
		`{"aBool":true,"color":"BLUE"}`:                                                     true,
		`{"aBool":true,"color":7}`:                                                          true,
		`{"aBool":true,"color":"GREEN"}`:                                                    false,
		`{"aBool":true,"other":"x"}`:                                                        true,
		`{"aBool":true,"self":{"aBool":false,"inner":[{},{"back":{"aBool":true}}]}}`:        true,
		`{"aBool":true,"self":{}}`:                                                          false,
		`{"aBool":true,"byName":{"x":{}},"byFlag":{"true":"RED"},"byNumber":{"-5":"AQ=="}}`: true,
		`{"aBool":true,"byFlag":{"maybe":"RED"}}`:                                           false,
		`{"aBool":true,"byNumber":{"x":"AQ=="}}`:                                            false,
		`{"aBool":true,"one":"x"}`:                                                          true,
		`{"aBool":true,"two":2}`:                                                            true,
		`{"aBool":true,"one":"x","two":2}`:                                                  false,
		`{"aBool":true,"at":"2026-01-02T03:04:05.678Z","takes":"-1.500s","wrapped":"5","mask":"aBool,aString"}`: true,
		`{"aBool":true,"takes":"1 s"}`: false,
		`{"aBool":true,"struct":{"a":[1,null]},"value":null,"list":[1,"x"],"null":null}`:             true,
		`{"aBool":true,"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}`: true,
	} {
		m := &everything{}
		err := protojson.Unmarshal([]byte(text), m)
		assert.Equal(t, ok, err == nil, "protojson: %s: %v", text, err)
		assert.Equal(t, ok, validate(d.Request.Schema, []byte(text)) == nil, "request: %s: %v", text, validate(d.Request.Schema, []byte(text)))
		if !ok {
			continue
		}
		answer, err := protojson.Marshal(m)
		require.NoError(t, err)
		assert.NoError(t, validate(d.Response.Schema, answer), "%s", answer)
	}
	assert.NoError(t, validate(d.Request.Schema, []byte(`{"aBool":true,"i64":5}`)), "a number is taken for a long")
	assert.Error(t, validate(d.Response.Schema, []byte(`{"aBool":true,"i64":5}`)), "and never given")
}

// Whoever gets the descriptors needs no others: each file comes behind those that it imports.
func TestDescriptorsAreWhole(t *testing.T) {
	d := describe[everything, structpb.Struct](t)
	var set descriptorpb.FileDescriptorSet
	require.NoError(t, proto.Unmarshal(d.Descriptors, &set))
	files := new(protoregistry.Files)
	for _, file := range set.GetFile() {
		fd, err := protodesc.NewFile(file, files) // looks for imports in files
		require.NoError(t, err, file.GetName())
		require.NoError(t, files.RegisterFile(fd)) // fails on one that is there twice
	}
	for _, name := range []string{d.Request.Proto, d.Response.Proto} {
		_, err := files.FindDescriptorByName(protoreflect.FullName(name))
		assert.NoError(t, err, name)
	}
	assert.Empty(t, describe[tree, tree](t).Descriptors)
}
