package main

import (
	"context"
	"errors"
	"io"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// The methods that every server has. Their messages are JSON.
var (
	// echoSay answers with the text that it got.
	echoSay = rpc.Unary[echoMessage, echoMessage]("trunkline.Echo/Say")
	// echoChat answers each message with the same text, until the caller has no more.
	echoChat = rpc.Bidi[echoMessage, echoMessage]("trunkline.Echo/Chat")
	// whoAmI says whom the server sees.
	whoAmI = rpc.Unary[whoAmIRequest, whoAmIResponse]("trunkline.Session/WhoAmI", rpc.Idempotent())
)

type echoMessage struct {
	Text string `json:"text"`
}

type whoAmIRequest struct{}

type whoAmIResponse struct {
	Identity    string `json:"identity"`    // SPIFFE ID
	Name        string `json:"name"`        // of the user, in the server's own domain
	Fingerprint string `json:"fingerprint"` // of the certificate's key
	Session     string `json:"session"`     // id, in hex
	Address     string `json:"address"`     // that the packets came from
}

// builtins returns the methods of this file.
func builtins(cfg rpc.Config, guard *gate) *methods {
	ms := newMethods(cfg, guard)
	handle(ms, forEveryone, echoSay, func(_ context.Context, req *echoMessage) (*echoMessage, error) {
		return req, nil
	})
	handle(ms, forEveryone, echoChat, func(_ context.Context, stream *rpc.Stream[echoMessage, echoMessage]) error {
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	})
	handle(ms, forSessions, whoAmI, func(ctx context.Context, _ *whoAmIRequest) (*whoAmIResponse, error) {
		s := transport.SessionFrom(ctx)
		p := s.Peer()
		return &whoAmIResponse{
			Identity:    p.ID.String(),
			Name:        p.ID.Name,
			Fingerprint: p.Fingerprint.String(),
			Session:     s.ID().String(),
			Address:     p.Addr.String(),
		}, nil
	})
	return ms
}
