package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

const statusHelp = `examples:
  trunkline status                      of the server at 127.0.0.1:4433
  trunkline status --limit 1000         with more of its sessions and rooms
  trunkline status --json | jq .totals  for scripts

It asks a running server, which answers administrators alone: sessions, those
whose state changed last first; rooms, those with most members first; and how
sessions ended since the server began. The totals are of all, whatever is shown.
`

// adminStatus says what the server does. It is for administrators.
var adminStatus = rpc.Unary[statusRequest, statusResponse]("trunkline.Admin/Status", rpc.Idempotent())

const (
	defaultStatusRows = 50
	// maxStatusRows keeps an answer far below rpc's limit of 4 MiB, whatever clients call themselves.
	maxStatusRows = 1000
)

type statusRequest struct {
	Limit int `json:"limit,omitempty"` // most sessions, and rooms, to list; 0: 50; at most 1000
}

type statusResponse struct {
	Version  string          `json:"version"`
	Address  string          `json:"address"`
	Started  time.Time       `json:"started"`
	Now      time.Time       `json:"now"`
	Totals   statusTotals    `json:"totals"`
	Sessions []statusSession `json:"sessions"`
	Rooms    []statusRoom    `json:"rooms"`
	Endings  []statusEnding  `json:"endings"`  // of sessions
	Refusals []statusEnding  `json:"refusals"` // of connections
}

type statusTotals struct {
	Live        int    `json:"live"`
	Detached    int    `json:"detached"`
	Greeting    int    `json:"greeting"`
	Streams     int    `json:"streams"`
	Established uint64 `json:"established"`
	Resumed     uint64 `json:"resumed"`
	NotKept     uint64 `json:"not_kept"`
	Rooms       int    `json:"rooms"`
	Members     int    `json:"members"`
	Lagging     int    `json:"lagging"`
	Lines       uint64 `json:"lines"`
	Deliveries  uint64 `json:"deliveries"`

	HalfDuplex   int    `json:"half_duplex"` // rooms
	FloorsHeld   int    `json:"floors_held"`
	FloorWaiting int    `json:"floor_waiting"` // requests
	Granted      uint64 `json:"granted"`       // floors
	Denied       uint64 `json:"denied"`
	Revoked      uint64 `json:"revoked"`
}

