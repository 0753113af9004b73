package rpc

import "context"

// Resumable says of a ServerStream that a call of it outlives its connection: Recv goes on by itself, over the next one, behind
// the last message that it has returned. None is lost, and none comes twice.
//
// The handler sends with [Sender.SendAt], each message with a cursor that says where to go on after it, and begins behind
// the one that [Cursor] returns: that is how it is called again. A cursor is the handler's own: a position in a log,
// a version, a key. It has to mean the same to whoever serves the method next, after a restart or on another server. A handler that cannot
// go on from a cursor any more, because what followed it is gone, answers DataLoss. One whose session drains (see
// [Draining]) may answer Unavailable: the stream goes on where the client connects next, not before [Error.RetryAfter] has passed, and not at
// all if that is negative.
//
// A caller that takes no cursors, by a descriptor without Resumable say, may call the method as well; its stream ends with its connection.
// Other kinds of methods cannot be resumable: their constructors panic.
func Resumable() MethodOption { return resumable{} }

type resumable struct{}

func (resumable) applyTo(m *method) { m.resumable = true }

// notResumable returns m, which is no ServerStream.
func (m method) notResumable() method {
	if m.resumable {
		panic("rpc: method " + m.name + " is Resumable, and no ServerStream")
	}
	return m
}

// Cursor returns, in a handler of a [Resumable] method, behind which message the stream is to begin: the cursor that was sent
// with it. Empty means at the beginning.
func Cursor(ctx context.Context) string {
	c := callFrom(ctx)
	if c == nil {
		return ""
	}
	return c.cursors.begin()
}

// cursors are those of a call of a resumable method on the side that serves it. They are apart because most calls have none.
type cursors struct {
	taken bool   // the caller takes them
	from  string // with which it began
	last  string // the newest; of the goroutine that sends
}

// begin returns the cursor behind which the call is to begin. c may be nil.
func (c *cursors) begin() string {
	if c == nil {
		return ""
	}
	return c.from
}

// beginAt takes from HEAD where a stream is to begin.
func (c *serverCall) beginAt(h *head) error {
	switch {
	case !c.method.info.Resumable && h.resumable: // it would begin anew
		return Errorf(Unimplemented, "method %s is not resumable", c.method.name)
	case !c.method.info.Resumable:
		return nil
	case len(h.cursor) > maxCursor:
		return Errorf(InvalidArgument, "cursor of %d bytes, limit is %d", len(h.cursor), maxCursor)
	}
	from := string(h.cursor)
	c.cursors = &cursors{taken: h.resumable, from: from, last: from}
	return nil
}

// sendAt sends one message with the cursor behind it.
func (c *serverCall) sendAt(cursor string, m any) error {
	switch {
	case c.cursors == nil:
		return Errorf(Internal, "cursor in a stream that is not resumable")
	case cursor == "" || len(cursor) > maxCursor:
		return Errorf(Internal, "cursor of %d bytes, want 1 to %d", len(cursor), maxCursor)
	case cursor == c.cursors.last: // a caller that had the one message would miss the other, or get it again
		return Errorf(Internal, "two messages of a resumable stream have the same cursor")
	}
	sent := ""
	if c.cursors.taken {
		sent = cursor
	}
	if err := c.write(m, sent, false); err != nil {
		return err
	}
	c.cursors.last = cursor
	return nil
}

func (c *serverCall) cursor() string { return "" }
