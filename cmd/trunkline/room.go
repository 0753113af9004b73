package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

const roomHelp = `examples:
  trunkline room list                             the rooms that you may see
  trunkline room create ops --topic "on call"     you are its owner
  trunkline room show ops                         its topic, and who is what in it
  trunkline room role ops bob chair               bob keeps order
  trunkline room ban ops mallory spam --for 24h

"trunkline help room COMMAND" has more on each.
`

// roomCommands are the commands behind "room", in the order in which help lists them.
func roomCommands() []*command {
	return append([]*command{
		{name: "room list", args: "", line: "list the rooms that you may see", help: roomListHelp, run: (*app).roomList},
		{name: "room create", args: "ROOM", line: "make a room, and be its owner", help: roomCreateHelp, run: (*app).roomCreate},
		{name: "room show", args: "ROOM", line: "show what a room is, and who is what in it", help: roomShowHelp, run: (*app).roomShow},
		{name: "room delete", args: "ROOM", line: "delete a room, and all that was said in it", help: roomDeleteHelp, run: (*app).roomDelete},
		{name: "room checkpoint", args: "ROOM [NUMBER]", line: "say that you are done with all up to a line", help: roomCheckpointHelp, run: (*app).roomCheckpoint},
	}, orderCommands()...)
}

// room runs the command behind it.
func (a *app) room(ctx context.Context, c *command, args []string) error {
	return a.group(ctx, c, roomCommands(), args)
}

const roomListHelp = `examples:
  trunkline room list
  trunkline room list --json --after ops      one object a line, behind that name

A room is there once something has been said in it, or it was created. Rooms that you may not
read are not listed, and direct rooms only to the two whose they are.
`

// roomList prints the rooms that one may see.
func (a *app) roomList(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	after := fs.String("after", "", "begin behind the `ROOM` of that name")
	limit := fs.IntP("limit", "n", 1000, "how many at most")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("room list takes no arguments, but there is %q", rest[0])
	}
	if *limit < 1 {
		return usagef("--limit is at least 1")
	}
	var rooms []chat.ListedRoom
	next := *after
	err = a.onSession(ctx, client, func(ctx context.Context, s *transport.Session) error {
		for {
			res, err := chat.List.Call(ctx, s, &chat.ListRequest{After: next, Limit: min(*limit-len(rooms), 500)})
			if err != nil {
				return err
			}
			rooms, next = append(rooms, res.Rooms...), res.Next
			if next == "" || len(rooms) >= *limit {
				return nil
			}
		}
	})
	if err != nil {
		return err
	}
	if *asJSON {
		for i := range rooms {
			if err := a.printJSON(&rooms[i]); err != nil {
				return err
			}
		}
	} else if err := a.print(roomTable(rooms)); err != nil {
		return err
	}
	if next != "" {
		_, _ = fmt.Fprintf(a.stderr, "trunkline: there are more: --after %s\n", plain(shellWord(next)))
	}
	return nil
}

// roomTable returns the list for people.
func roomTable(rooms []chat.ListedRoom) string {
	if len(rooms) == 0 {
		return "no rooms\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ROOM\tYOU ARE\tMEMBERS\tLAST LINE\tFLOOR\tTOPIC")
	for _, r := range rooms {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", plain(r.Room), plain(string(r.Role)), r.Members, r.Head, plain(floorCell(r.Mode, r.Holder)), plain(r.Topic))
	}
	_ = w.Flush() // to memory
	return b.String()
}

// floorCell returns who has the floor of a room, for a table: nobody where that matters, and nothing where it does not.
func floorCell(mode chat.Mode, holder string) string {
	if holder == "" && mode == chat.HalfDuplex {
		return "free"
	}
	return cmp.Or(holder, "-")
}

