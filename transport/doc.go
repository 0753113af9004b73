// Package transport is Trunkline's session layer over QUIC: it authenticates
// both sides, keeps one [Session] between them, carries typed streams, and ends
// either in an orderly release or in an abort, so that each side can tell which.
//
// # Establish
//
// [Listen] and [Dial] set up one QUIC connection with mutual TLS 1.3. The first
// stream is the control stream; on it the client says HELLO with the id and the
// secret resume key of its session, and the server answers WELCOME or closes
// with a [CloseCode] that says why not. Dial returns after WELCOME, never before:
// in TLS 1.3 a client's handshake ends before the server has looked at its
// certificate.
//
// # Streams
//
// Every stream begins with a [StreamType], and carries frames (see
// [FrameReader] and [AppendFrame]). Either side may open streams with
// [Session.OpenStream]; those of the peer go to the [Handler] that
// [Config.Handlers] names for their type.
//
// # End
//
// There are three verbs. [Session.Release] ends in order: everything that either
// side sent before it arrives. [Session.Abort] ends at once. [Session.Wait] waits
// for the end, and says how it came about. A server drains all its sessions with
// [Server.Shutdown].
//
// How a session ended is an [*Error] with a [CloseCode]; the code's [Class] says
// what a client does next.
//
// # Resume
//
// A session outlives its connection. After a loss, an abort by the peer or a drain it is detached: its server holds
// it for [Config.Hold], and its client connects again by itself, soon and then with backoff
// ([Config.ReconnectBackoff]), or after the delay that a draining server gave. It is the same
// session, with the same handlers, on both sides; what was under way on streams has ended with the
// connection. [Session.Kept] says whether the server still had it, and [Session.Status] shows what
// happens to it.
//
// A connection outlives a change of the client's address, and [Session.Migrate] moves it to another network path.
//
//	state     event                                        next
//	live      released; refused; protocol error; Abort     ended
//	live      drained, aborted by the peer, or lost        detached
//	live      the same, in a Release of this side          ended
//	live      the same, with NoReconnect or no Hold        ended
//	detached  HELLO with its id, key and a higher attempt  live
//	detached  WELCOME, on the client                       live
//	detached  an attempt is refused, on the client         ended
//	detached  Hold or ReconnectTimeout has passed          ended
//	detached  Release or Abort                             ended
//
// # Enrolment
//
// [Enroll] gets somebody a certificate who has none, with the secret of a join token, over a protocol of its own
// ([ALPNEnroll]); a server answers it by [Config.Enroll]. Such a connection is never a session's.
//
// # Seeing
//
// [Server.Stats] says what a server does and has done, and [Session.Stats] the same of one session: values
// for a program to turn into metrics, with no library's name on them. [Config.Logger] gets a line for each
// step of a session's life, with its id and its client's identity; [Config.QlogDir] traces of the connections.
//
// The wire is described in PROTOCOL.md. The names follow RFC 9000 (streams,
// codes) and ITU-T X.225 (release, abort).
package transport
