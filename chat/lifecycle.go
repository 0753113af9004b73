package chat

import (
	"context"
	"maps"
	"slices"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/rpc"
)

// The methods that make rooms, list them, and delete them.
var (
	// Create makes a room, whose owner the caller is. A room that people have begun to talk in without that only an administrator
	// of the server can make its own.
	Create = rpc.Unary[CreateRequest, ChangeResponse]("trunkline.Chat/Create")
	// List lists the rooms that the caller may see.
	List = rpc.Unary[ListRequest, ListResponse]("trunkline.Chat/List", rpc.Idempotent())
	// Delete deletes a room: what was said in it is gone, those who are there are taken out, and to everybody it is as if it had
	// never been. Only its positions are not used again.
	Delete = rpc.Unary[DeleteRequest, ChangeResponse]("trunkline.Chat/Delete")
)

// A CreateRequest asks for a room.
type CreateRequest struct {
	Room    string          `json:"room"`
	Topic   string          `json:"topic,omitempty"`
	Default Role            `json:"default_role,omitempty"` // RoleNone, RoleListener or RoleMember, as in [SetDefaultRoleRequest]; "" is RoleMember
	Roles   map[string]Role `json:"roles,omitempty"`        // of others
	Mode    Mode            `json:"mode,omitempty"`         // "" is Duplex
}

// A ListRequest asks for rooms, in the byte order of their names.
type ListRequest struct {
	After string `json:"after,omitempty"` // the name behind which it begins
	Limit int    `json:"limit,omitempty"` // how many there are at most, up to 500; 0 is 50
}

// A ListResponse has rooms.
type ListResponse struct {
	Rooms []ListedRoom `json:"rooms"`
	Next  string       `json:"next,omitempty"` // if there may be more: After for them
}

// A ListedRoom is what somebody who may read a room sees of it in a list.
type ListedRoom struct {
	Room    string `json:"room"`
	Topic   string `json:"topic,omitempty"`
	Role    Role   `json:"role"`             // the caller's own
	Mode    Mode   `json:"mode,omitempty"`   // "" is Duplex
	Holder  string `json:"holder,omitempty"` // who has the floor
	Members int    `json:"members"`          // identities that are there
	Head    uint64 `json:"head"`
	First   uint64 `json:"first"`
}

// A DeleteRequest asks for the end of a room.
type DeleteRequest struct {
	Room string `json:"room"`
}

// listBatch is how many rooms the log is asked for at once.
const listBatch = 256

func (srv *Server) handleLifecycle(mux *rpc.Mux) {
	rpc.Handle(mux, Create, srv.create)
	rpc.Handle(mux, List, srv.list)
	rpc.Handle(mux, Delete, srv.delete)
}

func (srv *Server) create(ctx context.Context, req *CreateRequest) (*ChangeResponse, error) {
	who, peer, err := srv.caller(ctx)
	if err != nil {
		return nil, err
	}
	roles, refusal := srv.rolesOf(req)
	for _, v := range []Verb{VerbJoin, VerbSpeak} {
		if refusal == nil {
			refusal = srv.authorize(peer.ID, req.Room, v)
		}
	}
	if refusal != nil {
		return nil, answer(refusal)
	}
	roles[who] = RoleOwner
	return srv.changeNow(ctx, req.Room, who, func(r *room, s *Settings) (*Change, *Error) {
		if r.head > r.known.Gone && (s.owners() > 0 || !srv.administrates(peer.ID)) {
			return nil, errorf(rpc.AlreadyExists, "there is such a room already")
		}
		after := s.clone()
		if req.Topic != "" {
			after.Topic = req.Topic
		}
		if req.Default != "" {
			after.Default = req.Default
		}
		if req.Mode != "" {
			after.Mode = req.Mode
		}
		for who, role := range roles {
			put(&after.Roles, who, role)
		}
		return &Change{What: ChangeCreate, Settings: after}, nil
	})
}

// rolesOf checks a request, and returns the roles in it by the names that others know.
func (srv *Server) rolesOf(req *CreateRequest) (map[string]Role, *Error) {
	if err := checkRoom(req.Room); err != nil {
		return nil, err
	}
	if isDirect(req.Room) {
		return nil, errorf(rpc.InvalidArgument, "the room of two is there as it is")
	}
	if err := checkLine("topic", req.Topic, maxTopic); err != nil {
		return nil, err
	}
	if req.Default != "" {
		if err := checkDefaultRole(req.Default); err != nil {
			return nil, err
		}
	}
	if err := checkMode(req.Mode); err != nil {
		return nil, err
	}
	roles := make(map[string]Role, len(req.Roles)+1)
	for _, name := range slices.Sorted(maps.Keys(req.Roles)) { // so that a name which is there twice is settled the same each time
		p, err := srv.named(name)
		if err == nil {
			err = checkRole(req.Roles[name])
		}
		if err != nil {
			return nil, err
		}
		roles[p.who] = req.Roles[name]
	}
	return roles, nil
}

func (srv *Server) list(ctx context.Context, req *ListRequest) (*ListResponse, error) {
	who, peer, err := srv.caller(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	done, err := srv.turns.take(ctx, who)
	if err != nil {
		return nil, err
	}
	defer done()
	present := make(map[string]int)
	for _, r := range srv.Rooms() {
		present[r.Name] = r.Members
	}
	res := &ListResponse{Rooms: []ListedRoom{}}
	for after := req.After; ; {
		batch, err := srv.cfg.Log.Rooms(ctx, after, listBatch)
		if err != nil {
			srv.log.Error("log failed", "doing", "list", "err", err)
			return nil, rpc.Errorf(rpc.Unavailable, "the log does not answer")
		}
		for i := range batch {
			found := &batch[i]
			s, err := decodeSnapshot(found.Snapshot)
			if err != nil || !srv.sees(found.Name, s, found.Head, peer.ID, who) {
				continue
			}
			if len(res.Rooms) == limit {
				// The last one that was shown: the name of one that is not must not be told (C8).
				res.Next = res.Rooms[limit-1].Room
				return res, nil
			}
			res.Rooms = append(res.Rooms, ListedRoom{
				Room: found.Name, Topic: s.Settings.Topic, Role: srv.roleOf(found.Name, &s.Settings, peer.ID, who),
				Mode: s.Settings.Mode, Holder: floor.HolderOf(s.Floor), Members: present[found.Name], Head: found.Head, First: s.first(found.First),
			})
		}
		if len(batch) < listBatch {
			return res, nil
		}
		after = batch[len(batch)-1].Name
	}
}

// sees says whether there is such a room, to who asks: whose log has the snapshot and the head.
func (srv *Server) sees(name string, s *snapshot, head uint64, id certs.ID, who string) bool {
	return head > s.Gone && srv.refuse(name, &s.Settings, id, who, verbRead) == nil
}

func (srv *Server) delete(ctx context.Context, req *DeleteRequest) (*ChangeResponse, error) {
	return srv.change(ctx, req.Room, verbDeleteRoom, func(r *room, _ *Settings, _ party) (*Change, *Error) {
		// First, or what could not be trimmed would be there, and nobody might ask for it again.
		if err := srv.cfg.Log.Trim(srv.ctx, r.name, r.head+1); err != nil {
			return nil, r.refusal("trim", err)
		}
		return &Change{What: ChangeDelete}, nil
	})
}
