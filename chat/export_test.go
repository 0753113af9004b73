package chat

import "context"

// CreditWindow is creditWindow.
const CreditWindow = creditWindow

// Load returns what waits for readers over all sessions: replies, and writer goroutines.
func (srv *Server) Load() (replies, writers int) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for _, s := range srv.sessions {
		c := s.newest()
		if c == nil {
			continue
		}
		c.mu.Lock()
		replies += len(c.replies)
		c.mu.Unlock()
		if c.pending.Load() > 0 {
			writers++
		}
	}
	return replies, writers
}

// PublishAs is Publish with an id of the caller's.
func (c *Client) PublishAs(ctx context.Context, room, id, text string) error {
	_, err := c.publish(ctx, room, draft{id: id, text: text})
	return err
}

// Confirm says RECEIVED now, as Next and the timer do.
func (c *Client) Confirm() { c.out.confirm() }

// SetBigRoom has a server take a room with more than big identities for a big one, until it has fewer than small.
func (srv *Server) SetBigRoom(big, small int) { srv.bigRoom, srv.smallRoom = big, small }

// Refs returns how many references there are to the server's rooms, and how many sessions it knows.
func (srv *Server) Refs() (rooms map[string]int, sessions int) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	rooms = make(map[string]int)
	for name, r := range srv.rooms {
		rooms[name] = r.refs
	}
	return rooms, len(srv.sessions)
}

// Unconfirmed returns how many bytes of events the clients have not confirmed.
func (srv *Server) Unconfirmed() (n uint64) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for _, s := range srv.sessions {
		if c := s.newest(); c != nil {
			n += c.announce.Load() - c.received.Load()
		}
	}
	return n
}

// FloorWatchers returns for the ends of how many sessions a room's floor waits, and how many calls watch it.
func FloorWatchers(srv *Server, name string) (sessions, calls int) {
	_ = srv.do(srv.ctx, name, func(r *room) { sessions, calls = len(r.floor.watched), len(r.floor.views) })
	return sessions, calls
}

// DeleteInRoom deletes a room.
func DeleteInRoom(srv *Server, name string) {
	_ = srv.do(srv.ctx, name, func(r *room) {
		_, _ = r.changeSettings("root", func(*Settings) (*Change, *Error) { return &Change{What: ChangeDelete}, nil })
	})
}
