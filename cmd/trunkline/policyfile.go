package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxPolicyFile bounds a policy file, in bytes. What TOML takes for the keys of one table grows with their square:
// here it is below a second.
const maxPolicyFile = 256 << 10

// maxSubjects bounds what the rules of a policy name, the members of a group counted with each rule that has it:
// all of it is looked through for each session.
const maxSubjects = 100_000

// policyFile is what a policy file looks like.
type policyFile struct {
	Groups map[string][]subject `toml:"groups"`
	Allow  []struct {
		Who           []subject       `toml:"who"`
		Administrator bool            `toml:"administrator"`
		Methods       []methodPattern `toml:"methods"`
		Rooms         []roomPattern   `toml:"rooms"`
		Verbs         []verb          `toml:"verbs"`
	} `toml:"allow"`
	Limit []struct {
		Who            []subject `toml:"who"`
		Sessions       *int      `toml:"sessions"`
		CallsPerSecond *float64  `toml:"calls_per_second"`
		LinesPerSecond *float64  `toml:"lines_per_second"`
	} `toml:"limit"`
}

// A policyError is what is wrong with a policy file, and where.
type policyError struct {
	file string
	line int // from 1; 0: not known
	text string
}

func (e *policyError) Error() string {
	if e.line == 0 {
		return fmt.Sprintf("%s: %s", e.file, e.text)
	}
	return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.text)
}

// readPolicy reads a policy file. What is wrong in it is a *policyError.
func readPolicy(file string) (*policy, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxPolicyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPolicyFile {
		return nil, &policyError{file: file, text: fmt.Sprintf("more than %d bytes", maxPolicyFile)}
	}
	return parsePolicy(file, text)
}

// parsePolicy reads the text of a policy file. It takes all of it, or none: the first fault is a
// *policyError with the name of the file.
func parsePolicy(file string, text []byte) (*policy, error) {
	var f policyFile
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f); err != nil {
		return nil, tomlError(file, err)
	}
	b := &policyBuilder{file: file, lines: make(map[place]int), groups: f.Groups}
	if err := b.index(text); err != nil {
		return nil, err
	}
	for name, members := range f.Groups {
		at := place{table: "groups", key: name}
		if err := checkGroup(name); err != nil {
			return nil, b.fault(at, "%s", err)
		}
		if err := check(b, at, members); err != nil {
			return nil, err
		}
		for _, u := range members {
			if u.group() != "" {
				return nil, b.fault(at.of(string(u)), "a group has no groups, but %s has %s", name, u)
			}
		}
	}
	p := &policy{}
	for i, a := range f.Allow {
		at := place{table: "allow", n: i}
		who, err := b.who(at, a.Who)
		if err == nil {
			err = check(b, at.in("methods"), a.Methods)
		}
		if err == nil {
			err = check(b, at.in("rooms"), a.Rooms)
		}
		if err == nil {
			err = check(b, at.in("verbs"), a.Verbs)
		}
		if err == nil && (len(a.Rooms) > 0) != (len(a.Verbs) > 0) {
			err = b.fault(at, "rooms and verbs need each other")
		}
		if err != nil {
			return nil, err
		}
		p.allow = append(p.allow, allowRule{who: who, administrator: a.Administrator, methods: a.Methods, rooms: a.Rooms, verbs: a.Verbs})
	}
	for i, l := range f.Limit {
		at := place{table: "limit", n: i}
		rule := limitRule{}
		var err error
		if rule.who, err = b.who(at, l.Who); err != nil {
			return nil, err
		}
		if l.Sessions != nil {
			if rule.sessions = *l.Sessions; rule.sessions < 1 {
				return nil, b.fault(at.in("sessions"), "sessions is %d, not above 0; whom no [[allow]] names has none", rule.sessions)
			}
		}
		if rule.calls, err = b.rate(at.in("calls_per_second"), l.CallsPerSecond); err != nil {
			return nil, err
		}
		if rule.lines, err = b.rate(at.in("lines_per_second"), l.LinesPerSecond); err != nil {
			return nil, err
		}
		if l.Sessions == nil && l.CallsPerSecond == nil && l.LinesPerSecond == nil {
			return nil, b.fault(at, "it sets no limit: sessions, calls_per_second or lines_per_second")
		}
		p.limit = append(p.limit, rule)
	}
	return p, nil
}

