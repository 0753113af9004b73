package reflection

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

var (
	marshaler       = reflect.TypeFor[json.Marshaler]()
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

	timeType   = reflect.TypeFor[time.Time]()
	numberType = reflect.TypeFor[json.Number]()
)

// goSchema returns the schema of a plain Go type, as encoding/json has it.
func goSchema(t reflect.Type, response bool) (json.RawMessage, error) {
	g := &goTypes{response: response, defs: newDefinitions(t)}
	return g.defs.document(typeName(t), g.describe(t))
}

// goTypes describes Go types, for one direction.
type goTypes struct {
	response bool
	defs     *definitions
}

// of returns the schema of a value of type t, wherever it stands.
func (g *goTypes) of(t reflect.Type) schema {
	if t.Name() != "" && !g.opaque(t) {
		switch t.Kind() {
		case reflect.Struct, reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer: // what can contain itself
			return g.defs.ref(t, typeName(t), func() schema { return g.describe(t) })
		default:
		}
	}
	return g.describe(t)
}

// opaque says whether t has a form of its own.
func (g *goTypes) opaque(t reflect.Type) bool {
	return t == timeType || g.has(t, marshaler, unmarshaler) || g.has(t, textMarshaler, textUnmarshaler)
}

// has says whether t, or a pointer to it, has the interface of this direction.
func (g *goTypes) has(t, marshals, unmarshals reflect.Type) bool {
	i := unmarshals
	if g.response {
		i = marshals
	}
	return t.Kind() != reflect.Pointer && (t.Implements(i) || reflect.PointerTo(t).Implements(i))
}

// describe returns the schema of type t itself, not a reference.
func (g *goTypes) describe(t reflect.Type) schema {
	switch {
	case t == timeType:
		return typed("string", "format", "date-time")
	case t == numberType:
		return typed("number")
	case g.has(t, marshaler, unmarshaler):
		return true
	case g.has(t, textMarshaler, textUnmarshaler):
		return typed("string")
	}
	switch t.Kind() {
	case reflect.Bool:
		return typed("boolean")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integer(t.Bits(), true)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return integer(t.Bits(), false)
	case reflect.Float32, reflect.Float64:
		return typed("number")
	case reflect.String:
		return typed("string")
	case reflect.Interface:
		return true
	case reflect.Pointer:
		return nullable(g.of(t.Elem()))
	case reflect.Slice, reflect.Map:
		if g.response {
			return nullable(g.filled(t))
		}
		return g.filled(t) // null is taken too, as it is for all types, and means nothing
	case reflect.Array:
		return typed("array", "items", g.of(t.Elem()), "minItems", t.Len(), "maxItems", t.Len())
	case reflect.Struct:
		return g.structure(t)
	default: // a channel, a function, a complex number: there is no JSON of it
		return false
	}
}

// filled returns the schema of a slice or map that is not nil.
func (g *goTypes) filled(t reflect.Type) schema {
	if t.Kind() == reflect.Map {
		return g.mapping(t)
	}
	if e := t.Elem(); e.Kind() == reflect.Uint8 && !g.opaque(e) {
		return base64Text()
	}
	return typed("array", "items", g.of(t.Elem()))
}

func (g *goTypes) mapping(t reflect.Type) schema {
	switch key := t.Key(); {
	case key.Kind() == reflect.String, g.has(key, textMarshaler, textUnmarshaler):
		return typed("object", "additionalProperties", g.of(t.Elem()))
	case key.Kind() >= reflect.Int && key.Kind() <= reflect.Int64:
		return typed("object", "propertyNames", pattern("^-?[0-9]+$"), "additionalProperties", g.of(t.Elem()))
	case key.Kind() >= reflect.Uint && key.Kind() <= reflect.Uintptr:
		return typed("object", "propertyNames", pattern("^[0-9]+$"), "additionalProperties", g.of(t.Elem()))
	}
	return false
}

func pattern(p string) object { return object{{"pattern", p}} }

func (g *goTypes) structure(t reflect.Type) schema {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		properties = append(properties, member{f.name, g.field(&f)})
		if !f.omitted && !f.optional {
			required = append(required, f.name)
		}
	}
	o := typed("object", "properties", properties)
	if !g.response {
		return append(o, member{"additionalProperties", false})
	}
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	return o
}

// field returns the schema of a field, which in a response is not null if it would be left out then.
func (g *goTypes) field(f *field) schema {
	t := f.t
	if f.quoted {
		s := schema(typed("string"))
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
			s = nullable(s)
		}
		if !g.opaque(t) && t != numberType {
			return s
		}
	}
	if g.response && f.omitted && f.t.Name() == "" {
		switch f.t.Kind() {
		case reflect.Pointer:
			return g.of(f.t.Elem())
		case reflect.Slice, reflect.Map:
			return g.filled(f.t)
		default:
		}
	}
	return g.of(f.t)
}

// typeName returns a name of t that may stand in a URI, without the paths of packages: "Page_Item" of Page[example.com/shop.Item].
func typeName(t reflect.Type) string {
	parts := strings.FieldsFunc(t.Name(), func(r rune) bool { return strings.ContainsRune("[]*,;(){} ", r) })
	for i, part := range parts {
		parts[i] = part[strings.LastIndexAny(part, "./")+1:]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, strings.Join(parts, "_"))
}
