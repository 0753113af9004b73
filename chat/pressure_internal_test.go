package chat

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/internal/wire"
	"github.com/trunkline-go/trunkline/transport"
)

type countingLog struct {
	Log
	mu   sync.Mutex
	most int
}

func (l *countingLog) Append(ctx context.Context, room string, head uint64, entries []Entry, snapshot []byte) ([]Result, error) {
	l.mu.Lock()
	l.most = max(l.most, len(entries))
	l.mu.Unlock()
	return l.Log.Append(ctx, room, head, entries, snapshot)
}

// sunkConn returns a stream of a session whose writes go nowhere.
func sunkConn(ctx context.Context, srv *Server, who string) *conn {
	s := &session{srv: srv, ctx: ctx, who: who, rooms: make(map[string]*claim), abort: func(transport.CloseCode, string) {}}
	str := &sink{}
	c := newConn(s, str)
	str.conn, s.conn = c, c
	return c
}

// Messages of one byte count for what they cost, not for one byte.
func TestS5TinyMessagesThatWaitForTheLogAreBound(t *testing.T) {
	srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
	defer srv.Close()
	c := sunkConn(t.Context(), srv, "a")
	n := 0
	for ; n < 1<<20; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := c.waitForLog(ctx, 1+messageCost)
		cancel()
		if err != nil {
			break
		}
	}
	assert.Less(t, n, 4096, "messages of one byte that may wait")
}

// A batch is bound in messages, too: nothing is acknowledged before all of it is appended.
func TestABatchIsBoundInMessages(t *testing.T) {
	log := &countingLog{Log: NewMemoryLog(MemoryLogConfig{})}
	srv := NewServer(Config{Log: log})
	defer srv.Close()
	r := newRoom(srv, "r")
	r.known = &snapshot{} // as with any room that has a member
	c := sunkConn(t.Context(), srv, "a")
	r.mail = make(chan *request, 20_000)
	r.members[c.session] = &member{sub: &subscription{room: r, conn: c}}
	r.refs = 30_000
	for i := range 20_000 {
		r.mail <- &request{kind: requestPublish, session: c.session, conn: c, cost: 1 + messageCost, entries: []Entry{{From: "a", ID: strconv.Itoa(i), Body: []byte("x")}}}
	}
	r.work(<-r.mail)
	assert.LessOrEqual(t, log.most, 5000)
}

// What a PUBLISH costs is bound by its length, however many entries it has and however long its room's
// name is: each rejection has that name.
func TestS5ManyEntriesForALongRoom(t *testing.T) {
	srv := NewServer(Config{Log: NewMemoryLog(MemoryLogConfig{})})
	defer srv.Close()
	c := sunkConn(t.Context(), srv, "a")
	body := wire.AppendBytes(nil, fieldRoom, make([]byte, maxPublish(defaultMaxBody)/2))
	for range len(body) / 2 {
		body = appendEntry(body, "", "", KindText, 0)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_ = c.publish(t.Context(), body) // how it ends does not matter here
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), "bytes allocated for %d", len(body))
}
