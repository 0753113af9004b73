package transport_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
)

// The registry is append-only: a row here is never changed once released.
func TestCloseCodeRegistry(t *testing.T) {
	want := []struct {
		code  uint64
		name  string
		class transport.Class
		next  transport.NextStep
	}{
		{0x000, "Unspecified", transport.ClassAbort, transport.StepResumeWithBackoff},
		{0x100, "Released", transport.ClassGraceful, transport.StepDone},
		{0x101, "Drained", transport.ClassGraceful, transport.StepResumeAfterDelay},
		{0x200, "Aborted", transport.ClassAbort, transport.StepResumeWithBackoff},
		{0x201, "ReleaseTimeout", transport.ClassAbort, transport.StepResumeWithBackoff},
		{0x202, "DrainTimeout", transport.ClassAbort, transport.StepResumeWithBackoff},
		{0x203, "Internal", transport.ClassAbort, transport.StepResumeWithBackoff},
		{0x204, "ExcessiveLoad", transport.ClassAbort, transport.StepResumeWithBackoff},
		{0x205, "HelloTimeout", transport.ClassAbort, transport.StepResumeWithBackoff},
		{0x300, "Protocol", transport.ClassProtocol, transport.StepStop},
		{0x301, "ClosedCriticalStream", transport.ClassProtocol, transport.StepStop},
		{0x302, "FrameTooLarge", transport.ClassProtocol, transport.StepStop},
		{0x400, "Unauthorized", transport.ClassRefused, transport.StepStop},
		{0x401, "Revoked", transport.ClassRefused, transport.StepStop},
		{0x402, "Expired", transport.ClassRefused, transport.StepStop},
		{0x403, "Kicked", transport.ClassRefused, transport.StepStop},
		{0x404, "Banned", transport.ClassRefused, transport.StepStop},
		{0x405, "Replaced", transport.ClassRefused, transport.StepStop},
		{1 << 62, "Lost", transport.ClassLost, transport.StepResumeWithBackoff},
	}
	codes, names, classes, next := transport.CloseCodeRows()
	require.Len(t, codes, len(want))
	for i, row := range want {
		assert.Equal(t, row.code, uint64(codes[i]), row.name)
		assert.Equal(t, row.name, names[i])
		assert.Equal(t, row.class, classes[i], row.name)
		assert.Equal(t, row.next, next[i], row.name)
		code := transport.CloseCode(row.code)
		assert.Equal(t, row.name, code.String())
		assert.Equal(t, row.class, code.Class(), row.name)
		assert.Equal(t, row.next, code.Next(), row.name)
	}
}

// An unknown code means its class, so that a later registry can be told to today's peers.
func TestUnknownCloseCodeMeansItsClass(t *testing.T) {
	for code, want := range map[transport.CloseCode]transport.Class{
		0x001: transport.ClassAbort, 0x0ff: transport.ClassAbort,
		0x102: transport.ClassGraceful, 0x1ff: transport.ClassGraceful,
		0x206: transport.ClassAbort, 0x2ff: transport.ClassAbort,
		0x303: transport.ClassProtocol, 0x3ff: transport.ClassProtocol,
		0x406: transport.ClassRefused, 0x4ff: transport.ClassRefused,
		0x500: transport.ClassAbort, 1<<62 - 1: transport.ClassAbort,
	} {
		assert.Equal(t, want, code.Class(), "%#x", uint64(code))
	}
	assert.Equal(t, transport.StepStop, transport.CloseCode(0x4ff).Next())
	assert.Equal(t, transport.StepDone, transport.CloseCode(0x1ff).Next())
	assert.Equal(t, transport.StepResumeWithBackoff, transport.CloseCode(0x999).Next())
	assert.Equal(t, "0x4ff", transport.CloseCode(0x4ff).String())
}

func TestStreamCodeRegistry(t *testing.T) {
	for code, want := range []string{
		"unspecified", "no-error", "canceled", "rejected", "unknown-type",
		"deadline", "too-large", "excessive-load", "going-away", "internal",
	} {
		assert.Equal(t, want, transport.StreamCode(code).String())
	}
	assert.Equal(t, "0xa", transport.StreamCode(10).String())
}
