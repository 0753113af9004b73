package chat_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// fakeServer runs f with a client, whose server reads one frame and then writes frames.
func fakeServer(t *testing.T, frames [][]byte, f func(t *testing.T, u *user)) {
	t.Helper()
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		h.srv = h.net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamChat: func(_ context.Context, s *transport.Stream) {
				_, _, _ = s.ReadFrame(anyFrame)
				for _, b := range frames {
					_, _ = s.Write(b)
				}
				_, _ = io.Copy(io.Discard, s)
				_ = s.Close()
			},
		}})
		u := h.client(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		require.NoError(t, u.Join(t.Context(), "r", chat.Live()))
		f(t, u)
	})
}

func joinedFrame(next uint64) []byte {
	return frame(0x09, &chatpb.Joined{Room: []byte("r"), Epoch: 1, Head: next - 1, First: 1, Next: next})
}

func recordFrame(epoch, seq uint64) []byte {
	return linesFrame(epoch, seq, theirs("i"))
}

// linesFrame has the consecutive records that begin at a position.
func linesFrame(epoch, seq uint64, lines ...*chatpb.Line) []byte {
	return frame(0x11, &chatpb.Record{Room: []byte("r"), Epoch: epoch, Seq: seq, Lines: lines})
}

func theirs(id string) *chatpb.Line {
	return &chatpb.Line{From: new("b"), Time: new(int64(1)), MessageId: []byte(id), Body: []byte("x")}
}

func mine(id string) *chatpb.Line { return &chatpb.Line{MessageId: []byte(id), Own: true} }

func TestC4AClientAcceptsNoGapAndNoRepeat(t *testing.T) {
	bare := &chatpb.Line{MessageId: []byte("i"), Body: []byte("x")}
	nobody, never := theirs("i"), theirs("i")
	nobody.From, never.Time = nil, nil
	for name, frames := range map[string][][]byte{
		"gap":                      {joinedFrame(5), recordFrame(1, 5), recordFrame(1, 7)},
		"gap at the beginning":     {joinedFrame(5), recordFrame(1, 6)},
		"repeat":                   {joinedFrame(5), recordFrame(1, 5), recordFrame(1, 5)},
		"backward":                 {joinedFrame(5), recordFrame(1, 5), recordFrame(1, 4)},
		"gap before a stub":        {joinedFrame(5), recordFrame(1, 5), linesFrame(1, 7, mine("i"))},
		"gap after a frame of two": {joinedFrame(5), linesFrame(1, 5, theirs("i"), theirs("j")), recordFrame(1, 8)},
		"repeat of a frame's last": {joinedFrame(5), linesFrame(1, 5, theirs("i"), mine("j")), recordFrame(1, 6)},
		"no line":                  {joinedFrame(5), linesFrame(1, 5)},
		"nobody":                   {joinedFrame(5), linesFrame(1, 5, nobody)},
		"at no time":               {joinedFrame(5), linesFrame(1, 5, never)},
		"nobody before":            {joinedFrame(5), linesFrame(1, 5, mine("i"), bare)},
		"nobody in this frame":     {joinedFrame(5), recordFrame(1, 5), linesFrame(1, 6, bare)},
		"malformed second line":    {joinedFrame(5), transport.AppendFrame(nil, 0x11, []byte("\x0a\x01r\x10\x01\x18\x05\x22\x05\x0a\x01b\x10\x01\x22\x01\xff"))},
		"sender is not UTF-8":      {joinedFrame(5), transport.AppendFrame(nil, 0x11, []byte("\x0a\x01r\x10\x01\x18\x05\x22\x05\x0a\x01\xff\x10\x01"))},
		"epoch falls":              {joinedFrame(5), recordFrame(2, 5), recordFrame(1, 6)},
		"no epoch":                 {joinedFrame(5), recordFrame(0, 5)},
		"record without joined":    {recordFrame(1, 5)},
		"joined twice":             {joinedFrame(5), joinedFrame(5)},
		"joined without join":      {frame(0x09, &chatpb.Joined{Room: []byte("s"), First: 1, Next: 1})},
		"joined beyond the head":   {frame(0x09, &chatpb.Joined{Room: []byte("r"), First: 1, Head: 3, Next: 9})},
		"joined before the first":  {frame(0x09, &chatpb.Joined{Room: []byte("r"), First: 4, Head: 9, Next: 3})},
		"presence elsewhere":       {joinedFrame(5), frame(0x13, &chatpb.Presence{Room: []byte("s"), State: 1})},
		"members elsewhere":        {joinedFrame(5), frame(0x15, &chatpb.Members{Room: []byte("s")})},
		"left elsewhere":           {joinedFrame(5), frame(0x0b, &chatpb.Left{Room: []byte("s")})},
		"rejected without asking":  {joinedFrame(5), frame(0x0d, &chatpb.Rejected{Request: 1, Room: []byte("s"), Code: 3})},
		"after left":               {joinedFrame(5), frame(0x0b, &chatpb.Left{Room: []byte("r")}), recordFrame(1, 5)},
		"a client's frame":         {joinedFrame(5), joinFrame("r")},
		"unknown odd frame":        {joinedFrame(5), transport.AppendFrame(nil, 0x7f, nil)},
		"malformed":                {joinedFrame(5), transport.AppendFrame(nil, 0x11, []byte{0xff})},
		"too large":                {joinedFrame(5), transport.AppendFrameHeader(nil, 0x11, 1<<30)},
	} {
		t.Run(name, func(t *testing.T) {
			fakeServer(t, frames, func(t *testing.T, u *user) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var err error
				for err == nil {
					_, err = u.Next(ctx)
				}
				require.NoError(t, ctx.Err(), "accepted")
				_, again := u.Next(ctx)
				assert.Equal(t, err, again)
				assert.NotErrorIs(t, err, io.EOF)
				assert.Equal(t, transport.Protocol, code(u.session.Wait(ctx)))
			})
		})
	}
}

