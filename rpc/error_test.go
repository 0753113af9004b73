package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/rpc"
)

func TestEveryCodeHasANameAndReadsItBack(t *testing.T) {
	names := []string{ // by number, as in google.rpc.Code
		"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound",
		"AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted",
		"OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
	}
	for i, name := range names {
		c := rpc.Code(i)
		text, err := c.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, name, string(text))
		assert.Equal(t, name, c.String())
		var back rpc.Code
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, c, back)
		if c != rpc.OK {
			assert.Equal(t, c, rpc.Errorf(c, "x").Code())
		}
	}
	for _, c := range []rpc.Code{17, 99, 1 << 31, 1<<32 - 1} {
		_, err := c.MarshalText()
		require.Error(t, err)
		assert.Equal(t, fmt.Sprintf("Code%d", uint32(c)), c.String())
		assert.Equal(t, rpc.Unknown, rpc.Errorf(c, "x").Code())
	}
	var c rpc.Code
	require.Error(t, c.UnmarshalText([]byte("canceled")))
}

func TestNoErrorIsOK(t *testing.T) {
	assert.Equal(t, rpc.Unknown, rpc.Errorf(rpc.OK, "x").Code())
	assert.Equal(t, rpc.Unknown, new(rpc.Error).Code())
	assert.Equal(t, rpc.Unknown, rpc.CodeOf(&rpc.Error{}))
	assert.Equal(t, rpc.OK, rpc.CodeOf(nil))
}

func TestErrorsWorkWithIsAndAs(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", rpc.Errorf(rpc.NotFound, "no %s: %w", "cake", cause))
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, rpc.Errorf(rpc.NotFound, "another text"))
	require.NotErrorIs(t, err, rpc.Errorf(rpc.Internal, ""))
	assert.Equal(t, rpc.NotFound, rpc.CodeOf(err))
	require.EqualError(t, err, "outer: NotFound: no cake: cause")
	require.ErrorIs(t, rpc.Errorf(rpc.Canceled, ""), context.Canceled)
	require.ErrorIs(t, rpc.Errorf(rpc.DeadlineExceeded, ""), context.DeadlineExceeded)
	assert.Equal(t, rpc.Canceled, rpc.CodeOf(&rpc.CanceledError{Cause: rpc.PeerLost}))
	assert.Equal(t, rpc.DeadlineExceeded, rpc.CodeOf(&rpc.CanceledError{Cause: rpc.DeadlinePassed}))
	assert.Equal(t, rpc.DeadlineExceeded, rpc.CodeOf(context.DeadlineExceeded))
	assert.Equal(t, rpc.Unknown, rpc.CodeOf(cause))
	remote := rpc.Error{Message: "a\x1b[31m\nb", Remote: true}
	assert.Equal(t, "Unknown: a\uFFFD[31m b", remote.Error())
}
