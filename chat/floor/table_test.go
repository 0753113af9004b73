package floor_test

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat/floor"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// party returns one session of an identity; its producer is the identity's own.
func party(who string, session byte) floor.Party {
	p := floor.Party{Who: who, Session: floor.Session{0: session}}
	copy(p.Producer[:], who)
	return p
}

var codes = map[floor.Code]string{
	floor.Invalid: "invalid", floor.Exists: "exists", floor.Full: "full",
	floor.NotFound: "not found", floor.Precondition: "precondition",
}

// A cell is a floor with a request of ours, in a state or not there, on which an event is tried.
type cell struct {
	t        *testing.T
	f        *floor.Floor
	settings floor.Settings
	now      time.Time
	ours     floor.Party
	number   uint64 // of our request
	grant    uint64 // of it
	became   string // of it, by the event
}

// do commits what an action does, if it is not refused.
func (c *cell) do(a floor.Action) {
	d, err := c.f.Decide(a, c.now)
	if refused, ok := errors.AsType[*floor.Error](err); ok {
		c.became = "!" + codes[refused.Code]
		return
	}
	require.NoError(c.t, err)
	c.commit(d)
}

func (c *cell) due() { c.commit(c.f.Due(c.now)) }

func (c *cell) commit(d floor.Decision) {
	c.f.Commit(d)
	for _, tr := range d.Transitions {
		if tr.Who != c.ours.Who {
			continue
		}
		if c.number == 0 {
			c.number = tr.Request
		}
		if tr.To == floor.Granted {
			c.grant = tr.Grant
		}
		c.became = tr.To.String()
	}
}

func (c *cell) wait(d time.Duration) {
	c.now = c.now.Add(d)
	c.due()
}

func (c *cell) restart() {
	c.now = c.now.Add(time.Second)
	f, err := floor.Restart(c.f.Encode(), c.settings, 1, c.now)
	require.NoError(c.t, err)
	c.f = f
	c.due()
}

var (
	other   = party("other", 1)
	ourself = party("ours", 2)
)

// newCell makes a floor with our request in state is. Unless that is granted, somebody else holds the
// floor, or, if free, nobody. A chair is there; chaired says whether that matters.
func newCell(t *testing.T, settings floor.Settings, is string, free, chaired bool) *cell {
	settings.Chaired = false
	c := &cell{t: t, settings: settings, now: epoch, ours: ourself}
	c.f = floor.New(settings, 1, c.now)
	if is != "granted" && (!free || is == "accepted") {
		c.do(floor.Request{For: other, Priority: floor.Normal})
	}
	if is == "granted" || is == "accepted" {
		c.do(floor.Request{For: c.ours, Priority: floor.Normal})
	}
	if free && is == "accepted" { // it has its place in the queue only because it is not there
		c.f.Lost(c.ours.Session, c.now)
		c.do(floor.Release{By: other.Who})
	}
	settings.Chaired = chaired
	c.settings = settings
	c.f.Configure(settings, c.now)
	c.f.Chair(true, c.now)
	if is == "pending" {
		c.f.Configure(floor.Settings{Chaired: true}, c.now)
		c.do(floor.Request{For: c.ours, Priority: floor.Normal})
		c.f.Configure(settings, c.now)
	}
	if is != "none" {
		require.Equal(t, is, c.became)
	}
	c.became = "-"
	return c
}

// An event is tried on a request in each state.
type event struct {
	settings  floor.Settings // Chaired is set unless unchaired
	free      bool
	unchaired bool
	try       func(c *cell)
}

// forever has no lease, for events that are about something else.
var forever = floor.Settings{Lease: -1}

func denyAll(s floor.Settings) floor.Settings {
	s.NoChair = floor.DenyAll
	return s
}

