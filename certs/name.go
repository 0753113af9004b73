package certs

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxName      = 64
	fallbackName = "user"
)

// ValidName returns nil if name can be that of a user: 1 to 64 characters of
// a-z 0-9 . _ -, of which the first is a letter or a digit and the last is not a
// dot. Names are file names as well, so those that Windows keeps for devices (con,
// aux, lpt1, also with an extension) are refused on every system.
func ValidName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("name %s has more than %d characters", quote(name), maxName)
	}
	for _, c := range []byte(name) {
		if !isNameByte(c) {
			return fmt.Errorf("name %s has characters other than a-z 0-9 . _ -", quote(name))
		}
	}
	if !isAlnum(name[0]) {
		return fmt.Errorf("name %s does not start with a letter or digit", quote(name))
	}
	if strings.HasSuffix(name, ".") {
		return fmt.Errorf("name %s ends in a dot", quote(name))
	}
	if isDevice(name) {
		return fmt.Errorf("name %s is a device on windows", quote(name))
	}
	return nil
}

// NameFrom turns the name that an operating system gives a person into a valid
// one: the user part of DOMAIN\user or user@domain, lower-case, umlauts and
// accents spelled in ASCII, spaces as '-', the rest left out. What cannot be
// turned is "user". Different people may come out the same.
func NameFrom(s string) string {
	s = s[strings.LastIndexByte(s, '\\')+1:]
	if user, _, found := strings.Cut(s, "@"); found && user != "" {
		s = user
	}
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		b.WriteString(spellASCII(r))
	}
	name := strings.TrimLeft(b.String(), "._-")
	if len(name) > maxName {
		name = name[:maxName]
	}
	name = strings.TrimRight(name, "._-")
	if ValidName(name) != nil {
		return fallbackName
	}
	return name
}

// spellASCII covers the letters of Latin-1 by hand; full Unicode folding is not
// in the standard library.
func spellASCII(r rune) string {
	switch r {
	case ' ':
		return "-"
	case 'ä', 'æ':
		return "ae"
	case 'ö', 'ø':
		return "oe"
	case 'ü':
		return "ue"
	case 'ß':
		return "ss"
	case 'å':
		return "aa"
	case 'þ':
		return "th"
	case 'à', 'á', 'â', 'ã':
		return "a"
	case 'ç':
		return "c"
	case 'ð':
		return "d"
	case 'è', 'é', 'ê', 'ë':
		return "e"
	case 'ì', 'í', 'î', 'ï':
		return "i"
	case 'ñ':
		return "n"
	case 'ò', 'ó', 'ô', 'õ':
		return "o"
	case 'ù', 'ú', 'û':
		return "u"
	case 'ý', 'ÿ':
		return "y"
	}
	if r < 0x80 && isNameByte(byte(r)) {
		return string(r)
	}
	return ""
}

func isNameByte(c byte) bool { return isAlnum(c) || c == '.' || c == '_' || c == '-' }

func isAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isDevice(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(stem) == 4 && (stem[:3] == "com" || stem[:3] == "lpt") && '0' <= stem[3] && stem[3] <= '9'
}
