package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testRows() []row {
	w := &work{Name: "unary-64B-1"}
	turns := func(ops ...int64) []*turn {
		var out []*turn
		for _, n := range ops {
			out = append(out, &turn{
				measured: measured{Ops: n, Elapsed: 2 * time.Second, P50: time.Millisecond, P99: 3 * time.Millisecond, CPU: time.Second, Mallocs: uint64(10 * n)},
				server:   usageDelta{CPU: 2 * time.Second, Mallocs: uint64(20 * n)},
			})
		}
		return out
	}
	return []row{newRow(w, "trunkline", turns(900, 1800, 1000)), newRow(w, "floor", turns(2000, 1000))}
}

func TestRowIsTheMedianOfTheRounds(t *testing.T) {
	r := testRows()[0]
	assert.Equal(t, row{
		Work: "unary-64B-1", Peer: "trunkline",
		PerSecond: 500, P50: 1000, P99: 3000, ClientCPU: 1000, ServerCPU: 2000,
		Rounds: 3,
		Spread: spreads{PerSecond: [2]float64{450, 900}, P50: [2]float64{1000, 1000}, P99: [2]float64{3000, 3000}},
		Allocs: allocs{10, 20},
	}, r)
	assert.InDelta(t, 750, testRows()[1].PerSecond, 0) // the mean of the two in the middle
}

func TestJSONHasTheFieldsThatScriptsRelyOn(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, writeJSON(&out, testRows()))
	var got []map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.Len(t, got, 2)
	for _, name := range []string{"work", "peer", "per_second", "p50_us", "p99_us", "client_cpu_us", "server_cpu_us"} {
		assert.Contains(t, got[0], name)
	}
	out.Reset()
	require.NoError(t, writeJSON(&out, nil))
	assert.JSONEq(t, "[]", out.String())
}

func TestTableNamesTheShareOfTheFloor(t *testing.T) {
	var out bytes.Buffer
	writeTable(&out, testRows())
	assert.Regexp(t, `unary-64B-1 +trunkline .* 0\.67`, out.String())
}

func TestPlotIsWellFormedAlsoWithoutAFloor(t *testing.T) {
	rows := testRows()
	rows[0].PerSecond *= 1000 // far ahead
	for _, rows := range [][]row{nil, rows, rows[:1]} {
		picture := plot("rpc", rows)
		d := xml.NewDecoder(strings.NewReader(picture))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
		assert.Equal(t, len(rows), strings.Count(picture, `class="peer"`))
	}
}

func TestFiguresAreReadable(t *testing.T) {
	for want, v := range map[string]float64{"0.00": 0, "1.23": 1.234, "12.3": 12.34, "123": 123.4, "1,235": 1234.6, "-1,234,567": -1234567, "12,345": 12345} {
		assert.Equal(t, want, figure(v))
	}
}

func TestWorksHaveTheNamesOfTheContract(t *testing.T) {
	names := func(suite string) (out []string) {
		for _, w := range works(suite, true) {
			out = append(out, w.Name)
			assert.Positive(t, w.Rounds)
			assert.Positive(t, w.Measure)
		}
		return out
	}
	assert.Subset(t, names(suiteRPC), []string{
		"unary-64B-1", "unary-64B-16", "unary-64B-64", "unary-64B-256", "unary-16K-1", "unary-16K-16", "unary-16K-64", "unary-16K-256",
		"stream-1K", "pingpong-1K", "bulk", "beside-bulk",
	})
	assert.Subset(t, names(suiteChat), []string{"fanout-1", "fanout-100", "fanout-1000", "fanout-100-paced"})
	assert.Subset(t, names(suiteSession), []string{"establish-p256", "establish-ed25519", "idle-1000", "idle-3000", "reconnect", "restart-first-call", "path-change-first-call"})
}

func TestGlobsAndPeersThatMatchNothingAreErrors(t *testing.T) {
	all := works(suiteRPC, true)
	some, err := selectWorks(all, []string{"unary-64B-*", "bulk"})
	require.NoError(t, err)
	assert.Len(t, some, 5)
	_, err = selectWorks(all, []string{"fanout-*"})
	require.Error(t, err)
	_, err = selectWorks(all, []string{"["})
	require.Error(t, err)
	_, err = selectPeers(suiteChat, []string{"grpc"})
	require.Error(t, err)
	chosen, err := selectPeers(suiteChat, []string{"nats"})
	require.NoError(t, err)
	require.Len(t, chosen, 1)
}

func TestCommandLine(t *testing.T) {
	o, err := parseOptions([]string{"rpc", "--quick", "--works", "a,b", "--rounds", "7"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, &options{suite: "rpc", quick: true, works: []string{"a", "b"}, rounds: 7}, o)
	for _, args := range [][]string{{}, {"speed"}, {"rpc", "chat"}, {"rpc", "--rounds", "-1"}, {"rpc", "--nonsense"}} {
		_, err := parseOptions(args, io.Discard)
		require.Error(t, err, "%v", args)
		assert.NotErrorIs(t, err, errHelp)
	}
	_, err = parseOptions([]string{"--help"}, io.Discard)
	assert.ErrorIs(t, err, errHelp)
}
