package rpc

import "context"

// Resumable says of a ServerStream that a call of it outlives its connection: Recv goes on by itself, over the next one, behind
// the last message that it has returned. None is lost, and none comes twice.
//
// The handler sends with [Sender.SendAt], each message with a cursor that says where to go on after it, and begins behind
// the one that [Cursor] returns: that is how it is called again. A cursor is the handler's own: a position in a log,
// a version, a key. It has to mean the same to whoever serves the method next, after a restart or on another server. A handler that cannot
// go on from a cursor any more, because what followed it is gone, answers DataLoss. One whose session drains (see
// [Draining]) may answer Unavailable: the stream goes on where the client connects next.
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
	return c.from
}

// beginAt takes from HEAD where a stream is to begin.
func (c *serverCall) beginAt(h *head) error {
	switch {
	case !h.resumable:
	case !c.method.info.Resumable: // it would begin anew
		return Errorf(Unimplemented, "method %s is not resumable", c.method.name)
	case len(h.cursor) > maxCursor:
		return Errorf(InvalidArgument, "cursor of %d bytes, limit is %d", len(h.cursor), maxCursor)
	default:
		c.cursors, c.from = true, string(h.cursor)
		c.last = c.from
	}
	return nil
}

// sendAt sends one message with the cursor behind it.
func (c *serverCall) sendAt(cursor string, m any) error {
	switch {
	case !c.method.info.Resumable:
		return Errorf(Internal, "cursor in a stream that is not resumable")
	case cursor == "" || len(cursor) > maxCursor:
		return Errorf(Internal, "cursor of %d bytes, want 1 to %d", len(cursor), maxCursor)
	case cursor == c.last: // a caller that had the one message would miss the other, or get it again
		return Errorf(Internal, "two messages of a resumable stream have the same cursor")
	}
	sent := cursor
	if !c.cursors {
		sent = ""
	}
	if err := c.write(m, sent, false); err != nil {
		return err
	}
	c.last = cursor
	return nil
}

func (c *serverCall) cursor() string { return "" }
