package chat

import (
	"context"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
)

// The methods that keep order in a room.
var (
	// SetRole gives somebody a role.
	SetRole = rpc.Unary[SetRoleRequest, ChangeResponse]("trunkline.Chat/SetRole")
	// SetDefaultRole says what those are who have no role of their own: RoleNone makes the room invite-only, RoleListener one of
	// announcements.
	SetDefaultRole = rpc.Unary[SetDefaultRoleRequest, ChangeResponse]("trunkline.Chat/SetDefaultRole")
	// Invite makes somebody a member who has a lesser role.
	Invite = rpc.Unary[InviteRequest, ChangeResponse]("trunkline.Chat/Invite")
	// Kick takes somebody who is in the room out of it, and lets them come back.
	Kick = rpc.Unary[KickRequest, ChangeResponse]("trunkline.Chat/Kick")
	// Ban keeps somebody out.
	Ban = rpc.Unary[SanctionRequest, ChangeResponse]("trunkline.Chat/Ban")
	// Unban takes a ban back.
	Unban = rpc.Unary[UnsanctionRequest, ChangeResponse]("trunkline.Chat/Unban")
	// Mute keeps somebody from speaking.
	Mute = rpc.Unary[SanctionRequest, ChangeResponse]("trunkline.Chat/Mute")
	// Unmute takes a mute back.
	Unmute = rpc.Unary[UnsanctionRequest, ChangeResponse]("trunkline.Chat/Unmute")
)

// handleOrder serves them.
func (srv *Server) handleOrder(mux *rpc.Mux) {
	rpc.Handle(mux, SetRole, srv.setRole)
	rpc.Handle(mux, SetDefaultRole, srv.setDefaultRole)
	rpc.Handle(mux, Invite, srv.invite)
	rpc.Handle(mux, Kick, srv.kick)
	rpc.Handle(mux, Ban, srv.ban)
	rpc.Handle(mux, Unban, srv.unban)
	rpc.Handle(mux, Mute, srv.mute)
	rpc.Handle(mux, Unmute, srv.unmute)
	rpc.Handle(mux, SetSlow, srv.setSlow)
}

const (
	// maxReason is the longest reason, in bytes.
	maxReason = 256
	// maxSanction is how long a ban or a mute with an end may last.
	maxSanction = 100 * 365 * 24 * time.Hour
)

// A SetRoleRequest asks for another role of Who, "" for the room's default. Who gives it needs a higher one than both that and
// the one before, or is an owner, or oneself and gives it up. The last owner stays one.
type SetRoleRequest struct {
	Room string `json:"room"`
	Who  string `json:"who"` // the name of a user of the server's domain, or a SPIFFE ID
	Role Role   `json:"role"`
}

// A SetDefaultRoleRequest asks for another role of those who have none of their own: RoleNone, RoleListener or RoleMember.
type SetDefaultRoleRequest struct {
	Room string `json:"room"`
	Role Role   `json:"role"`
}

// An InviteRequest asks for Who to become a member.
type InviteRequest struct {
	Room string `json:"room"`
	Who  string `json:"who"`
}

// A KickRequest asks for Who, who is in the room, to be taken out.
type KickRequest struct {
	Room   string `json:"room"`
	Who    string `json:"who"`
	Reason string `json:"reason,omitempty"` // at most 256 bytes, which all see
}

// A SanctionRequest asks for a ban or a mute of Who, until a time or for so many milliseconds from now by the server's clock; with
// neither it has no end. It takes the place of one before.
type SanctionRequest struct {
	Room   string    `json:"room"`
	Who    string    `json:"who"`
	Until  time.Time `json:"until,omitzero"`
	ForMs  int64     `json:"for_ms,omitempty"`
	Reason string    `json:"reason,omitempty"` // at most 256 bytes, which all see
}

// An UnsanctionRequest asks for the end of a ban, or a mute, of Who.
type UnsanctionRequest struct {
	Room string `json:"room"`
	Who  string `json:"who"`
}

// A party is an identity, and the name by which others know it.
type party struct {
	who string
	id  certs.ID
}

