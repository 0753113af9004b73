// Package query is the language in which texts of a room are searched for.
//
//	query  = item *( space item )
//	item   = [ "-" ] text / filter
//	text   = word [ "*" ] / DQUOTE words DQUOTE
//	filter = "from:" NAME / "before:" DATE / "after:" DATE
//
// A text is found that has all the words and phrases, and none of those behind a minus, whatever its case, and whatever accents
// its Latin letters have. A word is letters and digits; what else stands in it parts it, and then its parts must stand together, as the
// words of a phrase must: e-mail is "e mail". A word that ends with * stands for all that begin so. There must be one that is not
// behind a minus. Characters of scripts without spaces between words, such as Chinese, are a word each.
//
// NAME is who has published the text, as records are from: a user's name, or a SPIFFE ID. DATE is 2006-01-02, which begins at
// midnight UTC, or a time of RFC 3339; before is before that, and after then or later. Each filter stands once at most.
// Words that look otherwise like a filter, as http://… does, are words.
package query

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits on a query.
const (
	MaxBytes = 1024
	MaxTexts = 32 // words and phrases
)

// A Query is what texts are asked for.
type Query struct {
	All    []Text    // of which they must have each; there is one
	None   []Text    // of which they must have none
	From   string    // who has published them; "": anybody
	After  time.Time // when they were published: then or later; zero: any time
	Before time.Time // before then; zero: any time
}

// A Text is a word, or several that stand together.
type Text struct {
	Words  string // with a letter or a digit, and anything between
	Prefix bool   // the last word may go on
}

// An Error says what is wrong with a query.
type Error struct {
	At     int // character, from 1
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("at character %d: %s", e.At, e.Reason) }

// Parse parses a query. The error is an [*Error].
func Parse(s string) (*Query, error) {
	switch {
	case len(s) > MaxBytes:
		return nil, &Error{utf8.RuneCountInString(s[:MaxBytes]), fmt.Sprintf("the query is longer than %d bytes", MaxBytes)}
	case !utf8.ValidString(s):
		return nil, &Error{utf8.RuneCountInString(s[:validPrefix(s)]) + 1, "it is not UTF-8"}
	}
	p := &parser{all: s, rest: s, filters: make(map[string]bool)}
	for {
		p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace)
		if p.rest == "" {
			break
		}
		if err := p.item(); err != nil {
			return nil, err
		}
	}
	if len(p.q.All) == 0 {
		return nil, p.fault("there is no word to search for")
	}
	return &p.q, nil
}

func validPrefix(s string) int {
	n := 0
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

type parser struct {
	all, rest string
	q         Query
	filters   map[string]bool // that have stood
}

// fault is an error about what begins the rest.
func (p *parser) fault(format string, args ...any) error {
	return &Error{utf8.RuneCountInString(p.all[:len(p.all)-len(p.rest)]) + 1, fmt.Sprintf(format, args...)}
}

// item parses the item at the beginning of the rest.
func (p *parser) item() error {
	not := strings.HasPrefix(p.rest, "-")
	if not {
		p.rest = p.rest[1:]
	}
	if strings.HasPrefix(p.rest, `"`) {
		return p.phrase(not)
	}
	word := p.rest
	if end := strings.IndexFunc(word, unicode.IsSpace); end >= 0 {
		word = word[:end]
	}
	if key, value, ok := strings.Cut(word, ":"); ok && (key == "from" || key == "before" || key == "after") {
		if not {
			return p.fault("%s: can't stand behind a minus", key)
		}
		return p.filter(word, key, value)
	}
	if at := strings.IndexByte(word, '"'); at >= 0 {
		p.rest = p.rest[at:]
		return p.fault("a quote begins a phrase, and a space stands before it")
	}
	t := Text{Words: strings.TrimSuffix(word, "*")}
	t.Prefix = t.Words != word
	if at := strings.IndexByte(t.Words, '*'); at >= 0 {
		p.rest = p.rest[at:]
		return p.fault("* stands at the end of a word")
	}
	return p.add(t, not, len(word))
}

// phrase parses a phrase in quotes.
func (p *parser) phrase(not bool) error {
	words, after, closed := strings.Cut(p.rest[1:], `"`)
	if !closed {
		return p.fault("this quote is not closed")
	}
	if after != "" && !unicode.IsSpace(first(after)) {
		p.rest = after
		return p.fault("a space stands behind a phrase")
	}
	return p.add(Text{Words: words}, not, len(words)+2)
}

func first(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// add takes t, which is the next n bytes, into the query.
func (p *parser) add(t Text, not bool, n int) error {
	switch {
	case strings.IndexFunc(t.Words, IsWord) < 0:
		return p.fault("there is no letter and no digit in it")
	case t.Prefix && !endsInWord(t.Words):
		return p.fault("* stands behind a letter or a digit")
	case len(p.q.All)+len(p.q.None) == MaxTexts:
		return p.fault("there are more than %d words", MaxTexts)
	}
	if at := strings.IndexFunc(t.Words, unicode.IsControl); at >= 0 {
		p.rest = p.rest[strings.IndexFunc(p.rest, unicode.IsControl):]
		return p.fault("there is a control character in it")
	}
	p.rest = p.rest[n:]
	if not {
		p.q.None = append(p.q.None, t)
	} else {
		p.q.All = append(p.q.All, t)
	}
	return nil
}

func endsInWord(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(s, unicode.IsMark)) // an accent of its own
	return IsWord(r)
}

// filter parses word, which is key:value.
func (p *parser) filter(word, key, value string) error {
	if p.filters[key] {
		return p.fault("%s: stands twice", key)
	}
	p.filters[key] = true
	var err error
	switch key {
	case "from":
		if p.q.From = value; value == "" {
			err = p.fault("from: wants a name")
		}
	case "before":
		p.q.Before, err = p.date(key, value)
	case "after":
		p.q.After, err = p.date(key, value)
	}
	p.rest = p.rest[len(word):]
	return err
}

// date parses the value of a filter.
func (p *parser) date(key, value string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, value)
	if err != nil {
		t, err = time.Parse(time.RFC3339, value)
	}
	// What nanoseconds since 1970 can't say is no date of a text.
	if err != nil || t.Year() < 1970 || t.Year() > 2200 {
		return t, p.fault("%s: wants a date such as 2006-01-02, or 2006-01-02T15:04:05Z", key)
	}
	return t.UTC(), nil
}
