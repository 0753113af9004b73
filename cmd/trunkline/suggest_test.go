package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}, {"ab", "ba", 2}} {
		assert.Equal(t, row.want, distance(row.a, row.b), "%s %s", row.a, row.b)
	}
}

func TestNearestNames(t *testing.T) {
	names := []string{"trunkline.Admin/Status", "trunkline.Echo/Chat", "trunkline.Echo/Say", "trunkline.Session/WhoAmI"}
	for name, want := range map[string][]string{
		"trunkline.Echo/Sya":       {"trunkline.Echo/Say", "trunkline.Echo/Chat"},
		"trunkline.echo/say":       {"trunkline.Echo/Say", "trunkline.Echo/Chat"},
		"Echo/Say":                 {"trunkline.Echo/Say"},
		"Session/WhoAmI":           {"trunkline.Session/WhoAmI"},
		"trunkline.Session/WhoAmi": {"trunkline.Session/WhoAmI"},
		"shop.Orders/Get":          nil,
		"":                         nil,
	} {
		assert.Equal(t, want, nearest(name, names), name)
	}
}
