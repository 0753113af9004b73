package chat

import (
	"context"
	"sync"
)

// Turns are for calls whose work is not bounded by their answer: a search, or a list of which most rooms are hidden. Each identity has one of
// them at a time under way, however many it makes, so that they do not hold up those of others.
type turns struct {
	mu    sync.Mutex // guards what follows
	taken map[string]chan struct{}
}

// take waits until it is the turn of a call of who; done ends it.
func (t *turns) take(ctx context.Context, who string) (done func(), err error) {
	for {
		t.mu.Lock()
		before := t.taken[who]
		if before == nil {
			mine := make(chan struct{})
			put(&t.taken, who, mine)
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.taken, who)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
