package chat_test

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"
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

// faultyLog is a log in memory that delays and fails on request.
type faultyLog struct {
	chat.Log
	mu      sync.Mutex   // guards what follows
	before  func() error // called before an append
	after   func() error // called after one that succeeded
	read    func() error
	batches []int
	watch   func(room string, moved func(uint64)) func() // in place of the log's
}

// Watch implements chat.Log.
func (l *faultyLog) Watch(room string, moved func(uint64)) func() {
	if l.watch != nil {
		return l.watch(room, moved)
	}
	return l.Log.Watch(room, moved)
}

// deaf is for logs that never say when another server appends.
func deaf(string, func(uint64)) func() { return func() {} }

func (l *faultyLog) set(before, after, read func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before, l.after, l.read = before, after, read
}

func (l *faultyLog) Append(ctx context.Context, room string, head uint64, entries []chat.Entry, snapshot []byte) ([]chat.Result, error) {
	l.mu.Lock()
	before, after := l.before, l.after
	l.batches = append(l.batches, len(entries))
	l.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return nil, err
		}
	}
	res, err := l.Log.Append(ctx, room, head, entries, snapshot)
	if err == nil && after != nil {
		if err := after(); err != nil {
			return nil, err
		}
	}
	return res, err
}

func (l *faultyLog) Read(ctx context.Context, room string, seq uint64, n int) ([]chat.Record, error) {
	l.mu.Lock()
	read := l.read
	l.mu.Unlock()
	if read != nil {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return l.Log.Read(ctx, room, seq, n)
}

func newFaultyLog() *faultyLog {
	return &faultyLog{Log: chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1})}
}

func TestC2NothingIsShownOrAcknowledgedBeforeTheCommit(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		var committed time.Time
		log.set(func() error { time.Sleep(3 * time.Second); committed = time.Now(); return nil }, nil, nil)
		_, err := alice.Publish(t.Context(), "lobby", "slow")
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Empty(t, texts(bob))
		assert.Equal(t, 1, alice.Unacknowledged())
		expect[*chat.Message](bob, nil)
		assert.False(t, time.Now().Before(committed))
		expect[*chat.Sent](alice, nil)
	})
}

func TestC2ACommitThatFailsIsNotShown(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		log.set(func() error { return errBroken }, nil, nil)
		id, err := alice.Publish(t.Context(), "lobby", "lost")
		require.NoError(t, err)
		r := expect[*chat.Rejected](alice, nil)
		assert.Equal(t, id, r.ID)
		assert.Equal(t, rpc.Unavailable, r.Code)
		assert.NotContains(t, r.Reason, errBroken.Error(), "what went wrong inside stays inside")
		log.set(func() error { return &chat.Error{Code: rpc.ResourceExhausted, Reason: "the disk is full"} }, nil, nil)
		_, err = alice.Publish(t.Context(), "lobby", "refused")
		require.NoError(t, err)
		r = expect[*chat.Rejected](alice, nil)
		assert.Equal(t, rpc.ResourceExhausted, r.Code)
		assert.Equal(t, "the disk is full", r.Reason)
		expectNothing[*chat.Message](bob)
		log.set(nil, nil, nil)
		assert.Equal(t, uint64(1), alice.say("lobby", "works again").Position.Seq)
		assert.Equal(t, "works again", expect[*chat.Message](bob, nil).Text)
	})
}

// The outcome of a commit is not known to the server: it goes back to what the log says.
func TestC2ACommitOfUnknownOutcome(t *testing.T) {
	log := newFaultyLog()
	log.watch = deaf
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		log.set(nil, func() error { return errBroken }, nil)
		_, err := alice.Publish(t.Context(), "lobby", "there after all")
		require.NoError(t, err)
		assert.Equal(t, "there after all", expect[*chat.Message](bob, nil).Text)
		assert.Equal(t, uint64(1), expect[*chat.Sent](alice, nil).Position.Seq, "who has published it is told where it is, and not shown it")
		expectNothing[*chat.Message](alice)
		log.set(nil, nil, nil)
		assert.Equal(t, uint64(2), alice.say("lobby", "next").Position.Seq)
	})
}

// However many messages were refused as Unavailable before, and are not in the log, one that is there after all is told.
func TestC4AnUnavailableMessageIsToldAfterManyThatWereNot(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		s := h.net.Dial(h.srv, "alice", transport.Config{})
		c, err := chat.NewClient(t.Context(), s, chat.ClientConfig{MaxUnacknowledged: 2})
		require.NoError(t, err)
		require.NoError(t, c.Join(t.Context(), "lobby", chat.Live()))
		next := func(want chat.Event) {
			for {
				e, err := c.Next(t.Context())
				require.NoError(t, err)
				if reflect.TypeOf(e) == reflect.TypeOf(want) {
					return
				}
			}
		}
		next(&chat.Joined{})
		log.set(func() error { return &chat.Error{Code: rpc.Unavailable, Reason: "not now"} }, nil, nil)
		for range 5 {
			_, err := c.Publish(t.Context(), "lobby", "refused")
			require.NoError(t, err)
			next(&chat.Rejected{})
		}
		log.set(nil, func() error { return errBroken }, nil)
		_, err = c.Publish(t.Context(), "lobby", "there after all")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			e, err := c.Next(ctx)
			require.NoError(t, err)
			if sent, ok := e.(*chat.Sent); ok {
				assert.Equal(t, uint64(1), sent.Position.Seq)
				return
			}
		}
	})
}

