package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
)

// do has the room's actor call f, behind all that it was asked before, and waits for it. If err is ctx's, f may
// still be called. f is to return soon, as with everything that an actor does.
func (srv *Server) do(ctx context.Context, name string, f func(r *room)) error {
	r, refusal := srv.room(name, true)
	if refusal != nil {
		return refusal
	}
	done := make(chan struct{})
	if !r.send(&request{kind: requestDo, do: func() { defer close(done); f(r) }}) {
		return errorf(rpc.Unavailable, "the server is closed")
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-srv.ctx.Done():
		return errorf(rpc.Unavailable, "the server is closed")
	}
}

// know takes in the snapshot that the log has of the room. One that cannot be read leaves the room as it was known
// to be, or, if it never was, closed: an error.
func (r *room) know(state *State) error {
	if r.known != nil && bytes.Equal(state.Snapshot, r.snapshot) {
		return nil
	}
	s, err := decodeSnapshot(state.Snapshot)
	if err != nil {
		return err
	}
	r.take(s, state.Snapshot)
	r.unruly = true
	return nil
}

// take makes s, which the log has as snapshot, what the room is.
func (r *room) take(s *snapshot, snapshot []byte) {
	r.deleted = r.deleted || r.known != nil && s.Gone > r.known.Gone
	r.known, r.snapshot = s, snapshot
	r.pending.Store(s.Sync.Pending)
}

// follow does what a record that is on the ring asks for, and that its snapshot does not say.
func (r *room) follow(rec *Record) {
	if rec.Kind != KindSettings {
		return
	}
	var c Change
	if json.Unmarshal(rec.Body, &c) == nil && c.What == ChangeKick {
		r.kick(c.Who, errorf(rpc.PermissionDenied, "%s", sentence("kicked", rec.From, time.Time{}, c.Reason)))
	}
}

// A decision is what is to become of a room: the snapshot that follows, and the record that says so.
type decision struct {
	after *snapshot
	kind  Kind
	body  []byte
}

// change has a decision made, by what the log has at its head, appends it, and shows it. decide is called again when another server has
// appended meanwhile; its error is change's. by is whose doing it is.
func (r *room) change(by string, decide func(now *snapshot) (*decision, *Error)) (Position, *Error) {
	if err := r.refresh(); err != nil {
		return Position{}, r.refusal("read", err)
	}
	for range maxConflicts {
		d, refusal := decide(r.known)
		if refusal != nil {
			return Position{}, refusal
		}
		after := d.after.encode()
		entry := Entry{From: by, Producer: r.srv.producer, ID: strconv.FormatUint(r.srv.changes.Add(1), 36), Kind: d.kind, Body: d.body}
		results, err := r.srv.cfg.Log.Append(r.srv.ctx, r.name, r.head, []Entry{entry}, after)
		if _, conflict := errors.AsType[*ConflictError](err); conflict {
			if err := r.refresh(); err != nil {
				return Position{}, r.refusal("refresh", err)
			}
			continue
		}
		if err != nil {
			refusal := r.refusal("change", err)
			if _, known := errors.AsType[*Error](err); !known {
				refusal = errorf(rpc.Unavailable, "the room may or may not have been changed")
				_ = r.refresh() // has logged its failure
			}
			return Position{}, refusal
		}
		res := results[0]
		if res.Err != nil {
			return Position{}, res.Err
		}
		rec := Record{Position: res.Position, Entry: entry, Time: res.Time}
		r.take(d.after, after)
		r.events = append(r.events, r.recordEvent(&rec))
		r.showEvents()
		if d.kind == KindSettings {
			r.follow(&rec)
			r.enforce()
		}
		return res.Position, nil
	}
	return Position{}, errTooManyServers()
}

// changeSettings is change for one thing in the settings, which decide decides, and does not do.
func (r *room) changeSettings(by string, decide func(s *Settings) (*Change, *Error)) (Position, *Error) {
	return r.change(by, func(now *snapshot) (*decision, *Error) {
		after := *now
		after.Settings = *now.Settings.clone()
		after.Settings.prune(time.Now())
		c, refusal := decide(&after.Settings)
		if refusal != nil {
			return nil, refusal
		}
		after.Settings.Apply(by, c)
		if c.What == ChangeDelete {
			after.Gone, after.Sync = r.head+1, syncState{}
			after.Floor = clearedFloor(now.Floor) // or the end of a request would be a record of a room that is gone
		}
		if n := after.Settings.size(); n > maxSettings && n > now.Settings.size() {
			return nil, errorf(rpc.ResourceExhausted, "the room's settings have no place for more: the limit is %d bytes", maxSettings)
		}
		body, err := json.Marshal(c)
		if err != nil {
			return nil, errorf(rpc.Internal, "the change has no encoding")
		}
		return &decision{after: &after, kind: KindSettings, body: body}, nil
	})
}
