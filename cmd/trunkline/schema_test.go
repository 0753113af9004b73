package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSchemasAreShownToPeople(t *testing.T) {
	for text, want := range map[string]string{
		`true`:              "any\n",
		`false`:             "never\n",
		`{}`:                "any\n",
		`{"type":"object"}`: "object\n",
		`{"title":"Empty","type":"object","properties":{},"additionalProperties":false}`: "Empty {}\n",
		`{"type":["string","null"],"contentEncoding":"base64"}`:                          "string (base64) | null\n",
		`{"type":"array","items":{"anyOf":[{"enum":["A","B"]},{"type":"integer"}]}}`:     "(\"A\" | \"B\" | integer)[]\n",
		`{"type":"integer","minimum":0,"maximum":255}`:                                   "uint8\n",
		`{"$schema":"x","title":"Tree","type":"object","properties":{
			"name":{"type":"string"},
			"at":{"type":"string","format":"date-time"},
			"children":{"type":["array","null"],"items":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},
			"by":{"type":"object","propertyNames":{"pattern":"x"},"additionalProperties":{"$ref":"#/$defs/Leaf"}},
			"inner":{"type":"object","properties":{"b":{"type":"boolean"}},"required":["b"]}
		},"required":["name","by"],
		"allOf":[{"$comment":"oneof kind","oneOf":[{"required":["name"]},{"required":["at"]},{"not":{"anyOf":[]}}]}],
		"$defs":{"Leaf":{"type":"object","properties":{"n":{"type":"integer","minimum":-2147483648,"maximum":2147483647}}}}}`: `Tree {
  name: string
  at?: string (date-time)
  children?: (Tree | null)[] | null
  by: {
    [key]: Leaf
  }
  inner?: {
    b: boolean
  }
  // at most one of name, at
}

Leaf {
  n?: int32
}
`,
	} {
		got, err := formatSchema([]byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{``, `{`, `{"type":}`, strings.Repeat("[", 200) + strings.Repeat("]", 200)} {
		_, err := formatSchema([]byte(text))
		assert.Error(t, err, text)
	}
}

func FuzzFormatSchema(f *testing.F) {
	for _, seed := range []string{
		`true`, `{"type":"object","properties":{"a":{"type":["array","null"],"items":{"$ref":"#"}}},"required":["a",1,{}]}`,
		`{"$defs":{"\u001b":{"enum":["\u009b",1,null,{},[1e999]]}},"anyOf":[]}`, `{"allOf":[{"oneOf":[{"required":[1]}]}]}`,
		`{"type":{},"additionalProperties":{"type":[[],{}]}}`, `{"$ref":1}`, `[[[]]]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := formatSchema([]byte(text))
		if err != nil {
			return
		}
		require.Equal(t, strings.ReplaceAll(got, "\n", " "), plain(got)) // a terminal gets nothing but text
	})
}