func TestPublishesThatWaitAreCommittedTogether(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		log.set(func() error { time.Sleep(time.Second); return nil }, nil, nil)
		for i := range 100 {
			_, err := alice.Publish(t.Context(), "lobby", strconv.Itoa(i))
			require.NoError(t, err)
		}
		alice.waitFor("acknowledgements", func([]chat.Event, error) bool { return alice.Unacknowledged() == 0 })
		assert.Less(t, len(log.batches), 5, "%v", log.batches)
	})
}

func TestC3AMessageSentAgainHasItsFirstPosition(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		session := h.net.Dial(h.srv, "alice", transport.Config{})
		r := openRaw(t, session)
		r.write(joinFrame("lobby"), publishFrame("lobby", "a", "one"), publishFrame("lobby", "b", "two"), publishFrame("lobby", "a", "one"), publishFrame("lobby", "a", "changed"))
		r.readInto(0x09, new(chatpb.Joined))
		var acks []string
		collect := func(r *raw, n int) {
			for len(acks) < n {
				switch typ, body := r.read(); typ {
				case 0x0f:
					var m chatpb.PubAck
					require.NoError(t, protoUnmarshal(body, &m))
					for i, id := range m.GetMessageIds() {
						acks = append(acks, fmt.Sprintf("%s %d:%d %t", id, m.GetEpoch(), m.GetSeq()+uint64(i), m.GetDuplicate()))
					}
				case 0x0d:
					var m chatpb.Rejected
					require.NoError(t, protoUnmarshal(body, &m))
					acks = append(acks, fmt.Sprintf("%s %s", m.GetMessageId(), rpc.Code(m.GetCode())))
				}
			}
		}
		collect(r, 4)
		// On a new stream, and on a session of another device with the same outbox.
		again := openRaw(t, session)
		other := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
		for _, r := range []*raw{again, other} {
			r.write(joinFrame("lobby"), publishFrame("lobby", "b", "two"))
			collect(r, len(acks)+1)
		}
		assert.Equal(t, []string{"a 1:1 false", "b 1:2 false", "a 1:1 true", "a AlreadyExists", "b 1:2 true", "b 1:2 true"}, acks)
		bob := h.joinOn(h.net.Dial(h.srv, "bob", transport.Config{}), "bob")
		assert.Equal(t, uint64(2), bob.join("lobby", chat.Live()).Head)
	})
}

func TestAnotherServerWasFirst(t *testing.T) { // C1, C4
	log := newFaultyLog()
	log.watch = deaf
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		for round := range 3 {
			foreign := sync.OnceFunc(func() {
				s, err := log.State(context.Background(), "lobby")
				assert.NoError(t, err)
				_, err = log.Log.Append(context.Background(), "lobby", s.Head, []chat.Entry{{From: "carol", ID: strconv.Itoa(round), Body: []byte("first")}}, nil)
				assert.NoError(t, err)
			})
			log.set(func() error { foreign(); return nil }, nil, nil)
			assert.Equal(t, uint64(2*round+2), alice.say("lobby", "second").Position.Seq)
			assert.Equal(t, "first", expect[*chat.Message](bob, nil).Text)
			assert.Equal(t, "second", expect[*chat.Message](bob, nil).Text)
		}
		alice.waitFor("carol's", func(events []chat.Event, _ error) bool { return lastSeq(events) == 5 })
	})
}

// A log may have anything for a name.
func TestC4ASenderThatIsNotUTF8IsNoGap(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		_, err := log.Append(t.Context(), "lobby", 0, []chat.Entry{{From: "\xffbob", ID: "\xff", Body: []byte("\xff")}, {ID: "i", Body: []byte("x")}}, nil)
		require.NoError(t, err)
		log.set(func() error { return &chat.Error{Code: rpc.ResourceExhausted, Reason: "\xff is full"} }, nil, nil)
		alice := h.joinOn(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		alice.join("lobby", chat.Last(2))
		m := expect[*chat.Message](alice, nil)
		assert.Equal(t, "\ufffdbob", m.From)
		assert.Equal(t, "\xff", m.ID)
		assert.Equal(t, "\xff", m.Text)
		assert.Empty(t, expect[*chat.Message](alice, nil).From)
		_, err = alice.Publish(t.Context(), "lobby", "x")
		require.NoError(t, err)
		assert.Equal(t, "\ufffd is full", expect[*chat.Rejected](alice, nil).Reason)
	})
}

func TestNewsOfAppendsMayComeInAnyOrder(t *testing.T) { // C1
	log := newFaultyLog()
	log.watch = func(room string, moved func(uint64)) func() {
		return log.Log.Watch(room, func(head uint64) {
			moved(head)
			moved(head - 1)
		})
	}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		h.start(chat.Config{Log: log})
		bob := h.join("bob", "lobby")
		for range 10 {
			sent := alice.say("lobby", "x")
			assert.Equal(t, sent.Position, expect[*chat.Message](bob, nil).Position)
		}
	})
}
