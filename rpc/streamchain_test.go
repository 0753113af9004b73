package rpc_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// idle answers with one message, and then waits for its end. Again is the same as a resumable method.
var (
	idle  = rpc.ServerStream[Text, Text]("test.Idle/Wait")
	again = rpc.ServerStream[Text, Text]("test.Idle/Again", rpc.Resumable())
	talk  = rpc.Bidi[Text, Text]("test.Idle/Talk")
)

// receiver is a stream of any kind, on the caller's side.
type receiver interface {
	Recv() (*Text, error)
	Close()
}

func newIdle() *rpc.Mux {
	mux := rpc.NewMux(rpc.Config{})
	wait := func(ctx context.Context, send func(*Text) error) error {
		if err := send(&Text{Text: "hi"}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	rpc.Handle(mux, idle, func(ctx context.Context, _ *Text, out *rpc.Sender[Text]) error { return wait(ctx, out.Send) })
	rpc.Handle(mux, again, func(ctx context.Context, _ *Text, out *rpc.Sender[Text]) error {
		return wait(ctx, func(m *Text) error { return out.SendAt("1", m) })
	})
	rpc.Handle(mux, talk, func(ctx context.Context, s *rpc.Stream[Text, Text]) error { return wait(ctx, s.Send) })
	return mux
}

// Whatever becomes of a stream, and whatever its user forgets, its interceptors are told its end, and their goroutine
// ends: the bubble would not, else. Who receives afterwards gets what they have made of it.
func TestR5TheInterceptorsOfAStreamEndWithIt(t *testing.T) {
	streams := map[string]func(ctx context.Context, conn rpc.Conn) (receiver, error){
		"server stream": func(ctx context.Context, conn rpc.Conn) (receiver, error) { return idle.Call(ctx, conn, &Text{}) },
		"resumable":     func(ctx context.Context, conn rpc.Conn) (receiver, error) { return again.Call(ctx, conn, &Text{}) },
		"bidi": func(ctx context.Context, conn rpc.Conn) (receiver, error) {
			s, err := talk.Call(ctx, conn)
			if err != nil {
				return nil, err
			}
			err = s.CloseSend()
			return s, err
		},
	}
	type scene struct {
		s              receiver
		cancel         context.CancelFunc
		client, server *transport.Session
	}
	ends := map[string]struct {
		end  func(*scene)
		code rpc.Code
	}{
		"closed":          {func(s *scene) { s.s.Close() }, rpc.Canceled},
		"closed twice":    {func(s *scene) { s.s.Close(); s.s.Close() }, rpc.Canceled},
		"canceled":        {func(s *scene) { s.cancel() }, rpc.Canceled},
		"deadline":        {func(*scene) { time.Sleep(time.Minute) }, rpc.DeadlineExceeded},
		"own abort":       {func(s *scene) { s.client.Abort(transport.Aborted, "") }, rpc.Unavailable},
		"peer kicks":      {func(s *scene) { s.server.Abort(transport.Kicked, "") }, rpc.PermissionDenied},
		"forced release":  {func(s *scene) { s.client.Abort(transport.Released, "") }, rpc.Unavailable},
		"canceled in All": {func(s *scene) { go func() { time.Sleep(time.Second); s.cancel() }(); _, _ = s.s.Recv() }, rpc.Canceled},
		"closed in Recv":  {func(s *scene) { go func() { time.Sleep(time.Second); s.s.Close() }(); _, _ = s.s.Recv() }, rpc.Canceled},
	}
	for kind, call := range streams {
		for name, end := range ends {
			for _, read := range []bool{false, true} {
				t.Run(kind+"/"+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						_, client, server := start(t, newIdle())
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
						told := make(chan error, 1)
						s, err := call(ctx, with(client, func(ctx context.Context, _ *rpc.Call, next next) error {
							err := next(ctx)
							told <- err
							return rpc.Errorf(rpc.DataLoss, "made of it: %w", err)
						}))
						require.NoError(t, err)
						if read {
							_, err := s.Recv()
							require.NoError(t, err)
						}
						time.Sleep(time.Second)
						require.Empty(t, told)
						sc := &scene{s: s, cancel: cancel, client: client, server: server}
						end.end(sc)
						time.Sleep(5 * time.Second)
						require.Len(t, told, 1, "the interceptor is not told")
						ended := wantError(t, <-told, end.code, rpc.Maybe)
						if name == "closed" {
							require.Contains(t, ended.Message, "closed by this side")
						}
						for range 2 {
							for err = nil; err == nil; { // what has come already may be received
								_, err = s.Recv()
							}
							wantError(t, err, rpc.DataLoss, rpc.Maybe)
						}
						s.Close()
					})
				})
			}
		}
	}
}

