package chat_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// The weather decides what becomes of packets.
type weather struct {
	mu    sync.Mutex // guards what follows
	paths []*path    // of members
	owner map[string]*path
	share int // of all packets, in percent, that are lost
	thick time.Time
	dice  *rand.Rand
}

// A path is what becomes of a member's packets. Of two: to the server, and from it.
type path struct {
	gone    [2]map[string]bool // addresses that no packet comes from, or to, any more
	cut     [2]time.Time       // until then all are lost
	skip, n [2]int             // behind so many, so many are lost
	late    time.Duration
	slow    time.Time // until then every other one is late
	count   int
	addrs   map[string]bool // since the connection before was cut
}

func newWeather(members int) *weather {
	w := &weather{owner: make(map[string]*path), dice: rand.New(rand.NewPCG(1, 2))}
	for range members {
		p := &path{addrs: make(map[string]bool)}
		p.gone[0], p.gone[1] = make(map[string]bool), make(map[string]bool)
		w.paths = append(w.paths, p)
	}
	return w
}

// register says that packets from and to addr are of member i.
func (w *weather) register(i int, addr net.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owner[addr.String()] = w.paths[i]
	w.paths[i].addrs[addr.String()] = true
}

// ways returns the indices of a direction.
func ways(way string) []int {
	return map[string][]int{directions[0]: {0}, directions[1]: {1}, directions[2]: {0, 1}}[way]
}

func (w *weather) cut(i int, way string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range ways(way) {
		w.paths[i].cut[k] = time.Now().Add(d)
	}
}

func (w *weather) cutConnection(i int, way string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.paths[i]
	for _, k := range ways(way) {
		for addr := range p.addrs {
			p.gone[k][addr] = true
		}
	}
	p.addrs = make(map[string]bool)
}

func (w *weather) lose(i int, way string, skip, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range ways(way) {
		w.paths[i].skip[k], w.paths[i].n[k] = skip, n
	}
}

func (w *weather) slow(i int, by, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths[i].late, w.paths[i].slow = by, time.Now().Add(d)
}

func (w *weather) thin(share int, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.share, w.thick = share, time.Now().Add(d)
}

// pathLocked returns whose packet it is, which way it goes, and the member's address.
func (w *weather) pathLocked(packet transporttest.Packet) (p *path, k int, addr string) {
	from, to := packet.From.String(), packet.To.String()
	if p, ok := w.owner[from]; ok {
		return p, 0, from
	}
	return w.owner[to], 1, to
}

func (w *weather) isLost(packet transporttest.Packet) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Before(w.thick) && w.dice.IntN(100) < w.share {
		return true
	}
	p, k, addr := w.pathLocked(packet)
	switch {
	case p == nil:
		return false
	case p.gone[k][addr] || now.Before(p.cut[k]):
		return true
	case p.skip[k] > 0:
		p.skip[k]--
	case p.n[k] > 0:
		p.n[k]--
		return true
	}
	return false
}

func (w *weather) isLate(packet transporttest.Packet) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, _, _ := w.pathLocked(packet)
	if p == nil || time.Now().After(p.slow) {
		return 0
	}
	p.count++
	return time.Duration(p.count%2) * p.late
}