func TestAClientTakesWhatIsInOrder(t *testing.T) {
	frames := [][]byte{
		transport.AppendFrame(nil, 0x7e, []byte("unknown, and even")),
		joinedFrame(5), recordFrame(1, 5), recordFrame(3, 6), // an epoch began
		linesFrame(3, 7, mine("mine")), // stands in for the acknowledgement
		frame(0x0f, &chatpb.PubAck{Room: []byte("r"), Epoch: 3, Seq: 7, MessageIds: [][]byte{[]byte("mine")}}),
		frame(0x13, &chatpb.Presence{Room: []byte("r"), Who: "b", State: 99}), // of a later version
		frame(0x0d, &chatpb.Rejected{Room: []byte("r"), Request: 99}),
		recordFrame(3, 8),
	}
	fakeServer(t, frames, func(t *testing.T, u *user) {
		require.NoError(t, u.PublishAs(t.Context(), "r", "mine", "x"))
		assert.ErrorIs(t, u.PublishAs(t.Context(), "r", "mine", "x"), &chat.Error{Code: rpc.AlreadyExists})
		var events []chat.Event
		for range 5 {
			e, err := u.Next(t.Context())
			require.NoError(t, err)
			events = append(events, e)
		}
		assert.Equal(t, &chat.Sent{Room: "r", Position: chat.Position{Epoch: 3, Seq: 7}, ID: "mine"}, events[3])
		assert.Equal(t, uint64(8), events[4].(*chat.Message).Position.Seq)
		assert.Zero(t, u.Unacknowledged())
	})
}

// readReceived reads a client's half to its end, and passes on what each RECEIVED says.
func readReceived(s *transport.Stream, got chan<- uint64) {
	for {
		typ, body, err := s.ReadFrame(anyFrame)
		if err != nil {
			_ = s.Close()
			return
		}
		if typ == 0x07 {
			var m chatpb.Received
			_ = protoUnmarshal(body, &m)
			got <- m.GetBytes()
		}
	}
}

