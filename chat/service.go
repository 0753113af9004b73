package chat

import (
	"context"
	"errors"

	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// The methods that [Register] serves. Their messages are JSON. Every room is asked of its own who may do what, so a server
// may let everyone call them.
var (
	// Show says what a room is.
	Show = rpc.Unary[ShowRequest, ShowResponse]("trunkline.Chat/Show", rpc.Idempotent())
	// SetTopic sets a room's topic, at most 1,024 bytes; "" has none.
	SetTopic = rpc.Unary[SetTopicRequest, ChangeResponse]("trunkline.Chat/SetTopic")
)

// A ShowRequest asks for a room.
type ShowRequest struct {
	Room string `json:"room"`
}

// A ShowResponse says what a room is.
type ShowResponse struct {
	Room     string   `json:"room"`
	Epoch    uint64   `json:"epoch"`
	Head     uint64   `json:"head"`  // seq of the newest record; 0 if there never was one
	First    uint64   `json:"first"` // seq of the oldest that the log still has; head + 1 if it has none
	Settings Settings `json:"settings"`
	Holder   string   `json:"holder,omitempty"` // who has the floor; see [QueryFloor] for more
}

// A SetTopicRequest asks for another topic.
type SetTopicRequest struct {
	Room  string `json:"room"`
	Topic string `json:"topic"`
}

// A ChangeResponse says where the record of a change is.
type ChangeResponse struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// maxTopic is the longest topic, in bytes.
const maxTopic = 1024

// Register serves the methods on mux, for the rooms of srv.
func Register(mux *rpc.Mux, srv *Server) {
	rpc.Handle(mux, Show, srv.show)
	rpc.Handle(mux, SetTopic, srv.setTopic)
	registerFloor(mux, srv)
	rpc.Handle(mux, History, srv.history)
	srv.handleLifecycle(mux)
	rpc.Handle(mux, Search, srv.search)
	rpc.Handle(mux, Raise, srv.raise)
	rpc.Handle(mux, Marks, srv.marks)
	srv.handleOrder(mux)
	srv.handleSync(mux)
}

// caller returns who makes a call, as others see it.
func (srv *Server) caller(ctx context.Context) (string, transport.Peer, error) {
	p, ok := transport.PeerFrom(ctx)
	if !ok {
		return "", p, rpc.Errorf(rpc.Unauthenticated, "the call has no peer")
	}
	return srv.wireName(p.ID), p, nil
}

// answer makes what a method of rooms ends with an error of rpc's.
func answer(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return rpc.Errorf(e.Code, "%s", e.Reason)
	}
	return err
}

func (srv *Server) show(ctx context.Context, req *ShowRequest) (*ShowResponse, error) {
	state, s, err := srv.visible(ctx, req.Room)
	if err != nil {
		return nil, answer(err)
	}
	return &ShowResponse{Room: req.Room, Epoch: state.Epoch(), Head: state.Head, First: state.First, Settings: s.Settings, Holder: floor.HolderOf(s.Floor)}, nil
}

// visible returns what the log has of a room that the caller may read. One that it may not, and one that there is not, are the
// same (C8).
func (srv *Server) visible(ctx context.Context, name string) (State, *snapshot, error) {
	who, peer, err := srv.caller(ctx)
	if err != nil {
		return State{}, nil, err
	}
	if e := checkRoom(name); e != nil {
		return State{}, nil, e
	}
	if srv.authorize(peer.ID, name, verbRead.rule().fence) != nil {
		return State{}, nil, errNoRoom()
	}
	state, err := srv.cfg.Log.State(ctx, name)
	if err != nil {
		return State{}, nil, errorf(rpc.Unavailable, "the log does not answer")
	}
	s, err := decodeSnapshot(state.Snapshot)
	if err != nil {
		return State{}, nil, errorf(rpc.Internal, "the room's settings cannot be read")
	}
	if !srv.sees(name, s, state.Head, peer.ID, who) {
		return State{}, nil, errNoRoom()
	}
	state.First = s.first(state.First)
	return state, s, nil
}

func errNoRoom() *Error { return errorf(rpc.NotFound, "there is no such room") }

func (srv *Server) setTopic(ctx context.Context, req *SetTopicRequest) (*ChangeResponse, error) {
	if e := checkLine("topic", req.Topic, maxTopic); e != nil {
		return nil, answer(e)
	}
	return srv.change(ctx, req.Room, verbTopic, func(*room, *Settings, party) (*Change, *Error) {
		return &Change{What: ChangeTopic, Topic: req.Topic}, nil
	})
}

// change has the caller, if it may do v, change the settings of a room as decide decides.
func (srv *Server) change(ctx context.Context, name string, v Verb, decide func(r *room, s *Settings, by party) (*Change, *Error)) (*ChangeResponse, error) {
	return srv.inRoom(ctx, name, func(r *room, by party) (Position, *Error) {
		return r.changeSettings(by.who, func(s *Settings) (*Change, *Error) {
			if err := srv.refuse(name, s, by.id, by.who, v); err != nil {
				return nil, err
			}
			return decide(r, s, by)
		})
	})
}

// inRoom has f make a record, by the caller, in the actor of a room that the caller may see.
func (srv *Server) inRoom(ctx context.Context, name string, f func(r *room, by party) (Position, *Error)) (*ChangeResponse, error) {
	who, peer, err := srv.caller(ctx)
	if err != nil {
		return nil, err
	}
	if _, _, err := srv.visible(ctx, name); err != nil {
		return nil, answer(err)
	}
	return srv.record(ctx, name, func(r *room) (Position, *Error) { return f(r, party{who, peer.ID}) })
}

// changeNow has somebody change the settings of a room as decide decides, whether the room can be seen or not.
func (srv *Server) changeNow(ctx context.Context, name, who string, decide func(r *room, s *Settings) (*Change, *Error)) (*ChangeResponse, error) {
	return srv.record(ctx, name, func(r *room) (Position, *Error) {
		return r.changeSettings(who, func(s *Settings) (*Change, *Error) { return decide(r, s) })
	})
}

// record has f make a record, in the room's actor, and answers with its position.
func (srv *Server) record(ctx context.Context, name string, f func(r *room) (Position, *Error)) (*ChangeResponse, error) {
	var pos Position
	var refusal *Error
	if err := srv.do(ctx, name, func(r *room) { pos, refusal = f(r) }); err != nil {
		return nil, answer(err)
	}
	if refusal != nil {
		return nil, answer(refusal)
	}
	return &ChangeResponse{Epoch: pos.Epoch, Seq: pos.Seq}, nil
}
