package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	maxFile = 1 << 20

	dirMode  fs.FileMode = 0o700
	keyMode  fs.FileMode = 0o600
	openMode fs.FileMode = 0o644
)

// KeyPermissionError says that others than the owner may read or write a file
// that holds a key, which is then not used. It does not occur on Windows.
type KeyPermissionError struct {
	Path string
	Mode fs.FileMode
	Fix  string // the command that puts it right, quoted for a shell: chmod 600 PATH
}

// Error names the file, and the command to run.
func (e *KeyPermissionError) Error() string {
	return fmt.Sprintf("key file %s is open to others (mode %04o): run %s", e.Path, e.Mode, e.Fix)
}

func newKeyPermissionError(path string, mode fs.FileMode) *KeyPermissionError {
	return &KeyPermissionError{Path: path, Mode: mode.Perm(), Fix: "chmod 600 " + shellQuote(path)}
}

// shellQuote matters: the usual home on macOS is in "Application Support".
func shellQuote(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+,:@%", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// readFile reads a regular file of at most maxFile bytes. One with a key must be
// its owner's alone.
func readFile(path string, isKey bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if isKey {
		if err := checkPrivate(path, info); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, nil
}

// readLines calls parse for every line of a file that has any. A file that is
// missing has none.
func readLines(path string, parse func(line string) error) error {
	data, err := readFile(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if err := parse(strings.TrimRight(line, "\r\n")); err != nil {
			return fmt.Errorf("%s, line %d: %w", path, number, err)
		}
	}
	return nil
}

// writeNew makes a file, whole or not at all. If there is one already it stays,
// and the error is fs.ErrExist. The update lock must be held.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	tmp, err := writeTemp(path, data, mode)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }() // the next write clears what stays
	err = os.Link(tmp, path)
	if err == nil {
		return syncDir(filepath.Dir(path))
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// This file system has no hard links. The update lock keeps other writers
	// out between the two steps.
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if err := rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replace makes a file that anyone may read, or exchanges its whole content at once. The update lock
// must be held.
func replace(path string, data []byte) error { return replaceMode(path, data, openMode) }

// replaceMode is replace for a file of that mode.
func replaceMode(path string, data []byte, mode fs.FileMode) error {
	if len(data) > maxFile {
		return fmt.Errorf("%s would have more than %d bytes", path, maxFile)
	}
	tmp, err := writeTemp(path, data, mode)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }() // the next write clears what stays
	if err := rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes a file beside path, on the same file system. Its name is
// always the same, so that what a crash leaves behind is cleared here.
func writeTemp(path string, data []byte, mode fs.FileMode) (tmp string, err error) {
	tmp = path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(tmp) // the next write clears what stays
		return "", err
	}
	return tmp, nil
}
