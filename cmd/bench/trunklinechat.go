package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// trunklineChat makes every publisher and subscriber a session of its own, of one identity
// with many devices: a thousand identities would first tell each other of their presence.
type trunklineChat struct {
	addr string
	keys *keySet
}

// member is a session in a room.
type member struct {
	*chat.Client
	s *transport.Session
}

func (m *member) Close() error {
	m.s.Abort(transport.Aborted, "done")
	return nil
}

func (d *trunklineChat) join(room string) (*member, error) {
	ctx := context.Background()
	cred, err := d.keys.credentials(d.keys.Client)
	if err != nil {
		return nil, err
	}
	s, err := dialTrunkline(ctx, d.addr, cred, true)
	if err != nil {
		return nil, err
	}
	c, err := joinRoom(ctx, s, room, chat.Live())
	return &member{c, s}, err
}

// joinRoom joins, and returns when that has been answered.
func joinRoom(ctx context.Context, s *transport.Session, room string, from chat.From) (*chat.Client, error) {
	c, err := chat.NewClient(ctx, s, chat.ClientConfig{ReuseMessages: true})
	if err != nil {
		return nil, err
	}
	if err := c.Join(ctx, room, from); err != nil {
		return nil, err
	}
	event, err := c.Next(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := event.(*chat.Joined); !ok {
		return nil, fmt.Errorf("answer to the join is %+v", event)
	}
	return c, nil
}

func (d *trunklineChat) subscribe(room string, s *subscriber) (io.Closer, error) {
	m, err := d.join(room)
	if err != nil {
		return nil, err
	}
	go func() { // ends with the session
		for {
			event, err := m.Next(context.Background())
			if err != nil {
				s.fail(err)
				return
			}
			if line, ok := event.(*chat.Message); ok {
				deliver(s, line.Text)
			}
		}
	}()
	return m, nil
}

func (d *trunklineChat) stall(room string) error {
	_, err := d.join(room)
	return err
}

func (d *trunklineChat) publisher(room string) (publisher, error) {
	m, err := d.join(room)
	if err != nil {
		return nil, err
	}
	p := &trunklinePublisher{member: m, room: room, failed: make(chan error, 1)}
	go p.read() // ends with the session
	return p, nil
}

type trunklinePublisher struct {
	*member
	room   string
	failed chan error
}

// read takes the acknowledgements, without which Publish would come to wait.
func (p *trunklinePublisher) read() {
	for {
		event, err := p.Next(context.Background())
		if r, ok := event.(*chat.Rejected); ok {
			err = fmt.Errorf("rejected: %s", r.Reason)
		}
		if err != nil {
			p.failed <- err
			return
		}
	}
}

func (p *trunklinePublisher) publish(line []byte) error {
	select {
	case err := <-p.failed:
		return err
	default:
	}
	_, err := p.Publish(context.Background(), p.room, string(line))
	return err
}

func (p *trunklinePublisher) acknowledged() error {
	for deadline := time.Now().Add(turnTime); p.Unacknowledged() > 0; time.Sleep(time.Millisecond) {
		select {
		case err := <-p.failed:
			return err
		default:
		}
		if time.Now().After(deadline) {
			return errors.New("lines are not acknowledged")
		}
	}
	return nil
}

// trunklineDialer makes sessions with the default timeouts.
type trunklineDialer struct {
	addr string
	cred *certs.Credentials
}

// newTrunklineDialer reads the keys, as all peers do once, before their first session.
func newTrunklineDialer(addr string, keys *keySet) (sessionDialer, error) {
	cred, err := keys.credentials(keys.Client)
	return &trunklineDialer{addr, cred}, err
}

func (d *trunklineDialer) dial(ctx context.Context) (session, error) {
	s, err := dialTrunkline(ctx, d.addr, d.cred, false)
	if err != nil {
		return nil, err
	}
	return &trunklineSession{s: s}, nil
}

type trunklineSession struct {
	s    *transport.Session
	chat *chat.Client // after a join
}

func (t *trunklineSession) join(ctx context.Context, room string) error {
	var err error
	if t.chat, err = joinRoom(ctx, t.s, room, chat.Live()); err != nil {
		return err
	}
	return nil
}

func (t *trunklineSession) joinLast(ctx context.Context, room string) (string, error) {
	var err error
	if t.chat, err = joinRoom(ctx, t.s, room, chat.Last(1)); err != nil {
		return "", err
	}
	for {
		event, err := t.chat.Next(ctx)
		if err != nil {
			return "", err
		}
		if m, ok := event.(*chat.Message); ok {
			return m.Text, nil
		}
	}
}

func (t *trunklineSession) publish(ctx context.Context, room, line string) error {
	if _, err := t.chat.Publish(ctx, room, line); err != nil {
		return err
	}
	for {
		event, err := t.chat.Next(ctx)
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case *chat.Sent:
			return nil
		case *chat.Rejected:
			return fmt.Errorf("rejected: %s", e.Reason)
		}
	}
}

func (t *trunklineSession) release(ctx context.Context) error {
	if t.chat != nil {
		if err := t.chat.Close(); err != nil {
			return err
		}
		for {
			if _, err := t.chat.Next(ctx); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
	}
	return t.s.Release(ctx)
}
