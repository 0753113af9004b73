package chat

import (
	"container/heap"
	"context"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/chat/internal/watch"
	"github.com/trunkline-go/trunkline/rpc"
)

// MemoryLogConfig bounds a [MemoryLog]. The zero value works.
type MemoryLogConfig struct {
	// MaxRoomRecords and MaxRoomBytes are how much of one room is kept, in records and in
	// bytes of memory. Defaults: 10,000 and 16 MiB.
	MaxRoomRecords int
	MaxRoomBytes   int

	// MaxBytes is how many bytes of memory all records together may take. Default 128 MiB.
	MaxBytes int

	// MaxRooms is how many rooms there may be that have, or had, a record. An append to one
	// more is refused with rpc.ResourceExhausted. Default 10,000.
	MaxRooms int

	// MaxMarks is how many messages are remembered, over all rooms, so that sending one
	// again does not append it again. The oldest are forgotten first; marks outlive their
	// records. Default 200,000, which is about 20 MB.
	MaxMarks int

	// Epoch is the one that positions have. Default: the time in milliseconds since 1970, so that
	// a log which begins anew is not taken for the one before it.
	Epoch uint64
}

// recordCost is what a record takes in memory beside its texts, in bytes.
const recordCost = 200

// A MemoryLog is a [Log] that ends with the process. When a limit is reached, the oldest
// records are trimmed. Make one with [NewMemoryLog]; it is safe for concurrent use.
type MemoryLog struct {
	cfg   MemoryLogConfig
	seeds [2]maphash.Seed

	watchers watch.Watchers

	mu    sync.Mutex             // guards what follows
	rooms map[string]*memoryRoom // that have, or had, a record
	bytes int                    // of all records
	marks map[markKey]mark
	order fifo[markKey] // of marks
	aged  roomHeap      // the rooms with records, the one with the oldest first
	count uint64        // of records appended so far: tells which is oldest

	scratch []byte // of markKeyLocked
}

type memoryRoom struct {
	name     string
	snapshot []byte
	marks    map[string]Mark
	records  fifo[memoryRecord]
	refs     map[uint64][]uint64 // seqs of the records that refer to a text, by its seq
	head     uint64
	bytes    int
	place    int // in aged, while it has records
}

type memoryRecord struct {
	Record
	nth uint64 // of all records of the log
}

// A markKey stands for room, identity, producer and message id. The hashes are seeded, so nobody can aim at a
// collision, and there is no pointer in a mark: with the names themselves an append with 200,000 marks took
// 2.1 µs instead of 1.1, and the collector went over all of them.
type markKey [2]uint64

func (l *MemoryLog) markKeyLocked(room string, e *Entry) markKey {
	b := l.scratch[:0]
	b = append(b, e.Producer[:]...)
	for _, s := range [...]string{room, e.From, e.ID} {
		b = binary.AppendUvarint(b, uint64(len(s))) // or "ab", "c" would be "a", "bc"
		b = append(b, s...)
	}
	l.scratch = b
	return markKey{maphash.Bytes(l.seeds[0], b), maphash.Bytes(l.seeds[1], b)}
}

// contentLocked hashes what must be equal in a message that is sent again.
func (l *MemoryLog) contentLocked(e *Entry) uint64 {
	hash := maphash.Bytes(l.seeds[0], e.Body)
	if e.Kind != KindText || e.Ref != 0 {
		b := binary.AppendUvarint(l.scratch[:0], uint64(e.Kind))
		b = binary.AppendUvarint(b, e.Ref)
		hash ^= maphash.Bytes(l.seeds[1], b)
	}
	return hash
}

// A mark remembers a message. A collision of the body's hash, which is seeded, too, would only take one's own
// changed message for the old one.
type mark struct {
	Position
	body uint64
}

