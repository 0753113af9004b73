package transport

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline-go/trunkline/certs"
)

// ALPN is the protocol that both sides must negotiate (RFC 7301).
const ALPN = "trunkline/1"

// A StreamType is the first varint of every stream. Range: 0 to 2^62-1.
type StreamType uint64

// The stream types. Types of the form 0x1f*N+0x21 are reserved: whoever receives
// one ignores it, so that peers get used to meeting types that they do not know.
const (
	StreamControl StreamType = 0x00 // the first stream of a connection, exactly one
	StreamRPC     StreamType = 0x01 // one call
	StreamChat    StreamType = 0x02 // chat; a newer one replaces the older
)

func (t StreamType) reserved() bool { return t >= 0x21 && (t-0x21)%0x1f == 0 }

// A Handler serves one stream that the peer opened, in a goroutine of its own. When it
// returns, the halves of the stream that have not come to their end are reset, and nothing may touch
// the stream any more. A panic is logged and resets the stream.
//
// ctx ends when the peer resets the stream or the connection ends, which the session may survive;
// context.Cause is then a [*StreamError] or an [*Error]. [SessionFrom] and [PeerFrom] find the
// session and the peer in it.
type Handler func(ctx context.Context, s *Stream)

// Config configures either side. Credentials are required; every other field's
// zero value works. In durations zero means the default.
type Config struct {
	// Credentials are this side's certificate and the authority that it pins.
	Credentials *certs.Credentials

	// Handlers serve the streams that the peer opens, by type. A type without a
	// handler is reset as unknown.
	Handlers map[StreamType]Handler

	// Authorize, on a server, decides whether a peer whose certificate is in order
	// may open a session. It runs before WELCOME, when the session is already
	// registered; ctx ends with the connection. An [*Error] closes with its code and reason, a graceful one
	// as Aborted; any other error closes as Unauthorized, and its text stays here. Default: everyone may.
	Authorize func(ctx context.Context, p Peer) error

	// Enroll, on a server, certifies those who have no certificate yet, see [Enroll]. Default: nobody.
	Enroll Enroller

	// MayRelease is asked when the peer wants an orderly release, and does not force it. An error refuses it,
	// and the first 256 bytes of its text are sent to the peer as the reason: it says what is not finished, and what to do. It
	// must be quick, for the connection's control stream waits for it. Default: it may.
	MayRelease func(s *Session) error

	// BeforeRelease is called when a session is released, whichever side has asked for it and forced or not, after all of its streams have
	// ended and before the other side is told: what the session holds is given back here. The release waits for it, but no longer than
	// the other side does, for its [Config.ReleaseTimeout]; ctx ends with the connection. Default: nothing is done.
	BeforeRelease func(ctx context.Context, s *Session)

	// Logger gets what is of use to who runs this side. Default: discarded.
	Logger *slog.Logger

	// QlogDir is where a trace of each connection is written (draft-ietf-quic-qlog-quic-events), for its
	// owner alone, in a file called after the connection's id and this side: ID_server.sqlog. A server
	// makes one for whoever connects, and nobody takes them away. A trace that cannot be
	// written harms nothing, and is logged once. Default: none.
	QlogDir string

	// KeyLog gets the TLS secrets of every connection (NSS key log format): whoever has them can read all
	// that was said. It is for debugging alone, with Wireshark say. Default: nobody; no environment
	// variable turns it on.
	KeyLog io.Writer

	// Name is what this side calls its software, for the peer's logs: "name/version", at most
	// 256 bytes.
	Name string

	// PacketConn is the socket to use; it is closed at the end. It serves one connection of a client, who does
	// not connect again if there is no NewPacketConn beside it. Default: a UDP socket of its own.
	PacketConn net.PacketConn

	// NewPacketConn, on a client, makes the socket for each connection that PacketConn does not serve; it
	// is closed with the connection. An error is a failed attempt. Default: a fresh UDP socket for each. It makes
	// those of [Session.Migrate], too.
	NewPacketConn func() (net.PacketConn, error)

	// Addr is what [Listen] listens on if PacketConn is nil: "host:port". Default: ":4433".
	Addr string

	// Hold is how long a server keeps a session whose connection was lost. Default
	// 30 s; negative: not at all.
	Hold time.Duration

	// NoReconnect, on a client, ends the session with its connection, however that ends. Otherwise
	// it is detached after a loss, an abort by the peer or a drain, and the client connects again.
	NoReconnect bool

	// ReconnectBackoff bounds how long a client waits before its first attempt to connect again: for a random
	// time up to this, so that those who were lost together do not return together. The bound doubles with each
	// attempt that fails, up to MaxReconnectBackoff, and begins anew after a connection that lasted that
	// long. After a drain the first attempt is not made before the time that the server asked
	// for. Defaults 100 ms, a blink, and 10 s, which after a night's outage costs nobody more than that;
	// negative: no wait.
	ReconnectBackoff    time.Duration
	MaxReconnectBackoff time.Duration

	// ReconnectTimeout is for how long after a loss a client goes on; then the session ends
	// with the error of the last attempt, and at once if the next would come too late. Default: for ever,
	// because who is waiting (a call, a person) has a limit of their own, and a laptop may sleep for days.
	ReconnectTimeout time.Duration

	// StatelessResetKey is 32 secret random bytes, with which a server that has restarted tells its
	// clients so (RFC 9000, section 10.3): with the key that it had before they know with their next packet,
	// and without only after IdleTimeout. Default: none.
	StatelessResetKey *[32]byte

	// IdleTimeout is after how much silence a connection counts as lost. Default 15 s.
	IdleTimeout time.Duration

	// PingAfter is after how much silence a client sends PING, which it does, too, when its machine wakes from
	// sleep. Default 5 s; negative: never.
	PingAfter time.Duration

	// HelloTimeout is how long HELLO, and the type of a new stream, may take. Default 5 s.
	HelloTimeout time.Duration

	// ReleaseTimeout is how long each step of a release may take. Default 10 s.
	ReleaseTimeout time.Duration

	// MaxStreams is how many streams the peer may have open at once. Default 1024.
	MaxStreams int

	// MaxSessions is how many sessions a server keeps, detached ones included. When it
	// is reached, the session that has been detached for longest is dropped for a newcomer; if
	// none is detached the newcomer is refused with ExcessiveLoad. A few more are for clients on loopback,
	// so that an administrator gets in. Default 10,000; negative: no limit.
	MaxSessions int

	// MaxIdentitySessions is how many of them one identity may have, by the same rule. Default 100; negative:
	// as many as MaxSessions.
	MaxIdentitySessions int

	// MaxPerAddress is how many connections a server has with one address, or one /64 of IPv6, that has
	// been validated; more are refused. Loopback is not counted. Default 256; negative: no limit.
	MaxPerAddress int

	// MaxHandshakes is how many connections of a server may be on their way from the first packet to
	// WELCOME; more are refused with CONNECTION_REFUSED. From an eighth of it on clients have to show that they are at
	// their address (Retry, RFC 9000, section 8.1.2). A few more are for clients on loopback. Default 512, which
	// are 30 MB; negative: no limit.
	MaxHandshakes int

	// MaxBuffered is how many bytes a server holds at most of messages that are longer than 2 KiB: not whole yet, in the hands of
	// a handler, or waiting for a peer to read them ([Stream.BoundBuffers], [Stream.Hold]). One identity has a quarter of it at
	// most, no more than would be left to others, and 256 KiB in any case. Receive windows may grow by as much again,
	// beyond the 8 MiB that each connection has to begin with. Default 1 GiB; negative: no limit.
	MaxBuffered int64

	qlog *qlogDir // of QlogDir, if it is set
}

