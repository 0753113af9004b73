package chat_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// A world is a house with members, the weather between them, and a ledger of all that was ever in the log.
type world struct {
	*recorder
	h       *house
	log     *ledger
	weather *weather
	members []*member
	ctx     context.Context // ends with the program
	stop    context.CancelFunc
}

func newWorld(r *recorder, p program) *world {
	log := &ledger{Log: chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1, MaxRoomRecords: p.keep}), t: r, trims: p.keep > 0, rooms: make(map[string][]chat.Record)}
	w := &world{recorder: r, h: newHouse(r, chat.Config{Log: log}), log: log, weather: newWeather(p.members)}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.h.net.Drop(w.weather.isLost)
	w.h.net.Delay(w.weather.isLate)
	for i, name := range memberNames[:p.members] {
		w.members = append(w.members, newMember(w, i, name))
	}
	return w
}

// kill ends the server without a word, and starts it again over the same log.
func (w *world) kill(down time.Duration) {
	addr := w.h.net.Kill(w.h.srv)
	w.h.net.Drop(w.weather.isLost)
	w.h.chat.Close()
	time.Sleep(down)
	w.h.startAt(addr, w.log)
}

// drain is kill for a server that says goodbye, to whom it can within grace.
func (w *world) drain(grace, down time.Duration) {
	addr, ok := w.h.srv.Addr().(*net.UDPAddr)
	require.True(w, ok)
	ctx, cancel := context.WithTimeout(w.ctx, grace)
	_ = w.h.srv.Shutdown(ctx) // may have to cut
	cancel()
	w.h.chat.Close()
	time.Sleep(down)
	w.h.startAt(addr, w.log)
}

// A ledger is a log that remembers what it has trimmed.
type ledger struct {
	chat.Log
	t     *recorder
	trims bool

	mu    sync.Mutex // guards what follows
	rooms map[string][]chat.Record
}

func (l *ledger) Append(ctx context.Context, room string, head uint64, entries []chat.Entry, snapshot []byte) ([]chat.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	results, err := l.Log.Append(ctx, room, head, entries, snapshot)
	for i, res := range results {
		if res.Err != nil || res.Duplicate {
			continue
		}
		l.rooms[room] = append(l.rooms[room], chat.Record{Position: res.Position, Entry: entries[i], Time: res.Time})
		if want := uint64(len(l.rooms[room])); res.Seq != want {
			l.t.fault("C1: %s has %v, where %d was to come", room, res.Position, want)
		}
	}
	return results, err
}

// record returns what was appended as seq.
func (l *ledger) record(room string, seq uint64) (chat.Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq == 0 || seq > uint64(len(l.rooms[room])) {
		return chat.Record{}, false
	}
	return l.rooms[room][seq-1], true
}

// lastText returns the seq of the newest record that is a text, 0 if there is none.
func (l *ledger) lastText(room string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rec := range slices.Backward(l.rooms[room]) {
		if rec.Kind == chat.KindText {
			return rec.Seq
		}
	}
	return 0
}

func (l *ledger) head(room string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.rooms[room]))
}

// A member is a client with a session that comes back, and whoever sits before it.
type member struct {
	*chat.Client
	*judge
	w        *world
	i        int
	producer chat.Producer
	todo     chan func() // what it is to ask for, in order; nothing of it holds up the program

	mu    sync.Mutex // guards what follows
	addr  net.Addr   // of the newest connection
	until time.Time  // it reads nothing before
	busy  int        // what it has not asked for yet

	// Of who does todo.
	in   map[string]bool   // that it has joined, as far as it knows
	last map[string]string // id of its last line in a room
	n    int               // lines
}

func newMember(w *world, i int, name string) *member {
	m := &member{w: w, i: i, producer: chat.Producer{byte(i + 1)}, todo: make(chan func(), 1000), in: make(map[string]bool), last: make(map[string]string)}
	identity, _, _ := strings.Cut(name, "'")
	m.judge = newJudge(w, name, identity, m.producer)
	session := w.h.net.Dial(w.h.srv, identity, transport.Config{NewPacketConn: m.newConn})
	var err error
	m.Client, err = chat.NewClient(w.ctx, session, chat.ClientConfig{Producer: m.producer, MaxUnacknowledged: 2048})
	require.NoError(w, err)
	go m.read()
	go m.act()
	for _, room := range roomNames {
		m.join(room, joinsFrom[0])
	}
	return m
}

