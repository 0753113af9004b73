package chat

import (
	"bytes"
	"maps"
	"slices"
	"unicode"

	"github.com/trunkline-go/trunkline/internal/wire"
	"github.com/trunkline-go/trunkline/rpc"
)

// Bounds of the records that refer to one text, so that what is found for the next, and what a delete takes, stays small.
const (
	maxEdits        = 1000 // of one text
	maxReactions    = 1000 // to one text, those that were taken back included
	maxOwnReactions = 50   // of these, of one identity
	// maxReaction is the longest reaction, in bytes.
	maxReaction = 64
)

// checkReaction checks the text of a reaction. It is shown beside others' names, so it may not reorder what is around it.
func checkReaction[T string | []byte](body T) *Error {
	if err := checkBody(body, maxReaction); err != nil {
		return err
	}
	for _, r := range string(body) {
		if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return errorf(rpc.InvalidArgument, "reaction has a control character (%U)", r)
		}
	}
	return nil
}

// checkContent checks the body of an entry of a kind that members make.
func checkContent[T string | []byte](kind Kind, ref uint64, body T, limit int) *Error {
	switch {
	case kind > KindUnreact:
		return errorf(rpc.InvalidArgument, "a record of kind %s cannot be published", kind)
	case kind == KindText && ref != 0:
		return errorf(rpc.InvalidArgument, "a text refers to nothing")
	case kind.refers() && ref == 0:
		return errorf(rpc.InvalidArgument, "a record of kind %s refers to a text", kind)
	case kind == KindReact || kind == KindUnreact:
		return checkReaction(body)
	case kind == KindDelete && len(body) > 0:
		return errorf(rpc.InvalidArgument, "a delete has no body")
	case kind == KindDelete:
		return nil
	}
	return checkBody(body, limit)
}

// A docket is the batch that is about to be appended, judged against what the log has at the room's head, and each entry
// against those before it, whose positions are known: an append at another head fails. So it is judged again with each
// attempt, holds no longer than that, and also when several servers append.
type docket struct {
	room    *room
	state   State
	head    uint64 // of the log, and of what has been let pass
	targets map[uint64]*target
	passed  map[messageKey]*Entry
	undo    []func() // of what is let pass; nil: it is for good

	verdicts []Result // by their places in the batch
	entries  []Entry  // those whose verdict is no error: they are put to the log
}

// A messageKey tells messages of one room apart.
type messageKey struct {
	from     string
	producer Producer
	id       string
}

// A target is a text, and what refers to it.
type target struct {
	from      string
	erased    bool
	edits     int
	reactions map[reaction]bool // true, unless it was taken back
	made      map[string]int    // reactions, by who made them
	all       int               // of made
}

type reaction struct{ from, text string }

func newTarget(t *Target) *target {
	out := &target{from: t.From, erased: t.Erased}
	for _, ref := range t.Refs {
		out.note(ref.Kind, ref.From, ref.Text)
	}
	return out
}

func (t *target) clone() target {
	c := *t
	c.reactions, c.made = maps.Clone(t.reactions), maps.Clone(t.made)
	return c
}

// note takes in one more record that refers to t.
func (t *target) note(kind Kind, from, text string) {
	switch kind {
	case KindEdit:
		t.edits++
	case KindDelete:
		t.erased = true
	case KindReact:
		if t.reactions == nil {
			t.reactions, t.made = make(map[reaction]bool), make(map[string]int)
		}
		t.reactions[reaction{from, text}] = true
		t.made[from]++
		t.all++
	case KindUnreact:
		t.reactions[reaction{from, text}] = false
	default:
	}
}

// judge says what is wrong with a record that is to refer to t, which is nil if there is no such text.
func (t *target) judge(e *Entry) *Error {
	switch {
	case t == nil:
		return errorf(rpc.NotFound, "there is no text %d, or it has been trimmed", e.Ref)
	case t.erased:
		return errorf(rpc.FailedPrecondition, "the text %d has been deleted", e.Ref)
	}
	switch r := (reaction{e.From, string(e.Body)}); e.Kind {
	case KindEdit:
		switch {
		case t.from != e.From:
			return errorf(rpc.PermissionDenied, "only who wrote a text may edit it")
		case t.edits >= maxEdits:
			return errorf(rpc.ResourceExhausted, "the text has been edited %d times, which is the limit", t.edits)
		}
	case KindReact:
		switch {
		case t.reactions[r]:
			return errorf(rpc.AlreadyExists, "you have reacted to the text with that")
		case t.made[e.From] >= maxOwnReactions || t.all >= maxReactions:
			return errorf(rpc.ResourceExhausted, "there have been too many reactions to the text")
		}
	case KindUnreact:
		if !t.reactions[r] {
			return errorf(rpc.NotFound, "you have not reacted to the text with that")
		}
	default:
	}
	return nil
}

