package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// R5: every way to leave a call, of every kind.

var (
	forever = rpc.ServerStream[Text, Text]("test.Leave/Forever")                  // messages without end
	swallow = rpc.Bidi[Text, Text]("test.Leave/Swallow")                          // reads nothing, and sends nothing
	resumed = rpc.ServerStream[Text, Text]("test.Leave/Resumed", rpc.Resumable()) // goes on once
	// What quits after a message does so as its text says.
	quitOutput = rpc.ServerStream[Text, Text]("test.Leave/QuitOutput")
	quitInput  = rpc.ClientStream[Text, Text]("test.Leave/QuitInput")
	quitBoth   = rpc.Bidi[Text, Text]("test.Leave/QuitBoth")
)

// quits are the ways in which a handler ends, and what its caller is told.
var quits = map[string]rpc.Code{"return": rpc.OK, "error": rpc.NotFound, "panic": rpc.Internal, "goexit": rpc.Internal}

func quit(how string) error {
	switch how {
	case "error":
		return rpc.Errorf(rpc.NotFound, "no")
	case "panic":
		panic("secret")
	case "goexit":
		runtime.Goexit()
	}
	return nil
}

// newLeave serves the methods of newEcho and those above.
func newLeave(interceptors ...rpc.Interceptor) *rpc.Mux {
	mux := newEcho(rpc.Config{MaxMessage: 20_000, Interceptors: interceptors}).mux
	rpc.Handle(mux, forever, func(_ context.Context, req *Text, out *rpc.Sender[Text]) error {
		for {
			if err := out.Send(req); err != nil {
				return err
			}
		}
	})
	rpc.Handle(mux, swallow, func(ctx context.Context, _ *rpc.Stream[Text, Text]) error {
		<-ctx.Done()
		return ctx.Err()
	})
	rpc.Handle(mux, resumed, func(ctx context.Context, _ *Text, out *rpc.Sender[Text]) error {
		if rpc.Cursor(ctx) == "" {
			return errors.Join(out.SendAt("1", &Text{}), rpc.Errorf(rpc.Unavailable, "go on"))
		}
		return out.SendAt("2", &Text{})
	})
	rpc.Handle(mux, quitOutput, func(_ context.Context, req *Text, out *rpc.Sender[Text]) error {
		return errors.Join(out.Send(req), quit(req.Text))
	})
	rpc.Handle(mux, quitInput, func(_ context.Context, in *rpc.Receiver[Text]) (*Text, error) {
		m, err := in.Recv()
		if err != nil {
			return nil, err
		}
		return m, quit(m.Text)
	})
	rpc.Handle(mux, quitBoth, func(_ context.Context, s *rpc.Stream[Text, Text]) error {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		return errors.Join(s.Send(m), quit(m.Text))
	})
	return mux
}

// endless yields messages for as long as they are wanted, some in each round trip.
func endless(m *Text) iter.Seq[*Text] {
	return func(yield func(*Text) bool) {
		for yield(m) {
			time.Sleep(rtt / 4)
		}
	}
}

// expect turns the error that is wanted into none.
func expect(err error, code rpc.Code) error {
	if rpc.CodeOf(err) == code {
		return nil
	}
	return fmt.Errorf("want %v: %w", code, err)
}

// An explosive message panics when it is decoded.
type explosive struct{}

const enough = "enough"

func (*explosive) UnmarshalJSON([]byte) error { panic(enough) }

// panics wants call to.
func panics(call func() error) (err error) {
	defer func() {
		if p := recover(); p == nil || !strings.HasPrefix(fmt.Sprint(p), enough) {
			err = fmt.Errorf("panic %v, error %w", p, err)
		} else {
			err = nil
		}
	}()
	return call()
}

var kilo = strings.Repeat("x", 1000)

// A leaver makes a call and leaves it in its own way. An error says that the call did not end as it should.
type leaver struct {
	name  string
	heavy bool // it fills windows, or takes long
	leave func(ctx context.Context, conn rpc.Conn) error
}

