package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// What is printed was made by somebody else's server, for a terminal or a script.
func TestAnInvitationWithoutATokenIsRefused(t *testing.T) {
	good := certs.Token{Authority: certs.Fingerprint{1}, Secret: [16]byte{2}}
	token, err := (&inviteResponse{Token: good.Text()}).token()
	require.NoError(t, err)
	assert.Equal(t, good, token)
	for _, text := range []string{"", "\x1b]0;title\a", good.Text() + "\n\x1b[2J"} {
		_, err := (&inviteResponse{Token: text}).token()
		assert.ErrorContains(t, err, "the server's answer", text)
	}
}