// judge judges a batch, which is r.entries, by what the log has at the room's head. If that is not the log's any more, the error is a
// [*ConflictError].
func (r *room) judge(batch []*request) (*docket, error) {
	// What stands alone is looked up only where the positions in the batch matter: a head is expected, or one entry refers to
	// another one's.
	inside := slices.ContainsFunc(batch, func(req *request) bool { return req.expect != nil }) ||
		slices.ContainsFunc(r.entries, func(e Entry) bool { return e.Ref > r.head })
	asked := make([]Entry, 0, len(r.entries))
	for i := range r.entries {
		if inside || r.entries[i].Ref != 0 {
			asked = append(asked, r.entries[i])
		}
	}
	state, answers, err := r.srv.cfg.Log.Find(r.srv.ctx, r.name, asked)
	if err == nil && len(answers) != len(asked) {
		err = errorf(rpc.Internal, "the log answers %d of %d entries", len(answers), len(asked))
	}
	if err != nil {
		return nil, r.refusal("find", err)
	}
	if state.Head != r.head { // Append would say so, too, but only in its turn
		return nil, &ConflictError{Head: state.Head}
	}
	d := &docket{room: r, state: state, head: r.head, targets: make(map[uint64]*target), passed: make(map[messageKey]*Entry)}
	found := make([]Found, len(r.entries))
	for i := range r.entries {
		if inside || r.entries[i].Ref != 0 {
			found[i], answers = answers[0], answers[1:]
		}
	}
	for _, req := range batch {
		if req.expect != nil {
			d.judgeWhole(req, found[:len(req.entries)])
		} else {
			d.judgeEach(req, found[:len(req.entries)])
		}
		found = found[len(req.entries):]
	}
	return d, nil
}

// judgeEach judges the entries of a request, each by itself.
func (d *docket) judgeEach(req *request, found []Found) {
	for i := range req.entries {
		e, v := &req.entries[i], Result{}
		if d.known(e, &found[i]) == nil {
			v.Err = d.judge(req, e, &found[i])
		}
		d.take(e, v)
	}
}

func (d *docket) take(e *Entry, v Result) {
	d.verdicts = append(d.verdicts, v)
	if v.Err == nil {
		d.entries = append(d.entries, *e)
	}
}

// known says how an entry will be answered whose id was used before, in the log or in the batch; else it is nil. It takes no
// position, and it is the log that answers it, as a duplicate (C3), or as another message with that id.
func (d *docket) known(e *Entry, f *Found) *Result {
	if f.Known != nil {
		return f.Known
	}
	before := d.passed[messageKey{e.From, e.Producer, e.ID}]
	switch {
	case before == nil:
		return nil
	case before.Kind == e.Kind && before.Ref == e.Ref && bytes.Equal(before.Body, e.Body):
		return &Result{Duplicate: true}
	}
	return &Result{Err: errorf(rpc.AlreadyExists, "the message id was used before, for something else")}
}

// judge says what is wrong with an entry that is not known, or lets it pass.
func (d *docket) judge(req *request, e *Entry, f *Found) *Error {
	if e.Kind.refers() {
		t := d.targets[e.Ref]
		if t == nil && f.Target != nil {
			t = newTarget(f.Target)
			d.targets[e.Ref] = t
		}
		if err := t.judge(e); err != nil {
			return err
		}
		if e.Kind == KindDelete && t.from != e.From {
			r := d.room
			if err := r.srv.refuseByTable(r.name, &r.known.Settings, req.session.peer, e.From, verbDeleteOther); err != nil {
				return err
			}
		}
		if d.undo != nil {
			before := t.clone()
			d.undo = append(d.undo, func() { *t = before })
		}
		t.note(e.Kind, e.From, string(e.Body))
	}
	key := messageKey{e.From, e.Producer, e.ID}
	d.passed[key] = e
	d.head++
	seq := d.head
	if e.Kind == KindText {
		d.targets[seq] = &target{from: e.From}
	}
	if d.undo != nil {
		d.undo = append(d.undo, func() {
			delete(d.passed, key)
			delete(d.targets, seq)
			d.head--
		})
	}
	return nil
}

// results puts what the log has answered together with what was not put to it.
func (d *docket) results(appended []Result) []Result {
	for i := range d.verdicts {
		if d.verdicts[i].Err == nil {
			d.verdicts[i], appended = appended[0], appended[1:]
		}
	}
	return d.verdicts
}

// erase takes the bodies of the text seq and of its edits, for who reads the ring from now on.
func (r *ring) erase(seq uint64) {
	for i := range r.events.len() {
		e := r.events.at(i)
		if e.record && (e.seq == seq && e.kind == KindText || e.ref == seq && e.kind == KindEdit) {
			r.bytes -= e.size()
			e.erase()
			r.bytes += e.size()
		}
	}
}

// erase encodes the line again, without its body.
func (e *event) erase() {
	whole, chained := lineOf(slices.Concat(e.start, e.chained[e.rest:])), lineOf(e.chained)
	from := string(whole.from)
	entry := Entry{ID: e.id, Kind: e.kind, Ref: e.ref}
	rest := sizeLineRest(&entry)
	b := appendLineStart(nil, from, whole.time, true, true, rest)
	start := len(b)
	b = appendLineStart(b, from, whole.time, chained.hasFrom, chained.hasTime, rest)
	e.rest = len(b) - start
	b = appendLineRest(b, &entry)
	e.start, e.chained = b[:start:start], b[start:]
}

// lineOf decodes a line that this server has encoded, as it stands in a RECORD.
func lineOf(item []byte) line {
	f := wire.Over(item)
	l, _ := decodeLine(nextItem(&f)) // there is nothing that could be wrong with it
	return l
}
