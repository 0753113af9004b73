package rpc

import "github.com/trunkline-go/trunkline/transport"

// A Call is a call as this side sees it. A handler gets it from [CallFrom], an [Interceptor] as its argument.
type Call struct {
	Method string
	Kind   Kind
	Codec  string // of its messages
	Peer   transport.Peer
	// Caller says that this side makes the call; else it serves it. Peer is then the zero value before there
	// is a stream, if the [Conn] is no session.
	Caller bool

	// Metadata is that of the request. On the caller's side an interceptor may change it before it calls next: what is
	// there then goes out.
	Metadata Metadata

	// Cursor says where the stream of a [Resumable] method goes on: behind the message sent with it; empty: it begins.
	Cursor string

	// PreviousAttempts is how often the caller has made this call before, by its [Retry] or
	// [WithHedging]; 0 on the caller's side.
	PreviousAttempts int

	// Header and Trailer are those of the response, on the caller's side and once next has returned. On the other there
	// are [AddHeader] and [AddTrailer].
	Header, Trailer Metadata

	onSend, onReceive []func(m any, size int) error
}

// OnSend has fn see each message that this side sends, of size bytes as the codec encodes it, before it goes out. m is
// the pointer that the sender passed, and not to be changed. An error keeps the message back and is what the sender gets; as a handler's answer
// it fails the call. A call that is made again has its request seen again.
//
// It is for an interceptor, before it calls next. fn may run at the same time as one for OnReceive.
func (c *Call) OnSend(fn func(m any, size int) error) { c.onSend = append(c.onSend, fn) }

// OnReceive has fn see each message that this side receives before its receiver does, which gets it as fn leaves
// it. An error is what the receiver gets instead, and a handler of one request is not called then; on the caller's side
// it ends the call.
//
// m is valid until fn returns, with the bytes in it: with [Receiver.RecvInto] they are other messages' afterwards, and other
// streams'. Who keeps them clones them.
//
// It is for an interceptor, before it calls next. fn may run at the same time as one for OnSend.
func (c *Call) OnReceive(fn func(m any, size int) error) { c.onReceive = append(c.onReceive, fn) }

// sees calls the hooks with a message. c may be nil.
func (c *Call) sees(m any, size int, received bool) error {
	if c == nil {
		return nil
	}
	hooks := c.onSend
	if received {
		hooks = c.onReceive
	}
	for _, fn := range hooks {
		if err := fn(m, size); err != nil {
			return err
		}
	}
	return nil
}

// hookError makes what a hook returned on the caller's side the error of a call that may have run.
func hookError(err error) *Error {
	e := *asError(err)
	e.Execution, e.again = Maybe, false // it may be that of another call
	return &e
}
