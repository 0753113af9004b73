package helloworld_test

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/examples/helloworld"
	"github.com/trunkline-go/trunkline/rpc/examples/helloworld/helloworldrpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A greeter serves helloworld.Greeter, but for the methods that it does not have: those are Unimplemented.
type greeter struct {
	helloworldrpc.UnimplementedGreeterHandler
}

// SayHello is as it would be for gRPC, but for who calls, which is known here.
func (greeter) SayHello(ctx context.Context, req *helloworld.HelloRequest) (*helloworld.HelloReply, error) {
	if req.GetName() == "" {
		return nil, rpc.Errorf(rpc.InvalidArgument, "whom shall I greet?")
	}
	peer, _ := transport.PeerFrom(ctx)
	return &helloworld.HelloReply{Message: fmt.Sprintf("hello %s, says %s", req.GetName(), peer.ID.Name)}, nil
}

// serve is what grpc.NewServer and Serve are.
func serve(cred *certs.Credentials) (*transport.Server, error) {
	mux := rpc.NewMux(rpc.Config{})
	helloworldrpc.RegisterGreeterHandler(mux, greeter{})
	server, err := transport.Listen(&transport.Config{
		Credentials: cred,
		Addr:        "127.0.0.1:0",
		Handlers:    map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream},
	})
	if err != nil {
		return nil, err
	}
	go func() { _ = server.Serve(context.Background()) }()
	return server, nil
}

func greet(addr string, cred *certs.Credentials) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	session, err := transport.Dial(ctx, addr, &transport.Config{Credentials: cred}) // as grpc.NewClient, but it connects
	if err != nil {
		return err
	}
	defer func() { _ = session.Release(ctx) }()

	client := helloworldrpc.NewGreeterClient(session)
	reply, err := client.SayHello(ctx, &helloworld.HelloRequest{Name: "world"})
	if err != nil {
		return err
	}
	fmt.Println(reply.GetMessage())

	_, err = client.SayHello(ctx, &helloworld.HelloRequest{})
	fmt.Println(rpc.CodeOf(err), "-", err)

	replies, err := client.SayHelloStreamReply(ctx, &helloworld.HelloRequest{Name: "world"})
	if err != nil {
		return err
	}
	for _, err := range replies.All() {
		fmt.Println(err)
	}
	return nil
}

// Both sides of gRPC's first example, in one process. The certificates are made on the spot: a server of one's own has
// them in its home, see the examples of package rpc.
func Example() {
	authority, err := certs.NewAuthority(certs.Env{})
	if err != nil {
		panic(err)
	}
	serverCredentials, err := authority.IssueServer([]string{"localhost"})
	if err != nil {
		panic(err)
	}
	alice, err := authority.IssueUser("alice")
	if err != nil {
		panic(err)
	}
	server, err := serve(serverCredentials)
	if err != nil {
		panic(err)
	}
	defer func() { _ = server.Close() }()
	if err := greet(server.Addr().String(), alice); err != nil {
		panic(err)
	}
	// Output:
	// hello world, says alice
	// InvalidArgument - InvalidArgument: whom shall I greet?
	// Unimplemented: helloworld.Greeter/SayHelloStreamReply is not implemented
}
