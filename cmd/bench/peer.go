package main

import (
	"context"
	"io"
	"net"
	"slices"
)

// A peer is something to be compared. A nil constructor means that it has nothing of the kind.
type peer struct {
	name      string
	unaryOnly bool // it has no streams

	durableOnly bool // it takes part only where lines are on the disk before they are acknowledged

	// serve starts the server of a suite on a port of the loopback of its choice.
	serve func(suite string, keys *keySet) (server, error)

	// serveDurable is serve for the chat works that ask for lines on the disk, which it keeps in dir. Who has none takes no
	// part in them.
	serveDurable func(dir string, keys *keySet) (server, error)

	rpc     func(addr string, keys *keySet) (rpcConn, error)
	chat    func(addr string, keys *keySet) (chatDialer, error)
	session func(addr string, keys *keySet) (sessionDialer, error)

	// serveOn starts a server of the suite session on a socket, with a stateless reset key.
	serveOn func(pc net.PacketConn, key [32]byte, keys *keySet) (stop func(), err error)

	survive func(ctx context.Context, addr string, keys *keySet) (survivor, error)
}

// A server is what a server process runs, to its end.
type server interface {
	Addr() string
}

// An rpcConn is one connection to an rpc server.
type rpcConn interface {
	io.Closer

	// newCaller returns the function with which one goroutine makes one call after the
	// other. What it returns is valid until its next call.
	newCaller() func(payload []byte) ([]byte, error)

	// stream makes the call of a server stream. It ends with ctx, or when each returns an error.
	stream(ctx context.Context, req streamRequest, each func(msg []byte) error) error

	// exchange returns the function that sends one message on a bidi stream and returns
	// what comes back, and one that ends the stream in order.
	exchange() (func(payload []byte) ([]byte, error), func() error, error)
}

// A chatDialer makes publishers and subscribers, each with a connection of its own.
type chatDialer interface {
	// subscribe returns when every later line will come. It calls deliver for each in a
	// goroutine of its own, and s.fail when no more can come, until it is closed.
	subscribe(room string, s *subscriber) (io.Closer, error)

	publisher(room string) (publisher, error)
}

// A staller is a chatDialer with subscribers that read nothing.
type staller interface {
	// stall subscribes one, for as long as the process lives.
	stall(room string) error
}

// A publisher publishes lines.
type publisher interface {
	io.Closer

	// publish may keep a line back for as long as it takes to write those before it. It copies it.
	publish(line []byte) error

	// acknowledged waits until the server has acknowledged all lines, if it does that.
	acknowledged() error
}

// A sessionDialer makes sessions.
type sessionDialer interface {
	// dial returns when the server has accepted the session.
	dial(ctx context.Context) (session, error)
}

// A session is what a server holds for one client.
type session interface {
	// join enters room.
	join(ctx context.Context, room string) error

	// joinLast enters room, and returns when the newest line of its history is there.
	joinLast(ctx context.Context, room string) (line string, err error)

	// publish appends a line to a room that was joined, and returns when the server has it.
	publish(ctx context.Context, room, line string) error

	// release ends the session in order.
	release(ctx context.Context) error
}

// peers returns all of them, in the order of the tables.
func peers() []*peer {
	return []*peer{
		trunklinePeer(),
		floorPeer(),
		grpcPeer(),
		connectPeer("connect-h2"),
		connectPeer("connect-h3"),
		netrpcPeer(),
		natsPeer(),
		jetstreamPeer(),
	}
}

func peerNamed(name string) *peer {
	all := peers()
	if i := slices.IndexFunc(all, func(p *peer) bool { return p.name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// has says whether the peer takes part in a suite.
func (p *peer) has(suite string) bool {
	switch suite {
	case suiteRPC:
		return p.rpc != nil
	case suiteChat:
		return p.chat != nil
	case suiteSession:
		return p.session != nil
	}
	return false
}
