package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// How long it takes until calls are answered again, after what happens to servers and networks.

// A survivor is a client that goes on.
type survivor interface {
	// call makes a call of 64 bytes. It may fail when its connection has ended; the next one is made on another.
	call(ctx context.Context) error

	// move takes the connection to a new socket.
	move(ctx context.Context) error

	close()
}

// surviveSize is the payload of a call, in bytes.
const surviveSize = 64

// settled is how long a connection lives before something happens to it: what follows a handshake is over.
const settled = 20 * time.Millisecond

// A pathChangeLoad times a change of the path and a call.
type pathChangeLoad struct {
	dial func(ctx context.Context) (survivor, error)
}

func (l *pathChangeLoad) run(s *section) error {
	ctx := context.Background()
	s.begin()
	for deadline := s.deadline(); time.Now().Before(deadline); {
		c, err := l.dial(ctx)
		if err != nil {
			return err
		}
		time.Sleep(settled)
		began := time.Now()
		if err = c.move(ctx); err == nil {
			err = c.call(ctx)
		}
		s.hist.record(time.Since(began))
		c.close()
		if err != nil {
			return err
		}
	}
	s.end()
	s.ops = int64(s.hist.total)
	return nil
}

// A restartLoad kills a server of its own, in this process, without a word, starts another with the same keys, and
// calls from then on until there is an answer.
type restartLoad struct {
	addr   *net.UDPAddr
	listen func(pc net.PacketConn) (stop func(), err error)
	dial   func(ctx context.Context) (survivor, error)

	pc   net.PacketConn
	stop func()
}

func (l *restartLoad) restart() error {
	if l.pc != nil {
		_ = l.pc.Close() // so that nothing can be said any more
		l.stop()
	}
	pc, err := net.ListenUDP("udp", l.addr)
	if err != nil {
		return err
	}
	l.pc, l.addr = pc, pc.LocalAddr().(*net.UDPAddr)
	l.stop, err = l.listen(pc)
	return err
}

func (l *restartLoad) run(s *section) error {
	ctx := context.Background()
	s.begin()
	for deadline := s.deadline(); time.Now().Before(deadline); {
		c, err := l.dial(ctx)
		if err != nil {
			return err
		}
		time.Sleep(settled)
		if err := l.restart(); err != nil {
			return err
		}
		began := time.Now()
		for tries := 0; ; tries++ {
			if err = c.call(ctx); err == nil || tries == 100 {
				break
			}
		}
		s.hist.record(time.Since(began))
		c.close()
		if err != nil {
			return err
		}
	}
	s.end()
	s.ops = int64(s.hist.total)
	return nil
}

// newSurviveLoad returns the load of a work about what sessions survive.
func newSurviveLoad(p *peer, r *role) (load, error) {
	if r.Work.Kind == kindPathChange {
		return &pathChangeLoad{func(ctx context.Context) (survivor, error) { return p.survive(ctx, r.Addr, r.Keys) }}, nil
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	l := &restartLoad{addr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	l.listen = func(pc net.PacketConn) (func(), error) { return p.serveOn(pc, key, r.Keys) }
	l.dial = func(ctx context.Context) (survivor, error) { return p.survive(ctx, l.addr.String(), r.Keys) }
	return l, l.restart()
}

type trunklineSurvivor struct{ s *transport.Session }

func surviveTrunkline(ctx context.Context, addr string, keys *keySet) (survivor, error) {
	cred, err := keys.credentials(keys.Client)
	if err != nil {
		return nil, err
	}
	s, err := transport.Dial(ctx, addr, &transport.Config{Credentials: cred})
	return trunklineSurvivor{s}, err
}

func (t trunklineSurvivor) call(ctx context.Context) error {
	res, err := methodEcho.Call(ctx, t.s, &bytesValue{Value: filler(surviveSize)})
	if err == nil && len(res.GetValue()) != surviveSize {
		err = errors.New("the answer is another")
	}
	return err
}

func (t trunklineSurvivor) move(ctx context.Context) error { return t.s.Migrate(ctx) }

func (t trunklineSurvivor) close() { t.s.Abort(transport.Aborted, "") }

func serveTrunklineOn(pc net.PacketConn, key [32]byte, keys *keySet) (stop func(), err error) {
	s, err := newTrunklineServer(suiteSession, keys, chat.NewMemoryLog(chat.MemoryLogConfig{}), func(cfg *transport.Config) { cfg.PacketConn, cfg.StatelessResetKey = pc, &key })
	if err != nil {
		return nil, err
	}
	return func() { _ = s.srv.Close() }, nil
}

// A floorSurvivor connects again at once.
type floorSurvivor struct {
	addr    string
	conf    *tls.Config
	rpc     *floorRPC
	caller  func([]byte) ([]byte, error)
	sockets []func()
}

func surviveFloor(ctx context.Context, addr string, keys *keySet) (survivor, error) {
	conf, err := keys.clientTLS(floorALPN)
	if err != nil {
		return nil, err
	}
	f := &floorSurvivor{addr: addr, conf: conf}
	return f, f.connect(ctx)
}

func (f *floorSurvivor) connect(ctx context.Context) error {
	conn, closeSocket, err := dialFloor(ctx, f.addr, f.conf, floorIdle(suiteSession))
	if err != nil {
		return err
	}
	f.rpc = &floorRPC{conn, closeSocket}
	f.caller = f.rpc.newCaller()
	return nil
}

func (f *floorSurvivor) call(ctx context.Context) error {
	if f.rpc.conn.Context().Err() != nil {
		f.rpc.closeSocket()
		if err := f.connect(ctx); err != nil {
			return err
		}
	}
	res, err := f.caller(filler(surviveSize))
	if err == nil && len(res) != surviveSize {
		err = errors.New("the answer is another")
	}
	return err
}

func (f *floorSurvivor) move(ctx context.Context) error {
	pc, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	tr := &quic.Transport{Conn: pc}
	f.sockets = append(f.sockets, func() { _ = tr.Close(); _ = pc.Close() })
	path, err := f.rpc.conn.AddPath(tr)
	if err != nil {
		return err
	}
	if err := path.Probe(ctx); err != nil {
		return err
	}
	return path.Switch()
}

func (f *floorSurvivor) close() {
	_ = f.rpc.Close()
	for _, closeSocket := range f.sockets {
		closeSocket()
	}
}

func serveFloorOn(pc net.PacketConn, key [32]byte, keys *keySet) (stop func(), err error) {
	tr := &quic.Transport{Conn: pc, StatelessResetKey: (*quic.StatelessResetKey)(&key)}
	if _, err := newFloorServer(tr, suiteSession, keys); err != nil {
		return nil, err
	}
	return func() { _ = tr.Close() }, nil
}