var events = map[string]event{
	"Request, a chair is there": {settings: forever, try: request},
	"Request, no chair":         {settings: forever, unchaired: true, try: request},
	"Request, no chair, free":   {settings: forever, unchaired: true, free: true, try: request},
	"Release":                   {settings: forever, try: func(c *cell) { c.do(floor.Release{By: c.ours.Who}) }},
	"Pass to it": {settings: forever, try: func(c *cell) {
		by := other.Who
		if c.grant != 0 {
			by = c.ours.Who
		}
		c.do(floor.Pass{By: by, To: c.ours})
	}},
	"Accept":       {settings: forever, try: accept},
	"Accept, free": {settings: forever, free: true, try: accept},
	"Grant":        {settings: forever, try: grant},
	"Grant, free":  {settings: forever, free: true, try: grant},
	"Deny":         {settings: forever, try: func(c *cell) { c.do(floor.Deny{By: "chair", Request: c.number}) }},
	"Revoke":       {settings: forever, try: func(c *cell) { c.do(floor.Revoke{By: "chair"}) }},
	"Renew":        {settings: forever, try: func(c *cell) { c.do(floor.Renew{By: c.ours, Grant: max(c.grant, 1)}) }},
	"session lost": {settings: forever, try: func(c *cell) {
		c.f.Lost(c.ours.Session, c.now)
		c.wait(floor.DefaultGrace - 1)
	}},
	"session lost, back in time": {settings: forever, try: func(c *cell) {
		c.f.Lost(c.ours.Session, c.now)
		c.wait(floor.DefaultGrace - 1)
		c.f.Present(c.ours)
		c.wait(floor.DefaultGrace)
	}},
	"session lost, grace over": {settings: forever, try: func(c *cell) {
		c.f.Lost(c.ours.Session, c.now)
		c.wait(floor.DefaultGrace)
	}},
	"session ended in order":  {settings: forever, try: func(c *cell) { c.f.Ended(c.ours.Session, true, c.now); c.due() }},
	"session ended otherwise": {settings: forever, try: func(c *cell) { c.f.Ended(c.ours.Session, false, c.now); c.due() }},
	"they are barred": {settings: forever, try: func(c *cell) {
		c.f.Lost(c.ours.Session, c.now)
		c.f.Bar(func(who string) bool { return who == c.ours.Who }, c.now)
		c.f.Present(c.ours)
		c.due()
	}},
	"lease over": {try: func(c *cell) { c.wait(floor.DefaultLease) }},
	"longest hold over": {settings: floor.Settings{Lease: time.Minute, Longest: 100 * time.Second}, try: func(c *cell) {
		holder, number := other, uint64(1)
		if c.grant != 0 {
			holder, number = c.ours, c.grant
		}
		c.now = c.now.Add(59 * time.Second)
		_, err := c.f.Decide(floor.Renew{By: holder, Grant: number}, c.now)
		require.NoError(c.t, err)
		c.do(floor.Renew{By: holder, Grant: number})
		c.wait(41*time.Second - 1)
		require.Equal(c.t, "-", c.became)
		c.wait(1)
	}},
	"undecided too long":           {settings: forever, try: func(c *cell) { c.wait(floor.DefaultUndecided) }},
	"undecided too long, DenyAll":  {settings: denyAll(forever), try: func(c *cell) { c.wait(floor.DefaultUndecided) }},
	"chair away too long":          {settings: forever, try: chairAway},
	"chair away too long, DenyAll": {settings: denyAll(forever), try: chairAway},
	"chair away too long, free":    {settings: floor.Settings{Lease: -1, Grace: time.Hour}, free: true, try: chairAway},
	"restart, back in time": {settings: forever, try: func(c *cell) {
		c.restart()
		c.wait(floor.DefaultGrace - 1)
		back := c.ours
		back.Session = floor.Session{77}
		c.f.Present(back)
		c.f.Present(other)
		c.f.Chair(true, c.now)
		c.wait(floor.DefaultGrace)
		if c.grant != 0 {
			assert.True(c.t, c.f.MayPublish(back.Session, c.grant))
		}
	}},
	"restart, grace nearly over": {settings: forever, try: func(c *cell) {
		c.restart()
		c.wait(floor.DefaultGrace - 5*time.Second)
	}},
	"restart, grace over": {settings: forever, try: func(c *cell) {
		c.restart()
		c.wait(floor.DefaultGrace - 5*time.Second)
		c.wait(5 * time.Second)
	}},
}

func request(c *cell) { c.do(floor.Request{For: c.ours, Priority: floor.Normal}) }
func accept(c *cell)  { c.do(floor.Accept{By: "chair", Request: c.number}) }
func grant(c *cell)   { c.do(floor.Grant{By: "chair", Request: c.number}) }

func chairAway(c *cell) {
	c.f.Chair(false, c.now)
	c.wait(floor.DefaultChairAway - 1)
	require.Equal(c.t, "-", c.became)
	c.wait(1)
}

// The table of the package's documentation says what the code does, and of every event.
func TestTheTableOfStatesAndEventsIsTrue(t *testing.T) {
	rows := readTable(t)
	assert.ElementsMatch(t, slices.Collect(maps.Keys(events)), slices.Collect(maps.Keys(rows)))
	for name, e := range events {
		for i, is := range []string{"none", "pending", "accepted", "granted"} {
			t.Run(name+"/"+is, func(t *testing.T) {
				c := newCell(t, e.settings, is, e.free, !e.unchaired)
				e.try(c)
				require.Len(t, rows[name], 4)
				assert.Equal(t, rows[name][i], c.became)
			})
		}
	}
}

var columns = regexp.MustCompile(`\s{2,}`)

func readTable(t *testing.T) map[string][]string {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	rows := make(map[string][]string)
	for line := range strings.Lines(string(doc)) {
		row, ok := strings.CutPrefix(strings.TrimSpace(line), "//\t")
		if !ok {
			continue
		}
		cells := columns.Split(row, -1)
		if cells[0] != "event" {
			rows[cells[0]] = cells[1:]
		}
	}
	return rows
}
