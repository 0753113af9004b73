package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// The contract that scripts rely on: a line here is never changed once released.
func TestGoldenEvents(t *testing.T) {
	at := time.Date(2000, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	for want, e := range map[string]event{
		`{"type":"joined","room":"lobby","epoch":1,"head":7,"members":["alice","bob"]}`:                                 eventOf(&chat.Joined{Room: "lobby", Epoch: 1, Head: 7, Members: []string{"alice", "bob"}}),
		`{"type":"message","room":"lobby","seq":8,"from":"bob","time":"2000-01-02T03:04:05.006Z","id":"x","text":"hi"}`: eventOf(&chat.Message{Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 8}, From: "bob", Time: at, ID: "x", Text: "hi"}),
		`{"type":"session","state":"detached","code":"Drained","number":257,"reason":"x"}`:                              detached(&transport.Error{Code: transport.Drained, Reason: "x"}),
		`{"type":"session","state":"detached","code":"Lost","reason":""}`:                                               detached(&transport.Error{Code: transport.Lost}),
		`{"type":"session","state":"resumed","session":"00ff","kept":true}`:                                             &resumedEvent{"session", "resumed", "00ff", true},
		`{"type":"gap","room":"lobby","after":4,"code":"OutOfRange","reason":"x","epoch":1,"head":9,"first":7}`: eventOf(&chat.Gap{
			Room: "lobby", After: chat.Position{Epoch: 1, Seq: 4}, Code: rpc.OutOfRange, Reason: "x", Epoch: 1, Head: 9, First: 7,
		}),
		`{"type":"changed","room":"lobby","seq":9,"by":"bob","time":"2000-01-02T03:04:05.006Z","what":"topic","topic":"tea"}`: eventOf(&chat.Changed{
			Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, By: "bob", Time: at, Change: chat.Change{What: chat.ChangeTopic, Topic: "tea"},
		}),
		`{"type":"edited","room":"lobby","seq":9,"by":"bob","time":"2000-01-02T03:04:05.006Z","ref":3,"text":"x"}`: eventOf(&chat.Edited{
			Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, By: "bob", Time: at, Ref: 3, Text: "x",
		}),
		`{"type":"deleted","room":"lobby","seq":9,"by":"bob","time":"2000-01-02T03:04:05.006Z","ref":3}`: eventOf(&chat.Deleted{
			Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, By: "bob", Time: at, Ref: 3,
		}),
		`{"type":"reacted","room":"lobby","seq":9,"by":"bob","time":"2000-01-02T03:04:05.006Z","ref":3,"text":"👍","back":true}`: eventOf(&chat.Reacted{
			Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, By: "bob", Time: at, Ref: 3, Text: "👍", Back: true,
		}),
		`{"type":"erased","room":"lobby","seq":9,"by":"bob","time":"2000-01-02T03:04:05.006Z","id":"x","ref":3}`: eventOf(&chat.Erased{
			Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, From: "bob", Time: at, ID: "x", Ref: 3,
		}),
		`{"type":"unknown","room":"lobby","seq":9,"by":"bob","time":"2000-01-02T03:04:05.006Z","kind":99}`: eventOf(&chat.Unknown{
			Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, From: "bob", Time: at, Kind: 99, Ref: 3,
		}),
		`{"type":"syncpoint","room":"lobby","kind":"major","name":"x","seq":9,"confirmed":true,"state":"set","by":"bob"}`: eventOf(&chat.SyncPoint{
			Room: "lobby", By: "bob", Time: at, What: chat.SyncSet, Name: "x", Seq: 9, Confirmed: true,
		}),
		`{"type":"syncpoint","room":"lobby","kind":"major","name":"x","seq":9,"confirmed":false,"state":"set","by":"bob","wait_for":["al"],"until":"2000-01-02T03:04:05.006Z"}`: eventOf(&chat.SyncPoint{
			Room: "lobby", By: "bob", Time: at, What: chat.SyncSet, Name: "x", Seq: 9, WaitFor: []string{"al"}, Until: at,
		}),
		`{"type":"resync","room":"lobby","by":"bob","next":3}`:                                                                       eventOf(&chat.SyncPoint{Room: "lobby", By: "bob", What: chat.SyncResync, Seq: 3}),
		`{"type":"sent","room":"lobby","seq":9,"id":"y","duplicate":false}`:                                                          eventOf(&chat.Sent{Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, ID: "y"}),
		`{"type":"sent","room":"lobby","seq":9,"id":"y","duplicate":false,"kind":"edit","ref":3}`:                                    eventOf(&chat.Sent{Room: "lobby", Position: chat.Position{Epoch: 1, Seq: 9}, ID: "y", Kind: chat.KindEdit, Ref: 3}),
		`{"type":"rejected","room":"lobby","request":"publish","id":"z","code":"InvalidArgument","reason":"no"}`:                     eventOf(&chat.Rejected{Room: "lobby", Request: chat.RequestPublish, ID: "z", Code: rpc.InvalidArgument, Reason: "no"}),
		`{"type":"presence","room":"lobby","who":"bob","state":"lost"}`:                                                              eventOf(&chat.Presence{Room: "lobby", Who: "bob", State: chat.PresenceLost}),
		`{"type":"members","room":"lobby","members":["alice"]}`:                                                                      eventOf(&chat.Members{Room: "lobby", Names: []string{"alice"}}),
		`{"type":"signal","room":"lobby","who":"bob","kind":"hand up"}`:                                                              eventOf(&chat.Signal{Room: "lobby", Who: "bob", Kind: chat.SignalHandUp}),
		`{"type":"left","room":"lobby"}`:                                                                                             eventOf(&chat.Left{Room: "lobby"}),
		`{"type":"session","state":"released","code":"Released","number":256,"reason":""}`:                                           ended(nil),
		`{"type":"session","state":"drained","code":"Drained","number":257,"reason":"bye"}`:                                          ended(&transport.Error{Code: transport.Drained, Reason: "bye"}),
		`{"type":"session","state":"aborted","code":"Unspecified","number":0,"reason":""}`:                                           ended(&transport.Error{Code: transport.Unspecified}),
		`{"type":"session","state":"aborted","code":"Protocol","number":768,"reason":""}`:                                            ended(&transport.Error{Code: transport.Protocol}),
		`{"type":"session","state":"refused","code":"Revoked","number":1025,"reason":""}`:                                            ended(&transport.Error{Code: transport.Revoked}),
		`{"type":"session","state":"lost","code":"Lost","reason":""}`:                                                                ended(&transport.Error{Code: transport.Lost}),
		`{"type":"message","room":"r","seq":1,"from":"a","time":"2000-01-02T03:04:05.006Z","id":"","text":"\u001b[31m\u009b\u202e"}`: eventOf(&chat.Message{Room: "r", Position: chat.Position{Epoch: 1, Seq: 1}, From: "a", Time: at, Text: "\x1b[31m\u009b\u202e"}),
	} {
		got, err := format(e, true)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.True(t, json.Valid([]byte(got)))
	}
}

