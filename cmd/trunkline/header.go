package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/trunkline-go/trunkline/rpc"
)

// binarySuffix ends the keys whose values are written in base64 here, as in gRPC. On the wire every value may be any bytes.
const binarySuffix = "-bin"

// parseHeader returns what the flag -H says: KEY:VALUE.
func parseHeader(text string) (rpc.Field, error) {
	key, value, ok := strings.Cut(text, ":")
	if !ok {
		return rpc.Field{}, fmt.Errorf("header %q: want KEY:VALUE", text)
	}
	f := rpc.Field{Key: strings.ToLower(strings.TrimSpace(key)), Value: strings.TrimSpace(value)}
	if strings.HasSuffix(f.Key, binarySuffix) {
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(f.Value, "="))
		if err != nil {
			return rpc.Field{}, fmt.Errorf("header %s: its value is base64, as the key ends in %s: %w", f.Key, binarySuffix, err)
		}
		f.Value = string(b)
	}
	if err := (rpc.Metadata{f}).Validate(); err != nil {
		return rpc.Field{}, err
	}
	return f, nil
}

// formatHeader returns what parseHeader takes. A value that cannot be shown is quoted.
func formatHeader(f rpc.Field) string {
	value := f.Value
	switch {
	case strings.HasSuffix(f.Key, binarySuffix):
		value = base64.StdEncoding.EncodeToString([]byte(value))
	case plain(value) != value:
		value = strconv.QuoteToASCII(value)
	}
	return plain(f.Key) + ": " + value
}

// printMetadata prints each field on a line of its own.
func printMetadata(w io.Writer, what string, md rpc.Metadata) {
	for _, f := range md {
		_, _ = fmt.Fprintf(w, "trunkline: %s: %s\n", what, formatHeader(f))
	}
}