// tomlError says where a file is no policy.
func tomlError(file string, err error) error {
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(unknown.Errors) > 0 {
		e := &unknown.Errors[0]
		line, _ := e.Position()
		return &policyError{file: file, line: line, text: fmt.Sprintf("unknown key %q", strings.Join(e.Key(), "."))}
	}
	e := &policyError{file: file, text: strings.TrimPrefix(err.Error(), "toml: ")}
	if at, ok := errors.AsType[*toml.DecodeError](err); ok {
		e.line, _ = at.Position()
	}
	return e
}

// A policyBuilder checks what TOML can't.
type policyBuilder struct {
	file     string
	lines    map[place]int
	groups   map[string][]subject
	subjects int // that the rules have named so far
}

// A place is where something stands in a file: the n-th table of a name, a key in it, a string in that key's
// array. What is further in than wanted is "".
type place struct {
	table      string
	n          int
	key, value string
}

func (p place) in(key string) place {
	p.key = key
	return p
}

func (p place) of(value string) place {
	p.value = value
	return p
}

// index finds the lines of everything that is not written inline, in TOML that is well-formed, and refuses keys
// that are not in lower case: TOML tells them apart, and the decoder does not.
func (b *policyBuilder) index(text []byte) error {
	var p unstable.Parser
	p.Reset(text)
	var newlines []uint32 // where they are; the parser's own Shape counts from the beginning each time
	for i, c := range text {
		if c == '\n' {
			newlines = append(newlines, uint32(i)) // #nosec G115 -- at most maxPolicyFile
		}
	}
	line := func(n *unstable.Node) int {
		before, _ := slices.BinarySearch(newlines, n.Raw.Offset)
		return before + 1
	}
	seen := make(map[string]int)
	var at place
	note := func(at place, n *unstable.Node) {
		if _, ok := b.lines[at]; !ok {
			b.lines[at] = line(n)
		}
	}
	for p.NextExpression() {
		e := p.Expression()
		if key := upperKey(e); key != nil {
			return &policyError{file: b.file, line: line(key), text: fmt.Sprintf("unknown key %q", key.Data)}
		}
		key := e.Key()
		if !key.Next() {
			continue
		}
		name := string(key.Node().Data)
		if e.Kind != unstable.KeyValue {
			at = place{table: name, n: seen[name]}
			seen[name]++
			note(at, key.Node())
			continue
		}
		note(at.in(name), key.Node())
		for values := e.Value().Children(); values.Next(); {
			if v := values.Node(); v.Kind == unstable.String {
				note(at.in(name).of(string(v.Data)), v)
			}
		}
	}
	return nil
}

// upperKey returns a key at or under n that is not in lower case, or nil.
func upperKey(n *unstable.Node) *unstable.Node {
	if n.Kind == unstable.Key && strings.ToLower(string(n.Data)) != string(n.Data) {
		return n
	}
	for children := n.Children(); children.Next(); {
		if key := upperKey(children.Node()); key != nil {
			return key
		}
	}
	return nil
}

// fault says what is wrong at a place.
func (b *policyBuilder) fault(at place, format string, args ...any) error {
	line := b.lines[at]
	if line == 0 {
		line = b.lines[place{table: at.table, n: at.n}]
	}
	return &policyError{file: b.file, line: line, text: fmt.Sprintf(format, args...)}
}

// check checks all values of an array.
func check[T interface {
	~string
	check() error
}](b *policyBuilder, at place, values []T) error {
	for _, v := range values {
		if err := v.check(); err != nil {
			return b.fault(at.of(string(v)), "%s", err)
		}
	}
	return nil
}

// who returns the subjects of a rule, with those of its groups in their place.
func (b *policyBuilder) who(at place, who []subject) ([]subject, error) {
	at = at.in("who")
	if len(who) == 0 {
		return nil, b.fault(at, "it says not who: who = [\"NAME\", \"@GROUP\", …]")
	}
	if err := check(b, at, who); err != nil {
		return nil, err
	}
	var all []subject
	for _, u := range who {
		group := u.group()
		if group == "" {
			all = append(all, u)
		} else if members, ok := b.groups[group]; ok {
			all = append(all, members...)
		} else {
			return nil, b.fault(at.of(string(u)), "there is no group %s", u)
		}
		if b.subjects+len(all) > maxSubjects {
			return nil, b.fault(at.of(string(u)), "the rules up to here name more than %d identities, those of groups counted each time", maxSubjects)
		}
	}
	b.subjects += len(all)
	return all, nil
}

// rate checks a limit a second; nil is 0.
func (b *policyBuilder) rate(at place, v *float64) (float64, error) {
	switch {
	case v == nil:
		return 0, nil
	case *v > 0 && !math.IsInf(*v, 0):
		return *v, nil
	}
	return 0, b.fault(at, "%s is %v, not above 0", at.key, *v)
}
