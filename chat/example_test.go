package chat_test

import (
	"context"
	"fmt"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// A server with a log in memory, and a bot that answers.
func Example() {
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	authority, err := certs.NewAuthority(certs.Env{})
	check(err)
	serverKey, err := authority.IssueServer([]string{"localhost"})
	check(err)

	rooms := chat.NewServer(chat.Config{
		Log:    chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1}),
		Domain: authority.Domain(),
	})
	defer rooms.Close()
	srv, err := transport.Listen(&transport.Config{
		Credentials: serverKey,
		Addr:        "127.0.0.1:0",
		Handlers:    map[transport.StreamType]transport.Handler{transport.StreamChat: rooms.ServeStream},
	})
	check(err)
	defer srv.Close()
	go func() { _ = srv.Serve(ctx) }()

	join := func(name string) *chat.Client {
		key, err := authority.IssueUser(name)
		check(err)
		session, err := transport.Dial(ctx, srv.Addr().String(), &transport.Config{Credentials: key})
		check(err)
		client, err := chat.NewClient(ctx, session, chat.ClientConfig{})
		check(err)
		check(client.Join(ctx, "lobby", chat.Live()))
		_, err = client.Next(ctx) // Joined
		check(err)
		return client
	}
	bot, alice := join("bot"), join("alice")

	go func() {
		for event, err := range bot.Events(ctx) {
			if err != nil {
				return
			}
			if m, ok := event.(*chat.Message); ok {
				_, _ = bot.Publish(ctx, m.Room, "hello, "+m.From)
			}
		}
	}()

	_, err = alice.Publish(ctx, "lobby", "hi")
	check(err)
	for event, err := range alice.Events(ctx) {
		check(err)
		switch e := event.(type) {
		case *chat.Sent:
			fmt.Println("sent", e.Position)
		case *chat.Message:
			fmt.Println(e.Position, e.From, "says", e.Text)
			return
		}
	}
	// Output:
	// sent 1:1
	// 1:2 bot says hello, alice
}
