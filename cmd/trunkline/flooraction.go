package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
)

// cutFloorHint cuts off a refusal's reason what it says about how to ask for the floor, which is for programs (M130), and says
// whether that was there.
func cutFloorHint(reason string) (string, bool) {
	return strings.CutSuffix(reason, "; ask for it with "+chat.RequestFloor.Name())
}

// A floorAction is what somebody wants to do with the floor of a room, on a command line or behind "/floor".
type floorAction struct {
	verb     string
	request  uint64 // number of a request; 0: of the caller's own, or of the holder's
	who      string // pass: to whom; request: for whom, or ""
	reason   string
	producer []byte
	priority string
}

// parseFloorAction reads what follows "floor", but for the room. An error is a *usageError.
func parseFloorAction(verb, rest string) (*floorAction, error) {
	f := &floorAction{verb: verb, reason: strings.TrimSpace(rest)}
	word, behind, _ := strings.Cut(f.reason, " ")
	behind = strings.TrimSpace(behind)
	number, err := strconv.ParseUint(word, 10, 64)
	numbered := err == nil && number > 0
	switch verb {
	case "request", "please", "revoke":
	case "release":
		if numbered {
			f.request, f.reason = number, behind
		}
	case "pass":
		if word == "" {
			return nil, usagef("pass needs the name of who is to have the floor")
		}
		if err := checkWho(word); err != nil {
			return nil, err
		}
		f.who, f.reason = word, behind
	case "accept", "grant", "deny":
		if !numbered {
			return nil, usagef("%s needs the number of a request, as the floor's status shows it", verb)
		}
		f.request, f.reason = number, behind
	default:
		return nil, usagef("with a floor nobody can %q", verb)
	}
	return f, nil
}

// do does it, and returns what has come of it.
func (f *floorAction) do(ctx context.Context, conn rpc.Conn, room string) (*chat.FloorResponse, error) {
	switch f.verb {
	case "request":
		return chat.RequestFloor.Call(ctx, conn, &chat.FloorRequest{Room: room, For: f.who, Priority: f.priority, Reason: f.reason, Producer: f.producer})
	case "release":
		return chat.ReleaseFloor.Call(ctx, conn, &chat.FloorRelease{Room: room, Request: f.request, Reason: f.reason})
	case "pass":
		return chat.PassFloor.Call(ctx, conn, &chat.FloorPass{Room: room, To: f.who, Reason: f.reason})
	case "please":
		return chat.PleaseFloor.Call(ctx, conn, &chat.FloorAsk{Room: room, Reason: f.reason})
	}
	return chat.ChairFloor.Call(ctx, conn, &chat.FloorRuling{Room: room, Do: f.verb, Request: f.request, Reason: f.reason})
}