type statusSession struct {
	ID       string    `json:"id"`
	Identity string    `json:"identity"`
	Name     string    `json:"name"` // of the user, in the server's own domain
	Address  string    `json:"address"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Attempt  uint64    `json:"attempt"`
	Streams  int       `json:"streams"`
	RTT      float64   `json:"rtt_ms"`
	Software string    `json:"software"`
}

type statusRoom struct {
	Name     string `json:"name"`
	Members  int    `json:"members"`
	Sessions int    `json:"sessions"`
	Head     uint64 `json:"head"`
	Held     int    `json:"held"`
	Lagging  int    `json:"lagging"`
	Stalled  int    `json:"stalled"`

	HalfDuplex bool   `json:"half_duplex"`
	Holder     string `json:"holder"` // of the floor
	Waiting    int    `json:"waiting"`
}

type statusEnding struct {
	Code  string `json:"code"`
	By    string `json:"by"` // server, peer or nobody
	Count uint64 `json:"count"`
}

// A reporter answers adminStatus.
type reporter struct {
	srv     *transport.Server
	rooms   *chat.Server
	domain  string
	started time.Time
}

func (r *reporter) status(_ context.Context, req *statusRequest) (*statusResponse, error) {
	limit := cmp.Or(req.Limit, defaultStatusRows)
	if limit < 0 || limit > maxStatusRows {
		return nil, rpc.Errorf(rpc.InvalidArgument, "limit is %d: want 1 to %d", req.Limit, maxStatusRows)
	}
	t, c := r.srv.Stats(), r.rooms.Stats()
	floors := make(map[chat.FloorState]uint64)
	for change, n := range c.FloorChanges {
		floors[change.State] += n
	}
	return &statusResponse{
		Version: version,
		Address: r.srv.Addr().String(),
		Started: r.started.UTC(),
		Now:     time.Now().UTC(),
		Totals: statusTotals{
			Live: t.Live, Detached: t.Detached, Greeting: t.Greeting, Streams: t.Streams,
			Established: t.Established, Resumed: t.Resumed, NotKept: t.NotKept,
			Rooms: c.Rooms, Members: c.Members, Lagging: c.Lagging, Lines: c.Published, Deliveries: c.Delivered,
			HalfDuplex: c.HalfDuplex, FloorsHeld: c.FloorsHeld, FloorWaiting: c.FloorWaiting,
			Granted: floors[chat.FloorGranted], Denied: floors[chat.FloorDenied], Revoked: floors[chat.FloorRevoked],
		},
		Sessions: r.sessions(limit),
		Rooms:    r.topRooms(limit),
		Endings:  statusEndings(t.Endings),
		Refusals: statusEndings(t.Refused),
	}, nil
}

// sessions returns the limit sessions whose state changed last.
func (r *reporter) sessions(limit int) []statusSession {
	type row struct {
		s  *transport.Session
		st transport.SessionStats
	}
	var rows []row
	for _, s := range r.srv.Sessions() {
		rows = append(rows, row{s, s.Stats()})
	}
	slices.SortFunc(rows, func(a, b row) int {
		if c := b.st.Since.Compare(a.st.Since); c != 0 {
			return c
		}
		return cmp.Compare(a.s.ID().String(), b.s.ID().String())
	})
	out := make([]statusSession, 0, min(limit, len(rows)))
	for _, row := range rows[:min(limit, len(rows))] {
		p := row.s.Peer()
		one := statusSession{
			ID:       row.s.ID().String(),
			Identity: p.ID.String(),
			Address:  p.Addr.String(),
			State:    row.st.State.String(),
			Since:    row.st.Since.UTC(),
			Attempt:  row.st.Attempt,
			Streams:  row.st.Streams,
			RTT:      float64(row.st.RTT.Microseconds()) / 1000,
			Software: p.Software,
		}
		if p.ID.Domain == r.domain {
			one.Name = p.ID.Name
		}
		out = append(out, one)
	}
	return out
}

// topRooms returns the limit rooms with the most members. Who talks with whom, just the two of them, it does not tell.
func (r *reporter) topRooms(limit int) []statusRoom {
	rooms := slices.DeleteFunc(r.rooms.Rooms(), func(st chat.RoomStats) bool {
		_, _, direct := chat.DirectMembers(st.Name)
		return direct
	})
	slices.SortStableFunc(rooms, func(a, b chat.RoomStats) int { return cmp.Compare(b.Members, a.Members) })
	out := make([]statusRoom, 0, min(limit, len(rooms)))
	for _, room := range rooms[:min(limit, len(rooms))] {
		out = append(out, statusRoom(room))
	}
	return out
}

// statusEndings returns the endings by their codes' numbers.
func statusEndings(m map[transport.Ending]uint64) []statusEnding {
	keys := make([]transport.Ending, 0, len(m))
	for e := range m {
		keys = append(keys, e)
	}
	slices.SortFunc(keys, func(a, b transport.Ending) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(endedBy(a), endedBy(b)))
	})
	out := make([]statusEnding, 0, len(keys))
	for _, e := range keys {
		out = append(out, statusEnding{Code: e.Code.String(), By: endedBy(e), Count: m[e]})
	}
	return out
}

// status asks a server what it does, and prints that.
func (a *app) status(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	limit := fs.Int("limit", defaultStatusRows, "most `ROWS` of sessions, and of rooms, up to 1000")
	asJSON := fs.Bool("json", false, "print the whole answer as one line of JSON")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("status takes no arguments, but there is %q", rest[0])
	}
	if *limit < 1 || *limit > maxStatusRows {
		return usagef("--limit %d: want 1 to %d", *limit, maxStatusRows)
	}
	return a.onSession(ctx, client, func(ctx context.Context, conn *transport.Session) error {
		st, err := adminStatus.Call(ctx, conn, &statusRequest{Limit: *limit})
		switch {
		case err != nil:
			return err
		case *asJSON:
			return json.NewEncoder(a.stdout).Encode(st)
		default:
			return printStatus(a.stdout, st)
		}
	})
}

// printStatus prints st for people. What it shows was chosen by others, so it is made fit for a terminal.
func printStatus(w io.Writer, st *statusResponse) error {
	t := &st.Totals
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		for i, cell := range cells {
			if i > 0 {
				_, _ = io.WriteString(tw, "\t")
			}
			_, _ = io.WriteString(tw, plain(cell))
		}
		_, _ = io.WriteString(tw, "\n") // Flush has the error
	}
	line(fmt.Sprintf("trunkline %s at %s, up %s", st.Version, st.Address, age(st.Now.Sub(st.Started))))
	line(fmt.Sprintf("sessions: %d live, %d detached, %d greeting; %d established, %d resumed; streams: %d",
		t.Live, t.Detached, t.Greeting, t.Established, t.Resumed, t.Streams))
	line(fmt.Sprintf("chat: %d rooms, %d members, %d lagging; %d lines, %d deliveries", t.Rooms, t.Members, t.Lagging, t.Lines, t.Deliveries))
	line(fmt.Sprintf("floor: %d half-duplex rooms, %d held, %d waiting; %d granted, %d denied, %d revoked",
		t.HalfDuplex, t.FloorsHeld, t.FloorWaiting, t.Granted, t.Denied, t.Revoked))
	if len(st.Sessions) > 0 {
		line()
		line("SESSION", "IDENTITY", "ADDRESS", "STATE", "FOR", "STREAMS", "RTT", "SOFTWARE")
		for i := range st.Sessions {
			s := &st.Sessions[i]
			line(s.ID, cmp.Or(s.Name, s.Identity), s.Address, s.State, age(st.Now.Sub(s.Since)), strconv.Itoa(s.Streams),
				strconv.FormatFloat(s.RTT, 'f', 1, 64)+"ms", s.Software)
		}
		if more := t.Live + t.Detached - len(st.Sessions); more > 0 {
			line(fmt.Sprintf("and %d more", more))
		}
	}
	if len(st.Rooms) > 0 {
		line()
		line("ROOM", "MEMBERS", "SESSIONS", "HEAD", "LAGGING", "FLOOR")
		for _, r := range st.Rooms {
			mode := chat.Duplex
			if r.HalfDuplex {
				mode = chat.HalfDuplex
			}
			has := floorCell(mode, r.Holder)
			if r.Waiting > 0 {
				has += fmt.Sprintf(" +%d", r.Waiting)
			}
			line(r.Name, strconv.Itoa(r.Members), strconv.Itoa(r.Sessions), strconv.FormatUint(r.Head, 10), strconv.Itoa(r.Lagging), has)
		}
		if more := t.Rooms - len(st.Rooms); more > 0 {
			line(fmt.Sprintf("and %d more", more))
		}
	}
	for _, table := range []struct {
		title string
		rows  []statusEnding
	}{{"ENDED", st.Endings}, {"REFUSED", st.Refusals}} {
		if len(table.rows) == 0 {
			continue
		}
		line()
		line(table.title, "BY", "COUNT")
		for _, e := range table.rows {
			line(e.Code, e.By, strconv.FormatUint(e.Count, 10))
		}
	}
	return tw.Flush()
}

// age rounds a duration to what a person wants to know.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
