package chat

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

// A signal is typed data: that somebody types, or raises a hand. It is no record, has no position, no acknowledgement, and
// needs no floor; it is for those who are there and keep up, and lost to all others. It is not put on the ring, where it would
// count against what a reader is owed, but beside the replies of each stream, few at a time, and only while the
// reader has credit, shows a sign of life, and takes them soon.

const (
	// signalEvery is how soon a member may signal the same again; sooner it says nothing new, and is dropped.
	signalEvery = time.Second
	// signalRate and signalBurst bound the signals of one stream; more are dropped.
	signalRate, signalBurst = 5, 10
	// maxSignals is how many may wait for one stream's writer, and maxSignalAge for how long: then they say nothing any more.
	maxSignals   = 32
	maxSignalAge = 5 * time.Second
	// signalWindow is how many bytes of SIGNALED may follow a RECEIVED, beside the credit; a client that has got
	// half of it says RECEIVED.
	signalWindow = 8 << 10
)

// A signal waits to be written to one stream.
type signal struct {
	room  *room
	who   string
	kind  chatpb.SignalKind
	frame []byte
	at    time.Time
}

// replaces says whether s is news of the same thing.
func (s *signal) replaces(old *signal) bool {
	typing := chatpb.SignalKind_SIGNAL_KIND_TYPING
	return s.room == old.room && s.who == old.who && (s.kind == typing) == (old.kind == typing)
}

// signal takes a SIGNAL. What may not be said, or not now, is dropped: there is no answer that could say so.
func (c *conn) signal(body []byte) error {
	var m chatpb.Signal
	if err := unmarshal(frameSignal, body, &m); err != nil {
		return err
	}
	if c.signals.limit == nil {
		c.signals.limit = rate.NewLimiter(signalRate, signalBurst)
	}
	_, known := signalFromWire(m.GetKind())
	if !known || !c.session.claims(m.GetRoom()) || !c.signals.limit.Allow() {
		return nil
	}
	may := m.GetKind() != chatpb.SignalKind_SIGNAL_KIND_TYPING || c.session.maySpeak(m.GetRoom()) == nil
	if !may {
		return nil
	}
	r, _ := c.session.srv.room(string(m.GetRoom()), false)
	if r == nil {
		return nil
	}
	return c.send(r, &request{kind: requestSignal, signal: m.GetKind()})
}

// signal tells the others in the room. In a big one it does not matter who types, and would be told n times to each of n.
func (r *room) signal(req *request) {
	m := r.members[req.session]
	if m == nil || m.sub == nil || m.sub.conn != req.conn {
		return
	}
	verb := verbRead
	if req.signal == chatpb.SignalKind_SIGNAL_KIND_TYPING {
		verb = VerbSpeak
		if r.there > r.srv.bigRoom {
			return
		}
	}
	now := time.Now()
	if m.signaled.kind == req.signal && now.Sub(m.signaled.at) < signalEvery {
		return
	}
	if r.srv.refuseByTable(r.name, &r.known.Settings, req.session.peer, req.session.who, verb) != nil {
		return
	}
	m.signaled.kind, m.signaled.at = req.signal, now
	s := signal{room: r, who: req.session.who, kind: req.signal, at: now}
	s.frame = appendMessage(nil, frameSignaled, &chatpb.Signaled{Room: r.wire, Who: s.who, Kind: s.kind})
	for _, sub := range r.subs {
		if sub != m.sub {
			sub.conn.putSignal(&s)
		}
	}
}

// streamSignals are the signals of one stream.
type streamSignals struct {
	limit   *rate.Limiter // of those that come; the reader's
	waiting []signal      // guarded by conn.mu
	taken   []signal      // of waiting; the writer's, and so is
	written int           // bytes since the last RECEIVED
}

