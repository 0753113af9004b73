package reflection_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/reflection"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// What a peer may not see looks to it as if it were not there: in the list as in a description.
func TestWhatIsNotVisibleLooksAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		rpc.Handle(mux, rpc.ServerStream[inner, inner]("test.Public/Watch", rpc.Resumable()), func(context.Context, *inner, *rpc.Sender[inner]) error { return nil })
		rpc.Handle(mux, rpc.Unary[inner, inner]("test.Secret/Get"), func(_ context.Context, m *inner) (*inner, error) { return m, nil })
		reflection.Register(mux, reflection.Config{Visible: func(ctx context.Context, method string) bool {
			peer, ok := transport.PeerFrom(ctx)
			return ok && (peer.ID.Name == "ann" || !strings.HasPrefix(method, "test.Secret/"))
		}})
		n := transporttest.New(t, 20*time.Millisecond)
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})

		all := []reflection.Method{
			{Name: "test.Public/Watch", Kind: "server_stream", Resumable: true},
			{Name: "test.Secret/Get", Kind: "unary"},
			{Name: "trunkline.Reflection/Describe", Kind: "unary", Idempotent: true},
			{Name: "trunkline.Reflection/List", Kind: "unary", Idempotent: true},
		}
		for name, want := range map[string][]reflection.Method{"ann": all, "bob": append(all[:1:1], all[2:]...)} {
			s := n.Dial(srv, name, transport.Config{})
			list, err := reflection.List.Call(t.Context(), s, &reflection.ListRequest{})
			require.NoError(t, err)
			assert.Equal(t, want, list.Methods, name)

			_, hidden := reflection.Describe.Call(t.Context(), s, &reflection.DescribeRequest{Method: "test.Secret/Get"})
			_, absent := reflection.Describe.Call(t.Context(), s, &reflection.DescribeRequest{Method: "test.Secret/Git"})
			require.Equal(t, rpc.NotFound, rpc.CodeOf(absent))
			if name == "ann" {
				assert.NoError(t, hidden)
			} else {
				assert.Equal(t, strings.ReplaceAll(absent.Error(), "Git", "Get"), hidden.Error())
			}
		}
	})
}

// Who has no descriptor learns whether a method's streams go on after a reconnect.
func TestDescribeSaysWhatIsResumable(t *testing.T) {
	mux := rpc.NewMux(rpc.Config{})
	none := func(context.Context, *rpc.Raw, *rpc.Sender[rpc.Raw]) error { return nil }
	rpc.Handle(mux, rpc.ServerStream[rpc.Raw, rpc.Raw]("test.Log/Follow", rpc.Resumable()), none)
	rpc.Handle(mux, rpc.ServerStream[rpc.Raw, rpc.Raw]("test.Log/Read"), none)
	for method, want := range map[string]bool{"test.Log/Follow": true, "test.Log/Read": false} {
		d, err := reflection.New(mux, reflection.Config{}).Describe(t.Context(), &reflection.DescribeRequest{Method: method})
		require.NoError(t, err)
		assert.Equal(t, want, d.Resumable, method)
		assert.Equal(t, "server_stream", d.Kind)
	}
}

// The description of a method is whole behind the wire, and so is that of the method that describes.
func TestDescribeDescribesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := rpc.NewMux(rpc.Config{})
		reflection.Register(mux, reflection.Config{})
		n := transporttest.New(t, 20*time.Millisecond)
		srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
		s := n.Dial(srv, "ann", transport.Config{})

		d, err := reflection.Describe.Call(t.Context(), s, &reflection.DescribeRequest{Method: reflection.Describe.Name()})
		require.NoError(t, err)
		assert.Equal(t, reflection.Method{Name: "trunkline.Reflection/Describe", Kind: "unary", Idempotent: true}, d.Method)
		assert.Equal(t, []string{"json"}, d.Codecs)
		assert.NoError(t, validate(d.Request.Schema, []byte(`{"method":"a.B/C"}`)))

		var raw rpc.Raw
		res, err := rpc.Unary[reflection.DescribeRequest, rpc.Raw](reflection.Describe.Name()).
			Call(t.Context(), s, &reflection.DescribeRequest{Method: reflection.Describe.Name()})
		require.NoError(t, err)
		raw = *res
		assert.NoError(t, validate(d.Response.Schema, raw), "%s", raw)
		assert.Error(t, validate(d.Response.Schema, []byte(`{}`)))
	})
}
