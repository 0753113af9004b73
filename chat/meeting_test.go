package chat_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/floor"
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

// C5: a meeting of 50 in a half-duplex room, over links that lose 2 % of the packets, while the server is killed and started
// twice: everyone has the floor and speaks, and the transcript is what was granted.
func TestC5TheTranscriptOfAMeetingIsWhatWasGranted(t *testing.T) {
	const members = 50
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: root}, func(t *testing.T, h *house) {
		h.join("opener", "hall").say("hall", "welcome")
		h.halfDuplex("hall", nil)
		h.lossy()
		var done sync.WaitGroup
		begin := make(chan struct{})
		for i := range members {
			producer := chat.Producer{byte(i + 1)}
			r := h.roverWith(fmt.Sprint("member", i), chat.ClientConfig{Producer: producer})
			go r.collect()
			r.join("hall", chat.Live())
			done.Go(func() { <-begin; r.speak("hall", fmt.Sprint("line of ", i), producer) })
		}
		close(begin)
		var killed uint64
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
	})
}
