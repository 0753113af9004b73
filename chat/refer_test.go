package chat_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// done waits for the acknowledgement of a request.
func (u *user) done(id string, err error) *chat.Sent {
	u.t.Helper()
	require.NoError(u.t, err)
	return expect(u, func(e *chat.Sent) bool { return e.ID == id })
}

// refused waits for the rejection of a request.
func (u *user) refused(id string, err error) rpc.Code {
	u.t.Helper()
	require.NoError(u.t, err)
	return expect(u, func(e *chat.Rejected) bool { return e.ID == id }).Code
}

// appoint gives somebody a role in a room, behind the server's back.
func appoint(t *testing.T, log chat.Log, room, who string, role chat.Role) {
	t.Helper()
	s, err := log.State(t.Context(), room)
	require.NoError(t, err)
	_, err = log.Append(t.Context(), room, s.Head, []chat.Entry{{From: who, ID: "appointed", Kind: 99}}, fmt.Appendf(nil, `{"settings":{"roles":{%q:%q}}}`, who, role))
	require.NoError(t, err)
}

// M110 to M113: who may do what to a text, and what the answer is otherwise.
func TestM110RecordsThatRefer(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		ctx := t.Context()
		appoint(t, log, "lobby", "carol", chat.RoleChair)
		alice, bob, carol := h.join("alice", "lobby"), h.join("bob", "lobby"), h.join("carol", "lobby")
		one := alice.say("lobby", "one").Position.Seq
		edit := alice.done(alice.Edit(ctx, "lobby", one, "uno")).Position
		e := expect[*chat.Edited](bob, nil)
		assert.Equal(t, chat.Edited{Room: "lobby", Position: edit, By: "alice", Time: e.Time, Ref: one, Text: "uno"}, *e)
		assert.WithinDuration(t, time.Now(), e.Time, time.Minute)

		assert.Equal(t, rpc.PermissionDenied, bob.refused(bob.Edit(ctx, "lobby", one, "x")))
		assert.Equal(t, rpc.PermissionDenied, carol.refused(carol.Edit(ctx, "lobby", one, "x")))
		assert.Equal(t, rpc.PermissionDenied, bob.refused(bob.Delete(ctx, "lobby", one)))
		for _, seq := range []uint64{edit.Seq, 100, 1 << 63, 1<<64 - 1} { // no text, and none yet
			assert.Equal(t, rpc.NotFound, alice.refused(alice.Edit(ctx, "lobby", seq, "x")))
			assert.Equal(t, rpc.NotFound, carol.refused(carol.Delete(ctx, "lobby", seq)))
			assert.Equal(t, rpc.NotFound, bob.refused(bob.React(ctx, "lobby", seq, "+")))
		}

		react := bob.done(bob.React(ctx, "lobby", one, "👍")).Position
		r := expect[*chat.Reacted](alice, nil)
		assert.Equal(t, chat.Reacted{Room: "lobby", Position: react, By: "bob", Time: r.Time, Ref: one, Text: "👍"}, *r)
		assert.Equal(t, rpc.AlreadyExists, bob.refused(bob.React(ctx, "lobby", one, "👍")))
		bob.done(bob.React(ctx, "lobby", one, "+"))
		alice.done(alice.React(ctx, "lobby", one, "👍"))
		assert.Equal(t, rpc.NotFound, carol.refused(carol.Unreact(ctx, "lobby", one, "👍")), "it is others'")
		bob.done(bob.Unreact(ctx, "lobby", one, "👍"))
		assert.True(t, expect(alice, func(r *chat.Reacted) bool { return r.Text == "👍" }).Back)
		assert.Equal(t, rpc.NotFound, bob.refused(bob.Unreact(ctx, "lobby", one, "👍")))
		bob.done(bob.React(ctx, "lobby", one, "👍"))

		deleted := carol.done(carol.Delete(ctx, "lobby", one)).Position
		d := expect[*chat.Deleted](alice, nil)
		assert.Equal(t, chat.Deleted{Room: "lobby", Position: deleted, By: "carol", Time: d.Time, Ref: one}, *d)
		for _, err := range []rpc.Code{
			alice.refused(alice.Edit(ctx, "lobby", one, "x")),
			alice.refused(alice.Delete(ctx, "lobby", one)),
			bob.refused(bob.React(ctx, "lobby", one, "-")),
			bob.refused(bob.Unreact(ctx, "lobby", one, "+")),
		} {
			assert.Equal(t, rpc.FailedPrecondition, err)
		}
		two := bob.say("lobby", "two").Position.Seq
		bob.done(bob.Delete(ctx, "lobby", two))
	})
}

