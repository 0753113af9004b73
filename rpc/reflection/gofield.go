package reflection

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A field is a member of a struct's JSON object.
type field struct {
	name     string
	t        reflect.Type
	omitted  bool // when it is empty
	optional bool // it is behind an embedded pointer
	quoted   bool // by the tag's option "string"

	tagged bool
	index  []int
}

// fieldsOf returns the fields that encoding/json sees in a struct, in the order of their declaration. Of several with one name the least
// nested counts; of several of these one that got its name by a tag; and of several of these none.
func fieldsOf(t reflect.Type) []field {
	byName := map[string][]field{}
	collectFields(t, byName)
	var out []field
	for _, same := range byName {
		slices.SortStableFunc(same, func(a, b field) int {
			switch {
			case len(a.index) != len(b.index):
				return cmp.Compare(len(a.index), len(b.index))
			case a.tagged == b.tagged:
				return 0
			case a.tagged:
				return -1
			}
			return 1
		})
		if len(same) > 1 && len(same[0].index) == len(same[1].index) && same[0].tagged == same[1].tagged {
			continue
		}
		out = append(out, same[0])
	}
	slices.SortFunc(out, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return out
}

// An embedding is a struct whose fields are looked for.
type embedding struct {
	t        reflect.Type
	index    []int
	optional bool
	again    bool // it is there more than once on its level
}

// collectFields finds the candidates of t and of what it embeds, level by level. A struct that was met on a level above has nothing
// to add; one that is met again on its level has its fields twice, so that they cancel each other.
func collectFields(t reflect.Type, byName map[string][]field) {
	seen := map[reflect.Type]bool{}
	for level := []*embedding{{t: t}}; len(level) > 0; {
		var next []*embedding
		met := map[reflect.Type]*embedding{}
		for _, e := range level {
			if seen[e.t] {
				continue
			}
			seen[e.t] = true
			for i := range e.t.NumField() {
				f, embedded, ok := fieldOf(e.t.Field(i))
				if !ok {
					continue
				}
				f.index, f.optional = append(slices.Clone(e.index), i), e.optional
				switch {
				case embedded == nil && e.again:
					byName[f.name] = append(byName[f.name], f, f)
				case embedded == nil:
					byName[f.name] = append(byName[f.name], f)
				case met[embedded] != nil:
					met[embedded].again = true
				default:
					met[embedded] = &embedding{t: embedded, index: f.index, optional: e.optional || f.t.Kind() == reflect.Pointer}
					next = append(next, met[embedded])
				}
			}
		}
		level = next
	}
}

// fieldOf returns what sf is in JSON: a field, the struct that it embeds, or nothing.
func fieldOf(sf reflect.StructField) (f field, embedded reflect.Type, ok bool) {
	elem := sf.Type
	if elem.Name() == "" && elem.Kind() == reflect.Pointer {
		elem = elem.Elem()
	}
	if !sf.IsExported() && (!sf.Anonymous || elem.Kind() != reflect.Struct) {
		return field{}, nil, false
	}
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return field{}, nil, false
	}
	name, options, _ := strings.Cut(tag, ",")
	if !validTag(name) {
		name = ""
	}
	f = field{name: cmp.Or(name, sf.Name), t: sf.Type, tagged: name != ""}
	if sf.Anonymous && name == "" && elem.Kind() == reflect.Struct {
		return f, elem, true
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitzero":
			f.omitted = true
		case "omitempty":
			f.omitted = f.omitted || canBeEmpty(sf.Type)
		case "string":
			f.quoted = canBeQuoted(elem.Kind())
		}
	}
	return f, nil, true
}

// canBeEmpty says whether "omitempty" ever leaves out a field of type t.
func canBeEmpty(t reflect.Type) bool {
	return t.Kind() != reflect.Struct && (t.Kind() != reflect.Array || t.Len() == 0)
}

func canBeQuoted(k reflect.Kind) bool {
	return reflect.Bool <= k && k <= reflect.Float64 || k == reflect.String
}

// validTag says whether encoding/json takes name from a tag.
func validTag(name string) bool {
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) {
			return false
		}
	}
	return name != ""
}
