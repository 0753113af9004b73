package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// Sizes of the hello and of its answer as Trunkline has them, and of a ping that draws a
// stateless reset.
const (
	floorHello   = 60
	floorWelcome = 70
	floorPing    = 48
	floorPings   = 5 * time.Second
)

// serveFloorControl answers the hello, and then every ping.
func serveFloorControl(str *quic.Stream, first []byte) error {
	if len(first) != floorHello {
		return errors.New("malformed hello")
	}
	if _, err := str.Write(make([]byte, floorWelcome)); err != nil {
		return err
	}
	var ping [floorPing]byte
	for {
		_, err := io.ReadFull(str, ping[:])
		if errors.Is(err, io.EOF) {
			return str.Close()
		}
		if err != nil {
			return err
		}
		if _, err := str.Write(ping[:]); err != nil {
			return err
		}
	}
}

type floorDialer struct {
	addr string
	conf *tls.Config
}

func newFloorDialer(addr string, keys *keySet) (sessionDialer, error) {
	conf, err := keys.clientTLS(floorALPN)
	return &floorDialer{addr, conf}, err
}

func (d *floorDialer) dial(ctx context.Context) (session, error) {
	conn, closeSocket, err := dialFloor(ctx, d.addr, d.conf, floorIdle(suiteSession))
	if err != nil {
		return nil, err
	}
	s := &floorSession{conn: conn, closeSocket: closeSocket}
	if s.control, err = conn.OpenStreamSync(ctx); err != nil {
		return nil, err
	}
	hello := make([]byte, 1+floorHello)
	hello[0] = floorControl
	if _, err := s.control.Write(hello); err != nil {
		return nil, err
	}
	var welcome [floorWelcome]byte
	if _, err := io.ReadFull(s.control, welcome[:]); err != nil {
		return nil, err
	}
	s.reading.Go(s.readControl)
	s.mu.Lock()
	s.pings = time.AfterFunc(floorPings, s.ping)
	s.mu.Unlock()
	return s, nil
}

// A floorSession has a control stream and a reader of it on either side, as Trunkline's has.
type floorSession struct {
	conn        *quic.Conn
	closeSocket func()
	control     *quic.Stream
	room        *floorReader
	reading     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	pings *time.Timer
}

func (s *floorSession) readControl() {
	var pong [floorPing]byte
	for {
		if _, err := io.ReadFull(s.control, pong[:]); err != nil {
			return
		}
	}
}

func (s *floorSession) ping() {
	var ping [floorPing]byte
	if _, err := s.control.Write(ping[:]); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pings.Reset(floorPings)
}

func (s *floorSession) join(_ context.Context, room string) error {
	var err error
	s.room, err = openRoom(s.conn, floorJoin, room)
	return err
}

func (s *floorSession) joinLast(_ context.Context, room string) (string, error) {
	var err error
	if s.room, err = openRoom(s.conn, floorJoinLast, room); err != nil {
		return "", err
	}
	line, err := s.room.next()
	return string(line), err
}

func (s *floorSession) publish(_ context.Context, room, line string) error {
	out, err := openRoom(s.conn, floorPublish, room)
	if err != nil {
		return err
	}
	if err := writeAndClose(out.str, appendFloorMessage(nil, []byte(line))); err != nil {
		return err
	}
	if _, err := out.next(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("the line was not taken"), err)
	}
	return nil
}

func (s *floorSession) release(context.Context) error {
	s.mu.Lock()
	s.pings.Stop()
	s.mu.Unlock()
	err := s.conn.CloseWithError(0, "")
	s.reading.Wait()
	s.closeSocket()
	return err
}
