package chat_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A tally counts what one member is shown, and nothing more: it is one of many.
type tally struct {
	client   *chat.Client
	next     uint64 // the seq that comes next
	lines    atomic.Int64
	detached atomic.Bool
	wrong    atomic.Pointer[string]
}

func (y *tally) count(t *testing.T) {
	for {
		e, err := y.client.Next(t.Context())
		if err != nil {
			return
		}
		switch e := e.(type) {
		case *chat.Joined:
			y.next = e.Next
		case *chat.Detached:
			y.detached.Store(true)
		case *chat.Gap:
			y.fault("a gap after %v", e.After)
		case *chat.Message:
			if e.Position.Seq != y.next {
				y.fault("%d where %d was to come", e.Position.Seq, y.next)
			}
			y.next = e.Position.Seq + 1
			y.lines.Add(1)
		}
	}
}

func (y *tally) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	y.wrong.CompareAndSwap(nil, &text)
}

// 500 members lose their connections at once, miss 1,000 lines each, and come back at once: each is shown every line,
// and none twice (C4).
func TestC4AStormOfMembersWhoCatchUp(t *testing.T) {
	members, missed := 500, 1000
	if testing.Short() {
		members = 50
	}
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		var all []*tally
		for i := range members {
			s := h.net.Dial(h.srv, fmt.Sprintf("m%d", i%10), transport.Config{NewPacketConn: h.net.NewConn})
			c, err := chat.NewClient(t.Context(), s, chat.ClientConfig{})
			require.NoError(t, err)
			require.NoError(t, c.Join(t.Context(), "r", chat.Live()))
			y := &tally{client: c}
			all = append(all, y)
			go y.count(t) // ends with the session
		}
		conn := h.net.Conn()
		bob := h.joinOn(h.net.Dial(h.srv, "bob", transport.Config{PacketConn: conn}), "bob", "r")
		bob.say("r", "before")
		require.Eventually(t, func() bool { return all[0].lines.Load() == 1 }, time.Minute, time.Millisecond)

		// Nothing passes any more but what bob says.
		h.net.Drop(func(p transporttest.Packet) bool {
			return p.From.String() != conn.LocalAddr().String() && p.To.String() != conn.LocalAddr().String()
		})
		time.Sleep(20 * time.Second) // so that all are lost, and the server keeps their sessions
		for i := range missed {
			bob.ask("r", fmt.Sprintf("line %d", i))
		}
		bob.waitFor("acknowledgements", func([]chat.Event, error) bool { return bob.Unacknowledged() == 0 })
		h.net.Drop(nil)
		var back sync.WaitGroup
		for _, y := range all {
			back.Go(func() {
				for deadline := time.Now().Add(10 * time.Minute); y.lines.Load() < int64(1+missed) && time.Now().Before(deadline); {
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		back.Wait()
		synctest.Wait()
		for i, y := range all {
			if wrong := y.wrong.Load(); wrong != nil {
				assert.Fail(t, *wrong, "member %d", i)
			}
			assert.Equal(t, int64(1+missed), y.lines.Load(), "member %d", i)
			assert.True(t, y.detached.Load(), "member %d was cut off", i)
		}
	})
}