// named returns the identity that a caller names, as others name it or by its SPIFFE ID.
func (srv *Server) named(who string) (party, *Error) {
	var id certs.ID
	var err error
	if strings.Contains(who, "/") {
		id, err = certs.ParseID(who)
	} else {
		id, err = certs.UserID(srv.cfg.Domain, who)
	}
	if err != nil {
		return party{}, errorf(rpc.InvalidArgument, "nobody has such a name: %v", err)
	}
	return party{srv.wireName(id), id}, nil
}

func (srv *Server) setRole(ctx context.Context, req *SetRoleRequest) (*ChangeResponse, error) {
	on, refusal := srv.named(req.Who)
	if refusal == nil && req.Role != "" {
		refusal = checkRole(req.Role)
	}
	if refusal != nil {
		return nil, answer(refusal)
	}
	return srv.change(ctx, req.Room, verbRole, func(_ *room, s *Settings, by party) (*Change, *Error) {
		return srv.giveRole(s, by, on, req.Role)
	})
}

func checkRole(role Role) *Error {
	if role.rank() == 0 {
		return errorf(rpc.InvalidArgument, "there is no role %q: it is owner, chair, member, listener or none", string(role))
	}
	return nil
}

// giveRole decides about a role that somebody gives somebody.
func (srv *Server) giveRole(s *Settings, by, on party, role Role) (*Change, *Error) {
	after := s.clone()
	after.Apply(by.who, &Change{What: ChangeRole, Who: on.who, Role: role})
	old, now, own := s.RoleOf(on.who), after.RoleOf(on.who), s.RoleOf(by.who)
	if old == RoleOwner && after.owners() == 0 {
		return nil, errorf(rpc.FailedPrecondition, "%s is the last owner: appoint another one first, or delete the room", on.who)
	}
	below := func(r Role) bool { return r.rank() < own.rank() }
	may := own == RoleOwner || below(now) && (below(old) || on.who == by.who) || srv.administrates(by.id)
	if !may {
		return nil, errorf(rpc.PermissionDenied, "%s is %s here, and you are %s: you may not make them %s", on.who, old, own, now)
	}
	return &Change{What: ChangeRole, Who: on.who, Role: role}, nil
}

func (srv *Server) setDefaultRole(ctx context.Context, req *SetDefaultRoleRequest) (*ChangeResponse, error) {
	if e := checkDefaultRole(req.Role); e != nil {
		return nil, answer(e)
	}
	return srv.change(ctx, req.Room, verbDefaultRole, func(*room, *Settings, party) (*Change, *Error) {
		return &Change{What: ChangeDefaultRole, Role: req.Role}, nil
	})
}

func checkDefaultRole(role Role) *Error {
	switch role {
	case RoleNone, RoleListener, RoleMember:
		return nil
	case RoleChair, RoleOwner:
	}
	return errorf(rpc.InvalidArgument, "the default role is none, listener or member, not %q", string(role))
}

func (srv *Server) invite(ctx context.Context, req *InviteRequest) (*ChangeResponse, error) {
	on, refusal := srv.named(req.Who)
	if refusal != nil {
		return nil, answer(refusal)
	}
	return srv.change(ctx, req.Room, verbInvite, func(_ *room, s *Settings, by party) (*Change, *Error) {
		if role := s.RoleOf(on.who); role.rank() >= RoleMember.rank() {
			return nil, errorf(rpc.FailedPrecondition, "%s is %s here already", on.who, role)
		}
		return srv.giveRole(s, by, on, RoleMember)
	})
}

func (srv *Server) kick(ctx context.Context, req *KickRequest) (*ChangeResponse, error) {
	on, refusal := srv.named(req.Who)
	if refusal == nil {
		refusal = checkLine("reason", req.Reason, maxReason)
	}
	if refusal != nil {
		return nil, answer(refusal)
	}
	return srv.change(ctx, req.Room, verbKick, func(r *room, s *Settings, by party) (*Change, *Error) {
		if refusal := srv.mayTurnOn(s, by, on); refusal != nil {
			return nil, refusal
		}
		if r.identities[on.who] == nil {
			return nil, errorf(rpc.FailedPrecondition, "%s is not in the room", on.who)
		}
		return &Change{What: ChangeKick, Who: on.who, Reason: req.Reason}, nil
	})
}

