package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// jetstreamPeer is NATS JetStream, each message on the disk before it is acknowledged. A room is a stream with one
// subject, and each subscriber an ordered consumer.
func jetstreamPeer() *peer {
	return &peer{
		name:         "jetstream",
		durableOnly:  true,
		serveDurable: serveJetStream,
		chat:         func(addr string, keys *keySet) (chatDialer, error) { return &jetstreamChat{natsChat{addr, keys}}, nil },
	}
}

func serveJetStream(dir string, keys *keySet) (server, error) {
	return serveNATSWith(keys, func(o *natsserver.Options) {
		o.JetStream, o.StoreDir, o.SyncAlways = true, dir, true
	})
}

type jetstreamChat struct{ natsChat }

// open returns a connection to the room's stream, which it makes if there is none.
func (d *jetstreamChat) open(room string, opts ...nats.Option) (*nats.Conn, nats.JetStreamContext, error) {
	nc, err := d.connect(opts...)
	if err != nil {
		return nil, nil, err
	}
	js, err := nc.JetStream(nats.PublishAsyncMaxPending(fanoutWindow), nats.PublishAsyncErrHandler(func(nats.JetStream, *nats.Msg, error) { nc.Close() }))
	if err == nil {
		_, err = js.AddStream(&nats.StreamConfig{Name: room, Subjects: []string{room}, Storage: nats.FileStorage})
		if errors.Is(err, nats.ErrStreamNameAlreadyInUse) {
			err = nil
		}
	}
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("stream: %w", err)
	}
	return nc, js, nil
}

func (d *jetstreamChat) subscribe(room string, s *subscriber) (io.Closer, error) {
	nc, js, err := d.open(room, nats.ClosedHandler(func(*nats.Conn) { s.fail(nats.ErrConnectionClosed) }))
	if err != nil {
		return nil, err
	}
	if _, err := js.Subscribe(room, func(m *nats.Msg) { deliver(s, m.Data) }, nats.OrderedConsumer(), nats.DeliverNew()); err != nil {
		nc.Close()
		return nil, err
	}
	return natsCloser{nc}, nc.Flush()
}

func (d *jetstreamChat) stall(room string) error {
	_, js, err := d.open(room)
	if err != nil {
		return err
	}
	_, err = js.Subscribe(room, func(*nats.Msg) { select {} }, nats.OrderedConsumer(), nats.DeliverNew())
	return err
}

func (d *jetstreamChat) publisher(room string) (publisher, error) {
	nc, js, err := d.open(room)
	return &jetstreamPublisher{natsCloser{nc}, js, room}, err
}

type jetstreamPublisher struct {
	natsCloser
	js   nats.JetStreamContext
	room string
}

func (p *jetstreamPublisher) publish(line []byte) error {
	_, err := p.js.PublishAsync(p.room, append([]byte(nil), line...)) // which keeps it until it is acknowledged
	return err
}

// acknowledged waits for all acknowledgements.
func (p *jetstreamPublisher) acknowledged() error {
	select {
	case <-p.js.PublishAsyncComplete():
		return nil
	case <-time.After(turnTime):
		return errors.New("lines are not acknowledged")
	}
}
