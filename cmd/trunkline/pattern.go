package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

// What a policy file calls methods, rooms and identities by. All is compared byte for byte, and so case counts.
//
//	*    in the name of a method or a room: any number of bytes other than "/", also none
//	**   the same, and "/" too
//
// No other byte is special, and nothing escapes a star: a room whose name has one is matched by a star.

// matches says whether the whole of s is what the pattern says.
func matches(pattern, s string) bool {
	const none = -1
	p, i := 0, 0
	// Where to go on when what follows a star does not match: with one more byte for it. A "**" makes the "*"
	// before it free to stay as short as they are, for it takes all that a longer one would have.
	star, starEnd := none, 0
	deep, deepEnd := none, 0
	for i < len(s) {
		switch {
		case strings.HasPrefix(pattern[p:], "**"):
			p += 2
			star, deep, deepEnd = none, p, i
		case p < len(pattern) && pattern[p] == '*':
			p++
			star, starEnd = p, i
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star != none && s[starEnd] != '/':
			starEnd++
			p, i = star, starEnd
		case deep != none:
			deepEnd++
			p, i = deep, deepEnd
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// checkStars refuses what no rule gives a meaning.
func checkStars(pattern string) error {
	if strings.Contains(pattern, "***") {
		return fmt.Errorf("%q has more than two stars in a row", pattern)
	}
	return nil
}

// A methodPattern names methods.
type methodPattern string

// methodBytes are those of methods and of patterns.
const methodBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./*"

// check refuses what can be no method's.
func (p methodPattern) check() error {
	s := string(p)
	if !p.wild() {
		if err := rpc.ValidMethod(s); err != nil {
			return fmt.Errorf("%q is not a method: they look like package.Service/Method", s)
		}
		return nil
	}
	slashes := strings.Count(s, "/")
	if slashes > 1 || slashes == 0 && !strings.Contains(s, "**") || strings.Trim(s, methodBytes) != "" {
		return fmt.Errorf("%q matches no method: they look like package.Service/Method", s)
	}
	return checkStars(s)
}

// wild says whether the pattern has a star.
func (p methodPattern) wild() bool { return strings.Contains(string(p), "*") }

// A roomPattern names rooms.
type roomPattern string

// check refuses what can be no room's.
func (p roomPattern) check() error {
	name := string(p)
	if strings.Contains(name, "*") {
		name = strings.TrimPrefix(name, "@") // no name of two, but it may match some
	}
	if err := chat.ValidRoom(name); err != nil {
		if e, ok := errors.AsType[*chat.Error](err); ok {
			return fmt.Errorf("%q is not the name of a room: %s", p, e.Reason)
		}
		return err
	}
	return checkStars(string(p))
}

// A verb is what may be done in a room.
type verb string

// The verbs. Nothing in a room asks for verbChair and verbAdmin yet; whoever has administrator has all.
const (
	verbJoin  verb = "join"
	verbSpeak verb = "speak"
	verbChair verb = "chair"
	verbAdmin verb = "admin"
)

func (v verb) check() error {
	switch v {
	case verbJoin, verbSpeak, verbChair, verbAdmin:
		return nil
	}
	return fmt.Errorf("%q is no verb: they are join, speak, chair and admin", string(v))
}

// A subject is whom a rule is about, or a group's member:
//
//	alice                     a user of the server's own trust domain
//	*                         every user of it
//	spiffe://other/user/eve   one identity, of whatever domain
//	spiffe://other/**         every identity of a domain
//	@group                    the members of a group; a group has no groups
type subject string

func (u subject) check() error {
	s := string(u)
	if s == "*" {
		return nil
	}
	if group, ok := strings.CutPrefix(s, "@"); ok {
		return checkGroup(group)
	}
	if rest, ok := strings.CutPrefix(s, "spiffe://"); ok {
		if domain, ok := strings.CutSuffix(rest, "/**"); ok {
			_, err := certs.ServerID(domain)
			return err
		}
		_, err := certs.ParseID(s)
		return err
	}
	if err := certs.ValidName(s); err != nil {
		return fmt.Errorf("%q is neither a user's name, nor *, @GROUP, spiffe://DOMAIN/user/NAME or spiffe://DOMAIN/**", s)
	}
	return nil
}

// checkGroup checks a group's name, which is like a user's.
func checkGroup(name string) error {
	if certs.ValidName(name) != nil {
		return fmt.Errorf("%q is not the name of a group: a-z 0-9 . - _", name)
	}
	return nil
}

// group returns the name of the group that the subject is, or "".
func (u subject) group() string {
	group, _ := strings.CutPrefix(string(u), "@")
	if len(group) == len(u) {
		return ""
	}
	return group
}

// is says whether the subject, which is no group, is an identity, or one of those it stands for. domain is the server's own.
func (u subject) is(who certs.ID, domain string) bool {
	s := string(u)
	if s == "*" {
		return who.Domain == domain && !who.IsServer()
	}
	if rest, ok := strings.CutPrefix(s, "spiffe://"); ok {
		if of, ok := strings.CutSuffix(rest, "/**"); ok {
			return who.Domain == of
		}
		return who.String() == s
	}
	return who.Domain == domain && who.Name == s
}