// M111: what is wrong by itself is refused by the client, and by the server to those who ask all the same.
func TestM111WhatIsWrongByItself(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		ctx := t.Context()
		alice := h.join("alice", "lobby")
		one := alice.say("lobby", "one").Position.Seq
		for _, text := range []string{"", "\x1b", "\u202e", "\xff", "a\nb", strings.Repeat("x", 65)} {
			_, err := alice.React(ctx, "lobby", one, text)
			assert.Equal(t, rpc.InvalidArgument, chat.CodeOf(err), "%q", text)
			_, err = alice.Unreact(ctx, "lobby", one, text)
			assert.Equal(t, rpc.InvalidArgument, chat.CodeOf(err), "%q", text)
		}
		for _, text := range []string{"👩‍👩‍👧", "🏴\U000e0067\U000e0062\U000e007f", "❤️", strings.Repeat("x", 64)} {
			alice.done(alice.React(ctx, "lobby", one, text))
		}
		_, err := alice.Edit(ctx, "lobby", one, "")
		assert.Equal(t, rpc.InvalidArgument, chat.CodeOf(err))
		_, err = alice.Delete(ctx, "lobby", 0)
		assert.Equal(t, rpc.InvalidArgument, chat.CodeOf(err))

		r := openRaw(t, h.net.Dial(h.srv, "mallory", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		for _, e := range []*chatpb.Entry{
			{Kind: 0, Ref: 1, Body: []byte("x")},
			{Kind: 1, Ref: 0, Body: []byte("x")},
			{Kind: 1, Ref: 1},
			{Kind: 2, Ref: 0},
			{Kind: 2, Ref: 1, Body: []byte("x")},
			{Kind: 3, Ref: 0, Body: []byte("x")},
			{Kind: 3, Ref: 1},
			{Kind: 3, Ref: 1, Body: []byte("\x9b")},
			{Kind: 4, Ref: 1, Body: make([]byte, 65)},
		} {
			e.MessageId = []byte("i")
			r.write(frame(0x05, &chatpb.Publish{Room: []byte("lobby"), Producer: make([]byte, 16), Entries: []*chatpb.Entry{e}}))
			var m chatpb.Rejected
			r.readInto(0x0d, &m)
			assert.Equal(t, uint32(rpc.InvalidArgument), m.GetCode(), "%v", e)
		}
	})
}

// countingLog counts the calls of Find.
type countingLog struct {
	*faultyLog
	finds atomic.Int64
}

func (l *countingLog) Find(ctx context.Context, room string, entries []chat.Entry) (chat.State, []chat.Found, error) {
	l.finds.Add(1)
	return l.faultyLog.Find(ctx, room, entries)
}

// answers reads the answers to n entries, as their codes; 0 is an acknowledgement, 100 that of a duplicate. The second for an
// id stands behind it and a prime.
func (r *raw) answers(n int) map[string]int {
	r.t.Helper()
	out := make(map[string]int)
	note := func(id []byte, code int) {
		if _, again := out[string(id)]; again {
			id = append(id, '\'')
		}
		out[string(id)] = code
	}
	for len(out) < n {
		switch typ, body := r.read(); typ {
		case 0x0f:
			var m chatpb.PubAck
			require.NoError(r.t, proto.Unmarshal(body, &m))
			for _, id := range m.GetMessageIds() {
				note(id, map[bool]int{true: 100}[m.GetDuplicate()])
			}
		case 0x0d:
			var m chatpb.Rejected
			require.NoError(r.t, proto.Unmarshal(body, &m))
			note(m.GetMessageId(), int(m.GetCode()))
		}
	}
	return out
}

