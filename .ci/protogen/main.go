// Command protogen writes the Go code of every .proto file of a source tree,
// beside the .proto files or under another directory.
//
//	protogen ROOT OUT PLUGIN
//
// It stands in for protoc, which the Go module proxy cannot supply: protocompile
// parses, protoc-gen-go, as a library, generates, and so does the program PLUGIN, which is run as protoc
// would run it: protoc-gen-trunkline. Their versions, and so every byte
// of the output, are fixed by the go.mod of this module. A .proto file imports others
// by their path from ROOT, or the well-known types of google/protobuf.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	gengo "google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

// golden is where the .proto files are whose generated code the tests of protoc-gen-trunkline compare, and
// goldenRequest what a compiler asks of it for them: a CodeGeneratorRequest, so that those tests need no compiler.
const (
	golden        = "cmd/protoc-gen-trunkline/internal/golden/"
	goldenRequest = "cmd/protoc-gen-trunkline/testdata/golden.pb"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: protogen ROOT OUT PLUGIN")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(root, out, plugin string) error {
	names, err := find(root)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return nil // protogen.Options.New refuses an empty request
	}
	req, err := request(root, names)
	if err != nil {
		return err
	}
	for _, generate := range []func(*pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error){
		messages,
		func(req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
			return runPlugin(plugin, req)
		},
	} {
		resp, err := generate(req)
		if err != nil {
			return err
		}
		if resp.Error != nil {
			return errors.New(resp.GetError())
		}
		for _, f := range resp.GetFile() {
			if err := write(out, f.GetName(), []byte(f.GetContent())); err != nil {
				return err
			}
		}
	}
	return writeGoldenRequest(root, out, names)
}

// messages is protoc-gen-go.
func messages(req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	gen, err := protogen.Options{}.New(req)
	if err != nil {
		return nil, err
	}
	gen.SupportedFeatures = gengo.SupportedFeatures
	gen.SupportedEditionsMinimum = gengo.SupportedEditionsMinimum
	gen.SupportedEditionsMaximum = gengo.SupportedEditionsMaximum
	for _, f := range gen.Files {
		if f.Generate {
			gengo.GenerateFile(gen, f)
		}
	}
	return gen.Response(), nil
}

// runPlugin is what protoc does with a plugin.
func runPlugin(plugin string, req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	resp := new(pluginpb.CodeGeneratorResponse)
	return resp, proto.Unmarshal(out, resp)
}

func writeGoldenRequest(root, out string, names []string) error {
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, golden) })
	req, err := request(root, names)
	if err != nil {
		return err
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return err
	}
	return write(out, goldenRequest, text)
}

// write writes the file whose slash-separated path from dir is name.
func write(dir, name string, content []byte) error {
	name = filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o666)
}

// find returns the .proto files under root, as slash-separated paths from it, in the
// order of their names. Like the go command it looks neither into testdata nor into
// directories whose names begin with a dot or an underscore.
func find(root string) ([]string, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (d.Name() == "testdata" || strings.ContainsAny(d.Name()[:1], "._")):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".proto"):
			names = append(names, path)
		}
		return nil
	})
	return names, err
}

// request compiles the named files to what protoc would hand to protoc-gen-go.
func request(root string, names []string) (*pluginpb.CodeGeneratorRequest, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // the comments, which become Go's
	}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return nil, err
	}
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String("paths=source_relative"),
	}
	// A plugin wants every file after all those that it imports.
	seen := make(map[string]bool)
	var add func(protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		req.ProtoFile = append(req.ProtoFile, protoutil.ProtoFromFileDescriptor(file))
	}
	for _, file := range files {
		add(file)
	}
	return req, nil
}
