package chat_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Next has events to return, and a context; that nobody reads what this side publishes is not its business.
func TestNextDoesNotWaitForWriters(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob := h.join("bob", "other")
		alice := h.client(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		for _, room := range []string{"lobby", "other"} {
			require.NoError(t, alice.Join(t.Context(), room, chat.Live()))
			_, err := alice.Next(t.Context())
			require.NoError(t, err)
		}
		bob.publish("other", 150)
		time.Sleep(time.Second)
		release := make(chan struct{})
		log.set(func() error { <-release; return nil }, nil, nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 200 {
				_, _ = alice.Publish(context.Background(), "lobby", strings.Repeat("x", 64<<10))
			}
		}()
		time.Sleep(time.Second)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() { time.Sleep(time.Minute); close(release) }()
		n := 0
		for {
			_, err := alice.Next(ctx)
			if err != nil {
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				break
			}
			n++
		}
		assert.Less(t, time.Since(start), 11*time.Second, "after %d events", n)
		assert.GreaterOrEqual(t, n, 150)
		go alice.collect()
		<-done
	})
}

// A big line of one room is not held up for as long as another room has small ones.
func TestABusyRoomDoesNotStarveAnother(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice", "busy", "quiet")
		alice.publish("busy", 4000) // 4 MB of history
		r := h.client(h.net.Dial(h.srv, "bob", transport.Config{}), "bob")
		require.NoError(t, r.Join(t.Context(), "busy", chat.Last(4000)))
		require.NoError(t, r.Join(t.Context(), "quiet", chat.Live()))
		joined := 0
		seen := 0
		for {
			e, err := r.Next(t.Context())
			require.NoError(t, err)
			if _, ok := e.(*chat.Joined); ok {
				if joined++; joined == 2 {
					break
				}
			}
			if _, ok := e.(*chat.Message); ok {
				seen++
			}
		}
		_, err := alice.Publish(t.Context(), "quiet", strings.Repeat("q", 64<<10))
		require.NoError(t, err)
		time.Sleep(time.Second) // it is in the room now; r goes on reading
		for {
			e, err := r.Next(t.Context())
			require.NoError(t, err)
			m, ok := e.(*chat.Message)
			if !ok {
				continue
			}
			if m.Room == "quiet" {
				break
			}
			seen++
		}
		assert.Less(t, seen, 1000, "lines of the busy room before the one of the quiet room")
	})
}

// The text of a line reaches whoever has not written it, whatever producer it names.
func TestAnotherSessionOfTheSameProducerGetsTheText(t *testing.T) { // M29
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		phone, err := chat.NewClient(t.Context(), h.net.Dial(h.srv, "alice", transport.Config{}), chat.ClientConfig{Producer: chat.Producer{1}})
		require.NoError(t, err)
		a := &user{Client: phone, t: t, name: "phone", changed: make(chan struct{})}
		go a.collect()
		laptop, err := chat.NewClient(t.Context(), h.net.Dial(h.srv, "alice", transport.Config{}), chat.ClientConfig{Producer: chat.Producer{1}})
		require.NoError(t, err)
		b := &user{Client: laptop, t: t, name: "laptop", changed: make(chan struct{})}
		go b.collect()
		a.join("lobby", chat.Live())
		b.join("lobby", chat.Live())
		a.say("lobby", "one")
		b.say("lobby", "two")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"two"}, texts(a))
		assert.Equal(t, []string{"one"}, texts(b))
	})
}

// Rejected(Unavailable) may have been appended; if it was, the client hears of its position (C4).
func TestC4AMessageOfUnknownOutcomeIsNoGap(t *testing.T) {
	log := newFaultyLog()
	log.watch = deaf
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "first")
		log.set(nil, func() error { return errBroken }, nil)
		id, err := alice.Publish(t.Context(), "lobby", "there after all")
		require.NoError(t, err)
		assert.Equal(t, rpc.Unavailable, expect[*chat.Rejected](alice, nil).Code)
		log.set(nil, nil, nil)
		assert.Equal(t, uint64(3), alice.say("lobby", "next").Position.Seq)
		var seqs []uint64
		for _, e := range all[*chat.Sent](alice) {
			seqs = append(seqs, e.Position.Seq)
		}
		for _, e := range all[*chat.Message](alice) {
			seqs = append(seqs, e.Position.Seq)
		}
		assert.ElementsMatch(t, []uint64{1, 2, 3}, seqs, "of %s", id)
	})
}

// Close ends behind all that was asked: every publish is answered.
func TestCloseAnswersWhoIsNotInTheRoom(t *testing.T) { // M27
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.join("alice")
		log.set(func() error { time.Sleep(3 * time.Second); return nil }, nil, nil)
		_, err := bob.Publish(t.Context(), "lobby", "slow")
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, err = alice.Publish(t.Context(), "lobby", "not a member")
		require.NoError(t, err)
		require.NoError(t, alice.Close())
		_ = alice.ended()
		assert.Len(t, all[*chat.Rejected](alice), 1)
		assert.Zero(t, alice.Unacknowledged())
		expect[*chat.Sent](bob, nil)
	})
}

// A reader that confirms byte by byte has the log read no more often than it takes records.
func TestS5SmallConfirmationsDoNotReadTheLog(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		const rooms = 50
		alice := h.join("alice")
		r := openRaw(t, h.net.Dial(h.srv, "mallory", transport.Config{}))
		for i := range rooms {
			room := fmt.Sprint("r", i)
			alice.join(room, chat.Live())
			for range 2 {
				_, err := alice.Publish(t.Context(), room, strings.Repeat("x", 32<<10))
				require.NoError(t, err)
			}
		}
		alice.waitFor("acknowledgements", func([]chat.Event, error) bool { return alice.Unacknowledged() == 0 })
		for i := range rooms { // what is not in a ring is read from the log
			require.NoError(t, alice.Leave(t.Context(), fmt.Sprint("r", i)))
		}
		time.Sleep(time.Second)
		var reads atomic.Int64
		log.set(nil, nil, func() error { reads.Add(1); return nil })
		for i := range rooms {
			r.write(frame(0x01, &chatpb.Join{Room: fmt.Append(nil, "r", i), From: &chatpb.Join_Last{Last: 2}}))
		}
		var got uint64
		for {
			r.str.SetReadDeadline(time.Now().Add(2 * time.Second))
			typ, body, err := r.str.ReadFrame(anyFrame)
			if err != nil {
				break
			}
			if typ >= 0x11 {
				got += uint64(len(body))
			}
		}
		require.NotZero(t, got)
		reads.Store(0)
		for i := range 1000 {
			r.write(frame(0x07, &chatpb.Received{Bytes: uint64(i + 1)}))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		t.Log(got, reads.Load())
		assert.Less(t, reads.Load(), int64(1100), "reads of the log for 1000 bytes of credit")
	})
}
