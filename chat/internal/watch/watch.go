// Package watch tells of a log's rooms that their heads have moved.
package watch

import "sync"

// Watchers are those who want to be told, room by room. The zero value has none; it is safe for concurrent use.
type Watchers struct {
	mu    sync.Mutex // guards what follows
	rooms map[string]map[*watcher]struct{}
}

type watcher struct {
	mu      sync.Mutex // guards what follows, and is held while moved runs
	stopped bool
	moved   func(head uint64)
}

// Add has moved called with the room's head by each [Watchers.Moved], until stop, after which it is not called
// any more. moved must not block, nor call stop.
func (ws *Watchers) Add(room string, moved func(head uint64)) (stop func()) {
	w := &watcher{moved: moved}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.rooms == nil {
		ws.rooms = make(map[string]map[*watcher]struct{})
	}
	if ws.rooms[room] == nil {
		ws.rooms[room] = make(map[*watcher]struct{})
	}
	ws.rooms[room][w] = struct{}{}
	return func() {
		ws.mu.Lock()
		delete(ws.rooms[room], w)
		if len(ws.rooms[room]) == 0 {
			delete(ws.rooms, room)
		}
		ws.mu.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stopped = true
	}
}

// Moved tells those who watch the room its head.
func (ws *Watchers) Moved(room string, head uint64) {
	ws.mu.Lock()
	told := make([]*watcher, 0, len(ws.rooms[room]))
	for w := range ws.rooms[room] {
		told = append(told, w)
	}
	ws.mu.Unlock()
	for _, w := range told {
		w.tell(head)
	}
}

func (w *watcher) tell(head uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.moved(head)
	}
}
