//go:build unix

package main

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time of this process, user and system.
func processCPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
