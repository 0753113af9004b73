package chat_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
)

// host is where the rover is, behind the NAT that there may be.
func (r *rover) host() net.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	addr, err := net.ResolveUDPAddr("udp", r.addr)
	require.NoError(r.t, err)
	return addr
}

// A member whose NAT forgets it, and that goes from network to network, speaks and hears all the while: each line is
// there once, in its place, and nobody sees that anything was (C1, C3, C4).
func TestC4ChatGoesOnWhileAMemberWanders(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		const lines = 60
		bob := h.join("bob", "lobby")
		alice := h.rover("alice", "lobby")
		spoken := make(chan struct{})
		go func() {
			defer close(spoken)
			for i := range lines {
				if _, err := alice.Publish(h.ctx(), "lobby", fmt.Sprint("alice ", i)); !assert.NoError(t, err) {
					return
				}
				if _, err := bob.Publish(h.ctx(), "lobby", fmt.Sprint("bob ", i)); !assert.NoError(t, err) {
					return
				}
				time.Sleep(70 * time.Millisecond)
			}
		}()
		for i := range 12 {
			time.Sleep(300 * time.Millisecond)
			if i%3 == 0 {
				require.NoError(t, alice.session.Migrate(h.ctx()))
			} else {
				h.net.Rebind(alice.host())
			}
		}
		<-spoken
		time.Sleep(10 * time.Second)
		require.Len(t, logOf(t, log, "lobby"), 2*lines)
		for _, u := range []*user{alice.user, bob} {
			var seqs []uint64
			for _, p := range u.shown("lobby") { // an acknowledgement may overtake others' lines
				seqs = append(seqs, p.Seq)
			}
			slices.Sort(seqs)
			require.Len(t, seqs, 2*lines)
			for i, seq := range seqs {
				assert.EqualValues(t, i+1, seq)
			}
			var last uint64
			for _, m := range all[*chat.Message](u) {
				assert.Greater(t, m.Position.Seq, last)
				last = m.Position.Seq
			}
		}
		assert.Empty(t, all[*chat.Detached](alice.user))
		now, _ := alice.session.Status()
		assert.EqualValues(t, 1, now.Attempt, "it was the same connection")
		alice.release()
	})
}
