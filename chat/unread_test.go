package chat_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A bot that answers each of very many lines, and so comes to wait for acknowledgements that it alone could take, is told, and not left to wait
// for ever. It goes on with the next event, and loses nothing.
func TestABotThatWaitsForItselfIsTold(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		for range 50 {
			_, err := alice.Publish(t.Context(), "lobby", "x")
			require.NoError(t, err)
		}
		alice.say("lobby", "last")
		bot, err := chat.NewClient(t.Context(), h.net.Dial(h.srv, "bot", transport.Config{}), chat.ClientConfig{MaxUnacknowledged: 10})
		require.NoError(t, err)
		require.NoError(t, bot.Join(t.Context(), "lobby", chat.Last(51)))
		told, lines, sent := 0, 0, 0
		for event, err := range bot.Events(t.Context()) {
			require.NoError(t, err)
			switch e := event.(type) {
			case *chat.Message:
				lines++
				began := time.Now()
				if _, err := bot.Publish(t.Context(), "lobby", "re: "+e.Text); err != nil {
					assert.ErrorIs(t, err, chat.ErrUnread)
					assert.Equal(t, 10*time.Second, time.Since(began))
					told++
				}
			case *chat.Sent:
				sent++
			}
			if lines == 51 && sent == 51-told {
				break
			}
		}
		assert.Equal(t, 41, told)
		assert.Zero(t, bot.Unacknowledged())
	})
}

// Who waits while somebody else takes the events, or the connection is down, goes on waiting.
func TestPublishWaitsForLongWhileEventsAreTaken(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		h.clients.MaxUnacknowledged = 1
		alice := h.join("alice", "lobby")
		log.set(func() error { time.Sleep(time.Minute); return nil }, nil, nil)
		for range 3 {
			_, err := alice.Publish(t.Context(), "lobby", "x")
			require.NoError(t, err)
		}
	})
}

// Whatever a call waits for, Close, its context and the end of the session end it.
func TestEveryWaitOfAClientEnds(t *testing.T) {
	gone := errors.New("gone")
	for name, end := range map[string]struct {
		do   func(c *chat.Client, s *transport.Session, cancel context.CancelCauseFunc)
		want func(t *testing.T, err error)
	}{
		"close":   {func(c *chat.Client, _ *transport.Session, _ context.CancelCauseFunc) { _ = c.Close() }, func(t *testing.T, err error) { assert.ErrorIs(t, err, chat.ErrClosed) }},
		"context": {func(_ *chat.Client, _ *transport.Session, cancel context.CancelCauseFunc) { cancel(gone) }, func(t *testing.T, err error) { assert.ErrorIs(t, err, gone) }},
		"session": {func(_ *chat.Client, s *transport.Session, _ context.CancelCauseFunc) {
			s.Abort(transport.Aborted, "enough")
		}, func(t *testing.T, err error) { assert.Equal(t, transport.Aborted, code(err)) }},
	} {
		for call, ask := range map[string]func(ctx context.Context, c *chat.Client) error{
			"publish": func(ctx context.Context, c *chat.Client) error { _, err := c.Publish(ctx, "r", "x"); return err },
			"join":    func(ctx context.Context, c *chat.Client) error { return c.Join(ctx, "r", chat.Live()) },
			"leave":   func(ctx context.Context, c *chat.Client) error { return c.Leave(ctx, "r") },
			"resync":  func(ctx context.Context, c *chat.Client) error { return c.Resync(ctx, "r", chat.Live()) },
		} {
			t.Run(name+" in "+call, func(t *testing.T) {
				fakeServer(t, nil, func(t *testing.T, u *user) { // which answers nothing
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					answered := make(chan error, 1)
					go func() {
						for {
							if err := ask(ctx, u.Client); err != nil {
								answered <- err
								return
							}
						}
					}()
					synctest.Wait()
					require.Empty(t, answered, "it waits")
					end.do(u.Client, u.session, cancel)
					synctest.Wait()
					require.NotEmpty(t, answered)
					end.want(t, <-answered)
				})
			})
		}
	}
}

// S5: a server that rejects the JOIN of a resumed client over and over is asked again once a second, and not once for each rejection.
func TestS5RejectionsWithoutAJoinEndTheClient(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.rover("alice", "r")
		addr := h.net.Kill(h.srv)
		h.chat.Close()
		unavailable := frame(0x0d, &chatpb.Rejected{Request: chatpb.Rejected_REQUEST_JOIN, Room: []byte("r"), Code: uint32(rpc.Unavailable)})
		joins := 0
		h.srv = h.net.Listen(transport.Config{PacketConn: h.net.ConnAt(addr), Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamChat: func(_ context.Context, s *transport.Stream) {
				for range 3 { // each is answered once
					if _, _, err := s.ReadFrame(anyFrame); err != nil {
						return
					}
					joins++
					_, _ = s.Write(unavailable)
				}
				_, _ = s.Write(unavailable)
				_, _, _ = s.ReadFrame(anyFrame)
			},
		}})
		require.ErrorContains(t, alice.ended(), "REJECTED without JOIN")
		assert.Equal(t, transport.Protocol, code(alice.session.Wait(t.Context())))
		assert.Equal(t, 3, joins)
	})
}