// Whatever others write, a terminal gets no controls and nothing that reorders its text.
func TestControlCharactersNeverReachATerminal(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                 "plain",
		"tab\tand line\n":       "tab and line ",
		"\x1b]0;title\a":        "\ufffd]0;title\ufffd",
		"c1 \u009b31m del \x7f": "c1 \ufffd31m del \ufffd",
		"\u202eright to left":   "\ufffdright to left",
		"e\u0301 日本 \u3000👩‍👩‍👧 नि": "e\u0301 日本 \u3000👩‍👩‍👧 नि",
		"bad \xff utf-8": "bad \ufffd utf-8",
	} {
		assert.Equal(t, want, plain(text))
	}
	// In JSON they are escaped, so that nothing is lost.
	for _, text := range []string{"\x1b\x7f\u009b\u202e\U000e0001", "日本 👩‍👩‍👧"} {
		line, err := format(&leftEvent{"left", text}, true)
		require.NoError(t, err)
		for _, r := range line {
			assert.True(t, printable(r), "%U in %s", r, line)
		}
		var back leftEvent
		require.NoError(t, json.Unmarshal([]byte(line), &back))
		assert.Equal(t, text, back.Room)
	}
}

// The roster follows the events: what it shows is what a fresh snapshot would (C7).
func TestRosterFollowsTheEvents(t *testing.T) {
	r := make(roster)
	for _, step := range []struct {
		e    chat.Event
		want []string
	}{
		{&chat.Joined{Room: "r", Members: []string{"a", "c"}}, []string{"a", "c"}},
		{&chat.Presence{Room: "r", Who: "b", State: chat.PresenceJoined}, []string{"a", "b", "c"}},
		{&chat.Presence{Room: "r", Who: "b", State: chat.PresenceJoined}, []string{"a", "b", "c"}},
		{&chat.Presence{Room: "r", Who: "a", State: chat.PresenceLost}, []string{"b", "c"}},
		{&chat.Presence{Room: "r", Who: "a", State: chat.PresenceBack}, []string{"a", "b", "c"}},
		{&chat.Presence{Room: "r", Who: "c", State: chat.PresenceLeft}, []string{"a", "b"}},
		{&chat.Members{Room: "r", Names: []string{"x"}}, []string{"x"}},
		{&chat.Left{Room: "r"}, nil},
	} {
		r.note(step.e)
		assert.Equal(t, step.want, r["r"])
	}
}

