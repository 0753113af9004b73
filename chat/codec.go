package chat

import (
	"cmp"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trunkline-go/trunkline/internal/wire"
	"github.com/trunkline-go/trunkline/transport"
)

// PUBLISH, PUBACK, RECORD and RECEIVED are encoded and decoded by hand, and not by the generated chatpb,
// against which the tests hold every byte: they are what a line costs at each subscriber. A line of a
// RECORD, encoded, decoded and made an event, takes 0.35 µs and two allocations, the event and its text, instead of
// 0.65 and four (BenchmarkRecordCodec, 2.8 GHz), where bare QUIC moves it in 0.7 µs a side.

// Field numbers of chatpb.
const (
	fieldRoom protowire.Number = 1 // of all but Received

	publishProducer protowire.Number = 2
	publishEntries  protowire.Number = 3
	publishGrant    protowire.Number = 4
	publishExpect   protowire.Number = 6

	cursorEpoch protowire.Number = 1
	cursorSeq   protowire.Number = 2

	entryID   protowire.Number = 1
	entryBody protowire.Number = 2
	entryKind protowire.Number = 3
	entryRef  protowire.Number = 4

	receivedBytes protowire.Number = 1

	presenceWho protowire.Number = 2 // what follows, but for the state, are names, too

	fieldEpoch protowire.Number = 2 // of PubAck and Record
	fieldSeq   protowire.Number = 3
	fieldItems protowire.Number = 4 // the ids of the one, the lines of the other

	pubAckDuplicate protowire.Number = 5

	lineFrom protowire.Number = 1
	lineTime protowire.Number = 2
	lineID   protowire.Number = 3
	lineBody protowire.Number = 4
	lineOwn  protowire.Number = 5
	lineKind protowire.Number = 6
	lineRef  protowire.Number = 8
)

// What is decoded aliases the body of its frame.

// A publishHeader is what a PUBLISH has beside its entries.
type publishHeader struct {
	room, producer []byte
	grant          uint64
	expects        bool // the head below
	head           Position
}

// decodePublish returns what the entries of a PUBLISH share. They are gone over with nextEntry.
func decodePublish(body []byte) (h publishHeader, err error) {
	f := wire.Over(body)
	for f.Next() {
		switch {
		case f.Number == fieldRoom && f.IsBytes:
			h.room = f.Bytes
		case f.Number == publishProducer && f.IsBytes:
			h.producer = f.Bytes
		case f.Number == publishGrant && !f.IsBytes:
			h.grant = f.Varint
		case f.Number == publishExpect && f.IsBytes:
			h.expects = true
			err = cmp.Or(err, decodeCursor(f.Bytes, &h.head))
		}
	}
	return h, cmp.Or(err, f.Err)
}

// decodeCursor sets in p what b says; where a message comes in several parts, the last of each counts.
func decodeCursor(b []byte, p *Position) error {
	f := wire.Over(b)
	for f.Next() {
		switch {
		case f.Number == cursorEpoch && !f.IsBytes:
			p.Epoch = f.Varint
		case f.Number == cursorSeq && !f.IsBytes:
			p.Seq = f.Varint
		}
	}
	return f.Err
}

// A wireEntry is a decoded Entry.
type wireEntry struct {
	id, body []byte
	kind     Kind
	ref      uint64
}

// nextEntry returns the next entry of a PUBLISH. Without an error, ok says whether there was one.
func nextEntry(f *wire.Fields) (entry wireEntry, ok bool, err error) {
	for f.Next() {
		if f.Number != publishEntries || !f.IsBytes {
			continue
		}
		e := wire.Over(f.Bytes)
		for e.Next() {
			switch {
			case e.Number == entryID && e.IsBytes:
				entry.id = e.Bytes
			case e.Number == entryBody && e.IsBytes:
				entry.body = e.Bytes
			case e.Number == entryKind && !e.IsBytes:
				entry.kind = Kind(e.Varint)
			case e.Number == entryRef && !e.IsBytes:
				entry.ref = e.Varint
			}
		}
		return entry, true, e.Err
	}
	return wireEntry{}, false, f.Err
}

// appendEntry appends an entry, as it stands in a PUBLISH.
func appendEntry(dst []byte, id, body string, kind Kind, ref uint64) []byte {
	dst = wire.AppendLength(dst, publishEntries, wire.SizeBytes(len(id))+wire.SizeBytes(len(body))+wire.SizeVarint(uint64(kind))+wire.SizeVarint(ref))
	dst = wire.AppendBytes(dst, entryID, id)
	dst = wire.AppendBytes(dst, entryBody, body)
	dst = wire.AppendVarint(dst, entryKind, uint64(kind))
	return wire.AppendVarint(dst, entryRef, ref)
}