func leavers() []leaver {
	all := []leaver{
		{"unary", false, func(ctx context.Context, conn rpc.Conn) error {
			_, err := say.Call(ctx, conn, &Text{Text: "hi"})
			return err
		}},
		{"unary, protobuf", false, func(ctx context.Context, conn rpc.Conn) error {
			_, err := wrap.Call(ctx, conn, wrapperspb.String("hi"))
			return err
		}},
		{"unary, canceled", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(rtt, cancel)
			_, err := hang.Call(ctx, conn, &Text{})
			return expect(err, rpc.Canceled)
		}},
		{"unary, canceled at once", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			go cancel()
			if _, err := say.Call(ctx, conn, &Text{}); err != nil {
				return expect(err, rpc.Canceled)
			}
			return nil
		}},
		{"unary, deadline", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, rtt)
			defer cancel()
			_, err := hang.Call(ctx, conn, &Text{})
			return expect(err, rpc.DeadlineExceeded)
		}},
		{"unary, error", false, func(ctx context.Context, conn rpc.Conn) error {
			_, err := fail.Call(ctx, conn, &Text{})
			return expect(err, rpc.NotFound)
		}},
		{"unary, panic", false, func(ctx context.Context, conn rpc.Conn) error {
			_, err := fail.Call(ctx, conn, &Text{Text: "panic"})
			return expect(err, rpc.Internal)
		}},
		{"unary, oversized request", true, func(ctx context.Context, conn rpc.Conn) error {
			_, err := say.Call(ctx, conn, &Text{Text: strings.Repeat("x", 30_000)})
			return expect(err, rpc.ResourceExhausted)
		}},
		{"unary, oversized response", false, func(ctx context.Context, conn rpc.Conn) error {
			blob := make(rpc.Raw, 900)
			_, err := octets.Call(ctx, conn, &blob, rpc.WithCodec("raw"), rpc.WithMaxMessage(899))
			return expect(err, rpc.ResourceExhausted)
		}},
		{"unknown method", false, func(ctx context.Context, conn rpc.Conn) error {
			_, err := rpc.Unary[Text, Text]("test.Echo/Nope").Call(ctx, conn, &Text{})
			return expect(err, rpc.Unimplemented)
		}},
		{"server stream", false, func(ctx context.Context, conn rpc.Conn) error {
			in, err := count.Call(ctx, conn, &Text{N: 3})
			return errors.Join(err, drain(in))
		}},
		{"server stream, left early", true, func(ctx context.Context, conn rpc.Conn) error {
			in, err := forever.Call(ctx, conn, &Text{Text: kilo})
			if err != nil {
				return err
			}
			for _, err := range in.All() {
				return err
			}
			return nil
		}},
		{"server stream, forgotten", true, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := forever.Call(ctx, conn, &Text{Text: kilo})
			time.Sleep(2 * rtt)
			cancel() // frees it
			return err
		}},
		{"server stream, ended and forgotten", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := count.Call(ctx, conn, &Text{N: 1})
			time.Sleep(2 * rtt)
			cancel()
			return err
		}},
		{"server stream, ended and closed", false, func(ctx context.Context, conn rpc.Conn) error {
			in, err := count.Call(ctx, conn, &Text{N: 1})
			if err != nil {
				return err
			}
			time.Sleep(2 * rtt)
			in.Close()
			in.Close()
			return nil
		}},
		{"server stream, closed while it is received", true, func(ctx context.Context, conn rpc.Conn) error {
			in, err := forever.Call(ctx, conn, &Text{Text: kilo})
			if err != nil {
				return err
			}
			go in.Close()
			return expect(drain(in), rpc.Canceled)
		}},
		{"server stream, deadline", true, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 3*rtt)
			defer cancel()
			in, err := forever.Call(ctx, conn, &Text{Text: kilo})
			if err != nil {
				return err
			}
			return expect(drain(in), rpc.DeadlineExceeded)
		}},
		{"server stream, malformed", true, func(ctx context.Context, conn rpc.Conn) error {
			in, err := rpc.ServerStream[Text, int](forever.Name()).Call(ctx, conn, &Text{Text: kilo})
			if err != nil {
				return err
			}
			_, err = in.Recv()
			return expect(err, rpc.Internal)
		}},
		{"resumable", false, func(ctx context.Context, conn rpc.Conn) error {
			in, err := resumed.Call(ctx, conn, &Text{})
			return errors.Join(err, drain(in))
		}},
		{"resumable, left early", false, func(ctx context.Context, conn rpc.Conn) error {
			in, err := resumed.Call(ctx, conn, &Text{})
			if err != nil {
				return err
			}
			for _, err := range in.All() {
				return err
			}
			return nil
		}},
		{"resumable, closed before it goes on", false, func(ctx context.Context, conn rpc.Conn) error {
			in, err := resumed.Call(ctx, conn, &Text{})
			if err != nil {
				return err
			}
			if _, err := in.Recv(); err != nil {
				return err
			}
			time.AfterFunc(rtt, in.Close)
			if err := drain(in); err != nil { // or it was faster
				return expect(err, rpc.Canceled)
			}
			return nil
		}},
		{"resumable, forgotten", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := resumed.Call(ctx, conn, &Text{})
			time.Sleep(2 * rtt)
			cancel()
			return err
		}},
		{"client stream", false, func(ctx context.Context, conn rpc.Conn) error {
			_, err := sum.Call(ctx, conn, slices.Values([]*Text{{N: 1}, {N: 2}}))
			return err
		}},
		{"client stream, canceled", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := sum.Call(ctx, conn, func(yield func(*Text) bool) {
				_ = yield(&Text{})
				cancel()
			})
			return expect(err, rpc.Canceled)
		}},
		{"client stream, canceled before its first message", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := sum.Call(ctx, conn, func(func(*Text) bool) { cancel() })
			return expect(err, rpc.Canceled)
		}},
		{"client stream, deadline", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 3*rtt)
			defer cancel()
			_, err := sum.Call(ctx, conn, endless(&Text{Text: kilo}))
			return expect(err, rpc.DeadlineExceeded)
		}},
		{"client stream, its sequence panics", false, func(ctx context.Context, conn rpc.Conn) error {
			return panics(func() error {
				_, err := sum.Call(ctx, conn, func(yield func(*Text) bool) {
					_ = yield(&Text{})
					panic(enough)
				})
				return err
			})
		}},
		{"unary, its answer panics", false, func(ctx context.Context, conn rpc.Conn) error {
			return panics(func() error {
				_, err := rpc.Unary[Text, explosive](say.Name()).Call(ctx, conn, &Text{})
				return err
			})
		}},
		{"server stream, its message panics", true, func(ctx context.Context, conn rpc.Conn) error {
			in, err := rpc.ServerStream[Text, explosive](forever.Name()).Call(ctx, conn, &Text{Text: kilo})
			if err != nil {
				return err
			}
			return panics(func() error {
				_, err := in.Recv()
				return err
			})
		}},
		{"bidi", false, func(ctx context.Context, conn rpc.Conn) error {
			s, err := chat.Call(ctx, conn)
			if err != nil {
				return err
			}
			err = s.Send(&Text{})
			_, recvErr := s.Recv()
			return errors.Join(err, recvErr, s.CloseSend(), drain(&s.Receiver))
		}},
		{"bidi, closed", false, func(ctx context.Context, conn rpc.Conn) error {
			s, err := chat.Call(ctx, conn)
			if err != nil {
				return err
			}
			defer s.Close()
			return s.Send(&Text{})
		}},
		{"bidi, never used", false, func(ctx context.Context, conn rpc.Conn) error {
			s, err := chat.Call(ctx, conn)
			if err != nil {
				return err
			}
			s.Close()
			return nil
		}},
		{"bidi, forgotten before anything was sent", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := chat.Call(ctx, conn)
			time.Sleep(2 * rtt)
			cancel()
			return err
		}},
		{"bidi, CloseSend and never Recv", false, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s, err := chat.Call(ctx, conn)
			if err != nil {
				return err
			}
			err = s.CloseSend()
			time.Sleep(2 * rtt)
			return err
		}},
		{"bidi, closed while Recv waits", false, func(ctx context.Context, conn rpc.Conn) error {
			s, err := swallow.Call(ctx, conn)
			if err != nil {
				return err
			}
			time.AfterFunc(rtt, s.Close)
			_, err = s.Recv()
			return expect(err, rpc.Canceled)
		}},
		{"bidi, deadline while Send waits", true, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 3*rtt)
			defer cancel()
			s, err := swallow.Call(ctx, conn)
			for err == nil {
				err = s.Send(&Text{Text: kilo})
			}
			if errors.Is(err, io.EOF) { // the handler's clock came first
				_, err = s.Recv()
			}
			return expect(err, rpc.DeadlineExceeded)
		}},
		{"bidi, canceled while Send waits", true, func(ctx context.Context, conn rpc.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(3*rtt, cancel)
			s, err := swallow.Call(ctx, conn)
			for err == nil {
				err = s.Send(&Text{Text: kilo})
			}
			return expect(err, rpc.Canceled)
		}},
	}
	for how, code := range quits {
		all = append(all,
			leaver{"server stream, its handler's " + how, false, func(ctx context.Context, conn rpc.Conn) error {
				in, err := quitOutput.Call(ctx, conn, &Text{Text: how})
				if err != nil {
					return err
				}
				return expect(drain(in), code)
			}},
			leaver{"client stream, its handler's " + how, false, func(ctx context.Context, conn rpc.Conn) error {
				_, err := quitInput.Call(ctx, conn, endless(&Text{Text: how}))
				return expect(err, code)
			}},
			leaver{"bidi, its handler's " + how, false, func(ctx context.Context, conn rpc.Conn) error {
				s, err := quitBoth.Call(ctx, conn)
				for err == nil {
					err = s.Send(&Text{Text: how})
					time.Sleep(rtt / 4)
				}
				if !errors.Is(err, io.EOF) {
					return err
				}
				return expect(drain(&s.Receiver), code)
			}})
	}
	return all
}