func TestReceivedIsSaidAfterASecond(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		got := make(chan uint64, 10)
		h.srv = h.net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamChat: func(_ context.Context, s *transport.Stream) {
				_, _ = s.Write(joinedFrame(1))
				for seq := range uint64(3) {
					_, _ = s.Write(recordFrame(1, seq+1))
				}
				readReceived(s, got)
			},
		}})
		u := h.client(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		require.NoError(t, u.Join(t.Context(), "r", chat.Live()))
		u.lines(3)
		started := time.Now()
		assert.Equal(t, uint64(3*(len(recordFrame(1, 1))-2)), <-got, "the bodies' lengths")
		assert.WithinDuration(t, started.Add(time.Second), time.Now(), 100*time.Millisecond)
		time.Sleep(time.Minute)
		assert.Empty(t, got, "nothing new, nothing said")
	})
}

func TestPublishWaitsWhileTooManyAreUnacknowledged(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		log.set(func() error { time.Sleep(time.Minute); return nil }, nil, nil)
		c, err := chat.NewClient(t.Context(), h.net.Dial(h.srv, "alice", transport.Config{}), chat.ClientConfig{MaxUnacknowledged: 2})
		require.NoError(t, err)
		require.NoError(t, c.Join(t.Context(), "lobby", chat.Live()))
		for range 2 {
			_, err := c.Publish(t.Context(), "lobby", "x")
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Publish(ctx, "lobby", "x")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 2, c.Unacknowledged())
		for sent := 0; sent < 2; {
			e, err := c.Next(t.Context())
			require.NoError(t, err)
			if _, ok := e.(*chat.Sent); ok {
				sent++
			}
		}
		_, err = c.Publish(t.Context(), "lobby", "x")
		assert.NoError(t, err)
	})
}

func TestOverUDP(t *testing.T) {
	noGoroutineLeft(t)
	n := transporttest.New(t, rtt) // for its authority
	h := &house{t: t, net: n}
	h.chat = chat.NewServer(chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{}), Domain: n.Authority().Domain()})
	serverCred, err := n.Authority().IssueServer([]string{"localhost"})
	require.NoError(t, err)
	srv, err := transport.Listen(&transport.Config{Credentials: serverCred, Addr: "127.0.0.1:0", Handlers: map[transport.StreamType]transport.Handler{
		transport.StreamChat: h.chat.ServeStream,
	}})
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(context.Background())
	}()
	var users []*user
	for _, name := range []string{"alice", "bob", "carol"} {
		s, err := transport.Dial(t.Context(), srv.Addr().String(), &transport.Config{Credentials: n.User(name), NoReconnect: true})
		require.NoError(t, err)
		users = append(users, h.joinOn(s, name, "lobby"))
	}
	for _, u := range users {
		go func() {
			for range 100 {
				_, err := u.Publish(context.Background(), "lobby", kilobyte)
				assert.NoError(t, err)
			}
		}()
	}
	for _, u := range users {
		u.waitFor("all lines", func([]chat.Event, error) bool {
			n := 0
			for _, e := range u.events {
				switch e.(type) {
				case *chat.Message, *chat.Sent:
					n++
				}
			}
			return n == 300
		})
	}
	users[0].release()
	require.NoError(t, srv.Shutdown(t.Context()))
	for _, u := range users[1:] {
		assert.ErrorIs(t, u.ended(), io.EOF)
		assert.Equal(t, transport.Drained, code(u.session.Wait(t.Context())))
	}
	h.chat.Close()
	<-served
}

// What RECEIVED says never falls, though Next and the timer may both be about to say it.
func TestReceivedNeverFalls(t *testing.T) {
	h := newHouse(t, chat.Config{})
	alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
	const lines = 1000
	done := make(chan struct{})
	var hammer sync.WaitGroup
	for range 4 {
		hammer.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					alice.Confirm()
				}
			}
		})
	}
	go func() {
		for range lines {
			_, err := bob.Publish(context.Background(), "lobby", kilobyte)
			assert.NoError(t, err)
		}
	}()
	alice.waitFor("all lines", func(events []chat.Event, err error) bool {
		n := 0
		for _, e := range events {
			if _, ok := e.(*chat.Message); ok {
				n++
			}
		}
		return n == lines || err != nil
	})
	close(done)
	hammer.Wait()
	assert.Equal(t, transport.StateLive, alice.session.State(), "%v", context.Cause(alice.session.Context()))
}

