package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// An order is a change of a room that a command asks for, "room kick" say, and a line of chat, "/kick".
type order struct {
	name      string
	args      string // behind the room
	line      string // what it does, in one line
	who       bool   // the first argument is somebody's name
	least     int    // how many arguments there are,
	most      int    // the last one of which has what follows it, too
	timed     bool   // it may have an end
	request   func(room string, args []string, end end) roomCall
	checkLast func(arg string) error // nil: anything is good
}

// An end is how long an order holds. The zero value is for good.
type end struct {
	after time.Duration
	at    time.Time
}

// A roomCall asks the server for a change.
type roomCall func(ctx context.Context, conn rpc.Conn) (*chat.ChangeResponse, error)

func calling[Req any](m rpc.UnaryMethod[Req, chat.ChangeResponse], req *Req) roomCall {
	return func(ctx context.Context, conn rpc.Conn) (*chat.ChangeResponse, error) { return m.Call(ctx, conn, req) }
}

// orders are all, in the order in which help lists them.
func orders() []*order {
	reason := func(args []string) string { return strings.Join(args[1:], " ") }
	sanction := func(room string, args []string, end end) *chat.SanctionRequest {
		return &chat.SanctionRequest{Room: room, Who: args[0], Until: end.at, ForMs: end.after.Milliseconds(), Reason: reason(args)}
	}
	return []*order{
		{name: "topic", args: "TEXT", line: "set the topic", least: 1, most: 1, request: func(room string, args []string, _ end) roomCall {
			return calling(chat.SetTopic, &chat.SetTopicRequest{Room: room, Topic: args[0]})
		}},
		{name: "role", args: "NAME ROLE", line: "make somebody owner, chair, member, listener, none, or the default", who: true, least: 2, most: 2, checkLast: checkRole,
			request: func(room string, args []string, _ end) roomCall {
				return calling(chat.SetRole, &chat.SetRoleRequest{Room: room, Who: args[0], Role: roleArg(args[1])})
			}},
		{name: "default-role", args: "ROLE", line: "say what all others are: member, listener, or none, for the invited alone", least: 1, most: 1, checkLast: checkRole,
			request: func(room string, args []string, _ end) roomCall {
				return calling(chat.SetDefaultRole, &chat.SetDefaultRoleRequest{Room: room, Role: roleArg(args[0])})
			}},
		{name: "invite", args: "NAME", line: "make somebody a member", who: true, least: 1, most: 1, request: func(room string, args []string, _ end) roomCall {
			return calling(chat.Invite, &chat.InviteRequest{Room: room, Who: args[0]})
		}},
		{name: "kick", args: "NAME [REASON]", line: "take somebody out, who may come back", who: true, least: 1, most: 2, request: func(room string, args []string, _ end) roomCall {
			return calling(chat.Kick, &chat.KickRequest{Room: room, Who: args[0], Reason: reason(args)})
		}},
		{name: "ban", args: "NAME [REASON]", line: "keep somebody out", who: true, least: 1, most: 2, timed: true, request: func(room string, args []string, end end) roomCall {
			return calling(chat.Ban, sanction(room, args, end))
		}},
		{name: "unban", args: "NAME", line: "take a ban back", who: true, least: 1, most: 1, request: func(room string, args []string, _ end) roomCall {
			return calling(chat.Unban, &chat.UnsanctionRequest{Room: room, Who: args[0]})
		}},
		{name: "mute", args: "NAME [REASON]", line: "keep somebody from speaking", who: true, least: 1, most: 2, timed: true, request: func(room string, args []string, end end) roomCall {
			return calling(chat.Mute, sanction(room, args, end))
		}},
		{name: "unmute", args: "NAME", line: "take a mute back", who: true, least: 1, most: 1, request: func(room string, args []string, _ end) roomCall {
			return calling(chat.Unmute, &chat.UnsanctionRequest{Room: room, Who: args[0]})
		}},
		{name: "slow", args: "N/TIME", line: "let each member say N messages in a TIME, as in 3/10s; or off", least: 1, most: 1, checkLast: checkSlow,
			request: func(room string, args []string, _ end) roomCall {
				slow, _ := parseSlow(args[0]) // has been checked
				return calling(chat.SetSlow, &chat.SetSlowRequest{Room: room, Messages: slow.Messages, PerMs: slow.PerMs})
			}},
		{name: "mode", args: "MODE", line: "make the room duplex, or half-duplex: only who has the floor speaks", least: 1, most: 1, checkLast: checkMode,
			request: func(room string, args []string, _ end) roomCall {
				return calling(chat.SetMode, &chat.SetModeRequest{Room: room, Mode: chat.Mode(args[0])})
			}},
		{name: "sync", args: "POINT [NAME,…]", line: "set a synchronization point, and wait until those have come so far", least: 1, most: 2,
			request: func(room string, args []string, _ end) roomCall {
				req := &chat.SetSyncPointRequest{Room: room, Name: args[0]}
				if len(args) > 1 {
					req.WaitFor = strings.Split(args[1], ",")
				}
				return calling(chat.SetSyncPoint, req)
			}},
		{name: "abandon-sync", line: "give up the synchronization point that waits", request: func(room string, _ []string, _ end) roomCall {
			return calling(chat.AbandonSyncPoint, &chat.AbandonSyncPointRequest{Room: room})
		}},
		{name: "resync-all", args: "NUMBER", line: "have all go on with that line", least: 1, most: 1, checkLast: checkSeq, request: func(room string, args []string, _ end) roomCall {
			seq, _ := parseSeq(args[0]) // it has been checked
			return calling(chat.Resynchronize, &chat.ResynchronizeRequest{Room: room, Seq: seq})
		}},
	}
}