// drain receives what is left, if the call has begun, and returns how it ended.
func drain(in *rpc.Receiver[Text]) error {
	if in == nil {
		return nil
	}
	for _, err := range in.All() {
		if err != nil {
			return err
		}
	}
	return nil
}

// leaveAll makes about so many calls in all, as many of each kind; of those that are heavy few enough.
func leaveAll(t *testing.T, conn rpc.Conn, calls int) {
	t.Helper()
	const atOnce, heavyEach = 20, 40
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer time.AfterFunc(time.Hour, cancel).Stop() // where streams have leaked, nothing would go on
	all := leavers()
	light := 0
	for _, l := range all {
		if !l.heavy {
			light++
		}
	}
	for _, l := range all {
		n := calls/light + 1
		if l.heavy {
			n = min(n, heavyEach)
		}
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				for range (n + atOnce - 1) / atOnce {
					if !assert.NoError(t, l.leave(ctx, conn), l.name) {
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// goroutines returns the stacks of those that run code of this module or of quic-go's, and so not of
// the runtime's, which come and go.
func goroutines() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return slices.DeleteFunc(strings.Split(string(buf), "\n\n"), func(stack string) bool {
		return !strings.Contains(stack, "trunkline-go/trunkline/") && !strings.Contains(stack, "quic-go/quic-go.")
	})
}

// settle waits until what calls have left behind has ended, and credit has been given back.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// stillAs asserts that there are no more goroutines than so many.
func stillAs(t *testing.T, before int) {
	t.Helper()
	settle()
	after := goroutines()
	assert.Len(t, after, before, "goroutines: %s", strings.Join(after, "\n\n"))
}

// They leave nothing, also while others stay open for long.
func TestR5TenThousandCallsOfEveryKindAndEndingLeaveNothing(t *testing.T) {
	for _, test := range []struct {
		from             string
		calls, longLived int
		interceptors     []rpc.Interceptor
	}{
		{"client", 10_000, 0, nil},
		{"server", 5000, 0, nil},
		{"client", 1000, 1000, nil},
		{"server", 1000, 1000, nil},
		{"client", 1000, 0, []rpc.Interceptor{passOn, passOn}},
	} {
		if raceEnabled { // which makes two minutes of it
			test.calls = min(test.calls, 1000)
		}
		t.Run(fmt.Sprintf("%s, %d, beside %d, %d interceptors", test.from, test.calls, test.longLived, len(test.interceptors)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := transporttest.New(t, rtt)
				cfg := transport.Config{Handlers: handlers(newLeave(test.interceptors...))}
				client, server := n.Pair(n.Listen(cfg), "alice", cfg)
				conn := rpc.NewClient(client, rpc.ClientConfig{Interceptors: test.interceptors})
				if test.from == "server" {
					conn = rpc.NewClient(server, rpc.ClientConfig{Interceptors: test.interceptors})
				}
				settle()
				atFirst := len(goroutines())
				long := make([]*rpc.Stream[Text, Text], test.longLived)
				for i := range long {
					s, err := chat.Call(t.Context(), conn)
					require.NoError(t, err)
					require.NoError(t, s.Send(&Text{}))
					_, err = s.Recv()
					require.NoError(t, err)
					long[i] = s
				}
				settle()
				before := len(goroutines())
				leaveAll(t, conn, test.calls)
				stillAs(t, before)
				for i, s := range long { // they are as they were
					require.NoError(t, s.Send(&Text{N: i}))
					m, err := s.Recv()
					require.NoError(t, err)
					require.Equal(t, i, m.N)
					s.Close()
				}
				allStreamsAreFree(t, conn)
				stillAs(t, atFirst)
				releaseAtOnce(t, client, server)
			})
		})
	}
}

// Calls of every kind, at every stage, end with their session, however that ends.
func TestR5SessionsEndLeavesNothingOfItsCalls(t *testing.T) {
	for name, end := range map[string]func(n *transporttest.Network, srv *transport.Server, client, server *transport.Session){
		"aborted by the client": func(_ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
			client.Abort(transport.Aborted, "enough")
		},
		"aborted by the server": func(_ *transporttest.Network, _ *transport.Server, _, server *transport.Session) {
			server.Abort(transport.Aborted, "enough")
		},
		"lost": func(n *transporttest.Network, _ *transport.Server, _, _ *transport.Session) { n.Cut() },
		"released, and its time is up": func(_ *transporttest.Network, _ *transport.Server, client, _ *transport.Session) {
			_ = client.Release(context.Background())
		},
		"drained, and its time is up": func(_ *transporttest.Network, srv *transport.Server, _, _ *transport.Session) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = srv.Shutdown(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := transporttest.New(t, rtt)
				srv := n.Listen(transport.Config{Hold: -1, Handlers: handlers(newLeave())})
				settle()
				before := len(goroutines())
				client, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(newLeave())})
				var wg sync.WaitGroup
				for _, conn := range []rpc.Conn{client, server} {
					for range 10 {
						wg.Go(func() {
							_, err := hang.Call(t.Context(), conn, &Text{})
							assert.Error(t, err)
						})
						wg.Go(func() {
							_, err := sum.Call(t.Context(), conn, func(yield func(*Text) bool) {
								for yield(&Text{}) {
									time.Sleep(rtt)
								}
							})
							assert.Error(t, err)
						})
						wg.Go(func() {
							s, err := swallow.Call(t.Context(), conn)
							for err == nil {
								err = s.Send(&Text{Text: kilo})
							}
						})
						_, err := forever.Call(t.Context(), conn, &Text{Text: kilo}) // and forgotten
						assert.NoError(t, err)
						_, err = chat.Call(t.Context(), conn) // not begun
						assert.NoError(t, err)
						s, err := chat.Call(t.Context(), conn) // waits for the next message
						assert.NoError(t, err)
						assert.NoError(t, s.Send(&Text{}))
					}
				}
				time.Sleep(time.Second)
				end(n, srv, client, server)
				_ = client.Wait(t.Context())
				_ = server.Wait(t.Context())
				wg.Wait()
				synctest.Wait()
				time.Sleep(time.Minute) // the server's last close packets, too
				after := goroutines()
				assert.LessOrEqual(t, len(after), before, "goroutines: %s", strings.Join(after, "\n\n"))
			})
		})
	}
}

