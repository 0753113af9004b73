package reflection_test

import (
	"context"
	"fmt"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/reflection"
)

type Greeting struct {
	Text  string `json:"text"`
	Times int8   `json:"times,omitempty"`
}

var Greet = rpc.Unary[Greeting, Greeting]("example.Greeter/Greet")

// Peers call List and Describe over their session; a program describes what it serves itself without one.
func Example() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Greet, func(_ context.Context, m *Greeting) (*Greeting, error) { return m, nil })
	service := reflection.New(mux, reflection.Config{})

	list, err := service.List(context.Background(), &reflection.ListRequest{})
	if err != nil {
		panic(err)
	}
	for _, m := range list.Methods {
		fmt.Println(m.Name, m.Kind)
		d, err := service.Describe(context.Background(), &reflection.DescribeRequest{Method: m.Name})
		if err != nil {
			panic(err)
		}
		fmt.Println(string(d.Request.Schema))
	}
	// Output:
	// example.Greeter/Greet unary
	// {"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Greeting","type":"object","properties":{"text":{"type":"string"},"times":{"type":"integer","minimum":-128,"maximum":127}},"additionalProperties":false}
}
