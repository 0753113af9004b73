package rpc_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
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

// The reason for QUIC: calls on streams of their own against the same calls on one stream, which is
// what RPC over one TCP connection is. The network is simulated and the clock fake, so the numbers are
// exact, and the same on every machine.

// pipe echoes messages on one stream, in order.
var pipe = rpc.Bidi[rpc.Raw, rpc.Raw]("test.Echo/Pipe")

// A caller makes a small call.
type caller func(ctx context.Context, request []byte) error

// ownStreams makes each call on a stream of its own.
func ownStreams(client *transport.Session) (call caller, bulk func(ctx context.Context) error) {
	call = func(ctx context.Context, request []byte) error {
		raw := rpc.Raw(request)
		_, err := octets.Call(ctx, client, &raw)
		return err
	}
	bulk = func(ctx context.Context) error {
		s, err := pipe.Call(ctx, client)
		if err != nil {
			return err
		}
		defer s.Close()
		message := bulkMessage()
		for {
			if err := s.Send(&message); err != nil {
				return err
			}
		}
	}
	return call, bulk
}

// bulkMessage is larger than what is sent back: see newPipe.
func bulkMessage() rpc.Raw { return make(rpc.Raw, 1<<20) }

// oneStream makes all calls on one stream, told apart by an id.
func oneStream(t *testing.T, client *transport.Session) (call caller, bulk func(ctx context.Context) error) {
	t.Helper()
	s, err := pipe.Call(t.Context(), client)
	require.NoError(t, err)
	writing := make(chan struct{}, 1) // a mutex, but one that a fake clock sees waiting
	var mu sync.Mutex                 // guards what follows
	var next uint64
	waiting := make(map[uint64]chan struct{})
	go func() {
		for m, err := range s.All() {
			if err != nil {
				return
			}
			mu.Lock()
			id := binary.BigEndian.Uint64(*m)
			if c, ok := waiting[id]; ok {
				close(c)
				delete(waiting, id)
			}
			mu.Unlock()
		}
	}()
	send := func(m rpc.Raw) error {
		writing <- struct{}{}
		defer func() { <-writing }()
		return s.Send(&m)
	}
	call = func(ctx context.Context, request []byte) error {
		mu.Lock()
		next++
		id, answered := next, make(chan struct{})
		waiting[id] = answered
		mu.Unlock()
		if err := send(append(binary.BigEndian.AppendUint64(nil, id), request...)); err != nil {
			return err
		}
		select {
		case <-answered:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	bulk = func(ctx context.Context) error {
		message := bulkMessage()
		for ctx.Err() == nil {
			if err := send(message); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	return call, bulk
}

// newPipe serves octets and pipe. Of a large message pipe keeps the answer to itself.
func newPipe() *rpc.Mux {
	mux := newEcho(rpc.Config{}).mux
	rpc.Handle(mux, pipe, func(_ context.Context, s *rpc.Stream[rpc.Raw, rpc.Raw]) error {
		for {
			m, err := s.Recv()
			if err != nil {
				if err == io.EOF { //nolint:errorlint // as the documentation of Recv says
					return nil
				}
				return err
			}
			if len(*m) > 1<<10 {
				continue
			}
			if err := s.Send(m); err != nil {
				return err
			}
		}
	})
	return mux
}

// A link is what the packets go over.
type link struct {
	rtt  time.Duration
	loss float64 // of all packets, either way
	rate int     // bits per second; 0: no limit
}

// latency of small calls.
type latency struct {
	p50, p99 time.Duration
	late     float64 // the share that took a tenth longer than the round trip
}

func (l latency) String() string {
	return fmt.Sprintf("p50 %v, p99 %v, late %.1f%%", l.p50.Round(100*time.Microsecond), l.p99.Round(100*time.Microsecond), 100*l.late)
}

// measure makes one small call every interval, whether or not those before are answered, and
// counts the latency of each from the time when it was due.
func measure(t *testing.T, l link, own, beside bool, calls int, interval time.Duration) (result latency) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New(t, l.rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(newPipe())})
		client := n.Dial(srv, "alice", transport.Config{})
		var call caller
		var bulk func(ctx context.Context) error
		if own {
			call, bulk = ownStreams(client)
		} else {
			call, bulk = oneStream(t, client)
		}
		require.NoError(t, call(t.Context(), []byte("warm up")))
		if l.rate > 0 {
			n.Limit(l.rate, l.rate/8/100) // a queue of ten milliseconds
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		n.Drop(func(transporttest.Packet) bool { return rnd.Float64() < l.loss })

		ctx, cancel := context.WithCancel(t.Context())
		var background, foreground sync.WaitGroup
		if beside {
			background.Go(func() { _ = bulk(ctx) }) // until it is canceled
			time.Sleep(2 * time.Second)             // it has found the link's rate
		}
		latencies := make([]time.Duration, calls)
		request := make([]byte, 64)
		for i := range calls {
			due := time.Now()
			foreground.Go(func() {
				assert.NoError(t, call(ctx, request))
				latencies[i] = time.Since(due)
			})
			time.Sleep(interval)
		}
		foreground.Wait()
		cancel()
		n.Drop(nil)
		client.Abort(transport.Aborted, "done")
		background.Wait()
		slices.Sort(latencies)
		onTime, _ := slices.BinarySearch(latencies, l.rtt*11/10)
		result = latency{latencies[calls/2], latencies[calls*99/100], 1 - float64(onTime)/float64(calls)}
	})
	return result
}

// eachLink runs test for round trips of 20 and 60 ms, and losses of 0, 1 and 3 percent.
func eachLink(t *testing.T, rate int, test func(t *testing.T, l link)) {
	t.Helper()
	for _, roundTrip := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond} {
		for _, loss := range []float64{0, 0.01, 0.03} {
			t.Run(fmt.Sprintf("%v %v%%", roundTrip, loss*100), func(t *testing.T) {
				test(t, link{rtt: roundTrip, loss: loss, rate: rate})
			})
		}
	}
}

// A lost packet of one call delays no other (R2): with calls on their own streams only those are late
// that lost a packet themselves; on one stream all that came behind.
func TestR2LossUnderLoad(t *testing.T) {
	eachLink(t, 0, func(t *testing.T, l link) {
		// Twenty calls in a round trip, which congestion control allows at any of these losses.
		own := measure(t, l, true, false, 1500, l.rtt/20)
		one := measure(t, l, false, false, 1500, l.rtt/20)
		t.Logf("own streams: %v; one stream: %v", own, one)
		assert.LessOrEqual(t, own.p50, l.rtt+time.Millisecond)
		if l.loss > 0 {
			assert.Less(t, own.late, 3*l.loss, "a call has a packet each way")
			assert.Greater(t, one.late, 5*own.late)
		}
	})
}

// Small calls beside a bulk stream on a link of 50 Mbit/s: on one stream they wait behind its
// messages, on their own for what is in the network. What they take beyond the round trip is at most
// a fifth.
func TestSmallCallsBesideABulkStream(t *testing.T) {
	eachLink(t, 50_000_000, func(t *testing.T, l link) {
		own := measure(t, l, true, true, 300, 10*time.Millisecond)
		one := measure(t, l, false, true, 300, 10*time.Millisecond)
		t.Logf("own streams: %v; one stream: %v", own, one)
		assert.Less(t, own.p99-l.rtt, (one.p99-l.rtt)/5)
	})
}
