package transport

import (
	"time"

	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
)

// pingPadding makes a PING's packet long enough to draw a stateless reset from a server
// that has restarted: quic-go answers packets of 43 bytes or more, and its own keepalives
// have 25, so without it a restart was noticed after a minute.
const pingPadding = 48

// pingLooks is how often, in each Config.PingAfter, a client looks for signs of life.
const pingLooks = 5

// A pinger sends PING on the control stream of a client whose server has been silent, or that wakes from sleep. Any
// packet is a sign of life. Its methods hold the link's lock.
type pinger struct {
	timer   *time.Timer
	packets uint64    // received when it last looked
	heard   time.Time // when it last found that number changed, or sent a PING
	looked  time.Time // when it last looked
	stopped bool
}

func (p *pinger) start(l *link) {
	if l.cfg.PingAfter < 0 || p.stopped {
		return
	}
	p.heard = time.Now()
	p.looked = p.heard
	p.timer = time.AfterFunc(l.cfg.PingAfter/pingLooks, l.checkAlive)
}

func (p *pinger) stop() {
	p.stopped = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// due says whether to send a PING now.
func (p *pinger) due(packets uint64, after time.Duration) bool {
	now := time.Now()
	woken := slept(now.Round(0).Sub(p.looked.Round(0)), now.Sub(p.looked)) // Round(0) leaves the wall clock
	p.looked = now
	silent := packets == p.packets || woken
	if silent && !woken && now.Sub(p.heard) < after {
		return false
	}
	p.packets, p.heard = packets, now
	return silent
}

// slept says whether the machine has slept meanwhile: the monotonic clock, which timers and QUIC's idle timeout go by,
// stands still then on Linux and macOS, and the wall clock does not. Whoever has slept for long would take a dead
// connection for live, and asks at once; so it does when the wall clock was set, which costs a PING.
func slept(wall, monotonic time.Duration) bool { return wall-monotonic > time.Second }

// checkAlive sends a PING if nothing has been heard for Config.PingAfter.
func (l *link) checkAlive() {
	packets := l.conn.ConnectionStats().PacketsReceived
	l.mu.Lock()
	if l.pinger.stopped {
		l.mu.Unlock()
		return
	}
	due := l.pinger.due(packets, l.cfg.PingAfter)
	l.pinger.timer.Reset(l.cfg.PingAfter / pingLooks)
	l.mu.Unlock()
	if due {
		_ = l.send(appendMessage(nil, framePing, &controlpb.Ping{Padding: make([]byte, pingPadding)})) // closes the link on failure
	}
}
