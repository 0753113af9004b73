package health_test

import (
	"context"
	"fmt"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/health"
)

// A server says how a service does; its peers call Check or Watch over their session.
func Example() {
	mux := rpc.NewMux(rpc.Config{})
	status := health.NewServer()
	health.Register(mux, status)

	status.Set("shop.Orders", health.NotServing) // until the database is there
	fmt.Println(status.Status("shop.Orders"))
	status.Set("shop.Orders", health.Serving)
	res, err := status.Check(context.Background(), &health.Request{Service: "shop.Orders"})
	fmt.Println(res.Status, err)
	// Output:
	// NOT_SERVING
	// SERVING <nil>
}
