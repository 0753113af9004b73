package main

import (
	"encoding/json"
	"io"
	"math"
	"slices"
)

// A row says how one peer did one work: medians over the rounds, each figure by itself.
type row struct {
	Work      string             `json:"work"`
	Peer      string             `json:"peer"`
	PerSecond float64            `json:"per_second"`
	P50       float64            `json:"p50_us"`
	P99       float64            `json:"p99_us"`
	ClientCPU float64            `json:"client_cpu_us"`
	ServerCPU float64            `json:"server_cpu_us"`
	Rounds    int                `json:"rounds"`
	Spread    spreads            `json:"spread"`
	Allocs    allocs             `json:"allocs"`
	Extra     map[string]float64 `json:"extra,omitempty"`
}

// spreads has minimum and maximum over the rounds.
type spreads struct {
	PerSecond [2]float64 `json:"per_second"`
	P50       [2]float64 `json:"p50_us"`
	P99       [2]float64 `json:"p99_us"`
}

// allocs has the allocations of an operation.
type allocs struct {
	Client float64 `json:"client"`
	Server float64 `json:"server"`
}

func newRow(w *work, peer string, turns []*turn) row {
	each := func(f func(t *turn) float64) []float64 {
		out := make([]float64, len(turns))
		for i, t := range turns {
			out[i] = f(t)
		}
		slices.Sort(out)
		return out
	}
	perSecond := each(func(t *turn) float64 { return float64(t.Ops) / t.Elapsed.Seconds() })
	p50 := each(func(t *turn) float64 { return micros(t.P50) })
	p99 := each(func(t *turn) float64 { return micros(t.P99) })
	r := row{
		Work:      w.Name,
		Peer:      peer,
		PerSecond: median(perSecond),
		P50:       median(p50),
		P99:       median(p99),
		ClientCPU: median(each(func(t *turn) float64 { return micros(t.CPU) / float64(t.Ops) })),
		ServerCPU: median(each(func(t *turn) float64 { return micros(t.server.CPU) / float64(t.Ops) })),
		Rounds:    len(turns),
		Spread:    spreads{ends(perSecond), ends(p50), ends(p99)},
		Allocs: allocs{
			Client: median(each(func(t *turn) float64 { return float64(t.Mallocs) / float64(t.Ops) })),
			Server: median(each(func(t *turn) float64 { return float64(t.server.Mallocs) / float64(t.Ops) })),
		},
	}
	for name := range turns[0].Extra {
		if r.Extra == nil {
			r.Extra = make(map[string]float64)
		}
		r.Extra[name] = median(each(func(t *turn) float64 { return t.Extra[name] }))
	}
	return r
}

// median returns the median of sorted figures, to four digits: there are no more in them.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return rounded((sorted[(n-1)/2] + sorted[n/2]) / 2)
}

func ends(sorted []float64) [2]float64 {
	return [2]float64{rounded(sorted[0]), rounded(sorted[len(sorted)-1])}
}

func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, math.Min(6, 3-math.Floor(math.Log10(math.Abs(v)))))
	return math.Round(v*scale) / scale
}

func writeJSON(w io.Writer, rows []row) error {
	if rows == nil {
		rows = []row{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}