// shellWord quotes what a shell would not take for one word.
func shellWord(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./@,:+", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const roomCreateHelp = `examples:
  trunkline room create ops
  trunkline room create board --default-role none --role bob=chair,carol=member
  trunkline room create news --default-role listener --topic "what is new"
  trunkline room create talk --mode half-duplex     only who has the floor speaks

It prints where that stands in the room's log. A room that people talk in already is created only by
an administrator of the server, who then owns it.
`

// roomCreate makes a room.
func (a *app) roomCreate(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object")
	topic := fs.String("topic", "", "`TEXT` of the topic")
	def := fs.String("default-role", "", "`ROLE` of who has none: member, listener, or none, for the invited alone (default member)")
	mode := fs.String("mode", "", "`MODE`: duplex or half-duplex (default duplex)")
	roles := fs.StringToString("role", nil, "`NAME=ROLE` of somebody, more than once")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if err := oneRoom(c, rest); err != nil {
		return err
	}
	req := &chat.CreateRequest{Room: rest[0], Topic: *topic, Default: chat.Role(*def), Roles: make(map[string]chat.Role)}
	if fs.Changed("default-role") {
		if err := checkRole(*def); err != nil {
			return err
		}
	}
	if fs.Changed("mode") {
		if err := checkMode(*mode); err != nil {
			return err
		}
		req.Mode = chat.Mode(*mode)
	}
	for who, role := range *roles {
		if err := checkWho(who); err != nil {
			return err
		}
		if err := checkRole(role); err != nil {
			return err
		}
		req.Roles[who] = chat.Role(role)
	}
	return a.changeRoom(ctx, client, rest[0], *asJSON, calling(chat.Create, req))
}

// oneRoom checks that the arguments are the name of a room.
func oneRoom(c *command, args []string) error {
	if len(args) != 1 {
		return withHint(usagef("%s takes a room", c.name), "trunkline %s ROOM", c.name)
	}
	return checkRoom(args[0])
}

const roomDeleteHelp = `examples:
  trunkline room delete ops

All that was said in it is gone for good, who is in it is taken out, and it is as if the room had
never been; only the numbers of its lines are not used again. That is for its owners.
`

// roomDelete deletes a room.
func (a *app) roomDelete(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if err := oneRoom(c, rest); err != nil {
		return err
	}
	return a.changeRoom(ctx, client, rest[0], *asJSON, calling(chat.Delete, &chat.DeleteRequest{Room: rest[0]}))
}

const roomShowHelp = `examples:
  trunkline room show ops
  trunkline room show ops --json     one object, for scripts
`

// roomShow prints what a room is.
func (a *app) roomShow(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return withHint(usagef("%s takes a room", c.name), "trunkline %s ROOM", c.name)
	}
	if err := checkRoomArg(rest[0]); err != nil {
		return err
	}
	req := &chat.ShowRequest{Room: rest[0]}
	res, err := askIn(ctx, a, client, chat.Show, req, &req.Room)
	if err != nil {
		return roomHint(err, rest[0])
	}
	if *asJSON {
		return a.printJSON(res)
	}
	return a.print(shownRoom(res, time.Now()))
}

// shownRoom returns what a room is, for people.
func shownRoom(res *chat.ShowResponse, now time.Time) string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(plain(fmt.Sprintf(format, args...)) + "\n") }
	s := &res.Settings
	lines := fmt.Sprintf("lines %d to %d", res.First, res.Head)
	if res.First > res.Head {
		lines = fmt.Sprintf("no lines after %d", res.Head)
	}
	line("%s: %s", res.Room, lines)
	if s.Topic != "" {
		line("topic: %s", s.Topic)
	}
	for _, role := range []chat.Role{chat.RoleOwner, chat.RoleChair, chat.RoleMember, chat.RoleListener, chat.RoleNone} {
		var names []string
		for _, who := range slices.Sorted(maps.Keys(s.Roles)) {
			if s.Roles[who] == role {
				names = append(names, who)
			}
		}
		if len(names) > 0 {
			line("%s: %s", role, strings.Join(names, ", "))
		}
	}
	line("all others: %s", s.RoleOf(""))
	if s.Slow != nil {
		line("slow: %s", s.Slow)
	}
	switch {
	case s.Mode == chat.HalfDuplex && res.Holder == "":
		line("half-duplex: the floor is free")
	case s.Mode == chat.HalfDuplex:
		line("half-duplex: %s has the floor", res.Holder)
	case res.Holder != "":
		line("duplex: %s has the floor", res.Holder)
	}
	for _, kind := range []struct {
		did  string
		list map[string]chat.Sanction
	}{{"banned", s.Bans}, {"muted", s.Mutes}} {
		for _, who := range slices.Sorted(maps.Keys(kind.list)) {
			p := kind.list[who]
			if p.Until.IsZero() || now.Before(p.Until) {
				line("%s: %s, %s", kind.did, who, "by "+p.By+untilAndWhy(p.Until, p.Reason))
			}
		}
	}
	return b.String()
}
