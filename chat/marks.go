package chat

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
)

// Methods for how far identities have come in a room. They need no membership: who may read the room now may call them. A server whose log
// is no [Marker] answers Unimplemented.
var (
	// Raise raises the caller's own marks. When it is answered, they are as durable as records. (A [Client] says them by itself.)
	Raise = rpc.Unary[RaiseRequest, RaiseResponse]("trunkline.Chat/Mark", rpc.Idempotent())
	// Marks returns everybody's.
	Marks = rpc.Unary[MarksRequest, MarksResponse]("trunkline.Chat/Marks", rpc.Idempotent())
)

// A RaiseRequest says how far the caller has come: not beyond the head.
type RaiseRequest struct {
	Room      string `json:"room"`
	Epoch     uint64 `json:"epoch,omitempty"`     // in which the seqs are positions; 0: the newest
	Read      uint64 `json:"read,omitempty"`      // seq of the newest record that was read; 0: nothing is said
	Delivered uint64 `json:"delivered,omitempty"` // of the newest that has arrived; what was read has
}

// A RaiseResponse has the caller's marks now, which are not below what was asked for.
type RaiseResponse struct{ Mark }

// A MarksRequest asks for the marks of a room.
type MarksRequest struct {
	Room  string `json:"room"`
	After string `json:"after,omitempty"` // only identities that are behind this one, byte for byte
}

// A MarksResponse has marks of a room, sorted by Who.
type MarksResponse struct {
	Room  string `json:"room"`
	Epoch uint64 `json:"epoch"`
	Head  uint64 `json:"head"`
	Marks []Mark `json:"marks"`
	More  bool   `json:"more"` // there are, after the last: the answer has at most 3 MiB
}

// marker returns the log, if it keeps marks.
func (srv *Server) marker() (Marker, error) {
	if m, ok := srv.cfg.Log.(Marker); ok {
		return m, nil
	}
	return nil, rpc.Errorf(rpc.Unimplemented, "the log of this server keeps no marks")
}

func (srv *Server) raise(ctx context.Context, req *RaiseRequest) (*RaiseResponse, error) {
	who, _, err := srv.caller(ctx)
	if err != nil {
		return nil, err
	}
	state, _, err := srv.visible(ctx, req.Room)
	if err != nil {
		return nil, answer(err)
	}
	marker, err := srv.marker()
	if err != nil {
		return nil, err
	}
	m := Mark{Who: who, Read: req.Read, Delivered: max(req.Read, req.Delivered)}
	if pos := (Position{Epoch: req.Epoch, Seq: m.Delivered}); !state.has(pos) {
		return nil, rpc.Errorf(rpc.DataLoss, "position %v is not in this log", pos)
	}
	if err := marker.Mark(ctx, req.Room, []Mark{m}); err != nil {
		if e := answer(err); rpc.CodeOf(e) != rpc.Unknown {
			return nil, e
		}
		srv.log.Error("log failed", "room", req.Room, "doing", "mark", "err", err)
		return nil, rpc.Errorf(rpc.Unavailable, "the log does not answer")
	}
	if r, _ := srv.room(req.Room, false); r != nil { // to show it; what is kept is kept
		epoch := req.Epoch
		if epoch == 0 { // or it would take the place of what is said of the newest by its number
			epoch = state.Epoch()
		}
		r.send(&request{kind: requestAside, do: func() { r.raise(epoch, m) }})
	}
	now, err := marker.MarkOf(ctx, req.Room, who)
	if err != nil { // asked again, it does no harm
		srv.log.Error("log failed", "room", req.Room, "doing", "mark", "err", err)
		return nil, rpc.Errorf(rpc.Unavailable, "the log does not answer")
	}
	return &RaiseResponse{now}, nil
}

// has says whether the log has, or had, a record at p, or nothing is said by p; epoch 0 is the newest.
func (s State) has(p Position) bool {
	if p.Epoch == 0 {
		return p.Seq <= s.Head
	}
	return s.knows(p)
}

func (srv *Server) marks(ctx context.Context, req *MarksRequest) (*MarksResponse, error) {
	state, s, err := srv.visible(ctx, req.Room)
	if err != nil {
		return nil, answer(err)
	}
	marker, err := srv.marker()
	if err != nil {
		return nil, err
	}
	all, err := marker.Marks(ctx, req.Room)
	if err != nil {
		srv.log.Error("log failed", "room", req.Room, "doing", "marks", "err", err)
		return nil, rpc.Errorf(rpc.Unavailable, "the log does not answer")
	}
	all = slices.DeleteFunc(all, func(m Mark) bool { return m.Delivered <= s.Gone }) // of who was in a room that has been deleted
	at, found := slices.BinarySearchFunc(all, req.After, func(m Mark, who string) int { return strings.Compare(m.Who, who) })
	if found && req.After != "" {
		at++
	}
	all = all[at:]
	n, place := 0, maxPageBytes
	for ; n < len(all); n++ {
		if place -= recordJSON + worstByte*len(all[n].Who); place < 0 && n > 0 {
			break
		}
	}
	return &MarksResponse{Room: req.Room, Epoch: state.Epoch(), Head: state.Head, Marks: append([]Mark{}, all[:n]...), More: n < len(all)}, nil
}

