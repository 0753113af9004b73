package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/reflection"
	"github.com/trunkline-go/trunkline/transport"
)

const methodsHelp = `examples:
  trunkline methods                                 what there is to call
  trunkline methods trunkline.Echo/Say              what it takes, and gives
  trunkline methods --json | jq -r .name            for scripts: an object a line
  trunkline methods trunkline.Echo/Say --json | jq .request.schema

It asks a running server, which shows those methods that you may call. The messages
are described as JSON; a field with "?" may be left out. With --json they are JSON
Schemas, beside the descriptors of protobuf messages.
`

// methods lists a server's methods, or describes one.
func (a *app) methods(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	asJSON := fs.Bool("json", false, "print JSON, an object a line")
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 1 {
		return usagef("methods takes at most one method, but there is %q", rest[1])
	}
	if len(rest) == 1 {
		if err := rpc.ValidMethod(rest[0]); err != nil {
			return usagef("%s", err)
		}
	}
	return a.onSession(ctx, client, func(ctx context.Context, conn *transport.Session) error {
		if len(rest) == 0 {
			return a.listMethods(ctx, conn, *asJSON)
		}
		return a.describeMethod(ctx, conn, rest[0], *asJSON)
	})
}

func (a *app) listMethods(ctx context.Context, conn rpc.Conn, asJSON bool) error {
	list, err := reflection.List.Call(ctx, conn, &reflection.ListRequest{})
	if err != nil {
		return unreflected(err)
	}
	if asJSON {
		for i := range list.Methods {
			if err := a.printJSON(&list.Methods[i]); err != nil {
				return err
			}
		}
		return nil
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(tw, "METHOD\tKIND\n") // Flush has the error
	for _, m := range list.Methods {
		_, _ = fmt.Fprintf(tw, "%s\t%s\n", plain(m.Name), plain(methodTraits(&m)))
	}
	return tw.Flush()
}

// methodTraits returns what is to be said of a method beside its name.
func methodTraits(m *reflection.Method) string {
	traits := m.Kind
	if m.Idempotent {
		traits += ", idempotent"
	}
	if m.Resumable {
		traits += ", resumable"
	}
	return traits
}

func (a *app) describeMethod(ctx context.Context, conn rpc.Conn, name string, asJSON bool) error {
	d, err := reflection.Describe.Call(ctx, conn, &reflection.DescribeRequest{Method: name})
	if rpc.CodeOf(err) == rpc.NotFound {
		return suggesting(ctx, conn, name, err)
	}
	if err != nil {
		return unreflected(err)
	}
	if asJSON {
		return a.printJSON(d)
	}
	request, err := formatSchema(d.Request.Schema)
	if err != nil {
		return err
	}
	response, err := formatSchema(d.Response.Schema)
	if err != nil {
		return err
	}
	return a.print(fmt.Sprintf("%s\n%s; codecs: %s\n\nrequest: %s\nresponse: %s", plain(d.Name), plain(methodTraits(&d.Method)),
		plain(strings.Join(d.Codecs, ", ")), request, response))
}

// printJSON prints v as a line of JSON that is fit for a terminal.
func (a *app) printJSON(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.print(escaped(string(text)) + "\n")
}

// unreflected says of err, if it is that the server has no reflection, what that means.
func unreflected(err error) error {
	if rpc.CodeOf(err) == rpc.Unimplemented {
		return withHint(err, "the server does not say which methods it has")
	}
	return err
}

// suggesting adds to err, which says that there is no method called name, which there are.
func suggesting(ctx context.Context, conn rpc.Conn, name string, err error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, listErr := reflection.List.Call(ctx, conn, &reflection.ListRequest{})
	if listErr != nil {
		return err
	}
	names := make([]string, 0, len(list.Methods))
	for _, m := range list.Methods {
		if m.Name == name { // it is something else that the server does not have
			return err
		}
		names = append(names, m.Name)
	}
	if near := nearest(name, names); len(near) > 0 {
		return withHint(err, "did you mean %s?", plain(strings.Join(near, ", or ")))
	}
	return withHint(err, "trunkline methods lists those that there are")
}