// M112: what is published together is judged as if it had come one after the other, and is still appended in one step.
func TestM112OneBatchIsJudgedInItsOrder(t *testing.T) {
	log := &countingLog{faultyLog: newFaultyLog()}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		bob.say("lobby", "of bob")
		r := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		var entries []*chatpb.Entry
		add := func(id string, kind chat.Kind, ref uint64, body string) {
			entries = append(entries, &chatpb.Entry{MessageId: []byte(id), Kind: uint64(kind), Ref: ref, Body: []byte(body)})
		}
		publish := func() map[string]int {
			n := len(entries)
			r.write(frame(0x05, &chatpb.Publish{Room: []byte("lobby"), Producer: make([]byte, 16), Entries: entries}))
			entries = nil
			return r.answers(n)
		}
		add("a", chat.KindText, 0, "first")
		assert.Equal(t, map[string]int{"a": 0}, publish()) // 2
		finds := log.finds.Load()
		log.set(nil, nil, nil)
		before := len(log.batches)

		add("x0", chat.KindEdit, 3, "of what comes next")
		add("a", chat.KindText, 0, "first")  // a duplicate, which has its place already
		add("b", chat.KindText, 0, "second") // 3
		add("b1", chat.KindEdit, 3, "zwei")  // 4
		add("b2", chat.KindReact, 3, "+")    // 5
		add("x1", chat.KindReact, 3, "+")
		add("b3", chat.KindUnreact, 3, "+") // 6
		add("b4", chat.KindReact, 3, "+")   // 7
		add("x2", chat.KindEdit, 4, "of an edit")
		add("x3", chat.KindEdit, 1, "of bob's")
		add("b5", chat.KindDelete, 3, "") // 8
		add("x4", chat.KindEdit, 3, "too late")
		add("x5", chat.KindDelete, 3, "")
		add("c", chat.KindText, 0, "third") // 9
		add("c1", chat.KindEdit, 9, "drei") // 10
		add("x6", chat.KindEdit, 12, "beyond")
		notFound, failed := int(rpc.NotFound), int(rpc.FailedPrecondition)
		assert.Equal(t, map[string]int{
			"a": 100, "b": 0, "b1": 0, "b2": 0, "b3": 0, "b4": 0, "b5": 0, "c": 0, "c1": 0,
			"x0": notFound, "x1": int(rpc.AlreadyExists), "x2": notFound, "x3": int(rpc.PermissionDenied), "x4": failed, "x5": failed, "x6": notFound,
		}, publish())
		assert.Equal(t, finds+1, log.finds.Load())
		assert.Len(t, log.batches, before+1, "one commit")
		var bodies []string
		records, err := log.Read(t.Context(), "lobby", 1, 1<<20)
		require.NoError(t, err)
		for _, rec := range records {
			bodies = append(bodies, string(rec.Body))
		}
		assert.Equal(t, []string{"of bob", "first", "", "", "+", "+", "+", "", "third", "drei"}, bodies)

		// C3 comes first: what was acknowledged is so again, whatever has become of its text; also twice in a batch.
		add("b1", chat.KindEdit, 3, "zwei")
		add("b2", chat.KindReact, 3, "+")
		add("d", chat.KindReact, 9, "+")
		add("d", chat.KindReact, 9, "+")
		assert.Equal(t, map[string]int{"b1": 100, "b2": 100, "d": 0, "d'": 100}, publish())
		add("d", chat.KindReact, 9, "+")
		add("b1", chat.KindEdit, 3, "drei")
		assert.Equal(t, map[string]int{"d": 100, "b1": int(rpc.AlreadyExists)}, publish())

		// Who refers to nothing costs no look at the log.
		finds = log.finds.Load()
		add("e", chat.KindText, 0, "fourth")
		assert.Equal(t, map[string]int{"e": 0}, publish())
		assert.Equal(t, finds, log.finds.Load())
	})
}

