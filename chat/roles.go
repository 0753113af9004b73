package chat

import (
	"time"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
)

// The verbs that only rooms know. [Config.Authorize] is asked for join or speak in their place, see table.
const (
	verbRead        Verb = iota + 3 // what was said, and what the room is
	verbReact                       // or take one's reaction back
	verbEdit                        // what one has said
	verbDeleteOwn                   // the same
	verbDeleteOther                 // what others have said
	verbTopic
	verbInvite
	verbKick
	verbBan  // and unban
	verbMute // and unmute
	verbRole
	verbMode  // duplex or half-duplex
	verbFloor // give and take it
	verbSync  // set a synchronization point
	verbSlow  // say how fast people may speak
	verbDefaultRole
	verbDeleteRoom
)

// A rule is a row of the table.
type rule struct {
	name  string // as in "not allowed to … in this room"
	least Role   // that may; all above it may, too
	fence Verb   // for which Config.Authorize is asked first
	mute  bool   // not for who is muted
}

// rule returns the row of v in the table of who may do what in a room. There is no other place that says so. A verb that
// does not stand in it is nobody's.
func (v Verb) rule() rule {
	switch v {
	case VerbJoin:
		return rule{"join", RoleListener, VerbJoin, false}
	case verbRead:
		return rule{"read", RoleListener, VerbJoin, false}
	case verbDeleteOwn:
		return rule{"delete", RoleListener, VerbJoin, false}
	case VerbSpeak:
		return rule{"speak", RoleMember, VerbSpeak, true}
	case verbReact:
		return rule{"react", RoleMember, VerbSpeak, true}
	case verbEdit:
		return rule{"edit", RoleMember, VerbSpeak, true}
	case verbTopic:
		return rule{"set the topic", RoleChair, VerbSpeak, true}
	case verbDeleteOther:
		return rule{"delete what others said", RoleChair, VerbJoin, false}
	case verbInvite:
		return rule{"invite", RoleChair, VerbJoin, false}
	case verbKick:
		return rule{"kick", RoleChair, VerbJoin, false}
	case verbBan:
		return rule{"ban", RoleChair, VerbJoin, false}
	case verbMute:
		return rule{"mute", RoleChair, VerbJoin, false}
	case verbRole:
		return rule{"give roles", RoleChair, VerbJoin, false}
	case verbMode:
		return rule{"set the mode", RoleChair, VerbJoin, false}
	case verbFloor:
		return rule{"chair the floor", RoleChair, VerbJoin, false}
	case verbSync:
		return rule{"set a synchronization point", RoleChair, VerbJoin, false}
	case verbSlow:
		return rule{"slow people down", RoleChair, VerbJoin, false}
	case verbDefaultRole:
		return rule{"set the default role", RoleOwner, VerbJoin, false}
	case verbDeleteRoom:
		return rule{"delete the room", RoleOwner, VerbJoin, false}
	}
	return rule{name: "unknown"}
}

// String returns what it is called in a refusal, "join" or "speak" say.
func (v Verb) String() string { return v.rule().name }

// verb returns what publishing a record of the kind is.
func (k Kind) verb() Verb {
	switch k {
	case KindEdit:
		return verbEdit
	case KindDelete:
		return verbDeleteOwn // whose it is, and so whether that is enough, its record says
	case KindReact, KindUnreact:
		return verbReact
	case KindText, KindSettings, KindFloor, KindSync:
	}
	return VerbSpeak
}

// rank orders the roles. One that this version does not know is below all.
func (r Role) rank() int {
	switch r {
	case RoleOwner:
		return 5
	case RoleChair:
		return 4
	case RoleMember:
		return 3
	case RoleListener:
		return 2
	case RoleNone:
		return 1
	}
	return 0
}

// may says whether the role is enough for v.
func (r Role) may(v Verb) bool {
	least := v.rule().least.rank()
	return least > 0 && r.rank() >= least
}

// A Sanction is a ban or a mute.
type Sanction struct {
	Until  time.Time `json:"until,omitzero"` // zero: for good
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

func (s *Sanction) over(now time.Time) bool { return !s.Until.IsZero() && !now.Before(s.Until) }

// sentence says what was done to somebody, as in "banned by alice until 2006-01-02T15:04:05Z: spam".
func sentence(did, by string, until time.Time, reason string) string {
	did += " by " + by
	if !until.IsZero() {
		did += " until " + until.UTC().Format(time.RFC3339)
	}
	if reason != "" {
		did += ": " + reason
	}
	return did
}

// refuse says why an identity may not do v in a room with these settings, now; nil: it may.
func (s *Settings) refuse(who string, v Verb, now func() time.Time) *Error {
	if ban, ok := s.Bans[who]; ok && !ban.over(now()) {
		return errorf(rpc.PermissionDenied, "%s", sentence("banned", ban.By, ban.Until, ban.Reason))
	}
	if !s.RoleOf(who).may(v) {
		return errorf(rpc.PermissionDenied, "not allowed to %s in this room", v)
	}
	if mute, ok := s.Mutes[who]; ok && v.rule().mute && !mute.over(now()) {
		return errorf(rpc.PermissionDenied, "%s", sentence("muted", mute.By, mute.Until, mute.Reason))
	}
	return nil
}

// administrates says whether an identity is an administrator of the server, who may do in every room what its owners may.
func (srv *Server) administrates(id certs.ID) bool {
	return srv.cfg.Administrator != nil && srv.cfg.Administrator(id)
}

// refuse says why an identity, who, may not do v in a room that has the settings: first by [Config.Authorize], then by
// the table.
func (srv *Server) refuse(room string, s *Settings, id certs.ID, who string, v Verb) *Error {
	if err := srv.authorize(id, room, v.rule().fence); err != nil {
		return err
	}
	return srv.refuseByTable(room, s, id, who, v)
}

func (srv *Server) refuseByTable(room string, s *Settings, id certs.ID, who string, v Verb) *Error {
	if isDirect(room) {
		return refuseDirect(room, who, v)
	}
	err := s.refuse(who, v, time.Now)
	if err != nil && RoleOwner.may(v) && srv.administrates(id) {
		return nil
	}
	return err
}

// refuseDirect is refuse for the room of two, which has no settings.
func refuseDirect(room, who string, v Verb) *Error {
	if !inDirect(room, who) || !RoleMember.may(v) {
		return errorf(rpc.PermissionDenied, "not allowed to %s in this room", v)
	}
	return nil
}

// roleOf returns the role of an identity, who, in a room.
func (srv *Server) roleOf(room string, s *Settings, id certs.ID, who string) Role {
	if isDirect(room) {
		return RoleMember // or it would not be seen
	}
	if srv.administrates(id) {
		return RoleOwner
	}
	return s.RoleOf(who)
}

// refuseOn says why somebody may not act on somebody else in a room: on who has the same role, or a higher one, only owners
// may, and on an administrator of the server only another.
func (srv *Server) refuseOn(s *Settings, by, on party) *Error {
	switch {
	case srv.administrates(by.id):
		return nil
	case srv.administrates(on.id):
		return errorf(rpc.PermissionDenied, "%s is an administrator of the server", on.who)
	case s.RoleOf(by.who) == RoleOwner || s.RoleOf(by.who).rank() > s.RoleOf(on.who).rank():
		return nil
	}
	return errorf(rpc.PermissionDenied, "%s is %s here, and you are %s", on.who, s.RoleOf(on.who), s.RoleOf(by.who))
}
