package chat

import (
	"context"
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/trunkline-go/trunkline/rpc"
)

// History returns records of a room, a page at a time. It needs no membership: who may read the room now may call it.
var History = rpc.Unary[HistoryRequest, HistoryResponse]("trunkline.Chat/History", rpc.Idempotent())

const (
	defaultPage = 50
	maxPage     = 500
	// maxPageBytes bounds a page, or the hits of a search, in bytes of JSON at the most, below rpc's limit on messages.
	maxPageBytes = 3 << 20
	// worstByte is how many bytes of JSON one byte of text can become, and recordJSON what the rest of a record can take.
	worstByte  = len(`\u003c`)
	recordJSON = 256
	// pieceOfPage is how many bytes of texts are read at once going forward: what is read, and is beyond the page, is thrown away.
	pieceOfPage = 16 << 10
)

// A HistoryRequest asks for a page: of Before, After and Around at most one is set, to a seq, which need not be that of a record. Without
// any it is the page of the newest.
type HistoryRequest struct {
	Room   string  `json:"room"`
	Before *uint64 `json:"before,omitempty"` // the newest that are before it
	After  *uint64 `json:"after,omitempty"`  // the oldest that are after it
	Around *uint64 `json:"around,omitempty"` // it, half of the page before it, and the rest after it
	Limit  int     `json:"limit,omitempty"`  // most records; 0: 50; at most 500
}

// A HistoryResponse is a page. It has fewer records than were asked for where the log has no more, and where more would
// make it longer than 3 MiB; one at least, if there is one. Records before First have been trimmed.
type HistoryResponse struct {
	Room    string          `json:"room"`
	Epoch   uint64          `json:"epoch"`
	Head    uint64          `json:"head"`    // seq of the newest record; 0 if there never was one
	First   uint64          `json:"first"`   // seq of the oldest that the log still has; head + 1 if it has none
	Records []HistoryRecord `json:"records"` // rising, without a gap

	// Whether the log has more before the first, and after the last, of what was asked for.
	MoreBefore bool `json:"more_before"`
	MoreAfter  bool `json:"more_after"`
}

// A HistoryRecord is a [Record].
type HistoryRecord struct {
	Epoch uint64    `json:"epoch"`
	Seq   uint64    `json:"seq"`
	Time  time.Time `json:"time"`
	From  string    `json:"from"`
	ID    string    `json:"id"`
	Kind  Kind      `json:"kind,omitempty"`
	Ref   uint64    `json:"ref,omitempty"`
	Text  string    `json:"text,omitempty"` // its body, if that is UTF-8
	Body  []byte    `json:"body,omitempty"` // its body, if it is not
}

func historyRecord(rec *Record) HistoryRecord {
	h := HistoryRecord{Epoch: rec.Epoch, Seq: rec.Seq, Time: rec.Time, From: rec.From, ID: rec.ID, Kind: rec.Kind, Ref: rec.Ref}
	if utf8.Valid(rec.Body) {
		h.Text = string(rec.Body)
	} else {
		h.Body = rec.Body
	}
	return h
}

// Event returns the event that members of the room got for the record, as [Client.Next] returns it.
func (h *HistoryRecord) Event(room string) Event {
	pos := Position{Epoch: h.Epoch, Seq: h.Seq}
	if h.Kind == KindText && h.Text+string(h.Body) != "" {
		return &Message{Room: room, Position: pos, From: h.From, Time: h.Time, ID: h.ID, Text: h.Text}
	}
	body := h.Body
	if body == nil {
		body = []byte(h.Text)
	}
	r := &clientRoom{name: room, from: h.From}
	return r.special(&line{id: []byte(h.ID), kind: h.Kind, ref: h.Ref, body: body}, pos, h.Time)
}

func (srv *Server) history(ctx context.Context, req *HistoryRequest) (*HistoryResponse, error) {
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	if !atMostOne(req.Before, req.After, req.Around) {
		return nil, rpc.Errorf(rpc.InvalidArgument, "before, after and around are three ways to say where")
	}
	for range maxConflicts {
		state, _, err := srv.visible(ctx, req.Room)
		if err != nil {
			return nil, answer(err)
		}
		res, err := srv.page(ctx, &state, req, limit)
		if e, ok := errors.AsType[*Error](err); ok && e.Code == rpc.OutOfRange {
			continue // it has been trimmed meanwhile
		}
		if err != nil {
			srv.log.Error("log failed", "room", req.Room, "doing", "history", "err", err)
			return nil, rpc.Errorf(rpc.Unavailable, "the log does not answer")
		}
		return res, nil
	}
	return nil, rpc.Errorf(rpc.Unavailable, "the room is trimmed faster than it is read")
}

