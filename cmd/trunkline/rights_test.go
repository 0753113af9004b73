package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/health"
	"github.com/trunkline-go/trunkline/rpc/reflection"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A bomb is a request that must not be decoded.
type bomb struct{}

func (*bomb) UnmarshalJSON([]byte) error { panic("decoded") }

// M60: a call that is not allowed is answered before any of it is decoded, and has not run; the handler's
// panic would be Internal. What declares no right is for administrators.
func TestM60ACallThatIsNotAllowedIsNeitherDecodedNorRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := transporttest.New(t, 0)
		ms := newMethods(rpc.Config{}, newGate(net.Authority().Domain(), defaultPolicy("ann")))
		run := func(context.Context, *bomb) (*whoAmIRequest, error) { panic("run") }
		handle(ms, forAdministrators, rpc.Unary[bomb, whoAmIRequest]("test.Admin/Declared"), run)
		rpc.Handle(ms.mux, rpc.Unary[bomb, whoAmIRequest]("test.Admin/Forgotten"), run)
		srv := net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: ms.mux.ServeStream}})

		for name, want := range map[string]rpc.Code{"bob": rpc.PermissionDenied, "ann": rpc.Internal} {
			s := net.Dial(srv, name, transport.Config{})
			for _, method := range []string{"test.Admin/Declared", "test.Admin/Forgotten"} {
				_, err := rpc.Unary[whoAmIRequest, whoAmIRequest](method).Call(t.Context(), s, &whoAmIRequest{})
				assert.Equal(t, want, rpc.CodeOf(err), "%s calls %s: %v", name, method, err)
				if want == rpc.PermissionDenied {
					assertNotStarted(t, err)
				}
			}
		}
	})
}

// assertNotStarted asserts that err says that a call has not run.
func assertNotStarted(t *testing.T, err error) {
	t.Helper()
	if e, ok := errors.AsType[*rpc.Error](err); assert.True(t, ok, "%v", err) {
		assert.Equal(t, rpc.NotStarted, e.Execution, "%v", err)
	}
}

// M94: a caller sees the methods that it may call, and no others; that each is looked at does not count against the limit on calls.
func TestM94EachSeesWhatItMayCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := transporttest.New(t, 0)
		policy := defaultPolicy("ann")
		policy.limit = []limitRule{{who: policy.allow[0].who, calls: 4}}
		ms := newMethods(rpc.Config{}, newGate(net.Authority().Domain(), policy))
		run := func(_ context.Context, m *whoAmIRequest) (*whoAmIRequest, error) { return m, nil }
		for name, r := range map[string]right{"test.A/Admin": forAdministrators, "test.B/Everyone": forEveryone, "test.C/Session": forSessions} {
			handle(ms, r, rpc.Unary[whoAmIRequest, whoAmIRequest](name), run)
		}
		rpc.Handle(ms.mux, rpc.Unary[whoAmIRequest, whoAmIRequest]("test.D/Forgotten"), run)
		ms.describe()
		status := health.NewServer()
		ms.reportHealth(status)
		srv := net.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: ms.mux.ServeStream}})

		own := []string{"trunkline.Health/Check", "trunkline.Health/Watch", "trunkline.Reflection/Describe", "trunkline.Reflection/List"}
		for name, want := range map[string][]string{
			"ann": append([]string{"test.A/Admin", "test.B/Everyone", "test.C/Session", "test.D/Forgotten"}, own...),
			"bob": append([]string{"test.B/Everyone", "test.C/Session"}, own...),
		} {
			s := net.Dial(srv, name, transport.Config{})
			list, err := reflection.List.Call(t.Context(), s, &reflection.ListRequest{})
			require.NoError(t, err)
			var got []string
			for _, m := range list.Methods {
				got = append(got, m.Name)
			}
			assert.Equal(t, want, got, name)
			_, err = reflection.Describe.Call(t.Context(), s, &reflection.DescribeRequest{Method: "test.A/Admin"})
			if name == "ann" {
				assert.NoError(t, err)
			} else {
				assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
			}
		}
		assert.Equal(t, health.Serving, status.Status("test.B"))
		assert.Equal(t, health.ServiceUnknown, status.Status("test.A"))
	})
}
