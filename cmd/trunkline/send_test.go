package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A typist says lines, and then nothing.
type typist struct {
	lines []string
	first func()        // called before the first line
	end   chan struct{} // when it is closed, so is the input
}

func (y *typist) readLine() (string, error) {
	if y.first != nil {
		y.first()
		y.first = nil
	}
	if len(y.lines) == 0 {
		<-y.end
		return "", io.EOF
	}
	line := y.lines[0]
	y.lines = y.lines[1:]
	return line, nil
}

// Who stops send is told how many lines have no answer; the exit code says whether there was a server.
func TestAnInterruptedSendSaysHowManyLinesAreUnacknowledged(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		code  int
	}{{time.Second, exitError}, {30 * time.Second, exitLost}} {
		synctest.Test(t, func(t *testing.T) {
			network := transporttest.New(t, 20*time.Millisecond)
			server := serveRooms(t, network, lines(t, 1, 0), transport.Config{})
			session := network.Dial(server, "alice", transport.Config{NewPacketConn: network.NewConn})
			ctx, interrupt := context.WithCancelCause(t.Context())
			s := &sending{session: session, answered: make(chan struct{}, 1), room: "r", patience: newPatience(ctx, time.Hour), out: &printer{stderr: io.Discard, out: &bytes.Buffer{}}}
			defer s.patience.stop()
			in := &typist{lines: []string{"one", "two", "three"}, first: network.Cut, end: make(chan struct{})}
			done := make(chan error)
			go func() { done <- s.run(in) }()
			time.Sleep(c.after)
			interrupt(errors.New("ended by a signal: interrupt"))
			err := <-done
			close(in.end)
			assert.ErrorContains(t, err, "ended by a signal: interrupt: 3 lines are unacknowledged, and may not have been sent")
			assert.Equal(t, c.code, exitCode(err))
		})
	}
}

// The floor is given back behind the last line, however long that has been on its way.
func TestTheFloorIsGivenBackWhenAllIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := transporttest.New(t, 20*time.Millisecond)
		rooms := chat.NewServer(chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{}), Domain: network.Authority().Domain()})
		t.Cleanup(rooms.Close)
		mux := rpc.NewMux(rpc.Config{})
		chat.Register(mux, rooms)
		server := network.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamRPC: mux.ServeStream, transport.StreamChat: rooms.ServeStream,
		}})
		session := network.Dial(server, "alice", transport.Config{})
		_, err := chat.Create.Call(t.Context(), session, &chat.CreateRequest{Room: "r", Mode: chat.HalfDuplex})
		require.NoError(t, err)
		s := &sending{
			a: &app{stderr: io.Discard}, session: session, answered: make(chan struct{}, 1), room: "r", how: sayHow{takesFloor: true},
			patience: newPatience(t.Context(), time.Hour), out: &printer{stderr: io.Discard, out: &bytes.Buffer{}},
		}
		defer s.patience.stop()
		in := &typist{lines: slices.Repeat([]string{strings.Repeat("x", 60_000)}, 20), end: make(chan struct{})} // more than a stream's window
		close(in.end)
		require.NoError(t, s.run(in))
		assert.Equal(t, 20, s.sent)
		assert.Zero(t, s.refused.Load())
		st, err := chat.QueryFloor.Call(t.Context(), session, &chat.FloorQuery{Room: "r"})
		require.NoError(t, err)
		assert.Nil(t, st.Holder)
	})
}