// appendPublish appends a whole PUBLISH with entries that have been encoded. expect may be nil.
func appendPublish(dst []byte, room string, producer Producer, entries []byte, grant uint64, expect *Position) []byte {
	n := wire.SizeBytes(len(room)) + wire.SizeBytes(len(producer)) + len(entries) + wire.SizeVarint(grant)
	cursor := 0
	if expect != nil {
		cursor = wire.SizeVarint(expect.Epoch) + wire.SizeVarint(expect.Seq)
		n += wire.SizeElement(cursor)
	}
	dst = transport.AppendFrameHeader(dst, framePublish, n)
	dst = wire.AppendBytes(dst, fieldRoom, room)
	dst = wire.AppendBytes(dst, publishProducer, producer[:])
	dst = append(dst, entries...)
	dst = wire.AppendVarint(dst, publishGrant, grant)
	if expect != nil {
		dst = wire.AppendLength(dst, publishExpect, cursor)
		dst = wire.AppendVarint(dst, cursorEpoch, expect.Epoch)
		dst = wire.AppendVarint(dst, cursorSeq, expect.Seq)
	}
	return dst
}

func decodeReceived(body []byte) (bytes uint64, err error) {
	f := wire.Over(body)
	for f.Next() {
		if f.Number == receivedBytes && !f.IsBytes {
			bytes = f.Varint
		}
	}
	return bytes, f.Err
}

// appendReceived appends a whole RECEIVED.
func appendReceived(dst []byte, bytes uint64) []byte {
	dst = transport.AppendFrameHeader(dst, frameReceived, wire.SizeVarint(bytes))
	return wire.AppendVarint(dst, receivedBytes, bytes)
}

// An itemsHeader is what a PUBACK or RECORD has beside its ids or lines.
type itemsHeader struct {
	room      []byte
	first     Position
	duplicate bool // PUBACK
	n         int  // how many ids or lines follow
}

// decodeItems decodes what a PUBACK or RECORD has beside its items.
func decodeItems(body []byte) (h itemsHeader, err error) {
	f := wire.Over(body)
	for f.Next() {
		switch {
		case f.Number == fieldItems && f.IsBytes:
			h.n++
		case f.Number == fieldRoom && f.IsBytes:
			h.room = f.Bytes
		case f.Number == fieldEpoch && !f.IsBytes:
			h.first.Epoch = f.Varint
		case f.Number == fieldSeq && !f.IsBytes:
			h.first.Seq = f.Varint
		case f.Number == pubAckDuplicate && !f.IsBytes:
			h.duplicate = f.Varint != 0
		}
	}
	return h, f.Err
}

// nextItem returns the next item of a PUBACK or RECORD, which is known to have one.
func nextItem(f *wire.Fields) []byte {
	for f.Next() {
		if f.Number == fieldItems && f.IsBytes {
			return f.Bytes
		}
	}
	return nil
}

// appendPubAck appends a whole PUBACK.
func appendPubAck(dst, room []byte, first Position, ids []string, duplicate bool) []byte {
	var dup uint64
	if duplicate {
		dup = 1
	}
	n := sizeItemsHeader(room, first) + wire.SizeVarint(dup)
	for _, id := range ids {
		n += wire.SizeElement(len(id))
	}
	dst = transport.AppendFrameHeader(dst, framePubAck, n)
	dst = appendItemsHeader(dst, room, first)
	for _, id := range ids {
		dst = wire.AppendElement(dst, fieldItems, id)
	}
	return wire.AppendVarint(dst, pubAckDuplicate, dup)
}

func sizeItemsHeader(room []byte, first Position) int {
	return wire.SizeBytes(len(room)) + wire.SizeVarint(first.Epoch) + wire.SizeVarint(first.Seq)
}

func appendItemsHeader(dst, room []byte, first Position) []byte {
	dst = wire.AppendBytes(dst, fieldRoom, room)
	dst = wire.AppendVarint(dst, fieldEpoch, first.Epoch)
	return wire.AppendVarint(dst, fieldSeq, first.Seq)
}

// A line is a decoded Line.
type line struct {
	from, id, body   []byte
	time             int64
	hasFrom, hasTime bool
	own              bool
	kind             Kind
	ref              uint64

	idAt, bodyAt int // where they begin
}

