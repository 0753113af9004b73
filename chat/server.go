package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Config configures a [Server]. Log is required; every other field's zero value works.
type Config struct {
	// Log keeps the records.
	Log Log

	// Domain is the server's own trust domain: its users appear by their bare names, all
	// others by their whole SPIFFE ID. Default: everyone by the whole.
	Domain string

	// Logger gets what is of use to who runs the server. Default: discarded.
	Logger *slog.Logger

	// Authorize decides whether an identity may do something in a room, when it is asked for: to join with
	// every JOIN, to speak with the first PUBLISH, and again after [Server.Reauthorize]. What it allows the room's own roles
	// may still refuse. The answer must not
	// depend on whether the room exists (C8). An [*Error] refuses with its code and reason; any other error
	// as PermissionDenied, and its text stays here. It must be quick, for a room waits for it, and is called
	// by many goroutines. Default: everyone may do everything.
	Authorize func(who certs.ID, room string, verb Verb) error

	// Administrator says whether an identity is an administrator of the server, who may do in every room what its owners
	// may, if Authorize allows it. It must be quick, for a room waits for it, and is called by many goroutines. When its answers
	// change, call [Server.Reauthorize]. Default: nobody is.
	Administrator func(who certs.ID) bool

	// AllowLines counts n messages that an identity wants to publish, and returns how many of them it may
	// now. The others are rejected with ResourceExhausted. It is called by many goroutines. Default: all.
	AllowLines func(who certs.ID, n int) int

	// MaxBody is the longest text of a message, in bytes. Default 64 KiB.
	MaxBody int

	// MaxRooms is how many rooms may have members at once. Default 1,000.
	MaxRooms int

	// MaxSessionRooms is how many rooms one session may be in at once. Default 100.
	MaxSessionRooms int

	// TrimToSyncPoints has the log forget what is before a room's newest confirmed synchronization point, the record of which stays: then it is no history,
	// and is not found, either, and who was away is told of a gap. So whoever may keep order in a room has what was said in it forgotten. Default: the log alone
	// decides what it keeps.
	TrimToSyncPoints bool

	// ObserveCommit is told of each append to the log, in the goroutine of the room, which waits for it.
	// Default: nobody is.
	ObserveCommit func(CommitStats)
}

const (
	// maxReplies and maxReplyBytes bound the replies that wait for one session to read
	// them. A session that asks without reading is aborted with ExcessiveLoad.
	maxReplies    = 4096
	maxReplyBytes = 1 << 20
	// maxUnanswered is how many bytes of messages of one session may wait for the log. Its stream
	// is not read while there are more.
	maxUnanswered = 256 << 10
	// maxPiece is how much of one PUBLISH waits for the log together, if it has more than one
	// message: less than maxUnanswered, so that reading goes on while a piece is appended.
	maxPiece = 64 << 10
	// roomMailbox is how many requests may wait for one room. Whoever sends more waits.
	roomMailbox = 128
	// messageCost is what a message that waits counts beside its body, in bytes.
	messageCost = 256
	// maxBatch bounds what is appended to the log in one call, in bytes: to half of a ring, or
	// one batch could throw all readers back to the log.
	maxBatch = ringBytes / 2
)

// A Server keeps rooms and serves the chat streams of sessions. Make one with
// [NewServer], and give its ServeStream to transport.Config.Handlers. It is safe for
// concurrent use.
type Server struct {
	cfg    Config
	log    *slog.Logger
	limit  transport.FrameLimit // of what clients send
	ctx    context.Context      // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // handlers, actors, and what follows the end of sessions

	counters   counters
	producer   Producer      // of the records that the server makes
	changes    atomic.Uint64 // how many it has made
	generation atomic.Uint64 // of what Authorize has answered; from 1
	draining   atomic.Bool
	turns      turns

	bigRoom, smallRoom int // the constants, but for tests

	mu       sync.Mutex // guards what follows
	closed   bool
	rooms    map[string]*room
	sessions map[*transport.Session]*session
}

// NewServer returns a server of the rooms in cfg.Log. Those in which somebody had the floor, or waited for it, it begins to look after.
func NewServer(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.MaxBody, defaultMaxBody)
	setDefault(&cfg.MaxRooms, 1000)
	setDefault(&cfg.MaxSessionRooms, 100)
	srv := &Server{
		cfg:       cfg,
		log:       cfg.Logger,
		limit:     serverLimit(cfg.MaxBody),
		bigRoom:   bigRoom,
		smallRoom: smallRoom,
		rooms:     make(map[string]*room),
		sessions:  make(map[*transport.Session]*session),
	}
	srv.generation.Store(1)
	_, _ = rand.Read(srv.producer[:]) // never fails
	srv.ctx, srv.cancel = context.WithCancel(context.Background())
	srv.wg.Go(srv.tendOpenFloors)
	return srv
}

// Drain says that the server goes away, before the transport is shut down: those who have the floor of a room, or wait for it, go
// with it, and have come to no end. They find that as it was when the next server serves the log, if they are there in time.
func (srv *Server) Drain() { srv.draining.Store(true) }

