package main

import (
	"fmt"
	"html"
	"math"
	"os"
	"strings"
)

// Sizes of the picture, in pixels.
const (
	plotLabel  = 150 // left of the bars
	plotWidth  = 420 // of a bar at the right end of the scale
	plotValue  = 230 // right of the bars
	plotBar    = 16
	plotGap    = 14 // between works
	plotHeader = 44
)

// writePlot writes one bar for each row: operations a second as a multiple of the floor's, or of
// the best peer's where there is no floor.
func writePlot(path, suite string, rows []row) error {
	return os.WriteFile(path, []byte(plot(suite, rows)), 0o644) //nolint:gosec // G306: a picture is for everyone
}

func plot(suite string, rows []row) string {
	most := 1.0
	for i := range rows {
		most = math.Max(most, ratio(rows, &rows[i]))
	}
	most = math.Min(most, 4) // one far ahead must not flatten the others; its bar ends in an arrow
	var b strings.Builder
	y := plotHeader
	work := ""
	for i := range rows {
		r := &rows[i]
		if r.Work != work {
			work = r.Work
			y += plotGap
			text(&b, 4, y+plotBar-4, "work", r.Work)
			y += plotBar
		}
		share := ratio(rows, r)
		width := plotWidth * math.Min(share, most) / most
		text(&b, 16, y+plotBar-4, "peer", r.Peer)
		fmt.Fprintf(&b, "<rect class=%q x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", barClass(r.Peer), plotLabel, y+1, width, plotBar-2)
		note := fmt.Sprintf("%.2f   %s/s   p50 %s µs", share, figure(r.PerSecond), figure(r.P50))
		if share > most {
			note = "→ " + note
		}
		text(&b, plotLabel+int(width)+6, y+plotBar-4, "value", note)
		y += plotBar
	}
	var out strings.Builder
	width, height := plotLabel+plotWidth+plotValue, y+plotGap
	fmt.Fprintf(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height)
	out.WriteString("<style>text{font:12px sans-serif;fill:#222}.work{font-weight:bold}.value{fill:#555}.own{fill:#2563eb}.floor{fill:#9ca3af}.other{fill:#d6b26a}.line{stroke:#9ca3af;stroke-dasharray:3 3}</style>\n")
	fmt.Fprintf(&out, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height)
	text(&out, 4, 18, "work", "bench "+suite+": operations a second, the floor (quic-go alone) is 1")
	text(&out, 4, 34, "value", cpuModel()+", loopback; more is better")
	out.WriteString(b.String())
	x := plotLabel + plotWidth/most
	fmt.Fprintf(&out, "<line class=\"line\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x, plotHeader, x, height-plotGap)
	out.WriteString("</svg>\n")
	return out.String()
}

func text(b *strings.Builder, x, y int, class, s string) {
	fmt.Fprintf(b, "<text class=%q x=\"%d\" y=\"%d\">%s</text>\n", class, x, y, html.EscapeString(s))
}

func barClass(peer string) string {
	switch peer {
	case "trunkline":
		return "own"
	case "floor":
		return "floor"
	}
	return "other"
}

// ratio returns operations a second as a multiple of the floor's, or of the best where the floor
// has no row.
func ratio(rows []row, r *row) float64 {
	base := 0.0
	if floor := rowOf(rows, r.Work, "floor"); floor != nil {
		base = floor.PerSecond
	} else {
		for i := range rows {
			if rows[i].Work == r.Work {
				base = math.Max(base, rows[i].PerSecond)
			}
		}
	}
	if base == 0 {
		return 0
	}
	return r.PerSecond / base
}
