// Command protogen writes the Go code of every .proto file of a source tree,
// beside the .proto files or under another directory.
//
//	protogen ROOT [OUT]
//
// It stands in for protoc, which the Go module proxy cannot supply: protocompile
// parses, and protoc-gen-go, as a library, generates. Their versions, and so every byte
// of the output, are fixed by the go.mod of this module. A .proto file imports others
// by their path from ROOT, or the well-known types of google/protobuf.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	gengo "google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: protogen ROOT [OUT]")
		os.Exit(2)
	}
	root := os.Args[1]
	out := os.Args[len(os.Args)-1]
	if err := run(root, out); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(root, out string) error {
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
	gen, err := protogen.Options{}.New(req)
	if err != nil {
		return err
	}
	gen.SupportedFeatures = gengo.SupportedFeatures
	gen.SupportedEditionsMinimum = gengo.SupportedEditionsMinimum
	gen.SupportedEditionsMaximum = gengo.SupportedEditionsMaximum
	for _, f := range gen.Files {
		if f.Generate {
			gengo.GenerateFile(gen, f)
		}
	}
	resp := gen.Response()
	if resp.Error != nil {
		return errors.New(resp.GetError())
	}
	for _, f := range resp.GetFile() {
		name := filepath.Join(out, filepath.FromSlash(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(f.GetContent()), 0o666); err != nil {
			return err
		}
	}
	return nil
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
