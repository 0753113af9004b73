package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trunkline-go/trunkline/rpc"
)

// What is known of a failed call is printed: a detail of a known type as JSON, of another one as its bytes, and neither
// with what a terminal must not get.
func TestAFailedCallIsToldWhole(t *testing.T) {
	known, err := anypb.New(structpb.NewStringValue("\u009bred"))
	require.NoError(t, err)
	unknown := &anypb.Any{TypeUrl: "example.com/shop.Full", Value: []byte{1, 2, 3}}
	broken := &anypb.Any{TypeUrl: known.GetTypeUrl(), Value: []byte{0xff}}
	e := rpc.Errorf(rpc.ResourceExhausted, "no more")
	e.Details, e.Execution, e.Remote = []*anypb.Any{known, unknown, broken}, rpc.Ran, true

	var stderr strings.Builder
	a := &app{stderr: &stderr}
	a.report(withHint(&callError{e}, "buy less"))
	assert.Equal(t, `trunkline: error: ResourceExhausted: no more
trunkline: detail: {"@type":"type.googleapis.com/google.protobuf.Value","value":"\u009bred"}
trunkline: detail: {"@type":"example.com/shop.Full","value":"AQID"}
trunkline: detail: {"@type":"type.googleapis.com/google.protobuf.Value","value":"/w=="}
trunkline: execution: ran
trunkline: hint: buy less
`, stderr.String())
	assert.Equal(t, exitAnswered, exitCode(&callError{e}))
	assert.Equal(t, exitAnswered, exitCode(&callError{rpc.Errorf(rpc.DeadlineExceeded, "by this side's clock")}))
	assert.Equal(t, exitError, exitCode(&callError{rpc.Errorf(rpc.InvalidArgument, "never sent")}))
	assert.Equal(t, exitError, exitCode(errors.New("another")))
}
