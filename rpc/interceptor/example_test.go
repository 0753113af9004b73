package interceptor_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/interceptor"
)

// A line for each call, here without what is never the same. A Mux of rpc.Config{Interceptors: []rpc.Interceptor{logging}}
// does this for all of its calls.
func ExampleLogging() {
	logging := interceptor.Logging(interceptor.LoggingConfig{
		Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "took" || a.Key == "peer" {
				return slog.Attr{}
			}
			return a
		}})),
	})
	call := &rpc.Call{Method: "example.Greeter/Hello", Kind: rpc.KindUnary}
	_ = logging(context.Background(), call, func(context.Context) error { return nil })
	_ = logging(context.Background(), call, func(context.Context) error { return rpc.Errorf(rpc.DataLoss, "the disk is gone") })
	// Output:
	// level=INFO msg="call served" method=example.Greeter/Hello kind=unary code=OK sent=0 sent_bytes=0 received=0 received_bytes=0
	// level=ERROR msg="call served" method=example.Greeter/Hello kind=unary code=DataLoss sent=0 sent_bytes=0 received=0 received_bytes=0 err="DataLoss: the disk is gone"
}

// Ten calls a second of each identity in each method, and of one that is expensive one a minute, of all together.
func ExampleRateLimit() {
	const expensive = "example.Reports/Make"
	each := interceptor.RateLimit(interceptor.RateLimitConfig{PerSecond: 10})
	reports := interceptor.RateLimit(interceptor.RateLimitConfig{
		PerSecond: 1.0 / 60,
		Key: func(c *rpc.Call) string {
			if c.Method == expensive {
				return c.Method
			}
			return "" // no limit of this one
		},
	})
	// As a Mux calls them, of which rpc.Config{Interceptors: []rpc.Interceptor{each, reports}} would be the configuration.
	call := func(method string) error {
		c := &rpc.Call{Method: method}
		return each(context.Background(), c, func(ctx context.Context) error {
			return reports(ctx, c, func(context.Context) error { return nil })
		})
	}
	fmt.Println(call(expensive))
	fmt.Println(call(expensive))
	fmt.Println(call("example.Reports/List"))
	// Output:
	// <nil>
	// ResourceExhausted: too many calls of example.Reports/Make
	// <nil>
}
