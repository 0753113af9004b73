package main

import (
	"cmp"
	"slices"
	"strings"
)

const (
	maxSuggestions = 3
	// maxConsidered bounds how many names of a server's are compared.
	maxConsidered = 1000
)

// nearest returns those of the names that somebody may have meant who wrote name, the most likely first.
func nearest(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	name = strings.ToLower(name)
	var found []candidate
	for _, each := range names[:min(len(names), maxConsidered)] {
		low := strings.ToLower(each)
		d := distance(name, low)
		if _, end, ok := strings.Cut(low, "."); ok { // without the package
			d = min(d, 1+distance(name, end))
		}
		if d <= 1+len(name)/5 {
			found = append(found, candidate{each, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, c := range found[:min(len(found), maxSuggestions)] {
		out = append(out, c.name)
	}
	return out
}

// distance returns how many bytes have to be put in, taken out or exchanged to get from a to b (Levenshtein's distance).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