// M113: what refers to one text is bounded.
func TestM113ReactionsToOneTextAreBounded(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		ctx := t.Context()
		alice := h.join("alice", "lobby")
		one := alice.say("lobby", "one").Position.Seq
		for i := range 50 {
			alice.done(alice.React(ctx, "lobby", one, fmt.Sprint(i)))
			alice.done(alice.Unreact(ctx, "lobby", one, fmt.Sprint(i)))
		}
		assert.Equal(t, rpc.ResourceExhausted, alice.refused(alice.React(ctx, "lobby", one, "x")))
		for n := range 19 {
			u := h.join(fmt.Sprint("u", n), "lobby")
			for i := range 50 {
				u.done(u.React(ctx, "lobby", one, fmt.Sprint(i)))
			}
		}
		bob := h.join("bob", "lobby")
		assert.Equal(t, rpc.ResourceExhausted, bob.refused(bob.React(ctx, "lobby", one, "x")))
		two := alice.say("lobby", "two").Position.Seq
		alice.done(alice.React(ctx, "lobby", two, "x"))
		for i := range 1000 {
			alice.done(alice.Edit(ctx, "lobby", two, fmt.Sprint(i)))
		}
		assert.Equal(t, rpc.ResourceExhausted, alice.refused(alice.Edit(ctx, "lobby", two, "x")))
		alice.done(alice.Delete(ctx, "lobby", two))
	})
}

// M114: a delete takes the text from the log and from what the server has in memory, and every position is still there (C1).
func TestM114WhatWasDeletedIsNotShownAgain(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		ctx := t.Context()
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		bob.say("lobby", "hello")
		two := alice.say("lobby", "a SECRET")
		alice.done(alice.Edit(ctx, "lobby", two.Position.Seq, "still a SECRET"))
		bob.say("lobby", "nice")
		alice.say("lobby", "indeed")
		alice.done(alice.Delete(ctx, "lobby", two.Position.Seq))
		assert.Contains(t, texts(bob), "a SECRET", "who was there has seen it")

		replay := func(u *user) {
			t.Helper()
			u.join("lobby", chat.Last(10))
			assert.Equal(t, "hello", expect[*chat.Message](u, nil).Text)
			e := expect[*chat.Erased](u, nil)
			assert.Equal(t, chat.Erased{Room: "lobby", Position: two.Position, From: "alice", Time: e.Time, ID: two.ID}, *e)
			e = expect[*chat.Erased](u, nil)
			assert.Equal(t, [3]any{uint64(3), "alice", two.Position.Seq}, [3]any{e.Position.Seq, e.From, e.Ref})
			m := expect[*chat.Message](u, nil)
			assert.Equal(t, [2]any{"bob", "nice"}, [2]any{m.From, m.Text})
			m = expect[*chat.Message](u, nil)
			assert.Equal(t, [2]any{"alice", "indeed"}, [2]any{m.From, m.Text})
			d := expect[*chat.Deleted](u, nil)
			assert.Equal(t, [2]uint64{6, two.Position.Seq}, [2]uint64{d.Position.Seq, d.Ref})
		}
		carol := h.join("carol") // from the ring
		replay(carol)
		page, err := chat.History.Call(ctx, carol.session, &chat.HistoryRequest{Room: "lobby"})
		require.NoError(t, err)
		var events []chat.Event
		for i := range page.Records {
			events = append(events, page.Records[i].Event("lobby"))
		}
		assert.Equal(t, events, slices.DeleteFunc(all[chat.Event](carol), func(e chat.Event) bool {
			_, ok := chat.PositionOf(e)
			return !ok
		}), "a page has what a replay has")
		r := openRaw(t, h.net.Dial(h.srv, "dora", transport.Config{}))
		r.write(frame(0x01, &chatpb.Join{Room: []byte("lobby"), From: &chatpb.Join_Last{Last: 10}}))
		r.readInto(0x09, new(chatpb.Joined))
		_, body := r.read()
		assert.Contains(t, string(body), "nice")
		assert.NotContains(t, string(body), "SECRET")

		other := &house{t: t, net: h.net}
		other.start(chat.Config{Log: log})
		replay(other.join("erin")) // from the log
	})
}

