// Package chat is Trunkline's rooms: an ordered log for each, presence, and one stream for all
// rooms of a session, on which a reader that stalls delays nobody.
//
// # Server
//
// A [Server] serves the chat streams of sessions from a [Log]. A room with members is an actor: one
// goroutine, which appends what waits in one call, and only then acknowledges and shows it. It waits
// for no stream: what it has just appended it writes, as one frame made once, to the subscribers whose streams take it at once.
// The newest events, each encoded once, stand in a ring of bounded size; a
// subscriber is a cursor into it, and each stream's own writer takes from there what else comes
// next. Who has fallen behind the ring reads the log, in pieces and at its own pace. So the log is the queue,
// and a slow reader costs what a fast one does.
//
// How much may be on its way to one session is bound by what it has confirmed (RECEIVED), not by
// QUIC's windows, which the peer sets.
//
// # Client
//
// A [Client] asks with [Client.Join], [Client.Leave] and [Client.Publish], which return when the
// request has its place in the order of those to be written, and [Client.Events] is what happened, one [Event] after the other. In each
// room the positions of what it returns, together with those of one's own messages, rise by one:
// a gap is an error of the server's that ends the session, never passed over.
//
// A client goes on with its session after a break: [*Detached], [*Resumed], and then what it has missed. What it had
// asked without an answer it asks again, and a message keeps its id, so that it is in the log once. Where the
// server can't prove that nothing is missing, a [*Gap] tells. To go on in another process, join with [After] and the last
// position. A session that does not connect again (transport.Config.NoReconnect) ends its client.
//
// Of the packages in chat/examples, bot has a client that answers, and mirror a server inside another program, on a log of its own.
//
// # Log
//
// A [Log] gives positions and finds duplicates. [MemoryLog] keeps it in memory, and
// package sqlite in a database. Others are tested with package chattest. Several servers may share one.
//
// # Positions
//
// (epoch, seq) names one record of a room for ever. Seq is contiguous; the epoch rises when records
// may have been lost. See [State.After] for what a cursor proves.
//
// The package exports more than most, since it has three kinds of user: who runs a server, who writes a log,
// and who writes a client; ten events are in that number.
//
// The wire is described in PROTOCOL.md, "Chat stream".
package chat