// mark hands a MARK to the room, or raises the one that is on its way. One that comes too late, or is of no room that the session is in, has
// nobody whom it could be told.
func (c *conn) mark(m *chatpb.Mark) error {
	slot := c.session.markSlot(m.GetRoom())
	mark := Mark{Who: c.session.who, Read: m.GetRead(), Delivered: max(m.GetRead(), m.GetDelivered())}
	if slot == nil || !slot.raise(m.GetEpoch(), mark) {
		return nil
	}
	r, _ := c.session.srv.room(string(m.GetRoom()), false)
	if r == nil {
		slot.take()
		return nil
	}
	req := &request{kind: requestAside}
	req.do = func() {
		if member := r.members[req.session]; member == nil || member.sub == nil || member.sub.conn != c {
			slot.take()
			return
		}
		r.marking = append(r.marking, slot)
		r.marksSoon()
	}
	return c.send(r, req)
}

// A markSlot is where the MARKs of a session for a room wait to be kept, all as one: however many there are, the room hears of them once in
// marksEvery.
type markSlot struct {
	mu    sync.Mutex // guards what follows
	mark  raisedMark
	waits bool // the room knows, or is being told
}

// markSlot returns the one for a room that the session claims, or nil.
func (s *session) markSlot(room []byte) *markSlot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.rooms[string(room)]; c != nil {
		return &c.marks
	}
	return nil
}

// raise says whether the room is to be told.
func (s *markSlot) raise(epoch uint64, m Mark) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first = !s.waits; first {
		s.mark, s.waits = raisedMark{m, epoch}, true
	} else {
		s.mark = s.mark.by(epoch, m)
	}
	return first
}

// take returns what was raised.
func (s *markSlot) take() raisedMark {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = false
	return s.mark
}

// marksEvery is how often the marks of a room that have risen are kept and shown, all together.
const marksEvery = time.Second

// A raisedMark is one that is not kept or shown yet, with the epoch of its seqs.
type raisedMark struct {
	Mark
	epoch uint64
}

// by returns what it is when another of the same identity has been raised.
func (had raisedMark) by(epoch uint64, m Mark) raisedMark {
	switch {
	case had.epoch == epoch:
		m = had.raised(m)
	case had.epoch > epoch && epoch > 0:
		return had // in a later epoch it is higher
	}
	return raisedMark{m, epoch}
}

// raise notes that a mark has risen.
func (r *room) raise(epoch uint64, m Mark) {
	now := raisedMark{m, epoch}
	if had, ok := r.raised[m.Who]; ok {
		now = had.by(epoch, m)
	}
	put(&r.raised, m.Who, now)
	r.marksSoon()
}

// marksSoon has marks kept soon.
func (r *room) marksSoon() {
	if r.marksDue == nil {
		r.marksDue = time.After(marksEvery)
	}
}

// keepMarksIfDue keeps and shows what has risen long enough ago.
func (r *room) keepMarksIfDue() {
	select {
	case <-r.marksDue:
		r.keepMarks()
	default:
	}
}

// gatherMarks takes in what sessions have said.
func (r *room) gatherMarks() {
	for _, slot := range r.marking {
		m := slot.take()
		r.raise(m.epoch, m.Mark)
	}
	clear(r.marking)
	r.marking = r.marking[:0]
}

// keepMarks has the log keep the marks that have risen, and shows them. It is also for the end, when the server has been closed.
func (r *room) keepMarks() {
	r.gatherMarks()
	r.marksDue = nil
	if len(r.raised) == 0 {
		return
	}
	defer clear(r.raised)
	marker, err := r.srv.marker()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.srv.ctx), marksEvery)
	defer cancel()
	state, err := r.srv.cfg.Log.State(ctx, r.name)
	var marks []Mark
	for _, who := range slices.Sorted(maps.Keys(r.raised)) {
		// The log may have lost what a client has seen.
		if m := r.raised[who]; state.has(Position{Epoch: m.epoch, Seq: m.Delivered}) {
			marks = append(marks, m.Mark)
		}
	}
	if err == nil && len(marks) > 0 {
		err = marker.Mark(ctx, r.name, marks)
	}
	if err != nil { // they rise again with the next record
		_ = r.refusal("mark", err)
		return
	}
	r.checkpointed(marks)
	r.showMarks(marks)
}

