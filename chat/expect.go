package chat

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/trunkline-go/trunkline/internal/wire"
	"github.com/trunkline-go/trunkline/rpc"
)

// A PUBLISH that expects a head is compare-and-publish: its entries are appended all together, as the room's next, or none
// is. So of many who expect the same head one wins. It is judged with the batch that it is in, see docket.

// publishAt is publish for it: the entries are one request, and what is wrong with one is wrong with all.
func (c *conn) publishAt(ctx context.Context, h *publishHeader, refusal *Error, body []byte) error {
	req := &request{kind: requestPublish, judged: true, expect: &h.head, grant: h.grant}
	var ids []string
	var refusals []*Error
	whole := true
	f := wire.Over(body)
	for {
		e, more, err := nextEntry(&f)
		if err != nil {
			return malformedFrame(framePublish)
		}
		if !more {
			break
		}
		refusal := c.checkEntry(refusal, h.room, &e)
		if refusal == nil && req.cost >= maxPiece {
			refusal = errorf(rpc.InvalidArgument, "too much to be appended in one step")
		}
		if refusal == nil {
			c.add(req, h, &e)
		}
		whole = whole && refusal == nil
		ids, refusals = append(ids, string(e.id)), append(refusals, refusal)
	}
	name := bytes.Clone(h.room)
	if whole {
		n := len(req.entries)
		c.admit(h.room, req)
		if whole = len(req.entries) == n; !whole { // the others have been rejected
			ids, refusals = ids[:len(req.entries)], refusals[:len(req.entries)]
		}
	}
	if !whole {
		for i, id := range ids {
			c.answer(rejectedPublish(name, id, cmp.Or(refusals[i], errNotWhole())))
		}
		c.wake()
		return nil
	}
	if len(req.entries) == 0 {
		return nil
	}
	if err := c.waitForLog(ctx, req.cost); err != nil {
		return err
	}
	return c.toRoom(h.room, req)
}

// errNotWhole is what the other entries of a PUBLISH that expects a head are refused with when one is.
func errNotWhole() *Error {
	return errorf(rpc.Aborted, "nothing of this PUBLISH was appended: another message of it was refused")
}

// isAt says whether a position is the head, as of the entries that have been let pass.
func (d *docket) isAt(p *Position) bool {
	switch {
	case p.Seq != d.head:
		return false
	case p.Epoch == 0:
		return true
	case d.head > d.state.Head:
		return p.Epoch == d.state.Epoch()
	}
	return d.state.knows(*p)
}

// judgeWhole judges a request that expects a head. Messages that were appended before (C3) are answered as ever, and expect
// nothing: what was acknowledged once, and is sent again, never becomes a refusal.
func (d *docket) judgeWhole(req *request, found []Found) {
	var refusal Result
	if !d.isAt(req.expect) {
		refusal.Position = Position{d.state.Epoch(), d.head}
		refusal.Err = errorf(rpc.Aborted, "the head is %v, not %v", refusal.Position, *req.expect)
	}
	verdicts, entries := len(d.verdicts), len(d.entries)
	d.undo = []func(){} // from here on it may have to be
	failed := refusal.Err != nil
	for i := range req.entries {
		e, v := &req.entries[i], refusal
		if known := d.known(e, &found[i]); known != nil {
			v = Result{}
			failed = failed || known.Err != nil
		} else if v.Err == nil {
			v.Err = d.judge(req, e, &found[i])
			failed = failed || v.Err != nil
		}
		d.take(e, v)
	}
	if failed {
		for _, undo := range slices.Backward(d.undo) {
			undo()
		}
		d.entries = d.entries[:entries]
		for i := range req.entries {
			e, v := &req.entries[i], &d.verdicts[verdicts+i]
			switch {
			case d.known(e, &found[i]) != nil:
				d.entries = append(d.entries, *e)
			case v.Err == nil:
				v.Err = errNotWhole()
			}
		}
	}
	d.undo = nil
}