// A loop that is left early ends the call, and a stream whose first message has not left is not one that has started.
func TestTheInterceptorsOfAStreamThatIsLeftAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, _ := start(t, newEcho(rpc.Config{}).mux)
		told := make(chan error, 1)
		conn := with(client, func(ctx context.Context, _ *rpc.Call, next next) error {
			err := next(ctx)
			told <- err
			return err
		})
		in, err := count.Call(t.Context(), conn, &Text{N: 1000})
		require.NoError(t, err)
		for _, err := range in.All() {
			require.NoError(t, err)
			break
		}
		wantError(t, <-told, rpc.Canceled, rpc.Maybe)
		s, err := chat.Call(t.Context(), conn)
		require.NoError(t, err)
		s.Close()
		wantError(t, <-told, rpc.Canceled, rpc.NotStarted)
		_, err = s.Recv()
		wantError(t, err, rpc.Canceled, rpc.NotStarted)
		require.Error(t, s.Send(&Text{}))
	})
}

// A resumable stream is one call to its interceptors, over as many connections as it takes.
func TestInterceptorsSurroundAResumableStreamAsOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		j := newJournal(n)
		d := newDisruptor(t, transport.Config{Handlers: handlers(j.mux())})
		runs, requests, messages := 0, 0, 0
		conn := with(d.dial(transport.Config{}), func(ctx context.Context, c *rpc.Call, next next) error {
			runs++
			assert.Equal(t, "5", c.Cursor)
			c.OnSend(func(m any, _ int) error { requests++; assert.Equal(t, &Text{N: n}, m); return nil })
			c.OnReceive(func(any, int) error { messages++; return nil })
			c.Metadata = append(c.Metadata, rpc.Field{Key: "a", Value: "b"})
			err := next(ctx)
			assert.NoError(t, err)
			return err
		})
		in, err := follow.Call(t.Context(), conn, &Text{N: n}, rpc.WithCursor("5"))
		require.NoError(t, err)
		read := 0
		require.NoError(t, readEntries(in, 5, n, func() {
			if read++; read%500 == 0 {
				d.abort()
				time.Sleep(time.Second)
			}
		}))
		require.Greater(t, len(j.begunWith()), 1)
		require.Equal(t, []int{1, 1, n - 5}, []int{runs, requests, messages})
	})
}

// A panic of an interceptor is raised where the call is used, and the end of its goroutine ends its call.
func TestAPanicOfACallersInterceptorIsRaisedInItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, _ := start(t, newEcho(rpc.Config{}).mux)
		before := with(client, func(context.Context, *rpc.Call, next) error { panic("secret") })
		after := with(client, func(ctx context.Context, _ *rpc.Call, next next) error {
			_ = next(ctx)
			panic(errors.New("secret"))
		})
		exit := with(client, func(context.Context, *rpc.Call, next) error { runtime.Goexit(); return nil })
		raised := func(f func()) (v any) {
			defer func() { v = recover() }()
			f()
			return nil
		}
		for _, conn := range []*rpc.Client{before, after} {
			for _, whole := range wholes {
				v := raised(func() { _ = whole.call(t.Context(), conn) })
				require.NotNil(t, v)
				if err, ok := v.(error); ok {
					v = err.Error()
				}
				require.Contains(t, v, "secret")
			}
		}
		_, err := chat.Call(t.Context(), exit)
		wantError(t, err, rpc.Internal, rpc.NotStarted)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = say.Call(t.Context(), exit, &Text{})
			t.Error("the goroutine has not ended")
		}()
		<-ended
		_, err = say.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
	})
}
