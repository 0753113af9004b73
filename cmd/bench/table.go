package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// writeTable writes the rows, those of a work together.
func writeTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "work\tpeer\tper second\t(min – max)\tp50 µs\tp99 µs\tclient CPU µs\tserver CPU µs\tallocs c\tallocs s\tof floor\t\n")
	last := ""
	for _, r := range rows {
		if last != "" && r.Work != last {
			fmt.Fprint(t, "\t\t\t\t\t\t\t\t\t\t\t\n")
		}
		last = r.Work
		fmt.Fprintf(t, "%s\t%s\t%s\t(%s – %s)\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Work, r.Peer,
			figure(r.PerSecond), figure(r.Spread.PerSecond[0]), figure(r.Spread.PerSecond[1]),
			figure(r.P50), figure(r.P99), figure(r.ClientCPU), figure(r.ServerCPU),
			figure(r.Allocs.Client), figure(r.Allocs.Server), ofFloor(rows, &r))
	}
	_ = t.Flush() // there is nobody to tell
	for _, r := range rows {
		if len(r.Extra) == 0 {
			continue
		}
		var parts []string
		for name, v := range r.Extra {
			parts = append(parts, name+" "+figure(v))
		}
		slices.Sort(parts)
		fmt.Fprintf(w, "%s %s: %s\n", r.Work, r.Peer, strings.Join(parts, ", "))
	}
}

// ofFloor returns operations a second as a share of the floor's.
func ofFloor(rows []row, r *row) string {
	floor := rowOf(rows, r.Work, "floor")
	if floor == nil || floor.PerSecond == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.PerSecond/floor.PerSecond)
}

func rowOf(rows []row, work, peer string) *row {
	for i := range rows {
		if rows[i].Work == work && rows[i].Peer == peer {
			return &rows[i]
		}
	}
	return nil
}

// figure writes a number with three digits, and thousands apart.
func figure(v float64) string {
	if math.Abs(v) < 100 {
		digits := 1
		if math.Abs(v) < 10 {
			digits = 2
		}
		return fmt.Sprintf("%.*f", digits, v)
	}
	s := fmt.Sprintf("%.0f", math.Abs(v))
	var b strings.Builder
	if v < 0 {
		b.WriteByte('-')
	}
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
