package rpc_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/gzip"
	"github.com/trunkline-go/trunkline/rpc/zstd"
	"github.com/trunkline-go/trunkline/transport"
)

// A Greeting is a message: any Go value that has a JSON form.
type Greeting struct {
	Text string `json:"text"`
}

// The methods of a service, which both sides share.
var (
	Hello = rpc.Unary[Greeting, Greeting]("example.Greeter/Hello")
	Spell = rpc.ServerStream[Greeting, Greeting]("example.Greeter/Spell")
	Ask   = rpc.Unary[Greeting, Greeting]("example.Client/Ask")
)

// An Entry is one of a log.
type Entry struct {
	Text string `json:"text"`
}

// Follow returns the entries of a log. A call of it outlives its connection.
var Follow = rpc.ServerStream[Greeting, Entry]("example.Log/Follow", rpc.Resumable())

// connect starts a server with mux, and connects a client that serves own.
func connect(mux, own *rpc.Mux) (session *transport.Session, stop func()) {
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
	server, err := transport.Listen(&transport.Config{
		Credentials: serverCredentials,
		Addr:        "127.0.0.1:0",
		Handlers:    map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream},
	})
	if err != nil {
		panic(err)
	}
	go func() { _ = server.Serve(context.Background()) }()
	session, err = transport.Dial(context.Background(), server.Addr().String(), &transport.Config{
		Credentials: alice,
		Handlers:    map[transport.StreamType]transport.Handler{transport.StreamRPC: own.ServeStream},
	})
	if err != nil {
		panic(err)
	}
	return session, func() {
		_ = session.Release(context.Background())
		_ = server.Close()
	}
}

func Example() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Hello, func(ctx context.Context, req *Greeting) (*Greeting, error) {
		if req.Text == "" {
			return nil, rpc.Errorf(rpc.InvalidArgument, "whom shall I greet?")
		}
		return &Greeting{Text: "hello, " + req.Text}, nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	res, err := Hello.Call(context.Background(), session, &Greeting{Text: "world"})
	fmt.Println(res.Text, err)
	_, err = Hello.Call(context.Background(), session, &Greeting{})
	fmt.Println(err)
	// Output:
	// hello, world <nil>
	// InvalidArgument: whom shall I greet?
}

func ExampleServerStream() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Spell, func(_ context.Context, req *Greeting, out *rpc.Sender[Greeting]) error {
		for _, r := range req.Text {
			if err := out.Send(&Greeting{Text: string(r)}); err != nil {
				return err
			}
		}
		return nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	letters, err := Spell.Call(context.Background(), session, &Greeting{Text: "hi!"})
	if err != nil {
		panic(err)
	}
	for m, err := range letters.All() {
		fmt.Println(m.Text, err)
	}
	// Output:
	// h <nil>
	// i <nil>
	// ! <nil>
}

// The cursor of an entry is the number of the one that follows it.
func ExampleResumable() {
	log := []string{"one", "two", "three", "four"}
	const first = 0 // what is older has been trimmed
	var cut sync.Once

	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Follow, func(ctx context.Context, _ *Greeting, out *rpc.Sender[Entry]) error {
		next := first
		if cursor := rpc.Cursor(ctx); cursor != "" {
			n, err := strconv.Atoi(cursor)
			if err != nil || n > len(log) {
				return rpc.Errorf(rpc.InvalidArgument, "no such cursor")
			}
			if n < first {
				return rpc.Errorf(rpc.DataLoss, "entries up to %d are gone", first)
			}
			next = n
		}
		for ; next < len(log); next++ {
			if next == 2 { // the first time, the connection breaks here
				cut.Do(func() { transport.SessionFrom(ctx).Abort(transport.Internal, "power failure") })
			}
			if err := out.SendAt(strconv.Itoa(next+1), &Entry{Text: log[next]}); err != nil {
				return err
			}
		}
		return nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	entries, err := Follow.Call(context.Background(), session, &Greeting{})
	if err != nil {
		panic(err)
	}
	for entry, err := range entries.All() {
		if err != nil {
			panic(err) // DataLoss, say
		}
		fmt.Println(entry.Text, entries.Cursor()) // to be kept, for WithCursor
	}
	// Output:
	// one 1
	// two 2
	// three 3
	// four 4
}

// A handler calls its caller back, over the same session.
func Example_callBack() {
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, Hello, func(ctx context.Context, _ *Greeting) (*Greeting, error) {
		name, err := Ask.Call(ctx, transport.SessionFrom(ctx), &Greeting{Text: "your name?"})
		if err != nil {
			return nil, err
		}
		return &Greeting{Text: "hello, " + name.Text}, nil
	})
	own := rpc.NewMux(rpc.Config{})
	rpc.Handle(own, Ask, func(context.Context, *Greeting) (*Greeting, error) {
		return &Greeting{Text: "Alice"}, nil
	})
	session, stop := connect(mux, own)
	defer stop()

	res, err := Hello.Call(context.Background(), session, &Greeting{})
	fmt.Println(res.Text, err)
	// Output: hello, Alice <nil>
}

