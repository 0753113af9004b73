package chat_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// C7: whatever happens in a room, small or big, what anyone in it was told when they joined, and the events after it, equal what
// somebody is told who joins now; and the same holds for the room's settings. More of it: -rapid.checks 1000.
func TestC7SnapshotAndEventsEqualAFreshSnapshot(t *testing.T) {
	defaultChecks(t, 20)
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			g := newGathering(t, rapid.Bool().Draw(t, "big"))
			for i := range rapid.IntRange(0, users).Draw(t, "users who are there") {
				g.devices[2*i].join()
			}
			time.Sleep(2 * time.Second)
			t.Repeat(g.actions())
			g.compare()
			g.settle()
		})
	})
}

// defaultChecks has rapid make n checks, unless the command line says how many.
func defaultChecks(t *testing.T, n int) {
	t.Helper()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if asked {
		return
	}
	f := flag.Lookup("rapid.checks")
	before := f.Value.String()
	require.NoError(t, f.Value.Set(strconv.Itoa(n)))
	t.Cleanup(func() { _ = f.Value.Set(before) })
}

const users = 4

// A gathering is a room with root, who is always there, and devices that come and go.
type gathering struct {
	t        *rapid.T
	h        *house
	root     *device
	settings chat.Settings // when root joined
	devices  []*device     // of each user two
	topics   int
}

func newGathering(t *rapid.T, big bool) *gathering {
	tb := &rapidTB{T: t}
	g := &gathering{t: t, h: &house{t: tb, net: transporttest.New(tb, rtt)}}
	g.h.start(chat.Config{Log: newLog(), Administrator: administrators("root")})
	if big {
		g.h.chat.SetBigRoom(2, 2)
	}
	for i := range 2 * users {
		g.devices = append(g.devices, &device{h: g.h, name: fmt.Sprintf("u%d", i/2)})
	}
	g.root = &device{h: g.h, name: "root"}
	g.h.net.Drop(func(p transporttest.Packet) bool {
		for _, d := range g.devices {
			if d.drops(p) {
				return true
			}
		}
		return false
	})
	t.Cleanup(func() { // before the house is closed, and nobody waits
		for _, d := range g.devices {
			d.pause(false)
		}
	})
	g.root.join()
	time.Sleep(time.Second)
	_, err := g.root.client.Publish(t.Context(), "lobby", "x") // before its first record there is no room
	require.NoError(t, err)
	time.Sleep(time.Second)
	g.settings = g.show()
	return g
}

// show returns the room's settings.
func (g *gathering) show() chat.Settings {
	res, err := chat.Show.Call(g.t.Context(), g.root.session, &chat.ShowRequest{Room: "lobby"})
	require.NoError(g.t, err)
	return res.Settings
}

// actions are what may happen next. What comes first by its name happens more often: rapid draws it so.
func (g *gathering) actions() map[string]func(*rapid.T) {
	// with is an action of a device; a call that takes longer than a second is given up.
	with := func(do func(ctx context.Context, d *device)) func(*rapid.T) {
		return func(t *rapid.T) {
			i := rapid.IntRange(0, len(g.devices)-1).Draw(t, "of device") // 2i and 2i+1 are of one user
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			do(ctx, g.devices[i])
		}
	}
	live := func(do func(ctx context.Context, d *device)) func(*rapid.T) {
		return with(func(ctx context.Context, d *device) {
			if d.session != nil {
				do(ctx, d)
			}
		})
	}
	sleep := func(d time.Duration) func(*rapid.T) { return func(*rapid.T) { time.Sleep(d) } }
	return map[string]func(*rapid.T){
		"1 join":      with(func(_ context.Context, d *device) { d.join() }),
		"1 leave":     live(func(ctx context.Context, d *device) { _ = d.client.Leave(ctx, "lobby") }),
		"6 wait 0.3s": sleep(300 * time.Millisecond),
		"6 wait 1.5s": sleep(1500 * time.Millisecond),
		"6 wait 40s":  sleep(40 * time.Second),
		"5 compare":   func(*rapid.T) { g.compare() },
		"4 flood":     func(*rapid.T) { g.flood() },
		"3 stall": with(func(_ context.Context, d *device) {
			d.pause(true)
			g.flood()
		}),
		"5 read":    with(func(_ context.Context, d *device) { d.pause(false) }),
		"5 cut":     with(func(_ context.Context, d *device) { d.cut(true) }),
		"6 heal":    with(func(_ context.Context, d *device) { d.cut(false) }),
		"2 replace": live(func(_ context.Context, d *device) { d.replace() }),
		"5 say":     live(func(ctx context.Context, d *device) { _, _ = d.client.Publish(ctx, "lobby", "x") }),
		"2 abort":   live(func(_ context.Context, d *device) { d.session.Abort(transport.Aborted, "") }),
		"2 release": live(func(ctx context.Context, d *device) {
			d.pause(false) // or nobody would read to the end
			_ = d.session.Release(ctx)
		}),
		"7 topic": func(t *rapid.T) {
			g.topics++
			_, err := chat.SetTopic.Call(t.Context(), g.root.session, &chat.SetTopicRequest{Room: "lobby", Topic: fmt.Sprint(g.topics)})
			require.NoError(t, err)
		},
		"7 kick": with(func(ctx context.Context, d *device) { // fails if it is not there
			_, _ = chat.Kick.Call(ctx, g.root.session, &chat.KickRequest{Room: "lobby", Who: d.name})
		}),
		"8 ban": with(func(ctx context.Context, d *device) {
			_, err := chat.Ban.Call(ctx, g.root.session, &chat.SanctionRequest{Room: "lobby", Who: d.name})
			require.NoError(g.t, err)
		}),
		"7 unban": with(func(ctx context.Context, d *device) { // fails if it is not banned
			_, _ = chat.Unban.Call(ctx, g.root.session, &chat.UnsanctionRequest{Room: "lobby", Who: d.name})
		}),
	}
}

// flood publishes more than the ring has, and more than the credit.
func (g *gathering) flood() {
	for range 400 {
		_, err := g.root.client.Publish(g.t.Context(), "lobby", kilobyte)
		require.NoError(g.t, err)
	}
}

// compare has somebody join, and compares what it is told with what all know who could be told by now.
func (g *gathering) compare() {
	time.Sleep(2 * time.Second)
	fresh := &device{h: g.h, name: "fresh"}
	fresh.join()
	time.Sleep(2 * time.Second)
	synctest.Wait()
	_, want, fault := fresh.view()
	require.Empty(g.t, fault)
	require.Contains(g.t, want, "root")
	require.Contains(g.t, want, "fresh")
	for _, d := range append(slices.Clone(g.devices), g.root) {
		there, knows, fault := d.view()
		require.Empty(g.t, fault, "what %s was told", d.name)
		if there && d.isUpToDate() {
			require.Equal(g.t, want, knows, "what %s knows", d.name)
		}
	}
	require.NoError(g.t, fresh.client.Leave(g.t.Context(), "lobby"))
	require.NoError(g.t, fresh.session.Release(g.t.Context()))
}

// settle waits until nothing happens any more: then who is there are those who know that they are, and the settings what root has seen
// become of them.
func (g *gathering) settle() {
	for _, d := range g.devices {
		d.cut(false)
		d.pause(false)
	}
	time.Sleep(3 * time.Minute)
	g.compare()
	time.Sleep(2 * time.Second)
	synctest.Wait()
	want := []string{"root"}
	for _, d := range g.devices {
		if there, _, _ := d.view(); there {
			want = append(want, d.name)
		}
	}
	st := g.h.chat.Stats()
	require.Equal(g.t, [3]int{}, [3]int{st.Held, st.Lagging, st.Stalled})
	slices.Sort(want)
	_, got, fault := g.root.view()
	require.Empty(g.t, fault)
	require.Equal(g.t, slices.Compact(want), got)

	settings := g.settings
	g.root.mu.Lock()
	changes := slices.Clone(g.root.changes)
	g.root.mu.Unlock()
	for _, c := range changes {
		settings.Apply(c.By, &c.Change)
	}
	seen, err := json.Marshal(settings) // where an empty map is none
	require.NoError(g.t, err)
	fresh, err := json.Marshal(g.show())
	require.NoError(g.t, err)
	require.Equal(g.t, string(fresh), string(seen))
}

// A device has one session after the other, with one client after the other, and notes what the newest is told.
type device struct {
	h       *house
	name    string
	session *transport.Session
	client  *chat.Client
	healed  time.Time

	mu       sync.Mutex // guards what follows
	addrs    map[string]bool
	isCut    bool
	paused   chan struct{} // closed when it reads again; nil if it does
	there    bool
	detached bool
	members  map[string]bool
	changes  []*chat.Changed
	fault    string
}

func (d *device) join() {
	if d.session == nil || d.session.Context().Err() != nil {
		if d.drops(transporttest.Packet{}) || d.isCut {
			return // it would not come through
		}
		d.session = d.h.net.Dial(d.h.srv, d.name, transport.Config{NewPacketConn: d.newConn})
		d.attach()
	}
	_ = d.client.Join(d.h.ctx(), "lobby", chat.Live()) // fails if its stream has ended
}

// replace joins on a newer stream of the session.
func (d *device) replace() {
	if d.session == nil || d.isCut || d.session.Context().Err() != nil {
		return
	}
	d.attach()
	d.join()
}

func (d *device) attach() {
	ctx, cancel := context.WithTimeout(d.h.ctx(), time.Second)
	defer cancel()
	c, err := chat.NewClient(ctx, d.session, chat.ClientConfig{})
	if err != nil {
		return // the session has ended, or has lost its connection
	}
	d.mu.Lock()
	d.client = c // only changed here, and what the one before is told does not count any more
	d.there, d.detached = false, false
	d.mu.Unlock()
	go d.collect(c)
}

func (d *device) newConn() (net.PacketConn, error) {
	c := d.h.net.Conn()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.addrs == nil {
		d.addrs = make(map[string]bool)
	}
	d.addrs[c.LocalAddr().String()] = true
	return c, nil
}

func (d *device) drops(p transporttest.Packet) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.isCut && p.From != nil && (d.addrs[p.From.String()] || d.addrs[p.To.String()])
}

func (d *device) cut(cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isCut && !cut {
		d.healed = time.Now()
	}
	d.isCut = cut
}

func (d *device) pause(pause bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case pause && d.paused == nil:
		d.paused = make(chan struct{})
	case !pause && d.paused != nil:
		close(d.paused)
		d.paused = nil
	}
}

// isUpToDate says whether it has been told what there is to tell.
func (d *device) isUpToDate() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.paused == nil && !d.isCut && !d.detached && time.Since(d.healed) > time.Minute
}

// view returns whether the device is in the room, as far as it knows, who is there, and what of what it was told is wrong.
func (d *device) view() (there bool, members []string, fault string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.there, slices.Sorted(maps.Keys(d.members)), d.fault
}

func (d *device) collect(c *chat.Client) {
	for {
		d.mu.Lock()
		paused := d.paused
		d.mu.Unlock()
		if paused != nil {
			<-paused
			continue
		}
		e, err := c.Next(context.Background())
		if !d.note(c, e, err) {
			return
		}
	}
}

func (d *device) note(c *chat.Client, e chat.Event, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != c {
		return err == nil // it has been replaced; what it is told still does not matter
	}
	list := func(names []string) {
		d.members = make(map[string]bool)
		for _, who := range names {
			d.members[who] = true
		}
		if !slices.IsSorted(names) || len(d.members) != len(names) || !d.members[d.name] {
			d.fault = fmt.Sprintf("that these are there: %v", names)
		}
	}
	switch e := e.(type) {
	case nil:
		d.there = false
		return false
	case *chat.Joined:
		d.there = true
		list(e.Members)
	case *chat.Members:
		d.detached = false
		list(e.Names)
	case *chat.Left:
		d.there = false
	case *chat.Rejected:
		if e.Request == chat.RequestJoin && e.Code.String() != "FailedPrecondition" {
			d.there, d.detached = false, false
		}
	case *chat.Detached:
		d.detached = true
	case *chat.Changed:
		d.changes = append(d.changes, e)
	case *chat.Presence:
		there := e.State == chat.PresenceJoined || e.State == chat.PresenceBack
		if d.members[e.Who] == there {
			d.fault = fmt.Sprintf("%+v, which is no change to %v", *e, slices.Sorted(maps.Keys(d.members)))
		}
		if there {
			d.members[e.Who] = true
		} else {
			delete(d.members, e.Who)
		}
	}
	return err == nil
}

// A rapidTB is a rapid.T for what wants a testing.TB.
type rapidTB struct {
	testing.TB // nil: what is not here is not used
	T          *rapid.T
}

func (r *rapidTB) Helper()                           { r.T.Helper() }
func (r *rapidTB) Cleanup(f func())                  { r.T.Cleanup(f) }
func (r *rapidTB) Context() context.Context          { return r.T.Context() }
func (r *rapidTB) Name() string                      { return r.T.Name() }
func (r *rapidTB) Log(args ...any)                   { r.T.Log(args...) }
func (r *rapidTB) Logf(format string, args ...any)   { r.T.Logf(format, args...) }
func (r *rapidTB) Error(args ...any)                 { r.T.Error(args...) }
func (r *rapidTB) Errorf(format string, args ...any) { r.T.Errorf(format, args...) }
func (r *rapidTB) Fatal(args ...any)                 { r.T.Fatal(args...) }
func (r *rapidTB) Fatalf(format string, args ...any) { r.T.Fatalf(format, args...) }
func (r *rapidTB) Fail()                             { r.T.Fail() }
func (r *rapidTB) FailNow()                          { r.T.FailNow() }
func (r *rapidTB) Failed() bool                      { return r.T.Failed() }
