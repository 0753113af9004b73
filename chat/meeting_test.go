package chat_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// lossy loses every fiftieth packet.
func (h *house) lossy() {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(50, 2))
	h.net.Drop(func(transporttest.Packet) bool {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(50) == 0
	})
}

// speak has the floor, says one line, and gives the floor back, however often it takes.
func (r *rover) speak(room, text string, producer chat.Producer) {
	for {
		lease, err := chat.Acquire(r.h.ctx(), r.session, room, chat.LeaseConfig{Producer: producer})
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		r.UseGrant(room, lease.Grant())
		said := r.said(room, text)
		if err := lease.Release(r.h.ctx()); err != nil {
			assert.Error(r.t, lease.Context().Err()) // it ends with its time
		}
		if said {
			return
		}
	}
}

// said publishes and says whether that is in the log.
func (r *rover) said(room, text string) (ok bool) {
	id, err := r.Publish(r.h.ctx(), room, text)
	if !assert.NoError(r.t, err) {
		return true
	}
	r.waitFor("the answer to "+text, func(events []chat.Event, _ error) bool {
		for _, e := range events {
			switch e := e.(type) {
			case *chat.Sent:
				if e.ID == id {
					ok = true
					return true
				}
			case *chat.Rejected:
				if e.ID == id {
					return true
				}
			}
		}
		return false
	})
	return ok
}

// pointFor sets a synchronization point in a room, once somebody has spoken, and returns its position.
func (h *house) pointFor(room string, members ...string) chat.Position {
	h.t.Helper()
	time.Sleep(time.Second)
	session := h.net.Dial(h.srv, "root", transport.Config{})
	res, err := chat.SetSyncPoint.Call(h.ctx(), session, &chat.SetSyncPointRequest{Room: room, Name: "agenda", WaitFor: members, Within: 3600})
	require.NoError(h.t, err)
	require.NoError(h.t, session.Release(h.ctx()))
	return chat.Position{Epoch: res.Epoch, Seq: res.Seq}
}

// agree has a checkpoint at a point once the server has been killed, and not before.
func (r *rover) agree(point chat.Position) {
	r.waitFor("another server", func(events []chat.Event, _ error) bool {
		return slices.ContainsFunc(events, func(e chat.Event) bool { _, back := e.(*chat.Resumed); return back })
	})
	r.MarkRead("hall", point)
}

// confirmedOnce checks that a point in the hall was confirmed once, and after a record, and that none of the members has been taken back beyond it since.
func (h *house) confirmedOnce(point chat.Position, after uint64, records []chat.Record, members []*rover) {
	confirmed := 0
	for _, rec := range records {
		if rec.Kind == chat.KindSync && rec.Seq != point.Seq {
			assert.Contains(h.t, string(rec.Body), `"what":"confirmed"`, "record %d", rec.Seq)
			assert.Greater(h.t, rec.Seq, after, "the secretary has agreed only then")
			confirmed++
		}
	}
	assert.Equal(h.t, 1, confirmed, "M152: once, over two servers")
	for _, r := range members {
		r := r.user // whose lock it is
		known := false
		r.mu.Lock()
		for _, e := range r.events {
			if p, ok := e.(*chat.SyncPoint); ok && p.What == chat.SyncConfirmed {
				assert.False(h.t, known, "%s is told once", r.name)
				known = true
			}
			pos, ok := chat.PositionOf(e)
			assert.False(h.t, ok && known && pos.Seq < point.Seq, "M151: %s is shown %d", r.name, pos.Seq)
		}
		r.next = len(r.events)
		r.mu.Unlock()
		assert.True(h.t, known, "C1: %s is told", r.name)
	}
	h.net.Drop(nil)
	require.NoError(h.t, members[0].Resync(h.ctx(), "hall", chat.After(chat.Position{Epoch: point.Epoch, Seq: 1})))
	assert.Equal(h.t, point.Seq, expect[*chat.Rejected](members[0].user, nil).First, "M151")
	assert.GreaterOrEqual(h.t, h.join("late").join("hall", chat.Last(1000)).Next, point.Seq, "M151")
	assert.Greater(h.t, h.join("member17").join("hall", chat.FromCheckpoint()).Next, point.Seq, "M155")
}

// C5: a meeting of 50 in a half-duplex room, over links that lose 2 % of the packets, while the server is killed and started
// twice: everyone has the floor and speaks, and the transcript is what was granted. Meanwhile a synchronization point waits for four of them over
// a restart, and is confirmed once (M152); nobody is taken back beyond it (M151).
func TestC5TheTranscriptOfAMeetingIsWhatWasGranted(t *testing.T) {
	const members = 50
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		h.join("opener", "hall").say("hall", "welcome")
		h.halfDuplex("hall", nil)
		h.lossy()
		var done sync.WaitGroup
		begin := make(chan struct{})
		var users []*rover
		secretary := h.roverWith("secretary", chat.ClientConfig{})
		go secretary.collect()
		secretary.join("hall", chat.Live())
		for i := range members {
			producer := chat.Producer{byte(i + 1)}
			r := h.roverWith(fmt.Sprint("member", i), chat.ClientConfig{Producer: producer, CheckpointAfter: time.Second})
			go r.collect()
			r.join("hall", chat.Live())
			users = append(users, r)
			done.Go(func() { <-begin; r.speak("hall", fmt.Sprint("line of ", i), producer) })
		}
		close(begin)
		point := h.pointFor("hall", "member3", "member17", "member44", "secretary")
		done.Go(func() { secretary.agree(point) })
		var killed, restarted uint64
		for range 2 {
			for { // until some more have spoken
				state, err := log.State(t.Context(), "hall")
				require.NoError(t, err)
				if state.Head > max(killed, members)+20 {
					killed = state.Head
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			h.restart(log)
			h.lossy()
			restarted = cmp.Or(restarted, killed)
		}
		done.Wait()

		records, err := log.Read(t.Context(), "hall", 1, 64<<20)
		require.NoError(t, err)
		var holder string
		var grant uint64
		spoken := make(map[string]int)
		turns := 0
		for _, rec := range records[1:] {
			switch rec.Kind {
			case chat.KindFloor:
				tr, err := floor.DecodeTransition(rec.Body)
				require.NoError(t, err)
				if tr.To == floor.Granted {
					require.Empty(t, holder, "one at a time")
					require.Greater(t, tr.Grant, grant)
					grant = tr.Grant
					turns++
				}
				holder = tr.Holder
			case chat.KindText:
				require.Equal(t, holder, rec.From, "record %d: only who has the floor speaks", rec.Seq)
				spoken[rec.From]++
			default:
			}
		}
		assert.Len(t, spoken, members)
		for who, lines := range spoken {
			assert.Equal(t, 1, lines, who)
		}
		t.Logf("%d records, %d turns, killed the second time at record %d", len(records), turns, killed)
		assert.Less(t, killed, uint64(len(records)-20))
		h.confirmedOnce(point, restarted, records, append(users, secretary))
	})
}
