package chat

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzSnapshot has a room take any snapshot from its log, and any change.
func FuzzSnapshot(f *testing.F) {
	for _, b := range []string{
		`{}`, `null`, `{"settings":null}`, `{"settings":{"roles":null,"bans":{"a":null}}}`,
		`{"settings":{"topic":"t","default_role":"none","roles":{"a":"owner","b":"such"},"bans":{"c":{"until":"2031-01-01T00:00:00Z","by":"a"}},"mutes":{"d":{"by":"a","reason":"r"}}},"gone":7}`,
	} {
		for _, c := range []string{
			`{"what":"topic","topic":"u"}`, `{"what":"role","who":"b","role":"chair"}`, `{"what":"role","who":"b"}`, `{"what":"default_role"}`,
			`{"what":"ban","who":"b","until":"9999-12-31T23:59:59-23:59"}`, `{"what":"unban","who":"b"}`, `{"what":"mute","who":"b"}`, `{"what":"unmute","who":"d"}`,
			`{"what":"kick","who":"b"}`, `{"what":"create"}`, `{"what":"create","settings":{"topic":"v"}}`, `{"what":"delete"}`, `{"what":"later"}`,
		} {
			f.Add([]byte(b), []byte(c))
		}
	}
	f.Fuzz(func(t *testing.T, b, change []byte) {
		s, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		before := s.encode()
		again, err := decodeSnapshot(before)
		require.NoError(t, err)
		assert.JSONEq(t, string(before), string(again.encode()))

		var c Change
		if json.Unmarshal(change, &c) != nil {
			return
		}
		after := *s
		after.Settings = *s.Settings.clone()
		after.Settings.prune(time.Unix(0, 0))
		after.Settings.Apply("a", &c)
		_, err = decodeSnapshot(after.encode())
		require.NoError(t, err)
		assert.Equal(t, before, s.encode(), "what was before is as it was")
	})
}