// M114, with two servers on a log: one that was not told of the delete does not show the text to who joins, and refuses what refers to it.
func TestM114AnotherServerDoesNotShowIt(t *testing.T) {
	log := &faultyLog{Log: newLog(), watch: deaf}
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		ctx := t.Context()
		alice := h.join("alice", "lobby")
		other := &house{t: t, net: h.net}
		other.start(chat.Config{Log: log})
		bob := other.join("bob", "lobby")
		alice2 := other.join("alice", "lobby")
		one := alice2.say("lobby", "SECRET")
		two := alice2.say("lobby", "two")
		assert.Equal(t, "two", expect(bob, func(m *chat.Message) bool { return m.Text == "two" }).Text)
		alice.done(alice.Delete(ctx, "lobby", one.Position.Seq))
		assert.Empty(t, all[*chat.Deleted](bob), "it was not told")
		carol := other.join("carol")
		carol.join("lobby", chat.Last(10))
		assert.Equal(t, one.Position, expect[*chat.Erased](carol, nil).Position)
		assert.Equal(t, two.Position, expect[*chat.Message](carol, nil).Position)
		expect[*chat.Deleted](carol, nil)
		expect[*chat.Deleted](bob, nil)

		alice.done(alice.Delete(ctx, "lobby", two.Position.Seq))
		assert.Equal(t, rpc.FailedPrecondition, alice2.refused(alice2.Edit(ctx, "lobby", two.Position.Seq, "x")))
		// Between the look at the log and the append.
		three := alice.say("lobby", "three")
		var once atomic.Bool
		log.set(func() error {
			if once.CompareAndSwap(false, true) {
				s, err := log.State(ctx, "lobby")
				require.NoError(t, err)
				_, err = log.Log.Append(ctx, "lobby", s.Head, []chat.Entry{{From: "alice", ID: "d", Kind: chat.KindDelete, Ref: three.Position.Seq}}, nil)
				require.NoError(t, err)
			}
			return nil
		}, nil, nil)
		assert.Equal(t, rpc.FailedPrecondition, alice2.refused(alice2.Edit(ctx, "lobby", three.Position.Seq, "x")))
	})
}

// A told room is what somebody has made of a room's records.
type toldRoom map[uint64]*toldText

type toldText struct {
	text      string
	deleted   bool
	reactions map[string]bool
}

func (r toldRoom) tell(kind chat.Kind, by string, seq, ref uint64, text string) {
	switch kind {
	case chat.KindText:
		r[seq] = &toldText{text: text, reactions: make(map[string]bool)}
	case chat.KindEdit:
		if !r[ref].deleted {
			r[ref].text = text
		}
	case chat.KindDelete:
		*r[ref] = toldText{deleted: true}
	case chat.KindReact:
		if !r[ref].deleted {
			r[ref].reactions[by+text] = true
		}
	case chat.KindUnreact:
		if !r[ref].deleted {
			delete(r[ref].reactions, by+text)
		}
	default:
	}
}

// told makes the room of a user's events, and of what the user has published, by its ids; by their positions, for an
// acknowledgement may overtake what others have published before.
func told(u *user, published map[string]chat.Entry) toldRoom {
	entries := make(map[uint64]chat.Entry)
	for _, e := range all[chat.Event](u) {
		switch e := e.(type) {
		case *chat.Message:
			entries[e.Position.Seq] = chat.Entry{From: e.From, Body: []byte(e.Text)}
		case *chat.Erased:
			if e.Ref == 0 {
				entries[e.Position.Seq] = chat.Entry{From: e.From}
			}
		case *chat.Edited:
			entries[e.Position.Seq] = chat.Entry{Kind: chat.KindEdit, From: e.By, Ref: e.Ref, Body: []byte(e.Text)}
		case *chat.Deleted:
			entries[e.Position.Seq] = chat.Entry{Kind: chat.KindDelete, From: e.By, Ref: e.Ref}
		case *chat.Reacted:
			kind := chat.KindReact
			if e.Back {
				kind = chat.KindUnreact
			}
			entries[e.Position.Seq] = chat.Entry{Kind: kind, From: e.By, Ref: e.Ref, Body: []byte(e.Text)}
		case *chat.Sent:
			p := published[e.ID]
			p.From = u.name
			entries[e.Position.Seq] = p
		}
	}
	r := make(toldRoom)
	for _, seq := range slices.Sorted(maps.Keys(entries)) {
		e := entries[seq]
		r.tell(e.Kind, e.From, seq, e.Ref, string(e.Body))
	}
	return r
}

// C7: whoever was there, with whatever breaks, and whoever comes later know the same of every text, and that is what a model
// knows which has only what was acknowledged. Nobody who joins behind a delete sees what it took (M114).
func TestC7ReplaysTellWhatLiveEventsTold(t *testing.T) {
	deleted := 0
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			log := newLog()
			bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) { deleted += randomEdits(t, h, log, seed) })
		})
	}
	require.Positive(t, deleted, "in all: a seed in which nobody deletes anything is rare, but there are such")
}

