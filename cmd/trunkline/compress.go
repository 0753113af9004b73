package main

import (
	"strings"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/rpc/zstd"
)

// compressors returns what messages may be compressed with, the best first.
func compressors() []rpc.Compressor { return []rpc.Compressor{zstd.New(), gzip.New()} }

// compressorNamed returns the one of compressors that is called name.
func compressorNamed(name string) (rpc.Compressor, error) {
	var names []string
	for _, c := range compressors() {
		if c.Name() == name {
			return c, nil
		}
		names = append(names, c.Name())
	}
	return nil, usagef("--compress %s: want %s", name, strings.Join(names, ", or "))
}
