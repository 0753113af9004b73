package transport

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
)

// Connection migration (RFC 9000, section 9). A client whose packets come from another address, because a NAT
// has forgotten it or the machine has changed networks under a socket that is bound to no address, needs to
// do nothing: the server finds out, validates the new address, and answers there. Migrate is for who knows
// that another way is better.

// maxSockets bounds the sockets that one connection of a client's may have had.
const maxSockets = 16

// A socket is what a client's connection sends and receives on.
type socket struct {
	pc net.PacketConn
	tr *quic.Transport
}

func socketOn(pc net.PacketConn) socket { return socket{pc, &quic.Transport{Conn: pc}} }

func (s socket) close() {
	_ = s.tr.Close() // nothing is left on it
	_ = s.pc.Close()
}

// closeSockets is for after the end of the connection: to close one before would end it, for
// quic-go v0.65 takes a connection to be on every socket that it was ever probed on.
func (l *link) closeSockets() {
	l.mu.Lock()
	sockets := l.sockets
	l.mu.Unlock()
	for _, s := range sockets {
		s.close()
	}
}

// Migrate moves the connection that carries a client's session to a new socket, for which
// [Config.NewPacketConn] is asked: to another network interface, say. Calls and chat go on. It first probes
// the new path, and returns nil when the server has answered there and packets go that way; until then, and
// if it fails, they go the old way. It gives up when ctx ends, and returns its cause: a path that leads
// nowhere gives no other sign. If the connection ends meanwhile the error is how, and the session is resumed as
// always, on a socket of its own.
//
// A program need not call it when the machine changes networks. The default sockets are bound to no
// address, so packets leave by whatever way there is, and the server follows; if there is none for too long, the
// session is resumed.
//
// A detached session has nothing to move, and its [*Error] is returned. Not every server can be moved to: it may
// forbid migration. What a connection has been moved from, or could not be moved to, is closed with it; after 15
// moves no more are made. A restart of the server is then noticed by its silence, not at once.
func (s *Session) Migrate(ctx context.Context) error {
	if s.redial == nil {
		return errors.New("transport: only a client can move to another path")
	}
	s.mu.Lock()
	l, why := s.link, s.outcome
	if why == nil {
		why = s.cause
	}
	s.mu.Unlock()
	if l == nil {
		return why
	}
	l.mu.Lock()
	if l.outcome != nil || l.conn.Context().Err() != nil {
		l.mu.Unlock()
		<-l.closed
		return l.outcome
	}
	l.wg.Add(1) // before the sockets are closed
	l.mu.Unlock()
	defer l.wg.Done()
	return l.migrate(ctx)
}

func (l *link) migrate(ctx context.Context) error {
	pc, err := l.cfg.newSocket()
	if err != nil {
		return fmt.Errorf("no socket: %w", err)
	}
	to := socketOn(pc)
	path, err := l.conn.AddPath(to.tr)
	if err != nil {
		to.close()
		return fmt.Errorf("new path: %w", err)
	}
	l.mu.Lock()
	full := len(l.sockets) >= maxSockets
	if !full {
		l.sockets = append(l.sockets, to)
	}
	l.mu.Unlock()
	if full {
		to.close() // nothing has been sent on it
		return fmt.Errorf("this connection has had %d sockets already", maxSockets)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.conn.Context(), func() { cancel(net.ErrClosed) })()
	err = path.Probe(ctx)
	if err == nil {
		err = path.Switch()
	}
	if err != nil {
		_ = path.Close() // it is not the active one
		if l.conn.Context().Err() != nil {
			<-l.closed
			return l.outcome
		}
		return err
	}
	l.mu.Lock()
	old := l.path
	l.path = path
	l.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	l.log().Info("session moved", "session", l.sess.id, "to", pc.LocalAddr())
	// The server follows with the first packet that is no probe.
	return l.send(appendMessage(nil, framePing, &controlpb.Ping{Padding: make([]byte, pingPadding)}))
}