// A gobs is a codec in ten lines.
type gobs struct{}

func (gobs) Name() string { return "gob" }

func (gobs) AppendEncode(dst []byte, m any) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	err := gob.NewEncoder(buf).Encode(m)
	return buf.Bytes(), err
}

func (gobs) Decode(b []byte, m any) error { return gob.NewDecoder(bytes.NewReader(b)).Decode(m) }

func ExampleCodec() {
	mux := rpc.NewMux(rpc.Config{Codecs: []rpc.Codec{gobs{}}})
	rpc.Handle(mux, Hello, func(ctx context.Context, req *Greeting) (*Greeting, error) {
		call, _ := rpc.CallFrom(ctx)
		return &Greeting{Text: "hello, " + req.Text + ", in " + call.Codec}, nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	res, err := Hello.Call(context.Background(), session, &Greeting{Text: "world"}, rpc.WithCustomCodec(gobs{}))
	fmt.Println(res.Text, err)
	// Output: hello, world, in gob <nil>
}

// A server says what it understands, best first, and a caller what it wants: here for every call of a client.
func ExampleWithCompression() {
	mux := rpc.NewMux(rpc.Config{Compressors: []rpc.Compressor{zstd.New(), gzip.New()}})
	rpc.Handle(mux, Hello, func(_ context.Context, req *Greeting) (*Greeting, error) {
		return &Greeting{Text: strings.Repeat("hello, "+req.Text+"! ", 1000)}, nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	client := rpc.NewClient(session, rpc.ClientConfig{Options: []rpc.CallOption{rpc.WithCompression(zstd.New())}})
	res, err := Hello.Call(context.Background(), client, &Greeting{Text: "world"})
	fmt.Println(len(res.Text), err)
	// Output: 14000 <nil>
}

// A method that may run twice as well as once is declared so, and a Client makes its calls again.
func ExampleRetry() {
	get := rpc.Unary[Greeting, Greeting]("example.Store/Get", rpc.Idempotent())
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, get, func(ctx context.Context, key *Greeting) (*Greeting, error) {
		call, _ := rpc.CallFrom(ctx)
		if call.PreviousAttempts == 0 {
			err := rpc.Errorf(rpc.Unavailable, "still reading the index")
			err.RetryAfter = 5 * time.Millisecond
			return nil, err
		}
		return &Greeting{Text: fmt.Sprintf("%s, in attempt %d", key.Text, call.PreviousAttempts+1)}, nil
	})
	session, stop := connect(mux, rpc.NewMux(rpc.Config{}))
	defer stop()

	client := rpc.NewClient(session, rpc.ClientConfig{Retry: rpc.Retry{MaxAttempts: 3, Backoff: time.Millisecond}})
	value, err := get.Call(context.Background(), client, &Greeting{Text: "found"})
	fmt.Println(value.Text, err)
	// Output: found, in attempt 2 <nil>
}