// A frame counts once its last line has been returned, and not before: what Next has not returned is held by
// the client, and is what the credit bounds.
func TestAFrameCountsWhenItsLastLineIsReturned(t *testing.T) { // M32
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		got := make(chan uint64, 10)
		lines := linesFrame(1, 1, theirs("i"), theirs("j"), theirs("k"))
		h.srv = h.net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
			transport.StreamChat: func(_ context.Context, s *transport.Stream) {
				_, _ = s.Write(append(joinedFrame(1), lines...))
				readReceived(s, got)
			},
		}})
		u := h.client(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		require.NoError(t, u.Join(t.Context(), "r", chat.Live()))
		u.lines(2)
		time.Sleep(time.Minute)
		assert.Empty(t, got)
		u.lines(3)
		assert.Equal(t, uint64(len(lines)-2), <-got)
	})
}

// Who gives up waiting for a place has asked for nothing, and has harmed nobody.
func TestAContextThatEndsTakesBackItsRequest(t *testing.T) {
	log := newFaultyLog()
	bubble(t, chat.Config{Log: log}, func(t *testing.T, h *house) {
		alice := h.join("alice", "lobby")
		release := make(chan struct{})
		log.set(func() error { <-release; return nil }, nil, nil)
		published := 0
		var err error
		for err == nil { // until the server's limits, the windows and the queue are full
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err = alice.Publish(ctx, "lobby", strings.Repeat("x", 64<<10)); err == nil {
				published++
			}
			cancel()
		}
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, published, alice.Unacknowledged())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, alice.Join(ctx, "attic", chat.Live()), context.DeadlineExceeded)
		close(release)
		log.set(nil, nil, nil)
		alice.waitFor("all", func([]chat.Event, error) bool { return alice.Unacknowledged() == 0 })
		assert.Len(t, all[*chat.Sent](alice), published)
		alice.say("lobby", "unharmed")
		alice.join("attic", chat.Live())
	})
}

// A program that starts again with its producer makes other ids, or its first messages would be
// taken for those it published before (C3).
func TestC3IdsAreUniqueForAProducerAcrossClients(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		seen := make(map[string]bool)
		for range 3 {
			session := h.net.Dial(h.srv, "alice", transport.Config{})
			c, err := chat.NewClient(t.Context(), session, chat.ClientConfig{Producer: chat.Producer{7}})
			require.NoError(t, err)
			u := &user{Client: c, t: t, name: "alice", session: session, changed: make(chan struct{})}
			go u.collect()
			u.join("lobby", chat.Live())
			for i := range 100 {
				sent := u.say("lobby", fmt.Sprint(i))
				assert.False(t, sent.Duplicate)
				assert.False(t, seen[sent.ID], sent.ID)
				seen[sent.ID] = true
			}
			u.release()
		}
	})
}

// What is asked in one order is carried out in it, also where several requests go out together.
func TestRequestsKeepTheirOrder(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice := h.join("alice")
		var want []string
		for i := range 50 {
			room := []string{"a", "b"}[i/3%2]
			require.NoError(t, alice.Join(t.Context(), room, chat.Live()))
			for range i % 4 {
				id, err := alice.Publish(t.Context(), room, "x")
				require.NoError(t, err)
				want = append(want, id)
			}
			require.NoError(t, alice.Leave(t.Context(), room))
			id, err := alice.Publish(t.Context(), room, "not in the room")
			require.NoError(t, err)
			want = append(want, id)
		}
		require.NoError(t, alice.Close())
		assert.ErrorIs(t, alice.ended(), io.EOF)
		var got []string
		rejected := 0
		for _, e := range all[chat.Event](alice) {
			switch e := e.(type) {
			case *chat.Sent:
				got = append(got, e.ID)
			case *chat.Rejected:
				assert.Equal(t, chat.RequestPublish, e.Request)
				got = append(got, e.ID)
				rejected++
			}
		}
		assert.Equal(t, 50, rejected)
		assert.ElementsMatch(t, want, got)
	})
}

