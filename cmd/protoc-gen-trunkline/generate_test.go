package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/trunkline-go/trunkline/rpc"
)

// goldenRequest is what a compiler asks of the plugin for the .proto files in internal/golden. .ci/generate
// writes it, and beside those files what they become, where it has to compile as any other package.
func goldenRequest(t *testing.T) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden.pb"))
	require.NoError(t, err)
	req := new(pluginpb.CodeGeneratorRequest)
	require.NoError(t, proto.Unmarshal(text, req))
	return req
}

// plugin runs the plugin as protoc does.
func plugin(t *testing.T, req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	t.Helper()
	in, err := proto.Marshal(req)
	require.NoError(t, err)
	var out bytes.Buffer
	if err := run(nil, bytes.NewReader(in), &out); err != nil {
		return nil, err
	}
	resp := new(pluginpb.CodeGeneratorResponse)
	require.NoError(t, proto.Unmarshal(out.Bytes(), resp))
	return resp, nil
}

func TestServicesBecomeTheGoldenCode(t *testing.T) {
	resp, err := plugin(t, goldenRequest(t))
	require.NoError(t, err)
	require.Nil(t, resp.Error, resp.GetError())
	got := map[string]string{}
	for _, f := range resp.GetFile() {
		got[f.GetName()] = f.GetContent()
	}
	require.NotEmpty(t, got)
	err = filepath.WalkDir(filepath.Join("internal", "golden"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".trunkline.go") {
			return err
		}
		name := "cmd/protoc-gen-trunkline/" + filepath.ToSlash(path)
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, string(want), got[name], "%s; if it was meant to change: bash .ci/generate", name)
		delete(got, name)
		return nil
	})
	require.NoError(t, err)
	assert.Empty(t, got, "files without a golden one")
}

func TestTheCompilerIsToldOfOptionalFieldsAndEditions(t *testing.T) {
	resp, err := plugin(t, goldenRequest(t))
	require.NoError(t, err)
	assert.EqualValues(t, pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL|
		pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS, resp.GetSupportedFeatures())
	assert.EqualValues(t, descriptorpb.Edition_EDITION_PROTO2, resp.GetMinimumEdition())
	assert.EqualValues(t, descriptorpb.Edition_EDITION_2024, resp.GetMaximumEdition())
}

// greeter is a request for a file with one service of one method.
func greeter(goPackage, protoPackage, service, method string) *pluginpb.CodeGeneratorRequest {
	return &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{"hello/hello.proto"},
		ProtoFile: []*descriptorpb.FileDescriptorProto{{
			Name:        new("hello/hello.proto"),
			Package:     new(protoPackage),
			Syntax:      new("proto3"),
			Options:     &descriptorpb.FileOptions{GoPackage: new(goPackage)},
			MessageType: []*descriptorpb.DescriptorProto{{Name: new("M")}},
			Service: []*descriptorpb.ServiceDescriptorProto{{
				Name: new(service),
				Method: []*descriptorpb.MethodDescriptorProto{{
					Name:       new(method),
					InputType:  new("." + protoPackage + ".M"),
					OutputType: new("." + protoPackage + ".M"),
				}},
			}},
		}},
	}
}