// pageLimit returns how many records a page has at most.
func pageLimit(asked int) (int, error) {
	switch {
	case asked == 0:
		return defaultPage, nil
	case asked < 0 || asked > maxPage:
		return 0, rpc.Errorf(rpc.InvalidArgument, "limit is %d: want 1 to %d", asked, maxPage)
	}
	return asked, nil
}

func atMostOne(values ...*uint64) bool {
	n := 0
	for _, v := range values {
		if v != nil {
			n++
		}
	}
	return n <= 1
}

// page reads what req asks for, of a room that is as state says.
func (srv *Server) page(ctx context.Context, state *State, req *HistoryRequest, limit int) (*HistoryResponse, error) {
	// The page has records up to the one before middle, and from that on.
	middle, before, after := state.Head+1, limit, 0
	switch {
	case req.Before != nil:
		middle = *req.Before
	case req.After != nil:
		middle, before, after = *req.After, 0, limit
		if middle <= state.Head { // else it could be the highest number
			middle++
		}
	case req.Around != nil:
		middle, before = *req.Around, limit/2
		after = limit - before
	}
	middle = min(max(middle, state.First), state.Head+1)
	p := &pager{log: srv.cfg.Log, room: req.Room, place: maxPageBytes}
	rest := 0 // of the place, for what is before
	if before > 0 && after > 0 {
		rest = p.place / 2
	}
	p.place -= rest
	newer, err := p.forth(ctx, middle, state.Head, after) // first, so that the record which was asked for is there
	if err != nil {
		return nil, err
	}
	p.place += rest
	older, err := p.back(ctx, middle, state.First, before)
	if err != nil {
		return nil, err
	}
	return &HistoryResponse{
		Room: req.Room, Epoch: state.Epoch(), Head: state.Head, First: state.First,
		Records:    slices.Concat([]HistoryRecord{}, older, newer), // none is a list in JSON, too
		MoreBefore: middle-uint64(len(older)) > state.First,
		MoreAfter:  middle+uint64(len(newer)) <= state.Head,
	}, nil
}

// A pager reads records as long as there is place for them on a page.
type pager struct {
	log   Log
	room  string
	place int // bytes of JSON; negative: no more
	took  int // records
}

// take appends rec to page if there is place for it.
func (p *pager) take(page []HistoryRecord, rec *Record) ([]HistoryRecord, bool) {
	p.place -= recordJSON + worstByte*(len(rec.From)+len(rec.ID)+len(rec.Body))
	if p.place < 0 && p.took > 0 {
		return page, false
	}
	p.took++
	return append(page, historyRecord(rec)), true
}

// forth returns at most n records from seq on, and up to head.
func (p *pager) forth(ctx context.Context, seq, head uint64, n int) (page []HistoryRecord, err error) {
	for n > len(page) && seq <= head && p.place >= 0 {
		records, err := p.log.Read(ctx, p.room, seq, min(p.place/worstByte, pieceOfPage))
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return nil, errors.New("a record below the head is not there")
		}
		for i := 0; i < len(records) && n > len(page) && seq <= head; i++ {
			var ok bool
			if page, ok = p.take(page, &records[i]); !ok {
				break
			}
			seq++
		}
	}
	return page, nil
}

// back returns at most n records before seq, rising, and from first on.
func (p *pager) back(ctx context.Context, seq, first uint64, n int) (page []HistoryRecord, err error) {
	if n == 0 || seq <= first || p.place < 0 {
		return nil, nil
	}
	n = int(min(uint64(n), seq-first)) // the log may have more
	records, err := p.log.ReadBack(ctx, p.room, seq-1, n, p.place/worstByte)
	if err != nil {
		return nil, err
	}
	for i := len(records) - 1; i >= 0; i-- {
		var ok bool
		if page, ok = p.take(page, &records[i]); !ok {
			break
		}
	}
	slices.Reverse(page)
	return page, nil
}
