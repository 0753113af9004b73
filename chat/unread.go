package chat

import (
	"errors"
	"sync/atomic"
	"time"
)

// ErrUnread is returned by the methods of a [Client] that wait for answers while nobody takes any: Next was not called for 10 s, by a loop, say,
// that itself waits in Publish. Nothing was asked.
var ErrUnread = errors.New("chat: answers are waited for, and nobody calls Next")

// unreadAfter is how long answers are waited for while Next is not called.
const unreadAfter = 10 * time.Second

// takings are what tells whether somebody takes a client's events.
type takings struct {
	waiting atomic.Bool   // Next waits for one
	watched atomic.Int32  // how many ask
	calls   atomic.Uint64 // of Next, while somebody asks
}

// A takingsWatch finds out whether events are taken while it is there. A nil one is none.
type takingsWatch struct {
	t      *takings
	seen   uint64
	ticker *time.Ticker
}

// watchTakings returns w, or a new one if there is none.
func (c *Client) watchTakings(w *takingsWatch) *takingsWatch {
	if w != nil {
		return w
	}
	c.taken.watched.Add(1)
	return &takingsWatch{&c.taken, c.taken.calls.Load(), time.NewTicker(unreadAfter)}
}

// tick says when to look.
func (w *takingsWatch) tick() <-chan time.Time { return w.ticker.C }

// look returns ErrUnread if Next is not being called, and was not since the last look.
func (w *takingsWatch) look() error {
	calls := w.t.calls.Load()
	if calls == w.seen && !w.t.waiting.Load() {
		return ErrUnread
	}
	w.seen = calls
	return nil
}

func (w *takingsWatch) stop() {
	if w != nil {
		w.ticker.Stop()
		w.t.watched.Add(-1)
	}
}
