package chat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

// reader is a subscription in a room with members, and the stream that it writes to.
func reader(t *testing.T, present []string) (r *room, s *subscription, str *nullStream) {
	t.Helper()
	srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
	r = newRoom(srv, "r")
	r.present = present
	str = &nullStream{}
	c := newConn(&session{srv: srv, ctx: context.Background(), who: "me"}, str)
	return r, &subscription{room: r, conn: c, member: &member{}, who: "me", next: 1}, str
}

func namesOf(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("m%08d%s", i, strings.Repeat("x", 119)))
	}
	return names
}

// M162: JOINED names a part of a very long list, oneself in it, and MEMBERS all of it, in frames of a bound length which wait for the credit; the client makes
// one event of them (C7).
func TestM162ALongListIsSplit(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 300, 100_000} {
		present := namesOf(n)
		_, s, str := reader(t, present)
		c := s.conn
		c.replies = append(c.replies, reply{kind: frameJoined, room: s.room.wire, sub: s, pos: Position{Epoch: 1}, first: 1})
		want := append([]string{}, present...)
		i, _ := slices.BinarySearch(want, "me")
		want = slices.Insert(want, i, "me")

		client := silentClient(nil)
		client.asked = []pending{{request: RequestJoin, room: "r"}}
		var events []Event
		for {
			b := c.gather(nil)
			if len(b) == 0 {
				if c.received.Load() == c.sent {
					break
				}
				assert.LessOrEqual(t, c.sent-c.received.Load(), uint64(creditWindow))
				c.received.Store(c.sent) // all is confirmed at once
				continue
			}
			assert.LessOrEqual(t, len(b), 2*writeSize)
			frames := transport.NewFrameReader(bytes.NewReader(b))
			for {
				typ, body, err := frames.ReadFrame(clientLimit)
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				assert.LessOrEqual(t, len(body), maxNames+256)
				e, err := client.decode(typ, body)
				require.NoError(t, err)
				if e != nil {
					events = append(events, e)
				}
			}
		}
		j, ok := events[0].(*Joined)
		require.True(t, ok)
		assert.Contains(t, j.Members, "me")
		assert.Equal(t, n+1, len(j.Members)+j.More)
		assert.True(t, slices.IsSorted(j.Members))
		if j.More == 0 {
			assert.Equal(t, want, j.Members)
			assert.Len(t, events, 1)
			assert.LessOrEqual(t, n, 256)
		} else {
			require.Len(t, events, 2)
			m, ok := events[1].(*Members)
			require.True(t, ok)
			assert.Equal(t, want, m.Names)
			assert.GreaterOrEqual(t, n, 255)
		}
		assert.Nil(t, s.list)
		assert.Len(t, present, n, "what others read is as it was")
		assert.Zero(t, str.written.Len())
	}
}

// M160: what many changes come to is split into frames, too, each name in one of them; and the one whose name is left out of its own is told of
// all others.
func TestM160ManyChangesAreSplit(t *testing.T) {
	names := namesOf(2000)
	r, s, _ := reader(t, names[:1000])
	_ = s.members() // it is not shown yet
	require.True(t, s.unshown)
	r.gathers = true
	for i, who := range names {
		r.identities[who] = &identity{lost: i%2 == 0}
		if i < 1000 {
			r.changed(who, []chatpb.Presence_State{chatpb.Presence_STATE_LEFT, chatpb.Presence_STATE_LOST}[i%2])
		} else {
			r.changed(who, chatpb.Presence_STATE_JOINED)
		}
	}
	r.changed("me", chatpb.Presence_STATE_JOINED)
	assert.Zero(t, r.ring.end())
	r.showChanges()
	require.Equal(t, uint64(8), r.ring.end())
	client := silentClient(nil, "r")
	states := make(map[string]PresenceState)
	for i := range r.ring.end() {
		e := r.ring.at(i)
		assert.LessOrEqual(t, e.length, maxNames+256)
		frame, ok := s.appendPresence(nil, e)
		require.True(t, ok)
		s.conn.received.Store(s.conn.sent)
		typ, body, err := transport.NewFrameReader(bytes.NewReader(frame)).ReadFrame(clientLimit)
		require.NoError(t, err)
		event, err := client.decode(typ, body)
		require.NoError(t, err)
		require.Nil(t, event)
		for client.items.left > 0 {
			event, err := client.nextItem()
			require.NoError(t, err)
			p, ok := event.(*Presence)
			require.True(t, ok)
			assert.NotContains(t, states, p.Who)
			states[p.Who] = p.State
		}
	}
	require.Len(t, states, 2000)
	for i, who := range names {
		want := []PresenceState{PresenceBack, PresenceJoined}[i%2]
		if i < 1000 {
			want = []PresenceState{PresenceLeft, PresenceLost}[i%2]
		}
		assert.Equal(t, want, states[who])
		assert.Equal(t, want == PresenceLost, r.identities[who].lost)
	}
	assert.False(t, s.unshown)
	assert.Len(t, r.present, 1001)
	assert.True(t, slices.IsSorted(r.present))
}

