//go:build unix

package certs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// tryLock opens the file, makes it if need be, and locks it, or returns
// errLockHeld. The lock belongs to the open file: it also keeps others in this
// process out, is not inherited by programs started from here, and goes with the
// process.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, keyMode)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errLockHeld
	}
	return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
}

// checkPrivate refuses a key file that group or others may do anything with.
func checkPrivate(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 != 0 {
		return newKeyPermissionError(path, info.Mode())
	}
	return nil
}

func rename(from, to string) error { return os.Rename(from, to) }

// syncDir makes the names in a folder last through a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