// Calls that their peer resets, at each moment and with each code, leave nothing.
func TestR5CallsThatThePeerResetsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards next
		next := 0
		answers := []string{"", "0100", "0100" + dataHi, dataHi[:9], dataHi}
		codes := []transport.StreamCode{
			transport.StreamUnspecified, transport.StreamNoError, transport.StreamCanceled, transport.StreamRejected, transport.StreamInternal,
		}
		reset := func(s *transport.Stream) {
			mu.Lock()
			i := next
			next++
			mu.Unlock()
			if i%2 == 0 {
				_, _ = s.Read(make([]byte, 10))
			}
			_, _ = s.Write(unhex(t, answers[i/2%len(answers)]))
			time.Sleep(time.Duration(i%3) * rtt)
			code := codes[i/10%len(codes)]
			if i%7 != 0 && code != transport.StreamRejected {
				s.CancelRead(code)
			}
			s.CancelWrite(code)
		}
		client, server := rawPeer(t, reset)
		settle()
		before := len(goroutines())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for range 100 {
					for name, call := range kinds {
						if name == "empty client stream" {
							continue
						}
						assert.Error(t, call(t.Context(), client))
					}
					s, err := chat.Call(t.Context(), client)
					for err == nil {
						err = s.Send(&Text{})
						time.Sleep(rtt)
					}
					_, err = s.Recv()
					assert.Error(t, err)
					s.Close()
				}
			})
		}
		wg.Wait()
		stillAs(t, before)
		releaseAtOnce(t, client, server)
	})
}
