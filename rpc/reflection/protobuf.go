package reflection

import (
	"encoding/json"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// protoSchema returns the schema of a protobuf message, as protojson has it.
func protoSchema(md protoreflect.MessageDescriptor, response bool) (json.RawMessage, error) {
	g := &protoTypes{response: response, defs: newDefinitions(md.FullName())}
	return g.defs.document(string(md.FullName()), g.message(md))
}

// protoTypes describes protobuf messages, for one direction.
type protoTypes struct {
	response bool
	defs     *definitions
}

// ref returns a schema of md, wherever it stands.
func (g *protoTypes) ref(md protoreflect.MessageDescriptor) schema {
	if s := g.wellKnown(md); s != nil {
		return s
	}
	return g.defs.ref(md.FullName(), string(md.FullName()), func() schema { return g.message(md) })
}

// message returns the schema of md itself, not a reference.
func (g *protoTypes) message(md protoreflect.MessageDescriptor) schema {
	if s := g.wellKnown(md); s != nil {
		return s
	}
	properties, required := object{}, []string{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		properties = append(properties, member{fd.JSONName(), g.field(fd)})
		if fd.Cardinality() == protoreflect.Required {
			required = append(required, fd.JSONName())
		}
	}
	o := typed("object", "properties", properties)
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	if md.ExtensionRanges().Len() > 0 {
		o = append(o, member{"patternProperties", object{{`^\[.+\]$`, true}}})
	}
	if !g.response {
		o = append(o, member{"additionalProperties", false})
	}
	if alternatives := oneofs(md); len(alternatives) > 0 {
		o = append(o, member{"allOf", alternatives})
	}
	return o
}

// oneofs returns, for each oneof of md, that it has at most one of its fields.
func oneofs(md protoreflect.MessageDescriptor) []schema {
	var out []schema
	for i := range md.Oneofs().Len() {
		oneof := md.Oneofs().Get(i)
		if oneof.IsSynthetic() { // a field that is optional
			continue
		}
		var each []schema
		for j := range oneof.Fields().Len() {
			each = append(each, object{{"required", []string{oneof.Fields().Get(j).JSONName()}}})
		}
		none := object{{"not", object{{"anyOf", each}}}}
		out = append(out, object{{"$comment", "oneof " + string(oneof.Name())}, {"oneOf", append(slices.Clip(each), none)}})
	}
	return out
}

func (g *protoTypes) field(fd protoreflect.FieldDescriptor) schema {
	switch {
	case fd.IsMap():
		o := typed("object")
		switch fd.MapKey().Kind() {
		case protoreflect.StringKind:
		case protoreflect.BoolKind:
			o = append(o, member{"propertyNames", object{{"enum", []string{"false", "true"}}}})
		default:
			o = append(o, member{"propertyNames", pattern("^-?[0-9]+$")})
		}
		return append(o, member{"additionalProperties", g.single(fd.MapValue())})
	case fd.IsList():
		return typed("array", "items", g.single(fd))
	}
	return g.single(fd)
}

// single returns the schema of one value of a field.
func (g *protoTypes) single(fd protoreflect.FieldDescriptor) schema {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return typed("boolean")
	case protoreflect.StringKind:
		return typed("string")
	case protoreflect.BytesKind:
		return base64Text()
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return integer(32, true)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return integer(32, false)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return g.long(true)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return g.long(false)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return floating()
	case protoreflect.EnumKind:
		return enumeration(fd.Enum())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return g.ref(fd.Message())
	}
	return true // a kind of a later protobuf
}

// long is a 64-bit integer: digits in a string, as JavaScript's numbers can't hold it; a number is taken too.
func (g *protoTypes) long(signed bool) schema {
	digits := "^[0-9]+$"
	if signed {
		digits = "^-?[0-9]+$"
	}
	text := typed("string", "pattern", digits)
	if g.response {
		return text
	}
	return object{{"anyOf", []schema{text, integer(64, signed)}}}
}

func floating() schema {
	return object{{"anyOf", []schema{typed("number"), object{{"enum", []string{"NaN", "Infinity", "-Infinity"}}}}}}
}

// enumeration is the name of a value, or the number of one that has none here.
func enumeration(ed protoreflect.EnumDescriptor) schema {
	if ed.FullName() == "google.protobuf.NullValue" {
		return typed("null")
	}
	var names []string
	for i := range ed.Values().Len() {
		names = append(names, string(ed.Values().Get(i).Name()))
	}
	return object{{"anyOf", []schema{object{{"enum", names}}, integer(32, true)}}}
}

// wellKnown returns the schema of a message that protojson has a form of its own for, or nil.
func (g *protoTypes) wellKnown(md protoreflect.MessageDescriptor) schema {
	if md.ParentFile() == nil || md.FullName().Parent() != "google.protobuf" {
		return nil
	}
	switch md.Name() {
	case "Timestamp":
		return typed("string", "format", "date-time")
	case "Duration":
		return typed("string", "pattern", `^-?[0-9]+(\.[0-9]{1,9})?s$`)
	case "FieldMask":
		return typed("string")
	case "Struct":
		return typed("object")
	case "ListValue":
		return typed("array")
	case "Value":
		return true
	case "Any":
		return typed("object", "properties", object{{"@type", typed("string")}})
	case "BoolValue", "StringValue", "BytesValue", "Int32Value", "UInt32Value", "Int64Value", "UInt64Value", "FloatValue", "DoubleValue":
		return g.single(md.Fields().ByName("value"))
	}
	return nil // Empty is as any other
}

// descriptorSet returns a FileDescriptorSet of the files of those types that are protobuf messages, or nil. Each file
// stands behind what it imports.
func descriptorSet(types ...reflect.Type) ([]byte, error) {
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	for _, t := range types {
		if md := protoOf(t); md != nil {
			addFile(&set, md.ParentFile(), seen)
		}
	}
	if len(seen) == 0 {
		return nil, nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&set)
}

func addFile(set *descriptorpb.FileDescriptorSet, fd protoreflect.FileDescriptor, seen map[string]bool) {
	if fd.IsPlaceholder() || seen[fd.Path()] { // an import that is not linked in has nothing to say
		return
	}
	seen[fd.Path()] = true
	for i := range fd.Imports().Len() {
		addFile(set, fd.Imports().Get(i).FileDescriptor, seen)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(fd))
}
