package chat

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
)

// SetSlow bounds how fast people may speak in a room, or takes that back.
var SetSlow = rpc.Unary[SetSlowRequest, ChangeResponse]("trunkline.Chat/SetSlow")

// A SetSlowRequest asks for another [Slow]; with 0 messages for none.
type SetSlowRequest struct {
	Room     string `json:"room"`
	Messages int    `json:"messages"` // at most 1,000
	PerMs    int64  `json:"per_ms"`   // at most a day
}

// A Slow is how fast one may speak in a room who is not its chair or owner: each identity so many messages, edits counted, in so many
// milliseconds, and besides that so many reactions. It holds beside what [Config.AllowLines] allows.
type Slow struct {
	Messages int   `json:"messages"`
	PerMs    int64 `json:"per_ms"`
}

func (s *Slow) per() time.Duration { return time.Duration(s.PerMs) * time.Millisecond }

// minPaces is the least number of paces that is looked through for those that are over.
const minPaces = 64

// A pace is what is counted together: speech, or else reactions and those taken back, so that who has just spoken may react. What one takes back
// oneself, by a delete, is never too early.
type pace struct {
	who    string
	reacts bool
}

// paceOf returns with what an entry counts, if it does.
func paceOf(e *Entry) (p pace, counts bool) {
	switch e.Kind {
	case KindText, KindEdit:
		return pace{who: e.From}, true
	case KindReact, KindUnreact:
		return pace{e.From, true}, true
	case KindDelete, KindSettings, KindFloor, KindSync:
	}
	return pace{}, false
}

// paces are how far each identity is ahead of its rate in a room: until when what it has said counts (the generic cell rate
// algorithm, ITU-T I.371). They go with the room's actor.
type paces struct {
	until map[pace]time.Time
	prune int // how many there are when those that are over are forgotten
}

// take counts a message, or if it is too early returns how long it is until another one may be said.
func (p *paces) take(whose pace, s *Slow, now time.Time) (wait time.Duration) {
	until := p.until[whose]
	if until.Before(now) {
		until = now
	}
	until = until.Add(s.per() / time.Duration(s.Messages))
	if wait := until.Sub(now) - s.per(); wait > 0 {
		return wait
	}
	if len(p.until) >= max(p.prune, minPaces) {
		maps.DeleteFunc(p.until, func(_ pace, t time.Time) bool { return t.Before(now) })
		p.prune = 2 * len(p.until)
	}
	put(&p.until, whose, until)
	return 0
}

// refuseHaste says why the session may not say an entry yet, in a room that is slow.
func (r *room) refuseHaste(s *session, e *Entry) *Error {
	slow := r.known.Settings.Slow
	whose, counts := paceOf(e)
	if slow == nil || !counts || isDirect(r.name) || r.srv.roleOf(r.name, &r.known.Settings, s.peer, s.who).rank() >= RoleChair.rank() {
		return nil
	}
	wait := r.paces.take(whose, slow, time.Now())
	if wait == 0 {
		return nil
	}
	wait = (wait + time.Second - 1).Truncate(time.Second) // up
	return errorf(rpc.ResourceExhausted, "this room is slow, %s: you may %s again in %v", slow, e.Kind.verb(), wait)
}

// String returns "3 in 10s".
func (s *Slow) String() string { return fmt.Sprintf("%d in %v", s.Messages, s.per()) }

func (srv *Server) setSlow(ctx context.Context, req *SetSlowRequest) (*ChangeResponse, error) {
	slow := &Slow{Messages: req.Messages, PerMs: req.PerMs}
	switch {
	case *slow == Slow{}:
		slow = nil
	case slow.Messages < 1 || slow.Messages > 1000 || slow.PerMs < 1 || slow.PerMs > (24*time.Hour).Milliseconds():
		return nil, rpc.Errorf(rpc.InvalidArgument, "a room may be slowed to 1 to 1000 messages in up to a day")
	}
	return srv.change(ctx, req.Room, verbSlow, func(*room, *Settings, party) (*Change, *Error) {
		return &Change{What: ChangeSlow, Slow: slow}, nil
	})
}
