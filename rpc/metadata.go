package rpc

import (
	"fmt"
	"iter"
	"strings"
)

// Metadata is what travels beside the messages of a call: with the request, as the header
// of the response, and as its trailer. It keeps the order, and a key may come again.
type Metadata []Field

// A Field is one entry of [Metadata].
type Field struct {
	Key   string // 1 to 255 bytes of a-z, 0-9, '-', '_' and '.'; keys that begin with "trunkline-" are reserved
	Value string // any bytes
}

// maxName is the longest method name and the longest metadata key, in bytes.
const maxName = 255

// reservedPrefix begins the keys that are Trunkline's own.
const reservedPrefix = "trunkline-"

// Get returns the first value of key, and whether there is one.
func (m Metadata) Get(key string) (string, bool) {
	for _, f := range m {
		if f.Key == key {
			return f.Value, true
		}
	}
	return "", false
}

// Values returns every value of key, in order.
func (m Metadata) Values(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, f := range m {
			if f.Key == key && !yield(f.Value) {
				return
			}
		}
	}
}

// memory returns about how many bytes the metadata takes.
func (m Metadata) memory() int {
	n := 0
	for _, f := range m {
		n += 32 + len(f.Key) + len(f.Value)
	}
	return n
}

// Validate returns nil if callers and handlers may send the metadata, as far as its keys go.
func (m Metadata) Validate() error { return m.checkOwn() }

// checkOwn says whether users of this side may send the metadata.
func (m Metadata) checkOwn() error {
	for _, f := range m {
		if !validKey(f.Key) {
			return fmt.Errorf("metadata key %q: need 1 to %d bytes of a-z, 0-9, '-', '_', '.'", clip(f.Key), maxName)
		}
		if strings.HasPrefix(f.Key, reservedPrefix) {
			return fmt.Errorf("metadata key %q: the prefix %q is reserved", f.Key, reservedPrefix)
		}
	}
	return nil
}

// clip keeps error texts short.
func clip(s string) string { return s[:min(len(s), maxName)] }

func validKey(key string) bool {
	if key == "" || len(key) > maxName {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
