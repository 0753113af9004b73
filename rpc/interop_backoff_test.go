package rpc_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A doorkeeper sees when connections ask for a session, and turns them away while closed.
type doorkeeper struct {
	mu     sync.Mutex // guards what follows
	closed bool
	at     []time.Time
}

func (d *doorkeeper) authorize(context.Context, transport.Peer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = append(d.at, time.Now())
	if d.closed {
		return &transport.Error{Code: transport.ExcessiveLoad, Reason: "not now"}
	}
	return nil
}

// set closes or opens, and returns when it was asked since the last time.
func (d *doorkeeper) set(closed bool) []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.at
	d.closed, d.at = closed, nil
	return at
}

// "Reconnect backoff", by connection-backoff-interop-test-description.md: a server that turns its client away for nine minutes measures
// the time between the attempts. Each wait is random below a bound, 100 ms at first, that doubles up to 10 s; a call that
// waits meanwhile is answered when the server lets its client in, and then the bound begins anew.
func TestInterop_reconnect_backoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const handshake = 3 * rtt // and what turns it away
		door := new(doorkeeper)
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux), Authorize: door.authorize})
		session, server := n.Pair(srv, "alice", transport.Config{NewPacketConn: n.NewConn})
		time.Sleep(time.Minute)
		for range 2 {
			door.set(true)
			lost := time.Now()
			server.Abort(transport.Internal, "")
			time.Sleep(rtt)
			answered := make(chan error, 1)
			go func() { answered <- kinds["unary"](t.Context(), session) }()
			time.Sleep(540 * time.Second)
			synctest.Wait()

			attempts := door.set(false)
			require.NotEmpty(t, attempts)
			bound := 100 * time.Millisecond
			for _, at := range attempts {
				assert.LessOrEqual(t, at.Sub(lost), bound+handshake)
				bound, lost = min(2*bound, 10*time.Second), at
			}
			assert.InDelta(t, 540/5, len(attempts), 35, "half of the longest bound apart, on the average")
			begun := time.Now()
			require.NoError(t, <-answered)
			assert.LessOrEqual(t, time.Since(begun), 10*time.Second+2*handshake)
			require.NoError(t, session.Context().Err(), "it is the same session")

			time.Sleep(time.Minute)
			sessions := srv.Sessions()
			require.Len(t, sessions, 1)
			server = sessions[0]
		}
		assert.EqualValues(t, 2, e.calls.Load())
	})
}
