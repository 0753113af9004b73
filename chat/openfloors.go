package chat

import (
	"time"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// tendOpenFloors has every floor looked after that somebody had, or waited for, when the server before this one ended: what they
// asked for ends with the grace also if nobody comes to the room (M145). Their rooms are there for as long as that takes, and count for MaxRooms
// like others, as they did before.
//
// It reads the snapshots of all rooms once, a page at a time, while the server serves already. A list of the open floors alone, kept by the log
// with each append, would be a second truth for what is needed once in a run.
func (srv *Server) tendOpenFloors() {
	for after := ""; ; {
		batch, err := srv.cfg.Log.Rooms(srv.ctx, after, listBatch)
		if err != nil {
			if srv.ctx.Err() == nil {
				srv.log.Error("log failed", "doing", "look for open floors", "err", err)
			}
			if !pause(srv.ctx, openRetry) {
				return
			}
			continue
		}
		for i := range batch {
			after = batch[i].Name
			s, err := decodeSnapshot(batch[i].Snapshot)
			if err != nil || !floor.Open(s.Floor) {
				continue // or it cannot be read, and whoever comes is told so
			}
			for !srv.tendFloor(after) {
				if !pause(srv.ctx, openRetry) {
					return
				}
			}
		}
		if len(batch) < listBatch {
			return
		}
	}
}

// openRetry is when a floor is looked after again for which there was no place, or no answer from the log.
const openRetry = 10 * time.Second

// tendFloor has a room's actor look after its floor, and stay until that is idle. It says whether that was possible.
func (srv *Server) tendFloor(name string) bool {
	tended := false
	err := srv.do(srv.ctx, name, func(r *room) {
		if r.refresh() == nil {
			_, refusal := r.useFloor()
			tended = refusal == nil
		}
	})
	return err == nil && tended
}
