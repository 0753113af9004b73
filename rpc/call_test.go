package rpc_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

func TestCallsOfEveryKindAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		ctx := t.Context()

		res, err := say.Call(ctx, client, &Text{Text: "hi"})
		require.NoError(t, err)
		assert.Equal(t, "hi", res.Text)

		pb, err := wrap.Call(ctx, client, wrapperspb.String("hi"))
		require.NoError(t, err)
		assert.Equal(t, "hi", pb.GetValue())

		raw := rpc.Raw("\x00\xff")
		back, err := octets.Call(ctx, client, &raw)
		require.NoError(t, err)
		assert.Equal(t, raw, *back)

		in, err := count.Call(ctx, client, &Text{N: 3})
		require.NoError(t, err)
		var got []int
		for m, err := range in.All() {
			require.NoError(t, err)
			got = append(got, m.N)
		}
		assert.Equal(t, []int{0, 1, 2}, got)

		total, err := sum.Call(ctx, client, slices.Values([]*Text{{N: 1}, {N: 2}, {N: 39}}))
		require.NoError(t, err)
		assert.Equal(t, 42, total.N)

		s, err := chat.Call(ctx, client)
		require.NoError(t, err)
		for i := range 3 {
			require.NoError(t, s.Send(&Text{N: i}))
			m, err := s.Recv()
			require.NoError(t, err)
			assert.Equal(t, i, m.N)
		}
		require.NoError(t, s.CloseSend())
		_, err = s.Recv()
		assert.EqualError(t, err, "EOF")
	})
}

func TestMetadataHeaderAndTrailerKeepOrderAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		respond := func(ctx context.Context) {
			call, ok := rpc.CallFrom(ctx)
			assert.True(t, ok)
			for _, f := range call.Metadata {
				assert.NoError(t, rpc.AddHeader(ctx, "h-"+f.Key, f.Value))
				assert.NoError(t, rpc.AddTrailer(ctx, "t-"+f.Key, f.Value))
			}
			assert.Error(t, rpc.AddHeader(ctx, "Upper", "x"))
			assert.Error(t, rpc.AddTrailer(ctx, "trunkline-mine", "x"))
			assert.Equal(t, rpc.ResourceExhausted, rpc.CodeOf(rpc.AddTrailer(ctx, "big", strings.Repeat("x", 40<<10))))
		}
		rpc.Handle(mux, say, func(ctx context.Context, req *Text) (*Text, error) {
			respond(ctx)
			if req.Text == "fail" {
				return nil, rpc.Errorf(rpc.NotFound, "no")
			}
			return req, nil
		})
		rpc.Handle(mux, count, func(ctx context.Context, req *Text, out *rpc.Sender[Text]) error {
			respond(ctx)
			err := out.Send(req)
			assert.Error(t, rpc.AddHeader(ctx, "late", "x"))
			return err
		})
		_, client, _ := start(t, mux)
		sent := rpc.Metadata{{Key: "a", Value: "1"}, {Key: "b", Value: "\x00\xff"}, {Key: "a", Value: "2"}}
		wantHeader := rpc.Metadata{{Key: "h-a", Value: "1"}, {Key: "h-b", Value: "\x00\xff"}, {Key: "h-a", Value: "2"}}
		wantTrailer := rpc.Metadata{{Key: "t-a", Value: "1"}, {Key: "t-b", Value: "\x00\xff"}, {Key: "t-a", Value: "2"}}

		var header, trailer rpc.Metadata
		opts := []rpc.CallOption{rpc.WithMetadata(sent), rpc.WithHeader(&header), rpc.WithTrailer(&trailer)}
		_, err := say.Call(t.Context(), client, &Text{}, opts...)
		require.NoError(t, err)
		assert.Equal(t, wantHeader, header)
		assert.Equal(t, wantTrailer, trailer)

		header, trailer = nil, nil
		_, err = say.Call(t.Context(), client, &Text{Text: "fail"}, opts...)
		wantError(t, err, rpc.NotFound, rpc.Ran)
		assert.Equal(t, wantHeader, header)
		assert.Equal(t, wantTrailer, trailer)

		in, err := count.Call(t.Context(), client, &Text{Text: "hi"}, rpc.WithMetadata(sent))
		require.NoError(t, err)
		header, err = in.Header()
		require.NoError(t, err)
		assert.Equal(t, wantHeader, header)
		m, err := in.Recv()
		require.NoError(t, err)
		assert.Equal(t, "hi", m.Text, "Header must not lose the first message")
		assert.Empty(t, in.Trailer())
		_, err = in.Recv()
		require.ErrorIs(t, err, io.EOF)
		assert.Equal(t, wantTrailer, in.Trailer())

		assert.Equal(t, []string{"1", "2"}, slices.Collect(sent.Values("a")))
		first, ok := sent.Get("a")
		assert.True(t, ok)
		assert.Equal(t, "1", first)
		_, ok = sent.Get("c")
		assert.False(t, ok)
	})
}