// NewMemoryLog returns an empty log. Every room is in the same epoch.
func NewMemoryLog(cfg MemoryLogConfig) *MemoryLog {
	setDefault(&cfg.MaxRoomRecords, 10_000)
	setDefault(&cfg.MaxRoomBytes, 16<<20)
	setDefault(&cfg.MaxBytes, 128<<20)
	setDefault(&cfg.MaxRooms, 10_000)
	setDefault(&cfg.MaxMarks, 200_000)
	if cfg.Epoch == 0 {
		cfg.Epoch = uint64(time.Now().UnixMilli())
	}
	return &MemoryLog{
		cfg:   cfg,
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		rooms: make(map[string]*memoryRoom),
		marks: make(map[markKey]mark),
	}
}

func setDefault(v *int, def int) {
	if *v == 0 {
		*v = def
	}
}

// State implements [Log].
func (l *MemoryLog) State(_ context.Context, room string) (State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stateLocked(room), nil
}

func (l *MemoryLog) stateLocked(room string) State {
	s := State{First: 1, Epochs: []Epoch{{Number: l.cfg.Epoch, First: 1}}}
	if r := l.rooms[room]; r != nil {
		s.Head, s.First, s.Snapshot = r.head, r.first(), r.snapshot
	}
	return s
}

// Append implements [Log].
func (l *MemoryLog) Append(_ context.Context, room string, head uint64, entries []Entry, snapshot []byte) ([]Result, error) {
	l.mu.Lock()
	r := l.rooms[room]
	switch {
	case r != nil && r.head != head || r == nil && head != 0:
		err := &ConflictError{}
		if r != nil {
			err.Head = r.head
		}
		l.mu.Unlock()
		return nil, err
	case len(entries) == 0:
		l.mu.Unlock()
		return nil, nil
	case r == nil && len(l.rooms) >= l.cfg.MaxRooms:
		l.mu.Unlock()
		return nil, errorf(rpc.ResourceExhausted, "the log has no place for another room")
	case r == nil:
		r = &memoryRoom{name: room}
		l.rooms[room] = r
	}
	now := time.Now().UTC()
	results := make([]Result, len(entries))
	for i := range entries {
		results[i] = l.appendLocked(r, &entries[i], now)
	}
	moved := r.head
	if moved != head && snapshot != nil {
		r.snapshot = snapshot
	}
	l.trimLocked(r)
	l.mu.Unlock()
	if moved != head {
		l.watchers.Moved(room, moved)
	}
	return results, nil
}

func (l *MemoryLog) appendLocked(r *memoryRoom, e *Entry, now time.Time) Result {
	key := l.markKeyLocked(r.name, e)
	hash := l.contentLocked(e)
	if m, ok := l.marks[key]; ok {
		return m.result(hash)
	}
	r.head++
	l.count++
	pos := Position{Epoch: l.cfg.Epoch, Seq: r.head}
	r.records.push(memoryRecord{Record: Record{Position: pos, Entry: *e, Time: now}, nth: l.count})
	if r.records.len() == 1 {
		heap.Push(&l.aged, r)
	}
	cost := recordCost + len(e.ID) + len(e.Body)
	r.bytes += cost
	l.bytes += cost
	l.marks[key] = mark{Position: pos, body: hash}
	l.order.push(key)
	if l.order.len() > l.cfg.MaxMarks {
		delete(l.marks, l.order.pop())
	}
	if e.Kind.refers() {
		l.referLocked(r, e, pos.Seq)
	}
	return Result{Position: pos, Time: now}
}

// result answers an entry whose id was used before.
func (m *mark) result(hash uint64) Result {
	if m.body != hash {
		return Result{Err: errorf(rpc.AlreadyExists, "the message id was used before, for something else")}
	}
	return Result{Position: m.Position, Duplicate: true}
}

