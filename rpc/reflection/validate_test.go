package reflection_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
)

// validate says why text does not fit a schema. It knows those keywords that schemas here have, and fails on others.
func validate(schema, text []byte) error {
	var root, value any
	if err := unmarshal(schema, &root); err != nil {
		return err
	}
	if err := unmarshal(text, &value); err != nil {
		return err
	}
	return (&validator{root}).check(root, value, "$")
}

// unmarshal keeps numbers as they are written.
func unmarshal(text []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	return d.Decode(v)
}

type validator struct{ root any }

func (v *validator) check(schema, value any, at string) error {
	switch schema {
	case true:
		return nil
	case false:
		return fmt.Errorf("%s: nothing may be here", at)
	}
	s := schema.(map[string]any)
	object, isObject := value.(map[string]any)
	list, isList := value.([]any)
	text, isText := value.(string)
	number, isNumber := value.(json.Number)
	for keyword, k := range s {
		var err error
		switch keyword {
		case "$schema", "title", "$defs", "$comment", "contentEncoding":
		case "$ref":
			target := v.root
			for part := range strings.SplitSeq(strings.TrimPrefix(strings.TrimPrefix(k.(string), "#"), "/"), "/") {
				if part != "" {
					target = target.(map[string]any)[part]
				}
			}
			err = v.check(target, value, at)
		case "type":
			err = checkType(k, value)
		case "properties":
			for name, p := range k.(map[string]any) {
				if m, ok := object[name]; ok && err == nil {
					err = v.check(p, m, at+"."+name)
				}
			}
		case "additionalProperties":
			properties, _ := s["properties"].(map[string]any)
			for name, m := range object {
				if _, ok := properties[name]; !ok && err == nil {
					err = v.check(k, m, at+"."+name)
				}
			}
		case "patternProperties":
			for p, sub := range k.(map[string]any) {
				for name, m := range object {
					if regexp.MustCompile(p).MatchString(name) && err == nil {
						err = v.check(sub, m, at+"."+name)
					}
				}
			}
		case "propertyNames":
			for name := range object {
				if err == nil {
					err = v.check(k, name, at+"."+name)
				}
			}
		case "required":
			for _, name := range k.([]any) {
				if _, ok := object[name.(string)]; isObject && !ok {
					err = fmt.Errorf("no %s", name)
				}
			}
		case "items":
			for i, m := range list {
				if err == nil {
					err = v.check(k, m, fmt.Sprintf("%s[%d]", at, i))
				}
			}
		case "minItems":
			if n := k.(json.Number); isList && fmt.Sprint(len(list)) != n.String() {
				err = fmt.Errorf("%d items", len(list))
			}
		case "maxItems": // equals minItems
		case "minimum", "maximum":
			if isNumber {
				limit, _ := new(big.Float).SetString(k.(json.Number).String())
				n, _ := new(big.Float).SetString(number.String())
				if c := n.Cmp(limit); keyword == "minimum" && c < 0 || keyword == "maximum" && c > 0 {
					err = fmt.Errorf("%s %s", number, keyword)
				}
			}
		case "pattern":
			if isText && !regexp.MustCompile(k.(string)).MatchString(text) {
				err = fmt.Errorf("%q does not match %s", text, k)
			}
		case "format":
			if isText {
				_, err = time.Parse(time.RFC3339, text)
			}
		case "enum":
			if !slices.Contains(k.([]any), value) {
				err = fmt.Errorf("%v is not in %v", value, k)
			}
		case "anyOf":
			if v.count(k, value, at) == 0 {
				err = fmt.Errorf("%v fits none of %v", value, k)
			}
		case "oneOf":
			if n := v.count(k, value, at); n != 1 {
				err = fmt.Errorf("%v fits %d of %v", value, n, k)
			}
		case "allOf":
			if v.count(k, value, at) != len(k.([]any)) {
				err = fmt.Errorf("%v does not fit all of %v", value, k)
			}
		case "not":
			if v.check(k, value, at) == nil {
				err = fmt.Errorf("%v fits %v", value, k)
			}
		default:
			err = fmt.Errorf("unknown keyword %s", keyword)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// count returns how many of the schemas value fits.
func (v *validator) count(schemas, value any, at string) int {
	n := 0
	for _, s := range schemas.([]any) {
		if v.check(s, value, at) == nil {
			n++
		}
	}
	return n
}

func checkType(want, value any) error {
	types, several := want.([]any)
	if !several {
		types = []any{want}
	}
	is := ""
	switch value := value.(type) {
	case nil:
		is = "null"
	case bool:
		is = "boolean"
	case string:
		is = "string"
	case json.Number:
		is = "number"
		if _, ok := new(big.Int).SetString(value.String(), 10); ok && slices.Contains(types, any("integer")) {
			is = "integer"
		}
	case []any:
		is = "array"
	case map[string]any:
		is = "object"
	}
	if !slices.Contains(types, any(is)) {
		return fmt.Errorf("%s, not %v", is, want)
	}
	return nil
}
