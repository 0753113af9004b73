package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxSchemaDepth bounds how deep a schema that a server sends may be nested.
const maxSchemaDepth = 100

// A jsonObject is an object of JSON whose members are in order.
type jsonObject []jsonMember

type jsonMember struct {
	key   string
	value any // jsonObject, []any, string, json.Number, bool or nil
}

func (o jsonObject) get(key string) any {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

func (o jsonObject) text(key string) string {
	s, _ := o.get(key).(string)
	return s
}

// parseOrdered parses text, and keeps the order of members.
func parseOrdered(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return parseValue(d, maxSchemaDepth)
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth == 0 {
		return nil, errors.New("nested too deeply")
	}
	object, list := jsonObject{}, []any{}
	for d.More() {
		var m jsonMember
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			m.key, _ = key.(string)
		}
		if m.value, err = parseValue(d, depth-1); err != nil {
			return nil, err
		}
		object, list = append(object, m), append(list, m.value)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if delim == '{' {
		return object, nil
	}
	return list, nil
}

// A schemaText turns JSON Schemas into a notation like TypeScript's, for people. It knows the keywords of package
// reflection's schemas; what others say is left out.
type schemaText struct{ title string } // of the whole schema

// formatSchema returns a schema as lines: the type, and behind it those that it refers to by name.
func formatSchema(text []byte) (string, error) {
	root, err := parseOrdered(text)
	if err != nil {
		return "", fmt.Errorf("the server's schema can't be read: %w", err)
	}
	o, _ := root.(jsonObject)
	s := schemaText{title: plain(o.text("title"))}
	var b strings.Builder
	b.WriteString(strings.TrimLeft(s.title+" "+s.of(root, ""), " ") + "\n")
	definitions, _ := o.get("$defs").(jsonObject)
	for _, m := range definitions {
		b.WriteString("\n" + plain(m.key) + " " + s.of(m.value, "") + "\n")
	}
	return b.String(), nil
}

// of returns the type that a schema describes. Lines behind the first are indented.
func (s schemaText) of(schema any, indent string) string {
	o, ok := schema.(jsonObject)
	switch {
	case schema == true, ok && len(o) == 0:
		return "any"
	case schema == false:
		return "never"
	case !ok:
		return "?"
	case o.get("$ref") != nil:
		return s.reference(o.text("$ref"))
	case o.get("enum") != nil:
		return union(o.get("enum"), literal)
	case o.get("anyOf") != nil:
		return union(o.get("anyOf"), func(each any) string { return s.of(each, indent) })
	}
	types, several := o.get("type").([]any)
	if !several {
		types = []any{o.get("type")}
	}
	return union(types, func(t any) string { return s.typed(t, o, indent) })
}

// union returns the texts of what is a list, if it is one.
func union(list any, text func(any) string) string {
	each, _ := list.([]any)
	texts := make([]string, 0, len(each))
	for _, v := range each {
		texts = append(texts, text(v))
	}
	return strings.Join(texts, " | ")
}

// typed returns what o says for one of its types.
func (s schemaText) typed(t any, o jsonObject, indent string) string {
	switch t {
	case nil:
		return "any"
	case "object":
		return s.object(o, indent)
	case "array":
		items := "any"
		if each := o.get("items"); each != nil {
			items = s.of(each, indent)
		}
		if strings.Contains(items, " | ") {
			items = "(" + items + ")"
		}
		return items + "[]"
	case "integer":
		return integerName(o)
	case "string":
		for _, detail := range []string{o.text("format"), o.text("contentEncoding")} {
			if detail != "" {
				return "string (" + plain(detail) + ")"
			}
		}
	}
	return plain(fmt.Sprint(t))
}

func (s schemaText) object(o jsonObject, indent string) string {
	properties, closed := o.get("properties").(jsonObject)
	more := o.get("additionalProperties")
	if more == false {
		more, closed = nil, true
	}
	if len(properties) == 0 && more == nil {
		if closed {
			return "{}"
		}
		return "object"
	}
	var b strings.Builder
	b.WriteString("{\n")
	inner := indent + "  "
	required, _ := o.get("required").([]any)
	for _, m := range properties {
		mark := "?"
		if slices.Contains(required, any(m.key)) {
			mark = ""
		}
		b.WriteString(inner + plain(m.key) + mark + ": " + s.of(m.value, inner) + "\n")
	}
	if more != nil {
		b.WriteString(inner + "[key]: " + s.of(more, inner) + "\n")
	}
	for _, names := range oneofs(o) {
		b.WriteString(inner + "// at most one of " + names + "\n")
	}
	return b.String() + indent + "}"
}

// oneofs returns the names of the fields of each oneof of a protobuf message.
func oneofs(o jsonObject) []string {
	var out []string
	all, _ := o.get("allOf").([]any)
	for _, each := range all {
		alternatives, _ := each.(jsonObject)
		var names []string
		one, _ := alternatives.get("oneOf").([]any)
		for _, alternative := range one {
			fields, _ := alternative.(jsonObject)
			required, _ := fields.get("required").([]any)
			for _, name := range required {
				names = append(names, plain(fmt.Sprint(name)))
			}
		}
		if len(names) > 0 {
			out = append(out, strings.Join(names, ", "))
		}
	}
	return out
}

// literal returns a value of an enum.
func literal(v any) string {
	switch v.(type) {
	case jsonObject, []any:
		return "?"
	}
	text, err := json.Marshal(v)
	if err != nil { // a number that is none
		return "?"
	}
	return plain(string(text))
}

// reference returns the name of what a schema refers to.
func (s schemaText) reference(ref string) string {
	if ref == "#" {
		return cmp.Or(s.title, "(the same)")
	}
	return plain(strings.TrimPrefix(ref, "#/$defs/"))
}

// integerName returns "int32", say, for an integer with such bounds.
func integerName(o jsonObject) string {
	least, _ := o.get("minimum").(json.Number)
	most, _ := o.get("maximum").(json.Number)
	switch least + ".." + most {
	case "-128..127":
		return "int8"
	case "-32768..32767":
		return "int16"
	case "-2147483648..2147483647":
		return "int32"
	case "-9223372036854775808..9223372036854775807":
		return "int64"
	case "0..255":
		return "uint8"
	case "0..65535":
		return "uint16"
	case "0..4294967295":
		return "uint32"
	case "0..18446744073709551615":
		return "uint64"
	}
	return "integer"
}