// The exit codes of the contract, one for each way a command can end.
func TestExitCodes(t *testing.T) {
	answered := rpc.Errorf(rpc.NotFound, "no")
	answered.Remote = true
	lost := rpc.Errorf(rpc.Unavailable, "call: %w", &transport.Error{Code: transport.Lost})
	for _, row := range []struct {
		err  error
		want int
	}{
		{&transport.Error{Code: transport.Drained}, 0},
		{errors.New("anything"), 1},
		{usagef("wrong"), 2},
		{withHint(usagef("wrong"), "right"), 2},
		{&transport.Error{Code: transport.Unauthorized}, 3},
		{&transport.Error{Code: transport.Replaced}, 3},
		{&transport.Error{Code: 0x4ff}, 3},
		{&transport.Error{Code: transport.Unspecified}, 4},
		{&transport.Error{Code: transport.DrainTimeout}, 4},
		{&transport.Error{Code: transport.Protocol}, 4},
		{&transport.Error{Code: transport.Lost}, 5},
		{lost, 5},
		{answered, 6},
		{rpc.Errorf(rpc.Canceled, "by me"), 1},
	} {
		assert.Equal(t, row.want, exitCode(row.err), "%v", row.err)
	}
}

func TestHints(t *testing.T) {
	assert.Equal(t, "run: chmod 600 k", hintFor(fmt.Errorf("x: %w", &certs.KeyPermissionError{Path: "k", Fix: "chmod 600 k"})))
	assert.Contains(t, hintFor(&transport.Error{Code: transport.Lost}), "trunkline serve")
	stranger := &certs.VerifyError{Reason: certs.UnknownAuthority, Expected: certs.Fingerprint{1}}
	assert.Contains(t, hintFor(&transport.Error{Code: transport.Unauthorized, Err: stranger}), "SHA256:")
	stranger.Expected = certs.Fingerprint{} // with --ca nothing is pinned
	assert.Empty(t, hintFor(&transport.Error{Code: transport.Unauthorized, Err: stranger}))
	assert.Empty(t, hintFor(errors.New("anything")))
}

// A line that is too long is skipped whole, and the lines around it arrive.
func TestLinesThatAreTooLong(t *testing.T) {
	long := strings.Repeat("x", maxLine+1)
	in, _, restore, err := (&app{stdin: strings.NewReader("one\r\n" + long + "\ntwo\n" + long)}).console("", false)
	require.NoError(t, err)
	defer restore()
	line, err := in.readLine()
	require.NoError(t, err)
	assert.Equal(t, "one", line)
	_, err = in.readLine()
	require.ErrorIs(t, err, errLineTooLong)
	line, err = in.readLine()
	require.NoError(t, err)
	assert.Equal(t, "two", line)
	_, err = in.readLine()
	require.ErrorIs(t, err, errLineTooLong)
}