func decodeLine(b []byte) (l line, err error) {
	if l.plain(b) {
		return l, nil
	}
	f := wire.Over(b)
	for f.Next() {
		at := len(b) - f.Rest() - len(f.Bytes)
		switch {
		case f.Number == lineFrom && f.IsBytes:
			l.from, l.hasFrom = f.Bytes, true
			err = cmp.Or(err, wire.CheckUTF8(f.Bytes))
		case f.Number == lineTime && !f.IsBytes:
			l.time, l.hasTime = int64(f.Varint), true
		case f.Number == lineID && f.IsBytes:
			l.id, l.idAt = f.Bytes, at
		case f.Number == lineBody && f.IsBytes:
			l.body, l.bodyAt = f.Bytes, at
		case f.Number == lineOwn && !f.IsBytes:
			l.own = f.Varint != 0
		case f.Number == lineKind && !f.IsBytes:
			l.kind = Kind(f.Varint)
		case f.Number == lineRef && !f.IsBytes:
			l.ref = f.Varint
		}
	}
	return l, cmp.Or(err, f.Err)
}

// plain decodes a line that is nothing but an id and a text of less than 16 KiB, in that order, as nearly all are. It says whether it is one.
func (l *line) plain(b []byte) bool {
	const idTag, bodyTag = byte(lineID<<3 | 2), byte(lineBody<<3 | 2)
	if len(b) < 5 || b[0] != idTag || int(b[1]) > len(b)-5 || b[1] >= 0x80 {
		return false
	}
	id := 2 + int(b[1])
	if b[id] != bodyTag {
		return false
	}
	n, body := int(b[id+1]), id+2
	if n >= 0x80 {
		if b[body] >= 0x80 {
			return false
		}
		n, body = n&0x7f|int(b[body])<<7, body+1
	}
	if n != len(b)-body {
		return false
	}
	l.id, l.idAt = b[2:id:id], 2
	l.body, l.bodyAt = b[body:], body
	return true
}

// A Line is encoded in two parts, its beginning, which depends on the line before, and the rest, which is the entry.
// withFrom and withTime say what cannot be left out.

func sizeLineRest(e *Entry) int {
	return wire.SizeBytes(len(e.ID)) + wire.SizeBytes(len(e.Body)) + wire.SizeVarint(uint64(e.Kind)) + wire.SizeVarint(e.Ref)
}

// sizeLine returns the length of a whole line as it stands in a RECORD.
func sizeLine(from string, time int64, withFrom, withTime bool, rest int) int {
	return wire.SizeElement(sizeLineStart(from, time, withFrom, withTime) + rest)
}

func sizeLineStart(from string, time int64, withFrom, withTime bool) (n int) {
	if withFrom {
		n += wire.SizeElement(len(from))
	}
	if withTime {
		n += 1 + protowire.SizeVarint(uint64(time))
	}
	return n
}

// appendLineStart appends all that comes before the rest, which has as many bytes.
func appendLineStart(dst []byte, from string, time int64, withFrom, withTime bool, rest int) []byte {
	dst = wire.AppendLength(dst, fieldItems, sizeLineStart(from, time, withFrom, withTime)+rest)
	if withFrom {
		dst = wire.AppendElement(dst, lineFrom, from)
	}
	if withTime {
		dst = protowire.AppendTag(dst, lineTime, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(time))
	}
	return dst
}

func appendLineRest(dst []byte, e *Entry) []byte {
	dst = wire.AppendBytes(dst, lineID, e.ID)
	dst = wire.AppendBytes(dst, lineBody, e.Body)
	dst = wire.AppendVarint(dst, lineKind, uint64(e.Kind))
	return wire.AppendVarint(dst, lineRef, e.Ref)
}

// sizeOwn returns the length of the line that stands in the place of one's own record.
func sizeOwn(id string) int { return wire.SizeElement(wire.SizeBytes(len(id)) + 2) }

func appendOwn(dst []byte, id string) []byte {
	dst = wire.AppendLength(dst, fieldItems, wire.SizeBytes(len(id))+2)
	dst = wire.AppendBytes(dst, lineID, id)
	return wire.AppendVarint(dst, lineOwn, 1)
}

// appendRecordHeader appends the beginning of a RECORD whose body has length bytes; its lines follow.
func appendRecordHeader(dst, room []byte, first Position, length int) []byte {
	dst = transport.AppendFrameHeader(dst, frameRecord, length)
	return appendItemsHeader(dst, room, first)
}