// A client that asks for as much as it may, and reads, is not taken for one that does not read: a PUBLISH
// has thousands of entries, and all of them may be rejected at once.
func TestThousandsOfRejectionsAtOnce(t *testing.T) {
	const messages = 10_000
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		c, err := chat.NewClient(t.Context(), h.net.Dial(h.srv, "alice", transport.Config{}), chat.ClientConfig{MaxUnacknowledged: messages})
		require.NoError(t, err)
		nowhere := strings.Repeat("x", 128)
		go func() {
			for range messages {
				if _, err := c.Publish(context.Background(), nowhere, "x"); err != nil {
					return // Next tells
				}
			}
		}()
		for i := range messages {
			e, err := c.Next(t.Context())
			require.NoError(t, err, "after %d", i)
			require.IsType(t, &chat.Rejected{}, e)
		}
	})
}

// Who goes on publishing finds out that nothing is written any more, also while nobody calls Next.
func TestPublishSaysThatWritesFail(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		u := h.client(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		u.session.Abort(transport.Aborted, "")
		_, _ = u.Publish(t.Context(), "lobby", "this one fails behind its back")
		time.Sleep(time.Second)
		_, err := u.Publish(t.Context(), "lobby", "x")
		assert.ErrorIs(t, err, &transport.Error{Code: transport.Aborted})
		assert.ErrorIs(t, u.Join(t.Context(), "lobby", chat.Live()), &transport.Error{Code: transport.Aborted})
	})
}

// What Next returned stays as it is, whatever comes after it: events of a frame share memory with each other, and with nothing
// that is used again.
func TestEventsStayAsTheyWere(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		alice, bob := h.join("alice", "lobby"), h.join("bob", "lobby")
		var want []string
		for i := range 500 {
			text := fmt.Sprintf("%d %s", i, strings.Repeat("x", i*i%3000))
			want = append(want, text)
			_, err := alice.Publish(h.ctx(), "lobby", text)
			require.NoError(t, err)
		}
		bob.waitFor("all lines", func(events []chat.Event, _ error) bool {
			last, is := events[len(events)-1].(*chat.Message)
			return is && last.Position.Seq == uint64(len(want))
		})
		assert.Equal(t, want, texts(bob))
	})
}

// A loop over the events may be left, and another goes on with the next; the end in order is no error, and any other end comes last.
func TestEventsGoOnWhereALoopWasLeft(t *testing.T) {
	bubble(t, chat.Config{}, func(t *testing.T, h *house) {
		bob := h.join("bob", "lobby")
		alice := h.client(h.net.Dial(h.srv, "alice", transport.Config{}), "alice")
		require.NoError(t, alice.Join(t.Context(), "lobby", chat.Live()))
		for e, err := range alice.Events(t.Context()) {
			require.NoError(t, err)
			require.IsType(t, &chat.Joined{}, e)
			break
		}
		bob.say("lobby", "one")
		bob.say("lobby", "two")
		var heard []string
		for _, want := range []string{"one", "two"} {
			for e, err := range alice.Events(t.Context()) {
				require.NoError(t, err)
				heard = append(heard, e.(*chat.Message).Text)
				break
			}
			assert.Equal(t, want, heard[len(heard)-1])
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBroken)
		times := 0
		for e, err := range alice.Events(ctx) {
			assert.Nil(t, e)
			assert.ErrorIs(t, err, errBroken)
			times++
		}
		assert.Equal(t, 1, times)

		require.NoError(t, alice.Close())
		for e, err := range alice.Events(t.Context()) {
			assert.Fail(t, "unexpected", "%v, %v", e, err)
		}
	})
}