// referLocked notes that the record seq, which e has become, refers to another.
func (l *MemoryLog) referLocked(r *memoryRoom, e *Entry, seq uint64) {
	if r.text(e.Ref) == nil {
		return
	}
	if r.refs == nil {
		r.refs = make(map[uint64][]uint64)
	}
	r.refs[e.Ref] = append(r.refs[e.Ref], seq)
	if e.Kind != KindDelete {
		return
	}
	l.eraseLocked(r, e.Ref)
	for _, seq := range r.refs[e.Ref] {
		if r.at(seq).Kind == KindEdit {
			l.eraseLocked(r, seq)
		}
	}
}

func (l *MemoryLog) eraseLocked(r *memoryRoom, seq uint64) {
	rec := r.at(seq)
	r.bytes -= len(rec.Body)
	l.bytes -= len(rec.Body)
	rec.Body = nil // readers may have it, and go on reading it
}

// Find implements [Log].
func (l *MemoryLog) Find(_ context.Context, room string, entries []Entry) (State, []Found, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make([]Found, len(entries))
	targets := make(map[uint64]*Target)
	r := l.rooms[room]
	for i := range entries {
		e := &entries[i]
		if m, ok := l.marks[l.markKeyLocked(room, e)]; ok {
			res := m.result(l.contentLocked(e))
			found[i].Known = &res
		}
		if e.Ref == 0 || r == nil {
			continue
		}
		t, looked := targets[e.Ref]
		if !looked {
			t = r.target(e.Ref)
			targets[e.Ref] = t
		}
		found[i].Target = t
	}
	return l.stateLocked(room), found, nil
}

// target returns the text at seq, if there is one.
func (r *memoryRoom) target(seq uint64) *Target {
	rec := r.text(seq)
	if rec == nil {
		return nil
	}
	t := &Target{From: rec.From, Erased: len(rec.Body) == 0}
	for _, seq := range r.refs[seq] {
		ref := r.at(seq)
		switch ref.Kind {
		case KindEdit:
			t.Refs = append(t.Refs, Reference{Kind: ref.Kind, From: ref.From})
		case KindReact, KindUnreact:
			t.Refs = append(t.Refs, Reference{Kind: ref.Kind, From: ref.From, Text: string(ref.Body)})
		default:
		}
	}
	return t
}

// text returns the record seq, if there is one and it is a text.
func (r *memoryRoom) text(seq uint64) *memoryRecord {
	if seq < r.first() || seq > r.head {
		return nil
	}
	if rec := r.at(seq); rec.Kind == KindText {
		return rec
	}
	return nil
}

// at returns the record seq, which there is.
func (r *memoryRoom) at(seq uint64) *memoryRecord { return r.records.at(int(seq - r.first())) }

// trimLocked enforces the limits after an append to r. The newest record stays.
func (l *MemoryLog) trimLocked(r *memoryRoom) {
	for r.records.len() > 1 && (r.records.len() > l.cfg.MaxRoomRecords || r.bytes > l.cfg.MaxRoomBytes) {
		l.dropLocked(r)
	}
	for l.bytes > l.cfg.MaxBytes {
		if len(l.aged) == 0 || l.aged[0] == r && r.records.len() == 1 {
			return
		}
		l.dropLocked(l.aged[0])
	}
}

func (l *MemoryLog) dropLocked(r *memoryRoom) {
	gone := r.records.pop()
	delete(r.refs, gone.Seq)
	cost := recordCost + len(gone.ID) + len(gone.Body)
	r.bytes -= cost
	l.bytes -= cost
	if r.records.len() == 0 {
		heap.Remove(&l.aged, r.place)
	} else {
		heap.Fix(&l.aged, r.place)
	}
}

// A roomHeap orders rooms by their oldest record.
type roomHeap []*memoryRoom

func (h *roomHeap) Len() int { return len(*h) }

func (h *roomHeap) Less(i, j int) bool {
	return (*h)[i].records.at(0).nth < (*h)[j].records.at(0).nth
}

