package certs

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	tokenPrefix = "trunkline1_"
	tokenSum    = 3 // bytes of checksum
	tokenLength = sha256.Size + secretSize + tokenSum
	secretSize  = 16
)

// A Token lets one key be certified, once: whoever has it becomes the user who was invited. It says which
// authority the server must have, so that the secret is shown to nobody else.
type Token struct {
	Authority Fingerprint
	Secret    [secretSize]byte
}

// ParseToken reads what [Token.Text] writes, and nothing else. The error does not repeat the text, which may be a
// secret that lacks a character.
func ParseToken(text string) (Token, error) {
	body, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("not a join token: it does not begin with %s", tokenPrefix)
	}
	if want := base64.RawURLEncoding.EncodedLen(tokenLength); len(body) != want {
		return Token{}, fmt.Errorf("the join token is not whole: it has %d characters behind %s instead of %d", len(body), tokenPrefix, want)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	// The decoder skips line breaks, and then what it decodes is too short.
	if err != nil || len(b) != tokenLength || string(checksum(b[:tokenLength-tokenSum])) != string(b[tokenLength-tokenSum:]) {
		return Token{}, errors.New("the join token is damaged: a character of it is wrong")
	}
	var t Token
	copy(t.Authority[:], b)
	copy(t.Secret[:], b[sha256.Size:])
	return t, nil
}

// Text returns the token for pasting, in 79 characters: "trunkline1_", and in base64url the authority's key
// hash (32 bytes), the secret (16 bytes), and the first 3 bytes of the SHA-256 of both.
func (t Token) Text() string {
	b := make([]byte, 0, tokenLength)
	b = append(b, t.Authority[:]...)
	b = append(b, t.Secret[:]...)
	b = append(b, checksum(b)...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// String is for logs: it leaves the secret out.
func (t Token) String() string { return "join token of " + t.Authority.String() }

func checksum(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:tokenSum]
}

// ErrToken is what a [TokenError] is.
var ErrToken = errors.New("the join token is not good")

// TokenReason says why a token got nobody in. The numbers are on the wire; the zero value is none.
type TokenReason uint8

const (
	// TokenWrong: nobody was invited with it here, or too long ago.
	TokenWrong TokenReason = 1
	// TokenUsed: another key was certified with it.
	TokenUsed TokenReason = 2
	// TokenExpired: its time is over.
	TokenExpired TokenReason = 3
	// TokenTaken: the name has been given away since, and the invitation was not to add a device.
	TokenTaken TokenReason = 4
	// TokenRevoked: the name, or the key, has been revoked.
	TokenRevoked TokenReason = 5
)

// String returns the reason in words that fit behind "the join token".
func (r TokenReason) String() string {
	switch r {
	case TokenWrong:
		return "is not known to the server"
	case TokenUsed:
		return "has been used"
	case TokenExpired:
		return "has expired"
	case TokenTaken:
		return "is for a name that somebody has by now"
	case TokenRevoked:
		return "is for a name, or was shown with a key, that is revoked"
	default:
		return fmt.Sprintf("is refused for reason %d", uint8(r))
	}
}

// TokenError says that a token got nobody in. errors.Is finds [ErrToken] in it, and in one for
// TokenRevoked [ErrRevoked].
type TokenError struct{ Reason TokenReason }

// Error says why.
func (e *TokenError) Error() string { return "the join token " + e.Reason.String() }

// Is reports whether target is ErrToken, or ErrRevoked where it is that.
func (e *TokenError) Is(target error) bool {
	return target == ErrToken || target == ErrRevoked && e.Reason == TokenRevoked
}
