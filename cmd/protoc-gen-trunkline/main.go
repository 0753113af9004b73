// Protoc-gen-trunkline is a plugin of the protobuf compiler. It writes, for the services of a .proto
// file, what package rpc needs to call and to serve them:
//
//	protoc --go_out=. --go_opt=paths=source_relative \
//		--trunkline_out=. --trunkline_opt=paths=source_relative greet/v1/greet.proto
//
// or, with buf, beside the entry for protoc-gen-go in buf.gen.yaml:
//
//   - local: protoc-gen-trunkline
//     out: gen
//     opt: paths=source_relative
//
// The messages stay protoc-gen-go's. The services of greet/v1/greet.proto, whose messages are in package
// greetv1, go to greet/v1/greetv1rpc/greet.trunkline.go: a package of its own, so that no name of it is taken by a
// message or by what other plugins write, protoc-gen-go-grpc say, and a server can have both while its clients move. A file
// without services gets nothing.
//
// A service Greeter with a method SayHello becomes
//
//   - GreeterName, its name on the wire;
//   - GreeterSayHello, the method's descriptor: to call it, to handle it alone, or to describe it. It is rpc.Idempotent
//     if the .proto file says so, by idempotency_level;
//   - GreeterHandler, the interface of who serves it, and RegisterGreeterHandler;
//   - UnimplementedGreeterHandler, to embed by who does not want to serve all of it;
//   - GreeterClient, the interface of who calls it, and NewGreeterClient.
//
// A name that is taken gets an underscore at its end. The parameters are those of protoc-gen-go: paths, module
// and M.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

const usage = `protoc-gen-trunkline is a plugin of protoc and buf, which run it as

    protoc --go_out=. --trunkline_out=. FILE.proto

It reads a CodeGeneratorRequest on stdin. Parameters: paths, module and M, as of protoc-gen-go.
`

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: error: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

// run is one run of the plugin. What is wrong with a .proto file is said in the response, as
// protoc wants it; an error is of the compiler's or the system's.
func run(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "--version":
			_, err := fmt.Fprintln(stdout, "protoc-gen-trunkline", version())
			return err
		case "--help", "-h":
			_, err := io.WriteString(stdout, usage)
			return err
		}
		return fmt.Errorf("unknown argument %q: protoc runs this program, with parameters in --trunkline_opt", args[0])
	}
	in, err := io.ReadAll(stdin)
	if err != nil {
		return err
	}
	req := new(pluginpb.CodeGeneratorRequest)
	if err := proto.Unmarshal(in, req); err != nil {
		return fmt.Errorf("stdin is no CodeGeneratorRequest: %w", err)
	}
	gen, err := protogen.Options{ParamFunc: unknownParameter}.New(req)
	if err != nil {
		return err
	}
	if err := generate(gen); err != nil {
		gen.Error(err)
	}
	out, err := proto.Marshal(gen.Response())
	if err != nil {
		return err
	}
	_, err = stdout.Write(out)
	return err
}

// unknownParameter is told of parameters that protogen does not know.
func unknownParameter(name, _ string) error { return fmt.Errorf("unknown parameter %q", name) }

// version is that of the module which the program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
