package transport

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// An Ending is how a session, or a connection, ended: [Error] without its text. There are few:
// a code that is not in the registry, which a peer may choose, appears as the first of its class
// in the registry (M19).
type Ending struct {
	Code   CloseCode
	Remote bool // the peer decided it
}

// Stats says what a server does now, and what it has done since [Listen]; what it has done only rises.
type Stats struct {
	Live     int // sessions that a connection carries
	Detached int // sessions that are held for their clients
	Greeting int // connections behind their handshake that have not come to WELCOME
	Streams  int // open on the live sessions, either way; control streams are not counted

	Established uint64 // sessions that were made
	Resumed     uint64 // later connections of a session that the server still had
	NotKept     uint64 // established sessions whose client had one before, which the server did not have any more
	Accepted    uint64 // streams that peers have opened

	// Refused counts connections that did not come to WELCOME, nor to the answer to an enrolment. Those whose
	// certificate was refused in the handshake are among them.
	Refused map[Ending]uint64
	// Connections counts the ends of connections that carried a session, and Endings those of sessions:
	// one that was lost is among Connections at once, and among Endings when nobody has resumed it.
	Connections map[Ending]uint64
	Endings     map[Ending]uint64

	// Dropped counts what limits have cost peers.
	Dropped map[Drop]uint64

	Handshakes int   // connections on their way from the first packet to WELCOME
	Buffered   int64 // bytes that Config.MaxBuffered bounds
}

// Stats returns what the server does, and has done. It looks at every session, which takes about a
// millisecond for 10,000 of them.
func (srv *Server) Stats() Stats {
	st := srv.counters.snapshot()
	srv.mu.Lock()
	st.Greeting = len(srv.greeting)
	srv.mu.Unlock()
	st.Handshakes = srv.admission.count()
	st.Buffered = srv.bodies.held.Load() + srv.windows.used.Load()
	for _, s := range srv.Sessions() {
		switch one := s.Stats(); one.State {
		case StateLive:
			st.Live++
			st.Streams += one.Streams
		case StateDetached:
			st.Detached++
		case StateEnded: // meanwhile
		}
	}
	return st
}

// SessionStats says what a session does now. What comes from the connection is zero while the
// session is not live, and begins anew with each connection.
type SessionStats struct {
	State    State
	Since    time.Time     // of the state
	Attempt  uint64        // of the newest connection that has carried it
	Streams  int           // open, either way; the control stream is not counted
	RTT      time.Duration // smoothed (RFC 9002, section 5.3)
	Sent     uint64        // bytes of UDP payload
	Received uint64        // the same
	Lost     uint64        // packets that were sent and are taken for lost
}

// Stats returns what the session does now.
func (s *Session) Stats() SessionStats {
	s.mu.Lock()
	st := SessionStats{State: s.state, Since: s.since}
	if s.last != nil {
		st.Attempt = s.last.attempt
	}
	l := s.link
	s.mu.Unlock()
	if l == nil {
		return st
	}
	l.mu.Lock()
	st.Streams = len(l.opened) + l.serving
	l.mu.Unlock()
	quic := l.conn.ConnectionStats()
	st.RTT, st.Sent, st.Received, st.Lost = quic.SmoothedRTT, quic.BytesSent, quic.BytesReceived, quic.PacketsLost
	return st
}

// counters are what a server counts. Only streams are on the way of a call.
type counters struct {
	accepted atomic.Uint64

	mu          sync.Mutex // guards what follows; no other lock is taken with it held
	established uint64
	resumed     uint64
	notKept     uint64
	refused     map[Ending]uint64
	connections map[Ending]uint64
	endings     map[Ending]uint64
	dropped     map[Drop]uint64
}

func newCounters() *counters {
	return &counters{
		refused:     make(map[Ending]uint64),
		connections: make(map[Ending]uint64),
		endings:     make(map[Ending]uint64),
		dropped:     make(map[Drop]uint64),
	}
}

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Established: c.established,
		Resumed:     c.resumed,
		NotKept:     c.notKept,
		Accepted:    c.accepted.Load(),
		Refused:     maps.Clone(c.refused),
		Connections: maps.Clone(c.connections),
		Endings:     maps.Clone(c.endings),
		Dropped:     maps.Clone(c.dropped),
	}
}

// wentLive counts a connection that carries a session from now on.
func (c *counters) wentLive(first bool, attempt uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !first:
		c.resumed++
	case attempt > 1:
		c.notKept++
		c.established++
	default:
		c.established++
	}
}

func (c *counters) refuse(e *Error)          { c.count(c.refused, e) }
func (c *counters) connectionEnded(e *Error) { c.count(c.connections, e) }
func (c *counters) sessionEnded(e *Error)    { c.count(c.endings, e) }

func (c *counters) drop(d Drop) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped[d]++
}

func (c *counters) count(endings map[Ending]uint64, e *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	endings[Ending{Code: e.Code.counted(), Remote: e.Remote}]++
}

// counted returns the code under which c is counted, so that no peer can make a server
// count without bound.
func (c CloseCode) counted() CloseCode {
	class := c.Class()
	for _, row := range closeCodes {
		if row.code == c {
			return c
		}
	}
	for _, row := range closeCodes {
		if row.class == class {
			return row.code
		}
	}
	return Unspecified
}
