package health_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/health"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// start returns a session of a server that serves s.
func start(t *testing.T, s *health.Server) (*transport.Server, *transport.Session) {
	t.Helper()
	mux := rpc.NewMux(rpc.Config{})
	health.Register(mux, s)
	n := transporttest.New(t, 20*time.Millisecond)
	srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
	return srv, n.Dial(srv, "ann", transport.Config{})
}

func watch(t *testing.T, conn rpc.Conn, service string) *rpc.Receiver[health.Response] {
	t.Helper()
	w, err := health.Watch.Call(t.Context(), conn, &health.Request{Service: service})
	require.NoError(t, err)
	t.Cleanup(w.Close)
	return w
}

func next(t *testing.T, w *rpc.Receiver[health.Response]) health.Status {
	t.Helper()
	m, err := w.Recv()
	require.NoError(t, err)
	return m.Status
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := health.NewServer()
		_, conn := start(t, s)
		check := func(service string) (health.Status, error) {
			res, err := health.Check.Call(t.Context(), conn, &health.Request{Service: service})
			if err != nil {
				return "", err
			}
			return res.Status, nil
		}
		st, err := check("")
		require.NoError(t, err)
		assert.Equal(t, health.Serving, st)

		_, err = check("shop.Orders")
		assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
		for _, want := range []health.Status{health.Unknown, health.Serving, health.NotServing} {
			s.Set("shop.Orders", want)
			st, err = check("shop.Orders")
			require.NoError(t, err)
			assert.Equal(t, want, st)
		}
		s.Set("shop.Orders", health.ServiceUnknown)
		_, err = check("shop.Orders")
		assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
	})
}

// M95: Watch answers at once and at every change, and stays with a service that is not there yet.
func TestM95WatchTellsEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := health.NewServer()
		_, conn := start(t, s)
		whole, orders := watch(t, conn, ""), watch(t, conn, "shop.Orders")
		assert.Equal(t, health.Serving, next(t, whole))
		assert.Equal(t, health.ServiceUnknown, next(t, orders))

		for _, st := range []health.Status{health.Serving, health.NotServing, health.Unknown, health.ServiceUnknown, health.Serving} {
			s.Set("shop.Orders", st)
			assert.Equal(t, st, next(t, orders))
		}
		s.Set("shop.Orders", health.Serving) // is no change
		s.Set("shop.Carts", health.Serving)  // is another's
		s.Set("", health.Unknown)
		assert.Equal(t, health.Unknown, next(t, whole))
		s.Shutdown()
		assert.Equal(t, health.NotServing, next(t, whole))
		assert.Equal(t, health.NotServing, next(t, orders))
		s.Set("shop.Orders", health.Unknown) // comes to light when it resumes
		s.Resume()
		assert.Equal(t, health.Unknown, next(t, whole))
		assert.Equal(t, health.Unknown, next(t, orders))
	})
}

// M96: a drain tells everyone who watches that the server does not serve, and does not wait for any of them.
func TestM96ADrainTellsAndEndsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, conn := start(t, health.NewServer())
		whole, absent := watch(t, conn, ""), watch(t, conn, "absent")
		assert.Equal(t, health.Serving, next(t, whole))
		assert.Equal(t, health.ServiceUnknown, next(t, absent))

		began := time.Now()
		drained := make(chan error, 1)
		go func() { drained <- srv.Shutdown(context.Background()) }()
		assert.Equal(t, health.NotServing, next(t, whole))
		for _, w := range []*rpc.Receiver[health.Response]{whole, absent} {
			_, err := w.Recv()
			assert.Equal(t, rpc.Unavailable, rpc.CodeOf(err), "%v", err)
		}
		assert.NoError(t, <-drained)
		assert.Less(t, time.Since(began), 5*time.Second) // of the bubble's clock
	})
}

// M95: who does not read is sent what its window holds, and then the latest status; what was between is dropped.
func TestM95ASlowWatcherGetsTheLatestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const changes = 40_000
		s := health.NewServer()
		_, conn := start(t, s)
		w := watch(t, conn, "")
		assert.Equal(t, health.Serving, next(t, w))
		for i := range changes {
			s.Set("", []health.Status{health.NotServing, health.Serving}[i%2])
			synctest.Wait() // whoever watches has seen it
		}
		s.Set("", health.Unknown)

		got := 0
		for next(t, w) != health.Unknown {
			got++
		}
		assert.Less(t, got, changes/2)
	})
}

// R5: a watch leaves nothing behind, however it ends.
func TestR5WatchesLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails on a goroutine that is left
		s := health.NewServer()
		srv, conn := start(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 200 {
			w, err := health.Watch.Call(ctx, conn, &health.Request{Service: []string{"", "absent"}[i%2]})
			require.NoError(t, err)
			next(t, w)
			if i%4 == 0 {
				w.Close()
			}
		}
		cancel()
		time.Sleep(time.Second)
		s.Shutdown()
		time.Sleep(time.Second)
		assert.Zero(t, srv.Stats().Streams)
	})
}