func TestParametersSayWhereTheCodeGoes(t *testing.T) {
	for _, row := range []struct{ goPackage, parameter, file, clause, messages string }{
		{"example.com/gen/hello", "", "example.com/gen/hello/hellorpc/hello.trunkline.go", "package hellorpc", `hello "example.com/gen/hello"`},
		{"example.com/gen/hello/v1;hellov1", "", "example.com/gen/hello/v1/hellov1rpc/hello.trunkline.go", "package hellov1rpc", `v1 "example.com/gen/hello/v1"`},
		{"example.com/gen/hello", "paths=import,module=example.com/gen", "hello/hellorpc/hello.trunkline.go", "package hellorpc", `hello "example.com/gen/hello"`},
		{"example.com/gen/hi", "paths=source_relative", "hello/hirpc/hello.trunkline.go", "package hirpc", `hi "example.com/gen/hi"`},
		{"./pb", "paths=source_relative,Mhello/hello.proto=example.com/pb", "hello/pbrpc/hello.trunkline.go", "package pbrpc", `pb "example.com/pb"`},
		{"", "Mhello/hello.proto=example.com/pb", "example.com/pb/pbrpc/hello.trunkline.go", "package pbrpc", `pb "example.com/pb"`},
	} {
		req := greeter(row.goPackage, "hello", "Greeter", "SayHello")
		req.Parameter = new(row.parameter)
		resp, err := plugin(t, req)
		require.NoError(t, err, row.parameter)
		require.Nil(t, resp.Error, resp.GetError())
		require.Len(t, resp.GetFile(), 1)
		assert.Equal(t, row.file, resp.GetFile()[0].GetName())
		assert.Contains(t, resp.GetFile()[0].GetContent(), "\n"+row.clause+"\n")
		assert.Contains(t, resp.GetFile()[0].GetContent(), row.messages)
	}
}

func TestAParameterThatNobodyKnowsIsAnError(t *testing.T) {
	req := greeter("example.com/hello", "hello", "Greeter", "SayHello")
	req.Parameter = new("path=source_relative")
	_, err := plugin(t, req)
	assert.EqualError(t, err, `unknown parameter "path"`)
}

func TestWhatCannotWorkIsSaidWithTheFile(t *testing.T) {
	for _, row := range []struct {
		name string
		req  *pluginpb.CodeGeneratorRequest
		want string
	}{
		{"package main", greeter("example.com/hello;main", "hello", "Greeter", "SayHello"),
			"hello/hello.proto: its messages are in package main, which nothing can import"},
		{"relative package", greeter("./pb", "hello", "Greeter", "SayHello"),
			`hello/hello.proto: go_package "./pb" is no import path, by which the generated package imports the messages: ` +
				`say the whole path there, or in the parameter Mhello/hello.proto=PATH`},
		{"long name", greeter("example.com/hello", strings.Repeat("a", 120), strings.Repeat("B", 120), strings.Repeat("C", 14)),
			"has a name of 256 bytes, limit is 255"},
	} {
		resp, err := plugin(t, row.req)
		require.NoError(t, err, row.name)
		assert.Contains(t, resp.GetError(), row.want, row.name)
		assert.Empty(t, resp.GetFile(), row.name)
	}
}

// The longest name is known in two places.
func TestTheLongestNameIsThatOfPackageRPC(t *testing.T) {
	longest := strings.Repeat("a", 200) + "/" + strings.Repeat("B", maxMethod-201)
	assert.NoError(t, rpc.ValidMethod(longest))
	assert.Error(t, rpc.ValidMethod(longest+"B"))
	resp, err := plugin(t, greeter("example.com/hello", strings.Repeat("a", 120), strings.Repeat("B", 120), strings.Repeat("C", 13)))
	require.NoError(t, err)
	assert.Nil(t, resp.Error, resp.GetError())
}

func TestWhoeverRunsItByHandIsToldWhatItIs(t *testing.T) {
	for _, row := range []struct{ arg, want string }{
		{"--version", "protoc-gen-trunkline "},
		{"--help", "protoc --go_out=. --trunkline_out=."},
		{"-h", "protoc --go_out=. --trunkline_out=."},
	} {
		var out bytes.Buffer
		require.NoError(t, run([]string{row.arg}, strings.NewReader(""), &out))
		assert.Contains(t, out.String(), row.want)
	}
	var out bytes.Buffer
	assert.ErrorContains(t, run([]string{"hello.proto"}, strings.NewReader(""), &out), `unknown argument "hello.proto"`)
	assert.ErrorContains(t, run(nil, strings.NewReader("syntax"), &out), "stdin is no CodeGeneratorRequest")
	assert.Empty(t, out.String())
}