func TestAnyMethodCanBeCalledInJSONWithoutKnowingItsTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		for _, test := range []struct{ method, request, response string }{
			{"test.Echo/Say", `{"text":"hi"}`, `{"text":"hi"}`},
			{"test.Echo/Wrap", `"hi"`, `"hi"`}, // the JSON form of a StringValue
		} {
			raw := rpc.Raw(test.request)
			res, err := rpc.Unary[rpc.Raw, rpc.Raw](test.method).Call(t.Context(), client, &raw, rpc.WithCodec("json"))
			require.NoError(t, err)
			assert.JSONEq(t, test.response, string(*res))
		}
		res, err := wrap.Call(t.Context(), client, wrapperspb.String("hi"), rpc.WithCodec("json"))
		require.NoError(t, err)
		assert.Equal(t, "hi", res.GetValue())
	})
}

func TestHandlerKnowsThePeerAndCallsItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := rpc.Unary[Text, Text]("test.Client/Ask")
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, say, func(ctx context.Context, req *Text) (*Text, error) {
			peer, ok := transport.PeerFrom(ctx)
			assert.True(t, ok)
			call, _ := rpc.CallFrom(ctx)
			assert.Equal(t, peer.ID, call.Peer.ID)
			assert.Equal(t, "test.Echo/Say", call.Method)
			assert.Equal(t, "json", call.Codec)
			assert.NotNil(t, rpc.Draining(ctx))
			res, err := ask.Call(ctx, transport.SessionFrom(ctx), req)
			if err != nil {
				return nil, err
			}
			return &Text{Text: res.Text + " from " + peer.ID.String()}, nil
		})
		own := rpc.NewMux(rpc.Config{})
		rpc.Handle(own, ask, func(_ context.Context, req *Text) (*Text, error) {
			return &Text{Text: "re: " + req.Text}, nil
		})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(mux)})
		client := n.Dial(srv, "alice", transport.Config{Handlers: handlers(own)})
		res, err := say.Call(t.Context(), client, &Text{Text: "hi"})
		require.NoError(t, err)
		assert.Equal(t, "re: hi from "+client.Identity().String(), res.Text)
		assert.Nil(t, rpc.Draining(t.Context()))
		assert.Error(t, rpc.AddHeader(t.Context(), "k", "v"))
	})
}

func TestBothSidesCallEachOtherAThousandTimesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		n := transporttest.New(t, rtt)
		srv := n.Listen(transport.Config{Handlers: handlers(e.mux)})
		client, server := n.Pair(srv, "alice", transport.Config{Handlers: handlers(e.mux)})
		var wg sync.WaitGroup
		for _, conn := range []rpc.Conn{client, server} {
			for i := range 1000 {
				wg.Go(func() {
					res, err := say.Call(t.Context(), conn, &Text{N: i})
					if assert.NoError(t, err) {
						assert.Equal(t, i, res.N)
					}
				})
			}
		}
		wg.Wait()
		assert.EqualValues(t, 2000, e.calls.Load())
	})
}

func TestDeadlineTravelsAsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan time.Duration, 2)
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, say, func(ctx context.Context, req *Text) (*Text, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				deadline = time.Now()
			}
			left <- time.Until(deadline)
			return req, nil
		})
		_, client, _ := start(t, mux)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		time.Sleep(time.Second)
		_, err := say.Call(ctx, client, &Text{})
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, <-left)
		_, err = say.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
		assert.Zero(t, <-left)
	})
}

func TestCallerEnforcesItsDeadlineByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{})
		_, client, _ := start(t, e.mux)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := hang.Call(ctx, client, &Text{})
		assert.Equal(t, rpc.DeadlineExceeded, rpc.CodeOf(err))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.LessOrEqual(t, time.Since(begun), time.Second)
	})
}

func TestBidiHandlerStartsBeforeTheRequestIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, chat, func(_ context.Context, s *rpc.Stream[Text, Text]) error {
			if err := s.Send(&Text{Text: "welcome"}); err != nil {
				return err
			}
			m, err := s.Recv()
			if err != nil {
				return err
			}
			return s.Send(m)
		})
		_, client, _ := start(t, mux)
		s, err := chat.Call(t.Context(), client)
		require.NoError(t, err)
		m, err := s.Recv() // sends the HEAD
		require.NoError(t, err)
		assert.Equal(t, "welcome", m.Text)
		require.NoError(t, s.Send(&Text{Text: "hi"}))
		m, err = s.Recv()
		require.NoError(t, err)
		assert.Equal(t, "hi", m.Text)
		_, err = s.Recv()
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestEarlyAnswerReachesACallerThatStillSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, sum, func(_ context.Context, in *rpc.Receiver[Text]) (*Text, error) {
			m, err := in.Recv()
			if err != nil {
				return nil, err
			}
			if m.Text == "fail" {
				return nil, rpc.Errorf(rpc.OutOfRange, "enough")
			}
			return m, nil
		})
		rpc.Handle(mux, chat, func(context.Context, *rpc.Stream[Text, Text]) error {
			return rpc.Errorf(rpc.OutOfRange, "enough")
		})
		_, client, _ := start(t, mux)
		endless := func(text string, asked *int) func(yield func(*Text) bool) {
			return func(yield func(*Text) bool) {
				for *asked = 1; yield(&Text{N: *asked, Text: text}); *asked++ {
				}
			}
		}
		var asked int
		res, err := sum.Call(t.Context(), client, endless(strings.Repeat("x", 1000), &asked))
		require.NoError(t, err)
		assert.Equal(t, 1, res.N)
		_, err = sum.Call(t.Context(), client, endless("fail", &asked))
		wantError(t, err, rpc.OutOfRange, rpc.Ran)

		s, err := chat.Call(t.Context(), client)
		require.NoError(t, err)
		for err == nil {
			err = s.Send(&Text{Text: strings.Repeat("x", 1000)})
		}
		require.ErrorIs(t, err, io.EOF)
		_, err = s.Recv()
		wantError(t, err, rpc.OutOfRange, rpc.Ran)
		require.ErrorIs(t, s.Send(&Text{}), io.EOF)
	})
}

func TestLeavingAllEarlyCancelsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 1)
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, count, func(ctx context.Context, req *Text, out *rpc.Sender[Text]) error {
			var err error
			for err == nil {
				err = out.Send(req)
			}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return err
		})
		_, client, _ := start(t, mux)
		in, err := count.Call(t.Context(), client, &Text{Text: "again"})
		require.NoError(t, err)
		for _, err := range in.All() {
			require.NoError(t, err)
			break
		}
		assert.Equal(t, rpc.CallerCanceled, causeOf(t, <-causes))
		_, err = in.Recv()
		wantError(t, err, rpc.Canceled, rpc.Maybe)
	})
}

func TestCallsOverRealUDP(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("calls", func(t *testing.T) { // its cleanup comes before the check
		e := newEcho(rpc.Config{})
		client, server := startUDP(t, handlers(e.mux))
		big := rpc.Raw(strings.Repeat("x", 3<<20))
		res, err := octets.Call(t.Context(), client, &big)
		require.NoError(t, err)
		assert.True(t, slices.Equal(big, *res))
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				_, err := say.Call(t.Context(), client, &Text{Text: "hi"})
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		_, err = say.Call(t.Context(), server, &Text{Text: "hi"})
		wantError(t, err, rpc.Unimplemented, rpc.Maybe)
	})
}
