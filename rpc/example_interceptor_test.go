package rpc_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/trunkline-go/trunkline/rpc"
)

type tenantKey struct{}

// An interceptor on either side: the caller's says in the metadata for whom each call is, and the server's refuses
// calls that do not say, and tells the handlers. Their parts before next run in the order of the list.
func ExampleInterceptor() {
	mux := rpc.NewMux(rpc.Config{Interceptors: []rpc.Interceptor{
		func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
			tenant, ok := c.Metadata.Get("tenant")
			if !ok {
				return rpc.Errorf(rpc.InvalidArgument, "whose call is this?") // next is not called: it has not started
			}
			return next(context.WithValue(ctx, tenantKey{}, tenant))
		},
	}})
	rpc.Handle(mux, Hello, func(ctx context.Context, req *Greeting) (*Greeting, error) {
		return &Greeting{Text: fmt.Sprintf("hello, %s of %s", req.Text, ctx.Value(tenantKey{}))}, nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	_, err := Hello.Call(context.Background(), session, &Greeting{Text: "world"})
	e, _ := errors.AsType[*rpc.Error](err)
	fmt.Println(e, "–", e.Execution)

	client := rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{
		func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
			err := next(ctx)
			fmt.Println(c.Method, "ended with", rpc.CodeOf(err))
			return err
		},
		func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
			c.Metadata = append(c.Metadata, rpc.Field{Key: "tenant", Value: "acme"})
			return next(ctx)
		},
	}})
	res, err := Hello.Call(context.Background(), client, &Greeting{Text: "world"})
	fmt.Println(res.Text, err)
	// Output:
	// InvalidArgument: whose call is this? – not started
	// example.Greeter/Hello ended with OK
	// hello, world of acme <nil>
}