// mayTurnOn says why somebody may not kick, ban or mute somebody.
func (srv *Server) mayTurnOn(s *Settings, by, on party) *Error {
	if by.who == on.who {
		return errorf(rpc.InvalidArgument, "that is yourself")
	}
	return srv.refuseOn(s, by, on)
}

func (srv *Server) ban(ctx context.Context, req *SanctionRequest) (*ChangeResponse, error) {
	return srv.sanction(ctx, req, verbBan, ChangeBan)
}

func (srv *Server) mute(ctx context.Context, req *SanctionRequest) (*ChangeResponse, error) {
	return srv.sanction(ctx, req, verbMute, ChangeMute)
}

func (srv *Server) sanction(ctx context.Context, req *SanctionRequest, v Verb, what ChangeKind) (*ChangeResponse, error) {
	now := time.Now()
	on, refusal := srv.named(req.Who)
	until := req.Until
	switch {
	case refusal != nil:
	case req.ForMs < 0 || req.ForMs > maxSanction.Milliseconds() || until.After(now.Add(maxSanction)):
		refusal = errorf(rpc.InvalidArgument, "it may last for 100 years, or for good")
	case req.ForMs > 0 && !until.IsZero():
		refusal = errorf(rpc.InvalidArgument, "it has one end: until, or for_ms")
	case req.ForMs > 0:
		until = now.Add(time.Duration(req.ForMs) * time.Millisecond)
	case !until.IsZero() && !until.After(now):
		refusal = errorf(rpc.InvalidArgument, "it would be over before it began")
	}
	if refusal == nil {
		refusal = checkLine("reason", req.Reason, maxReason)
	}
	if refusal != nil {
		return nil, answer(refusal)
	}
	return srv.change(ctx, req.Room, v, func(r *room, s *Settings, by party) (*Change, *Error) {
		refusal := srv.mayTurnOn(s, by, on)
		if before, there := s.sanctions(what)[on.who]; refusal == nil && there { // a shorter one in its place would take it back
			refusal = srv.mayTakeBack(r.name, s, by, &before)
		}
		if refusal != nil {
			return nil, refusal
		}
		return &Change{What: what, Who: on.who, Until: until.UTC().Truncate(time.Millisecond), Reason: req.Reason}, nil
	})
}

func (srv *Server) unban(ctx context.Context, req *UnsanctionRequest) (*ChangeResponse, error) {
	return srv.unsanction(ctx, req, verbBan, ChangeUnban)
}

func (srv *Server) unmute(ctx context.Context, req *UnsanctionRequest) (*ChangeResponse, error) {
	return srv.unsanction(ctx, req, verbMute, ChangeUnmute)
}

func (srv *Server) unsanction(ctx context.Context, req *UnsanctionRequest, v Verb, what ChangeKind) (*ChangeResponse, error) {
	on, refusal := srv.named(req.Who)
	if refusal != nil {
		return nil, answer(refusal)
	}
	return srv.change(ctx, req.Room, v, func(r *room, s *Settings, by party) (*Change, *Error) {
		p, there := s.sanctions(what)[on.who]
		if !there {
			return nil, errorf(rpc.FailedPrecondition, "there is nothing to take back from %s", on.who)
		}
		refusal := srv.refuseOn(s, by, on)
		if refusal == nil {
			refusal = srv.mayTakeBack(r.name, s, by, &p)
		}
		if refusal != nil {
			return nil, refusal
		}
		return &Change{What: what, Who: on.who}, nil
	})
}

// mayTakeBack says why somebody may not take a ban or a mute back, or put another in its place: whoever has made it is above them.
func (srv *Server) mayTakeBack(room string, s *Settings, by party, p *Sanction) *Error {
	made := s.RoleOf(p.By)
	if maker, err := srv.named(p.By); err == nil {
		made = srv.roleOf(room, s, maker.id, maker.who) // administrators are as owners
	}
	if own := srv.roleOf(room, s, by.id, by.who); made.rank() > own.rank() {
		return errorf(rpc.PermissionDenied, "that was done by %s, who is %s here, and you are %s", p.By, made, own)
	}
	return nil
}
