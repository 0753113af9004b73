package floor

import (
	"encoding/binary"
	"unicode/utf8"
)

// Transitions and states are encoded as protobuf messages are, by hand: protobuf's own encoders do not promise
// the same bytes for the same state in every version. Zero values are left out, and fields stand in the order of
// their numbers.

// stateVersion is that of the encoding of a state. A state of another one is refused, not guessed at.
const stateVersion = 1

// The two types of field that there are.
const (
	typeVarint = 0
	typeBytes  = 2
)

func appendVarint(dst []byte, field int, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(field)<<3|typeVarint)
	return binary.AppendUvarint(dst, v)
}

func appendString[T string | []byte](dst []byte, field int, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	return appendElement(dst, field, v)
}

// appendElement appends a field that is there also when it is empty.
func appendElement[T string | []byte](dst []byte, field int, v T) []byte {
	dst = binary.AppendUvarint(dst, uint64(field)<<3|typeBytes)
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func appendProducer(dst []byte, field int, p Producer) []byte {
	if p == (Producer{}) {
		return dst
	}
	return appendElement(dst, field, p[:])
}

// Encode returns t as it stands in a record.
func (t *Transition) Encode() []byte {
	b := appendVarint(nil, 1, t.Request)
	b = appendVarint(b, 2, uint64(t.To))
	b = appendVarint(b, 3, uint64(t.Why))
	b = appendString(b, 4, t.Who)
	b = appendString(b, 5, t.By)
	b = appendVarint(b, 6, uint64(t.Priority))
	b = appendProducer(b, 7, t.Producer)
	b = appendString(b, 8, t.Text)
	b = appendVarint(b, 9, uint64(max(t.Place, 0)))
	b = appendVarint(b, 10, t.Grant)
	b = appendVarint(b, 11, uint64(t.Time))
	b = appendString(b, 12, t.Holder)
	b = appendVarint(b, 13, t.Number)
	for _, who := range t.Queue {
		b = appendElement(b, 14, who)
	}
	return b
}

// DecodeTransition returns the transition in the body of a record. What it does not know it passes over, as
// protobuf asks. An error is an [*Error] with Malformed.
func DecodeTransition(b []byte) (Transition, error) {
	var t Transition
	d := decoder{rest: b}
	for d.next() {
		switch d.field {
		case 1:
			t.Request = d.number()
		case 2:
			t.To = State(d.upTo(uint64(Here)))
		case 3:
			t.Why = Why(d.upTo(255))
		case 4:
			t.Who = d.text(MaxName)
		case 5:
			t.By = d.text(MaxName)
		case 6:
			t.Priority = Priority(d.upTo(uint64(Highest)))
		case 7:
			t.Producer = Producer(d.bytes16())
		case 8:
			t.Text = d.text(MaxText)
		case 9:
			t.Place = int(d.upTo(MaxWaiting))
		case 10:
			t.Grant = d.number()
		case 11:
			t.Time = int64(d.number())
		case 12:
			t.Holder = d.text(MaxName)
		case 13:
			t.Number = d.number()
		case 14:
			if len(t.Queue) == MaxWaiting {
				d.fail("more than %d are in the queue", MaxWaiting)
				break
			}
			t.Queue = append(t.Queue, d.text(MaxName))
		}
	}
	switch {
	case d.err != nil:
		return Transition{}, d.err
	case t.To.String() == "unknown", t.Why == 0, t.Who == "":
		return Transition{}, errorf(Malformed, "a transition has a state, a reason, and an identity")
	}
	return t, nil
}

func (s *state) encode(b []byte) []byte {
	b = appendVarint(b, 1, stateVersion)
	b = appendVarint(b, 2, s.epoch)
	b = appendVarint(b, 3, s.last)
	b = appendVarint(b, 4, s.grant)
	b = appendVarint(b, 5, s.held)
	b = appendVarint(b, 6, uint64(s.grantedAt))
	if s.holder != nil {
		b = appendElement(b, 7, s.holder.encode())
	}
	for i := range s.queue {
		b = appendElement(b, 8, s.queue[i].encode())
	}
	for i := range s.pending {
		b = appendElement(b, 9, s.pending[i].encode())
	}
	return b
}

func (r *request) encode() []byte {
	b := appendVarint(nil, 1, r.id)
	b = appendString(b, 2, r.who)
	b = appendString(b, 3, r.by)
	b = appendProducer(b, 4, r.producer)
	b = appendVarint(b, 5, uint64(r.priority))
	b = appendString(b, 6, r.text)
	if r.missed {
		b = appendVarint(b, 7, 1)
	}
	return appendVarint(b, 8, r.claims)
}

// decodeState returns the state of which encode has made b, with what is of this run of the server not set.
func decodeState(b []byte) (*state, error) {
	s := &state{}
	var version uint64
	d := decoder{rest: b}
	for d.next() {
		switch d.field {
		case 1:
			version = d.number()
		case 2:
			s.epoch = d.number()
		case 3:
			s.last = d.number()
		case 4:
			s.grant = d.number()
		case 5:
			s.held = d.number()
		case 6:
			s.grantedAt = int64(d.number())
		case 7:
			r := d.request()
			s.holder = &r
		case 8:
			s.queue = append(s.queue, d.request())
		case 9:
			s.pending = append(s.pending, d.request())
		default:
			d.fail("a state has no field %d", d.field)
		}
		if s.waiting() > MaxWaiting {
			d.fail("more than %d are waiting", MaxWaiting)
		}
	}
	if d.err == nil && version != stateVersion {
		d.fail("the state is of version %d, known is %d", version, stateVersion)
	}
	if d.err == nil {
		d.err = s.check()
	}
	if d.err != nil {
		return nil, d.err
	}
	return s, nil
}

// HolderOf returns who holds the floor of which [Floor.Encode] has made b; "" is nobody, or a b that cannot be read.
func HolderOf(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s, err := decodeState(b)
	if err != nil {
		return ""
	}
	who, _ := s.holding()
	return who
}

// check says what no state has.
func (s *state) check() error {
	if s.last > maxNumber || s.grant > maxNumber {
		return errorf(Malformed, "%d requests and %d grants are more than there can be", s.last, s.grant)
	}
	if s.epoch == 0 || (s.holder == nil) != (s.held == 0) || s.held > s.grant {
		return errorf(Malformed, "grant %d of %d is held in epoch %d", s.held, s.grant, s.epoch)
	}
	seen := make(map[uint64]bool)
	var err error
	s.all(func(r *request, _ State) bool {
		switch {
		case r.id == 0 || r.id > s.last || seen[r.id]:
			err = errorf(Malformed, "request %d of %d is there twice, or can't be", r.id, s.last)
		case r.check() != nil:
			err = errorf(Malformed, "request %d is none", r.id)
		}
		seen[r.id] = true
		return err == nil
	})
	return err
}

func (d *decoder) request() (r request) {
	if d.kind != typeBytes {
		d.fail("field %d is a message", d.field)
		return r
	}
	m := decoder{rest: d.value}
	for m.next() {
		switch m.field {
		case 1:
			r.id = m.number()
		case 2:
			r.who = m.text(MaxName)
		case 3:
			r.by = m.text(MaxName)
		case 4:
			r.producer = Producer(m.bytes16())
		case 5:
			r.priority = Priority(m.upTo(uint64(Highest)))
		case 6:
			r.text = m.text(MaxText)
		case 7:
			r.missed = m.upTo(1) == 1
		case 8:
			r.claims = m.number()
		default:
			m.fail("a request has no field %d", m.field)
		}
	}
	if m.err != nil {
		d.err = m.err
	}
	return r
}

// A decoder goes over the fields of a message, until one is wrong.
type decoder struct {
	rest  []byte
	field uint64
	kind  uint64
	n     uint64 // of a varint
	value []byte // of bytes
	err   error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = errorf(Malformed, format, args...)
	}
}

