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

// A Slow is how fast one may speak in a room who is not its chair or owner: each identity so many messages in so many
// milliseconds. It holds beside what [Config.AllowLines] allows.
type Slow struct {
	Messages int   `json:"messages"`
	PerMs    int64 `json:"per_ms"`
}

func (s *Slow) per() time.Duration { return time.Duration(s.PerMs) * time.Millisecond }

// minPaces is the least number of paces that is looked through for those that are over.
const minPaces = 64

// paces are how far each identity is ahead of its rate in a room: until when what it has said counts (the generic cell rate
// algorithm, ITU-T I.371). They go with the room's actor.
type paces struct {
	until map[string]time.Time
	prune int // how many there are when those that are over are forgotten
}

// take counts a message, or if it is too early returns how long it is until another one may be said.
func (p *paces) take(who string, s *Slow, now time.Time) (wait time.Duration) {
	until := p.until[who]
	if until.Before(now) {
		until = now
	}
	until = until.Add(s.per() / time.Duration(s.Messages))
	if wait := until.Sub(now) - s.per(); wait > 0 {
		return wait
	}
	if len(p.until) >= max(p.prune, minPaces) {
		maps.DeleteFunc(p.until, func(_ string, t time.Time) bool { return t.Before(now) })
		p.prune = 2 * len(p.until)
	}
	put(&p.until, who, until)
	return 0
}

// refuseHaste says why the session may not say a message yet, in a room that is slow.
func (r *room) refuseHaste(s *session) *Error {
	slow := r.known.Settings.Slow
	if slow == nil || isDirect(r.name) || r.srv.roleOf(r.name, &r.known.Settings, s.peer, s.who).rank() >= RoleChair.rank() {
		return nil
	}
	wait := r.paces.take(s.who, slow, time.Now())
	if wait == 0 {
		return nil
	}
	wait = (wait + time.Second - 1).Truncate(time.Second) // up
	return errorf(rpc.ResourceExhausted, "this room is slow, %s: you may speak again in %v", slow, wait)
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
