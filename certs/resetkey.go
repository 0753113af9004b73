package certs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// resetKeyFile has the key in hex, for the bytes mean nothing to any other program.
const resetKeyFile = "reset.key"

// ResetKey returns the 32 secret bytes with which a server that has restarted proves to its clients that it
// has: QUIC's stateless reset key (RFC 9000, section 10.3.2). They are made at the first call, and
// kept, because only the key from before the restart proves it.
func (h *Home) ResetKey() (key [32]byte, err error) {
	path := h.path(resetKeyFile)
	err = h.update(func() error {
		data, err := readFile(path, true)
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := io.ReadFull(h.env.rand(), key[:]); err != nil {
				return err
			}
			return writeNew(path, []byte(hex.EncodeToString(key[:])+"\n"), keyMode)
		}
		if err != nil {
			return err
		}
		b, err := hex.DecodeString(strings.TrimSpace(string(data)))
		if err != nil || len(b) != len(key) {
			return fmt.Errorf("%s is not a key of %d bytes in hex: remove it, and another is made", path, len(key))
		}
		key = [32]byte(b)
		return nil
	})
	if err != nil {
		return [32]byte{}, err
	}
	return key, nil
}
