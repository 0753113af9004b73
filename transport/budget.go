package transport

import (
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// A budget bounds bytes; a negative one does not.
type budget struct {
	most int64
	used atomic.Int64
}

// take takes n bytes, and says whether they were there.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.most && b.most >= 0 {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// allowWindow says whether a connection's receive window may grow by delta bytes (quic.Config.
// AllowConnectionWindowIncrease). What it takes it has until it ends.
func (srv *Server) allowWindow(conn *quic.Conn, delta uint64) bool {
	ad := admittedFrom(conn)
	if !srv.windows.take(int64(delta)) {
		srv.counters.drop(DropWindow)
		return false
	}
	if ad.window.Add(int64(delta)); ad.over.Load() { // meanwhile, and end may not have seen it
		srv.windows.give(ad.window.Swap(0))
	}
	return true
}
