package chat_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// C1, C7: a change of the settings is a record like any other: all see it in the same place, and who comes later, also to
// another server on the same log, finds what it has made of the room.
func TestC1AChangeOfTheSettingsIsARecord(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log, Administrator: administrators("alice")}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		alice.say("lobby", "one")
		res, err := chat.SetTopic.Call(t.Context(), alice.session, &chat.SetTopicRequest{Room: "lobby", Topic: "tea"})
		require.NoError(t, err)
		for _, u := range []*user{alice, bob} {
			c := expect[*chat.Changed](u, nil)
			assert.Equal(t, chat.Position{Epoch: res.Epoch, Seq: 2}, c.Position)
			assert.Equal(t, [2]any{"alice", chat.Change{What: chat.ChangeTopic, Topic: "tea"}}, [2]any{c.By, c.Change})
		}
		bob.say("lobby", "three")
		assert.EqualValues(t, 3, expect[*chat.Message](alice, nil).Position.Seq)
		shown, err := chat.Show.Call(t.Context(), bob.session, &chat.ShowRequest{Room: "lobby"})
		require.NoError(t, err)
		assert.Equal(t, [3]any{uint64(3), uint64(1), "tea"}, [3]any{shown.Head, shown.First, shown.Settings.Topic})

		other := &house{t: t, net: h.net}
		other.start(chat.Config{Log: log, Administrator: administrators("carol")})
		carol := other.join("carol", "lobby")
		_, err = chat.SetTopic.Call(t.Context(), carol.session, &chat.SetTopicRequest{Room: "lobby", Topic: "coffee"})
		require.NoError(t, err)
		for _, u := range []*user{alice, bob, carol} {
			assert.Equal(t, "coffee", expect[*chat.Changed](u, nil).Change.Topic)
		}
		shown, err = chat.Show.Call(t.Context(), bob.session, &chat.ShowRequest{Room: "lobby"})
		require.NoError(t, err)
		assert.Equal(t, "coffee", shown.Settings.Topic)
	})
}

// C2: what the log has not taken has not happened.
func TestC2AChangeThatTheLogRefusesIsNone(t *testing.T) {
	log := &faultyLog{Log: newLog()}
	bubble(t, chat.Config{Log: log, Administrator: administrators("alice")}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		alice.say("lobby", "one")
		log.set(func() error { return &chat.Error{Code: rpc.ResourceExhausted, Reason: "full"} }, nil, nil)
		_, err := chat.SetTopic.Call(t.Context(), alice.session, &chat.SetTopicRequest{Room: "lobby", Topic: "tea"})
		assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(err))
		log.set(nil, nil, nil)
		shown, err := chat.Show.Call(t.Context(), alice.session, &chat.ShowRequest{Room: "lobby"})
		require.NoError(t, err)
		assert.Empty(t, shown.Settings.Topic)
		expectNothing[*chat.Changed](alice)
	})
}

// C8: a room that one may not see is answered for as one that there is not.
func TestC8MethodsDoNotTellOfRooms(t *testing.T) {
	denied := func(who certs.ID, room string, _ chat.Verb) error {
		if who.Name == "mallory" && room == "secret" {
			return &chat.Error{Code: rpc.PermissionDenied, Reason: "no"}
		}
		return nil
	}
	bubble(t, chat.Config{Authorize: denied}, func(t *testing.T, h *house) {
		h.join("alice", "secret").say("secret", "x")
		mallory := h.net.Dial(h.srv, "mallory", transport.Config{})
		for _, room := range []string{"secret", "nowhere"} {
			_, show := chat.Show.Call(t.Context(), mallory, &chat.ShowRequest{Room: room})
			_, topic := chat.SetTopic.Call(t.Context(), mallory, &chat.SetTopicRequest{Room: room})
			for _, err := range []error{show, topic} {
				assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
				assert.ErrorContains(t, err, "there is no such room")
			}
		}
		_, err := chat.Show.Call(t.Context(), mallory, &chat.ShowRequest{Room: "\x00"})
		assert.Equal(t, rpc.InvalidArgument, rpc.CodeOf(err))
	})
}

// M100: a record of a later version's kind takes its place, and members go on behind it; one that members do not make is
// refused.
func TestM100UnknownKindsTakeTheirPlace(t *testing.T) {
	log := newLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		_, err := log.Append(t.Context(), "lobby", 0, []chat.Entry{
			{From: "bob", ID: "1", Kind: 99, Ref: 7, Body: []byte("\xff")},
			{From: "bob", ID: "2", Kind: chat.KindSettings, Body: []byte("no JSON")},
			{From: "bob", ID: "3", Body: []byte("x")},
		}, nil)
		require.NoError(t, err)
		u := expect[*chat.Unknown](alice, nil)
		assert.Equal(t, [4]any{uint64(1), "bob", chat.Kind(99), uint64(7)}, [4]any{u.Position.Seq, u.From, u.Kind, u.Ref})
		assert.Equal(t, chat.KindSettings, expect[*chat.Unknown](alice, nil).Kind)
		assert.EqualValues(t, 3, expect[*chat.Message](alice, nil).Position.Seq)

		r := openRaw(t, h.net.Dial(h.srv, "mallory", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		for _, kind := range []uint64{5, 6, 7, 99, 1 << 63} {
			r.write(frame(0x05, &chatpb.Publish{Room: []byte("lobby"), Producer: make([]byte, 16), Entries: []*chatpb.Entry{{MessageId: []byte("i"), Body: []byte(`{"what":"topic"}`), Kind: kind}}}))
			var m chatpb.Rejected
			r.readInto(0x0d, &m)
			assert.Equal(t, uint32(rpc.InvalidArgument), m.GetCode())
		}
	})
}
