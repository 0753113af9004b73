// Package bot is a bot that stands in a room and answers.
package bot_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// shout answers each line of a room, until ctx ends. When the connection does, it goes on with the next one, and misses nothing.
func shout(ctx context.Context, session *transport.Session, room string) error {
	client, err := chat.NewClient(ctx, session, chat.ClientConfig{})
	if err != nil {
		return err
	}
	if err := client.Join(ctx, room, chat.Live()); err != nil {
		return err
	}
	for event, err := range client.Events(ctx) {
		if err != nil {
			return err
		}
		if m, ok := event.(*chat.Message); ok {
			if _, err := client.Publish(ctx, room, strings.ToUpper(m.Text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// The bot, and somebody who waits for it, and talks to it. A home has the credentials: those of a user who has joined a server
// with a token come from home.UserCredentials.
func Example() {
	ctx := context.Background()
	authority, addr, stop := serve(ctx)
	defer stop()

	botCtx, dismiss := context.WithCancelCause(ctx)
	gone := make(chan error, 1)
	go func() { gone <- shout(botCtx, dial(ctx, authority, addr, "echo"), "lobby") }()

	alice, err := chat.NewClient(ctx, dial(ctx, authority, addr, "alice"), chat.ClientConfig{})
	check(err)
	check(alice.Join(ctx, "lobby", chat.Live()))
	for event, err := range alice.Events(ctx) {
		check(err)
		here := false
		switch e := event.(type) {
		case *chat.Joined:
			here = len(e.Members) == 2
		case *chat.Presence:
			here = e.State == chat.PresenceJoined
		case *chat.Sent:
			fmt.Println("the log has it at", e.Position)
		case *chat.Message:
			fmt.Println(e.Position, e.From, "says", e.Text)
			check(alice.Close()) // the loop ends when all is answered
		}
		if here {
			_, err := alice.Publish(ctx, "lobby", "is anybody there?")
			check(err)
		}
	}
	dismiss(errors.New("dismissed"))
	fmt.Println(<-gone)
	// Output:
	// the log has it at 1:1
	// 1:2 echo says IS ANYBODY THERE?
	// dismissed
}

// serve starts a server with rooms in memory.
func serve(ctx context.Context) (authority *certs.Authority, addr string, stop func()) {
	authority, err := certs.NewAuthority(certs.Env{})
	check(err)
	cred, err := authority.IssueServer([]string{"localhost"})
	check(err)
	rooms := chat.NewServer(chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1}), Domain: authority.Domain()})
	server, err := transport.Listen(&transport.Config{
		Credentials: cred,
		Addr:        "127.0.0.1:0",
		Handlers:    map[transport.StreamType]transport.Handler{transport.StreamChat: rooms.ServeStream},
	})
	check(err)
	go func() { _ = server.Serve(ctx) }() // ends with stop
	return authority, server.Addr().String(), func() {
		check(server.Close())
		rooms.Close()
	}
}

func dial(ctx context.Context, authority *certs.Authority, addr, name string) *transport.Session {
	cred, err := authority.IssueUser(name)
	check(err)
	session, err := transport.Dial(ctx, addr, &transport.Config{Credentials: cred})
	check(err)
	return session
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
