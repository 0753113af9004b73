package main

import (
	"context"
	"log/slog"

	"github.com/trunkline-go/trunkline/chat"
)

const policyHelp = `examples:
  trunkline policy check policy.toml     exit 0 if it is good, else say what is wrong and where
  trunkline serve --policy policy.toml   run a server with it

A server reads its policy when it starts, and on SIGHUP again. Then it applies to
whoever is there: sessions that are not allowed any more are closed, members who may
no longer join a room are taken out of it, and every call and line is judged by it. A
file with a fault is refused as a whole: the server goes on with the policy that it
has and says so in its log, or does not start.

A policy is TOML:

` + policyExample + `
Rights add up, in any order, and nothing takes one away; who has none has no session.
Of several limits of a kind the last one in the file that names somebody holds.
Upper and lower case are different. In methods and rooms * is any number of
characters, also none, but no "/", and ** is "/" too. Rooms whose names have a star
are named by a star. A method that is for administrators alone, as those of
trunkline.Admin and of trunkline.Certs but Renew and Authority, is given to others by
its whole name, and by no star. trunkline.Session/WhoAmI, those two, and all of
trunkline.Reflection and trunkline.Health are for whoever may have a session. Nothing
in a room needs chair or admin yet.

A server without --policy lets every user of its own domain join and speak in all
rooms and call all methods but those for administrators, and has the default user of
its home administer.
`

// policyExample is in README.md, too.
const policyExample = `[groups]
staff = ["ann", "bob"]                     # users of this server's own domain
partners = ["spiffe://partner.example/**"] # everyone of another domain

[[allow]]
who = ["ann"]
administrator = true # everything

[[allow]]
who = ["@staff", "*"] # the groups, and every user of this server's own domain
methods = ["trunkline.Echo/*"]
rooms = ["lobby", "help/**"]
verbs = ["join", "speak"] # and chair, admin

[[allow]]
who = ["@partners", "spiffe://other.example/user/eve"]
rooms = ["lobby"]
verbs = ["join"] # and read

[[limit]]
who = ["*", "@partners"] # each of them, by himself
sessions = 10
calls_per_second = 100
lines_per_second = 20

[[limit]]
who = ["bob"] # what is not set here is as above
calls_per_second = 1000
`

// policy checks a policy file.
func (a *app) policy(_ context.Context, c *command, args []string) error {
	fs := flagSet(c)
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 || rest[0] != "check" {
		return withHint(usagef("policy needs a command and a file"), "trunkline policy check FILE")
	}
	if _, err := readPolicy(rest[1]); err != nil {
		return err
	}
	return a.print(rest[1] + " is good\n")
}

// reloadPolicy reads a policy again and applies it to what is there, or leaves all as it is.
func reloadPolicy(file string, guard *gate, rooms *chat.Server, log *slog.Logger) {
	p, err := readPolicy(file)
	if err != nil {
		log.Error("policy refused, the one before stays", "err", err)
		return
	}
	ended := guard.apply(p)
	rooms.Reauthorize()
	log.Info("policy applied", "file", file, "sessions_ended", ended)
}

// defaultPolicy is the policy of a server that is given none. administrator is a user's name, or "".
func defaultPolicy(administrator string) *policy {
	p := &policy{allow: []allowRule{{
		who:     []subject{"*"},
		methods: []methodPattern{"**"},
		rooms:   []roomPattern{"**"},
		verbs:   []verb{verbJoin, verbSpeak},
	}}}
	if administrator != "" {
		p.allow = append(p.allow, allowRule{who: []subject{subject(administrator)}, administrator: true})
	}
	return p
}
