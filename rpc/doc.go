// Package rpc makes typed calls over a [transport.Session], from either of its sides, each
// on a stream of its own.
//
// # Methods
//
// A method is a value, made from its name and the types of its messages by [Unary],
// [ServerStream], [ClientStream] or [Bidi]. There need not be generated code: the same value calls the
// method and handles it.
//
//	var Say = rpc.Unary[SayRequest, SayResponse]("trunkline.Echo/Say")
//
//	rpc.Handle(mux, Say, func(ctx context.Context, req *SayRequest) (*SayResponse, error) { … })
//	res, err := Say.Call(ctx, session, &SayRequest{Text: "hi"})
//
// Messages are protobuf messages, plain Go values (as JSON), or [Raw] bytes. Other encodings are a [Codec].
//
// For the services of a .proto file cmd/protoc-gen-trunkline writes the descriptors, and beside them an interface of
// the handlers and a client.
//
// # Serving
//
// A [Mux] serves the calls of any number of sessions; its ServeStream is a handler of streams, on clients as on servers:
//
//	mux := rpc.NewMux(rpc.Config{})
//	srv, err := transport.Listen(&transport.Config{Credentials: cred, Addr: ":4433",
//		Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
//
// In a handler transport.PeerFrom says who calls, and transport.SessionFrom is where to call back. When its
// context ends, context.Cause is a [*CanceledError] with a [Cause]. A handler that panics fails its call with Internal,
// and nothing else. Of [Config], Authorize says who may call what, and Recover and Observe are for who wants to know.
//
// Package reflection serves what a Mux has to peers that do not have the descriptors, and package health whether it
// serves.
//
// # Calling
//
// A call goes to a [Conn]: a session, as transport.Dial returns it, or a [Client], which puts around one what all its calls have in
// common. A session is one on both its sides: a server calls its client, in a handler or whenever it likes, as the client calls
// the server:
//
//	answer, err := Ask.Call(ctx, transport.SessionFrom(ctx), question)
//
// The call ends with its context. A deadline travels with the call: the handler's context has it, and so has what the handler
// calls with that. To cancel the context is to cancel this call, and no other; the handler's context ends, too.
//
// What else there is to say of one call is a [CallOption]: [WithMetadata] sends metadata, which [CallFrom] has in the handler;
// what that answers with [AddHeader] and [AddTrailer] is stored by [WithHeader] and [WithTrailer].
//
// # Streams
//
// The kinds of methods, as who calls them sees them, and as who handles them:
//
//	Unary         Call(ctx, conn, *Req) (*Res, error)             func(ctx, *Req) (*Res, error)
//	ServerStream  Call(ctx, conn, *Req) (*Receiver[Res], error)   func(ctx, *Req, *Sender[Res]) error
//	ClientStream  Call(ctx, conn, iter.Seq[*Req]) (*Res, error)   func(ctx, *Receiver[Req]) (*Res, error)
//	Bidi          Call(ctx, conn) (*Stream[Req, Res], error)      func(ctx, *Stream[Res, Req]) error
//
// Who receives does so with Recv, up to io.EOF, or in a loop:
//
//	for m, err := range letters.All() {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// For streams of many small messages there is RecvInto, which takes one message for all of them; for unary calls CallInto, and
// for who handles long requests [LendRequest].
//
// Who leaves before the end says so: by leaving the loop, by Close, which may be deferred, or by the end of the context. A handler
// ends its side by returning; a caller by CloseSend, or with the last of its sequence. Send waits while the
// peer does not read, so neither side can be flooded; sending and receiving do not wait for each other.
//
// # Interceptors
//
// What all calls have in common goes into an [Interceptor], which surrounds the whole life of a call. It has one shape for
// all kinds and both sides: [Config] has those of a Mux, and [ClientConfig] those of a [Client], which stands in a session's
// place:
//
//	client := rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{tracing, logging}})
//	res, err := Say.Call(ctx, client, &SayRequest{Text: "hi"})
//
// Package interceptor has some ready-made, package otelrpc those for OpenTelemetry.
//
// # Errors
//
// Every call that fails returns an [*Error]: a [Code] of gRPC's, and an [Execution], which says
// whether the call has run. It is NotStarted only for sure: when nothing of the call was
// ever written, when the peer reset the stream as rejected before any byte of a response, or
// when the peer says so. Everything else without an answer is Maybe.
//
// On a session that resumes by itself a call waits for a connection, as long as its context allows. One whose
// connection ends before anything of it was written is made again on the next, and so is a unary call that was
// rejected because the server drains (R4); a call with a stream of requests, until the first has been
// written. Once a ServerStream's or a Bidi's Call has returned, its user has the stream, and the call stays with that: if it
// is then rejected, or its connection is lost before the first Send, Recv and Send say NotStarted, and who
// wants it makes it again. Nothing else is sent again by itself over a bare session, but for a stream that is [Resumable].
//
// What a call ends with:
//
//	what happened                                      code               execution
//	no stream: session ends, released or drained       Unavailable        NotStarted, if it is not resumed
//	no stream: context over; request cannot be sent    as fits            NotStarted
//	refused by the peer's Mux                          as END says        NotStarted
//	answered by the handler                            as END says        Ran
//	reset as rejected, before any byte of a response   Unavailable        NotStarted, the same
//	reset as canceled, deadline                        the same           Maybe
//	reset as too-large, excessive-load                 ResourceExhausted  Maybe
//	reset as unknown-type                              Unimplemented      Maybe
//	reset as going-away                                Unavailable        Maybe
//	reset as anything else                             Internal           Maybe
//	response without a status, or malformed            Internal           Maybe
//	response over a limit of this side                 ResourceExhausted  Maybe
//	own context over                                   the same           Maybe, or NotStarted
//	session lost, aborted, released, replaced          Unavailable        Maybe
//	session kicked, banned                             PermissionDenied   Maybe
//	session refused otherwise                          Unauthenticated    Maybe
//	session closed for a protocol error                Internal           Maybe
//
// # Making calls again
//
// Over a [Client], whose [Retry] says how, a call of one message each way is made again after Unavailable: any that has not
// started, and one of an [Idempotent] method in any case (R4). The waits in between are random and grow, the attempts are few, and a
// budget for all calls of the Client keeps many who fail together from making it worse. A server that knows when it
// will be able to says so with [Error.RetryAfter].
//
//	var Get = rpc.Unary[Key, Value]("example.Store/Get", rpc.Idempotent())
//
//	client := rpc.NewClient(session, rpc.ClientConfig{})
//	value, err := Get.Call(ctx, client, &key)
//
// Where the slowest answers count, [WithHedging] makes such a call a second time before the first has failed.
//
// # Streams that go on
//
// A [ServerStream] that is [Resumable] outlives its connection. Each message has a cursor of the handler's, and the caller's
// loop goes on behind the last message that it got, over the next connection, or with the next server: nothing is
// lost, and nothing comes twice.
//
//	how the call ended                                           what the loop does
//	Unavailable in the table above, or the handler says so       goes on
//	refused with ResourceExhausted, after it had begun           goes on
//	no stream: the session ends, or its release has begun        ends
//	anything else: OK, DataLoss, a truncated response, a limit   ends
//
// It does so when Recv is called, for as long as the session and the call's context allow, and asks a peer that
// answers Unavailable ever more seldom, down to once in about 5 s. The request is kept, as it was encoded, for as long as the call
// lasts. A handler and those who watch it see each of the calls; Header and Trailer are those of the newest. An error
// says Maybe if any of them may have run. With [Receiver.Cursor] and [WithCursor] a program goes on after a restart of its own.
//
// # Compression
//
// A caller has its requests compressed, and accepts compressed answers, with [WithCompression], or with
// [WithAcceptCompression] the answers alone; a [Mux] knows those of its Config. Packages gzip and zstd have a [Compressor] each. What
// is short, or does not become shorter, goes as it is. It is off by default, and should stay so where a secret goes
// beside what others may choose, see [Compressor]; [Uncompressed] leaves out a call's answers, and [Sender.SendUncompressed] and
// [WithUncompressed] single messages.
//
// # Limits and ends
//
// A message has at most 4 MiB unless [Config] and [WithMaxMessage] say otherwise, and the
// head and the status of a call 64 KiB each, with 1,024 fields of metadata and 256 details; lengths are checked as declared, before anything is read. A compressed
// message has the same limit before and after.
// How many calls of a session run at once [Config.MaxConcurrent] says, beside the peer's limit of streams; who has to wait
// does so in order, and no longer than its context allows.
// A call ends with its context or its session, whatever its user forgot; both halves of its stream have
// then come to their end.
//
// The wire is described in PROTOCOL.md; the bodies of HEAD and END are in
// internal/callpb/call.proto.
package rpc
