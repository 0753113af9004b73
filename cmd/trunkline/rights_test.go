package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/rpc"
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
