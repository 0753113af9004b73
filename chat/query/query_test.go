package query_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat/query"
)

func text(words string) query.Text   { return query.Text{Words: words} }
func prefix(words string) query.Text { return query.Text{Words: words, Prefix: true} }

func TestParse(t *testing.T) {
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]query.Query{
		"one":                        {All: []query.Text{text("one")}},
		"  one\ttwo\u00a0three ":     {All: []query.Text{text("one"), text("two"), text("three")}},
		`one "two three" "-four"`:    {All: []query.Text{text("one"), text("two three"), text("-four")}},
		`one -two -"three four"`:     {All: []query.Text{text("one")}, None: []query.Text{text("two"), text("three four")}},
		"pre* one -not*":             {All: []query.Text{prefix("pre"), text("one")}, None: []query.Text{prefix("not")}},
		"one from:bob":               {All: []query.Text{text("one")}, From: "bob"},
		"one from:spiffe://d/user/x": {All: []query.Text{text("one")}, From: "spiffe://d/user/x"},
		"from:bob one after:2026-01-02 before:2026-01-02T03:04:05+01:00": {All: []query.Text{text("one")}, From: "bob", After: day, Before: day.Add(2*time.Hour + 4*time.Minute + 5*time.Second)},
		"http://x.example/a-b?c=d foo:bar":                               {All: []query.Text{text("http://x.example/a-b?c=d"), text("foo:bar")}},
		"AND OR NOT NEAR ( ) ^x":                                         {},
		`AND OR NOT NEAR(a ^x {b}:c`:                                     {All: []query.Text{text("AND"), text("OR"), text("NOT"), text("NEAR(a"), text("^x"), text("{b}:c")}},
		"cafe\u0301*":                                                    {All: []query.Text{prefix("cafe\u0301")}},
		"東京":                                                             {All: []query.Text{text("東京")}},
		`"2*3" --x`:                                                      {All: []query.Text{text("2*3")}, None: []query.Text{text("-x")}},
	} {
		q, err := query.Parse(s)
		if len(want.All) == 0 {
			assert.Error(t, err, s)
			continue
		}
		if assert.NoError(t, err, s) {
			assert.Equal(t, want, *q, s)
		}
	}
}

func TestParseSaysWhatIsWrongAndWhere(t *testing.T) {
	for s, want := range map[string]string{
		"":                               "at character 1: there is no word to search for",
		"  ":                             "at character 3: there is no word to search for",
		"-one":                           "at character 5: there is no word to search for",
		"from:bob":                       "at character 9: there is no word to search for",
		"é ---":                          "at character 4: there is no letter and no digit in it",
		"🙂":                              "at character 1: there is no letter and no digit in it",
		`one ""`:                         "at character 5: there is no letter and no digit in it",
		`ü "one`:                         "at character 3: this quote is not closed",
		`"one"two`:                       "at character 6: a space stands behind a phrase",
		`"one"*`:                         "at character 6: a space stands behind a phrase",
		`on"e`:                           "at character 3: a quote begins a phrase, and a space stands before it",
		"o*e":                            "at character 2: * stands at the end of a word",
		"one**":                          "at character 4: * stands at the end of a word",
		"*":                              "at character 1: there is no letter and no digit in it",
		"one-*":                          "at character 1: * stands behind a letter or a digit",
		"one from:":                      "at character 5: from: wants a name",
		"one from:a from:b":              "at character 12: from: stands twice",
		"one -from:a":                    "at character 6: from: can't stand behind a minus",
		"one after:yesterday":            "at character 5: after: wants a date such as 2006-01-02, or 2006-01-02T15:04:05Z",
		"one before:2026-02-30":          "at character 5: before: wants a date such as 2006-01-02, or 2006-01-02T15:04:05Z",
		"one after:9999-01-01":           "at character 5: after: wants a date such as 2006-01-02, or 2006-01-02T15:04:05Z",
		"one t\x00wo":                    "at character 6: there is a control character in it",
		"ab\xff":                         "at character 3: it is not UTF-8",
		strings.Repeat("a", 1025):        "at character 1024: the query is longer than 1024 bytes",
		strings.Repeat("a ", 33):         "at character 65: there are more than 32 words",
		strings.Repeat("a -b ", 16) + "": "",
	} {
		_, err := query.Parse(s)
		if want == "" {
			assert.NoError(t, err, "%q", s)
			continue
		}
		_, ok := errors.AsType[*query.Error](err)
		assert.True(t, ok, "%q", s)
		assert.EqualError(t, err, want, "%q", s)
	}
}

func TestSpacedPartsWhatHasNoSpaces(t *testing.T) {
	for s, want := range map[string]string{
		"one two":  "one two",
		"東京に":      " 東  京  に ",
		"a東b":      "a 東 b",
		"하나 둘":     "하나 둘",
		"a\xff東":   "a\ufffd 東 ",
		"naïve Ωώ": "naïve Ωώ",
	} {
		assert.Equal(t, want, query.Spaced(s))
	}
}

// Every input is a query or a clear error, and what a query says can be said again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"one", `a "b c" -d e* from:x before:2026-01-02 after:2026-01-02T03:04:05Z`, `"`, "-", "*", "from:", "\x00", "\xff", "東京*", `a "b"`, "a:b", "e\u0301*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := query.Parse(s)
		if err != nil {
			e, ok := errors.AsType[*query.Error](err)
			require.True(t, ok)
			require.NotEmpty(t, e.Reason)
			require.True(t, e.At >= 1 && e.At <= utf8.RuneCountInString(s)+1, "%d of %q", e.At, s)
			return
		}
		require.NotEmpty(t, q.All)
		again, err := query.Parse(say(q))
		require.NoError(t, err, "%q", say(q))
		require.Equal(t, q, again)
	})
}

// say returns a query that asks for q.
func say(q *query.Query) string {
	var items []string
	texts := func(minus string, texts []query.Text) {
		for _, t := range texts {
			if t.Prefix {
				items = append(items, minus+t.Words+"*")
			} else {
				items = append(items, minus+`"`+t.Words+`"`)
			}
		}
	}
	texts("", q.All)
	texts("-", q.None)
	if q.From != "" {
		items = append(items, "from:"+q.From)
	}
	if !q.Before.IsZero() {
		items = append(items, "before:"+q.Before.Format(time.RFC3339Nano))
	}
	if !q.After.IsZero() {
		items = append(items, "after:"+q.After.Format(time.RFC3339Nano))
	}
	return strings.Join(items, " ")
}