// newConn notes where its packets come from.
func (m *member) newConn() (net.PacketConn, error) {
	conn := m.w.h.net.Conn()
	m.mu.Lock()
	m.addr = conn.LocalAddr()
	m.mu.Unlock()
	m.w.weather.register(m.i, conn.LocalAddr())
	return conn, nil
}

// read shows the judge what Next returns, until the end.
func (m *member) read() {
	for {
		m.mu.Lock()
		pause := time.Until(m.until)
		m.mu.Unlock()
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-m.w.ctx.Done():
				return
			}
			continue
		}
		e, err := m.Next(m.w.ctx)
		if m.w.ctx.Err() != nil {
			return
		}
		if err != nil {
			m.w.fault("%s's client has ended: %v", m.name, err)
			return
		}
		m.see(e)
	}
}

// act does what is to do.
func (m *member) act() {
	for {
		select {
		case do := <-m.todo:
			do()
			m.mu.Lock()
			m.busy--
			m.mu.Unlock()
		case <-m.w.ctx.Done():
			return
		}
	}
}

func (m *member) ask(do func() error) {
	m.mu.Lock()
	m.busy++
	m.mu.Unlock()
	m.todo <- func() {
		if err := do(); err != nil && m.w.ctx.Err() == nil {
			m.w.fault("%s can't ask: %v", m.name, err)
		}
	}
}

func (m *member) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.busy == 0
}

func (m *member) join(room, from string) {
	m.ask(func() error {
		if m.in[room] && !m.wasEvicted(room) {
			return nil
		}
		m.in[room] = true
		return m.Join(m.w.ctx, room, m.asksToJoin(room, from))
	})
}

func (m *member) leave(room string) {
	m.ask(func() error {
		if !m.in[room] {
			return nil
		}
		m.in[room] = false
		m.asksToLeave(room)
		return m.Leave(m.w.ctx, room)
	})
}

func (m *member) say(room string, n, size int) {
	m.ask(func() error {
		for range n {
			if !m.in[room] {
				return nil
			}
			m.n++
			id, err := m.Publish(m.w.ctx, room, lineOf(m.n, size))
			if err != nil {
				return err
			}
			m.last[room] = id
			m.said(room, id, lineOf(m.n, size))
		}
		return nil
	})
}

// react reacts to the last text that there is.
func (m *member) react(room string, n int) {
	m.ask(func() error {
		seq := m.w.log.lastText(room)
		for range n {
			if !m.in[room] || seq == 0 {
				return nil
			}
			m.n++
			text := fmt.Sprintf("%d of %d", m.n, m.i)
			id, err := m.React(m.w.ctx, room, seq, text)
			if err != nil {
				return err
			}
			m.reacted(room, id, text)
		}
		return nil
	})
}

// lineOf is the n-th line of somebody.
func lineOf(n, size int) string {
	text := fmt.Sprintf("line %d ", n)
	return text + strings.Repeat("x", max(0, size-len(text)))
}

func (m *member) sayAgain(room string) {
	m.ask(func() error {
		id, ok := m.last[room]
		if !ok || !m.in[room] {
			return nil
		}
		if m.PublishAs(m.w.ctx, room, id, m.textOf(id)) == nil { // else it waits for its first answer
			m.saidAgain(id)
		}
		return nil
	})
}

func (m *member) stall(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.until = time.Now().Add(d)
}

func (m *member) rebind() {
	m.mu.Lock()
	addr := m.addr
	m.mu.Unlock()
	m.w.weather.register(m.i, m.w.h.net.Rebind(addr))
}

// cutConnection loses all packets of the connection that there is now.
func (m *member) cutConnection(way string) { m.w.weather.cutConnection(m.i, way) }
