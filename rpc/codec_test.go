package rpc_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
)

// renamed is the codec of the examples under another name.
type renamed struct {
	gobs
	name string
}

func (r renamed) Name() string { return r.name }

// codecOf tells the codec of the calls that it is asked in.
func codecOf(mux *rpc.Mux) rpc.UnaryMethod[Text, Text] {
	m := rpc.Unary[Text, Text]("test.Codec/Name")
	rpc.Handle(mux, m, func(ctx context.Context, _ *Text) (*Text, error) {
		call, _ := rpc.CallFrom(ctx)
		return &Text{Text: call.Codec}, nil
	})
	return m
}

func TestAUsersCodecCarriesEveryKindOfCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Codecs: []rpc.Codec{renamed{name: "other"}, gobs{}}})
		name := codecOf(e.mux)
		_, client, _ := start(t, e.mux)
		ctx, opt := t.Context(), rpc.WithCustomCodec(gobs{})

		res, err := name.Call(ctx, client, &Text{}, opt)
		require.NoError(t, err)
		assert.Equal(t, "gob", res.Text)
		res, err = say.Call(ctx, client, &Text{Text: "hi", N: -1}, opt)
		require.NoError(t, err)
		assert.Equal(t, &Text{Text: "hi", N: -1}, res)
		res, err = sum.Call(ctx, client, func(yield func(*Text) bool) { _ = yield(&Text{N: 1}) && yield(&Text{N: 2}) }, opt)
		require.NoError(t, err)
		assert.Equal(t, 3, res.N)
		in, err := count.Call(ctx, client, &Text{N: 3}, opt)
		require.NoError(t, err)
		n := 0
		for m, err := range in.All() {
			require.NoError(t, err)
			assert.Equal(t, n, m.N)
			n++
		}
		assert.Equal(t, 3, n)

		raw := rpc.Raw("no gob")
		back, err := octets.Call(ctx, client, &raw, opt)
		require.NoError(t, err)
		assert.Equal(t, raw, *back, "Raw is passed on as it is")
		res, err = name.Call(ctx, client, &Text{}, opt, rpc.WithCodec("json"))
		require.NoError(t, err)
		assert.Equal(t, "json", res.Text, "the last option counts")
	})
}

func TestAUsersCodecIsRefusedByWhoDoesNotKnowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Codecs: []rpc.Codec{gobs{}}})
		_, client, _ := start(t, e.mux)
		_, err := say.Call(t.Context(), client, &Text{}, rpc.WithCustomCodec(renamed{name: "cbor"}))
		wantError(t, err, rpc.Unimplemented, rpc.NotStarted)
		require.ErrorContains(t, err, `"cbor"`)
		_, err = say.Call(t.Context(), client, &Text{}, rpc.WithCustomCodec(renamed{name: "C B"}))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
		_, err = say.Call(t.Context(), client, &Text{}, rpc.WithCodec("gob"))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted) // a name alone is of a built-in one
		require.Zero(t, e.calls.Load())
	})
}

func TestWhatAUsersCodecCannotDecodeIsMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Codecs: []rpc.Codec{gobs{}}})
		_, client, _ := start(t, e.mux)
		raw := rpc.Raw("no gob")
		_, err := rpc.Unary[rpc.Raw, rpc.Raw](say.Name()).Call(t.Context(), client, &raw, rpc.WithCustomCodec(gobs{}))
		wantError(t, err, rpc.InvalidArgument, rpc.NotStarted)
		_, err = rpc.Unary[rpc.Raw, Text](octets.Name()).Call(t.Context(), client, &raw, rpc.WithCustomCodec(gobs{}))
		wantError(t, err, rpc.Internal, rpc.Maybe)
	})
}

func TestACodecMayTakeThePlaceOfABuiltInOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proto := renamed{name: "proto"}
		e := newEcho(rpc.Config{Codecs: []rpc.Codec{proto}})
		codecs := make(chan rpc.Raw, 1)
		rpc.Handle(e.mux, rpc.Unary[rpc.Raw, rpc.Raw]("test.Codec/Keep"), func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
			codecs <- *req
			return req, nil
		})
		_, client, _ := start(t, e.mux)
		_, err := rpc.Unary[Text, Text]("test.Codec/Keep").Call(t.Context(), client, &Text{Text: "hi"}, rpc.WithCustomCodec(proto))
		require.NoError(t, err)
		var m Text
		require.NoError(t, gobs{}.Decode(<-codecs, &m))
		require.Equal(t, "hi", m.Text)
		_, err = wrap.Call(t.Context(), client, wrapperspb.String("hi"), rpc.WithCodec("json"))
		require.NoError(t, err)
	})
}

func TestNamesOfCodecsAreValidAndDifferent(t *testing.T) {
	for _, names := range [][]string{{""}, {"UPPER"}, {"a", "b", "a"}} {
		var codecs []rpc.Codec
		for _, n := range names {
			codecs = append(codecs, renamed{name: n})
		}
		assert.Panics(t, func() { rpc.NewMux(rpc.Config{Codecs: codecs}) }, "%q", names)
	}
}

// A panic of a user's codec fails the call in which it is, and nothing else.
func TestACodecThatPanicsFailsItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(rpc.Config{Codecs: []rpc.Codec{panicking{}}})
		_, client, _ := start(t, e.mux)
		raw := rpc.Raw("x")
		_, err := rpc.Unary[rpc.Raw, rpc.Raw](say.Name()).Call(t.Context(), client, &raw, rpc.WithCustomCodec(panicking{}))
		wantError(t, err, rpc.Internal, rpc.NotStarted)
		_, err = say.Call(t.Context(), client, &Text{})
		require.NoError(t, err)
	})
}

type panicking struct{ gobs }

func (panicking) Decode([]byte, any) error { panic("codec") }