func (h *roomHeap) Swap(i, j int) {
	a := *h
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

func (h *roomHeap) Push(x any) {
	if r, ok := x.(*memoryRoom); ok { // heap hands on what it was given
		r.place = len(*h)
		*h = append(*h, r)
	}
}

func (h *roomHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}

// Read implements [Log].
func (l *MemoryLog) Read(_ context.Context, room string, seq uint64, maxBytes int) ([]Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, at, err := l.findLocked(room, seq)
	if r == nil || err != nil {
		return nil, err
	}
	var out []Record
	bytes := 0
	for i := at; i < r.records.len() && len(out) < MaxRead; i++ {
		rec := r.records.at(i)
		bytes += len(rec.Body)
		if len(out) > 0 && bytes > maxBytes {
			break
		}
		out = append(out, rec.Record)
	}
	return out, nil
}

// ReadBack implements [Log].
func (l *MemoryLog) ReadBack(_ context.Context, room string, seq uint64, n, maxBytes int) ([]Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, at, err := l.findLocked(room, seq)
	if r == nil || err != nil {
		return nil, err
	}
	var out []Record
	bytes := 0
	for i := at; i >= 0 && len(out) < n; i-- {
		rec := r.records.at(i)
		bytes += len(rec.Body)
		if len(out) > 0 && bytes > maxBytes {
			break
		}
		out = append(out, rec.Record)
	}
	slices.Reverse(out)
	return out, nil
}

// findLocked returns the room that has the record at seq, and where in its records that is. Without a room and an error it
// is beyond the head.
func (l *MemoryLog) findLocked(room string, seq uint64) (r *memoryRoom, at int, err error) {
	r = l.rooms[room]
	if r == nil || seq > r.head {
		return nil, 0, nil
	}
	first := r.first()
	if seq < first {
		return nil, 0, errorf(rpc.OutOfRange, "record %d has been trimmed, the first left is %d", seq, first)
	}
	return r, int(seq - first), nil
}

// Trim implements [Log].
func (l *MemoryLog) Trim(_ context.Context, room string, first uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.rooms[room]; r != nil {
		for r.records.len() > 0 && r.first() < first {
			l.dropLocked(r)
		}
	}
	return nil
}

// Rooms implements [Log].
func (l *MemoryLog) Rooms(_ context.Context, after string, n int) ([]RoomState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []RoomState
	for name, r := range l.rooms {
		if name > after {
			found = append(found, RoomState{Name: name, Head: r.head, First: r.first(), Snapshot: r.snapshot})
		}
	}
	slices.SortFunc(found, func(a, b RoomState) int { return strings.Compare(a.Name, b.Name) })
	return slices.Clone(found[:min(n, len(found))]), nil
}

// maxMarks is how many identities have marks in one room of a [MemoryLog]; those of others are not kept.
const maxMarks = 10_000

// Mark implements [Marker].
func (l *MemoryLog) Mark(_ context.Context, room string, marks []Mark) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rooms[room]
	if r == nil {
		return nil
	}
	if r.marks == nil {
		r.marks = make(map[string]Mark)
	}
	for _, m := range marks {
		had, ok := r.marks[m.Who]
		if ok || len(r.marks) < maxMarks {
			r.marks[m.Who] = had.raised(m)
		}
	}
	return nil
}

// Marks implements [Marker].
func (l *MemoryLog) Marks(_ context.Context, room string) ([]Mark, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rooms[room]
	if r == nil {
		return nil, nil
	}
	return slices.SortedFunc(maps.Values(r.marks), func(a, b Mark) int { return strings.Compare(a.Who, b.Who) }), nil
}

// MarkOf implements [Marker].
func (l *MemoryLog) MarkOf(_ context.Context, room, who string) (Mark, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := Mark{}
	if r := l.rooms[room]; r != nil {
		m = r.marks[who]
	}
	m.Who = who
	return m, nil
}

// Watch implements [Log].
func (l *MemoryLog) Watch(room string, moved func(head uint64)) (stop func()) {
	return l.watchers.Add(room, moved)
}

func (r *memoryRoom) first() uint64 { return r.head - uint64(r.records.len()) + 1 }