// M163: a name is left out of its own PRESENCE, and of no other; of one that has nobody else there is nothing to send.
func TestM163NobodyIsToldOfItself(t *testing.T) {
	encode := func(m *chatpb.Presence) event {
		m.Room = []byte("r")
		return event{frame: appendMessage(nil, framePresence, m), length: bodyLen(m)}
	}
	for name, tt := range map[string]struct{ given, want *chatpb.Presence }{
		"first":     {&chatpb.Presence{Joined: []string{"me", "a"}, Back: []string{"b"}}, &chatpb.Presence{Joined: []string{"a"}, Back: []string{"b"}}},
		"last":      {&chatpb.Presence{Joined: []string{"a"}, Back: []string{"b", "me"}}, &chatpb.Presence{Joined: []string{"a"}, Back: []string{"b"}}},
		"alone":     {&chatpb.Presence{Joined: []string{"me"}}, nil},
		"single":    {&chatpb.Presence{Who: "me", State: chatpb.Presence_STATE_BACK}, nil},
		"not there": {&chatpb.Presence{Joined: []string{"men", "m"}}, &chatpb.Presence{Joined: []string{"men", "m"}}},
	} {
		_, s, _ := reader(t, nil)
		s.unshown = true
		e := encode(tt.given)
		before := slices.Clone(e.frame)
		got, ok := s.appendPresence(nil, &e)
		require.True(t, ok)
		assert.Equal(t, name == "not there", s.unshown, name)
		assert.Equal(t, before, e.frame, "others read it, too")
		if tt.want == nil {
			assert.Empty(t, got, name)
			assert.Zero(t, s.conn.sent)
			continue
		}
		want := encode(tt.want)
		assert.Equal(t, want.frame, got, name)
		assert.Equal(t, uint64(want.length), s.conn.sent, name)
	}
}

// C7: MEMBERS names its reader, too, also if that is still to be shown to others.
func TestC7MembersNamesItsReader(t *testing.T) {
	r, s, _ := reader(t, []string{"a", "z"})
	r.ring.clear() // the log has jumped
	s.lagging, s.seen = true, 0
	r.ring.skipped = 1
	require.True(t, s.rejoin())
	require.Equal(t, []string{"a", "me", "z"}, s.list)
	require.True(t, s.unshown)
}

// M160: what has been gathered for long enough is shown, also if there always is a request that waits.
func TestM160ABusyRoomShowsWhatItHasGathered(t *testing.T) {
	srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
	r := newRoom(srv, "r")
	r.refs = 1 << 10
	r.gathers = true
	r.changed("a", chatpb.Presence_STATE_JOINED)
	require.NotNil(t, r.due)
	due := make(chan time.Time, 1)
	due <- time.Time{}
	r.due = due
	r.mail <- &request{kind: requestReauthorize}
	r.work(&request{kind: requestReauthorize})
	require.Equal(t, []string{"a"}, r.present)
	require.Nil(t, r.due)
}

// Members that do not add up are a break of the protocol.
func TestM162AListThatDoesNotAddUp(t *testing.T) {
	part := func(more uint64, names ...string) []byte {
		b, err := proto.Marshal(&chatpb.Members{Room: []byte("r"), Members: names, More: more})
		require.NoError(t, err)
		return b
	}
	for name, parts := range map[string][][]byte{
		"nobody":         {part(1)},
		"too many":       {part(2, "a"), part(0, "b", "c", "d")},
		"too few":        {part(2, "a"), part(0, "b")},
		"more than told": {part(2, "a"), part(2, "b")},
		"wraps":          {part(1, "a"), part(1<<64-1, "b", "c")},
	} {
		c := silentClient(nil, "r")
		var err error
		for _, p := range parts {
			require.NoError(t, err)
			_, err = c.decode(frameMembers, p)
		}
		assert.True(t, isProtocolError(err), name)
	}
	c := silentClient(nil, "r")
	_, err := c.decode(frameMembers, part(1, "a"))
	require.NoError(t, err)
	body, err := proto.Marshal(&chatpb.Presence{Room: []byte("r"), Who: "a", State: chatpb.Presence_STATE_LEFT})
	require.NoError(t, err)
	_, err = c.decode(framePresence, body)
	assert.True(t, isProtocolError(err), "PRESENCE inside of a list")
	long := strings.Repeat("x", 4000)
	c, err = silentClient(nil, "r"), nil
	for i := 0; err == nil && i <= maxList/4000; i++ {
		_, err = c.decode(frameMembers, part(uint64(1<<20-i), long))
	}
	assert.True(t, isProtocolError(err), "a list without an end")
}
