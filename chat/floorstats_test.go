package chat_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// What becomes of requests for floors is counted by what it was and why, and who has a floor or waits for it as long as they do.
func TestFloorsAreCounted(t *testing.T) {
	bubble(t, chat.Config{Administrator: root}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "ops"), h.join("bob", "ops")
		alice.say("ops", "hello") // a room is there with its first record
		h.halfDuplex("ops", &chat.FloorSettings{LeaseMs: 5_000})
		figures := func() [3]int {
			synctest.Wait()
			st := h.chat.Stats()
			return [3]int{st.HalfDuplex, st.FloorsHeld, st.FloorWaiting}
		}
		require.Equal(t, [3]int{1, 0, 0}, figures())
		alice.requestFloor("ops")
		bob.requestFloor("ops")
		require.Equal(t, [3]int{1, 1, 1}, figures())
		room := h.chat.Rooms()[0]
		require.Equal(t, []any{true, "alice", 1}, []any{room.HalfDuplex, room.Holder, room.Waiting})
		time.Sleep(6 * time.Second) // alice does not renew it
		require.Equal(t, [3]int{1, 1, 0}, figures())
		_, err := chat.ReleaseFloor.Call(context.Background(), bob.session, &chat.FloorRelease{Room: "ops"})
		require.NoError(t, err)
		require.Equal(t, [3]int{1, 0, 0}, figures())

		// One that is in no room counts as well, for as long as it has the floor.
		caller := h.net.Dial(h.srv, "carol", transport.Config{})
		_, err = chat.RequestFloor.Call(context.Background(), caller, &chat.FloorRequest{Room: "ops"})
		require.NoError(t, err)
		alice.release()
		bob.release()
		require.Equal(t, [3]int{1, 1, 0}, figures())
		require.NoError(t, caller.Release(context.Background()))
		time.Sleep(time.Second)
		require.Equal(t, [3]int{}, figures(), "nobody is there any more")
		require.Equal(t, map[chat.FloorChange]uint64{
			{State: chat.FloorGranted, Why: "asked"}:  2,
			{State: chat.FloorAccepted, Why: "asked"}: 1,
			{State: chat.FloorRevoked, Why: "lapsed"}: 1,
			{State: chat.FloorGranted, Why: "turn"}:   1,
			{State: chat.FloorReleased, Why: "asked"}: 1,
			{State: chat.FloorReleased, Why: "left"}:  1,
		}, h.chat.Stats().FloorChanges)
	})
}
