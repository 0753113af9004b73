package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Whatever services and methods are called, no name is declared twice in Go.
func FuzzNamesAreDeclaredOnce(f *testing.F) {
	f.Add("Greeter", "SayHello")
	f.Add("Clash", "get_item GetItem GetItem_ get__item")
	f.Add("Foo foo FOO Foo_", "Do do")
	f.Add("Foo FooNew NewFoo RegisterFoo", "Client Handler Name FooClient")
	f.Add("ClashGet Clash Clash_Get", "Item GetItem get_item")
	f.Add("_x X _X", "_x x XX")
	f.Fuzz(func(t *testing.T, services, methods string) {
		req := greeter("example.com/hello", "hello", "M_", "M_")
		one := req.GetProtoFile()[0].GetService()[0].GetMethod()[0]
		req.ProtoFile[0].Service = nil
		for _, service := range distinct(services) {
			s := &descriptorpb.ServiceDescriptorProto{Name: new(service)}
			for _, method := range distinct(methods) {
				s.Method = append(s.Method, &descriptorpb.MethodDescriptorProto{
					Name: new(method), InputType: one.InputType, OutputType: one.OutputType,
				})
			}
			req.ProtoFile[0].Service = append(req.ProtoFile[0].Service, s)
		}
		resp, err := plugin(t, req)
		if err != nil || resp.Error != nil || len(resp.GetFile()) == 0 {
			t.Skip("no names of protobuf's")
		}

		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "hello.trunkline.go", resp.GetFile()[0].GetContent(), parser.SkipObjectResolution)
		require.NoError(t, err)
		var faults []error
		check := types.Config{
			Importer: nothing{}, // so that not all is understood, but every declaration is
			Error: func(err error) {
				if text := err.Error(); strings.Contains(text, "redeclared") || strings.Contains(text, "duplicate") ||
					strings.Contains(text, "already declared") {
					faults = append(faults, err)
				}
			},
		}
		_, _ = check.Check("hellorpc", fset, []*ast.File{file}, nil)
		require.Empty(t, faults)
	})
}

type nothing struct{}

func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not here") }

// distinct returns up to eight words of text, each once.
func distinct(text string) []string {
	var words []string
	seen := map[string]bool{"M": true} // the message
	for word := range strings.FieldsSeq(text) {
		if !seen[word] && len(words) < 8 {
			words = append(words, word)
		}
		seen[word] = true
	}
	return words
}
