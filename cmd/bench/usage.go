package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// A usage is what a process has used so far, and holds now.
type usage struct {
	CPU        time.Duration // user and system
	Mallocs    uint64        // allocations so far
	Resident   uint64        // bytes; 0 where the system does not tell
	Heap       uint64        // bytes in use
	Stack      uint64        // bytes of goroutine stacks
	Goroutines int
}

// sample reads them. With settle it collects garbage first and gives what is free back to the
// system, so that what is resident is what is needed.
func sample(settle bool) *usage {
	if settle {
		runtime.GC()
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return &usage{
		CPU:        processCPU(),
		Mallocs:    m.Mallocs,
		Resident:   resident(),
		Heap:       m.HeapAlloc,
		Stack:      m.StackInuse,
		Goroutines: runtime.NumGoroutine(),
	}
}

// resident reads the second field of /proc/self/statm, in pages; see proc(5).
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
