package certs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrLocked is what a [LockedError] is.
var ErrLocked = errors.New("home is locked")

var errLockHeld = errors.New("lock is held")

const (
	// updateTimeout bounds the wait for another process that changes the home,
	// which takes it milliseconds.
	updateTimeout = 10 * time.Second
	updatePoll    = 5 * time.Millisecond
)

// LockedError says that another process has the lock. errors.Is finds
// [ErrLocked] in it.
type LockedError struct {
	Path string // of the lock
	PID  int    // of the holder, 0 if not known
}

// Error names the lock, and the holder if known.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

// Lock is the exclusive right to serve from a home.
type Lock struct{ f *os.File }

// Lock takes the home for one server, and makes the folder if need be. It does
// not wait: if another process or another Home has it, the error is a
// [*LockedError]. It keeps nobody from using the identities in the home. The
// operating system frees it when the process ends, however it ends.
func (h *Home) Lock() (*Lock, error) {
	if err := h.makeDir(); err != nil {
		return nil, err
	}
	path := h.path("serve.lock")
	f, err := tryLock(path)
	if errors.Is(err, errLockHeld) {
		return nil, &LockedError{Path: path, PID: readPID(path)}
	}
	if err != nil {
		return nil, err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Lock{f: f}, nil
}

// Unlock frees the home. A second call is an error and does nothing.
func (l *Lock) Unlock() error {
	// The file stays: to remove it would race with the next one who opens it.
	return errors.Join(l.f.Truncate(0), l.f.Close())
}

func readPID(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // read only
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// update calls fn while no other process and no other goroutine changes files in
// the home.
func (h *Home) update(fn func() error) error {
	if err := h.makeDir(); err != nil {
		return err
	}
	path := h.path("update.lock")
	deadline := time.Now().Add(updateTimeout)
	for {
		f, err := tryLock(path)
		if err == nil {
			return errors.Join(fn(), f.Close())
		}
		if !errors.Is(err, errLockHeld) {
			return err
		}
		if time.Now().After(deadline) {
			return &LockedError{Path: path}
		}
		time.Sleep(updatePoll)
	}
}

func (h *Home) makeDir() error {
	if err := os.MkdirAll(h.dir, dirMode); err != nil {
		return err
	}
	// Best effort: the folder above may be one that we cannot open.
	_ = syncDir(filepath.Dir(h.dir))
	return nil
}