// next goes to the next field, and says whether there is one.
func (d *decoder) next() bool {
	for d.err == nil && len(d.rest) > 0 {
		tag := d.uvarint()
		d.field, d.kind = tag>>3, tag&7
		if d.err == nil && d.field == 0 {
			d.fail("a field has number 0")
		}
		switch d.kind {
		case typeVarint:
			d.n = d.uvarint()
		case typeBytes:
			d.value = d.take(d.uvarint())
		case 1:
			d.take(8)
		case 5:
			d.take(4)
		default:
			d.fail("field %d has type %d", d.field, d.kind)
		}
		if d.err == nil && (d.kind == typeVarint || d.kind == typeBytes) {
			return true
		}
	}
	return false
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.fail("a number is cut off, or too large")
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) take(n uint64) []byte {
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.rest)) {
		d.fail("field %d is cut off", d.field)
		return nil
	}
	v := d.rest[:n]
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) number() uint64 {
	if d.kind != typeVarint {
		d.fail("field %d is a number", d.field)
		return 0
	}
	return d.n
}

func (d *decoder) upTo(limit uint64) uint64 {
	n := d.number()
	if n > limit {
		d.fail("field %d is %d, limit is %d", d.field, n, limit)
		return 0
	}
	return n
}

func (d *decoder) text(limit int) string {
	if d.kind != typeBytes || len(d.value) > limit || !utf8.Valid(d.value) {
		d.fail("field %d has at most %d bytes of UTF-8", d.field, limit)
		return ""
	}
	return string(d.value)
}

func (d *decoder) bytes16() (b [16]byte) {
	if d.kind != typeBytes || len(d.value) != len(b) {
		d.fail("field %d has %d bytes", d.field, len(b))
		return b
	}
	copy(b[:], d.value)
	return b
}
