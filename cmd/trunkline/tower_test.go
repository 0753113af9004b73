package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/trunkline-go/trunkline/"

// floors of the tower, from the ground up: each imports only those before it.
// Below them is what several share.
var floors = []string{"internal", "certs", "transport", "rpc", "chat", "cmd"}

// The house is a tower: a floor imports only floors below it, only transport knows QUIC, flags
// live in cmd alone, and certs needs nothing but Go.
func TestTheTowerStands(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, modErr := os.Stat(filepath.Join(path, "go.mod"))
			if rel != "." && (modErr == nil || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		floor, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		seen[floor]++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := forbidden(filepath.ToSlash(filepath.Dir(rel)), imported, strings.HasSuffix(path, "_test.go")); why != "" {
				assert.Fail(t, why, "%s imports %s", rel, imported)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, floor := range floors {
		assert.NotZero(t, seen[floor], "no Go file under %s: the test looks in the wrong place", floor)
		delete(seen, floor)
	}
	assert.Empty(t, seen, "Go files outside the floors")
}

// forbidden says why a file in a directory may not import a package, or "".
func forbidden(dir, imported string, test bool) string {
	floor, _, _ := strings.Cut(dir, "/")
	if rest, ok := strings.CutPrefix(imported, module); ok {
		target, _, _ := strings.Cut(rest, "/")
		if level(target) > level(floor) {
			return target + " is above " + floor
		}
		return ""
	}
	switch std := !strings.Contains(strings.Split(imported, "/")[0], "."); {
	case floor == "certs" && !std && !test:
		return "certs needs nothing but Go's standard library"
	case floor != "transport" && strings.HasPrefix(imported, "github.com/quic-go/"):
		return "only transport knows QUIC"
	case floor != "cmd" && (imported == "github.com/spf13/pflag" || imported == "flag" && !test): // a test may look at the flags of go test
		return "flags live in cmd"
	case floor != "cmd" && strings.HasPrefix(imported, "github.com/pelletier/go-toml"):
		return "files of configuration are read in cmd"
	case dir != "rpc/otelrpc" && strings.HasPrefix(imported, "go.opentelemetry.io/"):
		return "who does not want OpenTelemetry does not get it"
	}
	return ""
}

func level(floor string) int {
	for i, f := range floors {
		if f == floor {
			return i
		}
	}
	return -1
}

func TestTheTowerTestCanFail(t *testing.T) {
	for _, row := range []struct {
		dir, imported string
		ok            bool
	}{
		{"chat", module + "rpc", true},
		{"rpc", module + "chat", false},
		{"transport", module + "rpc/internal/callpb", false},
		{"certs", module + "certs", true},
		{"rpc", module + "internal/wire", true},
		{"internal", module + "certs", false},
		{"certs", "golang.org/x/crypto/ssh", false},
		{"chat", "github.com/quic-go/quic-go", false},
		{"transport", "github.com/quic-go/quic-go/quicvarint", true},
		{"rpc", "github.com/spf13/pflag", false},
		{"cmd", "github.com/spf13/pflag", true},
		{"rpc/interceptor", module + "rpc", true},
		{"rpc/interceptor", module + "chat", false},
		{"rpc/interceptor", "go.opentelemetry.io/otel", false},
		{"rpc/otelrpc", "go.opentelemetry.io/otel/trace", true},
	} {
		assert.Equal(t, row.ok, forbidden(row.dir, row.imported, false) == "", "%s imports %s", row.dir, row.imported)
	}
}
