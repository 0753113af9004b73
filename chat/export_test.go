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
	_, err := c.publish(ctx, room, id, text)
	return err
}

// Confirm says RECEIVED now, as Next and the timer do.
func (c *Client) Confirm() { c.out.confirm() }
