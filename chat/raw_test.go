package chat_test

import (
	"fmt"
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

func frame(t transport.FrameType, m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return transport.AppendFrame(nil, t, body)
}

func joinFrame(room string) []byte { return frame(0x01, &chatpb.Join{Room: []byte(room)}) }

func publishFrame(room, id, text string) []byte {
	return frame(0x05, &chatpb.Publish{Room: []byte(room), Producer: make([]byte, 16), Entries: []*chatpb.Entry{{MessageId: []byte(id), Body: []byte(text)}}})
}

func (r *raw) write(frames ...[]byte) {
	r.t.Helper()
	for _, f := range frames {
		_, err := r.str.Write(f)
		require.NoError(r.t, err)
	}
}

// anyFrame takes every frame that a test could mean.
func anyFrame(transport.FrameType) (uint64, bool) { return 1 << 20, true }

// read returns the next frame.
func (r *raw) read() (transport.FrameType, []byte) {
	r.t.Helper()
	r.str.SetReadDeadline(time.Now().Add(5 * time.Second))
	t, body, err := r.str.ReadFrame(anyFrame)
	require.NoError(r.t, err)
	return t, body
}

func (r *raw) readInto(want transport.FrameType, m proto.Message) {
	r.t.Helper()
	t, body := r.read()
	require.Equal(r.t, want, t)
	require.NoError(r.t, proto.Unmarshal(body, m))
}

func TestServerChecksWhatClientsDo(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		r := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
		r.write(joinFrame("lobby"))
		r.readInto(0x09, new(chatpb.Joined))
		for _, room := range []string{"", " x", "x ", "a\x00b", "\xff\xfe", "a\u202eb", string(make([]byte, 129)), string(make([]byte, 4000))} {
			for _, f := range [][]byte{joinFrame(room), publishFrame(room, "1", "x"), frame(0x03, &chatpb.Leave{Room: []byte(room)})} {
				r.write(f)
				var m chatpb.Rejected
				r.readInto(0x0d, &m)
				assert.Equal(t, uint32(rpc.InvalidArgument), m.GetCode(), "%q", room)
				assert.Equal(t, []byte(room), append([]byte{}, m.GetRoom()...))
				assert.NotEmpty(t, m.GetReason())
			}
		}
		for _, p := range []struct{ producer, id, body []byte }{
			{make([]byte, 15), []byte("1"), []byte("x")},
			{nil, []byte("1"), []byte("x")},
			{make([]byte, 16), nil, []byte("x")},
			{make([]byte, 16), make([]byte, 65), []byte("x")},
			{make([]byte, 16), []byte("1"), nil},
			{make([]byte, 16), []byte("1"), []byte("\xc0\x80")},
			{make([]byte, 16), []byte("1"), make([]byte, 64<<10+1)},
		} {
			r.write(frame(0x05, &chatpb.Publish{Room: []byte("lobby"), Producer: p.producer, Entries: []*chatpb.Entry{{MessageId: p.id, Body: p.body}}}))
			var m chatpb.Rejected
			r.readInto(0x0d, &m)
			assert.Equal(t, uint32(rpc.InvalidArgument), m.GetCode())
			assert.Equal(t, string(p.id), string(m.GetMessageId()))
		}
		r.write(publishFrame("lobby", "1", "it still works"))
		r.readInto(0x0f, new(chatpb.PubAck))
	})
}

// Each entry of a PUBLISH is answered, and what is wrong with one is nothing to the others.
func TestEntriesOfOnePublishStandAlone(t *testing.T) { // M27
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		r := openRaw(t, h.net.Dial(h.srv, "alice", transport.Config{}))
		r.write(joinFrame("lobby"), publishFrame("lobby", "first", "x"))
		r.readInto(0x09, new(chatpb.Joined))
		r.read() // PUBACK and RECORD, in either order
		r.read()
		m := &chatpb.Publish{Room: []byte("lobby"), Producer: make([]byte, 16)}
		for _, id := range []string{"a", "b", "", "first", "c", "a", "d", "b", "a"} {
			m.Entries = append(m.Entries, &chatpb.Entry{MessageId: []byte(id), Body: []byte("x")})
		}
		m.Entries = append(m.Entries, &chatpb.Entry{MessageId: []byte("first"), Body: []byte("changed")})
		r.write(frame(0x05, m))
		var answers []string
		records := 0
		for records < 4 || len(answers) < 9 {
			switch typ, body := r.read(); typ {
			case 0x0f:
				var m chatpb.PubAck
				require.NoError(t, proto.Unmarshal(body, &m))
				answers = append(answers, fmt.Sprintf("%s from %d %t", m.GetMessageIds(), m.GetSeq(), m.GetDuplicate()))
			case 0x0d:
				var m chatpb.Rejected
				require.NoError(t, proto.Unmarshal(body, &m))
				answers = append(answers, fmt.Sprintf("%q %s", m.GetMessageId(), rpc.Code(m.GetCode())))
			case 0x11:
				var m chatpb.Record
				require.NoError(t, proto.Unmarshal(body, &m))
				for _, l := range m.GetLines() {
					assert.True(t, l.GetOwn())
				}
				records += len(m.GetLines())
			}
		}
		assert.ElementsMatch(t, []string{
			`"" InvalidArgument`, `[a b] from 2 false`, `[first] from 1 true`, `[c] from 4 false`, `[a] from 2 true`, `[d] from 5 false`, `[b] from 3 true`, `[a] from 2 true`, `"first" AlreadyExists`,
		}, answers)
	})
}

func TestABrokenProtocolEndsOnlyItsSession(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"malformed join":       transport.AppendFrame(nil, 0x01, []byte{0xff}),
		"malformed publish":    transport.AppendFrame(nil, 0x05, []byte{0x0a, 0x05, 'x'}),
		"malformed entry":      transport.AppendFrame(nil, 0x05, []byte{0x0a, 0x01, 'x', 0x1a, 0x01, 0xff}),
		"malformed received":   transport.AppendFrame(nil, 0x07, []byte{0x08}),
		"unknown odd frame":    transport.AppendFrame(nil, 0x7f, nil),
		"a server's frame":     frame(0x11, &chatpb.Record{}),
		"too large":            transport.AppendFrameHeader(nil, 0x05, 1<<20),
		"too large join":       transport.AppendFrameHeader(nil, 0x01, 5000),
		"received what is not": frame(0x07, &chatpb.Received{Bytes: 1}),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, chat.Config{}, func(t *testing.T, h *house) {
				bob := h.join("bob", "lobby")
				carol := h.join("carol", "lobby")
				session := h.net.Dial(h.srv, "mallory", transport.Config{})
				r := openRaw(t, session)
				r.write(transport.AppendFrame(nil, 0x7e, []byte("skipped, for the number is even")), joinFrame("lobby"), bytes)
				assert.Equal(t, transport.Protocol, code(session.Wait(t.Context())))
				assert.Error(t, session.Wait(t.Context()))
				bob.expectPresence("carol", chat.PresenceJoined)
				bob.expectPresence("mallory", chat.PresenceJoined)
				bob.expectPresence("mallory", chat.PresenceLost)
				bob.say("lobby", "still here")
				assert.Equal(t, "still here", expect[*chat.Message](carol, nil).Text)
			})
		})
	}
}

func protoUnmarshal(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }
