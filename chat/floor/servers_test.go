package floor_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline-go/trunkline/chat/floor"
)

// A peer is one of several servers that share a log, with its sessions.
type peer struct {
	f        *floor.Floor
	known    []byte // the state that f is of
	sessions []floor.Party
	lost     []floor.Party
	gone     []floor.Party // have ended
}

// A cluster is servers that share the log of one floor. A server that has not seen the newest state can append nothing.
type cluster struct {
	t        *rapid.T
	now      time.Time
	settings floor.Settings
	state    []byte // in the log
	history  history
	of       map[uint64]string // whose each request is
	peers    []*peer
	next     byte
}

// see has a server take in what the log has.
func (c *cluster) see(p *peer) {
	if string(p.known) == string(c.state) {
		return
	}
	require.NoError(c.t, p.f.Reload(c.state, 1, true, c.now))
	p.known = c.state
}

// commit appends what a server has decided, if it had seen the newest state; or the outcome is that, but it ends before it knows.
func (c *cluster) commit(p *peer, d floor.Decision) {
	if len(d.Transitions) == 0 {
		p.f.Commit(d)
		return
	}
	if string(p.known) != string(c.state) {
		return // a conflict
	}
	for _, tr := range d.Transitions {
		c.history.add(c.t, tr)
		if tr.Why == floor.Lost && tr.To.Terminal() && !has(p, slices.Concat(p.lost, p.gone), tr.Request) {
			require.False(c.t, c.served(tr.Request), "request %d is revoked or cancelled as lost, and another server has its session", tr.Request)
		}
	}
	c.state = d.Encode()
	p.f.Commit(d)
	p.known = c.state
}

// served says whether a session of a request is there with a server that is.
func (c *cluster) served(request uint64) bool {
	for _, p := range c.peers {
		if has(p, p.sessions, request) {
			return true
		}
	}
	return false
}

// has says whether one of the sessions of a server has a request.
func has(p *peer, sessions []floor.Party, request uint64) bool {
	return slices.ContainsFunc(sessions, func(s floor.Party) bool {
		r, ok := p.f.RequestOf(s.Session)
		return ok && r.Request == request
	})
}

// settle has all servers see what there is to see and do what is due, until nothing is.
func (c *cluster) settle() {
	for range 100 {
		quiet := true
		for _, p := range c.peers {
			c.see(p)
			if at, ok := p.f.NextDeadline(c.now); ok && !at.After(c.now) {
				quiet = false
				c.commit(p, p.f.Due(c.now))
			}
		}
		if quiet {
			c.check()
			return
		}
	}
	require.Fail(c.t, "the servers answer each other for ever")
}

// check is C5: of all sessions at all servers one may publish, at most, with one number.
func (c *cluster) check() {
	may := 0
	for _, p := range c.peers {
		for _, s := range append(p.sessions, p.lost...) {
			for n := range c.history.grant + 2 {
				if p.f.MayPublish(s.Session, n) {
					may++
					require.Equal(c.t, c.history.grant, n)
					require.Equal(c.t, c.of[c.history.holder], s.Who)
				}
			}
		}
	}
	require.LessOrEqual(c.t, may, 1, "C5")
}

func (c *cluster) start() {
	f, err := floor.Restart(c.state, c.settings, 1, c.now)
	require.NoError(c.t, err)
	c.peers = append(c.peers, &peer{f: f, known: c.state})
}

// do has a server do something that may be refused; it may have missed what others have done.
func (c *cluster) do(p *peer, a floor.Action) {
	d, err := p.f.Decide(a, c.now)
	if err != nil {
		return
	}
	before := string(c.state)
	c.commit(p, d)
	if string(c.state) != before && d.Request != 0 {
		if r, ok := p.f.Request(d.Request); ok {
			c.of[d.Request] = r.Who
		}
	}
}

func (c *cluster) steps() map[string]func(*rapid.T) {
	some := func(t *rapid.T) *peer { return rapid.SampledFrom(c.peers).Draw(t, "server") }
	session := func(t *rapid.T) (*peer, floor.Party) {
		p := some(t)
		if len(p.sessions) == 0 || len(p.sessions) < 4 && rapid.Bool().Draw(t, "another") {
			c.next++
			s := party(fmt.Sprint("member", rapid.IntRange(0, 4).Draw(t, "who")), c.next)
			if rapid.IntRange(0, 4).Draw(t, "anonymous") == 0 {
				s.Producer = floor.Producer{}
			}
			p.sessions = append(p.sessions, s)
			p.f.Present(s) // which may take over what another server serves: the same client has gone over
		}
		return p, rapid.SampledFrom(p.sessions).Draw(t, "session")
	}
	drop := func(t *rapid.T) (*peer, floor.Party) {
		p, s := session(t)
		for i := range p.sessions {
			if p.sessions[i] == s {
				p.sessions = append(p.sessions[:i:i], p.sessions[i+1:]...)
				break
			}
		}
		return p, s
	}
	return map[string]func(*rapid.T){
		"request": func(t *rapid.T) {
			p, s := session(t)
			c.do(p, floor.Request{For: s, Priority: floor.Priority(rapid.IntRange(1, 3).Draw(t, "priority"))})
		},
		"release": func(t *rapid.T) { p, s := session(t); c.do(p, floor.Release{By: s.Who, Session: s.Session}) },
		"renew":   func(t *rapid.T) { p, s := session(t); c.do(p, floor.Renew{By: s, Grant: c.history.grant}) },
		"pass": func(t *rapid.T) {
			p, s := session(t)
			if h := p.f.Status(c.now).Holder; h != nil {
				c.do(p, floor.Pass{By: h.Who, To: s})
			}
		},
		"revoke": func(t *rapid.T) { c.do(some(t), floor.Revoke{By: "chair"}) },
		"accept": func(t *rapid.T) {
			c.do(some(t), floor.Grant{By: "chair", Request: rapid.Uint64Range(1, c.history.last+1).Draw(t, "request")})
		},
		"see":  func(t *rapid.T) { c.see(some(t)) },
		"due":  func(t *rapid.T) { p := some(t); c.commit(p, p.f.Due(c.now)) },
		"lost": func(t *rapid.T) { p, s := drop(t); p.f.Lost(s.Session, c.now); p.lost = append(p.lost, s) },
		"back": func(t *rapid.T) {
			if p := some(t); len(p.lost) > 0 {
				s := p.lost[0]
				p.lost = p.lost[1:]
				p.sessions = append(p.sessions, s)
				p.f.Present(s)
			}
		},
		"ended": func(t *rapid.T) {
			p, s := drop(t)
			p.f.Ended(s.Session, rapid.Bool().Draw(t, "in order"), c.now)
			p.gone = append(p.gone, s)
		},
		"ends": func(t *rapid.T) { // a server
			i := rapid.IntRange(0, len(c.peers)-1).Draw(t, "server")
			c.peers = append(c.peers[:i:i], c.peers[i+1:]...)
			if len(c.peers) == 0 {
				c.start()
			}
		},
		"begins": func(*rapid.T) {
			if len(c.peers) < 3 {
				c.start()
			}
		},
		"time": func(t *rapid.T) {
			c.settle()
			c.now = c.now.Add(time.Duration(rapid.IntRange(1, 4_900).Draw(t, "ms")) * time.Millisecond)
			c.settle()
		},
		"": func(*rapid.T) {},
	}
}

// C5, M146, M147: with several servers on one log, each of which may end at any time, be behind, and lose sessions, at most one session may publish
// under a grant, the numbers rise, no server ends what another serves, and every request ends when nobody is there any more.
func TestC5SeveralServersShareAFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cluster{t: t, now: epoch, of: make(map[uint64]string), history: history{state: make(map[uint64]floor.State)}}
		c.settings = floor.Settings{
			Grace: time.Duration(rapid.IntRange(-1, 40).Draw(t, "grace")) * time.Second, Longest: time.Hour,
			Chaired: rapid.Bool().Draw(t, "chaired"), NoChair: floor.NoChair(rapid.IntRange(0, 1).Draw(t, "no chair")),
		}
		c.state = floor.New(c.settings, 1, c.now).Encode()
		c.start()
		c.start()
		t.Repeat(c.steps())
		// All that are there go, and all servers but the last.
		for _, p := range c.peers {
			for _, s := range p.sessions {
				p.f.Lost(s.Session, c.now)
			}
			p.lost, p.sessions = append(p.lost, p.sessions...), nil
		}
		c.peers = c.peers[len(c.peers)-1:]
		until := c.now.Add(7 * time.Minute)
		for c.now.Before(until) {
			c.settle()
			c.now = c.now.Add(time.Second)
		}
		require.Zero(t, c.history.open(), "nobody waits for ever")
	})
}
