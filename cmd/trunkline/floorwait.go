package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// acquireFloor waits for the floor of a room, and says on stderr whom it waits for.
func (a *app) acquireFloor(ctx context.Context, session *transport.Session, room string, cfg chat.LeaseConfig) (*chat.Lease, error) {
	var said string
	cfg.Waiting = func(st *chat.FloorStatus, request uint64) {
		if line := waitsFor(st, request); line != said {
			said = line
			_, _ = fmt.Fprintf(a.stderr, "trunkline: waiting for the floor of %s: %s\n", plain(room), plain(line))
		}
	}
	return chat.Acquire(ctx, session, room, cfg)
}

// waitsFor says what a request waits for.
func waitsFor(st *chat.FloorStatus, request uint64) string {
	is := func(p chat.FloorParticipant) bool { return p.Request == request }
	if slices.ContainsFunc(st.Pending, is) {
		return fmt.Sprintf("the chair decides (request %d)", request)
	}
	has := "nobody has it"
	if st.Holder != nil {
		has = st.Holder.Who + " has it"
	}
	return fmt.Sprintf("%s, you are at place %d", has, 1+slices.IndexFunc(st.Queue, is))
}

// floorLost says how the floor was lost, by the cause that a lease's context has ended with.
func floorLost(room string, cause error) error {
	why := cause.Error()
	if errors.Is(cause, chat.ErrLeaseLost) {
		why = strings.TrimPrefix(strings.TrimPrefix(why, chat.ErrLeaseLost.Error()), ": ")
	}
	if why == "" {
		why = "it was taken back, passed on, or given back elsewhere"
	}
	return fmt.Errorf("the floor of %s is lost: %s", room, why) // of whatever kind the cause is
}
