// Trunkline is chat and RPC over QUIC, in one binary: the server, the chat client, and
// a caller of methods. Run "trunkline help".
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is what both sides tell each other about their software.
const version = "0.1.0"

func main() { os.Exit(mainCode()) }

// mainCode runs the process's command and returns its exit code.
func mainCode() int {
	// quic-go would print a warning of its own about socket buffers, in every command.
	if os.Getenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING") == "" {
		_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	a := &app{
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		getenv:  os.Getenv,
		signals: signals,
		notify:  signal.Notify,
	}
	return a.run(context.Background(), os.Args[1:])
}

// An app is one run of the program. What it touches of the process is in here.
type app struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	getenv  func(string) string
	signals <-chan os.Signal // SIGINT and SIGTERM
	notify  func(c chan<- os.Signal, more ...os.Signal)
}

// A command is one word of the command line.
type command struct {
	name string
	args string // for the usage line
	line string // what it does, in one line
	help string // examples, then details
	run  func(a *app, ctx context.Context, c *command, args []string) error
}

// commands in the order in which help lists them.
func commands() []*command {
	return []*command{
		{name: "serve", args: "", line: "run a server", help: serveHelp, run: (*app).serve},
		{name: "chat", args: "ROOM...", line: "talk in rooms", help: chatHelp(), run: (*app).chat},
		{name: "send", args: "ROOM TEXT | -", line: "say a line, and wait until it is in the log", help: sendHelp, run: (*app).send},
		{name: "tail", args: "ROOM", line: "print a room's lines", help: tailHelp, run: (*app).tail},
		{name: "history", args: "ROOM", line: "print a page of a room's past", help: historyHelp, run: (*app).history},
		{name: "search", args: "ROOM QUERY", line: "find lines of a room by their words", help: searchHelp, run: (*app).search},
		{name: "room", args: "COMMAND", line: "make rooms, and keep order in them", help: roomHelp, run: (*app).room},
		{name: "floor", args: "VERB ROOM", line: "who may speak in a room: ask for it, hold it, pass it on", help: floorHelp, run: (*app).floor},
		{name: "status", args: "", line: "show what a running server does", help: statusHelp, run: (*app).status},
		{name: "call", args: "METHOD [JSON | -]", line: "call a method and print its reply", help: callHelp, run: (*app).call},
		{name: "methods", args: "[METHOD]", line: "list a server's methods, or describe one", help: methodsHelp, run: (*app).methods},
		{name: "policy", args: "check FILE", line: "check who may do what", help: policyHelp, run: (*app).policy},
		{name: "backup", args: "FILE", line: "copy a home's rooms to a file", help: backupHelp, run: (*app).backup},
		{name: "restore", args: "FILE", line: "make such a file the rooms of a home", help: restoreHelp, run: (*app).restore},
		{name: "certs", args: "COMMAND", line: "keys, certificates and pins", help: certsHelp, run: (*app).certs},
	}
}

// run runs one command and returns the exit code of the contract, see exitCode.
func (a *app) run(ctx context.Context, args []string) int {
	err := a.dispatch(ctx, args)
	if err == nil || errors.Is(err, errHelped) {
		return exitOK
	}
	a.report(err)
	return exitCode(err)
}

func (a *app) dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		if err := a.help(a.stderr, nil); err != nil {
			return err
		}
		return usagef("no command")
	}
	switch args[0] {
	case "help", "--help", "-h":
		return a.help(a.stdout, args[1:])
	case "version", "--version":
		return a.print("trunkline " + version + "\n")
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(a, ctx, c, args[1:])
		}
	}
	return withHint(usagef("unknown command %q", args[0]), "trunkline help lists the commands")
}

// print writes text for the person, or the script, to stdout.
func (a *app) print(text string) error {
	_, err := io.WriteString(a.stdout, text)
	return err
}
