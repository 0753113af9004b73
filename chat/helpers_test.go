package chat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

const rtt = 20 * time.Millisecond

// A house is a chat server on a network in memory.
type house struct {
	t       testing.TB
	net     *transporttest.Network
	srv     *transport.Server
	chat    *chat.Server
	clients chat.ClientConfig // of its users
}

// bubble runs f with a house on a fake clock. A goroutine that outlives the test fails it.
func bubble(t *testing.T, cfg chat.Config, f func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newHouse(t, cfg)) })
}

func newHouse(t testing.TB, cfg chat.Config) *house {
	t.Helper()
	h := &house{t: t, net: transporttest.New(t, rtt)}
	h.start(cfg)
	return h
}

func (h *house) start(cfg chat.Config) {
	if cfg.Log == nil {
		cfg.Log = chat.NewMemoryLog(chat.MemoryLogConfig{Epoch: 1})
	}
	cfg.Domain = h.net.Authority().Domain()
	h.chat = chat.NewServer(cfg)
	h.t.Cleanup(h.chat.Close)
	mux := rpc.NewMux(rpc.Config{})
	chat.Register(mux, h.chat)
	h.srv = h.net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{
		transport.StreamChat: h.chat.ServeStream,
		transport.StreamRPC:  mux.ServeStream,
	}, MayRelease: h.chat.MayRelease, BeforeRelease: h.chat.BeforeRelease})
}

// administrators is a chat.Config.Administrator.
func administrators(names ...string) func(certs.ID) bool {
	return func(who certs.ID) bool { return slices.Contains(names, who.Name) }
}

// A user is a client, with all its events collected.
type user struct {
	*chat.Client
	t       testing.TB
	name    string
	session *transport.Session

	mu      sync.Mutex // guards what follows
	events  []chat.Event
	next    int // of events: the first that expect has not seen
	err     error
	changed chan struct{}
}

// join has a user with a session of its own join rooms, live.
func (h *house) join(name string, rooms ...string) *user {
	h.t.Helper()
	return h.joinOn(h.net.Dial(h.srv, name, transport.Config{}), name, rooms...)
}

// joinOn is join on a session.
func (h *house) joinOn(s *transport.Session, name string, rooms ...string) *user {
	h.t.Helper()
	u := h.client(s, name)
	go u.collect()
	for _, room := range rooms {
		u.join(room, chat.Live())
	}
	return u
}

// client is a user who reads only what it is told to.
func (h *house) client(s *transport.Session, name string) *user {
	h.t.Helper()
	c, err := chat.NewClient(h.ctx(), s, h.clients)
	require.NoError(h.t, err)
	return &user{Client: c, t: h.t, name: name, session: s, changed: make(chan struct{})}
}

func (h *house) ctx() context.Context { return context.Background() }

func (u *user) collect() {
	for {
		e, err := u.Next(context.Background())
		u.mu.Lock()
		if err != nil {
			u.err = err
		} else {
			u.events = append(u.events, e)
		}
		close(u.changed)
		u.changed = make(chan struct{})
		u.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// waitFor waits until done says so of the events collected so far.
func (u *user) waitFor(what string, done func(events []chat.Event, err error) bool) {
	u.t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		u.mu.Lock()
		ok, changed, n, err := done(u.events, u.err), u.changed, len(u.events), u.err
		u.mu.Unlock()
		if ok {
			return
		}
		if err != nil {
			require.FailNow(u.t, "stream ended", "%s waits for %s: %v", u.name, what, err)
		}
		select {
		case <-changed:
		case <-timeout:
			require.FailNow(u.t, "timeout", "%s waits for %s, has %d events", u.name, what, n)
		}
	}
}

// expect waits for the next event of type E that ok accepts, skipping others.
func expect[E chat.Event](u *user, ok func(E) bool) E {
	u.t.Helper()
	var found E
	u.waitFor(fmt.Sprintf("%T", found), func(events []chat.Event, _ error) bool {
		for ; u.next < len(events); u.next++ {
			if e, is := events[u.next].(E); is && (ok == nil || ok(e)) {
				found = e
				u.next++
				return true
			}
		}
		return false
	})
	return found
}

func (u *user) join(room string, from chat.From) *chat.Joined {
	u.t.Helper()
	require.NoError(u.t, u.Join(context.Background(), room, from))
	return expect(u, func(e *chat.Joined) bool { return e.Room == room })
}

// say publishes and waits for the acknowledgement.
func (u *user) say(room, text string) *chat.Sent {
	u.t.Helper()
	id, err := u.Publish(context.Background(), room, text)
	require.NoError(u.t, err)
	return expect(u, func(e *chat.Sent) bool { return e.ID == id })
}

func (u *user) expectPresence(who string, state chat.PresenceState) {
	u.t.Helper()
	e := expect[*chat.Presence](u, nil)
	assert.Equal(u.t, chat.Presence{Room: e.Room, Who: who, State: state}, *e)
}

// expectPresenceOf is expectPresence that skips what is of others.
func (u *user) expectPresenceOf(who string, state chat.PresenceState) {
	u.t.Helper()
	expect(u, func(e *chat.Presence) bool { return e.Who == who && e.State == state })
}

// expectNothing asserts that no event of type E is left.
func expectNothing[E chat.Event](u *user) {
	u.t.Helper()
	synctest.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range u.events[u.next:] {
		if _, is := e.(E); is {
			assert.Fail(u.t, "unexpected", "%s has %+v", u.name, e)
		}
	}
	u.next = len(u.events)
}

// all returns the collected events of type E.
func all[E chat.Event](u *user) []E {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []E
	for _, e := range u.events {
		if e, is := e.(E); is {
			out = append(out, e)
		}
	}
	return out
}

func texts(u *user) []string {
	var out []string
	for _, m := range all[*chat.Message](u) {
		out = append(out, m.Text)
	}
	return out
}

// ended waits for the end of the user's stream.
func (u *user) ended() error {
	u.t.Helper()
	u.waitFor("the end", func(_ []chat.Event, err error) bool { return err != nil })
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// leave releases the session.
func (u *user) release() {
	u.t.Helper()
	require.NoError(u.t, u.session.Release(context.Background()))
	assert.ErrorIs(u.t, u.ended(), io.EOF)
}

// raw is a chat stream that a test speaks on frame by frame.
type raw struct {
	t   testing.TB
	str *transport.Stream
}

func openRaw(t testing.TB, s *transport.Session) *raw {
	t.Helper()
	str, err := s.OpenStream(context.Background(), transport.StreamChat)
	require.NoError(t, err)
	return &raw{t: t, str: str}
}

// noGoroutineLeft checks that a test over real sockets leaves none. In bubbles
// synctest sees to it.
func noGoroutineLeft(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for range 200 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
	})
}

func code(err error) transport.CloseCode {
	c, _ := transport.CodeOf(err)
	return c
}

var errBroken = errors.New("the disk is gone")