// randomEdits returns how many texts were deleted.
func randomEdits(t *testing.T, h *house, log chat.Log, seed uint64) (deleted int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	appoint(t, log, "lobby", "u0", chat.RoleChair)
	var rovers []*rover
	published := make([]map[string]chat.Entry, 3)
	for i := range published {
		rovers = append(rovers, h.rover(fmt.Sprint("u", i), "lobby"))
		published[i] = make(map[string]chat.Entry)
	}
	var late []*user
	for n := range 300 {
		i := random.IntN(len(rovers))
		r, ref := rovers[i], uint64(random.IntN(n+2)+1)
		e := chat.Entry{Kind: chat.Kind(random.IntN(5)), Ref: ref}
		var id string
		var err error
		switch e.Kind {
		case chat.KindEdit:
			e.Body = fmt.Appendf(nil, "edited %d", n)
			id, err = r.Edit(t.Context(), "lobby", ref, string(e.Body))
		case chat.KindDelete:
			id, err = r.Delete(t.Context(), "lobby", ref)
		case chat.KindReact:
			e.Body = []byte([]string{"+", "-"}[random.IntN(2)])
			id, err = r.React(t.Context(), "lobby", ref, string(e.Body))
		case chat.KindUnreact:
			e.Body = []byte([]string{"+", "-"}[random.IntN(2)])
			id, err = r.Unreact(t.Context(), "lobby", ref, string(e.Body))
		default:
			e.Ref, e.Body = 0, fmt.Appendf(nil, "said %d", n)
			id, err = r.Publish(t.Context(), "lobby", string(e.Body))
		}
		require.NoError(t, err)
		published[i][id] = e
		switch random.IntN(20) {
		case 0:
			r.cut(random.IntN(2) == 0)
		case 1:
			h.net.Drop(nil)
		case 2:
			h.restart(log)
		case 3:
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			u := h.rover(fmt.Sprint("late", n)).user
			if len(late) < 3 {
				u.join("lobby", chat.Last(1<<40))
				late = append(late, u)
			}
		}
	}
	h.net.Drop(nil)
	time.Sleep(5 * time.Minute)
	state, err := log.State(t.Context(), "lobby")
	require.NoError(t, err)
	records, err := log.Read(t.Context(), "lobby", 1, 1<<30)
	require.NoError(t, err)
	require.Len(t, records, int(state.Head))

	// The model: the rules, and nothing of the log's but the order.
	model := make(toldRoom)
	author := make(map[uint64]string)
	for _, rec := range records[1:] {
		if rec.Kind == chat.KindText {
			author[rec.Seq] = rec.From
		} else {
			require.Contains(t, model, rec.Ref)
			require.False(t, model[rec.Ref].deleted, "%v", rec)
		}
		switch has := rec.Kind != chat.KindText && model[rec.Ref].reactions[rec.From+string(rec.Body)]; rec.Kind {
		case chat.KindEdit:
			require.Equal(t, author[rec.Ref], rec.From)
		case chat.KindDelete:
			require.Contains(t, []string{author[rec.Ref], "u0"}, rec.From)
		case chat.KindReact:
			require.False(t, has)
		case chat.KindUnreact:
			require.True(t, has)
		default:
		}
		model.tell(rec.Kind, rec.From, rec.Seq, rec.Ref, string(rec.Body))
	}
	for _, text := range model {
		if text.deleted {
			deleted++
		}
	}
	fresh := h.join("fresh")
	fresh.join("lobby", chat.Last(1<<40))
	time.Sleep(time.Minute)
	for _, u := range append(late, fresh) {
		assert.Equal(t, model, told(u, nil), u.name)
	}
	for _, m := range all[*chat.Message](fresh) {
		assert.False(t, model[m.Position.Seq].deleted)
	}
	for _, e := range all[*chat.Edited](fresh) {
		assert.False(t, model[e.Ref].deleted)
	}
	for i, r := range rovers {
		require.Zero(t, r.Unacknowledged())
		assert.Equal(t, model, told(r.user, published[i]), r.name)
	}
	return deleted
}
