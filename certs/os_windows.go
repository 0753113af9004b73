//go:build windows

package certs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// errorSharingViolation is ERROR_SHARING_VIOLATION: somebody has the file open in
// a way that excludes ours.
const errorSharingViolation syscall.Errno = 32

// tryLock opens the file, makes it if need be, for this handle alone to write, or
// returns errLockHeld. Others may read who holds it. The system closes the handle
// with the process.
func tryLock(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE,
		syscall.FILE_SHARE_READ, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errorSharingViolation) {
		return nil, errLockHeld
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// checkPrivate accepts every file: access lists are inherited from the profile
// of the user, and the mode says nothing about them.
func checkPrivate(string, fs.FileInfo) error { return nil }

// rename tries again for a second, because a file that somebody is reading cannot
// be replaced.
func rename(from, to string) error {
	deadline := time.Now().Add(time.Second)
	for {
		err := os.Rename(from, to)
		busy := errors.Is(err, errorSharingViolation) || errors.Is(err, syscall.ERROR_ACCESS_DENIED)
		if !busy || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// syncDir has nothing to do: NTFS keeps a journal of names.
func syncDir(string) error { return nil }
