// Package mirror is a chat server in a program of its own, beside its methods, on a log that copies every record elsewhere.
package mirror_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/chattest"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A mirror is a log that shows each new record to copied: before it is acknowledged, in the order of its room, and once, unless
// the process dies in between. A copy that must be whole goes over that of Read instead, from the position which it
// has last, whenever Watch says that there is more.
//
// What a Log may have beyond the interface, such as search, is hidden behind an embedded [chat.Log]; one that is to keep it embeds the
// log's own type.
type mirror struct {
	chat.Log
	copied func(room string, record chat.Record)
}

// Append implements [chat.Log]. A duplicate, and what was refused, is no new record.
func (m *mirror) Append(ctx context.Context, room string, head uint64, entries []chat.Entry, snapshot []byte) ([]chat.Result, error) {
	results, err := m.Log.Append(ctx, room, head, entries, snapshot)
	for i, res := range results {
		if res.Err == nil && !res.Duplicate {
			m.copied(room, chat.Record{Position: res.Position, Entry: entries[i], Time: res.Time})
		}
	}
	return results, err
}

// A log that one has made has tests: those of chattest.
func TestLog(t *testing.T) {
	chattest.Log(t, func(*testing.T) chat.Log {
		return &mirror{chat.NewMemoryLog(chat.MemoryLogConfig{}), func(string, chat.Record) {}}
	})
}

var hello = rpc.Unary[string, string]("example.Greeter/Hello")

// A server of rooms and of methods, and who uses both over one connection.
func Example() {
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	authority, err := certs.NewAuthority(certs.Env{})
	check(err)
	serverCred, err := authority.IssueServer([]string{"localhost"})
	check(err)

	records := make(chan string, 10)
	log := &mirror{chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1}), func(room string, r chat.Record) {
		records <- fmt.Sprintf("%s %v %s: %s", room, r.Position, r.From, r.Body)
	}}
	rooms := chat.NewServer(chat.Config{Log: log, Domain: authority.Domain()})
	defer rooms.Close()
	mux := rpc.NewMux(rpc.Config{})
	chat.Register(mux, rooms) // trunkline.Chat/…: history, topics, and the like
	rpc.Handle(mux, hello, func(_ context.Context, name *string) (*string, error) {
		text := "hello " + *name
		return &text, nil
	})
	server, err := transport.Listen(&transport.Config{
		Credentials: serverCred,
		Addr:        "127.0.0.1:0",
		Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamChat: rooms.ServeStream,
			transport.StreamRPC:  mux.ServeStream,
		},
	})
	check(err)
	defer server.Close()
	go func() { _ = server.Serve(ctx) }() // ends with Close

	cred, err := authority.IssueUser("alice")
	check(err)
	session, err := transport.Dial(ctx, server.Addr().String(), &transport.Config{Credentials: cred})
	check(err)
	name := "alice"
	greeting, err := hello.Call(ctx, session, &name)
	check(err)
	fmt.Println(*greeting)

	client, err := chat.NewClient(ctx, session, chat.ClientConfig{})
	check(err)
	check(client.Join(ctx, "lobby", chat.Live()))
	for _, text := range []string{"one", "two"} {
		_, err = client.Publish(ctx, "lobby", text)
		check(err)
	}
	check(client.Close())
	for _, err := range client.Events(ctx) { // until all is answered
		check(err)
	}
	fmt.Println(<-records)
	fmt.Println(<-records)
	check(session.Release(ctx))
	// Output:
	// hello alice
	// lobby 1:1 alice: one
	// lobby 1:2 alice: two
}
