package chat

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
)

// S5, M124: however many MARKs a client says, a room hears of them once until it keeps them, and then of the highest.
func TestS5AFloodOfMarksIsOneRequestToTheRoom(t *testing.T) {
	log := NewMemoryLog(MemoryLogConfig{Epoch: 1})
	srv := NewServer(Config{Log: log})
	defer srv.Close()
	for head := range uint64(1000) {
		_, err := log.Append(t.Context(), "lobby", head, []Entry{{From: "bob", ID: string(rune('0' + head)), Body: []byte("x")}}, nil)
		require.NoError(t, err)
	}
	r := newRoom(srv, "lobby") // whose actor is busy
	srv.rooms["lobby"] = r
	s := &session{srv: srv, ctx: context.Background(), who: "mallory", rooms: make(map[string]*claim)}
	require.Nil(t, s.claim("lobby"))
	c := newConn(s, &nullStream{})
	r.members[s] = &member{sub: &subscription{room: r, conn: c}}
	for range 2 {
		for seq := range uint64(1000) {
			require.NoError(t, c.mark(&chatpb.Mark{Room: []byte("lobby"), Epoch: 1, Read: 1000 - seq, Delivered: seq}))
		}
		require.Len(t, r.mail, 1)
		(<-r.mail).do()
		require.NotNil(t, r.marksDue)
		require.NoError(t, c.mark(&chatpb.Mark{Room: []byte("lobby"), Epoch: 1, Delivered: 1}))
		require.Empty(t, r.mail, "the room knows that there is something")
		r.keepMarks()
		require.Nil(t, r.marksDue)
	}
	marks, err := log.Marks(t.Context(), "lobby")
	require.NoError(t, err)
	assert.Equal(t, []Mark{{Who: "mallory", Read: 1000, Delivered: 1000}}, marks)

	// What comes when the session is out of the room counts for nothing, and the next is heard.
	delete(r.members, s)
	require.NoError(t, c.mark(&chatpb.Mark{Room: []byte("lobby"), Epoch: 1, Read: 1}))
	(<-r.mail).do()
	require.Nil(t, r.marksDue)
	require.NoError(t, c.mark(&chatpb.Mark{Room: []byte("lobby"), Epoch: 1, Read: 1}))
	require.Len(t, r.mail, 1)
}