// orderNamed returns the order of that name, or nil.
func orderNamed(name string) *order {
	for _, o := range orders() {
		if o.name == name {
			return o
		}
	}
	return nil
}

const defaultRole = "default"

func roleArg(arg string) chat.Role {
	if arg == defaultRole {
		return ""
	}
	return chat.Role(arg)
}

func checkRole(arg string) error {
	if !slices.Contains([]string{"owner", "chair", "member", "listener", "none", defaultRole}, arg) {
		return usagef("there is no role %q: it is owner, chair, member, listener, none or default", arg)
	}
	return nil
}

func checkMode(arg string) error {
	switch chat.Mode(arg) {
	case chat.Duplex, chat.HalfDuplex:
		return nil
	}
	return usagef("there is no mode %q: it is duplex or half-duplex", arg)
}

func checkSeq(arg string) error {
	_, err := parseSeq(arg)
	return err
}

// parseSeq reads the number of a line. An error is a *usageError.
func parseSeq(arg string) (uint64, error) {
	seq, err := strconv.ParseUint(arg, 10, 64)
	if err != nil || seq == 0 {
		return 0, usagef("a line's number is 1 or more, and not %q", arg)
	}
	return seq, nil
}

// parseSlow reads "3/10s", or "off" for no Slow.
func parseSlow(arg string) (chat.Slow, error) {
	if arg == "off" {
		return chat.Slow{}, nil
	}
	count, per, _ := strings.Cut(arg, "/")
	n, err := strconv.Atoi(count)
	d, wrong := time.ParseDuration(per)
	if err != nil || wrong != nil || n < 1 || d < time.Millisecond {
		return chat.Slow{}, usagef("%q is no pace: it looks like 3/10s, for 3 messages in 10 seconds, or is off", arg)
	}
	return chat.Slow{Messages: n, PerMs: d.Milliseconds()}, nil
}

func checkSlow(arg string) error {
	_, err := parseSlow(arg)
	return err
}

// call checks the arguments, and returns what they ask for. An error is a *usageError.
func (o *order) call(room string, args []string, end end) (roomCall, error) {
	if len(args) < o.least || len(args) > o.most {
		return nil, usagef("%s takes %s", o.name, cmp.Or(o.args, "nothing else"))
	}
	if o.who {
		if err := checkWho(args[0]); err != nil {
			return nil, err
		}
	}
	if o.checkLast != nil {
		if err := o.checkLast(args[len(args)-1]); err != nil {
			return nil, err
		}
	}
	return o.request(room, args, end), nil
}

// typed is call for what was typed behind a slash: an end is the word behind the name then, as in "/ban bob 1h spam".
func (o *order) typed(room, text string) (roomCall, error) {
	args := make([]string, 0, o.most)
	text = strings.TrimSpace(text)
	var until end
	for text != "" {
		word, rest, _ := strings.Cut(text, " ")
		if d, err := time.ParseDuration(word); o.timed && len(args) == 1 && until.after == 0 && err == nil && d > 0 {
			until.after, text = d, strings.TrimSpace(rest)
			continue
		}
		if len(args) == o.most-1 {
			args = append(args, text)
			break
		}
		args, text = append(args, word), strings.TrimSpace(rest)
	}
	return o.call(room, args, until)
}

