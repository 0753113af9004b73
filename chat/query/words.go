package query

import (
	"strings"
	"unicode"
)

// IsWord says whether r is part of a word: a letter or a number.
func IsWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

// alone says whether r is a word by itself, because its script has no spaces between words. The blocks stand here as numbers, since an index
// on a disk is made of what they say: tables that grow with the versions of Unicode would make it another one.
func alone(r rune) bool {
	switch {
	case r < 0xe00:
		return false
	case r <= 0xeff, // Thai, Lao
		r >= 0x1000 && r <= 0x109f,   // Myanmar
		r >= 0x1780 && r <= 0x17ff,   // Khmer
		r >= 0x3040 && r <= 0x30ff,   // Hiragana, Katakana
		r >= 0x3400 && r <= 0x4dbf,   // Han, extension A
		r >= 0x4e00 && r <= 0x9fff,   // Han
		r >= 0xf900 && r <= 0xfaff,   // Han, compatibility
		r >= 0x20000 && r <= 0x3ffff: // Han, further extensions
		return true
	}
	return false
}

// Spaced returns s with a space on either side of what is a word by itself, for an index that tells words by what stands between them.
// Of texts and of queries it must be the same, for as long as there is the index.
func Spaced(s string) string {
	if strings.IndexFunc(s, alone) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(2 * len(s))
	for _, r := range s {
		if alone(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