// showMarks shows marks to the members of a room that is not big.
func (r *room) showMarks(marks []Mark) {
	if len(marks) == 0 {
		return
	}
	if r.gathers {
		r.unshown = true
		return
	}
	m := &chatpb.Marks{Room: r.wire, Stale: r.unshown}
	size := 0
	var events []event
	flush := func() {
		events = append(events, event{marks: true, frame: appendMessage(nil, frameMarks, m), length: bodyLen(m), seq: r.head + 1})
		m, size = &chatpb.Marks{Room: r.wire}, 0
	}
	for _, mark := range marks {
		if n := len(mark.Who) + sizeOfMark; size > 0 && size+n > maxNames {
			flush()
		}
		size += len(mark.Who) + sizeOfMark
		m.Marks = append(m.Marks, &chatpb.Marks_Of{Who: mark.Who, Read: mark.Read, Delivered: mark.Delivered})
	}
	flush()
	r.unshown = false
	r.mu.Lock()
	for _, e := range events {
		r.ring.push(e)
	}
	r.mu.Unlock()
	r.wakeAll()
}

// sizeOfMark is more than a mark takes in MARKS beside its name, in bytes.
const sizeOfMark = 32

// appendStale tells s that marks have been skipped.
func (s *subscription) appendStale(dst []byte) ([]byte, bool) {
	if !s.stale {
		return dst, true
	}
	m := &chatpb.Marks{Room: s.room.wire, Stale: true}
	length := bodyLen(m)
	if !s.conn.fits(dst, length+maxHeader) || !s.conn.mayAppend(length) {
		return dst, false
	}
	dst = appendMessage(dst, frameMarks, m)
	s.conn.charge(length)
	s.stale = false
	return dst, true
}

// Marked says that marks of others, or of oneself, have risen. It comes at most once a second, and in rooms of more than 100 identities not
// at all: there, and when Stale is set, after a [*Resumed] too, [Marks] has all of them. What that has and what comes behind it, the higher of
// each, is what it would have now (C7).
type Marked struct {
	Room  string
	Marks []Mark
	Stale bool // others have risen, too
}

// RoomName implements [Event].
func (e *Marked) RoomName() string { return e.Room }

// marked follows MARKS.
func (c *Client) marked(body []byte) (Event, error) {
	var m chatpb.Marks
	if err := unmarshal(frameMarks, body, &m); err != nil {
		return nil, err
	}
	r, err := c.inRoom(frameMarks, m.GetRoom())
	if err != nil {
		return nil, err
	}
	e := &Marked{Room: r.name, Stale: m.GetStale()}
	for _, of := range m.GetMarks() {
		e.Marks = append(e.Marks, Mark{Who: of.GetWho(), Read: of.GetRead(), Delivered: of.GetDelivered()})
	}
	return e, nil
}

// An ownMark is how far a client has come in a room.
type ownMark struct {
	raisedMark
	said bool // on the stream

	// With [ClientConfig.CheckpointLines] or CheckpointAfter:
	done  Position // of the newest record that the user is done with
	lines int      // records since the last checkpoint
}

// unsaid says whether there is something to say.
func (own *ownMark) unsaid() bool { return !own.said && own.Delivered > 0 }

// ownLocked returns how far the client has come in a room.
func (c *Client) ownLocked(room string) *ownMark {
	own := c.marks[room]
	if c.marks == nil {
		c.marks = make(map[string]*ownMark)
	}
	if own == nil {
		own = &ownMark{said: true}
		c.marks[room] = own
	}
	return own
}

// MarkRead says that this identity has read up to a record of a room that is joined, and is done with all before: that is its checkpoint
// there, which others are shown, and which the server keeps. It only rises. MarkRead does not wait, and is said with the next that the client
// confirms, after a second at the latest; [Raise] waits until it is kept. See [ClientConfig.CheckpointLines] for a client that says it by itself.
func (c *Client) MarkRead(room string, p Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raiseLocked(room, p.Epoch, Mark{Read: p.Seq, Delivered: p.Seq})
	c.armLocked()
}

// armLocked has what is to be said said soon. Without a stream, the next one does.
func (c *Client) armLocked() {
	if c.out != nil {
		c.out.armLocked()
	}
}

// delivered notes that all up to the last record of r has been taken in.
func (c *Client) delivered(r *clientRoom) {
	if c.cfg.NoDelivered {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raiseLocked(r.name, r.last.Epoch, Mark{Delivered: r.last.Seq})
}

func (c *Client) raiseLocked(room string, epoch uint64, m Mark) {
	own := c.ownLocked(room)
	before := own.raisedMark
	if own.epoch == epoch {
		m = own.raised(m)
	} else if own.epoch > epoch {
		return
	}
	own.raisedMark = raisedMark{m, epoch}
	own.said = own.said && own.raisedMark == before
}

// unsaidLocked says whether there is something to say.
func (c *Client) unsaidLocked() bool {
	for _, own := range c.marks {
		if own.unsaid() {
			return true
		}
	}
	return false
}

// appendMarksLocked appends a MARK for each room in which there is something to say.
func (c *Client) appendMarksLocked(b []byte) []byte {
	for room, own := range c.marks {
		if own.unsaid() {
			own.said = true
			b = appendMessage(b, frameMark, &chatpb.Mark{Room: []byte(room), Epoch: own.epoch, Read: own.Read, Delivered: own.Delivered})
		}
	}
	return b
}

// forgetMarks forgets how far the client has come in a room in which it is no more.
func (c *Client) forgetMarks(room string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.marks, room)
}