// putSignal has s written soon, or not at all.
func (c *conn) putSignal(s *signal) {
	if c.stalled.Load() {
		return
	}
	c.mu.Lock()
	i := slices.IndexFunc(c.signals.waiting, func(old signal) bool { return s.replaces(&old) })
	put := !c.ended && (i >= 0 || len(c.signals.waiting) < maxSignals)
	switch {
	case !put:
	case i >= 0:
		c.signals.waiting[i] = *s
	default:
		c.signals.waiting = append(c.signals.waiting, *s)
	}
	c.mu.Unlock()
	if put {
		c.wake()
	}
}

// gatherSignals appends the signals that were taken with the replies, unless the reader is slow.
func (c *conn) gatherSignals(dst []byte) []byte {
	if len(c.signals.taken) == 0 {
		return dst
	}
	if c.alive.Swap(false) {
		c.signals.written = 0
	}
	for i := range c.signals.taken {
		s := &c.signals.taken[i]
		there := slices.ContainsFunc(c.subs, func(sub *subscription) bool { return sub.room == s.room })
		if c.held || !there || c.signals.written+len(s.frame) > signalWindow || time.Since(s.at) > maxSignalAge {
			continue
		}
		dst = append(dst, s.frame...)
		c.signals.written += len(s.frame)
	}
	clear(c.signals.taken)
	c.signals.taken = c.signals.taken[:0]
	return dst
}

// A SignalKind is what a member signals.
type SignalKind string

// The signals.
const (
	SignalTyping   SignalKind = "typing"    // for some seconds; again while it goes on
	SignalHandUp   SignalKind = "hand up"   // asks to be heard
	SignalHandDown SignalKind = "hand down" // not any more
)

// Signal says that somebody in the room types, or raises a hand. It is no record: who is not there, or reads slowly, misses it, and nobody
// is told twice in a second.
type Signal struct {
	Room string
	Who  string
	Kind SignalKind
}

// RoomName implements [Event].
func (e *Signal) RoomName() string { return e.Room }

func signalFromWire(k chatpb.SignalKind) (SignalKind, bool) {
	switch k {
	case chatpb.SignalKind_SIGNAL_KIND_TYPING:
		return SignalTyping, true
	case chatpb.SignalKind_SIGNAL_KIND_HAND_UP:
		return SignalHandUp, true
	case chatpb.SignalKind_SIGNAL_KIND_HAND_DOWN:
		return SignalHandDown, true
	case chatpb.SignalKind_SIGNAL_KIND_UNSPECIFIED:
	}
	return "", false
}

func (k SignalKind) toWire() chatpb.SignalKind {
	for w := range chatpb.SignalKind_name {
		if known, ok := signalFromWire(chatpb.SignalKind(w)); ok && known == k {
			return chatpb.SignalKind(w)
		}
	}
	return chatpb.SignalKind_SIGNAL_KIND_UNSPECIFIED
}

// Signal tells the others in a room that one types, or raises a hand. It does not wait, and there is no answer: what cannot be told now, may
// not be, or is told too often, is told to nobody. In a room of more than 100 it is not told who types.
func (c *Client) Signal(room string, kind SignalKind) error {
	if err := ValidRoom(room); err != nil {
		return err
	}
	m := &chatpb.Signal{Room: []byte(room), Kind: kind.toWire()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.out.takesLocked() && len(c.out.backlog) == 0 && !c.out.fullLocked() {
		c.out.queueLocked(frameSignal, m)
	}
	return nil
}

// signaled turns a SIGNALED into its event.
func (c *Client) signaled(t transport.FrameType, body []byte) (Event, error) {
	var m chatpb.Signaled
	if err := unmarshal(t, body, &m); err != nil {
		return nil, err
	}
	r, err := c.inRoom(t, m.GetRoom())
	if err != nil {
		return nil, err
	}
	c.out.countSignal(len(body) + maxHeader)
	kind, ok := signalFromWire(m.GetKind())
	if !ok {
		return nil, nil // a later version's
	}
	return &Signal{Room: r.name, Who: m.GetWho(), Kind: kind}, nil
}

// countSignal has RECEIVED said when many bytes of SIGNALED have come: it is what lets more come.
func (o *outbox) countSignal(n int) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	if o.signaled += n; o.signaled >= signalWindow/2 && !o.ending {
		o.confirmLocked()
	}
}
