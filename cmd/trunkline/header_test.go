package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
)

func TestHeadersAreParsed(t *testing.T) {
	for text, want := range map[string]rpc.Field{
		"key:value":          {Key: "key", Value: "value"},
		"Key: a value: more": {Key: "key", Value: "a value: more"},
		"empty:":             {Key: "empty"},
		"trace-bin:AQID":     {Key: "trace-bin", Value: "\x01\x02\x03"},
		"trace-bin:AQ==":     {Key: "trace-bin", Value: "\x01"},
		"trace-bin:AQ":       {Key: "trace-bin", Value: "\x01"},
		"ключ:x":             {},
		"no-colon":           {},
		":value":             {},
		"trace-bin:%%":       {},
		"trunkline-x:y":      {},
	} {
		got, err := parseHeader(text)
		assert.Equal(t, want.Key == "", err != nil, "%s: %v", text, err)
		assert.Equal(t, want, got, text)
	}
}

func TestHeadersAreFitForATerminal(t *testing.T) {
	for want, f := range map[string]rpc.Field{
		"key: value":               {Key: "key", Value: "value"},
		`key: "\x1b[31mred\u009b"`: {Key: "key", Value: "\x1b[31mred\u009b"},
		"key-bin: Gw==":            {Key: "key-bin", Value: "\x1b"},
	} {
		assert.Equal(t, want, formatHeader(f))
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, seed := range []string{"key:value", "KEY : v", "a-bin:AQID==", "a-bin:-_", ":", "", "trunkline-a:b", "é:é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		field, err := parseHeader(text)
		if err != nil {
			return
		}
		require.NoError(t, rpc.Metadata{field}.Validate())
		shown := formatHeader(field)
		require.Equal(t, plain(shown), shown)
		if strings.HasSuffix(field.Key, binarySuffix) || plain(field.Value) == field.Value {
			again, err := parseHeader(shown)
			require.NoError(t, err)
			require.Equal(t, field, again)
		}
	})
}