// Close ends all chat streams with a reset and stops the rooms at once, and waits until
// both are done. To end in order, shut the transport down first. The log stays open.
func (srv *Server) Close() {
	srv.mu.Lock()
	srv.closed = true
	srv.mu.Unlock()
	srv.cancel() // resets the streams, too
	srv.wg.Wait()
}

// begin counts something that Close waits for, unless the server is closed.
func (srv *Server) begin() bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.closed {
		return false
	}
	srv.wg.Add(1)
	return true
}

// ServeStream serves one chat stream until its end. It is a [transport.Handler]. A newer
// stream of the same session takes the place of the older; the rooms of that one are joined
// again.
func (srv *Server) ServeStream(ctx context.Context, str *transport.Stream) {
	if !srv.begin() {
		return
	}
	defer srv.wg.Done()
	ts := str.Session()
	s := srv.session(ts)
	if s == nil {
		return
	}
	str.SetUrgency(transport.UrgencyChat, false)
	c := newConn(s, str)
	defer close(c.done)
	srv.counters.streams.Add(1)
	defer srv.counters.streams.Add(-1)
	older, ok := s.attach(c, func(old *conn) bool {
		// Handlers may start in any order, also those of a connection that has been replaced.
		o, ok := old.str.(*transport.Stream)
		return ok && (o.Attempt() > str.Attempt() || o.Attempt() == str.Attempt() && o.ID() > str.ID())
	})
	if !ok {
		return
	}
	if older != nil {
		older.str.Cancel(transport.StreamNoError)
		<-older.done
	}
	stop := context.AfterFunc(srv.ctx, func() { str.Cancel(transport.StreamGoingAway) })
	defer stop()
	c.serve(ctx)
}

// session returns what the server has of a session, or nil when it is closed.
func (srv *Server) session(ts *transport.Session) *session {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.closed {
		return nil
	}
	s := srv.sessions[ts]
	if s == nil {
		s = &session{
			srv:   srv,
			ctx:   ts.Context(),
			abort: ts.Abort,
			id:    ts.ID(),
			peer:  ts.Peer().ID, // which stays the same across connections
			who:   srv.wireName(ts.Peer().ID),
			rooms: make(map[string]*claim),
		}
		s.floor = floorSession(s.id, s.who)
		srv.sessions[ts] = s
		context.AfterFunc(ts.Context(), func() { srv.sessionEnded(ts, s) })
	}
	return s
}

// sessionEnded takes an ended session out of the rooms that it was held in.
func (srv *Server) sessionEnded(ts *transport.Session, s *session) {
	srv.mu.Lock()
	delete(srv.sessions, ts)
	srv.mu.Unlock()
	if !srv.begin() {
		return
	}
	defer srv.wg.Done()
	s.tellRooms(nil, endOf(context.Cause(s.ctx)))
}

// wireName returns the name by which others know an identity.
func (srv *Server) wireName(id certs.ID) string {
	if id.Domain == srv.cfg.Domain && id.Name != "" {
		return id.Name
	}
	return id.String()
}

// room returns the actor of a room, and one for which the caller may send it one
// request. With create it is started if need be. If it is nil, there is no such room, or err
// tells why.
func (srv *Server) room(name string, create bool) (*room, *Error) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	r := srv.rooms[name]
	if r == nil {
		if srv.closed {
			return nil, errorf(rpc.Unavailable, "the server is closed")
		}
		if !create {
			return nil, nil
		}
		if len(srv.rooms) >= srv.cfg.MaxRooms {
			return nil, errorf(rpc.ResourceExhausted, "the server has no place for another room")
		}
		r = newRoom(srv, name)
		srv.rooms[name] = r
		srv.wg.Go(r.run)
	}
	r.refs++
	return r, nil
}

// unref gives back n references to r, and says whether it was the last. Then r is not
// found any more.
func (srv *Server) unref(r *room, n int) (last bool) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	r.refs -= n
	if r.refs > 0 {
		return false
	}
	delete(srv.rooms, r.name)
	return true
}

// An ending is how a session's presence in a room ends.
type ending uint8

const (
	endLeft     ending = iota + 1 // in order: the membership is over
	endLost                       // otherwise: held until the session ends or comes back
	endReplaced                   // a newer stream is there, or about to be
)

// endOf says what the end of a stream, or of a session, means for presence.
func endOf(err error) ending {
	if code, ok := transport.CodeOf(err); ok {
		switch {
		case code == transport.Replaced:
			return endReplaced
		case code.Class() == transport.ClassGraceful:
			return endLeft
		}
	}
	return endLost
}

// isProtocolError says whether err is the peer's break of the protocol.
func isProtocolError(err error) bool {
	if _, ok := errors.AsType[*malformedError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*transport.FrameTooLargeError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*transport.UnknownFrameError](err); ok {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) // the stream ended inside a frame
}
