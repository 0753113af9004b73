package chat_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// M115: of those who expect one head exactly one wins, whichever server they are on, and a refusal says what the head is. So
// who counts on from the last line, and asks again when it was refused, loses no count.
func TestM115OfThoseWhoExpectOneHeadOneWins(t *testing.T) {
	log := &faultyLog{Log: newLog(), watch: deaf} // a server learns of the other's by its refusals alone
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		const writers, each = 6, 5
		other := &house{t: t, net: h.net}
		other.start(chat.Config{Log: log})
		refused := make(chan int, writers)
		for i := range writers {
			u := []*house{h, other}[i%2].join(fmt.Sprint("u", i), "counter")
			go func() {
				var head chat.Position
				n := 0
				for won := 0; won < each; {
					id, err := u.PublishAt(t.Context(), "counter", head, strconv.Itoa(int(head.Seq)+1))
					assert.NoError(t, err)
					u.waitFor("an answer", func(events []chat.Event, _ error) bool {
						for _, e := range events {
							switch e := e.(type) {
							case *chat.Sent:
								if e.ID == id {
									assert.Equal(t, head.Seq+1, e.Position.Seq)
									head = e.Position
									won++
									return true
								}
							case *chat.Rejected:
								if e.ID == id {
									assert.Equal(t, rpc.Aborted, e.Code)
									assert.Greater(t, e.Head, head.Seq)
									head = chat.Position{Epoch: e.Epoch, Seq: e.Head}
									n++
									return true
								}
							}
						}
						return false
					})
				}
				refused <- n
			}()
		}
		total := 0
		for range writers {
			total += <-refused
		}
		assert.Positive(t, total)
		records, err := log.Read(t.Context(), "counter", 1, 1<<20)
		require.NoError(t, err)
		require.Len(t, records, writers*each)
		for i, rec := range records {
			assert.Equal(t, strconv.Itoa(i+1), string(rec.Body))
		}
	})
}

// publishAt is a PUBLISH with an expectation.
func publishAt(head *chatpb.Cursor, entries ...*chatpb.Entry) []byte {
	return frame(0x05, &chatpb.Publish{Room: []byte("lobby"), Producer: make([]byte, 16), Entries: entries, ExpectHead: head})
}

func text(id, body string) *chatpb.Entry {
	return &chatpb.Entry{MessageId: []byte(id), Body: []byte(body)}
}

// M116: one PUBLISH is appended as a whole or not at all, and sent again it is a duplicate, whatever the head is by then (C3).
func TestM116APublishThatExpectsAHeadIsOne(t *testing.T) {
	log := newFaultyLog()
	allow := 100
	cfg := chat.Config{Log: log, AllowLines: func(_ certs.ID, n int) int { return min(n, allow) }}
	bubble(t, cfg, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		bob.say("lobby", "of bob") // 1
		r := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		aborted, notAllowed, again := int(rpc.Aborted), int(rpc.PermissionDenied), 100
		ask := func(head *chatpb.Cursor, entries ...*chatpb.Entry) map[string]int {
			r.write(publishAt(head, entries...))
			return r.answers(len(entries))
		}
		for _, head := range []*chatpb.Cursor{{}, {Seq: 2}, {Epoch: 2, Seq: 1}, {Epoch: 1}, {Epoch: 1, Seq: 1<<64 - 1}} {
			assert.Equal(t, map[string]int{"a": aborted}, ask(head, text("a", "x")), head)
		}
		edit := func(id string, ref uint64) *chatpb.Entry {
			return &chatpb.Entry{MessageId: []byte(id), Body: []byte("edited"), Kind: 1, Ref: ref}
		}
		assert.Equal(t, map[string]int{"a": aborted, "b": notAllowed, "c": aborted}, ask(&chatpb.Cursor{Seq: 1}, text("a", "x"), edit("b", 1), text("c", "y")))
		assert.Equal(t, map[string]int{"a": aborted, "b": int(rpc.InvalidArgument)}, ask(&chatpb.Cursor{Seq: 1}, text("a", "x"), text("b", "")))
		assert.Equal(t, map[string]int{"a": aborted, "a'": aborted}, ask(&chatpb.Cursor{Seq: 1}, text("a", "x"), text("a", "y")))
		allow = 1
		assert.Equal(t, map[string]int{"a": aborted, "b": int(rpc.ResourceExhausted)}, ask(&chatpb.Cursor{Seq: 1}, text("a", "x"), text("b", "y")))
		allow = 1000
		var many []*chatpb.Entry
		for i := range 300 {
			many = append(many, text(fmt.Sprint("m", i), "x"))
		}
		tooMany := ask(&chatpb.Cursor{Seq: 1}, many...)
		assert.Equal(t, [2]int{aborted, int(rpc.InvalidArgument)}, [2]int{tooMany["m0"], tooMany["m299"]})

		assert.Equal(t, map[string]int{"a": 0, "b": 0, "c": 0}, ask(&chatpb.Cursor{Epoch: 1, Seq: 1}, text("a", "x"), edit("b", 2), text("c", "y")))
		assert.Equal(t, map[string]int{"a": again, "b": again, "c": again}, ask(&chatpb.Cursor{Epoch: 1, Seq: 1}, text("a", "x"), edit("b", 2), text("c", "y")))
		assert.Equal(t, map[string]int{"a": again, "d": aborted}, ask(&chatpb.Cursor{Seq: 1}, text("a", "x"), text("d", "z")))
		assert.Equal(t, map[string]int{"a": int(rpc.AlreadyExists), "d": aborted}, ask(&chatpb.Cursor{Seq: 4}, text("a", "changed"), text("d", "z")))
		assert.Equal(t, map[string]int{"a": again, "d": 0}, ask(&chatpb.Cursor{Seq: 4}, text("a", "x"), text("d", "z")))

		records, err := log.Read(t.Context(), "lobby", 1, 1<<20)
		require.NoError(t, err)
		var bodies []string
		for _, rec := range records {
			bodies = append(bodies, string(rec.Body))
		}
		assert.Equal(t, []string{"of bob", "x", "edited", "y", "z"}, bodies)
		r.write(publishAt(&chatpb.Cursor{Seq: 3}, text("e", "x")))
		for {
			typ, body := r.read()
			if typ != 0x0d {
				continue
			}
			var m chatpb.Rejected
			require.NoError(t, proto.Unmarshal(body, &m))
			assert.Equal(t, []uint64{1, 5}, []uint64{m.GetEpoch(), m.GetHead()})
			break
		}
	})
}