// withDefaults returns a copy with every default filled in.
func (c *Config) withDefaults() *Config {
	out := *c
	out.Name = cut(out.Name)
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	if out.QlogDir != "" {
		out.qlog = &qlogDir{path: out.QlogDir, log: out.Logger}
	}
	if out.Addr == "" {
		out.Addr = ":4433"
	}
	out.NoReconnect = out.NoReconnect || out.PacketConn != nil && out.NewPacketConn == nil
	setDefault(&out.ReconnectBackoff, 100*time.Millisecond)
	setDefault(&out.MaxReconnectBackoff, 10*time.Second)
	setDefault(&out.Hold, 30*time.Second)
	setDefault(&out.IdleTimeout, 15*time.Second)
	setDefault(&out.PingAfter, 5*time.Second)
	setDefault(&out.HelloTimeout, 5*time.Second)
	setDefault(&out.ReleaseTimeout, 10*time.Second)
	setDefault(&out.MaxStreams, 1024)
	setDefault(&out.MaxSessions, 10_000)
	setDefault(&out.MaxIdentitySessions, 100)
	setDefault(&out.MaxPerAddress, 256)
	setDefault(&out.MaxHandshakes, 512)
	setDefault(&out.MaxBuffered, 1<<30)
	return &out
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Receive windows. A stream that nobody reads holds at most its first window, so
// that 32 of them fit into a connection's first window without stalling others (R3).
const (
	streamWindow  = 256 << 10
	connWindow    = 8 << 20
	connWindowMax = 16 << 20
)

// quicConfig returns what both sides ask of QUIC. Keepalive is off: PING on the control stream
// does its work (see liveness.go). Unidirectional streams are not used.
func (c *Config) quicConfig() *quic.Config {
	out := &quic.Config{
		HandshakeIdleTimeout:           c.HelloTimeout,
		MaxIdleTimeout:                 c.IdleTimeout,
		InitialStreamReceiveWindow:     streamWindow,
		InitialConnectionReceiveWindow: connWindow,
		MaxConnectionReceiveWindow:     connWindowMax,
		MaxIncomingStreams:             int64(c.MaxStreams),
		MaxIncomingUniStreams:          -1,
		RequireStreamCreditRelease:     true,
	}
	if c.qlog != nil {
		out.Tracer = c.qlog.trace
	}
	return out
}