// usage returns how it is typed.
func (o *order) usage() string {
	args := o.args
	if o.timed {
		args = "NAME [1h] [REASON]"
	}
	return strings.TrimSpace("/" + o.name + " " + args)
}

const orderHelp = `examples:
  trunkline room topic ops "on call: bob"
  trunkline room role ops bob chair
  trunkline room default-role ops none          the invited alone get in
  trunkline room invite ops carol
  trunkline room kick ops mallory "cool down"
  trunkline room ban ops mallory spam --for 24h
  trunkline room mute ops mallory --until 2030-01-02T15:04:05Z
  trunkline room mode ops half-duplex           only who has the floor speaks
  trunkline room slow ops 3/10s                 each member says 3 messages in 10 seconds
  trunkline room sync ops handover alice,bob    a point in the log, once both have come so far

All who are in the room are told, and who did it. It prints where that stands in the room's log.
Chairs set the topic, and act on those below them; owners do everything, and administrators of the
server may do in every room what its owners may. A time without an end is for good.
`

// order runs a command that is an order.
func (a *app) order(ctx context.Context, c *command, args []string) error {
	o := orderNamed(strings.TrimPrefix(c.name, "room "))
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object")
	var until end
	var at string
	if o.timed {
		fs.DurationVar(&until.after, "for", 0, "how long, by the server's clock (default for good)")
		fs.StringVar(&at, "until", "", "`TIME` at which it ends, as 2006-01-02T15:04:05Z")
	}
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return withHint(usagef("%s takes a room", c.name), "trunkline %s %s", c.name, c.args)
	}
	if err := checkRoom(rest[0]); err != nil {
		return err
	}
	switch {
	case fs.Changed("for") && until.after < time.Millisecond:
		return usagef("--for wants a time above 0, such as 1h")
	case fs.Changed("for") && at != "":
		return usagef("--for and --until are two ways to say when it ends")
	case at != "":
		if until.at, err = time.Parse(time.RFC3339, at); err != nil {
			return usagef("--until %s: want a time such as 2006-01-02T15:04:05Z", at)
		}
	}
	call, err := o.call(rest[0], rest[1:], until)
	if err != nil {
		return withHint(err, "trunkline %s %s", c.name, c.args)
	}
	return a.changeRoom(ctx, client, rest[0], *asJSON, call)
}

// A changedRoom says where the record of a change is.
type changedRoom struct {
	Room  string `json:"room"`
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// changeRoom asks for a change, and prints where it stands in the room's log.
func (a *app) changeRoom(ctx context.Context, client clientFlags, room string, asJSON bool, call roomCall) error {
	var res *chat.ChangeResponse
	err := a.onSession(ctx, client, func(ctx context.Context, s *transport.Session) (err error) {
		res, err = call(ctx, s)
		return err
	})
	if err != nil {
		return roomHint(err, room)
	}
	if !asJSON {
		return a.print(chat.Position{Epoch: res.Epoch, Seq: res.Seq}.String() + "\n")
	}
	return a.printJSON(changedRoom{room, res.Epoch, res.Seq})
}

// roomHint says what can be done about a refusal.
func roomHint(err error, room string) error {
	e, ok := errors.AsType[*rpc.Error](err)
	if !ok || !e.Remote {
		return err
	}
	switch e.Code() {
	case rpc.NotFound:
		return withHint(err, "trunkline room list has those that you may see")
	case rpc.PermissionDenied, rpc.AlreadyExists:
		return withHint(err, "trunkline room show %s says who is what in it", room)
	default:
		return err
	}
}

// orderCommands returns the orders as commands.
func orderCommands() []*command {
	var cs []*command
	for _, o := range orders() {
		cs = append(cs, &command{name: "room " + o.name, args: strings.TrimSpace("ROOM " + o.args), line: o.line, help: orderHelp, run: (*app).order})
	}
	return cs
}

// slashOrders lists the orders for chat's help.
func slashOrders() string {
	var b strings.Builder
	for _, o := range orders() {
		fmt.Fprintf(&b, "  %-28s %s\n", o.usage(), o.line)
	}
	return b.String()
}
