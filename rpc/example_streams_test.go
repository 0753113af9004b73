package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Methods with a stream of requests.
var (
	Join = rpc.ClientStream[Greeting, Greeting]("example.Greeter/Join")
	Talk = rpc.Bidi[Greeting, Greeting]("example.Greeter/Talk")
)

func ExampleClientStream() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Join, func(_ context.Context, words *rpc.Receiver[Greeting]) (*Greeting, error) {
		var all []string
		for word, err := range words.All() {
			if err != nil {
				return nil, err
			}
			all = append(all, word.Text)
		}
		return &Greeting{Text: strings.Join(all, " ")}, nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	// The requests are a sequence: of a slice, or whatever a function makes when it is asked for the next.
	words := []*Greeting{{Text: "hello,"}, {Text: "all"}, {Text: "of you"}}
	res, err := Join.Call(context.Background(), session, slices.Values(words))
	fmt.Println(res.Text, err)

	res, err = Join.Call(context.Background(), session, func(yield func(*Greeting) bool) {
		for n := 1; n <= 3; n++ {
			if !yield(&Greeting{Text: fmt.Sprint(n)}) {
				return // the answer came early, or the call has failed
			}
		}
	})
	fmt.Println(res.Text, err)
	// Output:
	// hello, all of you <nil>
	// 1 2 3 <nil>
}

func ExampleBidi() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Talk, func(_ context.Context, s *rpc.Stream[Greeting, Greeting]) error {
		for m, err := range s.All() {
			if err != nil {
				return err
			}
			if err := s.Send(&Greeting{Text: strings.ToUpper(m.Text)}); err != nil {
				return err
			}
		}
		return nil // to return is to end the stream
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	s, err := Talk.Call(context.Background(), session)
	if err != nil {
		panic(err)
	}
	defer s.Close() // gives the call up, should this function return before its end
	for _, text := range []string{"hello", "goodbye"} {
		if err := s.Send(&Greeting{Text: text}); err != nil {
			panic(err) // io.EOF means that Recv tells how the call has ended
		}
		m, err := s.Recv()
		if err != nil {
			panic(err)
		}
		fmt.Println(m.Text)
	}
	if err := s.CloseSend(); err != nil {
		panic(err)
	}
	_, err = s.Recv()
	fmt.Println(errors.Is(err, io.EOF))
	// Output:
	// HELLO
	// GOODBYE
	// true
}

// To leave the loop is to give the call up. The handler is told so by Send, and by the cause of its context.
func ExampleReceiver_All() {
	mux := rpc.NewMux(rpc.Config{})
	why := make(chan rpc.Cause, 1)
	rpc.Handle(mux, Spell, func(_ context.Context, req *Greeting, out *rpc.Sender[Greeting]) error {
		for {
			if err := out.Send(req); err != nil {
				if gone, ok := errors.AsType[*rpc.CanceledError](err); ok {
					why <- gone.Cause
				}
				return err
			}
		}
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	echoes, err := Spell.Call(context.Background(), session, &Greeting{Text: "for ever"})
	if err != nil {
		panic(err)
	}
	for m, err := range echoes.All() {
		fmt.Println(m.Text, err)
		break
	}
	fmt.Println(<-why)
	// Output:
	// for ever <nil>
	// call canceled by caller
}

// A server calls a client whenever it likes, as long as it has the session: here that of whoever has said hello.
func Example_callLater() {
	mux := rpc.NewMux(rpc.Config{})
	sessions := make(chan *transport.Session, 1)
	rpc.Handle(mux, Hello, func(ctx context.Context, _ *Greeting) (*Greeting, error) {
		sessions <- transport.SessionFrom(ctx)
		return &Greeting{Text: "I shall ask you later"}, nil
	})
	own := rpc.NewMux(rpc.Config{})
	rpc.Handle(own, Ask, func(_ context.Context, req *Greeting) (*Greeting, error) {
		return &Greeting{Text: req.Text + " Fine!"}, nil
	})
	session, stop := connect(mux, own)
	defer stop()

	res, err := Hello.Call(context.Background(), session, &Greeting{})
	fmt.Println(res.Text, err)

	client := <-sessions // on the server's side
	res, err = Ask.Call(context.Background(), client, &Greeting{Text: "How are you?"})
	fmt.Println(res.Text, err)
	// Output:
	// I shall ask you later <nil>
	// How are you? Fine! <nil>
}

func ExampleMetadata() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Hello, func(ctx context.Context, _ *Greeting) (*Greeting, error) {
		call, _ := rpc.CallFrom(ctx)
		language, _ := call.Metadata.Get("language")
		if err := rpc.AddTrailer(ctx, "served-by", "example"); err != nil {
			return nil, err
		}
		return &Greeting{Text: "hello in " + language}, nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	var trailer rpc.Metadata
	res, err := Hello.Call(context.Background(), session, &Greeting{},
		rpc.WithMetadata(rpc.Metadata{{Key: "language", Value: "English"}}), rpc.WithTrailer(&trailer))
	fmt.Println(res.Text, err)
	fmt.Println(trailer)
	// Output:
	// hello in English <nil>
	// [{served-by example}]
}

// Whether a call ran is known apart from why it failed.
func ExampleError() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Hello, func(context.Context, *Greeting) (*Greeting, error) {
		return nil, rpc.Errorf(rpc.NotFound, "nobody is called that")
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	for _, m := range []rpc.UnaryMethod[Greeting, Greeting]{Hello, Ask} {
		_, err := m.Call(context.Background(), session, &Greeting{})
		if failed, ok := errors.AsType[*rpc.Error](err); ok {
			fmt.Println(failed.Code(), failed.Execution)
		}
	}
	// Output:
	// NotFound ran
	// Unimplemented not started
}