// The program in README is the one that the tests of rpc compile and run.
func TestREADMEShowsCodeThatRuns(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(readme), "```go\n")
	require.True(t, ok)
	shown, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	source, err := os.ReadFile("../../rpc/embed_test.go")
	require.NoError(t, err)
	_, rest, ok = strings.Cut(string(source), "// Shown in README.md:\n\n")
	require.True(t, ok)
	compiled, _, ok := strings.Cut(rest, "\n// End.\n")
	require.True(t, ok)
	assert.Equal(t, compiled, shown)
	assert.LessOrEqual(t, strings.Count(strings.TrimSpace(shown), "\n")+1, 30, "twenty lines, and some air")
}

// What a person reads of a break.
func TestLinesOfABreak(t *testing.T) {
	for want, e := range map[string]event{
		"* connection lost: no answer; trying again…":       detached(&transport.Error{Code: transport.Lost, Reason: "no answer"}),
		"* connection aborted (Internal): x; trying again…": detached(&transport.Error{Code: transport.Internal, Reason: "x"}),
		"* the server goes away; trying again…":             detached(&transport.Error{Code: transport.Drained}),
		"* back":                                                         &resumedEvent{Kept: true},
		"* lobby: bob has set the topic: tea":                            eventOf(&chat.Changed{Room: "lobby", By: "bob", Change: chat.Change{What: chat.ChangeTopic, Topic: "tea"}}),
		"* lobby: bob has removed the topic":                             eventOf(&chat.Changed{Room: "lobby", By: "bob", Change: chat.Change{What: chat.ChangeTopic}}),
		"* lobby: bob has edited 3: \ufffd[31m":                          eventOf(&chat.Edited{Room: "lobby", By: "bob", Ref: 3, Text: "\x1b[31m"}),
		"* lobby: bob: hand up":                                          eventOf(&chat.Signal{Room: "lobby", Who: "bob", Kind: chat.SignalHandUp}),
		"* lobby: bob has deleted 3":                                     eventOf(&chat.Deleted{Room: "lobby", By: "bob", Ref: 3}),
		"* lobby: bob reacts to 3: \ufffd":                               eventOf(&chat.Reacted{Room: "lobby", By: "bob", Ref: 3, Text: "\u009b"}),
		"* lobby: bob takes back from 3: +":                              eventOf(&chat.Reacted{Room: "lobby", By: "bob", Ref: 3, Text: "+", Back: true}),
		"* lobby: what bob said at 3 has been deleted":                   eventOf(&chat.Erased{Room: "lobby", Position: chat.Position{Seq: 3}, From: "bob"}),
		"* lobby: bob has changed the room (x)":                          eventOf(&chat.Changed{Room: "lobby", By: "bob", Change: chat.Change{What: "x"}}),
		"* lobby: record 9 is of a kind that this version does not know": eventOf(&chat.Unknown{Room: "lobby", Position: chat.Position{Seq: 9}}),
		`* lobby: synchronization point "x" at 9: confirmed`:             eventOf(&chat.SyncPoint{Room: "lobby", What: chat.SyncSet, Name: "x", Seq: 9, Confirmed: true}),
		`* lobby: synchronization point "x" at 9: set by bob, waits for al, cy`: eventOf(&chat.SyncPoint{
			Room: "lobby", By: "bob", What: chat.SyncSet, Name: "x", Seq: 9, WaitFor: []string{"al", "cy"},
		}),
		`* lobby: synchronization point "x" at 9: abandoned, without al`: eventOf(&chat.SyncPoint{Room: "lobby", What: chat.SyncAbandoned, Name: "x", Seq: 9, WaitFor: []string{"al"}}),
		`* lobby: synchronization point "x" at 9: abandoned`:             eventOf(&chat.SyncPoint{Room: "lobby", What: chat.SyncAbandoned, Name: "x", Seq: 9}),
		"* lobby: bob has all go on with 3":                              eventOf(&chat.SyncPoint{Room: "lobby", By: "bob", What: chat.SyncResync, Seq: 3}),
		"* lines of lobby after 4 are gone, it goes on with 7":           eventOf(&chat.Gap{Room: "lobby", After: chat.Position{Epoch: 1, Seq: 4}, Code: rpc.OutOfRange, First: 7}),
		"* the log of lobby may have lost lines; what it has follows, from 1": eventOf(&chat.Gap{
			Room: "lobby", After: chat.Position{Epoch: 1, Seq: 4}, Code: rpc.DataLoss, First: 1,
		}),
	} {
		got, err := format(e, false)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}
