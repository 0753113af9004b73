package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatFollowsFloorIsRead(t *testing.T) {
	for _, c := range []struct {
		verb, rest string
		want       *floorAction // nil: a *usageError
	}{
		{"request", "", &floorAction{verb: "request"}},
		{"request", " two words ", &floorAction{verb: "request", reason: "two words"}},
		{"request", "5 minutes", &floorAction{verb: "request", reason: "5 minutes"}},
		{"release", "", &floorAction{verb: "release"}},
		{"release", "thanks", &floorAction{verb: "release", reason: "thanks"}},
		{"release", "7  thanks", &floorAction{verb: "release", request: 7, reason: "thanks"}},
		{"please", "3 words", &floorAction{verb: "please", reason: "3 words"}},
		{"pass", "bob", &floorAction{verb: "pass", who: "bob"}},
		{"pass", "bob go on", &floorAction{verb: "pass", who: "bob", reason: "go on"}},
		{"pass", "spiffe://other.example/user/eve", &floorAction{verb: "pass", who: "spiffe://other.example/user/eve"}},
		{"pass", "", nil},
		{"pass", "B!b", nil},
		{"accept", "7", &floorAction{verb: "accept", request: 7}},
		{"grant", "7 go", &floorAction{verb: "grant", request: 7, reason: "go"}},
		{"deny", "7 not now", &floorAction{verb: "deny", request: 7, reason: "not now"}},
		{"deny", "bob", nil},
		{"deny", "0", nil},
		{"accept", "", nil},
		{"revoke", "", &floorAction{verb: "revoke"}},
		{"revoke", "5 minutes are over", &floorAction{verb: "revoke", reason: "5 minutes are over"}},
		{"sing", "", nil},
		{"", "", nil},
	} {
		got, err := parseFloorAction(c.verb, c.rest)
		assert.Equal(t, c.want, got, "%s %s", c.verb, c.rest)
		if c.want == nil {
			assert.Equal(t, exitUsage, exitCode(err), "%s %s", c.verb, c.rest)
		} else {
			assert.NoError(t, err)
		}
	}
}
