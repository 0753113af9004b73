package otelrpc_test

import (
	"fmt"

	"go.opentelemetry.io/otel/propagation"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/otelrpc"
)

// One interceptor serves both sides. Without providers it takes those that the program has set with otel.SetTracerProvider
// and otel.SetMeterProvider.
func ExampleNew() {
	telemetry, err := otelrpc.New(otelrpc.Config{Propagator: propagation.TraceContext{}})
	if err != nil {
		panic(err)
	}
	mux := rpc.NewMux(rpc.Config{Interceptors: []rpc.Interceptor{telemetry}})
	client := rpc.NewClient(nil /* a session */, rpc.ClientConfig{Interceptors: []rpc.Interceptor{telemetry}})
	fmt.Println(mux != nil, client != nil)
	// Output: true true
}