// An acknowledgement that is lost does not become a refusal by asking again.
func TestC3AnExpectedHeadIsNotAskedForTwice(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob, alice := h.join("bob", "lobby"), h.rover("alice", "lobby")
		one := bob.say("lobby", "one")
		alice.cut(true)
		id, err := alice.PublishAt(t.Context(), "lobby", one.Position, "two")
		require.NoError(t, err)
		two := expect[*chat.Message](bob, nil)
		bob.say("lobby", "three")
		sent := expect(alice.user, func(e *chat.Sent) bool { return e.ID == id })
		assert.Equal(t, two.Position, sent.Position)
		assert.Empty(t, all[*chat.Rejected](alice.user))
		assert.NotEmpty(t, all[*chat.Resumed](alice.user))
		// And one that has not come asks as it did: now its head is another.
		alice.cut(false)
		id, err = alice.PublishAt(t.Context(), "lobby", chat.Position{Seq: 3}, "four")
		require.NoError(t, err)
		bob.say("lobby", "four")
		assert.EqualValues(t, 4, expect(alice.user, func(e *chat.Rejected) bool { return e.ID == id && e.Code == rpc.Aborted }).Head)
	})
}

// M112, M116: a batch is answered, and appended, as its requests would be one after the other.
func TestM112ABatchIsAsOneAfterTheOther(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			var publishes [][]byte
			var counts []int
			for n := range 60 {
				var entries []*chatpb.Entry
				for range 1 + random.IntN(3) {
					e := &chatpb.Entry{MessageId: fmt.Append(nil, random.IntN(150)), Kind: uint64(random.IntN(5))}
					if e.GetKind() != 0 {
						e.Ref = 1 + uint64(random.IntN(2+n))
					}
					if e.GetKind() != 2 {
						e.Body = []byte([]string{"x", "y"}[random.IntN(2)])
					}
					entries = append(entries, e)
				}
				var head *chatpb.Cursor
				if random.IntN(2) == 0 {
					head = &chatpb.Cursor{Epoch: uint64(random.IntN(2)), Seq: uint64(random.IntN(2 + n/2))}
				}
				publishes, counts = append(publishes, publishAt(head, entries...)), append(counts, len(entries))
			}
			together, at := publishAll(t, publishes, counts, true)
			apart, alone := publishAll(t, publishes, counts, false)
			assert.Equal(t, apart, together)
			assert.Equal(t, alone, at)
			assert.Contains(t, strings.Join(apart, " "), "Aborted")
		})
	}
}

// publishAll publishes together, in one batch, or one after the other, and returns the answers, and what the log has then.
func publishAll(t *testing.T, publishes [][]byte, counts []int, together bool) (answers []string, bodies []string) {
	t.Helper()
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		r := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		if together {
			log.set(func() error { time.Sleep(time.Second); return nil }, nil, nil)
		}
		r.write(publishFrame("lobby", "first", "x"))
		if together {
			time.Sleep(100 * time.Millisecond) // it waits for the log, and the others for it
		} else {
			answers = r.answersInOrder(1)
		}
		total := 0
		for i, p := range publishes {
			r.write(p)
			total += counts[i]
			if !together {
				answers = append(answers, r.answersInOrder(counts[i])...)
			}
		}
		if together {
			answers = r.answersInOrder(total + 1)
			assert.Len(t, log.batches, 2)
		}
		records, err := log.Read(t.Context(), "lobby", 1, 1<<20)
		require.NoError(t, err)
		for _, rec := range records {
			bodies = append(bodies, fmt.Sprint(rec.ID, rec.Kind, rec.Ref, string(rec.Body)))
		}
	})
	return answers, bodies
}

// answersInOrder reads the answers to n entries.
func (r *raw) answersInOrder(n int) (out []string) {
	r.t.Helper()
	for len(out) < n {
		switch typ, body := r.read(); typ {
		case 0x0f:
			var m chatpb.PubAck
			require.NoError(r.t, proto.Unmarshal(body, &m))
			for i, id := range m.GetMessageIds() {
				out = append(out, fmt.Sprint(string(id), " at ", m.GetSeq()+uint64(i), m.GetDuplicate()))
			}
		case 0x0d:
			var m chatpb.Rejected
			require.NoError(r.t, proto.Unmarshal(body, &m))
			out = append(out, fmt.Sprint(string(m.GetMessageId()), rpc.Code(m.GetCode()), m.GetReason(), m.GetHead()))
		}
	}
	return out
}
