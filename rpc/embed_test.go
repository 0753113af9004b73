package rpc_test

import (
	"context"
	"fmt"
	"os"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Shown in README.md:

type Request struct{ Name string }
type Response struct{ Text string }

var Greet = rpc.Unary[Request, Response]("example.Greeter/Greet")

func serve(home *certs.Home) (*transport.Server, error) {
	cred, err := home.ServerCredentials()
	if err != nil {
		return nil, err
	}
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Greet, func(ctx context.Context, req *Request) (*Response, error) {
		peer, _ := transport.PeerFrom(ctx) // whom TLS has authenticated
		return &Response{Text: fmt.Sprintf("hello %s, says %s", req.Name, peer.ID.Name)}, nil
	})
	return transport.Listen(&transport.Config{Credentials: cred, Addr: "127.0.0.1:0",
		Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
}

func greet(ctx context.Context, addr string, cred *certs.Credentials) (*Response, error) {
	session, err := transport.Dial(ctx, addr, &transport.Config{Credentials: cred})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	return Greet.Call(ctx, session, &Request{Name: "world"})
}

// End.

func Example_embedding() {
	dir, _ := os.MkdirTemp("", "trunkline")
	defer func() { _ = os.RemoveAll(dir) }()
	home, err := certs.OpenHome(dir, certs.Env{})
	if err == nil {
		err = home.Init(nil, "alice")
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := serve(home)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = srv.Serve(context.Background()) }()
	defer func() { _ = srv.Close() }()
	cred, err := home.UserCredentials("alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := greet(context.Background(), srv.Addr().String(), cred)
	fmt.Println(res.Text, err)
	// Output: hello world, says alice <nil>
}
